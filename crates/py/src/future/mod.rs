//! `ferrio.Future`: a placeholder for a result.
//!
//! The behaviour is asyncio's. What differs is how a waiting task is told: on
//! one of our loops the task itself stands in the future's list and is pushed
//! to the ready queue, where asyncio makes a callback, a handle and a context
//! switch for it.

mod awaited_by;
mod callbacks;
mod extras;
mod iterator;
mod purpose;
mod python;
mod watcher;

use std::cell::Cell;
use std::ffi::c_int;

pub(crate) use awaited_by::{
    add_awaiter, add_to_awaited_by, discard_awaiter, discard_from_awaited_by,
};
pub(crate) use callbacks::{Callback, Callbacks};
pub(crate) use extras::Extra;
use extras::Extras;
pub(crate) use iterator::{FutureIterator, advance, thrown_exception};
pub(crate) use purpose::Purpose;
pub(crate) use python::{CANCEL, build, shared_attributes, shared_methods};
pub(crate) use watcher::Watcher;

use crate::combinators::GatheringFuture;
use crate::event_loop::{Entry, EventLoop};
use crate::ffi::{
    FreeList, Native, Object, ObjectCell, Outcome, Own, Raised, This, TypeObject, Visitor,
    is_finalizing, sys, text,
};
use crate::imports::imports;
use crate::task::{Task, TaskCallback};

/// What has become of a future.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Nobody has set a result yet.
    Pending,
    /// It was cancelled before it had one.
    Cancelled,
    /// It has a result or an exception.
    Finished,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Pending => "PENDING",
            State::Cancelled => "CANCELLED",
            State::Finished => "FINISHED",
        }
    }
}

/// The native part of a `ferrio.Future`, and the first part of a `ferrio.Task`.
#[repr(C)]
pub(crate) struct Future {
    dict: ObjectCell,
    weak_references: ObjectCell,
    /// The loop, ours or a foreign one; empty until `__init__` has run.
    event_loop: ObjectCell,
    callbacks: Callbacks,
    /// The result, or the exception when `failed`.
    outcome: ObjectCell,
    /// What few have.
    pub(crate) extras: Extras,
    /// N of `Task-N`, where it is a task: what follows has its place, and this one is free.
    pub(crate) task_number: Cell<u64>,
    /// Who waits for it: a task, or a set of them (see `awaited_by.rs`). It and the two flags
    /// that follow at the distance of 12 and 13 bytes stand where CPython has its own
    /// (see `task/published.rs`).
    pub(crate) awaited_by: ObjectCell,
    /// Whether `event_loop` is an [`EventLoop`] of ours.
    native_loop: Cell<bool>,
    pub(crate) state: Cell<State>,
    /// `_asyncio_future_blocking`: set when the future is yielded by its own `__await__`,
    /// so that the task can tell `await future` from a bare `yield future`.
    pub(crate) blocking: Cell<bool>,
    /// Whether the exception still has to be seen by somebody.
    log_traceback: Cell<bool>,
    /// Whether it is the first part of a task.
    pub(crate) is_task: Cell<bool>,
    /// Whether `awaited_by` is a set.
    pub(crate) awaited_by_is_set: Cell<bool>,
    /// Whether `outcome` is an exception.
    failed: Cell<bool>,
    /// What it was made for.
    pub(crate) purpose: Cell<Purpose>,
}

static TYPE: TypeObject = TypeObject::new();
static FREE_LIST: FreeList = FreeList::new();

// SAFETY: `TYPE` is built for `Future` in `python::build`; the two offsets are those of
// fields that only CPython touches.
unsafe impl Native for Future {
    const NAME: &'static std::ffi::CStr = c"ferrio._ferrio.Future";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(Future, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(Future, weak_references));
    const CHAINS: bool = true;
    const FINALIZES: bool = true;

    fn free_list() -> Option<&'static FreeList> {
        Some(&FREE_LIST)
    }

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Future> {
        Ok(Future::empty())
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.event_loop.visit(visitor)?;
        self.callbacks.visit(visitor)?;
        self.outcome.visit(visitor)?;
        self.extras.visit(visitor)?;
        self.awaited_by.visit(visitor)
    }

    fn clear(&self) {
        self.native_loop.set(false);
        self.event_loop.clear();
        drop(self.callbacks.take());
        self.outcome.clear();
        self.awaited_by.clear();
        self.extras.clear();
    }

    fn wants_finalize(&self) -> bool {
        self.log_traceback.get()
    }

    fn finalize(this: This<'_, Future>) {
        this.report_unretrieved();
    }
}

impl Future {
    pub(crate) fn empty() -> Future {
        Future {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            event_loop: ObjectCell::new(),
            callbacks: Callbacks::default(),
            outcome: ObjectCell::new(),
            extras: Extras::new(),
            task_number: Cell::new(0),
            awaited_by: ObjectCell::new(),
            native_loop: Cell::new(false),
            state: Cell::new(State::Pending),
            blocking: Cell::new(false),
            log_traceback: Cell::new(false),
            is_task: Cell::new(false),
            awaited_by_is_set: Cell::new(false),
            failed: Cell::new(false),
            purpose: Cell::new(Purpose::Unknown),
        }
    }

    /// A pending future of one of our loops, outside debug mode.
    #[inline]
    pub(crate) fn bound(event_loop: This<'_, EventLoop>) -> Future {
        let future = Future::empty();
        future.event_loop.set(event_loop.own().into_object());
        future.native_loop.set(true);
        future
    }

    /// Whether nobody has hung an attribute on it.
    #[inline]
    pub(crate) fn has_no_attributes(&self) -> bool {
        self.dict.has_no_attributes()
    }

    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        self.state.get() != State::Pending
    }

    pub(crate) fn wants_report(&self) -> bool {
        self.log_traceback.get()
    }

    /// The loop, ours or foreign.
    ///
    /// # Errors
    /// RuntimeError before `__init__` has run.
    pub(crate) fn event_loop(&self) -> Outcome<Object> {
        self.event_loop.get().ok_or_else(uninitialised)
    }

    /// The loop, if it is ours.
    #[inline]
    pub(crate) fn native_loop(&self) -> Option<Own<EventLoop>> {
        if !self.native_loop.get() {
            return None;
        }
        let event_loop = self.event_loop.get()?;
        // SAFETY: `native_loop` is set together with a loop whose type was checked, and unset
        // before that loop is let go.
        Some(unsafe { Own::from_object_unchecked(event_loop) })
    }

    #[inline]
    pub(crate) fn event_loop_address(&self) -> *mut sys::PyObject {
        self.event_loop.address()
    }

    #[inline]
    pub(crate) fn callbacks(&self) -> &Callbacks {
        &self.callbacks
    }

    /// Raises RuntimeError unless `__init__` has run.
    #[inline]
    fn ensure_initialised(&self) -> Outcome<()> {
        if self.event_loop.is_some() {
            Ok(())
        } else {
            Err(uninitialised())
        }
    }

    /// The exception that it ended with, if any.
    #[inline]
    fn failure(&self) -> Option<Object> {
        self.failed.get().then(|| self.outcome.get()).flatten()
    }

    /// The result, if there is one.
    fn success(&self) -> Option<Object> {
        (!self.failed.get()).then(|| self.outcome.get()).flatten()
    }

    /// Forgets that the exception has to be seen by somebody.
    #[inline]
    pub(crate) fn forget_traceback(&self) {
        self.log_traceback.set(false);
    }
}

/// The future in an object of exactly one of our own types: a future, a task, what `gather` returns.
#[inline]
pub(crate) fn exactly_ours(object: &Object) -> Option<This<'_, Future>> {
    This::<Future>::from_exact(object)
        .or_else(|| This::<Task>::from_exact(object).map(This::upcast))
        .or_else(|| This::<GatheringFuture>::from_exact(object).map(This::upcast))
}

/// The same, if nobody has hung an attribute on it that might hide a method.
#[inline]
pub(crate) fn ours(object: &Object) -> Option<This<'_, Future>> {
    exactly_ours(object).filter(|future| future.dict.has_no_attributes())
}

const UNINITIALISED: &str = "Future object is not initialized.";

#[cold]
fn uninitialised() -> Raised {
    Raised::runtime_error(UNINITIALISED)
}

fn invalid_state(message: &str) -> Raised {
    Raised::new(&imports().invalid_state_error, message)
}

/// What a done future holds.
pub(crate) enum Held {
    Result(Object),
    /// An exception to raise; it carries the traceback it was set with.
    Exception(Object),
}

impl This<'_, Future> {
    /// `__init__`: binds the future to its loop and makes it pending again.
    pub(crate) fn initialise(self, event_loop: Option<&Object>) -> Outcome<()> {
        let event_loop = match event_loop {
            Some(event_loop) => event_loop.clone(),
            None => imports().get_event_loop.call0()?,
        };
        self.value().clear();
        self.failed.set(false);
        self.awaited_by_is_set.set(false);
        self.state.set(State::Pending);
        self.blocking.set(false);
        self.log_traceback.set(false);
        let native = This::<EventLoop>::from_object(&event_loop);
        let debug = match native {
            Some(native) => native.is_debug(),
            None => event_loop
                .call_method(&imports().names.get_debug, &[])?
                .is_true()?,
        };
        self.native_loop.set(native.is_some());
        self.event_loop.set(event_loop);
        if debug && !is_finalizing() {
            self.record_source()?;
        }
        Ok(())
    }

    /// Remembers the stack on which the future is being made.
    pub(crate) fn record_source(self) -> Outcome<()> {
        let stack = imports().extract_stack.call0()?;
        self.extras.assign(Extra::SourceTraceback, Some(stack));
        Ok(())
    }

    pub(crate) fn set_result(self, result: Object) -> Outcome<()> {
        self.ensure_initialised()?;
        if self.is_done() {
            return Err(invalid_state("invalid state"));
        }
        self.outcome.set(result);
        self.state.set(State::Finished);
        self.schedule_callbacks()
    }

    /// `set_exception`, with asyncio's conversions: a class is instantiated, StopIteration
    /// cannot be raised into a coroutine.
    pub(crate) fn set_exception(self, exception: &Object) -> Outcome<()> {
        self.ensure_initialised()?;
        if self.is_done() {
            return Err(invalid_state("invalid state"));
        }
        // SAFETY: two questions about a live object.
        let (is_class, is_type) = unsafe {
            (
                sys::PyExceptionClass_Check(exception.as_ptr()) != 0,
                sys::PyType_Check(exception.as_ptr()) != 0,
            )
        };
        let exception = if is_class || is_type {
            exception.call0()?
        } else {
            exception.clone()
        };
        // SAFETY: a question about a live object.
        if unsafe { sys::PyExceptionInstance_Check(exception.as_ptr()) } == 0 {
            return Err(Raised::type_error("invalid exception object"));
        }
        let exception = convert_stop_iteration(exception)?;
        self.set_raised(exception)
    }

    /// Ends the future with an exception that was raised just now.
    pub(crate) fn set_raised(self, exception: Object) -> Outcome<()> {
        // SAFETY: an exception instance; a new reference or null for none.
        let traceback = unsafe { sys::PyException_GetTraceback(exception.as_ptr()) };
        // SAFETY: the reference, if any, is ours.
        let traceback = (!traceback.is_null()).then(|| unsafe { Object::from_owned(traceback) });
        self.extras.assign(Extra::ExceptionTraceback, traceback);
        self.outcome.set(exception);
        self.failed.set(true);
        self.state.set(State::Finished);
        let scheduled = self.schedule_callbacks();
        self.log_traceback.set(true);
        scheduled
    }

    /// `Future.cancel`: true when the future was pending.
    pub(crate) fn cancel_future(self, message: Option<Object>) -> Outcome<bool> {
        self.log_traceback.set(false);
        if self.is_done() {
            return Ok(false);
        }
        self.state.set(State::Cancelled);
        self.extras.assign(Extra::CancelMessage, message);
        self.schedule_callbacks()?;
        Ok(true)
    }

    #[cold]
    fn not_done(self, message: &str) -> Raised {
        let initialised = self.event_loop.is_some();
        invalid_state(if initialised { message } else { UNINITIALISED })
    }

    /// What the future holds, and that somebody has seen it.
    ///
    /// # Errors
    /// CancelledError, and InvalidStateError while it is pending.
    pub(crate) fn held(self) -> Outcome<Held> {
        match self.state.get() {
            State::Cancelled => Err(Raised::exception(&self.make_cancelled_error()?)),
            State::Pending => Err(self.not_done("Result is not set.")),
            State::Finished => {
                self.log_traceback.set(false);
                let Some(exception) = self.failure() else {
                    return Ok(Held::Result(
                        self.outcome.get().unwrap_or_else(crate::ffi::none),
                    ));
                };
                let traceback = self
                    .extras
                    .get(Extra::ExceptionTraceback)
                    .unwrap_or_else(crate::ffi::none);
                // SAFETY: an exception instance and a traceback or None.
                Raised::check(unsafe {
                    sys::PyException_SetTraceback(exception.as_ptr(), traceback.as_ptr())
                })?;
                Ok(Held::Exception(exception))
            }
        }
    }

    /// `result()`.
    #[inline]
    pub(crate) fn result(self) -> Outcome<Object> {
        match self.held()? {
            Held::Result(result) => Ok(result),
            Held::Exception(exception) => Err(Raised::exception(&exception)),
        }
    }

    /// `exception()`.
    pub(crate) fn exception(self) -> Outcome<Option<Object>> {
        match self.state.get() {
            State::Cancelled => Err(Raised::exception(&self.make_cancelled_error()?)),
            State::Pending => Err(self.not_done("Exception is not set.")),
            State::Finished => {
                self.log_traceback.set(false);
                Ok(self.failure())
            }
        }
    }

    /// The CancelledError to raise: the one that ended the task, once, then new ones.
    pub(crate) fn make_cancelled_error(self) -> Outcome<Object> {
        if let Some(error) = self.extras.take(Extra::CancelledError) {
            return Ok(error);
        }
        match self.extras.get(Extra::CancelMessage) {
            Some(message) => imports().cancelled_error.call1(&message),
            None => imports().cancelled_error.call0(),
        }
    }

    /// Adds a callable, or schedules it at once when the future is done.
    pub(crate) fn add_done_callback(
        self,
        function: &Object,
        context: Option<&Object>,
    ) -> Outcome<()> {
        self.ensure_initialised()?;
        let context = match context {
            Some(context) => context.clone(),
            None => crate::ffi::Context::copy_current()?,
        };
        if self.is_done() {
            return call_soon(&self.event_loop()?, function, &self.object(), &context);
        }
        self.callbacks.add(Callback::Call {
            function: function.clone(),
            context,
        });
        Ok(())
    }

    /// Removes every callable that equals `function`; how many they were.
    pub(crate) fn remove_done_callback(self, function: &Object) -> Outcome<usize> {
        self.ensure_initialised()?;
        // Comparing runs the user's code, which may add and remove callbacks itself, so
        // the list is taken out for the time being.
        let mut removed = Vec::new();
        let mut kept = Vec::new();
        let mut failure = None;
        for callback in self.callbacks.take() {
            let equal = match (&callback, &failure) {
                (
                    Callback::Call {
                        function: candidate,
                        ..
                    },
                    None,
                ) => candidate.equals(function),
                (Callback::Waiter(_), None) | (_, Some(_)) => Ok(false),
            };
            match equal {
                Ok(true) => removed.push(callback),
                Ok(false) => kept.push(callback),
                Err(raised) => {
                    failure = Some(raised);
                    kept.push(callback);
                }
            }
        }
        self.callbacks.put_back(kept);
        match failure {
            Some(raised) => Err(raised),
            None => Ok(removed.len()),
        }
    }

    /// Hands everyone who waits to the loop, in order.
    #[inline]
    fn schedule_callbacks(self) -> Outcome<()> {
        if self.callbacks.is_empty() {
            return Ok(());
        }
        if let Some(native) = self.native_loop()
            && native.is_plain()
        {
            self.callbacks.hand_over(|callback| match callback {
                Callback::Waiter(task) => native.push(Entry::Wake(task)),
                Callback::Call { function, context } => native.push(Entry::Done {
                    function,
                    future: self.own().into_object(),
                    context,
                }),
            });
            return Ok(());
        }
        self.schedule_through_call_soon()
    }

    /// The same through the loop's own `call_soon`: a foreign loop, debug mode with its
    /// checks, or a subclass that overrides it.
    #[cold]
    fn schedule_through_call_soon(self) -> Outcome<()> {
        let event_loop = self.event_loop()?;
        for callback in self.callbacks.take() {
            let (function, context) = callback.into_python()?;
            call_soon(&event_loop, &function, &self.object(), &context)?;
        }
        Ok(())
    }

    /// "… exception was never retrieved", when that is so.
    pub(crate) fn report_unretrieved(self) {
        if !self.log_traceback.replace(false) {
            return;
        }
        let Some(exception) = self.failure() else {
            return;
        };
        let object = self.object();
        if self.is_task.get()
            && let Some(task) = This::<Task>::from_object(&object)
        {
            task.tell_unretrieved(&exception);
        }
        let report = || {
            let name = self
                .object()
                .type_object()
                .get_attr(&text("__name__")?)?
                .to_text()?;
            let context = Object::dict()?;
            let message = text(&format!("{name} exception was never retrieved"))?;
            context.dict_set(&text("message")?, &message)?;
            context.dict_set(&text("exception")?, &exception)?;
            context.dict_set(&text("future")?, &self.object())?;
            if let Some(source) = self.extras.get(Extra::SourceTraceback) {
                context.dict_set(&text("source_traceback")?, &source)?;
            }
            let handler = &imports().names.call_exception_handler;
            self.event_loop()?
                .call_method(handler, &[&context])
                .map(drop)
        };
        if let Err(raised) = report() {
            raised.report_unraisable(&self.object());
        }
    }
}

impl Callback {
    /// The callback as asyncio shows it: a callable and its context.
    pub(crate) fn into_python(self) -> Outcome<(Object, Object)> {
        match self {
            Callback::Call { function, context } => Ok((function, context)),
            Callback::Waiter(task) => {
                let context = task.context()?;
                Ok((TaskCallback::wakeup(task)?.into_object(), context))
            }
        }
    }
}

/// `loop.call_soon(function, argument, context=context)`.
pub(crate) fn call_soon(
    event_loop: &Object,
    function: &Object,
    argument: &Object,
    context: &Object,
) -> Outcome<()> {
    let imports = imports();
    event_loop
        .call_method_with(
            &imports.names.call_soon,
            &[function, argument, context],
            Some(&imports.context_keyword),
        )
        .map(drop)
}

/// A StopIteration set as an exception: later versions turn it into a RuntimeError with the
/// original as its cause, earlier ones refuse it.
fn convert_stop_iteration(exception: Object) -> Outcome<Object> {
    const MESSAGE: &str =
        "StopIteration interacts badly with generators and cannot be raised into a Future";
    // SAFETY: a built-in class.
    let stop_iteration = unsafe { sys::PyExc_StopIteration };
    if refuses_stop_iteration() {
        if exception.type_ptr().cast() == stop_iteration {
            return Err(Raised::type_error(MESSAGE));
        }
        return Ok(exception);
    }
    if !exception.is_instance(stop_iteration)? {
        return Ok(exception);
    }
    let replacement = Raised::runtime_error(MESSAGE).take();
    replacement.set_attr(&imports().names.cause, &exception)?;
    replacement.set_attr(&imports().names.context_attribute, &exception)?;
    Ok(replacement)
}

/// The change came with 3.13 and went back to 3.11.8 and 3.12.2.
fn refuses_stop_iteration() -> bool {
    match crate::ffi::python_version() {
        (3, 11, patch) => patch < 8,
        (3, 12, patch) => patch < 2,
        _ => false,
    }
}
