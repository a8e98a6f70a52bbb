//! A transport of any kind, as the loop keeps it.

use std::ffi::c_int;

use ferrio_core::Readiness;
use ferrio_inspect::counters::TransportKind;

use super::{DatagramTransport, Endpoint, StreamTransport};
use crate::ffi::{Object, Outcome, Own, This, Visitor, sys};

/// Who is told of a descriptor's events.
#[derive(Clone)]
pub(crate) enum AnyTransport {
    Stream(Own<StreamTransport>),
    Datagram(Own<DatagramTransport>),
}

impl AnyTransport {
    /// The transport behind a reference; `None` for anything else.
    pub(super) fn from_object(object: &Object) -> Option<AnyTransport> {
        if let Some(transport) = This::<StreamTransport>::from_object(object) {
            return Some(AnyTransport::Stream(transport.own()));
        }
        This::<DatagramTransport>::from_object(object)
            .map(|transport| AnyTransport::Datagram(transport.own()))
    }

    /// The loop's entry: the descriptor is ready.
    ///
    /// # Errors
    /// KeyboardInterrupt and SystemExit of the protocol.
    #[inline]
    pub(crate) fn on_ready(&self, readiness: Readiness) -> Outcome<()> {
        match self {
            AnyTransport::Stream(transport) => transport.this().on_ready(readiness),
            AnyTransport::Datagram(transport) => transport.this().on_ready(readiness),
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.endpoint().is_closing()
    }

    /// "stream" or "datagram".
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            AnyTransport::Stream(_) => TransportKind::Stream.name(),
            AnyTransport::Datagram(_) => TransportKind::Datagram.name(),
        }
    }

    /// Bytes received and sent, and those that wait to be sent.
    pub(crate) fn figures(&self) -> ((u64, u64), u64) {
        self.endpoint().counted.figures()
    }

    fn endpoint(&self) -> &Endpoint {
        match self {
            AnyTransport::Stream(transport) => transport,
            AnyTransport::Datagram(transport) => transport,
        }
    }

    pub(crate) fn into_object(self) -> Object {
        match self {
            AnyTransport::Stream(transport) => transport.into_object(),
            AnyTransport::Datagram(transport) => transport.into_object(),
        }
    }

    /// The object's address, for comparing.
    pub(crate) fn address(&self) -> *mut sys::PyObject {
        match self {
            AnyTransport::Stream(transport) => transport.address(),
            AnyTransport::Datagram(transport) => transport.address(),
        }
    }

    /// For `tp_traverse`.
    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.pointer(self.address())
    }
}
