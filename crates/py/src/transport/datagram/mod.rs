//! `ferrio._ferrio.DatagramTransport`: a socket that sends and receives datagrams.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | what a datagram transport consists of |
//! | `receiving` | from the kernel to the protocol |
//! | `sending` | from the protocol to the kernel |
//! | `known_addresses` | the addresses of those who sent before |
//! | `socket` | system calls |
//! | `python` | all of it as Python sees it |
//!
//! Nothing is gathered here: a datagram goes to the kernel in `sendto()`, because an error of its
//! own is told to the protocol there and then.

mod known_addresses;
mod python;
mod receiving;
mod sending;
mod socket;

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int};
use std::ops::Deref;

use ferrio_core::DatagramBuffer;
use ferrio_core::flow_control::{Limits, Pressure};
use ferrio_inspect::counters::TransportKind;
use known_addresses::KnownAddresses;
pub(crate) use python::build;
use receiving::Bursts;
use sending::Datagram;
use socket::Calls;
pub(super) use socket::Family;

use super::{AnyTransport, Endpoint, Transport};
use crate::ffi::{Native, Object, ObjectCell, Outcome, Own, This, TypeObject, Visitor};

/// A datagram socket: UDP, Unix, or any other that `recvfrom()` and `sendto()` are for.
#[repr(C)]
pub(crate) struct DatagramTransport {
    endpoint: Endpoint,
    /// The only address that may be sent to, if there is one.
    address: ObjectCell,
    /// Whether the kernel knows whom to send to.
    connected: Cell<bool>,
    calls: Cell<Calls>,
    /// What the kernel had no room for.
    buffer: RefCell<DatagramBuffer<Datagram>>,
    /// Whether the loop is to tell when the kernel has room. It can be so with nothing left to
    /// send, when the last datagram met with an error.
    awaits_room: Cell<bool>,
    known_addresses: RefCell<KnownAddresses>,
    bursts: Cell<Bursts>,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `DatagramTransport` in `python::build`; the offset is that of a
// field that only CPython touches.
unsafe impl Native for DatagramTransport {
    const NAME: &'static CStr = c"ferrio._ferrio.DatagramTransport";
    const WEAK_REFERENCES_OFFSET: Option<usize> = Some(std::mem::offset_of!(
        DatagramTransport,
        endpoint.weak_references
    ));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<DatagramTransport> {
        Ok(DatagramTransport {
            endpoint: Endpoint::new(),
            address: ObjectCell::new(),
            connected: Cell::new(false),
            calls: Cell::new(Calls::Python),
            buffer: RefCell::default(),
            awaits_room: Cell::new(false),
            known_addresses: RefCell::default(),
            bursts: Cell::default(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.endpoint.visit(visitor)?;
        self.address.visit(visitor)?;
        // Borrowed only while they are being changed, when nothing of them is garbage.
        if let Ok(known_addresses) = self.known_addresses.try_borrow() {
            known_addresses.visit(visitor)?;
        }
        let mut answer = Ok(());
        if let Ok(buffer) = self.buffer.try_borrow() {
            buffer.for_each(|datagram| {
                if answer.is_ok() {
                    answer = datagram.visit(visitor);
                }
            });
        }
        answer
    }

    fn clear(&self) {
        self.endpoint.clear();
        self.address.clear();
        drop(self.known_addresses.take());
        self.drop_unsent();
    }
}

impl Deref for DatagramTransport {
    type Target = Endpoint;

    #[inline]
    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl Transport for DatagramTransport {
    const WRITE_CALLBACK: &'static str = "_sendto_ready";
    const KIND: TransportKind = TransportKind::Datagram;

    fn into_any(transport: Own<Self>) -> AnyTransport {
        AnyTransport::Datagram(transport)
    }

    #[inline]
    fn read_ready(this: This<'_, Self>) -> Outcome<()> {
        this.receive_available()
    }

    fn write_ready(this: This<'_, Self>) -> Outcome<()> {
        this.send_waiting()
    }

    #[inline]
    fn awaits_room(&self) -> bool {
        self.awaits_room.get()
    }

    fn set_protocol(this: This<'_, Self>, protocol: &Object) -> Outcome<()> {
        this.protocol.set(protocol.clone());
        Ok(())
    }

    fn refused(&self) -> usize {
        self.buffer.borrow().len()
    }

    fn has_unsent(&self) -> bool {
        !self.buffer.borrow().is_empty()
    }

    fn drop_unsent(&self) {
        self.awaits_room.set(false);
        // Dropped when nothing is borrowed any more.
        let unsent = self.buffer.borrow_mut().take_all();
        drop(unsent);
    }

    fn flush(_this: This<'_, Self>) -> Outcome<()> {
        Ok(())
    }

    fn released(this: This<'_, Self>) -> Outcome<()> {
        let forgotten = this.known_addresses.take();
        drop(forgotten);
        Ok(())
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
