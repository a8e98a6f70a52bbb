//! Offering bytes to the kernel until it has taken or refused them.

use std::cell::RefCell;
use std::io::{self, IoSlice};

use ferrio_core::WriteBuffer;

use super::Output;
use super::piece::{Data, Piece};

/// The most pieces that the kernel takes in one call (`IOV_MAX`).
pub(super) const MOST_PIECES: usize = 1024;

/// As many pieces as are described on the stack without thinking.
const FEW_PIECES: usize = 16;

/// Pieces that are no more than this together are copied to lie side by side: the kernel takes
/// longer over a list of pieces than a copy of so few bytes does.
const SMALL: usize = 1024;

/// A file as what bytes are handed to. Both methods tell how many bytes, from the front, the
/// kernel has taken; neither waits.
pub(super) trait Sink {
    fn send(&self, bytes: &[u8]) -> io::Result<usize>;
    fn send_pieces(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize>;
}

/// What became of bytes that were offered to the kernel.
pub(super) struct Offer {
    /// How many bytes it was shown.
    size: usize,
    /// How many of them, from the front, it has taken.
    pub(super) taken: usize,
}

/// Offers the kernel what the buffer holds and, behind it, `rest`; as many pieces as fit in one
/// call.
#[inline]
pub(super) fn offer<S: Sink>(
    sink: &S,
    buffer: &WriteBuffer<Piece>,
    rest: &[u8],
) -> io::Result<Offer> {
    if buffer.is_empty() {
        return offer_one(sink, rest);
    }
    match buffer.piece_count() + usize::from(!rest.is_empty()) {
        1 => {
            let mut slices = [IoSlice::new(&[])];
            buffer.chunks(&mut slices);
            offer_one(sink, &slices[0])
        }
        2..=FEW_PIECES if buffer.len() + rest.len() <= SMALL => offer_joined(sink, buffer, rest),
        2..=FEW_PIECES => offer_pieces::<FEW_PIECES>(sink, buffer, rest),
        _ => offer_pieces::<MOST_PIECES>(sink, buffer, rest),
    }
}

#[inline]
fn offer_one(sink: &impl Sink, bytes: &[u8]) -> io::Result<Offer> {
    Ok(Offer {
        size: bytes.len(),
        taken: sink.send(bytes)?,
    })
}

/// Offers all pieces, [`SMALL`] bytes at most, as one.
#[inline]
fn offer_joined(sink: &impl Sink, buffer: &WriteBuffer<Piece>, rest: &[u8]) -> io::Result<Offer> {
    let mut slices = [IoSlice::new(&[]); FEW_PIECES];
    let filled = buffer.chunks(&mut slices);
    let mut joined = [0; SMALL];
    let mut length = 0;
    for piece in slices[..filled].iter().map(|slice| &**slice).chain([rest]) {
        joined[length..length + piece.len()].copy_from_slice(piece);
        length += piece.len();
    }
    offer_one(sink, &joined[..length])
}

fn offer_pieces<const N: usize>(
    sink: &impl Sink,
    buffer: &WriteBuffer<Piece>,
    rest: &[u8],
) -> io::Result<Offer> {
    let mut slices = [IoSlice::new(&[]); N];
    let mut filled = buffer.chunks(&mut slices);
    if filled == buffer.piece_count() && filled < N && !rest.is_empty() {
        slices[filled] = IoSlice::new(rest);
        filled += 1;
    }
    let slices = &slices[..filled];
    Ok(Offer {
        size: slices.iter().map(|slice| slice.len()).sum(),
        taken: sink.send_pieces(slices)?,
    })
}

/// Offers the buffer, and behind it `last`, until the kernel has taken or refused it. What it
/// refuses is kept in the buffer; `offer_rest` is shown what is left of `last`.
///
/// # Errors
/// What the kernel says, but for "not now".
#[inline]
pub(super) fn send(
    buffer: &RefCell<WriteBuffer<Piece>>,
    last: Option<&Data<'_>>,
    offer_rest: impl Fn(&[u8]) -> io::Result<Offer>,
) -> io::Result<Output> {
    let last_size = last.map_or(0, |data| data.as_slice().len());
    let mut last_taken = 0;
    // Dropping a piece may run code that writes to this very transport: after everything.
    let mut finished = Finished::default();
    let output = loop {
        let buffered = buffer.borrow().len();
        let rest = last.map_or(&[][..], |data| &data.as_slice()[last_taken..]);
        if buffered == 0 && rest.is_empty() {
            break Output::Idle;
        }
        let offer = match offer_rest(rest) {
            Ok(offer) => offer,
            Err(error) if is_not_now(&error) => break Output::Refused,
            Err(error) => return Err(error),
        };
        let from_buffer = offer.taken.min(buffered);
        buffer
            .borrow_mut()
            .advance(from_buffer, |piece| finished.add(piece));
        last_taken += offer.taken - from_buffer;
        if offer.taken < offer.size {
            break Output::Refused;
        }
    };
    if let Some(data) = last
        && last_taken < last_size
    {
        buffer.borrow_mut().push(data.keep(last_taken));
    }
    Ok(output)
}

/// Pieces that were sent. There are mostly one or two, a header and a body.
#[derive(Default)]
struct Finished {
    first: Option<Piece>,
    second: Option<Piece>,
    more: Vec<Piece>,
}

impl Finished {
    #[inline]
    fn add(&mut self, piece: Piece) {
        match (&self.first, &self.second) {
            (None, _) => self.first = Some(piece),
            (_, None) => self.second = Some(piece),
            _ => self.more.push(piece),
        }
    }
}

/// Whether an error says only that now is not the time.
#[inline]
pub(super) fn is_not_now(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
