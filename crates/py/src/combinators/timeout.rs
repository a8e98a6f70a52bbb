//! `Timeout`, `timeout(delay)` and `timeout_at(when)`.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::current::{cancel, cancelling, current_task, running_loop, time_of, uncancel};
use crate::awaitable::{Coroutine, Steps};
use crate::event_loop::EventLoop;
use crate::ffi::{
    Attribute, FreeList, Function, GetSet, Method, Native, Object, ObjectCell, Outcome, Own,
    Progress, Raised, Signature, This, TypeBuilder, TypeObject, Visitor, attributes, methods, none,
    receiver, sys, text,
};
use crate::handle::TimerHandle;
use crate::imports::imports;
use crate::originals::{get, originals};
use crate::sync::{Enumeration, Pickled, StandsIn, class_attribute, pickled_methods};
use crate::task::Task;

/// Where a timeout is in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    /// Its block has not been entered.
    Created,
    /// The task is in the block.
    Entered,
    /// Its time has come; the task has been asked to stop.
    Expiring,
    /// The block was left after that.
    Expired,
    /// The block was left in time.
    Exited,
}

impl Enumeration for State {
    const ALL: &'static [State] = &[
        State::Created,
        State::Entered,
        State::Expiring,
        State::Expired,
        State::Exited,
    ];

    fn value(self) -> &'static str {
        match self {
            State::Created => "created",
            State::Entered => "active",
            State::Expiring => "expiring",
            State::Expired => "expired",
            State::Exited => "finished",
        }
    }

    fn class() -> &'static Object {
        &originals().timeout_state
    }
}

/// The native part of a `Timeout`.
#[repr(C)]
pub(crate) struct Timeout {
    dict: ObjectCell,
    weak_references: ObjectCell,
    state: Cell<State>,
    /// Loop time in seconds; empty for never.
    when: ObjectCell,
    /// What will call `_on_timeout`.
    handler: ObjectCell,
    /// The task in the block.
    task: ObjectCell,
    /// How often the task had been asked to stop when it entered.
    cancelling: Cell<i64>,
}

static TYPE: TypeObject = TypeObject::new();
static FREE_LIST: FreeList = FreeList::new();

// SAFETY: `TYPE` is built for `Timeout` in `build`; the offsets are those of fields that only
// CPython touches.
unsafe impl Native for Timeout {
    const NAME: &'static CStr = c"ferrio._ferrio.Timeout";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(Timeout, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(Timeout, weak_references));

    fn free_list() -> Option<&'static FreeList> {
        Some(&FREE_LIST)
    }

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Timeout> {
        Ok(Timeout::at(None))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.when.visit(visitor)?;
        self.handler.visit(visitor)?;
        self.task.visit(visitor)
    }

    fn clear(&self) {
        self.when.clear();
        self.handler.clear();
        self.task.clear();
    }
}

impl StandsIn for Timeout {
    fn original() -> &'static Object {
        &originals().timeout_class
    }
}

impl Pickled for Timeout {
    fn state(this: This<'_, Timeout>) -> Outcome<Vec<(&'static str, Object)>> {
        let mut state = vec![
            ("_state", this.state.read()?),
            ("_timeout_handler", this.handler.read()?),
            ("_task", this.value().task.read()?),
            ("_when", this.value().when.read()?),
        ];
        if this.value().task.is_some() {
            state.push(("_cancelling", this.value().cancelling.read()?));
        }
        Ok(state)
    }
}

impl Timeout {
    fn at(when: Option<Object>) -> Timeout {
        Timeout {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            state: Cell::new(State::Created),
            when: when.map_or_else(ObjectCell::new, ObjectCell::with),
            handler: ObjectCell::new(),
            task: ObjectCell::new(),
            cancelling: Cell::new(0),
        }
    }
}

impl Own<Timeout> {
    /// `timeout(delay)`: that many seconds from now on; None for never.
    pub(super) fn after(delay: &Object) -> Outcome<Own<Timeout>> {
        let event_loop = running_loop()?;
        let when = match delay.some() {
            Some(delay) => Some(time_after(&event_loop, delay)?),
            None => None,
        };
        Own::new(Timeout::at(when))
    }
}

impl This<'_, Timeout> {
    /// Whether nobody can have replaced a method of it.
    #[inline]
    fn is_plain(self) -> bool {
        self.has_original_methods() && self.dict.has_no_attributes()
    }

    /// When the block is stopped, in seconds of loop time; `None` for never.
    pub(crate) fn deadline(self) -> Option<f64> {
        if self.state.get() != State::Entered {
            return None;
        }
        match self.value().when.get()?.to_f64() {
            Ok(seconds) => Some(seconds),
            Err(raised) => {
                raised.discard(); // A time that is no number is not known.
                None
            }
        }
    }

    /// The task in the block.
    pub(crate) fn task_within(self) -> Option<Object> {
        self.value().task.get()
    }

    /// `__aenter__`.
    pub(super) fn enter(self) -> Outcome<()> {
        if self.state.get() != State::Created {
            return Err(Raised::runtime_error("Timeout has already been entered"));
        }
        let Some(task) = current_task()? else {
            return Err(Raised::runtime_error(
                "Timeout should be used inside a task",
            ));
        };
        self.state.set(State::Entered);
        self.value().task.set(task.clone());
        self.value().cancelling.set(cancelling(&task)?);
        let when = self.value().when.get();
        if self.is_plain() {
            return self.schedule(when, loop_of(&task)?);
        }
        let when = when.unwrap_or_else(none);
        self.object()
            .call_method(&originals().names.reschedule, &[&when])
            .map(drop)
    }

    /// `reschedule(when)`.
    fn reschedule(self, when: &Object) -> Outcome<()> {
        match self.state.get() {
            State::Entered => self.schedule(when.some().cloned(), None),
            State::Created => Err(Raised::runtime_error("Timeout has not been entered")),
            state => Err(Raised::runtime_error(&format!(
                "Cannot change state of {} Timeout",
                state.value()
            ))),
        }
    }

    /// Sets the timer. The running loop need not be looked for where it is known.
    #[inline]
    fn schedule(self, when: Option<Object>, running: Option<Object>) -> Outcome<()> {
        self.value().when.assign(when.clone());
        // It stays where it is if the next one cannot be made, as in asyncio.
        if let Some(handler) = self.handler.get() {
            cancel_handle(&handler)?;
        }
        let Some(when) = when else {
            self.handler.clear();
            return Ok(());
        };
        let event_loop = match running {
            Some(event_loop) => event_loop,
            None => running_loop()?,
        };
        let due = is_due(&when, &event_loop)?;
        let callback = self.object().get_attr(&originals().names.on_timeout)?;
        let handler = if due {
            event_loop.call_method(&imports().names.call_soon, &[&callback])?
        } else {
            call_at(&event_loop, &when, &callback)?
        };
        self.handler.set(handler);
        Ok(())
    }

    /// `_on_timeout`, which the timer calls.
    fn expire(self) -> Outcome<()> {
        if self.state.get() != State::Entered {
            return Err(wrong_state());
        }
        match self.value().task.get() {
            Some(task) => cancel(&task)?,
            None => return Err(wrong_state()),
        }
        self.state.set(State::Expiring);
        self.handler.clear();
        Ok(())
    }

    /// `__aexit__`, with the class and the exception that the block ended with.
    ///
    /// # Errors
    /// TimeoutError, where the exception is the cancellation that this has asked for.
    pub(super) fn exit(self, class: Option<&Object>, exception: Option<&Object>) -> Outcome<()> {
        let state = self.state.get();
        if !matches!(state, State::Entered | State::Expiring) {
            return Err(wrong_state());
        }
        if let Some(handler) = self.handler.get() {
            cancel_handle(&handler)?;
            self.handler.clear();
        }
        if state == State::Entered {
            self.state.set(State::Exited);
            return Ok(());
        }
        self.state.set(State::Expired);
        let Some(task) = self.value().task.get() else {
            return Err(wrong_state());
        };
        // More requests than before: somebody else wants the task to stop as well.
        let asked_by_nobody_else = uncancel(&task)? <= self.value().cancelling.get();
        match class {
            Some(class) if asked_by_nobody_else => replace(class, exception),
            _ => Ok(()),
        }
    }

    fn describe(self) -> Outcome<Object> {
        let state = self.state.get();
        let when = match (state, self.value().when.get()) {
            (State::Entered, Some(when)) => {
                let digits = Object::from_i64(3)?;
                let rounded = originals().round.call(&[&when, &digits], None)?;
                format!(" when={}", rounded.to_text()?)
            }
            (State::Entered, None) => " when=None".to_owned(),
            _ => String::new(),
        };
        text(&format!("<Timeout [{}]{when}>", state.value()))
    }
}

/// The failed assertion of asyncio's.
#[cold]
fn wrong_state() -> Raised {
    // SAFETY: a built-in class.
    match unsafe { Object::from_borrowed(sys::PyExc_AssertionError) }.call0() {
        Ok(exception) => Raised::exception(&exception),
        Err(raised) => raised,
    }
}

/// `handle.cancel()`.
#[inline]
fn cancel_handle(handle: &Object) -> Outcome<()> {
    match This::<TimerHandle>::from_exact(handle) {
        Some(timer) => timer.cancel(),
        None => handle.call_method(&imports().names.cancel, &[]).map(drop),
    }
}

/// `when <= event_loop.time()`.
#[inline]
fn is_due(when: &Object, event_loop: &Object) -> Outcome<bool> {
    // SAFETY: a question about a live object.
    if unsafe { sys::PyFloat_CheckExact(when.as_ptr()) } != 0
        && let Some(native) = This::<EventLoop>::from_object(event_loop)
        && let Some(now) = native.plain_time()
    {
        return Ok(when.to_f64()? <= now);
    }
    let now = time_of(event_loop)?;
    // SAFETY: live objects.
    match unsafe { sys::PyObject_RichCompareBool(when.as_ptr(), now.as_ptr(), sys::Py_LE) } {
        -1 => Err(Raised::NOW),
        truth => Ok(truth == 1),
    }
}

/// `event_loop.time() + delay`.
#[inline]
fn time_after(event_loop: &Object, delay: &Object) -> Outcome<Object> {
    if let Some(seconds) = plain_number(delay)
        && let Some(native) = This::<EventLoop>::from_object(event_loop)
        && let Some(now) = native.plain_time()
    {
        return Object::from_f64(now + seconds);
    }
    time_of(event_loop)?.add(delay)
}

/// A float, or an int that is one exactly; of these types themselves.
#[inline]
fn plain_number(object: &Object) -> Option<f64> {
    const EXACT: u64 = 1 << f64::MANTISSA_DIGITS;
    // SAFETY: questions about a live object, by its exact type.
    unsafe {
        if sys::PyFloat_CheckExact(object.as_ptr()) != 0 {
            return Some(sys::PyFloat_AsDouble(object.as_ptr()));
        }
        if sys::PyLong_CheckExact(object.as_ptr()) == 0 {
            return None;
        }
    }
    let integer = object.as_integer()?;
    #[allow(clippy::cast_precision_loss, reason = "none is lost up to EXACT")]
    (integer.unsigned_abs() <= EXACT).then_some(integer as f64)
}

/// The loop of the current task, if it is one of ours: it is the one that runs.
#[inline]
fn loop_of(task: &Object) -> Outcome<Option<Object>> {
    match This::<Task>::from_exact(task) {
        Some(native) => native.future().event_loop().map(Some),
        None => Ok(None),
    }
}

/// `event_loop.call_at(when, callback)`.
#[inline]
fn call_at(event_loop: &Object, when: &Object, callback: &Object) -> Outcome<Object> {
    if let Some(native) = This::<EventLoop>::from_object(event_loop)
        && let Some(timer) = native.plain_timer(when, callback)?
    {
        return Ok(timer.into_object());
    }
    event_loop.call_method(&imports().names.call_at, &[when, callback])
}

/// `TimeoutError()`.
fn timeout_error() -> Outcome<Object> {
    // SAFETY: a built-in class.
    unsafe { Object::from_borrowed(sys::PyExc_TimeoutError) }.call0()
}

/// `raise TimeoutError from exception`, where that is what is being handled.
#[cold]
pub(super) fn timed_out(exception: Option<&Object>) -> Raised {
    let names = &imports().names;
    let make = || {
        let error = timeout_error()?;
        match exception {
            Some(exception) => {
                error.set_attr(&names.cause, exception)?;
                error.set_attr(&names.context_attribute, exception)?;
            }
            None => error.set_attr(&names.cause, &none())?,
        }
        Ok(error)
    };
    match make() {
        Ok(error) => Raised::with_its_context(error),
        Err(raised) => raised,
    }
}

/// The time was up when the block ended with `exception`, of `class`.
#[cold]
fn replace(class: &Object, exception: Option<&Object>) -> Outcome<()> {
    let cancelled_error = &imports().cancelled_error;
    if !originals().timeout_marks_others {
        return if class.is(cancelled_error) {
            Err(timed_out(exception))
        } else {
            Ok(())
        };
    }
    if class.is_subclass(cancelled_error)? {
        return Err(timed_out(exception));
    }
    let Some(exception) = exception else {
        return Ok(());
    };
    insert_timeout_error(exception)?;
    if exception.is_instance(originals().exception_group.as_ptr())? {
        let inner = exception.get_attr(&text("exceptions")?)?;
        for exception in inner.tuple_items() {
            insert_timeout_error(exception)?;
        }
    }
    Ok(())
}

/// Puts a TimeoutError before the cancellation in an exception's chain of contexts.
fn insert_timeout_error(exception: &Object) -> Outcome<()> {
    let names = &imports().names;
    let mut exception = exception.clone();
    loop {
        let context = exception.get_attr(&names.context_attribute)?;
        if context.is_none() {
            return Ok(());
        }
        if context.is_instance(imports().cancelled_error.as_ptr())? {
            let error = timeout_error()?;
            error.set_attr(&names.cause, &context)?;
            error.set_attr(&names.context_attribute, &context)?;
            return exception.set_attr(&names.context_attribute, &error);
        }
        exception = context;
    }
}

/// `await timeout.__aenter__()`.
pub(crate) struct EnterTimeout(Own<Timeout>);

impl Steps for EnterTimeout {
    #[inline]
    fn resume(&mut self, _thrown: Option<Object>) -> Outcome<Progress> {
        self.0.this().enter()?;
        Ok(Progress::Returned(self.0.clone().into_object()))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.0)
    }
}

/// `await timeout.__aexit__(class, exception, traceback)`.
pub(crate) struct ExitTimeout {
    timeout: Own<Timeout>,
    class: Option<Object>,
    exception: Option<Object>,
}

impl Steps for ExitTimeout {
    #[inline]
    fn resume(&mut self, _thrown: Option<Object>) -> Outcome<Progress> {
        let timeout = self.timeout.this();
        timeout.exit(self.class.as_ref(), self.exception.as_ref())?;
        Ok(Progress::Returned(none()))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.timeout)?;
        for object in [&self.class, &self.exception].into_iter().flatten() {
            visitor.object(object)?;
        }
        Ok(())
    }
}

/// Builds the type and adds the functions to the module.
pub(super) fn build(module: &Object) -> Outcome<()> {
    TypeBuilder::<Timeout>::new(
        c"Stops the task in its block when the time has come: asyncio.Timeout, native.\n\n\
        `when` is loop time in seconds, or None for never. timeout() and timeout_at() make it.",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
    .init(|this, arguments| {
        const INIT: Signature<1> = Signature {
            function: "Timeout.__init__",
            names: [c"when"],
            positional: 1,
            required: 1,
        };
        let [when] = INIT.parse(arguments)?;
        this.state.set(State::Created);
        this.handler.clear();
        this.value().task.clear();
        let when = when.and_then(Object::some).cloned();
        this.value().when.assign(when);
        Ok(())
    })
    .unary(sys::Py_tp_repr, |this| this.describe())
    .methods(methods(method_table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)?;
    add_context_manager()?;
    add_functions(module)
}

fn method_table() -> Vec<Method> {
    type Self_<'a> = This<'a, Timeout>;
    pickled_methods::<Timeout>(vec![
        Method::no_arguments(
            c"when",
            |this: Self_<'_>| this.value().when.read(),
            c"Return the loop time at which it strikes, in seconds, or None for never.",
        ),
        Method::named_argument(
            c"reschedule",
            || ("Timeout.reschedule", c"when"),
            |this: Self_<'_>, when: &Object| this.reschedule(when).map(|()| none()),
            c"Have it strike at another loop time, in seconds; None for never.\n\n\
            Raises RuntimeError when it is not active.",
        ),
        Method::no_arguments(
            c"expired",
            |this: Self_<'_>| {
                let expired = matches!(this.state.get(), State::Expiring | State::Expired);
                Ok(Object::from_bool(expired))
            },
            c"Return True if it has struck.",
        ),
        Method::no_arguments(
            c"_on_timeout",
            |this: Self_<'_>| this.expire().map(|()| none()),
            c"Strike; what the timer calls.",
        ),
    ])
}

fn attribute_table() -> Vec<GetSet> {
    vec![
        class_attribute::<Timeout>(),
        GetSet::instance_dict(),
        GetSet::field(
            c"_state",
            |timeout: &Timeout| &timeout.state,
            c"Where it is in its life: a member of asyncio's enumeration.",
        ),
        GetSet::field(
            c"_when",
            |timeout: &Timeout| &timeout.when,
            c"The loop time at which it strikes, in seconds, or None.",
        ),
        GetSet::field(
            c"_task",
            |timeout: &Timeout| &timeout.task,
            c"The task in its block, or None.",
        ),
        GetSet::field(
            c"_cancelling",
            |timeout: &Timeout| &timeout.cancelling,
            c"How often the task had been asked to stop when it entered.",
        ),
        GetSet::field(
            c"_timeout_handler",
            |timeout: &Timeout| &timeout.handler,
            c"The handle of its timer, or None.",
        ),
    ]
}

fn add_context_manager() -> Outcome<()> {
    let enter = get(&originals().timeout_class, c"__aenter__")?;
    let enter = Function::make_method(&enter, |function, timeout| {
        Coroutine::make(function, EnterTimeout(timeout))
    })?;
    TYPE.add_attribute(c"__aenter__", &enter.into_special_method())?;
    let exit = get(&originals().timeout_class, c"__aexit__")?;
    let exit = Function::make(&exit, "ferrio", |function, arguments| {
        const EXIT: Signature<4> = Signature {
            function: "Timeout.__aexit__",
            names: [c"self", c"exc_type", c"exc_val", c"exc_tb"],
            positional: 4,
            required: 4,
        };
        let [this, class, exception, _] = EXIT.parse(arguments)?;
        let plan = ExitTimeout {
            timeout: receiver(this, "Timeout.__aexit__")?,
            class: class.and_then(Object::some).cloned(),
            exception: exception.and_then(Object::some).cloned(),
        };
        Coroutine::make(function, plan)
    })?;
    TYPE.add_attribute(c"__aexit__", &exit.into_special_method())
}

fn add_functions(module: &Object) -> Outcome<()> {
    let timeout = Function::make(&originals().timeout, "ferrio", |_, arguments| {
        const TIMEOUT: Signature<1> = Signature {
            function: "timeout",
            names: [c"delay"],
            positional: 1,
            required: 1,
        };
        let [delay] = TIMEOUT.parse(arguments)?;
        let none = none();
        Own::<Timeout>::after(delay.unwrap_or(&none)).map(Own::into_object)
    })?;
    module.set_attr(&text("timeout")?, &timeout.into_object())?;
    let timeout_at = Function::make(&originals().timeout_at, "ferrio", |_, arguments| {
        const TIMEOUT_AT: Signature<1> = Signature {
            function: "timeout_at",
            names: [c"when"],
            positional: 1,
            required: 1,
        };
        let [when] = TIMEOUT_AT.parse(arguments)?;
        let when = when.and_then(Object::some).cloned();
        Own::new(Timeout::at(when)).map(Own::into_object)
    })?;
    module.set_attr(&text("timeout_at")?, &timeout_at.into_object())
}
