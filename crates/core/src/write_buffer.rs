//! What a transport still has to write, and when to tell its protocol to slow down.

use std::collections::VecDeque;
use std::io::IoSlice;

pub use crate::flow_control::{FlowControl, InvalidLimits, Limits, Pressure};

/// The pieces that wait to be written, in order, and the flow control that goes with them.
///
/// It is a pure state machine, which knows nothing of files: its owner pushes what the kernel did
/// not take, offers [`WriteBuffer::chunks`] to the kernel, tells [`WriteBuffer::advance`] how much
/// was taken, and then asks [`WriteBuffer::pressure`] whether the protocol must be told.
///
/// A piece is anything that lends the same bytes each time it is asked. The buffer never drops a
/// piece by itself: dropping one may run code that comes back to the buffer's owner.
#[derive(Debug)]
pub struct WriteBuffer<B> {
    /// What was pushed and not yet written to its end.
    pieces: VecDeque<B>,
    /// How many bytes of the first piece are written.
    written: usize,
    /// How many bytes are left to write.
    len: usize,
    /// What the protocol was told, and when to tell it more.
    flow: FlowControl,
}

impl<B> Default for WriteBuffer<B> {
    fn default() -> Self {
        Self {
            pieces: VecDeque::new(),
            written: 0,
            len: 0,
            flow: FlowControl::default(),
        }
    }
}

impl<B: AsRef<[u8]>> WriteBuffer<B> {
    /// An empty buffer with the default water marks. It allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes wait to be written.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits to be written.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// How many pieces are held.
    #[inline]
    #[must_use]
    pub fn piece_count(&self) -> usize {
        self.pieces.len()
    }

    /// Adds a piece behind the others.
    #[inline]
    pub fn push(&mut self, piece: B) {
        self.len += piece.as_ref().len();
        if self.pieces.capacity() == 0 {
            // Most connections never have more than one, and each keeps the room that it had.
            self.pieces.reserve_exact(1);
        }
        self.pieces.push_back(piece);
    }

    /// Fills `slices` from the front with what is to be written next, and returns how many it
    /// filled: fewer than there are pieces when there is no room for more.
    pub fn chunks<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut skip = self.written;
        let mut filled = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece.as_ref().get(skip..).unwrap_or_default());
            skip = 0;
            filled += 1;
        }
        filled
    }

    /// Says that the first `count` bytes were written, and hands out the pieces that are done.
    ///
    /// # Panics
    ///
    /// When there are fewer than `count` bytes.
    pub fn advance(&mut self, count: usize, mut finished: impl FnMut(B)) {
        assert!(count <= self.len, "no more is written than was offered");
        self.len -= count;
        let mut written = self.written + count;
        while let Some(piece) = self.pieces.front() {
            let length = piece.as_ref().len();
            if written < length {
                break;
            }
            written -= length;
            if let Some(piece) = self.pieces.pop_front() {
                finished(piece);
            }
        }
        self.written = written;
    }

    /// Gives up what is left: empties the buffer and returns its pieces.
    #[must_use = "the pieces are dropped here and now otherwise"]
    pub fn take_all(&mut self) -> VecDeque<B> {
        self.len = 0;
        self.written = 0;
        std::mem::take(&mut self.pieces)
    }

    /// Shows every piece, in order. For a garbage collector: allocates nothing.
    pub fn for_each(&self, visit: impl FnMut(&B)) {
        self.pieces.iter().for_each(visit);
    }

    /// The water marks.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.flow.limits()
    }

    /// Replaces the water marks. What follows from them is said by the next
    /// [`WriteBuffer::pressure`].
    pub fn set_limits(&mut self, limits: Limits) {
        self.flow.set_limits(limits);
    }

    /// What the protocol must be told now, if anything. Each change is said once: pause when the
    /// buffer is above the high-water mark, resume when it is paused and not above the low one.
    #[inline]
    pub fn pressure(&mut self) -> Option<Pressure> {
        self.flow.pressure(self.len)
    }

    /// Whether the protocol was told to pause, and not yet to resume.
    #[inline]
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.flow.is_paused()
    }
}
