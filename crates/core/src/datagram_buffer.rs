//! The datagrams that a transport still has to send.

use std::collections::VecDeque;

use crate::flow_control::{FlowControl, Limits, Pressure};

/// Datagrams that wait to be sent, in order, and the flow control that goes with them.
///
/// Unlike the bytes of a stream, a datagram leaves as a whole or not at all. Its owner says how
/// much each counts: an empty one must count too, or any number of them could wait.
///
/// The buffer never drops a datagram by itself: dropping one may run code that comes back to the
/// buffer's owner.
#[derive(Debug)]
pub struct DatagramBuffer<D> {
    /// The datagrams, each with what it counts.
    datagrams: VecDeque<(D, usize)>,
    /// What all of them count.
    len: usize,
    /// What the protocol was told, and when to tell it more.
    flow: FlowControl,
}

impl<D> Default for DatagramBuffer<D> {
    fn default() -> Self {
        Self {
            datagrams: VecDeque::new(),
            len: 0,
            flow: FlowControl::default(),
        }
    }
}

impl<D> DatagramBuffer<D> {
    /// An empty buffer with the default water marks. It allocates nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many bytes the waiting datagrams count together.
    #[inline]
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether no datagram waits.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Adds a datagram that counts `size` bytes behind the others.
    pub fn push(&mut self, datagram: D, size: usize) {
        self.len += size;
        self.datagrams.push_back((datagram, size));
    }

    /// Takes the first datagram out, with what it counts.
    pub fn pop(&mut self) -> Option<(D, usize)> {
        let (datagram, size) = self.datagrams.pop_front()?;
        self.len -= size;
        Some((datagram, size))
    }

    /// Puts a datagram that [`DatagramBuffer::pop`] gave back in front of the others.
    pub fn put_back(&mut self, datagram: D, size: usize) {
        self.len += size;
        self.datagrams.push_front((datagram, size));
    }

    /// Gives up what waits: empties the buffer and returns its datagrams.
    #[must_use = "the datagrams are dropped here and now otherwise"]
    pub fn take_all(&mut self) -> VecDeque<(D, usize)> {
        self.len = 0;
        std::mem::take(&mut self.datagrams)
    }

    /// Shows every datagram, in order. For a garbage collector: allocates nothing.
    pub fn for_each(&self, mut visit: impl FnMut(&D)) {
        self.datagrams
            .iter()
            .for_each(|(datagram, _)| visit(datagram));
    }

    /// The water marks.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.flow.limits()
    }

    /// Replaces the water marks. What follows from them is said by the next
    /// [`DatagramBuffer::pressure`].
    pub fn set_limits(&mut self, limits: Limits) {
        self.flow.set_limits(limits);
    }

    /// What the protocol must be told now, if anything: see [`FlowControl::pressure`].
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
