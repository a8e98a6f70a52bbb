//! What a transport adds to its loop's counters.

use std::cell::{Cell, OnceCell};
use std::sync::Arc;

use ferrio_inspect::LoopRecord;
use ferrio_inspect::counters::{Traffic, TransportKind};

/// A transport's part of its loop's counters. Empty until it has a file, and it counts as open
/// until it has let go of it.
pub(super) struct Counted {
    record: OnceCell<Arc<LoopRecord>>,
    kind: Cell<Option<TransportKind>>,
    /// Bytes that were last said to wait for the kernel.
    buffered: Cell<usize>,
    /// Bytes that the kernel has given and taken.
    transferred: Cell<(u64, u64)>,
}

impl Counted {
    pub(super) const fn new() -> Counted {
        Counted {
            record: OnceCell::new(),
            kind: Cell::new(None),
            buffered: Cell::new(0),
            transferred: Cell::new((0, 0)),
        }
    }

    /// The transport takes a file over.
    pub(super) fn open(&self, record: &Arc<LoopRecord>, kind: TransportKind) {
        if self.record.set(Arc::clone(record)).is_ok() {
            self.kind.set(Some(kind));
            record.counters.traffic.opened(kind);
        }
    }

    /// The transport has let go of its file, or is gone.
    pub(super) fn close(&self) {
        self.buffered(0);
        if let (Some(traffic), Some(kind)) = (self.traffic(), self.kind.take()) {
            traffic.closed(kind);
        }
    }

    /// The kernel has given so many bytes.
    #[inline]
    pub(super) fn received(&self, bytes: usize) {
        let (received, sent) = self.transferred.get();
        self.transferred.set((received + bytes as u64, sent));
        if let Some(traffic) = self.traffic() {
            traffic.received(bytes);
        }
    }

    /// The kernel has taken so many bytes.
    #[inline]
    pub(super) fn sent(&self, bytes: usize) {
        let (received, sent) = self.transferred.get();
        self.transferred.set((received, sent + bytes as u64));
        if let Some(traffic) = self.traffic() {
            traffic.sent(bytes);
        }
    }

    /// So many bytes wait for the kernel now.
    #[inline]
    pub(super) fn buffered(&self, bytes: usize) {
        let before = self.buffered.replace(bytes);
        if before != bytes
            && let Some(traffic) = self.traffic()
        {
            traffic.buffered(before, bytes);
        }
    }

    /// Bytes received and sent, and those that wait to be sent.
    pub(super) fn figures(&self) -> ((u64, u64), u64) {
        (self.transferred.get(), self.buffered.get() as u64)
    }

    #[inline]
    fn traffic(&self) -> Option<&Traffic> {
        self.record.get().map(|record| &record.counters.traffic)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.close();
    }
}
