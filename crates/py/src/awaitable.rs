//! What a native coroutine function returns: a coroutine whose body is Rust.
//!
//! The body is a [`Plan`]: a small state machine that is resumed with nothing or with an
//! exception and says what it yields or returns. [`Coroutine`] gives it the manners of Python's
//! coroutines: awaited once, warned of when never awaited, closed when it dies halfway.

mod iterator;

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int};

use iterator::CoroutineIterator;

use crate::combinators::{
    EnterGroup, EnterTimeout, ExitGroup, ExitTimeout, Sleep, Wait, WaitFor, WaitForOne,
};
use crate::ffi::{
    Arguments, FreeList, Function, GetSet, Method, Native, Object, ObjectCell, Outcome, Own,
    Progress, Raised, Slot, This, TypeBuilder, TypeObject, Visitor, attributes, forget_returned,
    interned, is_origin_tracked, methods, none, origin, sys, text,
};
use crate::future::{Future, thrown_exception};
use crate::imports::module;
use crate::inspect::Told;
use crate::originals::originals;
use crate::queue::{Get, Join, Put};
use crate::streams::{Drain, DrainHelper, ReadStream, WaitClosed};
use crate::sync::{
    AcquireLock, AcquireSemaphore, ChangeBarrier, Enter, Exit, WaitBarrier, WaitCondition,
    WaitEvent, WaitForPredicate,
};
use crate::task::Task;

/// A body that runs in steps.
pub(crate) trait Steps {
    /// Runs until it waits or is over. `thrown` is raised where it waits.
    ///
    /// # Errors
    /// What it ends with.
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress>;

    /// Shows its references to the garbage collector.
    ///
    /// # Errors
    /// The visitor's non-zero answer, passed on at once.
    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int>;

    /// Says what it waits for, while it waits.
    fn tell(&self, _told: &mut Told) {}
}

/// Every body there is.
macro_rules! plans {
    ($($name:ident),* $(,)?) => {
        /// The body of a coroutine.
        #[allow(clippy::large_enum_variant, reason = "a box would be an allocation per await")]
        pub(crate) enum Plan {
            $($name($name),)*
        }

        impl Plan {
            fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
                match self {
                    $(Plan::$name(steps) => steps.resume(thrown),)*
                }
            }

            fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
                match self {
                    $(Plan::$name(steps) => steps.visit(visitor),)*
                }
            }

            fn tell(&self, told: &mut Told) {
                match self {
                    $(Plan::$name(steps) => steps.tell(told),)*
                }
            }
        }

        $(impl From<$name> for Plan {
            #[inline]
            fn from(steps: $name) -> Plan {
                Plan::$name(steps)
            }
        })*
    };
}

plans! {
    Sleep,
    AcquireLock,
    AcquireSemaphore,
    Enter,
    Exit,
    WaitEvent,
    WaitCondition,
    WaitForPredicate,
    Get,
    Put,
    Join,
    EnterTimeout,
    ExitTimeout,
    WaitFor,
    EnterGroup,
    ExitGroup,
    ReadStream,
    Drain,
    DrainHelper,
    WaitClosed,
    Wait,
    WaitForOne,
    WaitBarrier,
    ChangeBarrier,
}

impl Plan {
    /// [`Plan::resume`] for `await`, with the bodies that nearly always are over in one step, and are
    /// the shortest, in place.
    #[inline]
    fn go_on(&mut self) -> Outcome<Progress> {
        match self {
            Plan::Get(steps) => steps.resume(None),
            Plan::Put(steps) => steps.resume(None),
            Plan::AcquireLock(steps) => steps.resume(None),
            Plan::Enter(steps) => steps.resume(None),
            Plan::Exit(steps) => steps.resume(None),
            others => others.resume(None),
        }
    }
}

/// Where a coroutine is in its life.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nobody has awaited it yet.
    Created,
    /// It waits.
    Suspended,
    /// It is being resumed at this moment.
    Running,
    /// It has returned, raised or been closed.
    Over,
}

/// A coroutine with a native body.
pub(crate) struct Coroutine {
    weak_references: ObjectCell,
    /// The function that made it, for its name.
    function: Slot<Own<Function>>,
    /// `None` when it is over. Borrowed while it runs or is dropped: then the garbage collector,
    /// which is the only other one to look, takes its references for somebody else's.
    plan: RefCell<Option<Plan>>,
    stage: Cell<Stage>,
    /// Whether its finalizer was called.
    finalized: Cell<bool>,
    /// Where it was made, if that is to be remembered.
    origin: ObjectCell,
}

static TYPE: TypeObject = TypeObject::new();
static FREE_LIST: FreeList = FreeList::new();

// SAFETY: `TYPE` is built for `Coroutine` in `build`; the offset is that of a field that only
// CPython touches.
unsafe impl Native for Coroutine {
    const NAME: &'static CStr = c"ferrio._ferrio.coroutine";
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(Coroutine, weak_references));
    const CHAINS: bool = true;
    const FINALIZES: bool = true;

    fn free_list() -> Option<&'static FreeList> {
        Some(&FREE_LIST)
    }

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Coroutine> {
        Err(Raised::type_error("cannot create 'coroutine' instances"))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.function.visit(visitor)?;
        match self.plan.try_borrow().as_deref() {
            Ok(Some(plan)) => plan.visit(visitor),
            Ok(None) | Err(_) => Ok(()),
        }
    }

    fn clear(&self) {
        self.forget_plan();
    }

    fn detach(&self) {
        forget_returned();
    }

    #[inline]
    fn may_hold_chain(&self) -> bool {
        self.stage.get() != Stage::Over
    }

    #[inline]
    fn wants_finalize(&self) -> bool {
        matches!(self.stage.get(), Stage::Created | Stage::Suspended)
    }

    #[inline]
    fn may_be_finalized(&self) -> bool {
        self.finalized.get()
    }

    fn finalize(this: This<'_, Coroutine>) {
        this.finalized.set(true);
        let outcome = match this.stage.get() {
            Stage::Created => interned(c"_warn_unawaited_coroutine")
                // As it is called for Python's own: whoever has replaced it hears of it.
                .and_then(|name| module(c"warnings")?.get_attr(&name))
                .and_then(|warn| warn.call1(&this.object()))
                .map(drop),
            Stage::Suspended => this.close(),
            Stage::Running | Stage::Over => Ok(()),
        };
        if let Err(raised) = outcome {
            raised.report_unraisable(&this.object());
        }
    }
}

impl Coroutine {
    /// The coroutine that a call of `function` returns.
    #[inline]
    pub(crate) fn make(function: This<'_, Function>, plan: impl Into<Plan>) -> Outcome<Object> {
        let made = Own::new(Coroutine {
            weak_references: ObjectCell::new(),
            function: Slot::with(function.own()),
            plan: RefCell::new(Some(plan.into())),
            stage: Cell::new(Stage::Created),
            finalized: Cell::new(false),
            origin: ObjectCell::new(),
        })?;
        if is_origin_tracked() {
            made.origin.assign(origin()?);
        }
        Ok(made.into_object())
    }

    /// Drops the body where it is, which may run code; not one that runs.
    #[inline]
    fn forget_plan(&self) {
        if let Ok(mut plan) = self.plan.try_borrow_mut() {
            *plan = None;
        }
    }
}

/// Whether it is a coroutine, of Python's type or of ours: one that equals only itself.
#[inline]
pub(crate) fn is_exact_coroutine(object: &Object) -> bool {
    // SAFETY: a question about a live object's type.
    let python = unsafe { sys::PyCoro_CheckExact(object.as_ptr()) } != 0;
    python || This::<Coroutine>::from_exact(object).is_some()
}

#[cold]
fn already_awaited() -> Raised {
    Raised::runtime_error("cannot reuse already awaited coroutine")
}

#[cold]
fn not_to_be_resumed(stage: Stage) -> Raised {
    match stage {
        Stage::Over => already_awaited(),
        Stage::Created | Stage::Suspended | Stage::Running => {
            Raised::value_error("coroutine already executing")
        }
    }
}

impl This<'_, Coroutine> {
    /// What it waits for; nothing while it is being resumed.
    pub(crate) fn tell(self) -> Told {
        let mut told = Told::default();
        if self.stage.get() == Stage::Suspended
            && let Ok(place) = self.plan.try_borrow()
            && let Some(plan) = place.as_ref()
        {
            // Nothing can resume it meanwhile: a body that tells runs no code.
            plan.tell(&mut told);
        }
        told
    }

    /// Runs it until it waits or is over.
    #[inline]
    fn resume(self, thrown: Option<Object>) -> Outcome<Progress> {
        let stage = self.stage.get();
        let (Stage::Created | Stage::Suspended, Ok(mut place)) =
            (stage, self.plan.try_borrow_mut())
        else {
            return Err(not_to_be_resumed(stage));
        };
        let Some(plan) = place.as_mut() else {
            return Err(already_awaited()); // The garbage collector has taken it.
        };
        self.stage.set(Stage::Running);
        let outcome = match thrown {
            Some(exception) if stage == Stage::Created => Err(Raised::exception(&exception)),
            thrown => plan.resume(thrown),
        };
        match outcome {
            Ok(Progress::Yielded(item)) => {
                self.stage.set(Stage::Suspended);
                Ok(Progress::Yielded(item))
            }
            Ok(returned) => {
                self.stage.set(Stage::Over);
                *place = None;
                Ok(returned)
            }
            Err(raised) => {
                self.stage.set(Stage::Over);
                Err(release_with(raised, &mut place))
            }
        }
    }

    /// `tp_iternext`: what the interpreter calls for `await`. It is [`This::resume`] once more,
    /// because the two have different bodies in place.
    #[inline]
    fn next(self) -> Outcome<Option<Object>> {
        let stage = self.stage.get();
        let (Stage::Created | Stage::Suspended, Ok(mut place)) =
            (stage, self.plan.try_borrow_mut())
        else {
            return Err(not_to_be_resumed(stage));
        };
        let Some(plan) = place.as_mut() else {
            return Err(already_awaited()); // The garbage collector has taken it.
        };
        self.stage.set(Stage::Running);
        match plan.go_on() {
            Ok(Progress::Yielded(item)) => {
                self.stage.set(Stage::Suspended);
                Ok(Some(item))
            }
            Ok(Progress::Returned(value)) => {
                self.stage.set(Stage::Over);
                // Where nobody but the interpreter has it, it is gone with its body after this.
                if self.is_shared() {
                    *place = None;
                }
                if value.is_none() {
                    Ok(None)
                } else {
                    Err(Raised::returned(value))
                }
            }
            Err(raised) => {
                self.stage.set(Stage::Over);
                Err(release_with(raised, &mut place))
            }
        }
    }

    fn check_sent(self, value: &Object) -> Outcome<()> {
        if self.stage.get() == Stage::Created && !value.is_none() {
            return Err(Raised::type_error(
                "can't send non-None value to a just-started coroutine",
            ));
        }
        Ok(())
    }

    fn throw(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let exception = thrown_exception(arguments)?;
        match self.resume(Some(exception))? {
            Progress::Yielded(item) => Ok(item),
            Progress::Returned(value) => Err(Raised::stop_iteration(&value)),
        }
    }

    /// `close()`: GeneratorExit where it waits.
    fn close(self) -> Outcome<()> {
        match self.stage.get() {
            Stage::Over => return Ok(()),
            Stage::Running => return Err(Raised::value_error("coroutine already executing")),
            Stage::Created => {
                self.stage.set(Stage::Over);
                self.forget_plan();
                return Ok(());
            }
            Stage::Suspended => {}
        }
        // SAFETY: a built-in class.
        let class = unsafe { Object::from_borrowed(sys::PyExc_GeneratorExit) };
        match self.resume(Some(class.call0()?)) {
            Ok(Progress::Yielded(_)) => {
                Err(Raised::runtime_error("coroutine ignored GeneratorExit"))
            }
            Ok(Progress::Returned(_)) => Ok(()),
            // SAFETY: a built-in class.
            Err(raised) if raised.matches(unsafe { sys::PyExc_GeneratorExit }) => {
                raised.discard(); // It was asked to end, and has.
                Ok(())
            }
            Err(raised) => Err(raised),
        }
    }

    /// `am_await`: it is its own iterator.
    #[inline]
    fn begin(self) -> Outcome<Object> {
        if self.stage.get() == Stage::Suspended {
            return Err(Raised::runtime_error("coroutine is being awaited already"));
        }
        Ok(self.own().into_object())
    }

    fn function_name(self, qualified: bool) -> Object {
        match self.function.get() {
            Some(function) if qualified => function.qualified_name(),
            Some(function) => function.name(),
            None => none(),
        }
    }
}

/// Drops a body that has raised, with the exception put aside: a drop may run code. A
/// StopIteration that leaves a coroutine would be taken for its return.
#[cold]
fn release_with(raised: Raised, plan: &mut Option<Plan>) -> Raised {
    // SAFETY: a built-in class.
    let stopped = raised.matches(unsafe { sys::PyExc_StopIteration });
    let exception = raised.take();
    *plan = None;
    if !stopped {
        return Raised::with_its_context(exception);
    }
    let replacement = Raised::runtime_error("coroutine raised StopIteration").take();
    let names = &crate::imports::imports().names;
    let chained = replacement
        .set_attr(&names.cause, &exception)
        .and_then(|()| replacement.set_attr(&names.context_attribute, &exception));
    match chained {
        Ok(()) => Raised::exception(&replacement),
        Err(raised) => raised,
    }
}

/// Something that a native body awaits.
pub(crate) enum Awaited {
    /// A future or task of ours.
    Future(Own<Future>),
    /// The iterator of anything else.
    Iterator(Object),
}

impl Awaited {
    /// As in `await object`.
    ///
    /// # Errors
    /// TypeError for what cannot be awaited.
    #[inline]
    pub(crate) fn new(object: &Object) -> Outcome<Awaited> {
        if let Some(future) = This::<Future>::from_exact(object) {
            return Ok(Awaited::Future(future.own()));
        }
        if let Some(task) = This::<Task>::from_exact(object) {
            return Ok(Awaited::Future(task.upcast::<Future>().own()));
        }
        iterator_of(object).map(Awaited::Iterator)
    }

    /// One step.
    ///
    /// # Errors
    /// What the awaited thing ends with, or `thrown`.
    #[inline]
    pub(crate) fn resume(&self, thrown: Option<Object>) -> Outcome<Progress> {
        match (self, thrown) {
            (Awaited::Future(future), thrown) => resume_future(future.this(), thrown),
            (Awaited::Iterator(iterator), None) => send(iterator),
            (Awaited::Iterator(iterator), Some(exception)) => throw(iterator, &exception),
        }
    }

    /// The iterator, if it is not a future of ours.
    pub(crate) fn iterator(&self) -> Option<&Object> {
        match self {
            Awaited::Future(_) => None,
            Awaited::Iterator(iterator) => Some(iterator),
        }
    }

    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        match self {
            Awaited::Future(future) => visitor.own(future),
            Awaited::Iterator(iterator) => visitor.object(iterator),
        }
    }
}

/// One step of awaiting a future of ours.
///
/// # Errors
/// What the future ends with, or `thrown`.
#[inline]
pub(crate) fn resume_future(future: This<'_, Future>, thrown: Option<Object>) -> Outcome<Progress> {
    if let Some(exception) = thrown {
        return Err(Raised::exception(&exception));
    }
    if future.is_done() {
        return future.result().map(Progress::Returned);
    }
    if future.blocking.replace(true) {
        return Err(Raised::runtime_error("await wasn't used with future"));
    }
    Ok(Progress::Yielded(future.own().into_object()))
}

/// What `await` iterates over.
fn iterator_of(object: &Object) -> Outcome<Object> {
    // SAFETY: questions about a live object and its type; the slot's function is called as
    // CPython calls it.
    unsafe {
        if sys::PyCoro_CheckExact(object.as_ptr()) != 0 {
            return Ok(object.clone());
        }
        if sys::PyGen_CheckExact(object.as_ptr()) != 0 && is_iterable_coroutine(object)? {
            return Ok(object.clone());
        }
        let slots = (*object.type_ptr()).tp_as_async;
        let Some(begin) = (!slots.is_null()).then(|| (*slots).am_await).flatten() else {
            let name = object
                .type_object()
                .get_attr(&text("__name__")?)?
                .to_text()?;
            return Err(Raised::type_error(&format!(
                "object {name} can't be used in 'await' expression"
            )));
        };
        let iterator = Object::from_new(begin(object.as_ptr()))?;
        if sys::PyIter_Check(iterator.as_ptr()) == 0 {
            let name = iterator
                .type_object()
                .get_attr(&text("__name__")?)?
                .to_text()?;
            return Err(Raised::type_error(&format!(
                "__await__() returned non-iterator of type '{name}'"
            )));
        }
        Ok(iterator)
    }
}

/// Whether `types.coroutine` has made the generator awaitable.
fn is_iterable_coroutine(generator: &Object) -> Outcome<bool> {
    const CO_ITERABLE_COROUTINE: i64 = 0x100;
    let code = generator.get_attr(&text("gi_code")?)?;
    let flags = code.get_attr(&text("co_flags")?)?.to_i64()?;
    Ok(flags & CO_ITERABLE_COROUTINE != 0)
}

/// `iterator.send(None)`.
#[inline]
fn send(iterator: &Object) -> Outcome<Progress> {
    let mut value = std::ptr::null_mut();
    // SAFETY: a live object, None, and a place for the result, which is a new reference
    // unless the call failed.
    unsafe {
        match sys::PyIter_Send(iterator.as_ptr(), sys::Py_None(), &raw mut value) {
            sys::PySendResult::PYGEN_NEXT => Ok(Progress::Yielded(Object::from_owned(value))),
            sys::PySendResult::PYGEN_RETURN => Ok(Progress::Returned(Object::from_owned(value))),
            sys::PySendResult::PYGEN_ERROR => Err(Raised::NOW),
        }
    }
}

/// Throws into what is awaited, as `yield from` does: GeneratorExit closes it, and what has no
/// `throw` is left where it is.
#[cold]
fn throw(iterator: &Object, exception: &Object) -> Outcome<Progress> {
    let names = &crate::imports::imports().names;
    // SAFETY: a built-in class.
    if exception.is_instance(unsafe { sys::PyExc_GeneratorExit })? {
        if let Some(close) = iterator.find_attr(&names.close)? {
            close.call0()?;
        }
        return Err(Raised::exception(exception));
    }
    let Some(method) = iterator.find_attr(&names.throw)? else {
        return Err(Raised::exception(exception));
    };
    match method.call1(exception) {
        Ok(item) => Ok(Progress::Yielded(item)),
        // SAFETY: a built-in class.
        Err(raised) if raised.matches(unsafe { sys::PyExc_StopIteration }) => {
            let value = raised.take().get_attr(&text("value")?)?;
            Ok(Progress::Returned(value))
        }
        Err(raised) => Err(raised),
    }
}

/// Builds the Python type.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, Coroutine>;
    let table = methods(vec![
        Method::one_argument(
            c"send",
            |this: Self_<'_>, value: &Object| {
                this.check_sent(value)?;
                match this.resume(None)? {
                    Progress::Yielded(item) => Ok(item),
                    Progress::Returned(value) => Err(Raised::stop_iteration(&value)),
                }
            },
            c"Resume the coroutine; return what it yields.",
        ),
        Method::any_arguments(
            c"throw",
            |this: Self_<'_>, arguments: Arguments<'_>| this.throw(arguments),
            c"Raise an exception where the coroutine waits; return what it yields.",
        ),
        Method::no_arguments(
            c"close",
            |this: Self_<'_>| this.close().map(|()| none()),
            c"End the coroutine with GeneratorExit.",
        ),
        // Beside the slot, which `await` asks.
        Method::no_arguments(
            c"__await__",
            CoroutineIterator::over,
            c"Return an iterator.",
        )
        .beside_slot(),
    ]);
    let attributes = attributes(vec![
        crate::identity::class_attribute::<Coroutine, _>(|| &originals().coroutine_type),
        GetSet::read_only(
            c"__name__",
            |this: Self_<'_>| Ok(this.function_name(false)),
            c"The name of the function that made it.",
        ),
        GetSet::read_only(
            c"__qualname__",
            |this: Self_<'_>| Ok(this.function_name(true)),
            c"The same with the name of the class.",
        ),
        GetSet::read_only(
            c"cr_running",
            |this: Self_<'_>| Ok(Object::from_bool(this.stage.get() == Stage::Running)),
            c"True while it is being resumed.",
        ),
        GetSet::read_only(
            c"cr_suspended",
            |this: Self_<'_>| Ok(Object::from_bool(this.stage.get() == Stage::Suspended)),
            c"True while it waits.",
        ),
        GetSet::read_only(
            c"cr_frame",
            |_: Self_<'_>| Ok(none()),
            c"None: its body is native.",
        ),
        GetSet::read_only(
            c"cr_await",
            |_: Self_<'_>| Ok(none()),
            c"None: what it waits for is native.",
        ),
        GetSet::read_only(
            c"cr_origin",
            |this: Self_<'_>| Ok(this.origin.get().unwrap_or_else(none)),
            c"Where it was made, if sys.set_coroutine_origin_tracking_depth() asks for it.",
        ),
    ]);
    TypeBuilder::<Coroutine>::new(c"A coroutine whose body is native.")
        .only_from_rust()
        .named_as_in_python()
        .unary(sys::Py_am_await, |this| this.begin())
        .send(|this, value| {
            this.check_sent(value)?;
            this.resume(None)
        })
        .next(|this| this.next())
        .unary(sys::Py_tp_repr, |this| {
            let name = this.function_name(true).to_text()?;
            text(&format!("<coroutine object {name} at {:p}>", this.as_ptr()))
        })
        .methods(table)
        .attributes(attributes)
        .build(module, None)?;
    iterator::build(module)
}
