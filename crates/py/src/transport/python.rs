//! The native base of `ferrio.transports.SocketTransport` as Python sees it.

use super::methods::{attributes_of, methods_of, nothing, require_one_slot};
use super::{Receiver, StreamTransport};
use crate::ffi::{
    Arguments, GetSet, Method, Object, Outcome, Raised, Signature, This, TypeBuilder, attributes,
    methods, none, sys,
};
use crate::imports::imports;

type Self_<'a> = This<'a, StreamTransport>;

const INIT: Signature<5> = Signature {
    function: "StreamTransport",
    names: [c"loop", c"sock", c"protocol", c"extra", c"server"],
    positional: 5,
    required: 4,
};

/// Builds the type, as a subclass of `asyncio.Transport`.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    let base = &imports().asyncio_transport;
    require_one_slot(base)?;
    TypeBuilder::<StreamTransport>::new(
        c"The native base of ferrio.transports.SocketTransport: a connected stream socket.\n\n\
        Its methods are asyncio's and may be called from the loop's own thread only.",
    )
    .based_on(base)
    .subclassable()
    .init(|this, arguments| this.initialise(arguments))
    .unary(sys::Py_tp_repr, |this| this.describe())
    .set_attribute(|this, name, value| this.set_attribute(name, value))
    .methods(methods(table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)
}

impl This<'_, StreamTransport> {
    /// `__setattr__`: who calls our methods without looking them up learns that one is hidden.
    fn set_attribute(self, name: &Object, value: Option<&Object>) -> Outcome<()> {
        self.object().generic_set_attr(name, value)?;
        let hides = [c"write", c"is_closing"].into_iter().any(|known| {
            // SAFETY: attribute names are text, which generic_set_attr has checked.
            unsafe { sys::PyUnicode_CompareWithASCIIString(name.as_ptr(), known.as_ptr()) == 0 }
        });
        if hides {
            self.methods_replaced.set(true);
        }
        Ok(())
    }

    /// Whether a method that native code calls was replaced on this object.
    #[inline]
    pub(crate) fn has_replaced_methods(self) -> bool {
        self.methods_replaced.get()
    }

    /// `__init__(loop, sock, protocol, extra, server=None)`.
    fn initialise(self, arguments: Arguments<'_>) -> Outcome<()> {
        let [
            Some(event_loop),
            Some(socket),
            Some(protocol),
            Some(extra),
            server,
        ] = INIT.parse(arguments)?
        else {
            return Err(Raised::type_error("an argument is missing"));
        };
        self.take_over(event_loop, socket, extra)?;
        self.set_protocol(protocol)?;
        self.server.assign(server.and_then(Object::some).cloned());
        Ok(())
    }

    /// `set_protocol(protocol)`. What was written before is sent before, on the old protocol's
    /// account.
    pub(super) fn set_protocol(self, protocol: &Object) -> Outcome<()> {
        self.flush()?;
        self.receiver.set(Receiver::of(protocol)?);
        self.protocol.set(protocol.clone());
        Ok(())
    }
}

fn table() -> Vec<Method> {
    let mut table = methods_of::<StreamTransport>();
    table.extend(writing());
    table.extend(internals());
    table
}

fn writing() -> Vec<Method> {
    vec![
        Method::named_argument(
            c"write",
            || ("write", c"data"),
            |this: Self_<'_>, data: &Object| nothing(this.write(data)),
            c"Send bytes to the peer; what it does not take yet is kept and sent later.",
        ),
        Method::named_argument(
            c"writelines",
            || ("writelines", c"list_of_data"),
            |this: Self_<'_>, lines: &Object| nothing(this.write_lines(lines)),
            c"Send all items of an iterable of bytes.",
        ),
        Method::no_arguments(
            c"write_eof",
            |this: Self_<'_>| nothing(this.write_eof()),
            c"Tell the peer that nothing more will come, once everything is sent.",
        ),
        Method::no_arguments(
            c"can_write_eof",
            |_this: Self_<'_>| Ok(Object::from_bool(true)),
            c"Return True: there is write_eof().",
        ),
    ]
}

/// What asyncio's own modules call.
fn internals() -> Vec<Method> {
    vec![
        Method::no_arguments(
            c"_make_empty_waiter",
            |this: Self_<'_>| this.make_empty_waiter(),
            c"Return a future that is done when everything is sent; nobody may write meanwhile.",
        ),
        Method::no_arguments(
            c"_reset_empty_waiter",
            |this: Self_<'_>| {
                this.empty_waiter.clear();
                Ok(none())
            },
            c"Allow writing again.",
        ),
        Method::no_arguments(
            c"_wait_for_room",
            |this: Self_<'_>| this.make_room_waiter(),
            c"Return a future that is done when the kernel takes more; for who sends files.",
        ),
    ]
}

fn attribute_table() -> Vec<GetSet> {
    let mut table = attributes_of::<StreamTransport>();
    table.extend([
        GetSet::read_only(
            c"_server",
            |this: Self_<'_>| Ok(this.server.get().unwrap_or_else(none)),
            c"The server that accepted the connection, or None.",
        ),
        GetSet::read_only(
            c"_eof",
            |this: Self_<'_>| Ok(Object::from_bool(this.eof.get())),
            c"True once write_eof() was called.",
        ),
        GetSet::read_only(
            c"_empty_waiter",
            |this: Self_<'_>| Ok(this.empty_waiter.get().unwrap_or_else(none)),
            c"The future that _make_empty_waiter() has made, or None.",
        ),
    ]);
    table
}
