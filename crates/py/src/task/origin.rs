//! What a task remembers of where it comes from, and what it counts: the registry.
//!
//! It is always on unless `FERRIO_REGISTRY=0` was in the environment when ferrio was imported, so
//! nothing here makes an object, reads a clock or looks a name up when a task is made: the place
//! is the address of an instruction, looked up in a table that knows what it means, and the
//! moment is the turn's.

use std::cell::Cell;
use std::mem::offset_of;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use ferrio_core::Instant;
use ferrio_inspect::{CoroutineRecord, SiteId, coroutine_record};

use rustix::time::{ClockId, Timespec, clock_gettime};

use super::Task;
use super::places::{Maker, OWNERS, creator_of, current_site};
use crate::event_loop::EventLoop;
use crate::ffi::{
    Guarded, Instance, Object, Outcome, This, code_address, code_of, none, stepped, text,
};

/// The registry's part of a task: 64 bytes.
pub(crate) struct Origin {
    /// Counts the process's tasks, from 1; 0 without the registry.
    id: Cell<u64>,
    /// The task that was being stepped when it was made, or 0.
    parent: Cell<u64>,
    /// The task of the group, or the one that called the combinator; 0 if there is none.
    owner_task: Cell<u64>,
    /// Nanoseconds of the monotonic clock; 0 for unknown.
    created: Cell<i64>,
    /// When it began to wait, likewise.
    since: Cell<i64>,
    coroutine: Cell<Option<&'static CoroutineRecord>>,
    /// The place where it was made in the lowest [`SITE_BITS`], above them the number of steps.
    site_and_steps: Cell<u64>,
    /// What its steps cost, where that is measured.
    times: Cell<Option<Box<Times>>>,
}

const _: () = assert!(size_of::<Origin>() <= 64);

const SITE_BITS: u32 = 16;
const ONE_STEP: u64 = 1 << SITE_BITS;
const _: () = assert!(SiteId::BOUND <= 1 << SITE_BITS);

/// What a task's steps have taken, in nanoseconds.
#[derive(Clone, Copy, Default)]
pub(crate) struct Times {
    /// Of the thread's CPU time, all of them together.
    pub(crate) cpu: u64,
    /// From its beginning to its end, the longest.
    pub(crate) longest: u64,
    /// When it was put into the ready queue for the step to come, in nanoseconds of the monotonic
    /// clock; 0 for unknown.
    ready_at: i64,
}

static MEASURES_STEPS: AtomicBool = AtomicBool::new(false);

/// Has the steps of all tasks measured from now on, or not any more.
pub(crate) fn measure_steps(measured: bool) {
    MEASURES_STEPS.store(measured, Ordering::Relaxed);
}

/// Whether the steps of all tasks are measured.
#[inline]
pub(crate) fn are_steps_measured() -> bool {
    MEASURES_STEPS.load(Ordering::Relaxed)
}

/// The clocks at the beginning of a step.
pub(super) struct StepClock {
    cpu: Timespec,
    moment: Instant,
}

impl StepClock {
    pub(super) fn start() -> StepClock {
        StepClock {
            cpu: clock_gettime(ClockId::ThreadCPUTime),
            moment: ferrio_core::monotonic_now(),
        }
    }

    /// How long the task was ready.
    fn delay(&self, ready_at: i64) -> u64 {
        let delay = self.moment.as_nanos() - ready_at;
        if ready_at == 0 {
            0
        } else {
            delay.max(0).unsigned_abs()
        }
    }

    pub(super) fn stop(&self, origin: &Origin) {
        let used = nanoseconds(&clock_gettime(ClockId::ThreadCPUTime)) - nanoseconds(&self.cpu);
        let passed = ferrio_core::monotonic_now().as_nanos() - self.moment.as_nanos();
        let used = used.max(0).unsigned_abs();
        let mut times = origin.times.take().unwrap_or_default();
        times.cpu = times.cpu.saturating_add(used);
        times.longest = times.longest.max(passed.max(0).unsigned_abs());
        let ready_at = std::mem::take(&mut times.ready_at);
        origin.times.set(Some(times));
        if let Some(record) = origin.coroutine.get() {
            record.count_times(used, self.delay(ready_at));
        }
    }
}

fn nanoseconds(time: &Timespec) -> i64 {
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}

/// Where the registry's fields are within a task, from the start of the object, for whoever looks
/// at one from outside. Words of 8 bytes.
pub(crate) mod offsets {
    use super::{Instance, Origin, Task, offset_of};
    use crate::future::Future;

    const ORIGIN: usize = Instance::<Task>::VALUE_OFFSET + offset_of!(Task, origin);
    /// The id.
    pub(crate) const ID: usize = ORIGIN + offset_of!(Origin, id);
    /// The site's number in the lowest 16 bits, the steps above.
    pub(crate) const SITE_AND_STEPS: usize = ORIGIN + offset_of!(Origin, site_and_steps);
    /// The address of the coroutine's record, or 0.
    pub(crate) const COROUTINE: usize = ORIGIN + offset_of!(Origin, coroutine);
    /// The id of the task that answers for it, or 0.
    pub(crate) const OWNER_TASK: usize = ORIGIN + offset_of!(Origin, owner_task);
    /// A str (up to 3.13 null and from 3.14 an int for a name that nobody has given or asked for).
    pub(crate) const NAME: usize = Instance::<Task>::VALUE_OFFSET + offset_of!(Task, name);
    /// N of `Task-N`.
    pub(crate) const NUMBER: usize =
        Instance::<Task>::VALUE_OFFSET + offset_of!(Future, task_number);
}

static LAST: AtomicU64 = AtomicU64::new(0);

/// A number for a task; never given twice.
pub(crate) fn next_task_id() -> u64 {
    LAST.fetch_add(1, Ordering::Relaxed) + 1
}

/// Whether tasks are registered.
#[inline]
pub(crate) fn is_registry_on() -> bool {
    static ON: OnceLock<bool> = OnceLock::new();
    *ON.get_or_init(|| std::env::var_os("FERRIO_REGISTRY").is_none_or(|value| value != "0"))
}

impl Origin {
    pub(super) const fn new() -> Origin {
        Origin {
            id: Cell::new(0),
            parent: Cell::new(0),
            owner_task: Cell::new(0),
            created: Cell::new(0),
            since: Cell::new(0),
            coroutine: Cell::new(None),
            site_and_steps: Cell::new(0),
            times: Cell::new(None),
        }
    }

    /// Counts the process's tasks, from 1; 0 without the registry.
    #[inline]
    pub(crate) fn id(&self) -> u64 {
        self.id.get()
    }

    pub(crate) fn parent(&self) -> Option<u64> {
        Some(self.parent.get()).filter(|&id| id != 0)
    }

    pub(crate) fn owner_task(&self) -> Option<u64> {
        Some(self.owner_task.get()).filter(|&id| id != 0)
    }

    /// Seconds of the monotonic clock.
    pub(crate) fn created(&self) -> Option<f64> {
        seconds(self.created.get())
    }

    /// When it began to wait, in seconds of the monotonic clock.
    pub(crate) fn since(&self) -> Option<f64> {
        seconds(self.since.get())
    }

    pub(crate) fn coroutine(&self) -> Option<&'static CoroutineRecord> {
        self.coroutine.get()
    }

    pub(crate) fn site(&self) -> SiteId {
        #[allow(
            clippy::cast_possible_truncation,
            reason = "the lowest bits are wanted"
        )]
        SiteId::from_number(self.site_and_steps.get() as u32 & (SiteId::BOUND - 1))
    }

    pub(crate) fn steps(&self) -> u64 {
        self.site_and_steps.get() >> SITE_BITS
    }

    pub(crate) fn times(&self) -> Option<Times> {
        let times = self.times.take();
        let copy = times.as_deref().copied();
        self.times.set(times);
        copy
    }

    /// The task is put into the ready queue, while steps are measured.
    #[cold]
    pub(crate) fn is_ready_now(&self) {
        if self.id.get() == 0 {
            return;
        }
        let mut times = self.times.take().unwrap_or_default();
        times.ready_at = ferrio_core::monotonic_now().as_nanos();
        self.times.set(Some(times));
    }

    #[inline]
    pub(super) fn count_step(&self) {
        if self.id.get() == 0 {
            return; // Without the registry nothing is counted.
        }
        let count = self.site_and_steps.get();
        self.site_and_steps.set(count.wrapping_add(ONE_STEP));
        if let Some(record) = self.coroutine.get() {
            record.count_step();
        }
    }

    #[inline]
    pub(super) fn waits_from(&self, moment: Instant) {
        if self.id.get() == 0 {
            return;
        }
        self.since.set(moment.as_nanos());
    }

    /// The task is done, or gone.
    #[inline]
    pub(super) fn end(&self) {
        if let Some(record) = self.coroutine.take() {
            record.count_done();
        }
    }
}

fn seconds(nanoseconds: i64) -> Option<f64> {
    (nanoseconds != 0).then(|| Instant::from_nanos(nanoseconds).as_secs_f64())
}

/// Who makes the next task, where that is known to be no Python function.
static MAKER: Guarded<Cell<(Maker, u64)>> = Guarded::new(Cell::new((Maker::Program, 0)));

/// The first task that is made while this lives was made by `maker`, on behalf of a task.
pub(crate) struct Making;

impl Making {
    /// `owner_task` is the id of the task that answers for it; 0 for the one being stepped.
    #[inline]
    pub(crate) fn by(maker: Maker, owner_task: u64) -> Making {
        MAKER.get().set((maker, owner_task));
        Making
    }
}

impl Drop for Making {
    #[inline]
    fn drop(&mut self) {
        MAKER.get().set((Maker::Program, 0));
    }
}

/// The number of the task that this thread is stepping, or 0.
#[inline]
fn stepped_id() -> u64 {
    stepped::<Task>().map_or(0, |task| task.origin.id())
}

/// `(file, line, function)`, or None where nothing is known.
pub(crate) fn site_in_python(site: SiteId) -> Outcome<Object> {
    match ferrio_inspect::site(site) {
        Some(site) => Object::tuple(&[
            &text(&site.file)?,
            &Object::from_i64(site.line.into())?,
            &text(&site.function)?,
        ]),
        None => Ok(none()),
    }
}

/// The line of the program that makes something now, and the number of the task that this thread is
/// stepping, or 0.
///
/// Where no line is being run, because the task is a coroutine of asyncio's or ferrio's, it is the
/// one that has made the task.
pub(crate) fn creation() -> (SiteId, u64) {
    let here = current_site();
    match stepped::<Task>() {
        Some(task) if here == SiteId::NONE => (task.origin.site(), task.origin.id()),
        Some(task) => (here, task.origin.id()),
        None => (here, 0),
    }
}

impl This<'_, Task> {
    /// Writes down where the task comes from; called once it has its coroutine.
    #[inline]
    pub(super) fn register(self, coroutine: &Object, event_loop: Option<This<'_, EventLoop>>) {
        if !is_registry_on() {
            return;
        }
        let origin = &self.value().origin;
        origin.end();
        origin.id.set(next_task_id());
        let stepped = stepped_id();
        origin.parent.set(stepped);
        let (native, owner_task) = MAKER.get().replace((Maker::Program, 0));
        let creator = creator_of(native);
        let maker = if native == Maker::Program {
            creator.maker
        } else {
            native
        };
        origin
            .site_and_steps
            .set(u64::from(creator.site.number()) & (ONE_STEP - 1));
        origin.owner_task.set(match maker {
            Maker::Program | Maker::Runner | Maker::Server => 0,
            _ if owner_task != 0 => owner_task,
            _ => stepped,
        });
        self.value().maker.set(maker);
        let moment = event_loop.map_or(0, |native| native.moment().as_nanos());
        origin.created.set(moment);
        origin.since.set(moment);
        let record = record_of(coroutine);
        record.count_created();
        origin.coroutine.set(Some(record));
    }

    pub(crate) fn maker(self) -> Maker {
        self.value().maker.get()
    }

    /// Who made it.
    pub(crate) fn owner(self) -> ferrio_inspect::snapshot::Owner {
        use ferrio_inspect::snapshot::Owner;
        let task = self.value().origin.owner_task();
        match self.value().maker.get() {
            Maker::Program => Owner::User,
            Maker::Runner => Owner::Runner,
            Maker::Server => Owner::Server,
            Maker::TaskGroup => Owner::TaskGroup { task },
            maker => Owner::Combinator {
                name: maker.name().to_owned(),
                task,
            },
        }
    }
}

/// The record of a coroutine's name.
#[inline]
fn record_of(coroutine: &Object) -> &'static CoroutineRecord {
    let code = code_address(coroutine);
    if code != 0
        && let Some(record) = OWNERS.get().record(code)
    {
        return record;
    }
    new_record(coroutine)
}

#[cold]
fn new_record(coroutine: &Object) -> &'static CoroutineRecord {
    let code = code_of(coroutine);
    let name = match &code {
        Some(code) => name_of(code, "co_qualname"),
        None => name_of(coroutine, "__qualname__"),
    };
    let record = coroutine_record(&name);
    if let Some(code) = code {
        OWNERS.get().keep_record(code, record);
    }
    record
}

/// An attribute that is a name; the type's if there is none.
fn name_of(object: &Object, attribute: &str) -> String {
    let named = text(attribute)
        .and_then(|name| object.find_attr(&name))
        .and_then(|name| name.map_or_else(|| object.type_name(), Ok))
        .and_then(|name| name.to_text());
    match named {
        Ok(name) => name,
        Err(raised) => {
            raised.discard(); // What has no name is still counted.
            "(unknown)".to_owned()
        }
    }
}
