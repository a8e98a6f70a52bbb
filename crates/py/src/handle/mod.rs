//! `Handle` and `TimerHandle`: a callback that the loop will call, and may be told not to.
//!
//! # What the garbage collector sees of them
//!
//! A thread can queue thousands of calls before the loop gets its turn, and every so many new
//! objects make the collector look at all of them. It finds nothing: while a loop runs, what waits
//! in its queue is needed. So a handle that a running loop queues is not shown to the collector
//! until that stops being true: it ran, or was cancelled, and somebody kept it; or the run ended
//! ([`EventLoop`]'s `run_turns`). For the same reason a handle that is called in an empty
//! context, as a fresh thread's always is, has none until it is called or asked for it.

mod python;
mod thread_safe;

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use ferrio_core::TimerKey;
pub(crate) use python::build;
pub(crate) use thread_safe::ThreadSafeHandle;

use crate::event_loop::EventLoop;
use crate::ffi::{
    Context, Extends, FreeList, Native, Object, ObjectCell, Outcome, Own, Raised, Slot, This,
    TypeObject, Visitor, none, sys, text,
};
use crate::imports::imports;

/// A callback with its arguments and context.
#[repr(C)]
pub(crate) struct Handle {
    weak_references: ObjectCell,
    /// Empty once the handle is cancelled.
    callback: ObjectCell,
    /// The one argument, or a tuple of them: mostly there are none or one, which need no tuple.
    arguments: ObjectCell,
    /// Empty also while it would be a context without variables that nobody has asked for.
    context: ObjectCell,
    event_loop: Slot<Own<EventLoop>>,
    /// Where it was made, in debug mode.
    source_traceback: ObjectCell,
    /// How it looked before it was cancelled, in debug mode.
    representation: ObjectCell,
    /// Whether `arguments` is a tuple of them.
    packed: Cell<bool>,
    cancelled: Cell<bool>,
    /// Whether it is the first part of a [`ThreadSafeHandle`].
    thread_safe: Cell<bool>,
}

/// A callback and the loop time at which it is due.
#[repr(C)]
pub(crate) struct TimerHandle {
    /// First, so that one's methods work on the other.
    handle: Handle,
    /// Loop time in seconds, as the caller gave it; otherwise empty until somebody asks.
    when: ObjectCell,
    /// Loop time in seconds, as `call_later` came to it.
    computed: Cell<Option<f64>>,
    /// Its place in the loop's heap, until it fires or is cancelled.
    key: Cell<Option<TimerKey>>,
}

/// When a timer is due, in seconds of loop time.
#[derive(Clone, Copy)]
pub(crate) enum When<'a> {
    /// By the caller's own object, of whatever type.
    Given(&'a Object),
    /// By the loop's reckoning: there is no object until somebody asks for one.
    Computed(f64),
}

impl When<'_> {
    #[inline]
    pub(crate) fn to_f64(self) -> Outcome<f64> {
        match self {
            When::Given(when) => when.to_f64(),
            When::Computed(seconds) => Ok(seconds),
        }
    }

    pub(crate) fn to_object(self) -> Outcome<Object> {
        match self {
            When::Given(when) => Ok(when.clone()),
            When::Computed(seconds) => Object::from_f64(seconds),
        }
    }
}

static HANDLE: TypeObject = TypeObject::new();
static TIMER_HANDLE: TypeObject = TypeObject::new();
static TIMER_HANDLES: FreeList = FreeList::new();
static HANDLES: FreeList = FreeList::new();

// SAFETY: `HANDLE` is built for `Handle` in `python::build`; the offset is that of a field
// that only CPython touches.
unsafe impl Native for Handle {
    const NAME: &'static CStr = c"ferrio._ferrio.Handle";
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(Handle, weak_references));

    fn free_list() -> Option<&'static FreeList> {
        Some(&HANDLES)
    }

    fn type_object() -> &'static TypeObject {
        &HANDLE
    }

    fn create() -> Outcome<Handle> {
        Ok(Handle::empty())
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.callback.visit(visitor)?;
        self.arguments.visit(visitor)?;
        self.context.visit(visitor)?;
        self.event_loop.visit(visitor)?;
        self.source_traceback.visit(visitor)
    }

    fn clear(&self) {
        self.callback.clear();
        self.arguments.clear();
        self.context.clear();
        self.event_loop.clear();
        self.source_traceback.clear();
    }
}

// SAFETY: `TIMER_HANDLE` is built for `TimerHandle` in `python::build`; the offset is that of
// the handle at offset 0.
unsafe impl Native for TimerHandle {
    const NAME: &'static CStr = c"ferrio._ferrio.TimerHandle";
    const WEAK_REFERENCES_OFFSET: Option<usize> = Handle::WEAK_REFERENCES_OFFSET;

    fn free_list() -> Option<&'static FreeList> {
        Some(&TIMER_HANDLES)
    }

    fn type_object() -> &'static TypeObject {
        &TIMER_HANDLE
    }

    fn create() -> Outcome<TimerHandle> {
        Ok(TimerHandle {
            handle: Handle::empty(),
            when: ObjectCell::new(),
            computed: Cell::new(None),
            key: Cell::new(None),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.when.visit(visitor)?;
        self.handle.visit(visitor)
    }

    fn clear(&self) {
        self.handle.clear();
    }
}

// SAFETY: `TimerHandle` is `repr(C)` and begins with a `Handle`; `python::build` gives the base.
unsafe impl Extends<Handle> for TimerHandle {}

impl Handle {
    fn empty() -> Handle {
        Handle {
            weak_references: ObjectCell::new(),
            callback: ObjectCell::new(),
            arguments: ObjectCell::new(),
            context: ObjectCell::new(),
            event_loop: Slot::new(),
            source_traceback: ObjectCell::new(),
            representation: ObjectCell::new(),
            packed: Cell::new(false),
            cancelled: Cell::new(false),
            thread_safe: Cell::new(false),
        }
    }

    // Inlined, so that the value is put together where it is to be and not copied there.
    #[inline(always)]
    fn bound(
        event_loop: This<'_, EventLoop>,
        callback: &Object,
        arguments: &[Object],
        context: Option<&Object>,
    ) -> Outcome<Handle> {
        let context = match context {
            Some(context) => Some(context.clone()),
            None => Context::copy_current_unless_empty()?,
        };
        let (arguments, packed) = match arguments {
            [] => (ObjectCell::new(), false),
            [one] => (ObjectCell::with(one.clone()), false),
            many => (ObjectCell::with(Object::tuple_of(many)?), true),
        };
        Ok(Handle {
            callback: ObjectCell::with(callback.clone()),
            arguments,
            context: context.map_or_else(ObjectCell::new, ObjectCell::with),
            event_loop: Slot::with(event_loop.own()),
            packed: Cell::new(packed),
            ..Handle::empty()
        })
    }

    /// Debug mode: where it was made.
    #[cold]
    fn remember_origin(&self) -> Outcome<()> {
        self.source_traceback
            .set(imports().extract_short_stack.call0()?);
        Ok(())
    }

    #[inline]
    fn call(&self, callback: &Object) -> Outcome<Object> {
        match self.arguments.get() {
            None => callback.call0(),
            Some(tuple) if self.packed.get() => callback.call_tuple(&tuple),
            Some(one) => callback.call1(&one),
        }
    }

    fn arguments_as_tuple(&self) -> Outcome<Object> {
        match self.arguments.get() {
            None => Object::tuple(&[]),
            Some(tuple) if self.packed.get() => Ok(tuple),
            Some(one) => Object::tuple(&[&one]),
        }
    }

    #[inline]
    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancelled.get()
    }
}

impl Own<Handle> {
    /// A handle for `callback(*arguments)` in `context`, or in a copy of the current one.
    #[inline]
    pub(crate) fn make(
        event_loop: This<'_, EventLoop>,
        callback: &Object,
        arguments: &[Object],
        context: Option<&Object>,
    ) -> Outcome<Own<Handle>> {
        let made = Own::new(Handle::bound(event_loop, callback, arguments, context)?)?;
        if event_loop.is_debug() {
            made.remember_origin()?;
        }
        Ok(made)
    }

    /// [`Self::make`] for the ready queue: the garbage collector does not see it while the loop
    /// runs.
    #[inline]
    pub(crate) fn make_queued(
        event_loop: This<'_, EventLoop>,
        callback: &Object,
        arguments: &[Object],
        context: Option<&Object>,
    ) -> Outcome<Own<Handle>> {
        let made = Own::new_untracked(Handle::bound(event_loop, callback, arguments, context)?)?;
        made.this().made_to_wait(event_loop)?;
        Ok(made)
    }
}

impl Own<TimerHandle> {
    /// A handle that is due at `when`; its key comes with [`TimerHandle::scheduled_as`]. As with
    /// [`Own::<Handle>::make_queued`] the garbage collector does not see it while the loop runs.
    #[inline]
    pub(crate) fn make(
        event_loop: This<'_, EventLoop>,
        when: When<'_>,
        callback: &Object,
        arguments: &[Object],
        context: Option<&Object>,
    ) -> Outcome<Own<TimerHandle>> {
        let (given, computed) = match when {
            When::Given(when) => (ObjectCell::with(when.clone()), None),
            When::Computed(seconds) => (ObjectCell::new(), Some(seconds)),
        };
        let made = Own::new_untracked(TimerHandle {
            handle: Handle::bound(event_loop, callback, arguments, context)?,
            when: given,
            computed: Cell::new(computed),
            key: Cell::new(None),
        })?;
        made.this().upcast::<Handle>().made_to_wait(event_loop)?;
        Ok(made)
    }

    pub(crate) fn into_handle(self) -> Own<Handle> {
        self.this().upcast::<Handle>().own()
    }
}

impl This<'_, TimerHandle> {
    /// When it is due, in seconds of loop time; `None` when that cannot be told.
    pub(crate) fn deadline(self) -> Option<f64> {
        if let Some(seconds) = self.computed.get() {
            return Some(seconds);
        }
        match self.value().when.get()?.to_f64() {
            Ok(seconds) => Some(seconds),
            Err(raised) => {
                raised.discard(); // A time that is no number is not known.
                None
            }
        }
    }
}

impl This<'_, Handle> {
    /// The object whose method it calls.
    pub(crate) fn receiver(self) -> Option<Object> {
        self.callback.get()?.bound_receiver()
    }
}

impl TimerHandle {
    #[inline]
    pub(crate) fn scheduled_as(&self, key: TimerKey) {
        self.key.set(Some(key));
    }
}

impl This<'_, Handle> {
    /// It was made untracked, to wait for its call.
    #[inline]
    fn made_to_wait(self, event_loop: This<'_, EventLoop>) -> Outcome<()> {
        // The collector may have run when it was made, and Python code with it: only now is it
        // certain that the loop runs, or does not.
        if !event_loop.is_in_turns() {
            self.track();
        }
        if event_loop.is_debug() {
            self.remember_origin()?;
        }
        Ok(())
    }

    /// `__init__(callback, args, loop, context=None)`.
    fn initialise(
        self,
        callback: &Object,
        arguments: &Object,
        event_loop: &Object,
        context: Option<&Object>,
    ) -> Outcome<()> {
        let Some(native) = This::<EventLoop>::from_object(event_loop) else {
            return Err(Raised::type_error("a loop of ferrio was expected"));
        };
        let made = Handle::bound(native, callback, arguments.tuple_items(), context)?;
        self.callback.assign(made.callback.take());
        self.packed.set(made.packed.get());
        self.arguments.assign(made.arguments.take());
        self.context.assign(made.context.take());
        self.event_loop.assign(made.event_loop.take());
        if native.is_debug() {
            self.remember_origin()?;
        }
        Ok(())
    }

    /// Calls the callback, in its context.
    ///
    /// # Errors
    /// KeyboardInterrupt and SystemExit; everything else goes to the loop's exception handler.
    #[inline]
    pub(crate) fn run(self) -> Outcome<()> {
        if self.thread_safe.get()
            && let Some(this) = This::<ThreadSafeHandle>::from_object(&self.object())
        {
            return this.run();
        }
        self.run_now()
    }

    #[inline]
    fn run_now(self) -> Outcome<()> {
        let Some(callback) = self.callback.get() else {
            // Cancelled while it stood in the queue.
            return Ok(());
        };
        let Some(context) = self.context.get() else {
            return self.run_in_empty_context(&callback);
        };
        self.run_in(&callback, &context)
    }

    #[inline]
    fn run_in(self, callback: &Object, context: &Object) -> Outcome<()> {
        // The arguments may be cleared by the callback itself, when it cancels its handle.
        let called = Context::enter(context).and_then(|_entered| self.call(callback));
        match called {
            Ok(result) => {
                drop(result);
                Ok(())
            }
            Err(raised) => self.report_failure(raised, callback),
        }
    }

    /// Lends the handle an empty context, and has it back unless somebody may still need it.
    #[inline]
    fn run_in_empty_context(self, callback: &Object) -> Outcome<()> {
        let Some(event_loop) = self.event_loop.get() else {
            return self.run_in(callback, &self.own_context()?);
        };
        let context = event_loop.lend_context()?;
        self.context.set(context.clone());
        let outcome = self.run_in(callback, &context);
        // Python is asked nothing with an exception on its way.
        if outcome.is_ok() && !self.is_shared() {
            drop(self.context.take());
            drop(event_loop.take_context_back(context)?);
        }
        outcome
    }

    /// The context in which it is called, made if need be.
    fn own_context(self) -> Outcome<Object> {
        if let Some(context) = self.context.get() {
            return Ok(context);
        }
        let context = Context::empty()?;
        self.context.set(context.clone());
        Ok(context)
    }

    /// Shows it to the garbage collector if somebody keeps it, now that it is out of the queue.
    #[inline]
    pub(crate) fn left_queue(self) {
        if self.is_shared() {
            self.track();
        }
    }

    /// Tells the loop's exception handler that the callback raised.
    #[cold]
    fn report_failure(self, raised: Raised, callback: &Object) -> Outcome<()> {
        let exception = only_ordinary(raised)?;
        let Some(event_loop) = self.event_loop.get() else {
            return Ok(());
        };
        let source = self.describe_callback(callback)?;
        let context = Object::dict()?;
        let message = text(&format!("Exception in callback {}", source.to_text()?))?;
        context.dict_set(&text("message")?, &message)?;
        context.dict_set(&text("exception")?, &exception)?;
        context.dict_set(&text("handle")?, &self.object())?;
        if let Some(source) = self.source_traceback.get() {
            context.dict_set(&text("source_traceback")?, &source)?;
        }
        event_loop.this().call_exception_handler(&context)
    }

    fn describe_callback(self, callback: &Object) -> Outcome<Object> {
        let arguments = self.arguments_as_tuple()?;
        let debug = self
            .event_loop
            .get()
            .is_some_and(|event_loop| event_loop.is_debug());
        describe_callback(callback, &arguments, debug)
    }

    /// `cancel()`: the callback will not be called.
    pub(crate) fn cancel(self) -> Outcome<()> {
        if self.cancelled.replace(true) {
            return Ok(());
        }
        if self
            .event_loop
            .get()
            .is_some_and(|event_loop| event_loop.is_debug())
        {
            // Messages about it still have to name the callback.
            self.representation.set(self.describe()?);
        }
        self.callback.clear();
        self.arguments.clear();
        // Whoever cancels it holds it, and may do so for longer than the queue.
        self.track();
        Ok(())
    }

    fn describe(self) -> Outcome<Object> {
        if let Some(representation) = self.representation.get() {
            return Ok(representation);
        }
        let timer = match This::<TimerHandle>::from_object(&self.object()) {
            Some(timer) => timer.when()?,
            None => None,
        };
        let mut parts = vec![
            if timer.is_some() {
                "TimerHandle"
            } else if self.thread_safe.get() {
                "_ThreadSafeHandle"
            } else {
                "Handle"
            }
            .to_owned(),
        ];
        if self.is_cancelled() {
            parts.push("cancelled".to_owned());
        }
        if let Some(when) = timer {
            parts.push(format!("when={}", when.to_text()?));
        }
        if let Some(callback) = self.callback.get() {
            parts.push(self.describe_callback(&callback)?.to_text()?);
        }
        if let Some(stack) = self.source_traceback.get() {
            // SAFETY: the stack is a list of frame summaries; a new reference or null.
            let last = unsafe { Object::from_new(sys::PySequence_GetItem(stack.as_ptr(), -1)) };
            match last {
                Ok(frame) => {
                    let file = frame.get_attr(&text("filename")?)?.to_text()?;
                    let line = frame.get_attr(&text("lineno")?)?.to_text()?;
                    parts.push(format!("created at {file}:{line}"));
                }
                // An empty stack: it was made from C code alone.
                Err(raised) => raised.discard(),
            }
        }
        text(&format!("<{}>", parts.join(" ")))
    }
}

impl This<'_, TimerHandle> {
    fn when(self) -> Outcome<Option<Object>> {
        if let (None, Some(seconds)) = (self.value().when.get(), self.computed.get()) {
            self.value().when.set(Object::from_f64(seconds)?);
        }
        Ok(self.value().when.get())
    }

    /// `cancel()`: the timer leaves the heap.
    pub(crate) fn cancel(self) -> Outcome<()> {
        let handle = self.upcast::<Handle>();
        if handle.is_cancelled() {
            return Ok(());
        }
        handle.cancel()?;
        self.leave_heap();
        Ok(())
    }

    fn is_scheduled(self) -> bool {
        match (
            self.key.get(),
            self.upcast::<Handle>().value().event_loop.get(),
        ) {
            (Some(key), Some(event_loop)) => event_loop.has_timer(key),
            _ => false,
        }
    }

    /// Gives its place in the heap back, which also drops the loop's reference.
    fn leave_heap(self) {
        if let (Some(key), Some(event_loop)) = (
            self.key.take(),
            self.upcast::<Handle>().value().event_loop.get(),
        ) {
            event_loop.forget_timer(key);
        }
    }
}

/// The text that asyncio's messages show for a callback.
pub(crate) fn describe_callback(
    callback: &Object,
    arguments: &Object,
    debug: bool,
) -> Outcome<Object> {
    let imports = imports();
    if cfg!(not(Py_3_13)) {
        return imports
            .format_callback_source
            .call(&[callback, arguments], None);
    }
    let debug = Object::from_bool(debug);
    imports
        .format_callback_source
        .call(&[callback, arguments, &debug], Some(&imports.debug_keyword))
}

/// The exception, unless it is one that has to leave the loop.
///
/// # Errors
/// KeyboardInterrupt and SystemExit.
pub(crate) fn only_ordinary(raised: Raised) -> Outcome<Object> {
    // SAFETY: two built-in classes.
    let leaves = unsafe {
        raised.matches(sys::PyExc_KeyboardInterrupt) || raised.matches(sys::PyExc_SystemExit)
    };
    if leaves {
        Err(raised)
    } else {
        Ok(raised.take())
    }
}

impl This<'_, Handle> {
    fn arguments_or_none(self) -> Outcome<Object> {
        if self.is_cancelled() {
            Ok(none())
        } else {
            self.arguments_as_tuple()
        }
    }
}

impl This<'_, Handle> {
    /// What it calls; `None` when it was cancelled.
    pub(crate) fn called(self) -> Option<Object> {
        self.callback.get()
    }

    /// The task whose step this handle makes, if it is one's.
    /// What it will call; nothing once it is cancelled.
    pub(crate) fn callback(self) -> Option<Object> {
        self.value().callback.get()
    }

    pub(crate) fn task(self) -> Option<Object> {
        let callback = self.callback.get()?;
        This::<crate::task::TaskCallback>::from_object(&callback)?.task()
    }
}
