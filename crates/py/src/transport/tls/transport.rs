//! `ferrio._ferrio.TlsTransport`: the transport that the application's protocol is given.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::super::flow_control::limits;
use super::super::methods::{integer, nothing, require_one_slot};
use super::{TlsProtocol, limits_of, reading, writing};
use crate::ffi::{
    Arguments, GetSet, Method, Native, Object, ObjectCell, Outcome, Own, Raised, Signature, Slot,
    This, TypeBuilder, TypeObject, Visitor, attributes, methods, none, required, sys, text,
};
use crate::imports::imports;
use crate::transport::methods::GET_EXTRA_INFO;

/// The application's side of a [`TlsProtocol`].
#[repr(C)]
pub(crate) struct TlsTransport {
    /// `_extra`, the slot of `asyncio.BaseTransport`, which stays empty as in asyncio.
    extra: ObjectCell,
    weak_references: ObjectCell,
    event_loop: ObjectCell,
    /// Empty once `close()` was called a second time, as in asyncio.
    protocol: Slot<Own<TlsProtocol>>,
    /// `close()` or `abort()` was called, or the connection is lost.
    closed: Cell<bool>,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `TlsTransport` in `build`; the offset is that of a field that only
// CPython touches.
unsafe impl Native for TlsTransport {
    const NAME: &'static CStr = c"ferrio._ferrio.TlsTransport";
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(TlsTransport, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<TlsTransport> {
        Ok(TlsTransport {
            extra: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            event_loop: ObjectCell::new(),
            protocol: Slot::new(),
            closed: Cell::new(false),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.extra.visit(visitor)?;
        self.event_loop.visit(visitor)?;
        self.protocol.visit(visitor)
    }

    fn clear(&self) {
        self.extra.clear();
        self.event_loop.clear();
        self.protocol.clear();
    }
}

type Self_<'a> = This<'a, TlsTransport>;

const INIT: Signature<2> = Signature {
    function: "TlsTransport",
    names: [c"loop", c"ssl_protocol"],
    positional: 2,
    required: 2,
};

const SET_BUFFER_LIMITS: Signature<2> = Signature {
    function: "set_buffer_limits",
    names: [c"high", c"low"],
    positional: 2,
    required: 0,
};

/// Builds the type, as a subclass of `asyncio.Transport`.
pub(super) fn build(module: &Object) -> Outcome<()> {
    const { assert!(std::mem::offset_of!(TlsTransport, extra) == 0) };
    let base = &imports().asyncio_transport;
    require_one_slot(base)?;
    TypeBuilder::<TlsTransport>::new(
        c"The native base of ferrio.tls's transport: what an application writes to under TLS.\n\n\
        Its methods are asyncio's and may be called from the loop's own thread only.",
    )
    .based_on(base)
    .subclassable()
    .init(|this, arguments| this.initialise(arguments))
    .methods(methods(table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)
}

impl This<'_, TlsTransport> {
    /// `__init__(loop, ssl_protocol)`.
    fn initialise(self, arguments: Arguments<'_>) -> Outcome<()> {
        let [Some(event_loop), Some(protocol)] = INIT.parse(arguments)? else {
            return Err(Raised::type_error("an argument is missing"));
        };
        let Some(protocol) = This::<TlsProtocol>::from_object(protocol) else {
            return Err(Raised::type_error("the transport needs a TlsProtocol"));
        };
        self.event_loop.set(event_loop.clone());
        self.protocol.set(protocol.own());
        protocol.app_transport.set((*self.object()).clone());
        Ok(())
    }

    pub(super) fn mark_closed(self) {
        self.closed.set(true);
    }

    /// The protocol, for a method that asyncio's transport would call on it.
    ///
    /// # Errors
    /// AttributeError once there is none, in the words in which asyncio fails then.
    #[inline]
    fn protocol(self, attribute: &str) -> Outcome<Own<TlsProtocol>> {
        self.protocol.get().ok_or_else(|| {
            Raised::attribute_error(&format!("'NoneType' object has no attribute '{attribute}'"))
        })
    }

    /// `close()`.
    fn close(self) -> Outcome<()> {
        if self.closed.replace(true) {
            self.protocol.clear();
            return Ok(());
        }
        self.protocol("_start_shutdown")?.this().start_shutdown()
    }

    /// `abort()`, `_force_close(exc)`.
    fn force_close(self, exception: &Object) -> Outcome<()> {
        self.closed.set(true);
        match self.protocol.get() {
            Some(protocol) => protocol.this().abort(exception),
            None => Ok(()),
        }
    }

    /// `is_closing()`. asyncio's newest versions look at the transport below as well, which may
    /// have broken without a word so far.
    fn is_closing(self) -> Outcome<bool> {
        if self.closed.get() {
            return Ok(true);
        }
        let transport = self
            .protocol
            .get()
            .and_then(|protocol| protocol.transport.get());
        match transport {
            Some(transport) => transport.call_method(&text("is_closing")?, &[])?.is_true(),
            None => Ok(false),
        }
    }

    /// `write(data)`.
    #[inline]
    fn write(self, data: &Object) -> Outcome<()> {
        if !data.is_writable_data() {
            return Err(not_bytes_like(data));
        }
        if !data.is_true()? {
            return Ok(());
        }
        self.protocol("_write_appdata")?.this().write(data)
    }

    /// `get_extra_info(name, default=None)`.
    fn get_extra_info(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let [name, default] = GET_EXTRA_INFO.parse(arguments)?;
        let (name, default) = (
            name.cloned().unwrap_or_else(none),
            default.cloned().unwrap_or_else(none),
        );
        self.protocol("_get_extra_info")?
            .this()
            .get_extra_info(&name, &default)
    }
}

fn table() -> Vec<Method> {
    let mut table = reading_methods();
    table.extend(writing_methods());
    table.extend(state_methods());
    table
}

fn reading_methods() -> Vec<Method> {
    vec![
        Method::no_arguments(
            c"is_reading",
            |this: Self_<'_>| {
                let protocol = this.protocol("_app_reading_paused")?;
                Ok(Object::from_bool(!protocol.app_reading_paused.get()))
            },
            c"Return True if the protocol is given what arrives.",
        ),
        Method::no_arguments(
            c"pause_reading",
            |this: Self_<'_>| {
                this.protocol("_pause_reading")?.this().pause_app_reading();
                Ok(none())
            },
            c"Give the protocol nothing more until resume_reading() is called.",
        ),
        Method::no_arguments(
            c"resume_reading",
            |this: Self_<'_>| {
                nothing(
                    this.protocol("_resume_reading")?
                        .this()
                        .resume_app_reading(),
                )
            },
            c"Go on giving the protocol what arrives.",
        ),
        Method::any_arguments(
            c"set_read_buffer_limits",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let limits = parse_limits(arguments, reading::default_limits().high)?;
                let protocol = this.protocol("_set_read_buffer_limits")?;
                protocol.incoming_limits.set(limits);
                nothing(protocol.this().control_reading())
            },
            c"Set the water marks of what waits to be decrypted, in bytes.\n\n\
            The socket is not read while `high` bytes or more wait, until no more than `low` do.\n\
            None is 256 KiB for `high`, or four times `low`, and a quarter of `high` for `low`.",
        ),
        Method::no_arguments(
            c"get_read_buffer_limits",
            |this: Self_<'_>| {
                limits_tuple(this.protocol("_incoming_low_water")?.incoming_limits.get())
            },
            c"Return the water marks of reading: (low, high), in bytes.",
        ),
        Method::no_arguments(
            c"get_read_buffer_size",
            |this: Self_<'_>| {
                integer(
                    this.protocol("_get_read_buffer_size")?
                        .this()
                        .read_buffer_size()?,
                )
            },
            c"Return how many bytes wait to be decrypted.",
        ),
    ]
}

fn writing_methods() -> Vec<Method> {
    vec![
        Method::named_argument(
            c"write",
            || ("write", c"data"),
            |this: Self_<'_>, data: &Object| nothing(this.write(data)),
            c"Encrypt bytes and send them; what the peer does not take yet is sent later.",
        ),
        Method::named_argument(
            c"writelines",
            || ("writelines", c"list_of_data"),
            |this: Self_<'_>, lines: &Object| {
                nothing(this.protocol("_write_appdata")?.this().write_lines(lines))
            },
            c"Encrypt and send all items of an iterable of bytes.",
        ),
        Method::no_arguments(
            c"write_eof",
            |_this: Self_<'_>| {
                // SAFETY: a built-in class.
                let class = unsafe { Object::from_borrowed(sys::PyExc_NotImplementedError) };
                Err(Raised::exception(&class.call0()?))
            },
            c"Raise NotImplementedError: TLS cannot end in one direction alone.",
        ),
        Method::no_arguments(
            c"can_write_eof",
            |_this: Self_<'_>| Ok(Object::from_bool(false)),
            c"Return False: there is no write_eof().",
        ),
        Method::no_arguments(
            c"get_write_buffer_size",
            |this: Self_<'_>| {
                let protocol = this.protocol("_get_write_buffer_size")?;
                integer(protocol.this().write_buffer_size()?)
            },
            c"Return how many bytes the transport below has not taken.",
        ),
        Method::no_arguments(
            c"get_write_buffer_limits",
            |this: Self_<'_>| {
                limits_tuple(this.protocol("_outgoing_low_water")?.outgoing_limits.get())
            },
            c"Return the water marks of writing: (low, high), in bytes.",
        ),
        Method::any_arguments(
            c"set_write_buffer_limits",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let limits = parse_limits(arguments, writing::default_limits().high)?;
                let protocol = this.protocol("_set_write_buffer_limits")?;
                nothing(protocol.this().set_write_limits(limits))
            },
            c"Set the water marks of writing, in bytes.\n\n\
            The protocol's pause_writing() is called when `high` bytes or more wait, and\n\
            resume_writing() when no more than `low` do. None is 512 KiB for `high`, or four\n\
            times `low`, and a quarter of `high` for `low`.",
        ),
        Method::named_argument(
            c"_test__append_write_backlog",
            || ("_test__append_write_backlog", c"data"),
            |this: Self_<'_>, data: &Object| {
                nothing(this.protocol("_write_backlog")?.this().keep(data, 0))
            },
            c"Put bytes behind what waits to be encrypted; CPython's own tests call this.",
        ),
    ]
}

fn state_methods() -> Vec<Method> {
    vec![
        Method::any_arguments(
            c"get_extra_info",
            |this: Self_<'_>, arguments: Arguments<'_>| this.get_extra_info(arguments),
            c"Return what is known about the connection by the name of 'sslcontext' and, after the\n\
            handshake, 'ssl_object', 'peercert', 'cipher' or 'compression'; other names are the\n\
            socket's transport's.",
        ),
        Method::named_argument(
            c"set_protocol",
            || ("set_protocol", c"protocol"),
            |this: Self_<'_>, protocol: &Object| {
                nothing(this.protocol("_set_app_protocol")?.this().set_app_protocol(protocol))
            },
            c"Serve another protocol from now on.",
        ),
        Method::no_arguments(
            c"get_protocol",
            |this: Self_<'_>| Ok(this.protocol("_app_protocol")?.this().app_protocol()),
            c"Return the protocol.",
        ),
        Method::no_arguments(
            c"is_closing",
            |this: Self_<'_>| Ok(Object::from_bool(this.is_closing()?)),
            c"Return True if the transport is closing or closed.",
        ),
        Method::no_arguments(
            c"close",
            |this: Self_<'_>| nothing(this.close()),
            c"Deliver what has arrived, say goodbye to the peer, and end the connection once it has\n\
            answered.",
        ),
        Method::no_arguments(
            c"abort",
            |this: Self_<'_>| nothing(this.force_close(&none())),
            c"End the connection now, without a closing handshake.",
        ),
        Method::named_argument(
            c"_force_close",
            || ("_force_close", c"exc"),
            |this: Self_<'_>, exception: &Object| nothing(this.force_close(exception)),
            c"End the connection now, with an exception for connection_lost().",
        ),
    ]
}

fn attribute_table() -> Vec<GetSet> {
    vec![
        GetSet::read_only(
            c"_loop",
            |this: Self_<'_>| Ok(this.event_loop.get().unwrap_or_else(none)),
            c"The event loop.",
        ),
        GetSet::read_only(
            c"_ssl_protocol",
            |this: Self_<'_>| Ok(this.protocol.get().map_or_else(none, Own::into_object)),
            c"The protocol of the transport below; None once close() was called twice.",
        ),
        GetSet::read_write(
            c"_closed",
            |this: Self_<'_>| Ok(Object::from_bool(this.closed.get())),
            |this: Self_<'_>, value: Option<&Object>| {
                this.closed.set(required(value, "_closed")?.is_true()?);
                Ok(())
            },
            c"True once close() or abort() was called or the connection is lost.",
        ),
        GetSet::read_only(
            c"_protocol_paused",
            |this: Self_<'_>| {
                let protocol = this.protocol("_app_writing_paused")?;
                Ok(Object::from_bool(protocol.app_writing_paused.get()))
            },
            c"True between the protocol's pause_writing() and resume_writing().",
        ),
    ]
}

/// Water marks by asyncio's rules; `high` is the default of the high one.
fn parse_limits(
    arguments: Arguments<'_>,
    default_high: usize,
) -> Outcome<ferrio_core::flow_control::Limits> {
    let [high, low] = SET_BUFFER_LIMITS.parse(arguments)?;
    match (high.and_then(Object::some), low.and_then(Object::some)) {
        (None, None) => Ok(limits_of(default_high)),
        (high, low) => limits(high, low),
    }
}

fn limits_tuple(limits: ferrio_core::flow_control::Limits) -> Outcome<Object> {
    Object::tuple(&[&integer(limits.low)?, &integer(limits.high)?])
}

#[cold]
fn not_bytes_like(data: &Object) -> Raised {
    match data.type_name().and_then(|name| name.to_text()) {
        Ok(name) => Raised::type_error(&format!(
            "data: expecting a bytes-like instance, got {name}"
        )),
        Err(raised) => raised,
    }
}
