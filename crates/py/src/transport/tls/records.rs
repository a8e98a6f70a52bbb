//! Where one record ends and the next begins in what the peer sends.
//!
//! OpenSSL says "no more for now" with a Python exception, which costs more than decrypting a
//! small record. Whether a whole record is there can be read off the records' headers, which are
//! not encrypted: a type, a version, a length (RFC 8446, 5.1).

/// Type, version (two bytes) and length (two bytes).
const HEADER_SIZE: usize = 5;

/// The most that a record's body may hold: its plaintext and what encrypting may add to it.
const MOST_BODY: usize = 16 * 1024 + 2048;

/// Follows a stream of records, of which it sees every byte once.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct RecordStream {
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
    pub(super) fn take_in(&mut self, mut bytes: &[u8]) {
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

    /// The bytes at the stream's end that OpenSSL can do nothing with yet.
    #[inline]
    pub(super) fn unfinished(&self) -> usize {
        if self.lost { 0 } else { self.unfinished }
    }

    /// Somebody else may feed OpenSSL too: from now on it has to be asked.
    pub(super) fn lose(&mut self) {
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
            // OpenSSL refuses what is none, and is to do so at once.
            self.lost = !matches!(kind, 20..=24) || major != 3 || self.missing > MOST_BODY;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::RecordStream;

    fn record(kind: u8, size: u16) -> Vec<u8> {
        let mut bytes = vec![kind, 3, 3];
        bytes.extend(size.to_be_bytes());
        bytes.extend(std::iter::repeat_n(0xff, usize::from(size)));
        bytes
    }

    #[test]
    fn wherever_the_stream_is_cut_the_unfinished_record_is_known() {
        let sizes = [1, 7, 300, 0, 20];
        let stream: Vec<u8> = sizes.iter().flat_map(|&size| record(23, size)).collect();
        let mut ends = vec![0];
        for size in sizes {
            ends.push(ends[ends.len() - 1] + 5 + usize::from(size));
        }
        for first in 0..=stream.len() {
            for second in [first, (first + 3).min(stream.len()), stream.len()] {
                let mut records = RecordStream::default();
                records.take_in(&stream[..first]);
                records.take_in(&stream[first..second]);
                let whole = *ends.iter().rfind(|&&end| end <= second).expect("0 is one");
                assert_eq!(records.unfinished(), second - whole, "{first} {second}");
            }
        }
    }

    #[test]
    fn what_is_no_record_is_left_to_openssl() {
        let garbage: [&[u8]; 3] = [b"GET / HTTP/1.1", &[23, 2, 0, 0, 9], &[23, 3, 3, 255, 0]];
        for bytes in garbage {
            let mut records = RecordStream::default();
            records.take_in(&record(22, 4));
            records.take_in(bytes);
            assert_eq!(records.unfinished(), 0);
            records.take_in(&record(22, 4)[..6]);
            assert_eq!(records.unfinished(), 0);
        }
    }

    #[test]
    fn once_lost_nothing_is_known() {
        let mut records = RecordStream::default();
        records.lose();
        records.take_in(&record(23, 100)[..50]);
        assert_eq!(records.unfinished(), 0);
    }
}
