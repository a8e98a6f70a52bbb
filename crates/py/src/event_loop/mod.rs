//! `ferrio._ferrio.EventLoop`: asyncio's methods over the core's loop.
//!
//! The core decides when something runs; this module says what an entry is and
//! runs it (`driver.rs`). What happens once per loop or per connection is in
//! Python, in the subclass `ferrio.EventLoop`.

mod callbacks;
mod counting;
mod driver;
mod entry;
mod file_watch;
mod offload;
mod overrides;
mod python;
mod recorder;
mod socket_calls;
mod sources;
mod spin;
mod tasks;
mod watched_files;

use std::cell::{Cell, RefCell};
use std::ffi::{CStr, c_int};
use std::sync::Arc;

pub(crate) use entry::Entry;
use ferrio_core::{Instant, TimerKey};
use ferrio_inspect::LoopRecord;
use ferrio_inspect::counters::Traffic;
use overrides::Overrides;
pub(crate) use python::{adopt_methods, build};
pub(crate) use socket_calls::SocketCall;
pub(crate) use sources::Side;
use sources::Sources;
use spin::Spin;
use watched_files::WatchedFiles;

use crate::ffi::{
    Context, Linked, LinkedList, Links, Native, Object, ObjectCell, Outcome, Own, Raised,
    ReplacedValue, Slot, Stepped, This, TypeObject, Visitor, thread_id, unlink,
};
use crate::handle::Handle;
use crate::imports::imports;
use crate::task::are_steps_measured;
use crate::thread_pool::{Shared, ThreadPool};
use crate::transport::{AnyTransport, Gathering};

/// The native part of an event loop.
///
/// Only the owner thread touches it while the loop runs, but for
/// `call_soon_threadsafe`, which goes through the core's inject queue.
#[repr(C)]
pub(crate) struct EventLoop {
    dict: ObjectCell,
    weak_references: ObjectCell,
    core: ferrio_core::EventLoop<Entry>,
    /// Its place among the loops of the process.
    links: Links,
    /// What native threads see of the loop.
    pub(crate) record: Arc<LoopRecord>,
    /// Also set when the loop is another process's.
    closed: Cell<bool>,
    /// The process that made the loop, once this process is a child that it has forked.
    owner_process: Cell<Option<i64>>,
    debug: Cell<bool>,
    /// See [`EventLoop::is_plain`]; kept up to date by whatever it depends on.
    plain: Cell<bool>,
    overrides: Overrides,
    /// The thread that runs the loop, while it runs.
    thread: Cell<Option<u64>>,
    /// Whether turns are being run: from then on nothing that waits in the queue is garbage.
    in_turns: Cell<bool>,
    /// Whether a certain deadlock is raised in the task that closes it.
    strict: Cell<bool>,
    /// Whether somebody will look, within a second, for tasks that only each other could wake.
    look_due: Cell<bool>,
    /// How many of the timers are ours, which look for deadlocks.
    own_timers: Cell<usize>,
    /// The one task that every turn has ended with for some time.
    spin: Spin,
    /// Whether a timer was set in these turns: it may be one that the garbage collector was not
    /// shown.
    untracked_timers: Cell<bool>,
    /// An empty context for the next callback that needs one.
    spare_context: ObjectCell,
    task_factory: ObjectCell,
    /// Seconds; longer callbacks are reported in debug mode.
    slow_callback_duration: ObjectCell,
    /// Whether `asyncio.current_task` was told of a task that has not been taken back.
    task_entered: Cell<bool>,
    /// Where that is told up to 3.13: the loop's entry in `asyncio.tasks._current_tasks`.
    current_task: ReplacedValue,
    /// The task that a turn is stepping.
    pub(crate) stepped: Stepped,
    sources: RefCell<Sources>,
    watched_files: RefCell<WatchedFiles>,
    /// The handle being run, in debug mode.
    current_handle: Slot<Own<Handle>>,
    /// That of the default executor, once it is made and while it takes jobs.
    thread_pool: Slot<Own<ThreadPool>>,
    /// A pool with jobs that its threads have not been told of.
    unannounced: Cell<Option<Arc<Shared>>>,
    /// What transports share: the receive buffer and the writes that the turn gathers.
    pub(crate) gathering: Gathering,
}

static TYPE: TypeObject = TypeObject::new();

/// The loops of the process that were initialised and live.
static LOOPS: LinkedList<EventLoop> = LinkedList::new();

// SAFETY: `TYPE` is built for `EventLoop` in `python::build`; the offsets are those of fields
// that only CPython touches.
unsafe impl Native for EventLoop {
    const NAME: &'static CStr = c"ferrio._ferrio.EventLoop";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(EventLoop, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(EventLoop, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<EventLoop> {
        let options = ferrio_core::Options {
            poll_every_turn: is_set("FERRIO_POLL_EVERY_TURN"),
            ..ferrio_core::Options::new()?
        };
        Ok(EventLoop {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            core: ferrio_core::EventLoop::new(options)?,
            links: Links::new(),
            record: ferrio_inspect::add_loop(),
            closed: Cell::new(false),
            owner_process: Cell::new(None),
            debug: Cell::new(false),
            plain: Cell::new(true),
            overrides: Overrides::default(),
            thread: Cell::new(None),
            in_turns: Cell::new(false),
            strict: Cell::new(is_set("FERRIO_STRICT")),
            look_due: Cell::new(false),
            own_timers: Cell::new(0),
            spin: Spin::default(),
            untracked_timers: Cell::new(false),
            spare_context: ObjectCell::new(),
            task_factory: ObjectCell::new(),
            slow_callback_duration: ObjectCell::with(Object::from_f64(0.1)?),
            task_entered: Cell::new(false),
            current_task: ReplacedValue::new(),
            stepped: Stepped::new(),
            sources: RefCell::new(Sources::default()),
            watched_files: RefCell::new(WatchedFiles::default()),
            current_handle: Slot::new(),
            thread_pool: Slot::new(),
            unannounced: Cell::new(None),
            gathering: Gathering::default(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        let mut answer = Ok(());
        let mut look = |entry: &Entry| {
            if answer.is_ok() {
                answer = entry.visit(visitor);
            }
        };
        self.core.for_each_ready(&mut look);
        self.core.for_each_timer(&mut look);
        answer?;
        self.task_factory.visit(visitor)?;
        self.spare_context.visit(visitor)?;
        self.current_handle.visit(visitor)?;
        self.thread_pool.visit(visitor)?;
        self.gathering.visit(visitor)?;
        // Borrowed only while the table is being changed, when nothing of it is garbage.
        if let Ok(files) = self.watched_files.try_borrow() {
            files.visit(visitor)?;
        }
        match self.sources.try_borrow() {
            Ok(sources) => sources.visit(visitor),
            Err(_) => Ok(()),
        }
    }

    fn clear(&self) {
        drop(self.core.close());
        drop(self.sources.take());
        drop(self.watched_files.take());
        self.gathering.clear();
        self.task_factory.clear();
        self.spare_context.clear();
        self.thread_pool.clear();
    }

    fn detach(&self) {
        unlink(self);
    }
}

// SAFETY: the offset of the field.
unsafe impl Linked for EventLoop {
    const OFFSET: usize = std::mem::offset_of!(EventLoop, links);

    fn links(&self) -> &Links {
        &self.links
    }
}

/// The loops of the process, in order of creation.
pub(crate) fn event_loops() -> Vec<Own<EventLoop>> {
    LOOPS.snapshot()
}

impl EventLoop {
    /// Whether what is scheduled may go straight to the ready queue: the loop is open, not in
    /// debug mode, and nobody has put a `call_soon` of his own in place.
    #[inline]
    pub(crate) fn is_plain(&self) -> bool {
        self.plain.get()
    }

    /// An empty context for what is called now.
    #[inline]
    pub(crate) fn lend_context(&self) -> Outcome<Object> {
        match self.spare_context.take() {
            Some(spare) => Ok(spare),
            None => Context::empty(),
        }
    }

    /// Has a lent context back, unless a variable was set in it or somebody holds it: then it is
    /// returned.
    #[inline]
    pub(crate) fn take_context_back(&self, lent: Object) -> Outcome<Option<Object>> {
        if lent.is_shared() || !Context::is_empty(&lent)? {
            return Ok(Some(lent));
        }
        self.spare_context.set(lent);
        Ok(None)
    }

    #[inline]
    pub(crate) fn is_debug(&self) -> bool {
        self.debug.get()
    }

    #[inline]
    pub(crate) fn is_running(&self) -> bool {
        self.thread.get().is_some()
    }

    /// Whether it is in the middle of [`This::run_turns`].
    #[inline]
    pub(crate) fn is_in_turns(&self) -> bool {
        self.in_turns.get()
    }

    /// Whether `stop()` was called: this turn is the last one.
    #[inline]
    pub(crate) fn is_stopping(&self) -> bool {
        self.core.is_stopping()
    }

    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Where what its sockets receive and send is counted.
    #[inline]
    pub(crate) fn traffic(&self) -> &Traffic {
        &self.record.counters.traffic
    }

    /// Puts an entry at the end of the ready queue.
    #[inline]
    pub(crate) fn push(&self, entry: Entry) {
        if are_steps_measured()
            && let Entry::Step(task) | Entry::Wake(task) = &entry
        {
            task.origin.is_ready_now();
        }
        self.core.push_ready(entry);
    }

    /// Takes a timer out of the heap and drops it.
    #[inline]
    pub(crate) fn forget_timer(&self, key: TimerKey) {
        drop(self.core.cancel_timer(key));
    }

    /// Whether the timer still stands in the heap.
    pub(crate) fn has_timer(&self, key: TimerKey) -> bool {
        self.core.has_timer(key)
    }

    /// Tells the core that something was written or read, so that it looks for events soon.
    #[inline]
    pub(crate) fn note_io(&self) {
        self.core.note_io();
    }

    /// This moment on the monotonic clock, to a turn's precision while the loop runs.
    #[inline]
    pub(crate) fn moment(&self) -> Instant {
        if self.in_turns.get() {
            self.core.turn_moment()
        } else {
            ferrio_core::monotonic_now()
        }
    }

    /// How many timers of the program's there are.
    #[inline]
    pub(crate) fn timer_count(&self) -> usize {
        self.core
            .timer_count()
            .saturating_sub(self.own_timers.get())
    }

    /// How many entries are ready and how many timers wait, without those that only look for
    /// deadlocks.
    pub(crate) fn queue_lengths(&self) -> (usize, usize) {
        (self.core.ready_len(), self.timer_count())
    }

    /// Shows every entry of the ready queue, in order; `look` must not use the loop.
    pub(crate) fn for_each_ready(&self, look: impl FnMut(&Entry)) {
        self.core.for_each_ready(look);
    }

    /// Shows every timer's entry, in no particular order; `look` must not use the loop.
    pub(crate) fn for_each_timer(&self, look: impl FnMut(&Entry)) {
        self.core.for_each_timer(look);
    }

    /// Whether a certain deadlock is raised in the task that closes it.
    pub(crate) fn is_strict(&self) -> bool {
        self.strict.get()
    }

    /// Whether no timer, descriptor or call in a thread will ever give it anything to do.
    pub(crate) fn waits_for_nothing(&self) -> bool {
        let (ready, timers) = self.queue_lengths();
        ready == 0 && timers == 0 && self.sources.borrow().is_empty()
    }

    /// Whether other threads have handed in something that is still to be collected.
    pub(crate) fn is_handed_something(&self) -> bool {
        self.core.is_handed_something()
    }

    /// Whether the next timer may be one that only looks for deadlocks.
    #[inline]
    pub(crate) fn has_own_timer(&self) -> bool {
        self.own_timers.get() > 0
    }

    /// The transports over sockets, watched or not.
    pub(crate) fn transports(&self) -> Outcome<Vec<AnyTransport>> {
        self.gathering.transports()
    }

    /// The callbacks of `add_reader` and `add_writer`: the descriptor, whether it is to be read,
    /// and the handle.
    pub(crate) fn descriptor_callbacks(&self) -> Vec<(i32, bool, Own<Handle>)> {
        self.sources.borrow().callbacks()
    }

    /// Whether somebody else makes the loop's tasks.
    #[inline]
    pub(crate) fn has_task_factory(&self) -> bool {
        self.task_factory.is_some()
    }

    /// Raises RuntimeError when the loop is closed.
    #[inline]
    pub(crate) fn check_closed(&self) -> Outcome<()> {
        if self.closed.get() {
            self.check_owner()?;
            return Err(Raised::runtime_error("Event loop is closed"));
        }
        Ok(())
    }

    /// Raises RuntimeError when the loop is that of the process this one was forked from.
    #[inline]
    pub(crate) fn check_owner(&self) -> Outcome<()> {
        match self.owner_process.get() {
            None => Ok(()),
            Some(process) => Err(not_ours(process)),
        }
    }

    /// The process has forked, and this is the child: see `ferrio.forking`.
    fn disown(&self, process: i64) {
        if self.closed.replace(true) {
            return;
        }
        self.owner_process.set(Some(process));
        self.thread.set(None);
        self.unannounced.take();
        self.core.abandon();
        self.update_plain();
    }

    /// Debug mode's check: the caller must be the thread that runs the loop.
    fn check_thread(&self) -> Outcome<()> {
        match self.thread.get() {
            Some(owner) if owner != thread_id() => Err(Raised::runtime_error(
                "Non-thread-safe operation invoked on an event loop other than the current one",
            )),
            _ => Ok(()),
        }
    }

    fn update_plain(&self) {
        self.plain
            .set(!self.closed.get() && !self.debug.get() && !self.overrides.call_soon());
    }

    fn set_debug(&self, debug: bool) {
        self.debug.set(debug);
        self.update_plain();
    }
}

impl This<'_, EventLoop> {
    /// `loop.call_exception_handler(context)`, by name, so that an override is honoured.
    pub(crate) fn call_exception_handler(self, context: &Object) -> Outcome<()> {
        self.object()
            .call_method(&imports().names.call_exception_handler, &[context])
            .map(drop)
    }

    /// Loop time, from an overridden `time()` if there is one.
    fn now(self, clock: Instant) -> Outcome<Instant> {
        if !self.overrides.time() {
            return Ok(clock);
        }
        self.leave_task()?;
        let seconds = self
            .object()
            .call_method(&imports().names.time, &[])?
            .to_f64()?;
        Ok(Instant::from_secs_f64(seconds))
    }

    /// Makes `task` the current one of this loop, until another or [`EventLoop::leave_task`].
    ///
    /// The entry is not taken back after the step, nor at the end of a turn: the next step
    /// replaces it, and whatever else runs, or looks, takes it back first.
    #[inline]
    pub(crate) fn enter_task(self, task: This<'_, crate::task::Task>) -> Outcome<()> {
        let Some(current) = &imports().current_tasks else {
            // 3.14 keeps the current task in the thread's state, behind asyncio's functions.
            // Swapping replaces the last step's task in the one call.
            crate::task::make_current(&self.object(), Some(&task.object()))?;
            self.task_entered.set(true);
            return Ok(());
        };
        self.value()
            .current_task
            .set(current, &self.object(), &task.object())?;
        self.task_entered.set(true);
        Ok(())
    }

    /// Takes the current task back.
    #[inline]
    pub(crate) fn leave_task(self) -> Outcome<()> {
        if !self.task_entered.replace(false) {
            return Ok(());
        }
        let imports = imports();
        match &imports.current_tasks {
            Some(current) => current.dict_remove(&self.object()),
            None => crate::task::make_current(&self.object(), None),
        }
    }

    /// Frees everything that the loop holds; the loop cannot run any more.
    fn close(self) {
        if self.closed.replace(true) {
            return;
        }
        self.update_plain();
        // Dropping may run the user's finalizers: nothing is borrowed meanwhile.
        drop(self.core.close());
        drop(self.sources.take());
        drop(self.watched_files.take());
        self.gathering.clear();
        self.task_factory.clear();
        self.spare_context.clear();
        self.thread_pool.clear();
    }

    /// The transport that owns the descriptor, whether or not it is watched.
    fn transport_of(self, fd: i32) -> Outcome<Option<AnyTransport>> {
        self.gathering.descriptor_owner(fd)
    }

    /// The transport for which the descriptor is watched.
    pub(crate) fn watcher_of(self, fd: i32) -> Option<AnyTransport> {
        self.sources.borrow().transport(fd)
    }
}

/// Whether a variable of the environment is 1.
fn is_set(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value == "1")
}

#[cold]
fn not_ours(process: i64) -> Raised {
    Raised::runtime_error(&format!("this event loop belongs to process {process}"))
}
