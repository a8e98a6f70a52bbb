//! Who waits for one descriptor, and what the kernel was asked to report of it.
//!
//! `add_reader` and `add_writer` are told as long as the descriptor is ready: it is registered
//! level-triggered, for exactly what is asked for.
//!
//! The `sock_*` calls alone need less. Each of them is tried before it waits, so a report of every
//! change is enough, and the socket is registered edge-triggered, once: a server that receives and
//! sends in turns makes no `epoll_ctl` at all. Nobody may be waiting when a report comes; after
//! some of those the registration is given up.
//!
//! A registration ends when its file is closed, and the kernel gives the number away again. So one
//! that has nobody waiting is trusted only for the socket object it was made for, which has its
//! number for life. (Who puts another file under a socket's number with `os.dup2()` must not have
//! used `sock_*` on it before.)

use std::cell::Cell;
use std::ffi::c_int;

use ferrio_core::Interest;

use super::Entry;
use super::socket_calls::SocketCall;
use super::sources::Side;
use crate::ffi::{Object, Own, This, Visitor};
use crate::handle::Handle;

/// So many reports in a row that nobody waited for end a registration. A peer that sends while the
/// call before is being worked on makes one now and then.
const UNHEARD_REPORTS: u8 = 8;

/// One descriptor's waiters.
#[derive(Default)]
pub(super) struct FileWatch {
    pub(super) reader: Option<Waiter>,
    pub(super) writer: Option<Waiter>,
    /// What the kernel was asked for last; empty when nothing.
    pub(super) registered: Interest,
    /// A weak reference to the socket for whose calls it is registered edge-triggered.
    pub(super) socket: Option<Object>,
    /// Reports in a row for which nobody waited.
    unheard: Cell<u8>,
}

/// One who waits.
pub(super) enum Waiter {
    /// `add_reader`, `add_writer`.
    Handle(Own<Handle>),
    /// A `sock_*` call.
    Call(Own<SocketCall>),
}

impl FileWatch {
    pub(super) fn side(&mut self, side: Side) -> &mut Option<Waiter> {
        match side {
            Side::Reader => &mut self.reader,
            Side::Writer => &mut self.writer,
        }
    }

    /// Whether nobody waits.
    pub(super) fn is_idle(&self) -> bool {
        self.reader.is_none() && self.writer.is_none()
    }

    /// Whether this very call waits.
    #[inline]
    pub(super) fn holds(&self, call: This<'_, SocketCall>) -> bool {
        let waiter = match call.side() {
            Side::Reader => &self.reader,
            Side::Writer => &self.writer,
        };
        matches!(waiter, Some(Waiter::Call(waiting)) if waiting.address() == call.as_ptr())
    }

    /// What the kernel is to report.
    #[inline]
    pub(super) fn wanted(&self) -> Interest {
        let mut needed = Interest::empty();
        needed.set(Interest::READABLE, self.reader.is_some());
        needed.set(Interest::WRITABLE, self.writer.is_some());
        let handles = [&self.reader, &self.writer]
            .into_iter()
            .any(|waiter| matches!(waiter, Some(Waiter::Handle(_))));
        if handles {
            needed
        } else if self.registered.contains(Interest::EDGE) {
            self.registered | needed
        } else if needed.is_empty() {
            needed
        } else {
            needed | Interest::EDGE
        }
    }

    /// Calls on another socket object: whatever is registered may be of a file that is gone.
    #[must_use = "the old reference is the caller's to drop"]
    pub(super) fn register_anew_for(&mut self, socket: Object) -> Option<Object> {
        self.registered = Interest::empty();
        self.socket.replace(socket)
    }

    /// Counts a report; false when the registration is not worth keeping.
    #[inline]
    pub(super) fn note_event(&self, heard: bool) -> bool {
        if heard {
            self.unheard.set(0);
            return true;
        }
        let unheard = self.unheard.get().saturating_add(1);
        self.unheard.set(unheard);
        // A waiter for the other side keeps it.
        unheard < UNHEARD_REPORTS || !self.is_idle()
    }

    pub(super) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        for waiter in [&self.reader, &self.writer].into_iter().flatten() {
            match waiter {
                Waiter::Handle(handle) => visitor.own(handle)?,
                Waiter::Call(call) => visitor.own(call)?,
            }
        }
        match &self.socket {
            Some(socket) => visitor.object(socket),
            None => Ok(()),
        }
    }
}

impl Waiter {
    /// What runs when the descriptor is ready.
    #[inline]
    pub(super) fn entry(&self) -> Entry {
        match self {
            Waiter::Handle(handle) => Entry::Handle(handle.clone()),
            Waiter::Call(call) => Entry::SocketCall(call.clone()),
        }
    }
}
