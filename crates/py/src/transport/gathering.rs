//! The writes of one turn, sent at its end.
//!
//! A protocol often writes several times in one turn: a header, a body, the next answer. While
//! the loop drains a turn such writes wait in their transport, and one system call sends them all.
//! Nobody can tell but by counting system calls, because they are sent before anything by which
//! one could. A transport sends what it has gathered
//!
//! - before it would hold more than 64 KiB, or more pieces than one system call takes;
//! - in `get_write_buffer_size`, `set_write_buffer_limits`, `write_eof`, `close`, `abort`,
//!   `set_protocol` (which `start_tls` calls), `_make_empty_waiter` (which `sendfile` calls),
//!   `get_extra_info("socket")` and `_sock`, and when a protocol's error ends the connection.
//!
//! The loop has them all sent
//!
//! - at the end of the turn, also when it is left by an exception;
//! - 100 µs after the first of them, as seen when a callback returns;
//! - in `stop()`, before a fork, and when `gather_writes` is turned off.
//!
//! Outside of a turn nothing waits: a peer may be read in the very next line.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::ffi::c_int;
use std::hint::black_box;
use std::os::fd::RawFd;
use std::sync::Once;
use std::time::{Duration, Instant};

use super::{AnyTransport, StreamTransport, Transport};
use crate::event_loop::EventLoop;
use crate::ffi::{Object, Outcome, Own, Raised, This, Visitor};
use crate::imports::imports;

/// How long written bytes wait while callbacks go on.
const LONGEST_DELAY: Duration = Duration::from_micros(100);

/// What one read takes at most, as in asyncio.
pub(super) const RECEIVE_SIZE: usize = 256 * 1024;

/// What the transports of one loop share.
pub(crate) struct Gathering {
    /// Whether writes may wait: the loop is draining a turn.
    open: Cell<bool>,
    /// The user's switch, `loop.gather_writes`.
    enabled: Cell<bool>,
    /// The transports that have gathered something, in the order in which they began.
    pending: RefCell<Vec<Own<StreamTransport>>>,
    /// When the first of them began.
    since: Cell<Option<Instant>>,
    /// What the kernel writes into; `None` before its first use and during one.
    receive_buffer: Cell<Option<ReceiveBuffer>>,
    /// Weak references to the transports that own a descriptor.
    owners: RefCell<HashMap<RawFd, Object>>,
}

impl Default for Gathering {
    fn default() -> Gathering {
        Gathering {
            open: Cell::new(false),
            enabled: Cell::new(true),
            pending: RefCell::default(),
            since: Cell::new(None),
            receive_buffer: Cell::new(None),
            owners: RefCell::default(),
        }
    }
}

impl Gathering {
    /// A callback of a turn is about to run.
    #[inline]
    pub(crate) fn open(&self) {
        self.open.set(self.enabled.get());
    }

    /// Whether a write may wait for the end of the turn.
    #[inline]
    pub(super) fn is_open(&self) -> bool {
        self.open.get()
    }

    /// Whether a transport waits for the end of the turn.
    #[inline]
    pub(crate) fn has_pending(&self) -> bool {
        self.since.get().is_some()
    }

    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.get()
    }

    /// Has the transport flushed at the end of the turn.
    #[inline]
    pub(super) fn enlist(&self, transport: This<'_, StreamTransport>) {
        if transport.enlisted.replace(true) {
            return;
        }
        if self.since.get().is_none() {
            self.since.set(Some(Instant::now()));
        }
        self.pending.borrow_mut().push(transport.own());
    }

    #[inline]
    fn is_overdue(&self) -> bool {
        self.since
            .get()
            .is_some_and(|since| since.elapsed() >= LONGEST_DELAY)
    }

    /// The loop's one buffer, to be given back at once.
    #[inline]
    pub(crate) fn take_receive_buffer(&self) -> ReceiveBuffer {
        self.receive_buffer
            .take()
            .unwrap_or_else(ReceiveBuffer::new)
    }

    #[inline]
    pub(crate) fn put_receive_buffer(&self, buffer: ReceiveBuffer) {
        self.receive_buffer.set(Some(buffer));
    }

    /// Remembers weakly that the transport owns its descriptor.
    pub(super) fn own_descriptor<T: Transport>(&self, transport: This<'_, T>) -> Outcome<()> {
        let reference = imports().weak_reference.call1(&transport.object())?;
        let replaced = self
            .owners
            .borrow_mut()
            .insert(transport.fd.get(), reference);
        drop(replaced);
        Ok(())
    }

    /// The descriptor is about to be closed.
    pub(super) fn disown_descriptor<T: Transport>(&self, transport: This<'_, T>) -> Outcome<()> {
        let fd = transport.fd.get();
        // A socket that was closed behind our back: the number is another transport's.
        let owner = self.descriptor_owner(fd)?;
        if owner.is_none_or(|owner| owner.address() == transport.as_ptr()) {
            let removed = self.owners.borrow_mut().remove(&fd);
            drop(removed);
        }
        Ok(())
    }

    /// The living transport that owns the descriptor, registered or not.
    pub(crate) fn descriptor_owner(&self, fd: RawFd) -> Outcome<Option<AnyTransport>> {
        let reference = self.owners.borrow().get(&fd).cloned();
        let Some(reference) = reference else {
            return Ok(None);
        };
        let owner = reference.call0()?;
        Ok(AnyTransport::from_object(&owner))
    }

    /// The living transports that own descriptors, in the order of these.
    pub(crate) fn transports(&self) -> Outcome<Vec<AnyTransport>> {
        let mut references: Vec<(RawFd, Object)> = self
            .owners
            .borrow()
            .iter()
            .map(|(&fd, reference)| (fd, reference.clone()))
            .collect();
        references.sort_by_key(|&(fd, _)| fd);
        let mut found = Vec::new();
        for (_, reference) in references {
            found.extend(AnyTransport::from_object(&reference.call0()?));
        }
        Ok(found)
    }

    /// A list of the living transports whose connections the server has accepted.
    pub(crate) fn transports_of(&self, server: &Object) -> Outcome<Object> {
        let references: Vec<Object> = self.owners.borrow().values().cloned().collect();
        let mut found = Vec::new();
        for reference in references {
            let owner = reference.call0()?;
            let is_its = This::<StreamTransport>::from_object(&owner)
                .and_then(|transport| transport.server.get())
                .is_some_and(|accepted_by| accepted_by.is(server));
            if is_its {
                found.push(owner);
            }
        }
        Object::list(found)
    }

    /// For `tp_traverse`.
    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        for transport in self.pending.borrow().iter() {
            visitor.own(transport)?;
        }
        for reference in self.owners.borrow().values() {
            visitor.object(reference)?;
        }
        Ok(())
    }

    /// Forgets everything; what was gathered is lost with its loop.
    pub(crate) fn clear(&self) {
        self.open.set(false);
        self.since.set(None);
        drop(self.pending.take());
        drop(self.owners.take());
    }
}

/// Memory that the kernel writes into, aligned to a page.
///
/// What an allocator gives out for as much memory begins 16 bytes into a page. Data in the kernel
/// mostly begins at a page's start, and a copy from there to 16 bytes further is the worst case of
/// the processor's string instructions (its loads seem to depend on the stores before them): a read
/// of 100 KiB took twice as long.
pub(crate) struct ReceiveBuffer {
    memory: Box<[u8]>,
    /// Where the first whole page begins.
    start: usize,
}

impl ReceiveBuffer {
    fn new() -> ReceiveBuffer {
        const PAGE: usize = 4096;
        keep_freed_memory();
        let memory = vec![0; RECEIVE_SIZE + PAGE].into_boxed_slice();
        // Where no alignment can be had any will do.
        let start = memory.as_ptr().align_offset(PAGE).min(PAGE);
        ReceiveBuffer { memory, start }
    }

    #[inline]
    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.memory[self.start..self.start + RECEIVE_SIZE]
    }
}

/// Has the C library keep memory that is freed, up to 2 MiB, for the next packet.
///
/// glibc gives the end of its heap back to the kernel when more than 128 KiB of it are free, and
/// a protocol that receives 100 KiB, keeps them in a buffer and drops them makes it do so for
/// every packet: a `brk` and page faults each time. Freeing one large block raises that limit to
/// twice the block's size (`M_MMAP_THRESHOLD` in mallopt(3)). asyncio's transports do it without
/// knowing, because they allocate 256 KiB for each read.
fn keep_freed_memory() {
    const BLOCK: usize = 1024 * 1024;
    static ONCE: Once = Once::new();
    ONCE.call_once(|| drop(black_box(Vec::<u8>::with_capacity(BLOCK))));
}

impl This<'_, EventLoop> {
    /// The turn is over: sends what it has gathered; later writes go at once.
    ///
    /// # Errors
    /// KeyboardInterrupt and SystemExit of a protocol that was told to pause.
    #[inline]
    pub(crate) fn flush_gathered(self) -> Outcome<()> {
        self.gathering.open.set(false);
        self.flush_writes()
    }

    /// Sends what the turn has gathered so far.
    ///
    /// # Errors
    /// As [`Self::flush_gathered`].
    #[inline]
    pub(crate) fn flush_writes(self) -> Outcome<()> {
        if !self.gathering.has_pending() {
            return Ok(());
        }
        self.flush_pending()
    }

    /// Sends what has waited long enough; called after each callback.
    ///
    /// # Errors
    /// As [`Self::flush_gathered`].
    #[inline]
    pub(crate) fn flush_overdue_writes(self) -> Outcome<()> {
        if self.gathering.is_overdue() {
            return self.flush_pending();
        }
        Ok(())
    }

    fn flush_pending(self) -> Outcome<()> {
        self.gathering.since.set(None);
        // Out of the cell: a protocol that is told to pause may write, to anybody.
        let mut batch = self.gathering.pending.take();
        let mut leaving: Option<Object> = None;
        for transport in batch.drain(..) {
            transport.enlisted.set(false);
            let Err(raised) = transport.this().flush_for_loop() else {
                continue;
            };
            // The others are sent all the same; the first exception is the one that leaves.
            let exception = raised.take();
            match leaving {
                None => leaving = Some(exception),
                Some(_) => Raised::exception(&exception).report_unraisable(&self.object()),
            }
        }
        let mut pending = self.gathering.pending.borrow_mut();
        if pending.is_empty() {
            // Keeps the memory for the next turn; both lists are empty.
            *pending = batch;
        }
        match leaving {
            None => Ok(()),
            Some(exception) => Err(Raised::exception(&exception)),
        }
    }

    /// `loop.gather_writes = …`
    pub(crate) fn set_gather_writes(self, enabled: bool) -> Outcome<()> {
        self.gathering.enabled.set(enabled);
        if enabled {
            return Ok(());
        }
        self.flush_gathered()
    }
}
