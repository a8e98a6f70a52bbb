//! `ferrio._ferrio.TlsProtocol` and `TlsTransport`: TLS between a stream transport and a protocol.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | what a connection consists of, its states |
//! | `engine` | the calls into OpenSSL, through Python's own `ssl` objects |
//! | `handshake` | from `connection_made()` to the application's |
//! | `reading` | from the socket's transport to the application |
//! | `writing` | from the application to the socket's transport, and flow control |
//! | `closing` | the closing handshake, and how a connection ends |
//! | `protocol` | the protocol as Python sees it |
//! | `transport` | the transport that the application is given |
//!
//! # Whose TLS it is
//!
//! OpenSSL's, by the user's own `ssl.SSLContext`: `context.wrap_bio()` has made the `SSLObject`
//! and the two `ssl.MemoryBIO`s. An `SSLObject` wraps an `_ssl._SSLSocket` in methods written in
//! Python; the records go to the `_SSLSocket` itself, unless somebody has overridden one of those
//! methods.
//!
//! # What a record costs
//!
//! The protocol stands on any transport, by asyncio's `BufferedProtocol` interface. On a
//! [`StreamTransport`] there is a shorter way: what the kernel wrote into the loop's one receive
//! buffer comes to [`TlsProtocol`] as a slice, is copied into the incoming BIO, and is decrypted
//! into the very `bytes` that `data_received()` is called with. What the application writes is
//! encrypted at once, taken out of the outgoing BIO as `bytes`, and written to the transport, which
//! sends a turn's records together. OpenSSL is not asked for what cannot be there, because it
//! answers with an exception.
//!
//! # Who may do what
//!
//! As in `transport`: everything on the loop's thread, nothing borrowed while Python code runs.
//! Every call into OpenSSL may run Python code: a context's callbacks.

mod closing;
mod engine;
mod handshake;
mod protocol;
mod reading;
mod transport;
mod writing;

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{CStr, c_int};

use ferrio_core::RecordStream;
use ferrio_core::flow_control::Limits;
pub(crate) use handshake::writes_by_itself;
pub(super) use protocol::build;

use super::counting::Counted;
use super::{Receiver, StreamTransport};
use crate::event_loop::EventLoop;
use crate::ffi::{
    MemoryBio, Native, Object, ObjectCell, Outcome, Own, Raised, Slot, SslSocket, This, TypeObject,
    Visitor, none, sys, text,
};
use crate::imports::imports;

/// The TLS side of one connection: a protocol to the socket's transport below, and through a
/// `TlsTransport` a transport to the application's protocol above.
#[repr(C)]
pub(crate) struct TlsProtocol {
    weak_references: ObjectCell,
    event_loop: Slot<Own<EventLoop>>,
    /// What the loop's counters were told.
    counted: Counted,
    /// The application's protocol; empty once the connection is lost.
    app_protocol: ObjectCell,
    /// How the application's protocol wants to be given what arrives.
    receiver: Cell<Receiver>,
    /// The application's transport; empty once the connection is lost.
    app_transport: ObjectCell,
    /// The transport below, between its `connection_made()` and its `connection_lost()`.
    transport: ObjectCell,
    /// Whether `transport` is a [`StreamTransport`] whose `write` nobody has replaced.
    plain_transport: Cell<bool>,
    context: ObjectCell,
    /// What `get_extra_info()` knows of TLS: a dict.
    extra: ObjectCell,
    /// The `ssl.SSLObject`.
    ssl_object: ObjectCell,
    /// What it wraps, if its methods are `ssl`'s own; else the object itself is called.
    ssl_socket: Slot<SslSocket>,
    incoming: Slot<MemoryBio>,
    /// Where what was written to `incoming` stands among the peer's records.
    records: Cell<RecordStream>,
    outgoing: Slot<MemoryBio>,
    /// Who waits for the handshake's end.
    waiter: ObjectCell,
    server_side: Cell<bool>,
    server_hostname: ObjectCell,
    state: Cell<State>,
    app_state: Cell<AppState>,
    /// 0 until the connection is lost; then 1 and one more for each write that was too late.
    lost: Cell<usize>,
    /// Seconds, as the user gave them.
    handshake_timeout: ObjectCell,
    shutdown_timeout: ObjectCell,
    handshake_timer: ObjectCell,
    shutdown_timer: ObjectCell,
    /// Loop time in seconds, in debug mode.
    handshake_started: Cell<f64>,
    /// The end of the stream below has arrived.
    eof_received: Cell<bool>,
    /// OpenSSL may hold decrypted bytes that nobody has read.
    unread: Cell<bool>,
    /// The application's `pause_reading()` was called.
    app_reading_paused: Cell<bool>,
    /// The transport below was asked to pause, because too much waits to be decrypted.
    reading_paused: Cell<bool>,
    incoming_limits: Cell<Limits>,
    /// The application's protocol was asked to pause.
    app_writing_paused: Cell<bool>,
    /// The transport below has asked us to pause.
    writing_paused: Cell<bool>,
    outgoing_limits: Cell<Limits>,
    /// What was written and OpenSSL has not taken, as `bytes`.
    backlog: RefCell<VecDeque<Object>>,
    /// How many bytes `backlog` holds.
    backlog_size: Cell<usize>,
    /// What a transport that is not ours writes into: a bytearray, made when it asks.
    buffer: ObjectCell,
}

/// Where the connection stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// No TLS: not yet, or not any more.
    Unwrapped,
    /// The handshake is under way.
    Handshake,
    /// The application's bytes go both ways.
    Wrapped,
    /// Closing: what has arrived is still delivered.
    Flushing,
    /// The closing handshake is under way.
    Shutdown,
}

impl State {
    /// asyncio's name of the state.
    fn name(self) -> &'static CStr {
        match self {
            State::Unwrapped => c"UNWRAPPED",
            State::Handshake => c"DO_HANDSHAKE",
            State::Wrapped => c"WRAPPED",
            State::Flushing => c"FLUSHING",
            State::Shutdown => c"SHUTDOWN",
        }
    }

    /// Whether the application's protocol may be given what arrives.
    #[inline]
    fn delivers(self) -> bool {
        matches!(self, State::Wrapped | State::Flushing)
    }

    /// Whether `next` may follow.
    fn allows(self, next: State) -> bool {
        matches!(
            (self, next),
            (_, State::Unwrapped)
                | (State::Unwrapped, State::Handshake)
                | (State::Handshake, State::Wrapped)
                | (State::Wrapped, State::Flushing)
                | (State::Flushing, State::Shutdown)
        )
    }
}

/// What the application's protocol has been told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum AppState {
    /// Nothing.
    Initial,
    /// `connection_made()`, or it had a transport before.
    Made,
    /// `eof_received()`.
    Eof,
    /// `connection_lost()`.
    Lost,
}

impl AppState {
    /// asyncio's name of the state.
    fn name(self) -> &'static CStr {
        match self {
            AppState::Initial => c"STATE_INIT",
            AppState::Made => c"STATE_CON_MADE",
            AppState::Eof => c"STATE_EOF",
            AppState::Lost => c"STATE_CON_LOST",
        }
    }
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `TlsProtocol` in `protocol::build`; the offset is that of a field
// that only CPython touches.
unsafe impl Native for TlsProtocol {
    const NAME: &'static CStr = c"ferrio._ferrio.TlsProtocol";
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(TlsProtocol, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<TlsProtocol> {
        Ok(TlsProtocol {
            weak_references: ObjectCell::new(),
            counted: Counted::new(),
            event_loop: Slot::new(),
            app_protocol: ObjectCell::new(),
            receiver: Cell::new(Receiver::Data),
            app_transport: ObjectCell::new(),
            transport: ObjectCell::new(),
            plain_transport: Cell::new(false),
            context: ObjectCell::new(),
            extra: ObjectCell::new(),
            ssl_object: ObjectCell::new(),
            ssl_socket: Slot::new(),
            incoming: Slot::new(),
            records: Cell::new(RecordStream::default()),
            outgoing: Slot::new(),
            waiter: ObjectCell::new(),
            server_side: Cell::new(false),
            server_hostname: ObjectCell::new(),
            state: Cell::new(State::Unwrapped),
            app_state: Cell::new(AppState::Initial),
            lost: Cell::new(0),
            handshake_timeout: ObjectCell::new(),
            shutdown_timeout: ObjectCell::new(),
            handshake_timer: ObjectCell::new(),
            shutdown_timer: ObjectCell::new(),
            handshake_started: Cell::new(0.0),
            eof_received: Cell::new(false),
            unread: Cell::new(true),
            app_reading_paused: Cell::new(false),
            reading_paused: Cell::new(false),
            incoming_limits: Cell::new(reading::default_limits()),
            app_writing_paused: Cell::new(false),
            writing_paused: Cell::new(false),
            outgoing_limits: Cell::new(writing::default_limits()),
            backlog: RefCell::default(),
            backlog_size: Cell::new(0),
            buffer: ObjectCell::new(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.event_loop.visit(visitor)?;
        for cell in self.cells() {
            cell.visit(visitor)?;
        }
        self.ssl_socket.visit(visitor)?;
        self.incoming.visit(visitor)?;
        self.outgoing.visit(visitor)?;
        // Borrowed only while it is being changed, when nothing of it is garbage.
        let Ok(backlog) = self.backlog.try_borrow() else {
            return Ok(());
        };
        backlog.iter().try_for_each(|data| visitor.object(data))
    }

    fn clear(&self) {
        self.event_loop.clear();
        for cell in self.cells() {
            cell.clear();
        }
        self.ssl_socket.clear();
        self.incoming.clear();
        self.outgoing.clear();
        self.drop_backlog();
    }
}

impl TlsProtocol {
    fn cells(&self) -> [&ObjectCell; 13] {
        [
            &self.app_protocol,
            &self.app_transport,
            &self.transport,
            &self.context,
            &self.extra,
            &self.ssl_object,
            &self.waiter,
            &self.server_hostname,
            &self.handshake_timeout,
            &self.shutdown_timeout,
            &self.handshake_timer,
            &self.shutdown_timer,
            &self.buffer,
        ]
    }

    fn drop_backlog(&self) {
        self.backlog_size.set(0);
        drop(self.backlog.take());
    }

    fn is_debug(&self) -> bool {
        self.event_loop
            .get()
            .is_some_and(|event_loop| event_loop.is_debug())
    }

    /// The loop.
    ///
    /// # Errors
    /// RuntimeError before `__init__`.
    fn owner(&self) -> Outcome<Object> {
        match self.event_loop.get() {
            Some(event_loop) => Ok(event_loop.into_object()),
            None => Err(Raised::runtime_error("the protocol has no event loop")),
        }
    }

    /// Goes over to another state.
    ///
    /// # Errors
    /// RuntimeError when that state cannot follow.
    fn go(&self, next: State) -> Outcome<()> {
        let state = self.state.get();
        if !state.allows(next) {
            return Err(Raised::runtime_error(&format!(
                "cannot switch state from {} to {}",
                state.name().to_string_lossy(),
                next.name().to_string_lossy(),
            )));
        }
        self.state.set(next);
        Ok(())
    }
}

impl This<'_, TlsProtocol> {
    /// Calls a method of the transport below, if there is one.
    fn call_transport(self, method: &Object, arguments: &[&Object]) -> Outcome<()> {
        match self.transport.get() {
            Some(transport) => transport.call_method(method, arguments).map(drop),
            None => Ok(()),
        }
    }

    /// Schedules one of this object's own methods with `loop.call_soon()`.
    fn call_soon(self, method: &str) -> Outcome<()> {
        let method = self.object().get_attr(&text(method)?)?;
        self.owner()?
            .call_method(&imports().names.call_soon, &[&method])
            .map(drop)
    }

    /// Schedules one of this object's own methods with `loop.call_later()`; the timer's handle.
    fn call_later(self, delay: &ObjectCell, method: &str) -> Outcome<Object> {
        let method = self.object().get_attr(&text(method)?)?;
        let delay = delay.get().unwrap_or_else(none);
        self.owner()?
            .call_method(&imports().names.call_later, &[&delay, &method])
    }

    /// `logger.debug(format, self, *arguments)`, in debug mode.
    fn log_debug(
        self,
        format: &str,
        arguments: &[&Object],
        exception: Option<&Object>,
    ) -> Outcome<()> {
        if !self.is_debug() {
            return Ok(());
        }
        let (format, this) = (text(format)?, self.object());
        let mut values: Vec<&Object> = vec![&format, &this];
        values.extend(arguments);
        values.extend(exception);
        let keyword = match exception {
            Some(_) => Some(Object::tuple(&[&text("exc_info")?])?),
            None => None,
        };
        logger()?
            .call_method_with(&text("debug")?, &values, keyword.as_ref())
            .map(drop)
    }

    /// Tells the loop's exception handler of an exception that nobody is there to catch.
    fn report(self, message: &str, exception: &Object, transport: &ObjectCell) -> Outcome<()> {
        let Some(event_loop) = self.event_loop.get() else {
            return Ok(());
        };
        let context = Object::dict()?;
        context.dict_set(&text("message")?, &text(message)?)?;
        context.dict_set(&text("exception")?, exception)?;
        context.dict_set(&text("transport")?, &transport.get().unwrap_or_else(none))?;
        context.dict_set(&text("protocol")?, &self.object())?;
        event_loop.this().call_exception_handler(&context)
    }

    /// Ends the connection with what a step raised.
    ///
    /// # Errors
    /// What is no `Exception` is passed on: KeyboardInterrupt, SystemExit, CancelledError.
    #[inline]
    fn contain(self, outcome: Outcome<()>) -> Outcome<()> {
        match outcome {
            Ok(()) => Ok(()),
            Err(raised) => self.broken(raised),
        }
    }

    #[cold]
    fn broken(self, raised: Raised) -> Outcome<()> {
        // SAFETY: a built-in class.
        if !raised.matches(unsafe { sys::PyExc_Exception }) {
            return Err(raised);
        }
        self.fatal_error(&raised.take(), "Fatal error on SSL protocol")
    }
}

fn logger() -> Outcome<Object> {
    crate::imports::module(c"asyncio.log")?.get_attr(&text("logger")?)
}

/// Limits with asyncio's defaults of so many bytes for the high one.
const fn limits_of(high: usize) -> Limits {
    Limits {
        high,
        low: high / 4,
    }
}
