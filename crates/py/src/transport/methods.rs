//! What Python sees of every transport: methods and attributes.

use super::accepted::AcceptedSocket;
use super::{Endpoint, Transport};
use crate::ffi::{
    Arguments, GetSet, Method, Object, Outcome, Own, Raised, Signature, This, none, sys, text,
};
use crate::imports::imports;
use crate::task::site_in_python;

pub(super) const GET_EXTRA_INFO: Signature<2> = Signature {
    function: "get_extra_info",
    names: [c"name", c"default"],
    positional: 2,
    required: 1,
};

pub(super) const SET_WRITE_BUFFER_LIMITS: Signature<2> = Signature {
    function: "set_write_buffer_limits",
    names: [c"high", c"low"],
    positional: 2,
    required: 0,
};

pub(super) const FATAL_ERROR: Signature<2> = Signature {
    function: "_fatal_error",
    names: [c"exc", c"message"],
    positional: 2,
    required: 1,
};

/// Makes sure that instances of asyncio's class consist of a header and one slot, `_extra`, for
/// which [`Endpoint`] begins with a field.
pub(super) fn require_one_slot(base: &Object) -> Outcome<()> {
    const { assert!(std::mem::offset_of!(Endpoint, extra) == 0) };
    let one_slot = size_of::<sys::PyObject>() + size_of::<*mut sys::PyObject>();
    let size = base.get_attr(&text("__basicsize__")?)?.to_i64()?;
    base.get_attr(&text("_extra")?)?;
    if usize::try_from(size) == Ok(one_slot) {
        return Ok(());
    }
    Err(Raised::runtime_error(
        "asyncio's transports of this Python are not laid out as ferrio knows them",
    ))
}

impl<T: Transport> This<'_, T> {
    /// `get_extra_info(name, default=None)`. Whoever gets hold of the socket must find that
    /// everything was sent.
    fn get_extra_info(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let [name, default] = GET_EXTRA_INFO.parse(arguments)?;
        let name = name.cloned().unwrap_or_else(none);
        if name.equals(&imports().names.socket)? {
            T::flush(self)?;
        }
        let default = default.cloned().unwrap_or_else(none);
        if let Some(extra) = self.extra.get()
            && let Some(accepted) = This::<AcceptedSocket>::from_exact(&extra)
            && let Some(known) = accepted.extra_info(&name, &default)?
        {
            return Ok(known);
        }
        self.extra_dict()?
            .call_method(&imports().names.get, &[&name, &default])
    }

    /// `__repr__`, in asyncio's words. It sends nothing: what the turn has gathered counts as
    /// sent, as it would be in asyncio.
    pub(super) fn describe(self) -> Outcome<Object> {
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
            let (awaits_room, size) = (self.value().awaits_room(), self.value().refused());
            parts.push(format!("read={}", state(self.reads.get())));
            parts.push(format!("write=<{}, bufsize={size}>", state(awaits_room)));
        }
        text(&format!("<{}>", parts.join(" ")))
    }
}

/// A method that returns None.
pub(super) fn nothing(outcome: Outcome<()>) -> Outcome<Object> {
    outcome.map(|()| none())
}

pub(super) fn integer(value: usize) -> Outcome<Object> {
    Object::from_i64(i64::try_from(value).unwrap_or(i64::MAX))
}

/// The methods that every transport has.
pub(super) fn methods_of<T: Transport>() -> Vec<Method> {
    let mut table = reading::<T>();
    table.extend(limits::<T>());
    table.extend(state::<T>());
    table.extend(internals::<T>());
    table
}

fn reading<T: Transport>() -> Vec<Method> {
    vec![
        Method::no_arguments(
            c"is_reading",
            |this: This<'_, T>| Ok(Object::from_bool(this.is_reading())),
            c"Return True if the transport is receiving.",
        ),
        Method::no_arguments(
            c"pause_reading",
            |this: This<'_, T>| nothing(this.pause_reading()),
            c"Give the protocol nothing more until resume_reading() is called.",
        ),
        Method::no_arguments(
            c"resume_reading",
            |this: This<'_, T>| nothing(this.resume_reading()),
            c"Go on giving the protocol what arrives.",
        ),
        Method::no_arguments(
            c"_start_reading",
            |this: This<'_, T>| nothing(this.start_reading()),
            c"Begin to receive, unless reading is paused; called after connection_made().",
        ),
    ]
}

fn limits<T: Transport>() -> Vec<Method> {
    vec![
        Method::no_arguments(
            c"get_write_buffer_size",
            |this: This<'_, T>| {
                T::flush(this)?;
                integer(this.value().refused())
            },
            c"Return how many bytes the kernel has not taken.",
        ),
        Method::no_arguments(
            c"get_write_buffer_limits",
            |this: This<'_, T>| {
                let limits = this.value().limits();
                Object::tuple(&[&integer(limits.low)?, &integer(limits.high)?])
            },
            c"Return the water marks: (low, high), in bytes.",
        ),
        Method::any_arguments(
            c"set_write_buffer_limits",
            |this: This<'_, T>, arguments: Arguments<'_>| {
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

fn state<T: Transport>() -> Vec<Method> {
    vec![
        Method::no_arguments(
            c"_made_by",
            |this: This<'_, T>| {
                let site = site_in_python(this.created.get())?;
                let task = Object::from_i64(this.creator.get().cast_signed())?;
                Object::tuple(&[&site, &task])
            },
            c"Return the place that asked for it, or None, and the number of the task, or 0.",
        ),
        Method::any_arguments(
            c"get_extra_info",
            |this: This<'_, T>, arguments: Arguments<'_>| this.get_extra_info(arguments),
            c"Return what is known about the connection by the name of 'socket', 'sockname' or\n\
            'peername'.",
        ),
        Method::named_argument(
            c"set_protocol",
            || ("set_protocol", c"protocol"),
            |this: This<'_, T>, protocol: &Object| nothing(T::set_protocol(this, protocol)),
            c"Serve another protocol from now on.",
        ),
        Method::no_arguments(
            c"get_protocol",
            |this: This<'_, T>| Ok(this.protocol.get().unwrap_or_else(none)),
            c"Return the protocol.",
        ),
        Method::no_arguments(
            c"is_closing",
            |this: This<'_, T>| Ok(Object::from_bool(this.is_closing())),
            c"Return True if the transport is closing or closed.",
        ),
        Method::no_arguments(
            c"close",
            |this: This<'_, T>| nothing(this.close()),
            c"Receive nothing more, and end the connection once everything is sent.",
        ),
        Method::no_arguments(
            c"abort",
            |this: This<'_, T>| nothing(this.force_close(&none())),
            c"End the connection now; what the kernel has not taken is lost.",
        ),
    ]
}

/// What asyncio's own modules call.
fn internals<T: Transport>() -> Vec<Method> {
    vec![
        Method::named_argument(
            c"_force_close",
            || ("_force_close", c"exc"),
            |this: This<'_, T>, exception: &Object| nothing(this.force_close(exception)),
            c"End the connection now, with an exception for connection_lost().",
        ),
        Method::any_arguments(
            c"_fatal_error",
            |this: This<'_, T>, arguments: Arguments<'_>| {
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
            |this: This<'_, T>, exception: &Object| nothing(this.connection_lost(exception)),
            c"Call the protocol's connection_lost(), then close the socket.",
        ),
    ]
}

/// The attributes that every transport has, by asyncio's private names: libraries look at some.
pub(super) fn attributes_of<T: Transport>() -> Vec<GetSet> {
    vec![
        GetSet::read_only(
            c"_loop",
            |this: This<'_, T>| Ok(this.event_loop.get().map_or_else(none, Own::into_object)),
            c"The event loop; None once the connection is lost.",
        ),
        GetSet::read_only(
            c"_sock",
            |this: This<'_, T>| {
                // Whoever uses the socket itself must find that everything was sent.
                T::flush(this)?;
                Ok(this.python_socket()?.unwrap_or_else(none))
            },
            c"The socket; None once the connection is lost.",
        ),
        GetSet::read_only(
            c"_file",
            |this: This<'_, T>| Ok(this.socket.get().unwrap_or_else(none)),
            c"What owns the descriptor: the socket, or what it is made of when somebody asks.",
        ),
        GetSet::read_write(
            c"_extra",
            |this: This<'_, T>| this.extra_dict(),
            |this: This<'_, T>, value: Option<&Object>| {
                this.extra.assign(value.cloned());
                Ok(())
            },
            c"What get_extra_info() knows: a dict.",
        ),
        GetSet::read_only(
            c"_sock_fd",
            |this: This<'_, T>| Object::from_i64(this.fd.get().into()),
            c"The socket's descriptor, also after it was closed.",
        ),
        GetSet::read_only(
            c"_protocol",
            |this: This<'_, T>| Ok(this.protocol.get().unwrap_or_else(none)),
            c"The protocol; None once the connection is lost.",
        ),
        GetSet::read_only(
            c"_closing",
            |this: This<'_, T>| Ok(Object::from_bool(this.is_closing())),
            c"True once the transport is closing or closed.",
        ),
        GetSet::read_only(
            c"_conn_lost",
            |this: This<'_, T>| integer(this.lost.get()),
            c"0 until connection_lost() is scheduled; then it also counts late writes.",
        ),
        GetSet::read_only(
            c"_paused",
            |this: This<'_, T>| Ok(Object::from_bool(this.paused.get())),
            c"True while reading is paused.",
        ),
        GetSet::read_only(
            c"_protocol_paused",
            |this: This<'_, T>| Ok(Object::from_bool(this.value().is_protocol_paused())),
            c"True between the protocol's pause_writing() and resume_writing().",
        ),
    ]
}
