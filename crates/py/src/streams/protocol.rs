//! `StreamReaderProtocol`: from a transport to a reader.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::connected::{report, watch_task};
use super::flow_control::{self, FlowControlMixin};
use super::originals::{lend, originals};
use super::reader::StreamReader;
use super::writer::StreamWriter;
use crate::ffi::{
    Arguments, Attribute, Extends, GetSet, Method, Native, Object, ObjectCell, Outcome, Own,
    Raised, Signature, This, TypeBuilder, TypeObject, Visitor, attributes, methods, none, required,
    sys, text,
};
use crate::future::Future;
use crate::imports::imports;
use crate::sync::{StandsIn, class_attribute, create_future, is_future_cancelled, is_future_done};
use crate::task::{Maker, Making};

/// The native part of a `StreamReaderProtocol`.
#[repr(C)]
pub(crate) struct StreamReaderProtocol {
    flow: FlowControlMixin,
    /// A weak reference to the reader: who drops a client's reader is not to be kept waiting.
    reader_reference: ObjectCell,
    /// The reader of a connection that a server will accept, until it has.
    strong_reader: ObjectCell,
    source_traceback: ObjectCell,
    transport: ObjectCell,
    client_connected: ObjectCell,
    /// The task in which `client_connected` runs.
    task: ObjectCell,
    /// Up to 3.12: keeps the writer of a server's connection alive.
    writer: ObjectCell,
    /// What `wait_closed()` waits for; made when somebody asks for it.
    closed: ObjectCell,
    /// What the connection was lost with, for a `closed` that is made afterwards.
    lost_with: ObjectCell,
    reject_connection: Cell<bool>,
    over_tls: Cell<bool>,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `StreamReaderProtocol` in `build`; the offsets are those of the
// mixin at offset 0.
unsafe impl Native for StreamReaderProtocol {
    const NAME: &'static CStr = c"ferrio._ferrio.StreamReaderProtocol";
    const DICT_OFFSET: Option<usize> = FlowControlMixin::DICT_OFFSET;
    const WEAK_REFERENCES_OFFSET: Option<usize> = FlowControlMixin::WEAK_REFERENCES_OFFSET;
    const FINALIZES: bool = true;

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<StreamReaderProtocol> {
        Ok(StreamReaderProtocol {
            flow: FlowControlMixin::new(),
            reader_reference: ObjectCell::new(),
            strong_reader: ObjectCell::new(),
            source_traceback: ObjectCell::new(),
            transport: ObjectCell::new(),
            client_connected: ObjectCell::new(),
            task: ObjectCell::new(),
            writer: ObjectCell::new(),
            closed: ObjectCell::new(),
            lost_with: ObjectCell::new(),
            reject_connection: Cell::new(false),
            over_tls: Cell::new(false),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.flow.visit(visitor)?;
        for cell in self.cells() {
            cell.visit(visitor)?;
        }
        Ok(())
    }

    fn clear(&self) {
        self.flow.clear();
        for cell in self.cells() {
            cell.clear();
        }
    }

    fn wants_finalize(&self) -> bool {
        self.closed.is_some()
    }

    fn finalize(this: This<'_, StreamReaderProtocol>) {
        if let Err(raised) = this.forget_exception() {
            raised.report_unraisable(&this.object());
        }
    }
}

// SAFETY: `repr(C)`, with a `FlowControlMixin` as its first field; `build` gives the base.
unsafe impl Extends<FlowControlMixin> for StreamReaderProtocol {}

impl StandsIn for StreamReaderProtocol {
    fn original() -> &'static Object {
        &originals().protocol
    }
}

impl StreamReaderProtocol {
    fn cells(&self) -> [&ObjectCell; 9] {
        [
            &self.reader_reference,
            &self.strong_reader,
            &self.source_traceback,
            &self.transport,
            &self.client_connected,
            &self.task,
            &self.writer,
            &self.closed,
            &self.lost_with,
        ]
    }
}

impl This<'_, StreamReaderProtocol> {
    /// Whether nobody can have replaced a method of it.
    #[inline]
    pub(crate) fn is_plain(self) -> bool {
        self.has_original_methods() && self.flow.dict.has_no_attributes()
    }

    /// `__init__(stream_reader, client_connected_cb=None, loop=None)`.
    fn initialise(self, arguments: Arguments<'_>) -> Outcome<()> {
        const INIT: Signature<3> = Signature {
            function: "StreamReaderProtocol.__init__",
            names: [c"stream_reader", c"client_connected_cb", c"loop"],
            positional: 3,
            required: 1,
        };
        let [reader, client_connected, event_loop] = INIT.parse(arguments)?;
        self.upcast::<FlowControlMixin>()
            .initialise_flow(event_loop)?;
        for cell in self.cells() {
            cell.clear();
        }
        let reader = reader.and_then(Object::some);
        if let Some(reader) = reader {
            self.reader_reference
                .set(imports().weak_reference.call1(reader)?);
            let source = reader.get_attr(&originals().names.source_traceback)?;
            self.source_traceback.assign(source.some().cloned());
        }
        if let Some(callback) = client_connected.and_then(Object::some) {
            // The server's reader has nobody else to keep it, until it is handed over.
            self.strong_reader.assign(reader.cloned());
            self.client_connected.set(callback.clone());
        }
        self.reject_connection.set(false);
        self.over_tls.set(false);
        Ok(())
    }

    /// The reader, as long as somebody keeps it and the connection lasts.
    #[inline]
    fn reader(self) -> Outcome<Option<Object>> {
        match self.reader_reference.get() {
            Some(reference) => reference.weak_target(),
            None => Ok(None),
        }
    }

    /// `_stream_reader`, overridden or not.
    fn any_reader(self) -> Outcome<Option<Object>> {
        if self.is_plain() {
            return self.reader();
        }
        let reader = self.object().get_attr(&originals().names.stream_reader)?;
        Ok(reader.some().cloned())
    }

    /// The reader to which bytes may be given without a call of a method.
    #[inline]
    pub(crate) fn plain_reader(self) -> Outcome<Option<Own<StreamReader>>> {
        if !self.is_plain() {
            return Ok(None);
        }
        let Some(reader) = self.reader()? else {
            return Ok(None);
        };
        Ok(match This::<StreamReader>::from_exact(&reader) {
            Some(native) if native.is_plain() => Some(native.own()),
            _ => None,
        })
    }

    /// `connection_made(transport)`.
    fn connection_made(self, transport: &Object) -> Outcome<()> {
        if self.reject_connection.get() {
            let name = &originals().names.connection_made;
            let this = self.object();
            return originals()
                .protocol
                .call_method(name, &[&this, transport])
                .map(drop);
        }
        self.transport.set(transport.clone());
        let reader = self.any_reader()?;
        if let Some(reader) = &reader {
            reader.call_method(&originals().names.set_transport, &[transport])?;
        }
        let context =
            transport.call_method(&originals().names.get_extra_info, &[&text("sslcontext")?])?;
        self.over_tls.set(!context.is_none());
        match self.client_connected.get() {
            Some(callback) => self.serve(&callback, transport, reader),
            None => Ok(()),
        }
    }

    /// A server has accepted a connection: calls its callback.
    fn serve(self, callback: &Object, transport: &Object, reader: Option<Object>) -> Outcome<()> {
        let manners = originals().manners;
        let event_loop = self.upcast::<FlowControlMixin>().owner()?;
        let reader = reader.unwrap_or_else(none);
        let writer = Own::<StreamWriter>::make(transport, &self.object(), &reader, &event_loop)?
            .into_object();
        if manners.keeps_writer {
            self.writer.set(writer.clone());
        }
        let result = match callback.call(&[&reader, &writer], None) {
            Ok(result) => result,
            Err(raised) if manners.reports_callback => {
                return self.callback_failed(raised, &event_loop, transport);
            }
            Err(raised) => return Err(raised),
        };
        if imports().is_coroutine.call1(&result)?.is_true()? {
            let _making = Making::by(Maker::Server, 0);
            let task = event_loop.call_method(&originals().names.create_task, &[&result])?;
            self.task.set(task.clone());
            if manners.watches_task {
                watch_task(&task, &event_loop, transport)?;
            }
        }
        self.strong_reader.clear();
        Ok(())
    }

    /// From 3.14: what a server's callback itself raises is reported.
    #[cold]
    fn callback_failed(
        self,
        raised: Raised,
        event_loop: &Object,
        transport: &Object,
    ) -> Outcome<()> {
        // SAFETY: a built-in class.
        if !raised.matches(unsafe { sys::PyExc_Exception }) {
            return Err(raised);
        }
        report(event_loop, &raised.take(), transport)?;
        transport.call_method(&originals().names.close, &[])?;
        self.strong_reader.clear();
        Ok(())
    }

    /// `connection_lost(exc)`.
    fn connection_lost(self, exception: &Object) -> Outcome<()> {
        let names = &originals().names;
        if let Some(reader) = self.any_reader()? {
            match exception.some() {
                None => reader.call_method(&names.feed_eof, &[])?,
                Some(exception) => reader.call_method(&names.set_exception, &[exception])?,
            };
        }
        self.lost_with.assign(exception.some().cloned());
        if let Some(closed) = self.closed.get() {
            settle(&closed, exception)?;
        }
        self.upcast::<FlowControlMixin>()
            .lose_connection(exception)?;
        self.reader_reference.clear();
        self.writer.clear();
        self.task.clear();
        self.transport.clear();
        Ok(())
    }

    /// `data_received(data)`.
    #[inline]
    fn data_received(self, data: &Object) -> Outcome<()> {
        if let Some(reader) = self.plain_reader()? {
            return reader.this().feed_data(data);
        }
        match self.any_reader()? {
            Some(reader) => reader
                .call_method(&originals().names.feed_data, &[data])
                .map(drop),
            None => Ok(()),
        }
    }

    /// `eof_received()`: whether our side stays open.
    fn eof_received(self) -> Outcome<bool> {
        if let Some(reader) = self.any_reader()? {
            reader.call_method(&originals().names.feed_eof, &[])?;
        }
        // TLS has no half-closed connections, and asyncio warns of who asks for one.
        Ok(!self.over_tls.get())
    }

    /// `_closed`, made now if nobody has asked before.
    fn closed_future(self) -> Outcome<Object> {
        if let Some(future) = self.closed.get() {
            return Ok(future);
        }
        let flow = self.upcast::<FlowControlMixin>();
        let future = create_future(&flow.owner()?)?;
        if flow.connection_lost.get() {
            settle(&future, &self.lost_with.get().unwrap_or_else(none))?;
        }
        self.closed.set(future.clone());
        Ok(future)
    }

    /// Nobody is told that nobody has waited for the end.
    fn forget_exception(self) -> Outcome<()> {
        let Some(closed) = self.closed.get() else {
            return Ok(());
        };
        if let Some(native) = This::<Future>::from_exact(&closed) {
            native.forget_traceback();
            return Ok(());
        }
        if is_future_done(&closed)? && !is_future_cancelled(&closed)? {
            closed.call_method(&originals().names.exception, &[])?;
        }
        Ok(())
    }
}

/// Ends a future with the exception, or with None for None, unless it is done.
fn settle(future: &Object, exception: &Object) -> Outcome<()> {
    if is_future_done(future)? {
        return Ok(());
    }
    let names = &imports().names;
    match exception.some() {
        None => future.call_method(&names.set_result, &[&none()])?,
        Some(exception) => future.call_method(&names.set_exception, &[exception])?,
    };
    Ok(())
}

/// Builds the type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    TypeBuilder::<StreamReaderProtocol>::new(
        c"What connects a transport with a reader: asyncio.StreamReaderProtocol, native.",
    )
    .based_on(&flow_control::type_object().object())
    .subclassable()
    .named_as_in_python()
    .changeable()
    .init(|this, arguments| this.initialise(arguments))
    .methods(methods(method_table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)?;
    // Once per connection, in the words of the version at hand.
    for name in [c"_replace_transport", c"_replace_writer"] {
        lend(&originals().protocol, name, &TYPE)?;
    }
    Ok(())
}

fn method_table() -> Vec<Method> {
    type Self_<'a> = This<'a, StreamReaderProtocol>;
    vec![
        Method::named_argument(
            c"connection_made",
            || ("connection_made", c"transport"),
            |this: Self_<'_>, transport: &Object| this.connection_made(transport).map(|()| none()),
            c"Give the reader its transport; for a server, call its callback.",
        ),
        Method::named_argument(
            c"connection_lost",
            || ("connection_lost", c"exc"),
            |this: Self_<'_>, exception: &Object| this.connection_lost(exception).map(|()| none()),
            c"Tell the reader, and who waits for the end or to write.",
        ),
        Method::named_argument(
            c"data_received",
            || ("data_received", c"data"),
            |this: Self_<'_>, data: &Object| this.data_received(data).map(|()| none()),
            c"Give the reader what has arrived.",
        ),
        Method::no_arguments(
            c"eof_received",
            |this: Self_<'_>| this.eof_received().map(Object::from_bool),
            c"Tell the reader that nothing more will arrive; True without TLS: writing goes on.",
        ),
        Method::named_argument(
            c"_get_close_waiter",
            || ("_get_close_waiter", c"stream"),
            |this: Self_<'_>, _stream: &Object| this.object().get_attr(&text("_closed")?),
            c"Return the future of the connection's end.",
        ),
    ]
}

fn field<V, F>(name: &'static CStr, body: F, doc: &'static CStr) -> GetSet
where
    V: Attribute,
    F: Fn(&StreamReaderProtocol) -> &V + Copy + 'static,
{
    GetSet::field(name, body, doc)
}

fn attribute_table() -> Vec<GetSet> {
    type Self_<'a> = This<'a, StreamReaderProtocol>;
    vec![
        class_attribute::<StreamReaderProtocol>(),
        GetSet::read_only(
            c"_stream_reader",
            |this: Self_<'_>| Ok(this.reader()?.unwrap_or_else(none)),
            c"The reader, while it lives and the connection lasts.",
        ),
        field(
            c"_stream_reader_wr",
            |protocol| &protocol.reader_reference,
            c"A weak reference to the reader, or None.",
        ),
        field(
            c"_strong_reader",
            |protocol| &protocol.strong_reader,
            c"The reader of a connection that a server has not accepted yet.",
        ),
        field(
            c"_source_traceback",
            |protocol| &protocol.source_traceback,
            c"Where the reader was made, in debug mode.",
        ),
        field(
            c"_transport",
            |protocol| &protocol.transport,
            c"The transport, or None.",
        ),
        field(
            c"_client_connected_cb",
            |protocol| &protocol.client_connected,
            c"What a server calls for each connection, or None.",
        ),
        field(
            c"_task",
            |protocol| &protocol.task,
            c"The task that runs the server's callback.",
        ),
        field(
            c"_stream_writer",
            |protocol| &protocol.writer,
            c"Up to 3.12: a server's writer.",
        ),
        GetSet::read_write(
            c"_closed",
            |this: Self_<'_>| this.closed_future(),
            |this: Self_<'_>, value: Option<&Object>| {
                this.closed.set(required(value, "_closed")?.clone());
                Ok(())
            },
            c"The future of the connection's end.",
        ),
        field(
            c"_reject_connection",
            |protocol| &protocol.reject_connection,
            c"True if a connection is not wanted any more.",
        ),
        field(
            c"_over_ssl",
            |protocol| &protocol.over_tls,
            c"True if the connection is one over TLS.",
        ),
    ]
}

/// The type's own `data_received`, to see whether somebody has put another in its place.
pub(crate) fn is_untouched() -> Outcome<bool> {
    let method = TYPE.object().get_attr(&originals().names.data_received)?;
    Ok(method.type_ptr() == &raw mut sys::PyMethodDescr_Type)
}
