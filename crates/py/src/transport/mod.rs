//! `ferrio._ferrio.StreamTransport`: a connected stream socket and the protocol it serves.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | what a transport consists of |
//! | `watching` | which events the loop tells it of |
//! | `reading` | from the kernel to the protocol |
//! | `writing` | from the protocol to the kernel, and flow control |
//! | `gathering` | the writes of one turn, sent at its end |
//! | `closing` | how a connection ends |
//! | `socket`, `piece` | system calls; bytes that wait to be sent |
//! | `python` | all of it as Python sees it |
//!
//! # Who may do what
//!
//! Everything happens on the loop's thread, in a callback or between two runs. The protocol's
//! methods may call every method of the transport at any time: nothing is borrowed while Python
//! code runs, and each step looks again at what an earlier call may have changed.
//!
//! # How a connection ends
//!
//! `closing` is set first: nothing is read any more. When nothing is left to send, or nobody
//! cares, `lost` counts one and `connection_lost()` is scheduled, once. It is followed by the
//! socket's end, and only there is the socket closed: its number may be given to another file at
//! once, so by then the loop no longer watches it.

mod closing;
mod gathering;
mod piece;
mod python;
mod reading;
mod socket;
mod watching;
mod writing;

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int};
use std::os::fd::RawFd;

use ferrio_core::{Interest, WriteBuffer};
pub(crate) use gathering::Gathering;
use piece::Piece;
pub(crate) use python::build;

use crate::event_loop::EventLoop;
use crate::ffi::{
    Native, Object, ObjectCell, Outcome, Own, Raised, Slot, SocketCell, This, TypeObject, Visitor,
    text,
};
use crate::handle::only_ordinary;
use crate::imports::imports;

/// A connected stream socket: TCP or Unix.
#[repr(C)]
pub(crate) struct StreamTransport {
    /// `_extra`, what `get_extra_info()` knows. The slot is `asyncio.BaseTransport`'s, whose
    /// instances have it right behind their header: see [`python::build`].
    extra: ObjectCell,
    weak_references: ObjectCell,
    /// Empty once the connection is lost, as everything of its kind below.
    event_loop: Slot<Own<EventLoop>>,
    protocol: ObjectCell,
    /// How the protocol wants to be given what arrives.
    receiver: Cell<Receiver>,
    /// Whose connection this is, if it was accepted: its `_detach()` is called at the end.
    server: ObjectCell,
    socket: SocketCell,
    /// The socket's number, also after it is closed.
    fd: Cell<RawFd>,
    /// `close()` was called, or the connection broke.
    closing: Cell<bool>,
    /// 0 until `connection_lost()` is scheduled; then 1 and one more for each write that was
    /// too late.
    lost: Cell<usize>,
    /// `write_eof()` was called.
    eof: Cell<bool>,
    /// `pause_reading()` was called.
    paused: Cell<bool>,
    /// Whether the protocol is to be told of what arrives.
    reads: Cell<bool>,
    /// What the loop watches the socket for: at least what is wanted, maybe more (`watching`).
    watched: Cell<Interest>,
    output: Cell<Output>,
    /// What was written and the kernel has not taken.
    buffer: RefCell<WriteBuffer<Piece>>,
    /// Whether the loop's list of gathered writes has this transport.
    enlisted: Cell<bool>,
    /// The context of what reading calls: a copy of the one in which reading began.
    read_context: ObjectCell,
    /// The context of what writing calls, when it had to wait for the kernel.
    write_context: ObjectCell,
    /// Whom to tell when everything is sent. While there is one, nobody may write.
    empty_waiter: ObjectCell,
}

/// How a protocol wants to be given what arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiver {
    /// As new bytes, to `data_received()`.
    Data,
    /// In its own memory, which `get_buffer()` lends.
    Buffer,
}

/// Where written bytes stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Output {
    /// The kernel has taken everything.
    Idle,
    /// The buffer holds what this turn wrote; the kernel was not asked yet.
    Gathered,
    /// The buffer holds what the kernel had no room for; the loop tells when there is room.
    Refused,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `StreamTransport` in `python::build`; the offset is that of a
// field that only CPython touches.
unsafe impl Native for StreamTransport {
    const NAME: &'static CStr = c"ferrio._ferrio.StreamTransport";
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(StreamTransport, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<StreamTransport> {
        Ok(StreamTransport {
            extra: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            event_loop: Slot::new(),
            protocol: ObjectCell::new(),
            receiver: Cell::new(Receiver::Data),
            server: ObjectCell::new(),
            socket: SocketCell::new(),
            fd: Cell::new(-1),
            closing: Cell::new(false),
            lost: Cell::new(0),
            eof: Cell::new(false),
            paused: Cell::new(false),
            reads: Cell::new(false),
            watched: Cell::new(Interest::empty()),
            output: Cell::new(Output::Idle),
            buffer: RefCell::new(WriteBuffer::new()),
            enlisted: Cell::new(false),
            read_context: ObjectCell::new(),
            write_context: ObjectCell::new(),
            empty_waiter: ObjectCell::new(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.extra.visit(visitor)?;
        self.event_loop.visit(visitor)?;
        self.protocol.visit(visitor)?;
        self.server.visit(visitor)?;
        self.socket.visit(visitor)?;
        self.read_context.visit(visitor)?;
        self.write_context.visit(visitor)?;
        self.empty_waiter.visit(visitor)?;
        let mut answer = Ok(());
        // Borrowed only while the buffer is being changed, when nothing of it is garbage.
        let Ok(buffer) = self.buffer.try_borrow() else {
            return Ok(());
        };
        buffer.for_each(|piece| {
            if answer.is_ok() {
                answer = piece.visit(visitor);
            }
        });
        answer
    }

    fn clear(&self) {
        self.extra.clear();
        self.event_loop.clear();
        self.protocol.clear();
        self.server.clear();
        drop(self.socket.take());
        self.read_context.clear();
        self.write_context.clear();
        self.empty_waiter.clear();
        drop(self.take_unsent());
    }
}

impl StreamTransport {
    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Whether `connection_lost()` was called or is scheduled.
    #[inline]
    fn is_lost(&self) -> bool {
        self.lost.get() > 0
    }

    fn is_debug(&self) -> bool {
        self.event_loop
            .get()
            .is_some_and(|event_loop| event_loop.is_debug())
    }

    /// The loop.
    ///
    /// # Errors
    /// RuntimeError before `__init__` and after the end.
    fn owner(&self) -> Outcome<Own<EventLoop>> {
        self.event_loop
            .get()
            .ok_or_else(|| Raised::runtime_error("the transport has no event loop (any more)"))
    }
}

impl This<'_, StreamTransport> {
    /// Tells the loop's exception handler of an exception that nobody is there to catch.
    fn report(self, message: &str, exception: &Object) -> Outcome<()> {
        let Some(event_loop) = self.event_loop.get() else {
            return Ok(());
        };
        let context = Object::dict()?;
        context.dict_set(&text("message")?, &text(message)?)?;
        context.dict_set(&text("exception")?, exception)?;
        context.dict_set(&text("transport")?, &self.object())?;
        let protocol = self.protocol.get().unwrap_or_else(crate::ffi::none);
        context.dict_set(&text("protocol")?, &protocol)?;
        event_loop.this().call_exception_handler(&context)
    }

    /// For callbacks that the loop makes: what they raise by mistake goes to the loop's
    /// exception handler.
    ///
    /// # Errors
    /// KeyboardInterrupt and SystemExit.
    #[inline]
    fn contain(self, outcome: Outcome<()>, callback: &str) -> Outcome<()> {
        match outcome {
            Ok(()) => Ok(()),
            Err(raised) => self.report_callback(raised, callback),
        }
    }

    #[cold]
    fn report_callback(self, raised: Raised, callback: &str) -> Outcome<()> {
        let exception = only_ordinary(raised)?;
        let name = self.object().type_object().get_attr(&text("__name__")?)?;
        let message = format!("Exception in callback {}.{callback}()", name.to_text()?);
        let Err(raised) = self.report(&message, &exception) else {
            return Ok(());
        };
        // An exception handler that fails itself: there is nobody else to tell.
        let second = Raised::exception(&only_ordinary(raised)?);
        second.report_unraisable(&self.object());
        Ok(())
    }

    /// `logger.debug(format, self, *arguments)`, in debug mode.
    fn log_debug(self, format: &str, arguments: &[&Object]) -> Outcome<()> {
        if !self.is_debug() {
            return Ok(());
        }
        let logger = crate::imports::module(c"asyncio.log")?.get_attr(&text("logger")?)?;
        let (format, this) = (text(format)?, self.object());
        let mut values: Vec<&Object> = vec![&format, &this];
        values.extend(arguments);
        logger.call_method(&text("debug")?, &values).map(drop)
    }

    /// Schedules one of this object's own methods with `loop.call_soon()`.
    fn call_soon(self, method: &Object, argument: &Object) -> Outcome<()> {
        let method = self.object().get_attr(method)?;
        self.owner()?
            .into_object()
            .call_method(&imports().names.call_soon, &[&method, argument])
            .map(drop)
    }
}
