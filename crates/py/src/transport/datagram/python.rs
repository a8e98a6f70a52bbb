//! The native base of `ferrio.datagrams.DatagramTransport` as Python sees it.

use super::DatagramTransport;
use crate::ffi::{
    Arguments, GetSet, Method, Object, Outcome, Raised, Signature, This, TypeBuilder, attributes,
    methods, none, sys, text,
};
use crate::imports::imports;
use crate::transport::Transport;
use crate::transport::methods::{attributes_of, integer, methods_of, nothing, require_one_slot};

type Self_<'a> = This<'a, DatagramTransport>;

const INIT: Signature<5> = Signature {
    function: "DatagramTransport",
    names: [c"loop", c"sock", c"protocol", c"address", c"extra"],
    positional: 5,
    required: 5,
};

const SENDTO: Signature<2> = Signature {
    function: "sendto",
    names: [c"data", c"addr"],
    positional: 2,
    required: 1,
};

/// Builds the type, as a subclass of `asyncio.DatagramTransport`.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    let base = &imports().asyncio_datagram_transport;
    require_one_slot(base)?;
    TypeBuilder::<DatagramTransport>::new(
        c"The native base of ferrio.datagrams.DatagramTransport: a socket for datagrams.\n\n\
        Its methods are asyncio's and may be called from the loop's own thread only.",
    )
    .based_on(base)
    .subclassable()
    .init(|this, arguments| this.initialise(arguments))
    .unary(sys::Py_tp_repr, |this| this.describe())
    .methods(methods(table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)
}

impl This<'_, DatagramTransport> {
    /// `__init__(loop, sock, protocol, address, extra)`.
    fn initialise(self, arguments: Arguments<'_>) -> Outcome<()> {
        let [
            Some(event_loop),
            Some(socket),
            Some(protocol),
            Some(address),
            Some(extra),
        ] = INIT.parse(arguments)?
        else {
            return Err(Raised::type_error("an argument is missing"));
        };
        self.take_over(event_loop, socket, extra)?;
        self.protocol.set(protocol.clone());
        if address.is_true()? {
            self.address.set(address.clone());
        }
        let peer = extra.call_method(&imports().names.get, &[&text("peername")?, &none()])?;
        self.connected.set(peer.is_true()?);
        self.calls.set(self.choose_calls(socket)?);
        Ok(())
    }
}

fn table() -> Vec<Method> {
    let mut table = methods_of::<DatagramTransport>();
    table.push(Method::any_arguments(
        c"sendto",
        |this: Self_<'_>, arguments: Arguments<'_>| {
            let [data, address] = SENDTO.parse(arguments)?;
            let Some(data) = data else {
                return Err(Raised::type_error("an argument is missing"));
            };
            nothing(this.send_to(data, address.and_then(Object::some)))
        },
        c"Send a datagram to `addr`, or to the address that the transport was made for.\n\n\
        What the kernel does not take yet is kept and sent later; an error of the kernel's is\n\
        given to the protocol's error_received().",
    ));
    table
}

fn attribute_table() -> Vec<GetSet> {
    let mut table = attributes_of::<DatagramTransport>();
    table.extend([
        GetSet::read_only(
            c"_address",
            |this: Self_<'_>| Ok(this.address.get().unwrap_or_else(none)),
            c"The only address that may be sent to, or None.",
        ),
        GetSet::read_only(
            c"_buffer_size",
            |this: Self_<'_>| integer(this.value().refused()),
            c"How many bytes wait to be sent.",
        ),
    ]);
    table
}
