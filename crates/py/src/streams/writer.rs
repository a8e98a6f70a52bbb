//! `StreamWriter`: a transport, its protocol and its reader in one hand.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::originals::{lend, originals};
use super::reader::assertion;
use super::writing::{Drain, WaitClosed};
use crate::awaitable::Coroutine;
use crate::ffi::{
    Arguments, Function, GetSet, Method, Native, Object, ObjectCell, Outcome, Own, Raised,
    Signature, This, TypeBuilder, TypeObject, Visitor, attributes, methods, none, required, sys,
    text,
};
use crate::imports::imports;
use crate::originals::get;
use crate::sync::{StandsIn, class_attribute, create_future};
use crate::transport::{StreamTransport, writes_by_itself};

/// The native part of a `StreamWriter`.
#[repr(C)]
pub(crate) struct StreamWriter {
    dict: ObjectCell,
    weak_references: ObjectCell,
    transport: ObjectCell,
    pub(super) protocol: ObjectCell,
    pub(super) reader: ObjectCell,
    event_loop: ObjectCell,
    /// A future that is done; made when somebody asks for it.
    complete: ObjectCell,
    /// Whether `transport` is a [`StreamTransport`] whose `write` nobody has replaced.
    plain_transport: Cell<bool>,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `StreamWriter` in `build`; the offsets are those of fields that only
// CPython touches.
unsafe impl Native for StreamWriter {
    const NAME: &'static CStr = c"ferrio._ferrio.StreamWriter";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(StreamWriter, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(StreamWriter, weak_references));
    const FINALIZES: bool = true;

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<StreamWriter> {
        Ok(StreamWriter {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            transport: ObjectCell::new(),
            protocol: ObjectCell::new(),
            reader: ObjectCell::new(),
            event_loop: ObjectCell::new(),
            complete: ObjectCell::new(),
            plain_transport: Cell::new(false),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        for cell in self.cells() {
            cell.visit(visitor)?;
        }
        Ok(())
    }

    fn clear(&self) {
        self.plain_transport.set(false);
        for cell in self.cells() {
            cell.clear();
        }
    }

    fn wants_finalize(&self) -> bool {
        self.transport.is_some() && originals().manners.writer_warns
    }

    fn finalize(this: This<'_, StreamWriter>) {
        if !this.value().wants_finalize() {
            return;
        }
        let closing = this.native_transport(|transport| transport.is_closing());
        if closing == Some(true) {
            return;
        }
        // Closes the transport and warns, in the words of the version at hand.
        let names = &originals().names;
        let outcome = originals()
            .writer
            .call_method(&names.del, &[&this.object()]);
        if let Err(raised) = outcome {
            raised.report_unraisable(&this.object());
        }
    }
}

impl StandsIn for StreamWriter {
    fn original() -> &'static Object {
        &originals().writer
    }
}

impl StreamWriter {
    fn cells(&self) -> [&ObjectCell; 5] {
        [
            &self.transport,
            &self.protocol,
            &self.reader,
            &self.event_loop,
            &self.complete,
        ]
    }
}

impl Own<StreamWriter> {
    /// `StreamWriter(transport, protocol, reader, loop)`.
    pub(super) fn make(
        transport: &Object,
        protocol: &Object,
        reader: &Object,
        event_loop: &Object,
    ) -> Outcome<Own<StreamWriter>> {
        let writer = Own::new(StreamWriter::create()?)?;
        writer
            .this()
            .fill(transport, protocol, reader, event_loop)?;
        Ok(writer)
    }
}

impl This<'_, StreamWriter> {
    fn fill(
        self,
        transport: &Object,
        protocol: &Object,
        reader: &Object,
        event_loop: &Object,
    ) -> Outcome<()> {
        self.set_transport(transport)?;
        self.protocol.set(protocol.clone());
        if !reader.is_none() && !reader.is_instance(originals().reader.as_ptr())? {
            return Err(assertion(""));
        }
        self.reader.assign(reader.some().cloned());
        self.event_loop.set(event_loop.clone());
        self.complete.clear();
        Ok(())
    }

    fn set_transport(self, transport: &Object) -> Outcome<()> {
        self.plain_transport.set(false);
        self.transport.set(transport.clone());
        self.plain_transport.set(writes_by_itself(transport)?);
        Ok(())
    }

    /// Whether nobody can have replaced a method of it.
    #[inline]
    fn is_plain(self) -> bool {
        self.has_original_methods() && self.dict.has_no_attributes()
    }

    /// Runs `body` on the transport if it is a [`StreamTransport`] with methods of its own.
    #[inline]
    fn native_transport<R>(self, body: impl FnOnce(This<'_, StreamTransport>) -> R) -> Option<R> {
        if !self.plain_transport.get() {
            return None;
        }
        let transport = self.transport.get()?;
        let transport = This::<StreamTransport>::from_object(&transport)?;
        (!transport.has_replaced_methods()).then(|| body(transport))
    }

    /// Calls a method of the transport.
    fn call_transport(self, name: &Object, arguments: &[&Object]) -> Outcome<Object> {
        match self.transport.get() {
            Some(transport) => transport.call_method(name, arguments),
            None => Err(Raised::attribute_error(
                "'StreamWriter' object has no attribute '_transport'",
            )),
        }
    }

    /// `write(data)`.
    #[inline]
    fn write(self, data: &Object) -> Outcome<()> {
        match self.native_transport(|transport| transport.write(data)) {
            Some(outcome) => outcome,
            None => self
                .call_transport(&originals().names.write, &[data])
                .map(drop),
        }
    }

    /// `transport.is_closing()`.
    #[inline]
    pub(super) fn is_closing(self) -> Outcome<bool> {
        match self.native_transport(|transport| transport.is_closing()) {
            Some(closing) => Ok(closing),
            None => self
                .call_transport(&originals().names.is_closing, &[])?
                .is_true(),
        }
    }

    /// `__repr__`, in asyncio's words.
    fn describe(self) -> Outcome<Object> {
        let class = self.object().get_attr(&text("__class__")?)?;
        let name = class.get_attr(&text("__name__")?)?.to_text()?;
        let transport = self.transport.get().unwrap_or_else(none).repr_text()?;
        let reader = match self.reader.get() {
            Some(reader) => format!(" reader={}", reader.repr_text()?),
            None => String::new(),
        };
        text(&format!("<{name} transport={transport}{reader}>"))
    }

    /// `_complete_fut`.
    fn complete_future(self) -> Outcome<Object> {
        if let Some(future) = self.complete.get() {
            return Ok(future);
        }
        let future = create_future(&self.event_loop.get().unwrap_or_else(none))?;
        future.call_method(&imports().names.set_result, &[&none()])?;
        self.complete.set(future.clone());
        Ok(future)
    }
}

/// Builds the type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    TypeBuilder::<StreamWriter>::new(
        c"What is to be sent on a connection: asyncio.StreamWriter, native.\n\n\
        Belongs to its loop's thread.",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
    .init(|this, arguments| {
        const INIT: Signature<4> = Signature {
            function: "StreamWriter.__init__",
            names: [c"transport", c"protocol", c"reader", c"loop"],
            positional: 4,
            required: 4,
        };
        match INIT.parse(arguments)? {
            [
                Some(transport),
                Some(protocol),
                Some(reader),
                Some(event_loop),
            ] => this.fill(transport, protocol, reader, event_loop),
            _ => Err(Raised::type_error("an argument is missing")),
        }
    })
    .unary(sys::Py_tp_repr, |this| this.describe())
    .methods(methods(method_table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)?;
    // Once per connection, in the words of the version at hand.
    lend(&originals().writer, c"start_tls", &TYPE)?;
    add_functions()
}

fn method_table() -> Vec<Method> {
    type Self_<'a> = This<'a, StreamWriter>;
    const GET_EXTRA_INFO: Signature<2> = Signature {
        function: "StreamWriter.get_extra_info",
        names: [c"name", c"default"],
        positional: 2,
        required: 1,
    };
    vec![
        Method::named_argument(
            c"write",
            || ("write", c"data"),
            |this: Self_<'_>, data: &Object| this.write(data).map(|()| none()),
            c"Send bytes; what the peer does not take yet is kept and sent later.",
        ),
        Method::named_argument(
            c"writelines",
            || ("writelines", c"data"),
            |this: Self_<'_>, data: &Object| {
                this.call_transport(&originals().names.writelines, &[data])
                    .map(|_| none())
            },
            c"Send all items of an iterable of bytes.",
        ),
        Method::no_arguments(
            c"write_eof",
            |this: Self_<'_>| this.call_transport(&originals().names.write_eof, &[]),
            c"Tell the peer that nothing more will come, once everything is sent.",
        ),
        Method::no_arguments(
            c"can_write_eof",
            |this: Self_<'_>| this.call_transport(&originals().names.can_write_eof, &[]),
            c"Return True if there is write_eof() for this transport.",
        ),
        Method::no_arguments(
            c"close",
            |this: Self_<'_>| this.call_transport(&originals().names.close, &[]),
            c"Receive nothing more, and end the connection once everything is sent.",
        ),
        Method::no_arguments(
            c"is_closing",
            |this: Self_<'_>| this.call_transport(&originals().names.is_closing, &[]),
            c"Return True if the connection is closing or closed.",
        ),
        Method::any_arguments(
            c"get_extra_info",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let [name, default] = GET_EXTRA_INFO.parse(arguments)?;
                let name = name.cloned().unwrap_or_else(none);
                let default = default.cloned().unwrap_or_else(none);
                this.call_transport(&originals().names.get_extra_info, &[&name, &default])
            },
            c"Return what the transport knows about the connection.",
        ),
    ]
}

fn attribute_table() -> Vec<GetSet> {
    type Self_<'a> = This<'a, StreamWriter>;
    vec![
        class_attribute::<StreamWriter>(),
        GetSet::instance_dict(),
        GetSet::read_only(
            c"transport",
            |this: Self_<'_>| Ok(this.transport.get().unwrap_or_else(none)),
            c"The transport.",
        ),
        GetSet::read_write(
            c"_transport",
            |this: Self_<'_>| Ok(this.transport.get().unwrap_or_else(none)),
            |this: Self_<'_>, value: Option<&Object>| {
                this.set_transport(required(value, "_transport")?)
            },
            c"The transport.",
        ),
        GetSet::field(
            c"_protocol",
            |writer: &StreamWriter| &writer.protocol,
            c"The transport's protocol.",
        ),
        GetSet::field(
            c"_reader",
            |writer: &StreamWriter| &writer.reader,
            c"The reader of the same connection, or None.",
        ),
        GetSet::field(
            c"_loop",
            |writer: &StreamWriter| &writer.event_loop,
            c"The event loop.",
        ),
        GetSet::read_write(
            c"_complete_fut",
            |this: Self_<'_>| this.complete_future(),
            |this: Self_<'_>, value: Option<&Object>| {
                this.complete.assign(value.cloned());
                Ok(())
            },
            c"A future that is done.",
        ),
    ]
}

fn add_functions() -> Outcome<()> {
    let writer = &originals().writer;
    let drain = get(writer, c"drain")?;
    let drain = Function::make_method(&drain, |function, writer: Own<StreamWriter>| {
        if !writer.this().is_plain() {
            let name = &originals().names.drain;
            let writer = writer.into_object();
            return originals().writer.call_method(name, &[&writer]);
        }
        Coroutine::make(function, Drain::new(writer))
    })?;
    TYPE.add_attribute(c"drain", &drain.into_object())?;
    let wait_closed = get(writer, c"wait_closed")?;
    let wait_closed = Function::make_method(&wait_closed, |function, writer| {
        Coroutine::make(function, WaitClosed::new(writer))
    })?;
    TYPE.add_attribute(c"wait_closed", &wait_closed.into_object())
}
