//! What every transport over a socket consists of, whatever it carries.
//!
//! A transport type begins with an [`Endpoint`] and says the rest by [`Transport`]. Whatever is
//! the same for all of them (which events are watched, how a connection ends, flow control) is
//! written once, for `This<T>`.

use std::cell::Cell;
use std::ffi::c_int;
use std::io;
use std::ops::Deref;
use std::os::fd::{BorrowedFd, RawFd};

use ferrio_core::Interest;
use ferrio_core::flow_control::{Limits, Pressure};
use ferrio_inspect::SiteId;
use ferrio_inspect::counters::TransportKind;
use rustix::io::Errno;

use super::AnyTransport;
use super::accepted::AcceptedSocket;
use super::counting::Counted;
use crate::event_loop::EventLoop;
use crate::ffi::{
    Native, Object, ObjectCell, Outcome, Own, Raised, SavedException, Slot, SocketCell, This,
    Visitor, text,
};
use crate::handle::only_ordinary;
use crate::imports::imports;
use crate::task::{creation, is_registry_on};

/// The part of a transport that does not depend on what it carries.
#[repr(C)]
pub(crate) struct Endpoint {
    /// `_extra`, what `get_extra_info()` knows: a dict, or an [`AcceptedSocket`] that knows the
    /// addresses, until somebody asks for more. The slot is `asyncio.BaseTransport`'s, whose
    /// instances have it right behind their header: see [`super::methods::require_one_slot`].
    pub(super) extra: ObjectCell,
    pub(super) weak_references: ObjectCell,
    /// Empty once the connection is lost, as everything of its kind below.
    pub(super) event_loop: Slot<Own<EventLoop>>,
    pub(super) protocol: ObjectCell,
    pub(super) socket: SocketCell,
    /// The socket's number, also after it is closed.
    pub(super) fd: Cell<RawFd>,
    /// `close()` was called, or the connection broke.
    pub(super) closing: Cell<bool>,
    /// 0 until `connection_lost()` is scheduled; then 1 and one more for each write that was
    /// too late.
    pub(super) lost: Cell<usize>,
    /// `pause_reading()` was called.
    pub(super) paused: Cell<bool>,
    /// Whether the protocol is to be told of what arrives.
    pub(super) reads: Cell<bool>,
    /// What the loop watches the socket for: at least what is wanted, maybe more (`watching`).
    pub(super) watched: Cell<Interest>,
    /// The context of what reading calls: a copy of the one in which reading began, or nothing
    /// while no variable is set in it.
    pub(super) read_context: ObjectCell,
    /// The context of what writing calls, when it had to wait for the kernel.
    pub(super) write_context: ObjectCell,
    /// What the loop's counters were told.
    pub(super) counted: Counted,
    /// The line that asked for it, unless a server has accepted it.
    pub(super) created: Cell<SiteId>,
    /// The number of the task that did, or 0.
    pub(super) creator: Cell<u64>,
}

/// A type of transports: what differs between them, for what they have in common.
pub(crate) trait Transport: Native + Deref<Target = Endpoint> {
    /// What asyncio calls the function that goes on sending.
    const WRITE_CALLBACK: &'static str;
    /// What it counts as.
    const KIND: TransportKind;

    /// The transport as the loop keeps it.
    fn into_any(transport: Own<Self>) -> AnyTransport;

    /// Something has arrived.
    fn read_ready(this: This<'_, Self>) -> Outcome<()>;

    /// The kernel has room again.
    fn write_ready(this: This<'_, Self>) -> Outcome<()>;

    /// Whether the loop is to tell when the kernel has room.
    fn awaits_room(&self) -> bool;

    /// `set_protocol(protocol)`.
    fn set_protocol(this: This<'_, Self>, protocol: &Object) -> Outcome<()>;

    /// How many bytes the kernel has refused.
    fn refused(&self) -> usize;

    /// Whether something waits to be sent.
    fn has_unsent(&self) -> bool;

    /// Gives up what waits to be sent.
    fn drop_unsent(&self);

    /// Sends what is held back although the kernel may have room.
    fn flush(this: This<'_, Self>) -> Outcome<()>;

    /// The socket was closed, everybody let go of: what else is to be done at the end.
    fn released(this: This<'_, Self>) -> Outcome<()>;

    /// See [`ferrio_core::flow_control::FlowControl`].
    fn limits(&self) -> Limits;
    /// Replaces the water marks.
    fn replace_limits(&self, limits: Limits);
    /// What the protocol must be told by what waits now.
    fn pressure(&self) -> Option<Pressure>;
    /// Whether the protocol was told to pause.
    fn is_protocol_paused(&self) -> bool;
}

impl Endpoint {
    pub(super) const fn new() -> Endpoint {
        Endpoint {
            extra: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            event_loop: Slot::new(),
            protocol: ObjectCell::new(),
            socket: SocketCell::new(),
            fd: Cell::new(-1),
            closing: Cell::new(false),
            lost: Cell::new(0),
            paused: Cell::new(false),
            reads: Cell::new(false),
            watched: Cell::new(Interest::empty()),
            read_context: ObjectCell::new(),
            write_context: ObjectCell::new(),
            counted: Counted::new(),
            created: Cell::new(SiteId::NONE),
            creator: Cell::new(0),
        }
    }

    /// For `tp_traverse`.
    pub(super) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.extra.visit(visitor)?;
        self.event_loop.visit(visitor)?;
        self.protocol.visit(visitor)?;
        self.socket.visit(visitor)?;
        self.read_context.visit(visitor)?;
        self.write_context.visit(visitor)
    }

    /// For `tp_clear`.
    pub(super) fn clear(&self) {
        self.extra.clear();
        self.event_loop.clear();
        self.protocol.clear();
        drop(self.socket.take());
        self.read_context.clear();
        self.write_context.clear();
    }

    #[inline]
    pub(crate) fn is_closing(&self) -> bool {
        self.closing.get()
    }

    /// Whether `connection_lost()` was called or is scheduled.
    #[inline]
    pub(super) fn is_lost(&self) -> bool {
        self.lost.get() > 0
    }

    pub(super) fn is_debug(&self) -> bool {
        self.event_loop
            .get()
            .is_some_and(|event_loop| event_loop.is_debug())
    }

    /// The loop.
    ///
    /// # Errors
    /// RuntimeError before `__init__` and after the end.
    #[inline]
    pub(super) fn owner(&self) -> Outcome<Own<EventLoop>> {
        self.event_loop
            .get()
            .ok_or_else(|| Raised::runtime_error("the transport has no event loop (any more)"))
    }

    /// Tells the loop that something was written or read.
    #[inline]
    pub(super) fn note_io(&self) {
        if let Some(event_loop) = self.event_loop.get() {
            event_loop.note_io();
        }
    }

    /// The socket's descriptor.
    ///
    /// # Errors
    /// EBADF when the socket object was closed or given another file behind our back: the number
    /// may be a stranger's by now.
    #[inline]
    pub(super) fn open_fd(&self) -> io::Result<BorrowedFd<'_>> {
        let fd = self.socket.fileno();
        if fd < 0 || fd != self.fd.get() {
            return Err(Errno::BADF.into());
        }
        // SAFETY: not -1. The socket object, which this transport holds, says that the number is
        // its; no Python code that could close it runs before the system call.
        Ok(unsafe { BorrowedFd::borrow_raw(fd) })
    }
}

impl<T: Transport> This<'_, T> {
    /// What `__init__` does first: takes the socket over.
    ///
    /// # Errors
    /// TypeError for another loop than ferrio's, RuntimeError for a second time.
    pub(super) fn take_over(
        self,
        event_loop: &Object,
        socket: &Object,
        extra: &Object,
    ) -> Outcome<()> {
        self.take_over_file(event_loop, socket, extra, T::KIND)?;
        if is_registry_on() && This::<AcceptedSocket>::from_exact(socket).is_none() {
            let (site, task) = creation();
            self.created.set(site);
            self.creator.set(task);
        }
        self.owner()?.gathering.own_descriptor(self)
    }
}

/// What asks nothing of a transport but an endpoint; pipes have it as well.
impl<T: Native + Deref<Target = Endpoint>> This<'_, T> {
    /// Takes a file over, but not its number: that may be another transport's as well.
    ///
    /// # Errors
    /// As [`Self::take_over`].
    pub(super) fn take_over_file(
        self,
        event_loop: &Object,
        file: &Object,
        extra: &Object,
        kind: TransportKind,
    ) -> Outcome<()> {
        let Some(event_loop) = This::<EventLoop>::from_object(event_loop) else {
            return Err(Raised::type_error("the transport needs a loop of ferrio"));
        };
        if self.socket.get().is_some() || self.is_closing() {
            return Err(Raised::runtime_error(
                "the transport is initialised already",
            ));
        }
        match This::<AcceptedSocket>::from_exact(file) {
            Some(accepted) => {
                self.fd.set(self.socket.set_native(accepted));
                self.extra.set(file.clone());
            }
            None => {
                self.fd.set(self.socket.set(file)?);
                self.extra.set(extra.clone());
            }
        }
        self.counted.open(&event_loop.value().record, kind);
        self.event_loop.set(event_loop.own());
        Ok(())
    }

    /// The socket object, which is made of an accepted connection now; `None` once the connection
    /// is lost.
    pub(super) fn python_socket(self) -> Outcome<Option<Object>> {
        let socket = self.socket.get();
        let Some(accepted) = socket.as_ref().and_then(This::<AcceptedSocket>::from_exact) else {
            return Ok(socket);
        };
        let socket = accepted.to_socket()?;
        self.socket.set(&socket)?;
        Ok(Some(socket))
    }

    /// What `get_extra_info()` knows, as the dict that asyncio has.
    pub(super) fn extra_dict(self) -> Outcome<Object> {
        let extra = self.extra.get().unwrap_or_else(crate::ffi::none);
        let Some(accepted) = This::<AcceptedSocket>::from_exact(&extra) else {
            return Ok(extra);
        };
        let socket = match self.python_socket()? {
            Some(socket) => socket,
            // One that is closed, as the connection's would be.
            None => accepted.to_socket()?,
        };
        let dict = accepted.describe(&socket)?;
        self.extra.set(dict.clone());
        Ok(dict)
    }

    /// Tells the loop's exception handler of an exception that nobody is there to catch.
    pub(super) fn report(self, message: &str, exception: &Object) -> Outcome<()> {
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
    pub(super) fn contain(self, outcome: Outcome<()>, callback: &str) -> Outcome<()> {
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
    pub(super) fn log_debug(self, format: &str, arguments: &[&Object]) -> Outcome<()> {
        self.log("debug", format, arguments)
    }

    /// `logger.info(format, self)`, in debug mode.
    pub(super) fn log_info(self, format: &str) -> Outcome<()> {
        self.log("info", format, &[])
    }

    fn log(self, level: &str, format: &str, arguments: &[&Object]) -> Outcome<()> {
        if !self.is_debug() {
            return Ok(());
        }
        let logger = crate::imports::module(c"asyncio.log")?.get_attr(&text("logger")?)?;
        let (format, this) = (text(format)?, self.object());
        let mut values: Vec<&Object> = vec![&format, &this];
        values.extend(arguments);
        logger.call_method(&text(level)?, &values).map(drop)
    }

    /// Schedules one of this object's own methods with `loop.call_soon()`.
    pub(super) fn call_soon(self, method: &Object, argument: &Object) -> Outcome<()> {
        let method = self.object().get_attr(method)?;
        self.owner()?
            .into_object()
            .call_method(&imports().names.call_soon, &[&method, argument])
            .map(drop)
    }

    /// In debug mode: `logger.debug("%r: %s", self, message)` with the exception.
    pub(super) fn log_debug_error(self, exception: &Object, message: &str) -> Outcome<()> {
        if !self.is_debug() {
            return Ok(());
        }
        let logger = crate::imports::module(c"asyncio.log")?.get_attr(&text("logger")?)?;
        let keyword = Object::tuple(&[&text("exc_info")?])?;
        let values: [&Object; 4] = [&text("%r: %s")?, &self.object(), &text(message)?, exception];
        logger
            .call_method_with(&text("debug")?, &values, Some(&keyword))
            .map(drop)
    }

    pub(super) fn tell_protocol(self, method: &str) -> Outcome<()> {
        let Some(protocol) = self.protocol.get() else {
            return Ok(());
        };
        match protocol.call_method(&text(method)?, &[]) {
            Ok(_) => Ok(()),
            Err(raised) => {
                let exception = only_ordinary(raised)?;
                self.report(&format!("protocol.{method}() failed"), &exception)
            }
        }
    }

    /// Runs `second` whatever became of the first. When both fail the first exception is the one
    /// that leaves.
    pub(super) fn and_also(
        self,
        first: Outcome<()>,
        second: impl FnOnce() -> Outcome<()>,
    ) -> Outcome<()> {
        let Err(raised) = first else {
            return second();
        };
        let saved = SavedException::new();
        if let Err(again) = second() {
            again.report_unraisable(&self.object());
        }
        drop(saved);
        Err(raised)
    }
}
