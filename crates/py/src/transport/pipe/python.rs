//! The native bases of `ferrio.pipes.ReadPipeTransport` and `WritePipeTransport` as Python sees
//! them.

use ferrio_inspect::counters::TransportKind;

use super::PipeTransport;
use super::reader::ReadPipeTransport;
use super::writer::WritePipeTransport;
use crate::event_loop::Side;
use crate::ffi::{
    Arguments, GetSet, Method, Object, Outcome, Own, Raised, Signature, This, TypeBuilder,
    attributes, methods, none, sys, text,
};
use crate::imports::imports;
use crate::transport::methods::{
    FATAL_ERROR, GET_EXTRA_INFO, SET_WRITE_BUFFER_LIMITS, integer, nothing, require_one_slot,
};

const INIT: Signature<4> = Signature {
    function: "PipeTransport",
    names: [c"loop", c"pipe", c"protocol", c"extra"],
    positional: 4,
    required: 4,
};

/// Builds both types, as subclasses of `asyncio.ReadTransport` and `asyncio.Transport`: asyncio's
/// own writing end is the latter, too.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    let imports = imports();
    require_one_slot(&imports.asyncio_read_transport)?;
    require_one_slot(&imports.asyncio_transport)?;
    TypeBuilder::<ReadPipeTransport>::new(
        c"The native base of ferrio.pipes.ReadPipeTransport: the reading end of a pipe.\n\n\
        Its methods are asyncio's and may be called from the loop's own thread only.",
    )
    .based_on(&imports.asyncio_read_transport)
    .subclassable()
    .init(|this, arguments| this.initialise_pipe(arguments))
    .unary(sys::Py_tp_repr, |this: This<'_, ReadPipeTransport>| {
        this.describe_pipe(Side::Reader, None)
    })
    .methods(methods(reader_table()))
    .attributes(attributes(reader_attributes()))
    .build(module, None)?;
    TypeBuilder::<WritePipeTransport>::new(
        c"The native base of ferrio.pipes.WritePipeTransport: the writing end of a pipe.\n\n\
        Its methods are asyncio's and may be called from the loop's own thread only.",
    )
    .based_on(&imports.asyncio_transport)
    .subclassable()
    .init(|this, arguments| this.initialise_pipe(arguments))
    .unary(sys::Py_tp_repr, |this: This<'_, WritePipeTransport>| {
        this.describe_pipe(Side::Writer, Some(this.unsent()))
    })
    .methods(methods(writer_table()))
    .attributes(attributes(writer_attributes()))
    .build(module, None)
}

impl<T: PipeTransport> This<'_, T> {
    /// `__init__(loop, pipe, protocol, extra)`.
    fn initialise_pipe(self, arguments: Arguments<'_>) -> Outcome<()> {
        let [Some(event_loop), Some(file), Some(protocol), Some(extra)] = INIT.parse(arguments)?
        else {
            return Err(Raised::type_error("an argument is missing"));
        };
        self.take_over_file(event_loop, file, extra, TransportKind::Pipe)?;
        self.protocol.set(protocol.clone());
        Ok(())
    }

    fn extra_info(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let [name, default] = GET_EXTRA_INFO.parse(arguments)?;
        let name = name.cloned().unwrap_or_else(none);
        let default = default.cloned().unwrap_or_else(none);
        let extra = self.extra.get().unwrap_or_else(none);
        extra.call_method(&imports().names.get, &[&name, &default])
    }

    /// `__repr__`, in asyncio's words.
    fn describe_pipe(self, side: Side, unsent: Option<usize>) -> Outcome<Object> {
        let name = self.object().type_object().get_attr(&text("__name__")?)?;
        let mut parts = vec![name.to_text()?];
        let is_closed = self.socket.get().is_none();
        if is_closed {
            parts.push("closed".to_owned());
        } else if self.closing.get() {
            parts.push("closing".to_owned());
        }
        parts.push(format!("fd={}", self.fd.get()));
        let is_loop_open = self
            .event_loop
            .get()
            .is_some_and(|event_loop| !event_loop.is_closed());
        if is_closed {
            parts.push("closed".to_owned());
        } else if is_loop_open {
            let watched = self.value().is_half_watched(side);
            parts.push(if watched { "polling" } else { "idle" }.to_owned());
            parts.extend(unsent.map(|unsent| format!("bufsize={unsent}")));
        } else {
            parts.push("open".to_owned());
        }
        text(&format!("<{}>", parts.join(" ")))
    }
}

/// What both ends have.
fn common_table<T: PipeTransport>() -> Vec<Method> {
    vec![
        Method::any_arguments(
            c"get_extra_info",
            |this: This<'_, T>, arguments: Arguments<'_>| this.extra_info(arguments),
            c"Return what is known by the name of 'pipe': the file object.",
        ),
        Method::named_argument(
            c"set_protocol",
            || ("set_protocol", c"protocol"),
            |this: This<'_, T>, protocol: &Object| {
                this.protocol.set(protocol.clone());
                Ok(none())
            },
            c"Serve another protocol from now on.",
        ),
        Method::no_arguments(
            c"get_protocol",
            |this: This<'_, T>| Ok(this.protocol.get().unwrap_or_else(none)),
            c"Return the protocol.",
        ),
        Method::no_arguments(
            c"is_closing",
            |this: This<'_, T>| Ok(Object::from_bool(this.closing.get())),
            c"Return True if the transport is closing or closed.",
        ),
        Method::no_arguments(
            c"_figures",
            |this: This<'_, T>| {
                let ((received, sent), _) = this.counted.figures();
                let number = |bytes: u64| Object::from_i64(bytes.cast_signed());
                Object::tuple(&[&number(received)?, &number(sent)?])
            },
            c"Return how many bytes were received and sent.",
        ),
        Method::named_argument(
            c"_call_connection_lost",
            || ("_call_connection_lost", c"exc"),
            |this: This<'_, T>, exception: &Object| nothing(this.end(exception)),
            c"Call the protocol's connection_lost(), then close the file.",
        ),
    ]
}

fn common_attributes<T: PipeTransport>() -> Vec<GetSet> {
    vec![
        GetSet::read_only(
            c"_loop",
            |this: This<'_, T>| Ok(this.event_loop.get().map_or_else(none, Own::into_object)),
            c"The event loop; None once the connection is lost.",
        ),
        GetSet::read_only(
            c"_pipe",
            |this: This<'_, T>| Ok(this.socket.get().unwrap_or_else(none)),
            c"The file object; None once the connection is lost.",
        ),
        GetSet::read_only(
            c"_fileno",
            |this: This<'_, T>| Object::from_i64(this.fd.get().into()),
            c"The file's descriptor, also after it was closed.",
        ),
        GetSet::read_only(
            c"_protocol",
            |this: This<'_, T>| Ok(this.protocol.get().unwrap_or_else(none)),
            c"The protocol; None once the connection is lost.",
        ),
        GetSet::read_only(
            c"_closing",
            |this: This<'_, T>| Ok(Object::from_bool(this.closing.get())),
            c"True once the transport is closing or closed.",
        ),
    ]
}

type Reader<'a> = This<'a, ReadPipeTransport>;

fn reader_table() -> Vec<Method> {
    let mut table = common_table::<ReadPipeTransport>();
    table.extend([
        Method::no_arguments(
            c"is_reading",
            |this: Reader<'_>| Ok(Object::from_bool(this.is_reading())),
            c"Return True if the transport is receiving.",
        ),
        Method::no_arguments(
            c"pause_reading",
            |this: Reader<'_>| nothing(this.pause_reading()),
            c"Give the protocol nothing more until resume_reading() is called.",
        ),
        Method::no_arguments(
            c"resume_reading",
            |this: Reader<'_>| nothing(this.resume_reading()),
            c"Go on giving the protocol what arrives.",
        ),
        Method::no_arguments(
            c"close",
            |this: Reader<'_>| nothing(this.close_reader()),
            c"Read nothing more, and close the file.",
        ),
        Method::no_arguments(
            c"_start_reading",
            |this: Reader<'_>| nothing(this.start_reading()),
            c"Begin to read, unless reading is paused; called after connection_made().",
        ),
        Method::no_arguments(
            c"_read_ready",
            |this: Reader<'_>| nothing(this.read_ready()),
            c"Read once; called by the loop when there is something to read.",
        ),
        Method::any_arguments(
            c"_fatal_error",
            |this: Reader<'_>, arguments: Arguments<'_>| {
                let (exception, message) = parse_fatal_error(arguments)?;
                nothing(this.fatal_error(&exception, &message))
            },
            c"Report an error and end the connection with it.",
        ),
    ]);
    table
}

fn reader_attributes() -> Vec<GetSet> {
    let mut table = common_attributes::<ReadPipeTransport>();
    table.push(GetSet::read_only(
        c"_paused",
        |this: Reader<'_>| Ok(Object::from_bool(this.paused.get())),
        c"True while reading is paused.",
    ));
    table
}

type Writer<'a> = This<'a, WritePipeTransport>;

fn writer_table() -> Vec<Method> {
    let mut table = common_table::<WritePipeTransport>();
    table.extend(writing());
    table.extend([
        Method::no_arguments(
            c"close",
            |this: Writer<'_>| nothing(this.write_eof()),
            c"Close the file once everything is written.",
        ),
        Method::no_arguments(
            c"abort",
            |this: Writer<'_>| nothing(this.abort()),
            c"Close the file now; what the kernel has not taken is lost.",
        ),
        Method::no_arguments(
            c"_watch_peer",
            |this: Writer<'_>| nothing(this.watch_peer()),
            c"Notice from now on when the peer closes its end; called after connection_made().",
        ),
        Method::no_arguments(
            c"_read_ready",
            |this: Writer<'_>| nothing(this.peer_closed()),
            c"Close the file; called by the loop when the peer has closed its end.",
        ),
        Method::no_arguments(
            c"_write_ready",
            |this: Writer<'_>| nothing(this.write_ready()),
            c"Write what waits; called by the loop when there is room.",
        ),
        Method::any_arguments(
            c"_fatal_error",
            |this: Writer<'_>, arguments: Arguments<'_>| {
                let (exception, message) = parse_fatal_error(arguments)?;
                nothing(this.fatal_error(&exception, &message))
            },
            c"Report an error and end the connection with it.",
        ),
    ]);
    table
}

fn writing() -> Vec<Method> {
    vec![
        Method::named_argument(
            c"write",
            || ("write", c"data"),
            |this: Writer<'_>, data: &Object| nothing(this.write(data)),
            c"Write bytes to the pipe; what it does not take yet is kept and written later.",
        ),
        Method::named_argument(
            c"writelines",
            || ("writelines", c"list_of_data"),
            |this: Writer<'_>, lines: &Object| {
                let joined = Object::from_bytes(&[])?.call_method(&text("join")?, &[lines])?;
                nothing(this.write(&joined))
            },
            c"Write what the items of an iterable of bytes join to.",
        ),
        Method::no_arguments(
            c"write_eof",
            |this: Writer<'_>| nothing(this.write_eof()),
            c"Close the file once everything is written.",
        ),
        Method::no_arguments(
            c"can_write_eof",
            |_this: Writer<'_>| Ok(Object::from_bool(true)),
            c"Return True: there is write_eof().",
        ),
        Method::no_arguments(
            c"get_write_buffer_size",
            |this: Writer<'_>| integer(this.unsent()),
            c"Return how many bytes the kernel has not taken.",
        ),
        Method::no_arguments(
            c"get_write_buffer_limits",
            |this: Writer<'_>| {
                let limits = this.limits();
                Object::tuple(&[&integer(limits.low)?, &integer(limits.high)?])
            },
            c"Return the water marks: (low, high), in bytes.",
        ),
        Method::any_arguments(
            c"set_write_buffer_limits",
            |this: Writer<'_>, arguments: Arguments<'_>| {
                let [high, low] = SET_WRITE_BUFFER_LIMITS.parse(arguments)?;
                let (high, low) = (high.and_then(Object::some), low.and_then(Object::some));
                nothing(this.set_limits(high, low))
            },
            c"Set the water marks, in bytes.\n\n\
            The protocol's pause_writing() is called when more than `high` bytes wait to be\n\
            written, resume_writing() when all are. None is 64 KiB for `high`, or four times\n\
            `low`, and a quarter of `high` for `low`.",
        ),
    ]
}

fn writer_attributes() -> Vec<GetSet> {
    let mut table = common_attributes::<WritePipeTransport>();
    table.extend([
        GetSet::read_only(
            c"_conn_lost",
            |this: Writer<'_>| integer(this.failed_writes.get()),
            c"How many writes have failed or come too late.",
        ),
        GetSet::read_only(
            c"_protocol_paused",
            |this: Writer<'_>| Ok(Object::from_bool(this.is_protocol_paused())),
            c"True between the protocol's pause_writing() and resume_writing().",
        ),
    ]);
    table
}

fn parse_fatal_error(arguments: Arguments<'_>) -> Outcome<(Object, String)> {
    let [exception, message] = FATAL_ERROR.parse(arguments)?;
    let message = match message {
        Some(message) => message.to_text()?,
        None => "Fatal error on pipe transport".to_owned(),
    };
    Ok((exception.cloned().unwrap_or_else(none), message))
}
