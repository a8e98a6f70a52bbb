//! Sockets and pipes, and the protocols that they serve: `ferrio._ferrio.StreamTransport` for
//! connected streams, `ferrio._ferrio.DatagramTransport` for datagrams, and one for each end of a
//! pipe.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | what a stream transport consists of |
//! | `endpoint` | what every transport consists of, and what it says of itself |
//! | `accepted` | a connection before anybody has asked for its socket object |
//! | `address` | addresses as the kernel and as Python know them |
//! | `any` | a transport of any kind, as the loop keeps it |
//! | `watching` | which events the loop tells it of |
//! | `closing` | how a connection ends |
//! | `counting` | what the loop's counters are told |
//! | `flow_control` | when a protocol is asked to stop sending |
//! | `methods` | what Python sees of every transport |
//! | `reading` | streams: from the kernel to the protocol |
//! | `writing` | streams: from the protocol to the kernel |
//! | `gathering` | streams: the writes of one turn, sent at its end |
//! | `socket`, `piece` | streams: system calls; bytes that wait to be sent |
//! | `python` | streams: all of it as Python sees it |
//! | `sending` | streams and pipes: what the kernel takes, and what it refuses |
//! | `datagram` | datagrams: the same again, as far as it differs |
//! | `tls` | TLS between a stream transport and a protocol |
//! | `pipe` | the two ends of pipes, terminals and the like |
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

mod accepted;
mod address;
mod any;
mod closing;
mod counting;
mod datagram;
mod endpoint;
mod flow_control;
mod gathering;
mod methods;
mod piece;
mod pipe;
mod python;
mod reading;
mod sending;
mod socket;
mod tls;
mod watching;
mod writing;

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int};
use std::ops::Deref;

pub(crate) use accepted::functions;
pub(crate) use any::AnyTransport;
pub(crate) use datagram::DatagramTransport;
pub(crate) use endpoint::{Endpoint, Transport};
use ferrio_core::WriteBuffer;
use ferrio_core::flow_control::{Limits, Pressure};
use ferrio_inspect::counters::TransportKind;
pub(crate) use gathering::Gathering;
use piece::{Piece, visit_unsent};
pub(crate) use tls::writes_by_itself;

use crate::ffi::{
    Native, Object, ObjectCell, Outcome, Own, This, TypeObject, Visitor, learn_socket_layout, text,
};
use crate::imports::imports;
use crate::streams::{StreamReaderProtocol, is_untouched};

/// A connected stream socket: TCP or Unix.
#[repr(C)]
pub(crate) struct StreamTransport {
    endpoint: Endpoint,
    /// How the protocol wants to be given what arrives.
    receiver: Cell<Receiver>,
    /// Whose connection this is, if it was accepted: its `_detach()` is called at the end.
    server: ObjectCell,
    /// `write_eof()` was called.
    eof: Cell<bool>,
    output: Cell<Output>,
    /// What was written and the kernel has not taken.
    buffer: RefCell<WriteBuffer<Piece>>,
    /// Whether the loop's list of gathered writes has this transport.
    enlisted: Cell<bool>,
    /// Whom to tell when everything is sent. While there is one, nobody may write.
    empty_waiter: ObjectCell,
    /// Who sends a file and waits for the kernel to take more.
    room_waiter: ObjectCell,
    /// Whether somebody has put a method of their own in the place of one that native code calls.
    methods_replaced: Cell<bool>,
}

/// How a protocol wants to be given what arrives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Receiver {
    /// As new bytes, to `data_received()`.
    Data,
    /// In its own memory, which `get_buffer()` lends.
    Buffer,
    /// As a slice: it is a [`tls::TlsProtocol`].
    Tls,
    /// As a slice, if its reader is plain, too: it is a plain [`StreamReaderProtocol`].
    Stream,
}

impl Receiver {
    fn of(protocol: &Object) -> Outcome<Receiver> {
        if This::<tls::TlsProtocol>::from_object(protocol).is_some() {
            return Ok(Receiver::Tls);
        }
        if This::<StreamReaderProtocol>::from_exact(protocol).is_some() && is_untouched()? {
            return Ok(Receiver::Stream);
        }
        let buffered = protocol.is_instance(imports().buffered_protocol.as_ptr())?;
        Ok(if buffered {
            Receiver::Buffer
        } else {
            Receiver::Data
        })
    }
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
    const WEAK_REFERENCES_OFFSET: Option<usize> = Some(std::mem::offset_of!(
        StreamTransport,
        endpoint.weak_references
    ));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<StreamTransport> {
        Ok(StreamTransport {
            endpoint: Endpoint::new(),
            receiver: Cell::new(Receiver::Data),
            server: ObjectCell::new(),
            eof: Cell::new(false),
            output: Cell::new(Output::Idle),
            buffer: RefCell::new(WriteBuffer::new()),
            enlisted: Cell::new(false),
            empty_waiter: ObjectCell::new(),
            room_waiter: ObjectCell::new(),
            methods_replaced: Cell::new(false),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.endpoint.visit(visitor)?;
        self.server.visit(visitor)?;
        self.empty_waiter.visit(visitor)?;
        self.room_waiter.visit(visitor)?;
        visit_unsent(&self.buffer, visitor)
    }

    fn clear(&self) {
        self.endpoint.clear();
        self.server.clear();
        self.empty_waiter.clear();
        self.room_waiter.clear();
        drop(self.take_unsent());
    }
}

impl Deref for StreamTransport {
    type Target = Endpoint;

    #[inline]
    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Transport for StreamTransport {
    const WRITE_CALLBACK: &'static str = "_write_ready";
    const KIND: TransportKind = TransportKind::Stream;

    fn into_any(transport: Own<Self>) -> AnyTransport {
        AnyTransport::Stream(transport)
    }

    #[inline]
    fn read_ready(this: This<'_, Self>) -> Outcome<()> {
        this.read_available()
    }

    fn write_ready(this: This<'_, Self>) -> Outcome<()> {
        this.tell_of_room()?;
        if this.output.get() == Output::Refused {
            this.write_more()
        } else {
            Ok(())
        }
    }

    #[inline]
    fn awaits_room(&self) -> bool {
        self.output.get() == Output::Refused || (self.room_waiter.is_some() && !self.is_lost())
    }

    fn set_protocol(this: This<'_, Self>, protocol: &Object) -> Outcome<()> {
        this.set_protocol(protocol)
    }

    fn refused(&self) -> usize {
        // What the turn has gathered counts as sent, as it would be in asyncio.
        if self.output.get() == Output::Refused {
            self.buffer.borrow().len()
        } else {
            0
        }
    }

    fn has_unsent(&self) -> bool {
        !self.buffer.borrow().is_empty()
    }

    fn drop_unsent(&self) {
        drop(self.take_unsent());
    }

    #[inline]
    fn flush(this: This<'_, Self>) -> Outcome<()> {
        this.flush()
    }

    fn released(this: This<'_, Self>) -> Outcome<()> {
        let detached = match this.server.take() {
            Some(server) => server
                .call_method(&imports().names.detach, &[&this.object()])
                .map(drop),
            None => Ok(()),
        };
        let told = this.and_also(detached, || this.fail_empty_waiter_of_lost_connection());
        this.and_also(told, || this.fail_room_waiter())
    }

    fn limits(&self) -> Limits {
        self.buffer.borrow().limits()
    }

    fn replace_limits(&self, limits: Limits) {
        self.buffer.borrow_mut().set_limits(limits);
    }

    fn pressure(&self) -> Option<Pressure> {
        self.buffer.borrow_mut().pressure()
    }

    fn is_protocol_paused(&self) -> bool {
        self.buffer.borrow().is_paused()
    }
}

impl This<'_, StreamTransport> {
    fn fail_empty_waiter_of_lost_connection(self) -> Outcome<()> {
        if !self.empty_waiter.is_some() {
            return Ok(());
        }
        let class = crate::imports::module(c"builtins")?.get_attr(&text("ConnectionError")?)?;
        self.fail_empty_waiter(&class.call1(&text("Connection is closed by peer")?)?)
    }
}

/// Builds the types.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    learn_socket_layout()?;
    accepted::build(module)?;
    python::build(module)?;
    datagram::build(module)?;
    tls::build(module)?;
    pipe::build(module)
}
