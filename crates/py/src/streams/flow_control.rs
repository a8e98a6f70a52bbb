//! `FlowControlMixin`: whether one may write, for `StreamWriter.drain()`.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::originals::originals;
use super::reader::is_debug;
use super::writing::DrainHelper;
use crate::awaitable::Coroutine;
use crate::ffi::{
    Function, GetSet, Method, Native, Object, ObjectCell, Outcome, Raised, Signature, This,
    TypeBuilder, TypeObject, Visitor, attributes, methods, none, required, sys, text,
};
use crate::imports::imports;
use crate::originals::get;
use crate::sync::{Deque, StandsIn, class_attribute, is_future_done};

/// The native part of a `FlowControlMixin`, and the first part of a `StreamReaderProtocol`.
#[repr(C)]
pub(crate) struct FlowControlMixin {
    pub(super) dict: ObjectCell,
    weak_references: ObjectCell,
    pub(super) event_loop: ObjectCell,
    /// Who waits in `drain()`.
    pub(super) drain_waiters: Deque,
    /// The transport has asked to pause.
    pub(super) paused: Cell<bool>,
    /// `connection_lost()` was called.
    pub(super) connection_lost: Cell<bool>,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `FlowControlMixin` in `build`; the offsets are those of fields that
// only CPython touches.
unsafe impl Native for FlowControlMixin {
    const NAME: &'static CStr = c"ferrio._ferrio.FlowControlMixin";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(FlowControlMixin, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(FlowControlMixin, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<FlowControlMixin> {
        Ok(FlowControlMixin::new())
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.event_loop.visit(visitor)?;
        self.drain_waiters.visit(visitor)
    }

    fn clear(&self) {
        self.event_loop.clear();
        self.drain_waiters.clear();
    }
}

impl StandsIn for FlowControlMixin {
    fn original() -> &'static Object {
        &originals().flow_control
    }
}

impl FlowControlMixin {
    pub(super) const fn new() -> FlowControlMixin {
        FlowControlMixin {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            event_loop: ObjectCell::new(),
            drain_waiters: Deque::new(),
            paused: Cell::new(false),
            connection_lost: Cell::new(false),
        }
    }
}

impl This<'_, FlowControlMixin> {
    /// `__init__(loop=None)`.
    pub(super) fn initialise_flow(self, event_loop: Option<&Object>) -> Outcome<()> {
        let event_loop = match event_loop.and_then(Object::some) {
            Some(event_loop) => event_loop.clone(),
            None => imports().get_event_loop.call0()?,
        };
        self.event_loop.set(event_loop);
        self.paused.set(false);
        self.drain_waiters.reset();
        self.connection_lost.set(false);
        Ok(())
    }

    /// The loop.
    pub(super) fn owner(self) -> Outcome<Object> {
        self.event_loop
            .get()
            .ok_or_else(|| Raised::attribute_error("the protocol has no attribute '_loop'"))
    }

    /// `pause_writing()`.
    fn pause_writing(self) -> Outcome<()> {
        if self.paused.replace(true) {
            return Err(assertion_failed());
        }
        self.log("%r pauses writing")
    }

    /// `resume_writing()`.
    fn resume_writing(self) -> Outcome<()> {
        if !self.paused.replace(false) {
            return Err(assertion_failed());
        }
        self.log("%r resumes writing")?;
        self.wake_drainers(&none())
    }

    fn log(self, format: &str) -> Outcome<()> {
        if !is_debug(&self.owner()?)? {
            return Ok(());
        }
        let logger = crate::imports::module(c"asyncio.log")?.get_attr(&text("logger")?)?;
        logger
            .call_method(&text("debug")?, &[&text(format)?, &self.object()])
            .map(drop)
    }

    /// `connection_lost(exc)`.
    pub(super) fn lose_connection(self, exception: &Object) -> Outcome<()> {
        self.connection_lost.set(true);
        if !self.paused.get() {
            return Ok(());
        }
        self.wake_drainers(exception)
    }

    /// Tells everybody who waits in `drain()`: to go on, or of an exception.
    fn wake_drainers(self, exception: &Object) -> Outcome<()> {
        let names = &imports().names;
        for waiter in self.drain_waiters.items()? {
            if is_future_done(&waiter)? {
                continue;
            }
            match exception.some() {
                None => waiter.call_method(&names.set_result, &[&none()])?,
                Some(exception) => waiter.call_method(&names.set_exception, &[exception])?,
            };
        }
        Ok(())
    }
}

#[cold]
fn assertion_failed() -> Raised {
    // SAFETY: a built-in class.
    let class = unsafe { Object::from_borrowed(sys::PyExc_AssertionError) };
    match class.call0() {
        Ok(exception) => Raised::exception(&exception),
        Err(raised) => raised,
    }
}

/// Builds the type, as a subclass of `asyncio.Protocol`.
pub(super) fn build(module: &Object) -> Outcome<()> {
    let base = &originals().flow_control.get_attr(&text("__mro__")?)?;
    let [_, base, ..] = base.tuple_items() else {
        return Err(Raised::runtime_error("FlowControlMixin has no base"));
    };
    require_no_slot(base)?;
    TypeBuilder::<FlowControlMixin>::new(
        c"What a protocol does about flow control: asyncio.streams.FlowControlMixin, native.\n\n\
        StreamWriter.drain() waits for it.",
    )
    .based_on(base)
    .subclassable()
    .named_as_in_python()
    .changeable()
    .init(|this, arguments| {
        const INIT: Signature<1> = Signature {
            function: "FlowControlMixin.__init__",
            names: [c"loop"],
            positional: 1,
            required: 0,
        };
        let [event_loop] = INIT.parse(arguments)?;
        this.initialise_flow(event_loop)
    })
    .methods(methods(method_table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)?;
    let helper = get(&originals().flow_control, c"_drain_helper")?;
    let helper = Function::make_method(&helper, |function, protocol| {
        Coroutine::make(function, DrainHelper::new(protocol))
    })?;
    TYPE.add_attribute(c"_drain_helper", &helper.into_object())?;
    super::originals::lend(&originals().flow_control, c"_get_close_waiter", &TYPE)
}

/// Makes sure that instances of asyncio's class consist of a header alone.
fn require_no_slot(base: &Object) -> Outcome<()> {
    let size = base.get_attr(&text("__basicsize__")?)?.to_i64()?;
    if usize::try_from(size) == Ok(size_of::<sys::PyObject>()) {
        return Ok(());
    }
    Err(Raised::runtime_error(
        "asyncio.Protocol of this Python is not laid out as ferrio knows it",
    ))
}

fn method_table() -> Vec<Method> {
    type Self_<'a> = This<'a, FlowControlMixin>;
    vec![
        Method::no_arguments(
            c"pause_writing",
            |this: Self_<'_>| this.pause_writing().map(|()| none()),
            c"Have drain() wait, until resume_writing() is called.",
        ),
        Method::no_arguments(
            c"resume_writing",
            |this: Self_<'_>| this.resume_writing().map(|()| none()),
            c"Wake everybody who waits in drain().",
        ),
        Method::named_argument(
            c"connection_lost",
            || ("connection_lost", c"exc"),
            |this: Self_<'_>, exception: &Object| this.lose_connection(exception).map(|()| none()),
            c"Wake everybody who waits in drain(): with the exception, unless it is None.",
        ),
    ]
}

fn attribute_table() -> Vec<GetSet> {
    type Self_<'a> = This<'a, FlowControlMixin>;
    vec![
        class_attribute::<FlowControlMixin>(),
        GetSet::instance_dict(),
        GetSet::read_write(
            c"_loop",
            |this: Self_<'_>| this.owner(),
            |this: Self_<'_>, value: Option<&Object>| {
                this.event_loop.set(required(value, "_loop")?.clone());
                Ok(())
            },
            c"The event loop.",
        ),
        GetSet::field(
            c"_paused",
            |flow: &FlowControlMixin| &flow.paused,
            c"True between pause_writing() and resume_writing().",
        ),
        GetSet::field(
            c"_connection_lost",
            |flow: &FlowControlMixin| &flow.connection_lost,
            c"True once the connection is lost.",
        ),
        GetSet::field(
            c"_drain_waiters",
            |flow: &FlowControlMixin| &flow.drain_waiters,
            c"The futures of those who wait in drain().",
        ),
    ]
}

/// Where the type is; a `StreamReaderProtocol` is derived from it.
pub(super) fn type_object() -> &'static TypeObject {
    &TYPE
}
