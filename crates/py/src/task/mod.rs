//! `ferrio.Task`: a scheduled plan.
//!
//! A task drives one coroutine. It is in one of three places: in the ready
//! queue (an [`Entry::Step`](crate::event_loop::Entry)), in the list of the
//! future it waits for (`waits_for` names it), or being stepped. `step.rs`
//! holds what happens in a step.

mod callback;
mod current;
mod lints;
pub(crate) mod origin;
mod places;
mod published;
mod python;
mod step;

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::mem::offset_of;
use std::sync::atomic::{AtomicU64, Ordering};

pub(crate) use callback::TaskCallback;
use ferrio_inspect::watchdog::{RegistryLayout, TaskLayout};
pub(crate) use lints::{are_lints_on, hear_of_unawaited, warn_unawaited};
pub(crate) use origin::{
    Making, Origin, are_steps_measured, creation, is_registry_on, measure_steps, next_task_id,
    offsets, site_in_python,
};
pub(crate) use places::{Maker, OWNERS, current_site, learn_folders, site_in};
pub(crate) use published::all_tasks;
pub(crate) use python::build;
pub(crate) use step::Next;

use lints::Cancellations;

use crate::awaitable::is_exact_coroutine;
use crate::combinators::GatheringFuture;
use crate::event_loop::{Entry, EventLoop};
use crate::ffi::{
    Context, Extends, FreeList, Instance, Linked, Links, Native, Object, ObjectCell, Outcome, Own,
    Pointed, Raised, This, TypeObject, Visitor, none, recursive, sys, text, text_type_address,
    unlink,
};
use crate::future::{Extra, Future};
use crate::imports::imports;
use crate::sync::forget_holder_of_locks;

/// The native part of a `ferrio.Task`.
#[repr(C)]
pub(crate) struct Task {
    /// A task is a future; first, so that one's methods work on the other.
    future: Future,
    /// How many `cancel()` were not undone by `uncancel()`.
    cancel_requests: Cell<i32>,
    /// The next step throws CancelledError.
    must_cancel: Cell<bool>,
    /// Whether its end while pending is worth a message.
    log_destroy_pending: Cell<bool>,
    /// Who made it.
    maker: Cell<Maker>,
    /// How many cancellations its coroutine has caught.
    cancellations: Cancellations,
    /// `_fut_waiter`: the future it waits for, kept until the step that follows.
    waits_for: ObjectCell,
    // This and the name and the links stand where CPython 3.14 has its own (see `published.rs`).
    pub(crate) coroutine: ObjectCell,
    /// The name given by the user. For `Task-N`, which is formed when asked for, it is empty, or
    /// from 3.14 on the int N, as in CPython's own tasks.
    name: ObjectCell,
    context: ObjectCell,
    links: Links,
    /// How many locks know it as their holder.
    holds: Cell<u16>,
    /// Where it comes from, and what is counted of it.
    pub(crate) origin: Origin,
}

/// Of 64-bit words, with the collector's header of two before it: what CPython's allocator gives out
/// in 256 bytes, and a future in 128.
const _: () = assert!(size_of::<Instance<Task>>() <= 30 * size_of::<u64>());
const _: () = assert!(size_of::<Instance<Future>>() <= 14 * size_of::<u64>());

static TYPE: TypeObject = TypeObject::new();
static FREE_LIST: FreeList = FreeList::new();

/// The counter behind `Task-N`.
static NUMBER: AtomicU64 = AtomicU64::new(0);

// SAFETY: `TYPE` is built for `Task` in `python::build`; the offsets are those of the
// future at offset 0, whose fields only CPython touches.
unsafe impl Native for Task {
    const NAME: &'static CStr = c"ferrio._ferrio.Task";
    const DICT_OFFSET: Option<usize> = Future::DICT_OFFSET;
    const WEAK_REFERENCES_OFFSET: Option<usize> = Future::WEAK_REFERENCES_OFFSET;
    const CHAINS: bool = true;
    const FINALIZES: bool = true;

    fn free_list() -> Option<&'static FreeList> {
        Some(&FREE_LIST)
    }

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Task> {
        Ok(Task::new(Future::empty()))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.future.visit(visitor)?;
        self.coroutine.visit(visitor)?;
        self.context.visit(visitor)?;
        self.name.visit(visitor)?;
        self.waits_for.visit(visitor)
    }

    fn clear(&self) {
        self.future.clear();
        self.coroutine.clear();
        self.context.clear();
        self.name.clear();
        self.waits_for.clear();
    }

    fn wants_finalize(&self) -> bool {
        self.future.wants_finalize() || self.is_abandoned()
    }

    fn finalize(this: This<'_, Task>) {
        this.report_abandoned();
        this.upcast::<Future>().report_unretrieved();
    }

    fn detach(&self) {
        unlink(self);
        self.origin.end();
        if self.holds.get() != 0 {
            forget_holder_of_locks(self);
        }
    }
}

// SAFETY: locks are what points at tasks, and `detach` has them forget.
unsafe impl Pointed for Task {
    fn pointers(&self) -> &Cell<u16> {
        &self.holds
    }
}

// SAFETY: `Task` is `repr(C)` and begins with a `Future`; `python::build` gives the base.
unsafe impl Extends<Future> for Task {}

// SAFETY: the offset of the field.
unsafe impl Linked for Task {
    const OFFSET: usize = std::mem::offset_of!(Task, links);

    fn links(&self) -> &Links {
        &self.links
    }
}

impl Task {
    fn new(future: Future) -> Task {
        future.is_task.set(true);
        Task {
            future,
            coroutine: ObjectCell::new(),
            name: ObjectCell::new(),
            context: ObjectCell::new(),
            links: Links::new(),
            waits_for: ObjectCell::new(),
            cancel_requests: Cell::new(0),
            must_cancel: Cell::new(false),
            log_destroy_pending: Cell::new(true),
            maker: Cell::new(Maker::Program),
            cancellations: Cancellations::default(),
            holds: Cell::new(0),
            origin: Origin::new(),
        }
    }

    /// The future that a task is.
    #[inline]
    pub(crate) fn future(&self) -> &Future {
        &self.future
    }

    /// The context that its steps run in.
    #[inline]
    pub(crate) fn context(&self) -> Outcome<Object> {
        self.context
            .get()
            .ok_or_else(|| Raised::runtime_error("Task object is not initialized."))
    }

    /// The future that it waits for, kept until the step that follows.
    pub(crate) fn awaited(&self) -> Option<Object> {
        self.waits_for.get()
    }

    /// Whether it is known to have a lock.
    #[inline]
    pub(crate) fn holds_locks(&self) -> bool {
        self.holds.get() != 0
    }

    /// Its end while pending is not worth a message.
    pub(crate) fn expect_abandonment(&self) {
        self.log_destroy_pending.set(false);
    }

    fn is_abandoned(&self) -> bool {
        !self.future.is_done() && self.log_destroy_pending.get() && self.coroutine.is_some()
    }
}

/// Where the watchdog finds what it tells of a task.
pub(crate) fn layout_for_watchdog() -> TaskLayout {
    TaskLayout {
        name: offsets::NAME,
        number: offsets::NUMBER,
        text_type: text_type_address(),
        registry: is_registry_on().then_some(RegistryLayout {
            id: offsets::ID,
            site: offsets::SITE_AND_STEPS,
            coroutine: offsets::COROUTINE,
            owner_task: offsets::OWNER_TASK,
            maker: Instance::<Task>::VALUE_OFFSET + offset_of!(Task, maker),
            maker_name: Maker::name_of_code,
        }),
    }
}

/// Makes `task` the current one of the loop, or none, whichever it was before.
#[inline]
pub(crate) fn make_current(event_loop: &Object, task: Option<&Object>) -> Outcome<()> {
    current::swap(event_loop, task).map(drop)
}

/// How a task is to be made.
pub(crate) struct TaskOptions<'a> {
    pub(crate) name: Option<&'a Object>,
    pub(crate) context: Option<&'a Object>,
    /// Run the first step at once, in the caller's turn, when the loop is running.
    pub(crate) eager_start: bool,
}

impl Own<Task> {
    /// A task of our own type on one of our loops.
    pub(crate) fn spawn(
        event_loop: This<'_, EventLoop>,
        coroutine: &Object,
        options: &TaskOptions<'_>,
    ) -> Outcome<Own<Task>> {
        if event_loop.is_plain() {
            let task = Own::new(Task::new(Future::bound(event_loop)))?;
            task.this().begin(coroutine, options)?;
            return Ok(task);
        }
        let task = Own::new(Task::create()?)?;
        task.this()
            .initialise(coroutine, Some(&event_loop.object()), options)?;
        Ok(task)
    }
}

impl This<'_, Task> {
    /// `__init__`.
    pub(crate) fn initialise(
        self,
        coroutine: &Object,
        event_loop: Option<&Object>,
        options: &TaskOptions<'_>,
    ) -> Outcome<()> {
        self.upcast::<Future>().initialise(event_loop)?;
        self.begin(coroutine, options)
    }

    /// Takes up the coroutine and schedules the first step.
    fn begin(self, coroutine: &Object, options: &TaskOptions<'_>) -> Outcome<()> {
        if !is_coroutine(coroutine)? {
            self.log_destroy_pending.set(false);
            let given = coroutine.repr_text()?;
            return Err(Raised::type_error(&format!(
                "a coroutine was expected, got {given}"
            )));
        }
        self.context.set(match options.context {
            Some(context) => context.clone(),
            None => Context::copy_current()?,
        });
        self.must_cancel.set(false);
        self.cancel_requests.set(0);
        self.cancellations.reset();
        self.waits_for.clear();
        self.log_destroy_pending.set(true);
        self.coroutine.set(coroutine.clone());
        let native = self.future.native_loop();
        self.register(coroutine, native.as_ref().map(Own::this));
        match options.name {
            Some(name) => self.set_name(name)?,
            None => {
                let number = NUMBER.fetch_add(1, Ordering::Relaxed) + 1;
                self.future.task_number.set(number);
                if cfg!(Py_3_14) {
                    self.name.set(Object::from_i64(number.cast_signed())?);
                } else {
                    self.name.clear();
                }
            }
        }
        if options.eager_start && self.loop_is_running()? {
            return self.start_eagerly();
        }
        self.schedule_step()?;
        self.publish();
        Ok(())
    }

    fn loop_is_running(self) -> Outcome<bool> {
        match self.future.native_loop() {
            Some(native) => Ok(native.is_running()),
            None => {
                let event_loop = self.future.event_loop()?;
                event_loop
                    .call_method(&imports().names.is_running, &[])?
                    .is_true()
            }
        }
    }

    /// Runs the first step within the caller's own; the task joins the others only if it
    /// has to wait.
    fn start_eagerly(self) -> Outcome<()> {
        let event_loop = self.future.event_loop()?;
        let context = self.context()?;
        let previous = current::swap(&event_loop, Some(&self.object()))?;
        self.publish();
        let stepped = Context::enter(&context).and_then(|_entered| self.run_coroutine_here(None));
        // No call may be made with an exception set, so a failed step's is put aside.
        let stepped = stepped.map_err(Raised::take);
        let swapped = current::swap(&event_loop, previous.as_ref());
        if self.future.is_done() {
            self.withdraw();
            // Nothing can be cancelled or shown any more, and few tasks that end at once
            // are kept, so the frame goes early.
            self.coroutine.clear();
        }
        match (stepped, swapped) {
            (Ok(()), swapped) => swapped.map(drop),
            (Err(exception), Ok(_)) => Err(Raised::exception(&exception)),
            (Err(exception), Err(second)) => {
                second.report_unraisable(&self.object());
                Err(Raised::exception(&exception))
            }
        }
    }

    /// Puts the next step into the loop's ready queue.
    #[inline]
    fn schedule_step(self) -> Outcome<()> {
        if let Some(native) = self.future.native_loop()
            && native.is_plain()
        {
            native.push(Entry::Step(self.own()));
            return Ok(());
        }
        self.schedule_callback(TaskCallback::step(self.own(), None)?)
    }

    /// Whether the next step may be pushed straight to the loop's ready queue.
    #[inline]
    fn is_stepped_by(self, event_loop: This<'_, EventLoop>) -> bool {
        event_loop.is_plain() && self.future.event_loop_address() == event_loop.as_ptr()
    }

    /// The step after this one throws `exception` into the coroutine.
    #[cold]
    fn schedule_throw(self, exception: Object) -> Outcome<()> {
        self.schedule_callback(TaskCallback::step(self.own(), Some(exception))?)
    }

    fn schedule_callback(self, callback: Own<TaskCallback>) -> Outcome<()> {
        let imports = imports();
        let event_loop = self.future.event_loop()?;
        event_loop
            .call_method_with(
                &imports.names.call_soon,
                &[&callback.into_object(), &self.context()?],
                Some(&imports.context_keyword),
            )
            .map(drop)
    }

    /// `cancel(msg=None)`: asks for a CancelledError in the next step.
    pub(crate) fn cancel(self, message: Option<&Object>) -> Outcome<bool> {
        self.future.forget_traceback();
        if self.future.is_done() {
            return Ok(false);
        }
        self.cancel_requests
            .set(self.cancel_requests.get().saturating_add(1));
        if let Some(awaited) = self.waits_for.get()
            && cancel_awaited(&awaited, message)?
        {
            // It stays in `waits_for`: it may be a task that ignores the
            // cancellation, so that this one has to be cancelled again.
            return Ok(true);
        }
        // A step is scheduled already.
        self.must_cancel.set(true);
        let message = message.cloned();
        self.future.extras.assign(Extra::CancelMessage, message);
        Ok(true)
    }

    /// Whether it is the current task, given that this thread is in a step of it: where others
    /// make the tasks there may be a foreign one whose first step is made within ours.
    #[inline]
    pub(crate) fn is_stepped_for_certain(self) -> bool {
        if let Some(native) = self.future.native_loop()
            && !native.has_task_factory()
        {
            return true;
        }
        match crate::originals::originals().current_task.call0() {
            Ok(current) => current.as_ptr() == self.as_ptr(),
            Err(raised) => {
                raised.discard(); // There is no running loop: nobody can say.
                false
            }
        }
    }

    /// Whether nobody can have replaced a method of it.
    #[inline]
    pub(crate) fn is_plain(self) -> bool {
        self.is_exact() && self.future.has_no_attributes()
    }

    /// `uncancel()`: takes one request back; how many remain.
    pub(crate) fn uncancel(self) -> i32 {
        let requests = self.cancel_requests.get();
        if requests > 0 {
            self.cancel_requests.set(requests - 1);
            if requests == 1 {
                self.cancellations.reset();
            }
            if cfg!(Py_3_13) && requests == 1 {
                self.must_cancel.set(false);
            }
        }
        self.cancel_requests.get()
    }

    /// Takes back what was asked for since there were `requests` requests, and is not under way.
    pub(crate) fn forgive(self, requests: i32) {
        self.value().cancel_requests.set(requests);
        self.must_cancel.set(false);
    }

    pub(crate) fn cancel_requests(self) -> i32 {
        self.value().cancel_requests.get()
    }

    pub(crate) fn name(self) -> Outcome<Object> {
        if let Some(name) = self.value().name.get()
            && !name.is_int()
        {
            return Ok(name);
        }
        let name = text(&format!("Task-{}", self.future.task_number.get()))?;
        self.value().name.set(name.clone());
        Ok(name)
    }

    /// N of `Task-N`, while that is its name and nobody has asked for it.
    pub(crate) fn number_as_name(self) -> Option<u64> {
        let has_none = self.value().name.get().is_none_or(|name| name.is_int());
        has_none.then(|| self.future.task_number.get())
    }

    pub(crate) fn set_name(self, name: &Object) -> Outcome<()> {
        // SAFETY: a type comparison on a live object.
        let exact = unsafe { sys::PyUnicode_CheckExact(name.as_ptr()) } != 0;
        self.value()
            .name
            .set(if exact { name.clone() } else { name.str()? });
        Ok(())
    }

    /// "Task was destroyed but it is pending!", when that is so.
    fn report_abandoned(self) {
        if !self.is_abandoned() {
            return;
        }
        let report = || {
            let context = Object::dict()?;
            context.dict_set(&text("task")?, &self.object())?;
            context.dict_set(
                &text("message")?,
                &text("Task was destroyed but it is pending!")?,
            )?;
            if let Some(source) = self.future.extras.get(Extra::SourceTraceback) {
                context.dict_set(&text("source_traceback")?, &source)?;
            }
            let handler = &imports().names.call_exception_handler;
            self.future
                .event_loop()?
                .call_method(handler, &[&context])
                .map(drop)
        };
        if let Err(raised) = report() {
            raised.report_unraisable(&self.object());
        }
    }
}

fn is_coroutine(object: &Object) -> Outcome<bool> {
    if is_exact_coroutine(object) {
        return Ok(true);
    }
    imports().is_coroutine.call1(object)?.is_true()
}

/// `future.cancel(msg=message)` for one of exactly our own types.
pub(crate) fn cancel_ours(future: &Object, message: Option<&Object>) -> Option<Outcome<bool>> {
    if let Some(task) = This::<Task>::from_exact(future) {
        // Tasks that wait for each other in a ring would go on for ever.
        let cancel = || task.cancel(message);
        return Some(recursive(c" while cancelling a task", cancel));
    }
    if let Some(future) = This::<Future>::from_exact(future) {
        return Some(future.cancel_future(message.cloned()));
    }
    This::<GatheringFuture>::from_exact(future).map(|gather| gather.cancel(message))
}

/// `awaited.cancel(msg=message)`.
fn cancel_awaited(awaited: &Object, message: Option<&Object>) -> Outcome<bool> {
    if let Some(answer) = cancel_ours(awaited, message) {
        return answer;
    }
    let imports = imports();
    let none = none();
    awaited
        .call_method_with(
            &imports.names.cancel,
            &[message.unwrap_or(&none)],
            Some(&imports.message_keyword),
        )?
        .is_true()
}
