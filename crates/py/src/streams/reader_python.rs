//! `StreamReader` as Python sees it.

use super::originals::{lend, originals};
use super::reader::{StreamReader, TYPE};
use super::reading::{ReadStream, Separators, Wanted};
use crate::awaitable::Coroutine;
use std::ffi::CStr;

use crate::ffi::{
    Attribute, Function, GetSet, LookedUp, Method, Object, Outcome, Own, Signature, This,
    TypeBuilder, attributes, methods, none, receiver, required, sys,
};
use crate::originals::get;
use crate::sync::class_attribute;

type Self_<'a> = This<'a, StreamReader>;

/// Builds the type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    TypeBuilder::<StreamReader>::new(
        c"What has arrived on a connection: asyncio.StreamReader, native.\n\n\
        A line may have `limit` bytes; when twice as many wait to be read, the transport is asked\n\
        to pause. Belongs to its loop's thread.",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
    .init(|this, arguments| this.initialise(arguments))
    .unary(sys::Py_tp_repr, |this| this.describe())
    .unary(sys::Py_am_aiter, |this| Ok(this.own().into_object()))
    .unary(sys::Py_am_anext, next_line)
    .methods(methods(method_table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)?;
    for name in [
        c"_wait_for_data",
        c"_wakeup_waiter",
        c"_maybe_resume_transport",
        c"_replace_transport",
    ] {
        lend(&originals().reader, name, &TYPE)?;
    }
    add_functions()
}

fn method_table() -> Vec<Method> {
    vec![
        Method::no_arguments(
            c"exception",
            |this: Self_<'_>| Ok(this.exception.get().unwrap_or_else(none)),
            c"Return the exception that ended the stream, or None.",
        ),
        Method::named_argument(
            c"set_exception",
            || ("set_exception", c"exc"),
            |this: Self_<'_>, exception: &Object| this.set_exception(exception).map(|()| none()),
            c"End the stream with an exception, which who waits gets, and whoever reads from now on.",
        ),
        Method::named_argument(
            c"set_transport",
            || ("set_transport", c"transport"),
            |this: Self_<'_>, transport: &Object| this.set_transport(transport).map(|()| none()),
            c"Say which transport is to pause when too much waits to be read.",
        ),
        Method::no_arguments(
            c"feed_eof",
            |this: Self_<'_>| this.feed_eof().map(|()| none()),
            c"Say that nothing more will arrive.",
        ),
        Method::no_arguments(
            c"at_eof",
            |this: Self_<'_>| {
                let ended = this.eof.get() && this.received.is_empty()?;
                Ok(Object::from_bool(ended))
            },
            c"Return True if everything was read and nothing more will arrive.",
        ),
        Method::named_argument(
            c"feed_data",
            || ("feed_data", c"data"),
            |this: Self_<'_>, data: &Object| this.feed_data(data).map(|()| none()),
            c"Add bytes that have arrived.",
        ),
    ]
}

fn field<V, F>(name: &'static CStr, body: F, doc: &'static CStr) -> GetSet
where
    V: Attribute,
    F: Fn(&StreamReader) -> &V + Copy + 'static,
{
    GetSet::field(name, body, doc)
}

fn attribute_table() -> Vec<GetSet> {
    vec![
        class_attribute::<StreamReader>(),
        GetSet::instance_dict(),
        GetSet::read_write(
            c"_buffer",
            |this: Self_<'_>| this.received.to_python(),
            |this: Self_<'_>, value: Option<&Object>| {
                this.received.assign(required(value, "_buffer")?);
                Ok(())
            },
            c"What waits to be read: a bytearray, which may be changed.",
        ),
        GetSet::read_write(
            c"_limit",
            |this: Self_<'_>| this.python_limit(),
            |this: Self_<'_>, value: Option<&Object>| {
                this.set_limit(required(value, "_limit")?);
                Ok(())
            },
            c"How many bytes a line may have; half of what may wait to be read.",
        ),
        field(c"_loop", |reader| &reader.event_loop, c"The event loop."),
        field(
            c"_waiter",
            |reader| &reader.waiter,
            c"The future of who waits for data, or None.",
        ),
        field(
            c"_exception",
            |reader| &reader.exception,
            c"What ended the stream, or None.",
        ),
        field(
            c"_transport",
            |reader| &reader.transport,
            c"The transport that can pause, or None.",
        ),
        field(
            c"_source_traceback",
            |reader| &reader.source_traceback,
            c"Where the reader was made, in debug mode.",
        ),
        field(
            c"_eof",
            |reader| &reader.eof,
            c"True once nothing more will arrive.",
        ),
        field(
            c"_paused",
            |reader| &reader.paused,
            c"True while the transport was asked to pause.",
        ),
    ]
}

/// `__anext__`, for `am_anext`: the function has to be there to name the coroutine.
static NEXT_LINE: LookedUp<Own<Function>> = LookedUp::new();

fn next_line(this: Self_<'_>) -> Outcome<Object> {
    if this.is_plain()
        && let Some(function) = NEXT_LINE.find()
    {
        let plan = ReadStream::new(this.own(), Wanted::NextLine);
        return Coroutine::make(function.this(), plan);
    }
    this.as_asyncio(&originals().names.anext, &[])
}

/// `read()` and its like: they look like asyncio's, `inspect` says.
fn add_functions() -> Outcome<()> {
    let reader = &originals().reader;
    let read = Function::make(&get(reader, c"read")?, "ferrio", |function, arguments| {
        const READ: Signature<2> = Signature {
            function: "StreamReader.read",
            names: [c"self", c"n"],
            positional: 2,
            required: 1,
        };
        let [this, count] = READ.parse(arguments)?;
        let reader = receiver::<StreamReader>(this, "StreamReader.read")?;
        let wanted = match count.map_or(Some(-1), Object::as_integer) {
            Some(count) if reader.this().is_plain() => match usize::try_from(count) {
                Ok(count) => Wanted::UpTo(count),
                Err(_) => Wanted::Everything(Vec::new()),
            },
            _ => {
                let count: &[&Object] = match &count {
                    Some(count) => &[count],
                    None => &[],
                };
                return reader.this().as_asyncio(&originals().names.read, count);
            }
        };
        Coroutine::make(function, ReadStream::new(reader, wanted))
    })?;
    TYPE.add_attribute(c"read", &read.into_object())?;
    let exactly = get(reader, c"readexactly")?;
    let exactly = Function::make(&exactly, "ferrio", |function, arguments| {
        const READ_EXACTLY: Signature<2> = Signature {
            function: "StreamReader.readexactly",
            names: [c"self", c"n"],
            positional: 2,
            required: 2,
        };
        let [this, count] = READ_EXACTLY.parse(arguments)?;
        let reader = receiver::<StreamReader>(this, "StreamReader.readexactly")?;
        let count = count.cloned().unwrap_or_else(none);
        let wanted = match count.as_integer() {
            Some(count) if reader.this().is_plain() => match usize::try_from(count) {
                Ok(count) => Wanted::Exactly(count),
                Err(_) => Wanted::LessThanNothing,
            },
            _ => {
                let name = &originals().names.readexactly;
                return reader.this().as_asyncio(name, &[&count]);
            }
        };
        Coroutine::make(function, ReadStream::new(reader, wanted))
    })?;
    TYPE.add_attribute(c"readexactly", &exactly.into_object())?;
    add_line_functions()
}

fn add_line_functions() -> Outcome<()> {
    let reader = &originals().reader;
    let until = get(reader, c"readuntil")?;
    let until = Function::make(&until, "ferrio", |function, arguments| {
        const READ_UNTIL: Signature<2> = Signature {
            function: "StreamReader.readuntil",
            names: [c"self", c"separator"],
            positional: 2,
            required: 1,
        };
        let [this, separator] = READ_UNTIL.parse(arguments)?;
        let reader = receiver::<StreamReader>(this, "StreamReader.readuntil")?;
        match separators(separator)? {
            Some(separators) if reader.this().is_plain() => {
                let plan = ReadStream::new(reader, Wanted::Until(separators));
                Coroutine::make(function, plan)
            }
            _ => {
                let separator: &[&Object] = match &separator {
                    Some(separator) => &[separator],
                    None => &[],
                };
                let name = &originals().names.readuntil;
                reader.this().as_asyncio(name, separator)
            }
        }
    })?;
    TYPE.add_attribute(c"readuntil", &until.into_object())?;
    let line = get(reader, c"readline")?;
    let line = Function::make_method(&line, |function, reader: Own<StreamReader>| {
        if !reader.this().is_plain() {
            return reader.this().as_asyncio(&originals().names.readline, &[]);
        }
        Coroutine::make(function, ReadStream::new(reader, Wanted::Line))
    })?;
    TYPE.add_attribute(c"readline", &line.into_object())?;
    let next = get(reader, c"__anext__")?;
    let next = Function::make_method(&next, |_function, reader: Own<StreamReader>| {
        next_line(reader.this())
    })?;
    NEXT_LINE.fill(next.clone());
    TYPE.add_attribute(c"__anext__", &next.into_object())
}

/// What native code can look for; `None` for what asyncio's functions have to deal with.
fn separators(separator: Option<&Object>) -> Outcome<Option<Separators>> {
    let Some(separator) = separator else {
        return Ok(Some(Separators::One(Object::from_bytes(b"\n")?)));
    };
    if separator.as_exact_bytes().is_some() {
        return Ok(Some(Separators::One(separator.clone())));
    }
    // Several separators came with 3.13.
    // SAFETY: a question about a live object's type.
    let is_tuple = unsafe { sys::PyTuple_Check(separator.as_ptr()) != 0 };
    if !cfg!(Py_3_13) || !is_tuple {
        return Ok(None);
    }
    let mut items = separator.tuple_items().to_vec();
    if items.iter().any(|item| item.as_exact_bytes().is_none()) {
        return Ok(None);
    }
    // The order of those with the same length is kept, as sorted() does.
    items.sort_by_key(|item| item.as_bytes().map_or(0, <[u8]>::len));
    Ok(Some(Separators::Several(items)))
}
