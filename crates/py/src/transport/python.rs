//! The native base of `ferrio.transports.SocketTransport` as Python sees it.

use super::{Output, Receiver, StreamTransport};
use crate::event_loop::EventLoop;
use crate::ffi::{
    Arguments, GetSet, Method, Object, Outcome, Own, Raised, Signature, This, TypeBuilder,
    attributes, learn_socket_layout, methods, none, sys, text,
};
use crate::imports::imports;

type Self_<'a> = This<'a, StreamTransport>;

const INIT: Signature<5> = Signature {
    function: "StreamTransport",
    names: [c"loop", c"sock", c"protocol", c"extra", c"server"],
    positional: 5,
    required: 4,
};

const GET_EXTRA_INFO: Signature<2> = Signature {
    function: "get_extra_info",
    names: [c"name", c"default"],
    positional: 2,
    required: 1,
};

const SET_WRITE_BUFFER_LIMITS: Signature<2> = Signature {
    function: "set_write_buffer_limits",
    names: [c"high", c"low"],
    positional: 2,
    required: 0,
};

const FATAL_ERROR: Signature<2> = Signature {
    function: "_fatal_error",
    names: [c"exc", c"message"],
    positional: 2,
    required: 1,
};

/// Builds the type, as a subclass of `asyncio.Transport`.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    learn_socket_layout()?;
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
    .methods(methods(table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)
}

/// Makes sure that instances of asyncio's class consist of a header and one slot, `_extra`, for
/// which [`StreamTransport`] begins with a field.
fn require_one_slot(base: &Object) -> Outcome<()> {
    const { assert!(std::mem::offset_of!(StreamTransport, extra) == 0) };
    let one_slot = size_of::<sys::PyObject>() + size_of::<*mut sys::PyObject>();
    let size = base.get_attr(&text("__basicsize__")?)?.to_i64()?;
    base.get_attr(&text("_extra")?)?;
    if usize::try_from(size) == Ok(one_slot) {
        return Ok(());
    }
    Err(Raised::runtime_error(
        "asyncio.Transport of this Python is not laid out as ferrio knows it",
    ))
}

impl This<'_, StreamTransport> {
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
        let Some(event_loop) = This::<EventLoop>::from_object(event_loop) else {
            return Err(Raised::type_error("the transport needs a loop of ferrio"));
        };
        if self.socket.get().is_some() || self.is_closing() {
            return Err(Raised::runtime_error(
                "the transport is initialised already",
            ));
        }
        self.fd.set(self.socket.set(socket)?);
        self.event_loop.set(event_loop.own());
        self.extra.set(extra.clone());
        self.set_protocol(protocol)?;
        event_loop.gathering.own_descriptor(self)?;
        self.server.assign(server.and_then(Object::some).cloned());
        Ok(())
    }

    /// `set_protocol(protocol)`. What was written before is sent before, on the old protocol's
    /// account.
    fn set_protocol(self, protocol: &Object) -> Outcome<()> {
        self.flush()?;
        let buffered = protocol.is_instance(imports().buffered_protocol.as_ptr())?;
        self.receiver.set(if buffered {
            Receiver::Buffer
        } else {
            Receiver::Data
        });
        self.protocol.set(protocol.clone());
        Ok(())
    }

    /// `get_extra_info(name, default=None)`. Whoever gets hold of the socket must find that
    /// everything was sent.
    fn get_extra_info(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let [name, default] = GET_EXTRA_INFO.parse(arguments)?;
        let name = name.cloned().unwrap_or_else(none);
        if name.equals(&imports().names.socket)? {
            self.flush()?;
        }
        let extra = self.extra.get().unwrap_or_else(none);
        let default = default.cloned().unwrap_or_else(none);
        extra.call_method(&imports().names.get, &[&name, &default])
    }

    /// `__repr__`, in asyncio's words. It sends nothing: what the turn has gathered counts as
    /// sent, as it would be in asyncio.
    fn describe(self) -> Outcome<Object> {
        let name = self.object().type_object().get_attr(&text("__name__")?)?;
        let mut parts = vec![name.to_text()?];
        if self.socket.get().is_none() {
            parts.push("closed".to_owned());
        } else if self.is_closing() {
            parts.push("closing".to_owned());
        }
        parts.push(format!("fd={}", self.fd.get()));
        if self
            .event_loop
            .get()
            .is_some_and(|event_loop| !event_loop.is_closed())
        {
            let state = |watched| if watched { "polling" } else { "idle" };
            let refused = self.output.get() == Output::Refused;
            let size = if refused {
                self.buffer.borrow().len()
            } else {
                0
            };
            parts.push(format!("read={}", state(self.reads.get())));
            parts.push(format!("write=<{}, bufsize={size}>", state(refused)));
        }
        text(&format!("<{}>", parts.join(" ")))
    }
}

fn table() -> Vec<Method> {
    let mut table = reading();
    table.extend(writing());
    table.extend(state());
    table.extend(internals());
    table
}

/// A method that returns None.
fn nothing(outcome: Outcome<()>) -> Outcome<Object> {
    outcome.map(|()| none())
}

fn reading() -> Vec<Method> {
    vec![
        Method::no_arguments(
            c"is_reading",
            |this: Self_<'_>| Ok(Object::from_bool(this.is_reading())),
            c"Return True if the transport is receiving.",
        ),
        Method::no_arguments(
            c"pause_reading",
            |this: Self_<'_>| nothing(this.pause_reading()),
            c"Give the protocol nothing more until resume_reading() is called.",
        ),
        Method::no_arguments(
            c"resume_reading",
            |this: Self_<'_>| nothing(this.resume_reading()),
            c"Go on giving the protocol what arrives.",
        ),
        Method::no_arguments(
            c"_start_reading",
            |this: Self_<'_>| nothing(this.start_reading()),
            c"Begin to receive, unless reading is paused; called after connection_made().",
        ),
    ]
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
        Method::no_arguments(
            c"get_write_buffer_size",
            |this: Self_<'_>| integer(this.write_buffer_size()?),
            c"Return how many bytes the kernel has not taken.",
        ),
        Method::no_arguments(
            c"get_write_buffer_limits",
            |this: Self_<'_>| {
                let limits = this.limits();
                Object::tuple(&[&integer(limits.low)?, &integer(limits.high)?])
            },
            c"Return the water marks: (low, high), in bytes.",
        ),
        Method::any_arguments(
            c"set_write_buffer_limits",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let [high, low] = SET_WRITE_BUFFER_LIMITS.parse(arguments)?;
                let (high, low) = (high.and_then(Object::some), low.and_then(Object::some));
                nothing(this.set_limits(high, low))
            },
            c"Set the water marks, in bytes.\n\n\
            The protocol's pause_writing() is called when more than `high` bytes wait to be sent,\n\
            resume_writing() when no more than `low` do. None is 64 KiB for `high`, or four times\n\
            `low`, and a quarter of `high` for `low`.",
        ),
    ]
}

fn state() -> Vec<Method> {
    vec![
        Method::any_arguments(
            c"get_extra_info",
            |this: Self_<'_>, arguments: Arguments<'_>| this.get_extra_info(arguments),
            c"Return what is known about the connection by the name of 'socket', 'sockname' or\n\
            'peername'.",
        ),
        Method::named_argument(
            c"set_protocol",
            || ("set_protocol", c"protocol"),
            |this: Self_<'_>, protocol: &Object| nothing(this.set_protocol(protocol)),
            c"Serve another protocol from now on.",
        ),
        Method::no_arguments(
            c"get_protocol",
            |this: Self_<'_>| Ok(this.protocol.get().unwrap_or_else(none)),
            c"Return the protocol.",
        ),
        Method::no_arguments(
            c"is_closing",
            |this: Self_<'_>| Ok(Object::from_bool(this.is_closing())),
            c"Return True if the transport is closing or closed.",
        ),
        Method::no_arguments(
            c"close",
            |this: Self_<'_>| nothing(this.close()),
            c"Receive nothing more, and end the connection once everything is sent.",
        ),
        Method::no_arguments(
            c"abort",
            |this: Self_<'_>| nothing(this.force_close(&none())),
            c"End the connection now; what the kernel has not taken is lost.",
        ),
    ]
}

/// What asyncio's own modules call.
fn internals() -> Vec<Method> {
    vec![
        Method::named_argument(
            c"_force_close",
            || ("_force_close", c"exc"),
            |this: Self_<'_>, exception: &Object| nothing(this.force_close(exception)),
            c"End the connection now, with an exception for connection_lost().",
        ),
        Method::any_arguments(
            c"_fatal_error",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let [exception, message] = FATAL_ERROR.parse(arguments)?;
                let exception = exception.cloned().unwrap_or_else(none);
                let message = match message {
                    Some(message) => message.to_text()?,
                    None => "Fatal error on transport".to_owned(),
                };
                nothing(this.fatal_error(&exception, &message))
            },
            c"Report an error and end the connection with it.",
        ),
        Method::named_argument(
            c"_call_connection_lost",
            || ("_call_connection_lost", c"exc"),
            |this: Self_<'_>, exception: &Object| nothing(this.connection_lost(exception)),
            c"Call the protocol's connection_lost(), then close the socket.",
        ),
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
    ]
}

fn attribute_table() -> Vec<GetSet> {
    vec![
        GetSet::read_only(
            c"_loop",
            |this: Self_<'_>| Ok(this.event_loop.get().map_or_else(none, Own::into_object)),
            c"The event loop; None once the connection is lost.",
        ),
        GetSet::read_only(
            c"_sock",
            |this: Self_<'_>| {
                // Whoever uses the socket itself must find that everything was sent.
                this.flush()?;
                Ok(this.socket.get().unwrap_or_else(none))
            },
            c"The socket; None once the connection is lost.",
        ),
        GetSet::read_only(
            c"_sock_fd",
            |this: Self_<'_>| Object::from_i64(this.fd.get().into()),
            c"The socket's descriptor, also after it was closed.",
        ),
        GetSet::read_only(
            c"_protocol",
            |this: Self_<'_>| Ok(this.protocol.get().unwrap_or_else(none)),
            c"The protocol; None once the connection is lost.",
        ),
        GetSet::read_only(
            c"_server",
            |this: Self_<'_>| Ok(this.server.get().unwrap_or_else(none)),
            c"The server that accepted the connection, or None.",
        ),
        GetSet::read_only(
            c"_closing",
            |this: Self_<'_>| Ok(Object::from_bool(this.is_closing())),
            c"True once the transport is closing or closed.",
        ),
        GetSet::read_only(
            c"_conn_lost",
            |this: Self_<'_>| integer(this.lost.get()),
            c"0 until connection_lost() is scheduled; then it also counts late writes.",
        ),
        GetSet::read_only(
            c"_eof",
            |this: Self_<'_>| Ok(Object::from_bool(this.eof.get())),
            c"True once write_eof() was called.",
        ),
        GetSet::read_only(
            c"_paused",
            |this: Self_<'_>| Ok(Object::from_bool(this.paused.get())),
            c"True while reading is paused.",
        ),
        GetSet::read_only(
            c"_protocol_paused",
            |this: Self_<'_>| Ok(Object::from_bool(this.is_protocol_paused())),
            c"True between the protocol's pause_writing() and resume_writing().",
        ),
        GetSet::read_only(
            c"_empty_waiter",
            |this: Self_<'_>| Ok(this.empty_waiter.get().unwrap_or_else(none)),
            c"The future that _make_empty_waiter() has made, or None.",
        ),
    ]
}

fn integer(value: usize) -> Outcome<Object> {
    Object::from_i64(i64::try_from(value).unwrap_or(i64::MAX))
}
