//! The native base of `ferrio.tls.SSLProtocol` as Python sees it.

use super::super::methods::{integer, nothing};
use super::{TlsProtocol, engine, transport};
use crate::event_loop::EventLoop;
use crate::ffi::{
    Arguments, GetSet, MemoryBio, Method, Object, ObjectCell, Outcome, Own, Raised, Signature,
    This, TypeBuilder, attributes, build_window, interned, learn_tls_types, methods, none, text,
};
use crate::imports::imports;

type Self_<'a> = This<'a, TlsProtocol>;

const INIT: Signature<12> = Signature {
    function: "TlsProtocol",
    names: [
        c"loop",
        c"app_protocol",
        c"sslcontext",
        c"ssl_object",
        c"incoming",
        c"outgoing",
        c"waiter",
        c"server_side",
        c"server_hostname",
        c"call_connection_made",
        c"handshake_timeout",
        c"shutdown_timeout",
    ],
    positional: 12,
    required: 12,
};

/// Builds the types of this folder.
pub(in super::super) fn build(module: &Object) -> Outcome<()> {
    build_window(module)?;
    let base = &imports().buffered_protocol;
    require_no_slot(base)?;
    TypeBuilder::<TlsProtocol>::new(
        c"The native base of ferrio.tls.SSLProtocol: TLS on a stream transport.\n\n\
        Its methods are called by that transport, in the loop's own thread.",
    )
    .based_on(base)
    .subclassable()
    .init(|this, arguments| this.initialise(arguments))
    .methods(methods(table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)?;
    transport::build(module)
}

/// Makes sure that instances of asyncio's class consist of a header alone.
fn require_no_slot(base: &Object) -> Outcome<()> {
    let size = base.get_attr(&text("__basicsize__")?)?.to_i64()?;
    if usize::try_from(size) == Ok(size_of::<crate::ffi::sys::PyObject>()) {
        return Ok(());
    }
    Err(Raised::runtime_error(
        "asyncio.BufferedProtocol of this Python is not laid out as ferrio knows it",
    ))
}

impl This<'_, TlsProtocol> {
    fn initialise(self, arguments: Arguments<'_>) -> Outcome<()> {
        let [
            Some(event_loop),
            Some(app_protocol),
            Some(context),
            Some(ssl_object),
            Some(incoming),
            Some(outgoing),
            Some(waiter),
            Some(server_side),
            Some(server_hostname),
            Some(call_connection_made),
            Some(handshake_timeout),
            Some(shutdown_timeout),
        ] = INIT.parse(arguments)?
        else {
            return Err(Raised::type_error("an argument is missing"));
        };
        let Some(event_loop) = This::<EventLoop>::from_object(event_loop) else {
            return Err(Raised::type_error("the protocol needs a loop of ferrio"));
        };
        if self.event_loop.is_some() {
            return Err(Raised::runtime_error("the protocol is initialised already"));
        }
        learn_tls_types()?;
        self.ssl_socket.assign(engine::wrapped(ssl_object)?);
        self.incoming.set(MemoryBio::of(incoming)?);
        self.outgoing.set(MemoryBio::of(outgoing)?);
        self.event_loop.set(event_loop.own());
        self.set_app_protocol(app_protocol)?;
        self.ssl_object.set(ssl_object.clone());
        self.context.set(context.clone());
        let extra = Object::dict()?;
        extra.dict_set(&text("sslcontext")?, context)?;
        self.extra.set(extra);
        self.waiter.assign(waiter.some().cloned());
        self.server_side.set(server_side.is_true()?);
        self.server_hostname.set(server_hostname.clone());
        if !call_connection_made.is_true()? {
            self.app_state.set(super::AppState::Made);
        }
        self.handshake_timeout.set(handshake_timeout.clone());
        self.shutdown_timeout.set(shutdown_timeout.clone());
        Ok(())
    }

    /// What is known about the connection by a name.
    pub(super) fn get_extra_info(self, name: &Object, default: &Object) -> Outcome<Object> {
        if let Some(extra) = self.extra.get()
            && let Some(value) = extra.dict_get(name)?
        {
            return Ok(value);
        }
        match self.transport.get() {
            Some(transport) => {
                transport.call_method(&imports().names.get_extra_info, &[name, default])
            }
            None => Ok(default.clone()),
        }
    }
}

fn table() -> Vec<Method> {
    let mut table = transport_calls();
    table.extend(scheduled_calls());
    table
}

/// What the transport below calls.
fn transport_calls() -> Vec<Method> {
    vec![
        Method::named_argument(
            c"connection_made",
            || ("connection_made", c"transport"),
            |this: Self_<'_>, transport: &Object| nothing(this.connection_made(transport)),
            c"Begin the handshake over a transport.",
        ),
        Method::named_argument(
            c"connection_lost",
            || ("connection_lost", c"exc"),
            |this: Self_<'_>, exception: &Object| nothing(this.connection_lost(exception)),
            c"Tell the application's protocol and whoever waits that the connection is gone.",
        ),
        Method::named_argument(
            c"get_buffer",
            || ("get_buffer", c"n"),
            |this: Self_<'_>, hint: &Object| this.lend_buffer(hint),
            c"Lend memory for what has arrived, up to 256 KiB.",
        ),
        Method::named_argument(
            c"buffer_updated",
            || ("buffer_updated", c"nbytes"),
            |this: Self_<'_>, count: &Object| nothing(this.buffer_updated(count)),
            c"Decrypt what has arrived in the memory that get_buffer() has lent.",
        ),
        Method::no_arguments(
            c"eof_received",
            |this: Self_<'_>| {
                // None and not False, as asyncio's.
                match this.eof_received()? {
                    true => Ok(Object::from_bool(true)),
                    false => Ok(none()),
                }
            },
            c"Deliver what is left and close; True if that has to wait for resume_reading().",
        ),
        Method::no_arguments(
            c"pause_writing",
            |this: Self_<'_>| nothing(this.pause_writing()),
            c"Keep what is encrypted until resume_writing() is called.",
        ),
        Method::no_arguments(
            c"resume_writing",
            |this: Self_<'_>| nothing(this.resume_writing()),
            c"Send what was kept.",
        ),
    ]
}

/// What is called by the loop.
fn scheduled_calls() -> Vec<Method> {
    vec![
        Method::no_arguments(
            c"_check_handshake_timeout",
            |this: Self_<'_>| nothing(this.check_handshake_timeout()),
            c"Give up a handshake that is not done yet.",
        ),
        Method::no_arguments(
            c"_check_shutdown_timeout",
            |this: Self_<'_>| nothing(this.check_shutdown_timeout()),
            c"Give up a closing handshake that is not done yet.",
        ),
        Method::no_arguments(
            c"_do_read",
            |this: Self_<'_>| nothing(this.do_read()),
            c"Give the application what has arrived.",
        ),
        Method::no_arguments(
            c"_resume",
            |this: Self_<'_>| nothing(this.resume()),
            c"Go on where pause_reading() has stopped.",
        ),
    ]
}

macro_rules! object_attribute {
    ($name:literal, $field:ident, $doc:literal) => {
        GetSet::read_only($name, |this: Self_<'_>| value(&this.value().$field), $doc)
    };
}

fn attribute_table() -> Vec<GetSet> {
    let mut table = objects();
    table.extend(states());
    table
}

fn objects() -> Vec<GetSet> {
    vec![
        GetSet::read_only(
            c"_loop",
            |this: Self_<'_>| Ok(this.event_loop.get().map_or_else(none, Own::into_object)),
            c"The event loop.",
        ),
        object_attribute!(c"_transport", transport, c"The transport below, or None."),
        object_attribute!(
            c"_app_transport",
            app_transport,
            c"The application's transport; None once the connection is lost."
        ),
        object_attribute!(
            c"_app_protocol",
            app_protocol,
            c"The application's protocol; None once the connection is lost."
        ),
        object_attribute!(c"_sslcontext", context, c"The ssl.SSLContext."),
        object_attribute!(c"_sslobj", ssl_object, c"The ssl.SSLObject."),
        object_attribute!(
            c"_extra",
            extra,
            c"What get_extra_info() knows of TLS: a dict."
        ),
        object_attribute!(
            c"_waiter",
            waiter,
            c"The future of whoever waits for the handshake."
        ),
        object_attribute!(
            c"_server_hostname",
            server_hostname,
            c"What the peer's certificate must be for, or None."
        ),
        object_attribute!(
            c"_ssl_handshake_timeout",
            handshake_timeout,
            c"Seconds until a handshake is given up."
        ),
        object_attribute!(
            c"_ssl_shutdown_timeout",
            shutdown_timeout,
            c"Seconds until a closing handshake is given up."
        ),
        GetSet::read_only(
            c"_incoming",
            |this: Self_<'_>| {
                // To write to it, maybe.
                let mut records = this.records.get();
                records.lose();
                this.records.set(records);
                Ok(this
                    .incoming
                    .get()
                    .map_or_else(none, MemoryBio::into_object))
            },
            c"The ssl.MemoryBIO of what waits to be decrypted.",
        ),
        GetSet::read_only(
            c"_outgoing",
            |this: Self_<'_>| {
                Ok(this
                    .outgoing
                    .get()
                    .map_or_else(none, MemoryBio::into_object))
            },
            c"The ssl.MemoryBIO of what waits to be sent.",
        ),
    ]
}

fn states() -> Vec<GetSet> {
    vec![
        GetSet::read_only(
            c"_state",
            |this: Self_<'_>| enum_member(c"SSLProtocolState", this.state.get().name()),
            c"Where the connection stands, an asyncio.sslproto.SSLProtocolState.",
        ),
        GetSet::read_only(
            c"_app_state",
            |this: Self_<'_>| enum_member(c"AppProtocolState", this.app_state.get().name()),
            c"What the application was told, an asyncio.sslproto.AppProtocolState.",
        ),
        GetSet::read_only(
            c"_server_side",
            |this: Self_<'_>| Ok(Object::from_bool(this.server_side.get())),
            c"True on the server's side.",
        ),
        GetSet::read_only(
            c"_app_reading_paused",
            |this: Self_<'_>| Ok(Object::from_bool(this.app_reading_paused.get())),
            c"True while the application's reading is paused.",
        ),
        GetSet::read_only(
            c"_app_writing_paused",
            |this: Self_<'_>| Ok(Object::from_bool(this.app_writing_paused.get())),
            c"True between the application's pause_writing() and resume_writing().",
        ),
        GetSet::read_only(
            c"_ssl_reading_paused",
            |this: Self_<'_>| Ok(Object::from_bool(this.reading_paused.get())),
            c"True while the transport below is asked to pause reading.",
        ),
        GetSet::read_only(
            c"_ssl_writing_paused",
            |this: Self_<'_>| Ok(Object::from_bool(this.writing_paused.get())),
            c"True while the transport below has asked to pause writing.",
        ),
        GetSet::read_only(
            c"_eof_received",
            |this: Self_<'_>| Ok(Object::from_bool(this.eof_received.get())),
            c"True once the stream below has ended.",
        ),
        GetSet::read_only(
            c"_conn_lost",
            |this: Self_<'_>| integer(this.lost.get()),
            c"0 until the connection is lost; then it also counts late writes.",
        ),
        GetSet::read_only(
            c"_write_buffer_size",
            |this: Self_<'_>| integer(this.backlog_size.get()),
            c"How many bytes wait to be encrypted.",
        ),
        GetSet::read_only(
            c"_write_backlog",
            |this: Self_<'_>| {
                let backlog = this.backlog.borrow().iter().cloned().collect();
                Object::list(backlog)
            },
            c"A copy of the list of what waits to be encrypted.",
        ),
    ]
}

fn value(cell: &ObjectCell) -> Outcome<Object> {
    Ok(cell.get().unwrap_or_else(none))
}

/// A member of one of `asyncio.sslproto`'s enumerations, by its value.
fn enum_member(class: &std::ffi::CStr, name: &std::ffi::CStr) -> Outcome<Object> {
    crate::imports::module(c"asyncio.sslproto")?
        .get_attr(&interned(class)?)?
        .call1(&interned(name)?)
}
