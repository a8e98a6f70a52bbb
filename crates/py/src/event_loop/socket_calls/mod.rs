//! `sock_recv`, `sock_sendall` and their kin: one call on a socket of the user's.
//!
//! A call is tried at once. When the kernel would have it wait, it becomes a [`SocketCall`], which
//! is what the `sock_*` coroutine awaits, and is tried again whenever the socket is ready. The
//! table of `sources.rs` holds it until it is done or its coroutine has given it up.
//!
//! Only sockets of exactly `socket.socket`, with nothing patched and outside debug mode, come
//! here; a socket that does something else in its `recv()` is served by
//! `ferrio/sockets.py`, which calls it.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | the call that waits |
//! | `operation` | what is tried: the system calls |
//! | `python` | the methods of the loop that the coroutines call |

mod operation;
mod python;

use std::ffi::{CStr, c_int};
use std::os::fd::RawFd;

pub(crate) use python::{build, methods_of_loop};

use super::sources::Side;
use super::{Entry, EventLoop};
use crate::ffi::{
    Arguments, FreeList, Native, Object, Outcome, Own, Raised, Slot, SocketCell, This, TypeObject,
    Visitor, none, standard_socket_fd,
};
use crate::future::{Future, advance, thrown_exception};
use crate::handle::only_ordinary;
use operation::{Attempt, Operation};

/// A call that waits for its socket, and the awaitable that its coroutine waits for.
///
/// Whatever ends the `await` ends the call: its result, an exception thrown into the coroutine,
/// the end of the coroutine. After that the call touches the socket no more, so nothing is read
/// for nobody, and another file that gets the number is safe.
pub(crate) struct SocketCall {
    /// What the task waits for; empty when the await is over.
    future: Slot<Own<Future>>,
    socket: SocketCell,
    /// The socket's number when the call was made.
    fd: RawFd,
    side: Side,
    operation: Operation,
}

static TYPE: TypeObject = TypeObject::new();
static FREE_LIST: FreeList = FreeList::new();

// SAFETY: `TYPE` is built for `SocketCall` in `python::build`.
unsafe impl Native for SocketCall {
    const NAME: &'static CStr = c"ferrio._ferrio.SocketCall";

    fn free_list() -> Option<&'static FreeList> {
        Some(&FREE_LIST)
    }

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<SocketCall> {
        Err(Raised::type_error("only a loop makes socket calls"))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.future.visit(visitor)?;
        self.socket.visit(visitor)?;
        self.operation.visit(visitor)
    }

    fn clear(&self) {
        self.future.clear();
        self.socket.clear();
        self.operation.clear();
    }
}

impl SocketCall {
    /// Nobody waits for the result any more, or it is there.
    fn is_over(&self) -> bool {
        self.future.get().is_none_or(|future| future.is_done())
    }

    pub(super) fn fd(&self) -> RawFd {
        self.fd
    }

    /// The descriptor and whether it waits to read.
    pub(crate) fn waits_for(&self) -> (RawFd, bool) {
        (self.fd, matches!(self.side, Side::Reader))
    }

    pub(super) fn side(&self) -> Side {
        self.side
    }

    /// The socket object, unless the garbage collector has taken it.
    pub(super) fn socket(&self) -> Option<Object> {
        self.socket.get()
    }
}

impl This<'_, EventLoop> {
    /// Makes a call on `socket`: its result, or what to await for it. `None` when the socket is
    /// none to be called natively.
    ///
    /// # Errors
    /// What the system call says; RuntimeError when a transport owns the socket or the loop is
    /// closed, and the call would have to wait.
    #[inline]
    fn call_socket(
        self,
        socket: &Object,
        side: Side,
        operation: Operation,
    ) -> Outcome<Option<Object>> {
        if self.is_debug() {
            return Ok(None);
        }
        let Some(fd) = standard_socket_fd(socket) else {
            return Ok(None);
        };
        let attempt = operation.attempt(self, fd)?;
        self.core.note_io();
        match attempt {
            Attempt::Done(result) => Ok(Some(result)),
            Attempt::NotNow | Attempt::Unfinished => {
                let unfinished = matches!(attempt, Attempt::Unfinished);
                let call = self.wait_for_socket(socket, fd, side, operation)?;
                if unfinished {
                    self.push(Entry::SocketCall(call.clone()));
                }
                Ok(Some(call.into_object()))
            }
        }
    }

    /// Has an operation tried again when the socket is ready. It must have been tried, and found
    /// that the kernel would have it wait, since the socket was registered.
    fn wait_for_socket(
        self,
        socket: &Object,
        fd: RawFd,
        side: Side,
        operation: Operation,
    ) -> Outcome<Own<SocketCall>> {
        self.check_closed()?;
        if let Some(transport) = self.transport_of(fd)?
            && !transport.is_closing()
        {
            self.descriptor(&Object::from_i64(fd.into())?)?;
        }
        let call = Own::new(SocketCall {
            future: Slot::with(Own::new(Future::bound(self))?),
            socket: SocketCell::with_standard(socket),
            fd,
            side,
            operation,
        })?;
        self.watch_call(&call)?;
        Ok(call)
    }
}

impl This<'_, SocketCall> {
    /// The loop's entry: the socket is ready.
    ///
    /// # Errors
    /// KeyboardInterrupt and SystemExit, from a signal's handler.
    #[inline]
    pub(super) fn on_ready(self, event_loop: This<'_, EventLoop>) -> Outcome<()> {
        // Another call or handle may have taken the watch over, since the event or before.
        if !event_loop.awaits(self) {
            return Ok(());
        }
        // A socket that was closed meanwhile has no number: there is nothing to be had from it.
        if self.is_over() || self.socket.fileno() != self.fd {
            return event_loop.end_call(self);
        }
        match self.operation.attempt(event_loop, self.fd) {
            Ok(Attempt::NotNow) => Ok(()),
            Ok(Attempt::Unfinished) => {
                event_loop.push(Entry::SocketCall(self.own()));
                Ok(())
            }
            Ok(Attempt::Done(result)) => self.finish(event_loop, Ok(result)),
            Err(raised) => {
                let exception = only_ordinary(raised)?;
                self.finish(event_loop, Err(exception))
            }
        }
    }

    fn finish(
        self,
        event_loop: This<'_, EventLoop>,
        result: Result<Object, Object>,
    ) -> Outcome<()> {
        event_loop.end_call(self)?;
        event_loop.note_io();
        // A Python callable may have ended the await.
        let Some(future) = self.future.get().filter(|future| !future.is_done()) else {
            return Ok(());
        };
        match result {
            Ok(result) => future.this().set_result(result),
            Err(exception) => future.this().set_raised(exception),
        }
    }

    /// The await is over without a result: the socket is the caller's again.
    fn give_up(self) -> Outcome<()> {
        let Some(future) = self.future.take() else {
            return Ok(());
        };
        match future.native_loop() {
            Some(event_loop) => event_loop.this().end_call(self),
            None => Ok(()),
        }
    }

    #[inline]
    fn advance(self) -> Outcome<Option<Object>> {
        advance(&self.value().future)
    }

    fn send(self, _value: &Object) -> Outcome<Object> {
        self.advance()?
            .ok_or_else(|| Raised::stop_iteration(&none()))
    }

    fn throw(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let exception = thrown_exception(arguments)?;
        self.give_up()?;
        Err(Raised::exception(&exception))
    }

    fn close(self) -> Outcome<Object> {
        self.give_up()?;
        Ok(none())
    }
}
