//! The snapshot itself.

use std::collections::HashSet;

use ferrio_core::monotonic_now;
use ferrio_inspect::snapshot::{Loop, Owner, Running, Site, Snapshot, Task as TaskView, TaskState};
use ferrio_inspect::{Doing, site};

use super::chain::Chain;
use super::waits::wait_of;
use crate::event_loop::{Entry, EventLoop, event_loops};
use crate::ffi::{Object, Outcome, Own, Spot, This, running_spots, text};
use crate::imports::module;
use crate::task::{Task, is_registry_on, site_in};

/// All loops of the process with their tasks, at this moment.
///
/// Any thread that holds the interpreter may call it. It runs the representations of what tasks
/// wait for, and of foreign tasks, and nothing else that is not ours.
///
/// # Errors
/// What looking at the loops raises: MemoryError, say. A task that cannot be looked at is left out.
pub(crate) fn collect_snapshot() -> Outcome<Snapshot> {
    let now = monotonic_now().as_secs_f64();
    let mut loops = Vec::new();
    for event_loop in event_loops() {
        if !event_loop.is_closed() {
            loops.push(view_of_loop(&event_loop)?);
        }
    }
    loops.sort_by_key(|each| (each.thread.is_none(), each.id));
    let system = module(c"sys")?;
    let command = system.get_attr(&text("orig_argv")?)?.items()?;
    let (major, minor, patch) = crate::ffi::python_version();
    Ok(Snapshot {
        process: std::process::id(),
        command: command
            .iter()
            .map(Object::to_text)
            .collect::<Outcome<_>>()?,
        python: format!("{major}.{minor}.{patch}"),
        ferrio: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at: now,
        tasks_at: now,
        loops,
    })
}

fn view_of_loop(event_loop: &Own<EventLoop>) -> Outcome<Loop> {
    let record = &event_loop.record;
    let tasks = tasks_of(event_loop)?;
    let (doing, address) = record.heartbeat.doing();
    let running = tasks
        .iter()
        .find(|task| doing == Doing::Step && task.address().addr() == address);
    let (ready, timers) = event_loop.queue_lengths();
    let queued = queued_tasks(event_loop);
    let state = record.heartbeat.thread().map_or(0, |(_, state)| state);
    Ok(Loop {
        id: record.id(),
        thread: record.heartbeat.thread().map(|(thread, _)| thread),
        running: match (doing, running) {
            (Doing::Nothing, _) => Running::Stopped,
            (Doing::Step, Some(task)) => Running::Step {
                task: task.origin.id(),
                since: None,
            },
            (Doing::Waiting | Doing::Turn, _) => Running::Waiting,
            _ => Running::Callback {
                name: None,
                since: None,
            },
        },
        turns: record.heartbeat.turns(),
        ready,
        timers,
        tasks: tasks
            .iter()
            .map(|task| {
                let is_running = running.is_some_and(|running| running.address() == task.address());
                let state = is_running.then_some(state);
                view_of_task(task, state, queued.contains(&task.address().addr()))
            })
            .collect::<Outcome<_>>()?,
        resources: Vec::new(),
    })
}

/// Our tasks of a loop that are not done, in order of creation.
fn tasks_of(event_loop: &Own<EventLoop>) -> Outcome<Vec<Own<Task>>> {
    let all = module(c"asyncio")?
        .get_attr(&text("all_tasks")?)?
        .call1(&event_loop.this().object())?
        .items()?;
    let mut tasks: Vec<Own<Task>> = all
        .iter()
        .filter_map(|task| This::<Task>::from_object(task).map(This::own))
        .collect();
    tasks.sort_by_key(|task| task.origin.id());
    Ok(tasks)
}

/// The addresses of the tasks that stand in the ready queue.
fn queued_tasks(event_loop: &Own<EventLoop>) -> HashSet<usize> {
    let mut queued = HashSet::new();
    event_loop.for_each_ready(|entry| {
        if let Entry::Step(task) | Entry::Wake(task) = entry {
            queued.insert(task.address().addr());
        }
    });
    queued
}

/// `running` is the state of the thread that makes a step of the task at this moment.
fn view_of_task(task: &Own<Task>, running: Option<usize>, queued: bool) -> Outcome<TaskView> {
    let coroutine = task.coroutine.get();
    let origin = &task.origin;
    let awaited = task.awaited();
    let mut wait = None;
    let mut spots = Vec::new();
    let state = if let Some(state) = running {
        if let Some(coroutine) = &coroutine {
            spots = running_spots(state, coroutine);
            spots.reverse();
        }
        TaskState::Running
    } else {
        if let Some(coroutine) = &coroutine {
            let chain = Chain::of(coroutine);
            if let Some(awaited) = awaited.as_ref().filter(|_| !queued) {
                wait = Some(wait_of(task, &chain, awaited));
            }
            spots = chain.spots;
        }
        if wait.is_some() {
            TaskState::Waiting
        } else {
            TaskState::Ready
        }
    };
    let stack = stack_of(&spots)?;
    if let Some(wait) = &mut wait {
        wait.site = wait.site.take().or_else(|| stack.last().cloned());
    }
    let is_registered = is_registry_on();
    let times = origin.times();
    Ok(TaskView {
        id: origin.id(),
        name: task.this().name()?.to_text()?,
        coroutine: coroutine_name(task, coroutine.as_ref())?,
        created: site(origin.site()),
        created_at: origin.created(),
        parent: origin.parent(),
        owner: if is_registered {
            task.this().owner()
        } else {
            Owner::User
        },
        state,
        wait,
        stack,
        steps: is_registered.then(|| origin.steps()),
        cpu: times.map(|times| nanoseconds(times.cpu)),
        longest_step: times.map(|times| nanoseconds(times.longest)),
        cancelling: task.this().cancel_requests().unsigned_abs(),
        foreign: false,
    })
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a float of seconds is what is wanted"
)]
fn nanoseconds(count: u64) -> f64 {
    count as f64 / 1e9
}

fn coroutine_name(task: &Own<Task>, coroutine: Option<&Object>) -> Outcome<String> {
    if let Some(record) = task.origin.coroutine() {
        return Ok(record.name().to_owned());
    }
    let Some(coroutine) = coroutine else {
        return Ok(String::new());
    };
    match coroutine.find_attr(&text("__qualname__")?)? {
        Some(name) => name.to_text(),
        None => coroutine.type_name()?.to_text(),
    }
}

fn stack_of(spots: &[Spot]) -> Outcome<Vec<Site>> {
    spots
        .iter()
        .map(|spot| site_in(&spot.code, spot.instruction))
        .collect()
}
