//! The process itself as what views are made from.
//!
//! What the interpreter is needed for is collected by the thread that waits for it, and kept. Who
//! looks waits a moment for it and is given the last that there is, with everything around it
//! that needs nobody's help as it is now. Several who look at the same time share one collection.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use ferrio_inspect::clock::now;
use ferrio_inspect::metrics::{CoroutineMetrics, InterpreterMetrics};
use ferrio_inspect::snapshot::{Loop, Running, Snapshot};
use ferrio_inspect::{Doing, LoopRecord, Metrics, Source, coroutine_records, loops};

use super::collect::collect_snapshot;
use super::interpreter_thread;
use crate::event_loop::event_loops;
use crate::ffi::{Object, Outcome, This, none, text};
use crate::imports::module;
use crate::task::Task;

/// To look at every task takes some microseconds each, with the interpreter held. That is not done
/// for numbers alone where there are more.
const MOST_COUNTED: u64 = 5_000;

/// This process.
pub(crate) struct Process(());

/// What was collected last, and whether somebody is at it.
#[derive(Default)]
struct Kept {
    last: Option<Arc<Collected>>,
    /// Counts the collections.
    number: u64,
    is_asked_for: bool,
}

struct Collected {
    snapshot: Snapshot,
    /// The tasks' numbers by their addresses, for a loop that is at one when nobody can ask.
    numbers: HashMap<usize, u64>,
    /// The loops' beats before it, by their numbers.
    beats: HashMap<u64, u64>,
}

static KEPT: Mutex<Kept> = Mutex::new(Kept {
    last: None,
    number: 0,
    is_asked_for: false,
});
static CHANGED: Condvar = Condvar::new();

/// When a loop was first seen at what it is at: by its number, with the beat.
static SEEN: Mutex<Option<HashMap<u64, (u64, f64)>>> = Mutex::new(None);

fn kept() -> MutexGuard<'static, Kept> {
    // A panic elsewhere leaves behind what was whole.
    KEPT.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Process {
    /// The process as a source, with the thread that it needs. The caller holds the interpreter.
    ///
    /// # Errors
    /// What the kernel says when there can be no thread.
    pub(crate) fn start() -> io::Result<Process> {
        interpreter_thread::start()?;
        Ok(Process(()))
    }
}

impl Source for Process {
    fn snapshot(&self, patience: Duration) -> Snapshot {
        match collect(patience) {
            Some(collected) => refreshed(&collected),
            None => of_loops_alone(),
        }
    }

    fn fresh_metrics(&self, patience: Duration) -> Metrics {
        let alive: u64 = coroutine_records()
            .iter()
            .map(|record| record.created().saturating_sub(record.done()))
            .sum();
        if alive <= MOST_COUNTED {
            collect(patience);
        }
        self.metrics()
    }

    fn metrics(&self) -> Metrics {
        let last = kept().last.clone();
        metrics(last.map(|last| InterpreterMetrics::of(&last.snapshot)))
    }
}

/// The numbers, for a thread that holds the interpreter; `with_tasks` looks at every task.
///
/// # Errors
/// As [`collect_snapshot`].
pub(super) fn metrics_here(with_tasks: bool) -> Outcome<Metrics> {
    let interpreter = if with_tasks {
        Some(InterpreterMetrics::of(&collect_snapshot()?))
    } else {
        None
    };
    Ok(metrics(interpreter))
}

/// This is the child of a fork: what was kept is the parent's.
pub(super) fn forget() {
    *kept() = Kept::default();
}

fn metrics(interpreter: Option<InterpreterMetrics>) -> Metrics {
    let coroutines = coroutine_records()
        .into_iter()
        .map(CoroutineMetrics::of)
        .collect();
    Metrics {
        coroutines: Some(coroutines),
        interpreter,
        ..Metrics::of_loops()
    }
}

/// Has everything collected, and waits for it; gives the last there is when that takes too long.
fn collect(patience: Duration) -> Option<Arc<Collected>> {
    /// Whoever waits is told, also when the job is dropped.
    struct Asked;
    impl Drop for Asked {
        fn drop(&mut self) {
            kept().is_asked_for = false;
            CHANGED.notify_all();
        }
    }
    let deadline = Instant::now() + patience;
    let mut state = kept();
    let number = state.number;
    if !state.is_asked_for {
        state.is_asked_for = true;
        drop(state);
        let asked = Asked;
        // When too many jobs wait it is dropped, and with it what says that it was asked for.
        interpreter_thread::with_interpreter(move || {
            collect_here();
            drop(asked);
        });
        state = kept();
    }
    while state.number == number && state.is_asked_for {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        state = CHANGED
            .wait_timeout(state, left)
            .unwrap_or_else(PoisonError::into_inner)
            .0;
    }
    state.last.clone()
}

/// Collects, with the interpreter held.
fn collect_here() {
    let beats = loops()
        .iter()
        .map(|record| (record.id(), record.heartbeat.beat()))
        .collect();
    match collect_snapshot().and_then(|snapshot| {
        Ok(Collected {
            snapshot,
            numbers: task_numbers()?,
            beats,
        })
    }) {
        Ok(collected) => {
            let mut state = kept();
            state.last = Some(Arc::new(collected));
            state.number += 1;
        }
        // Nobody is there to catch it; the views show how old is what they have.
        Err(raised) => raised.report_unraisable(&none()),
    }
}

fn task_numbers() -> Outcome<HashMap<usize, u64>> {
    let all_tasks = module(c"asyncio")?.get_attr(&text("all_tasks")?)?;
    let mut numbers = HashMap::new();
    for event_loop in event_loops() {
        if event_loop.is_closed() {
            continue;
        }
        let tasks = all_tasks.call1(&event_loop.this().object())?.items()?;
        let ours = tasks
            .iter()
            .filter_map(|task: &Object| This::<Task>::from_object(task));
        numbers.extend(ours.map(|task| (task.as_ptr().addr(), task.origin.id())));
    }
    Ok(numbers)
}

/// What was collected, with everything as it is now that can be known without the interpreter.
fn refreshed(collected: &Collected) -> Snapshot {
    let mut snapshot = collected.snapshot.clone();
    snapshot.taken_at = now();
    snapshot.loops = loops_with(&snapshot.loops, &collected.numbers);
    for now in &mut snapshot.loops {
        let before = collected
            .snapshot
            .loops
            .iter()
            .find(|each| each.id == now.id);
        let is_at_the_same = loops().iter().any(|record| {
            record.id() == now.id && collected.beats.get(&now.id) == Some(&record.heartbeat.beat())
        });
        if let Some(before) = before.filter(|_| is_at_the_same) {
            // Then more was known of it, and since when.
            now.running = before.running.clone();
        }
    }
    snapshot
}

/// Nothing was ever collected.
fn of_loops_alone() -> Snapshot {
    Snapshot {
        process: std::process::id(),
        command: Vec::new(),
        python: String::new(),
        ferrio: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at: now(),
        tasks_at: 0.0,
        loops: loops_with(&[], &HashMap::new()),
        queues: Vec::new(),
    }
}

/// The loops as they are now, with the tasks that were known; those that run first.
fn loops_with(known: &[Loop], numbers: &HashMap<usize, u64>) -> Vec<Loop> {
    let mut seen = SEEN.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = seen.get_or_insert_default();
    let records = loops();
    seen.retain(|id, _| records.iter().any(|record| record.id() == *id));
    let mut all: Vec<Loop> = records
        .iter()
        .filter_map(|record| {
            let known = known.iter().find(|each| each.id == record.id());
            let thread = record.heartbeat.thread().map(|(thread, _)| thread);
            if known.is_none() && thread.is_none() {
                // Closed, or not used yet.
                return None;
            }
            let metrics = ferrio_inspect::metrics::LoopMetrics::of(record);
            Some(Loop {
                id: record.id(),
                thread,
                running: running(record, numbers, seen),
                turns: metrics.turns,
                ready: usize::try_from(metrics.ready).unwrap_or(usize::MAX),
                timers: usize::try_from(metrics.timers).unwrap_or(usize::MAX),
                tasks: known.map_or_else(Vec::new, |each| each.tasks.clone()),
                resources: known.map_or_else(Vec::new, |each| each.resources.clone()),
            })
        })
        .collect();
    all.sort_by_key(|each| (each.thread.is_none(), each.id));
    all
}

/// What a loop is at, and since when: since it was first seen at it.
fn running(
    record: &LoopRecord,
    numbers: &HashMap<usize, u64>,
    seen: &mut HashMap<u64, (u64, f64)>,
) -> Running {
    let heartbeat = &record.heartbeat;
    let (beat, (doing, object)) = (heartbeat.beat(), heartbeat.doing());
    let entry = seen.entry(record.id()).or_insert_with(|| (beat, now()));
    if entry.0 != beat {
        *entry = (beat, now());
    }
    let since = Some(entry.1);
    match (doing, numbers.get(&object)) {
        (Doing::Nothing, _) => Running::Stopped,
        (Doing::Waiting, _) => Running::Waiting,
        (Doing::Step, Some(&task)) => Running::Step { task, since },
        _ => Running::Callback { name: None, since },
    }
}
