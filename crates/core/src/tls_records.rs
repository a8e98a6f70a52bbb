//! Where one TLS record ends and the next begins in what a peer sends.
//!
//! Who decrypts can do nothing with a part of a record, and Python's `ssl` says so with an
//! exception, which costs more than decrypting a small record. Whether a whole one is there can be
//! read off the records' headers, which are not encrypted: a type, a version, a length (RFC 8446,
//! 5.1).

/// Type, version (two bytes) and length (two bytes).
const HEADER_SIZE: usize = 5;

/// The most that a record's body may hold: its plaintext and what encrypting may add to it.
const MOST_BODY: usize = 16 * 1024 + 2048;

/// Follows a stream of TLS records, of which it sees every byte once.
///
/// ```
/// use ferrio_core::RecordStream;
///
/// let mut records = RecordStream::default();
/// // Application data in TLS 1.2's clothes, 300 bytes, of which two have come.
/// records.take_in(&[23, 3, 3, 1, 44, 0, 0]);
/// assert_eq!(records.unfinished(), 7);
/// records.take_in(&[0; 298]);
/// assert_eq!(records.unfinished(), 0);
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct RecordStream {
    /// What has come of a header that is not whole.
    header: [u8; HEADER_SIZE],
    header_length: usize,
    /// How many bytes of the last record's body are still to come.
    missing: usize,
    /// How many bytes of the last record have come, if it is not whole.
    unfinished: usize,
    /// These are no records, or not every byte was seen: nothing is known.
    lost: bool,
}

impl RecordStream {
    /// More has come.
    #[inline]
    pub fn take_in(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() && !self.lost {
            let taken = if self.missing > 0 {
                let taken = self.missing.min(bytes.len());
                self.missing -= taken;
                taken
            } else {
                self.take_header(bytes)
            };
            self.unfinished += taken;
            if self.missing == 0 && self.header_length == 0 {
                self.unfinished = 0;
            }
            bytes = &bytes[taken..];
        }
    }

    /// How many bytes at the stream's end are a part of a record whose rest is still to come; 0 when
    /// nothing is known.
    #[inline]
    #[must_use]
    pub fn unfinished(&self) -> usize {
        if self.lost { 0 } else { self.unfinished }
    }

    /// Bytes may pass that are not shown here: from now on nothing is known.
    pub fn lose(&mut self) {
        self.lost = true;
    }

    /// Takes what there is of a header; how many bytes.
    fn take_header(&mut self, bytes: &[u8]) -> usize {
        let taken = (HEADER_SIZE - self.header_length).min(bytes.len());
        let end = self.header_length + taken;
        self.header[self.header_length..end].copy_from_slice(&bytes[..taken]);
        self.header_length = end;
        if end == HEADER_SIZE {
            self.header_length = 0;
            let [kind, major, _, high, low] = self.header;
            self.missing = usize::from(u16::from_be_bytes([high, low]));
            // Who decrypts refuses what is none, and is to see it at once.
            self.lost = !matches!(kind, 20..=24) || major != 3 || self.missing > MOST_BODY;
        }
        taken
    }
}
