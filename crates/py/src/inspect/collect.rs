//! The snapshot itself.

use std::cell::RefCell;
use std::collections::{HashMap, HashSet};

use ferrio_core::monotonic_now;
use ferrio_inspect::snapshot::{
    Loop, Owner, Resource, Running, Site, Snapshot, Task as TaskView, TaskState,
};
use ferrio_inspect::{Doing, site};

use super::chain::{Link, attribute, chain_of, readable};
use super::ids::{forget_dead, id_of, is_foreign_task};
use super::names::{has_name, name_of};
use super::waits::wait_of;
use crate::combinators::Timeout;
use crate::event_loop::{Entry, EventLoop, event_loops};
use crate::ffi::{Object, Outcome, Own, Spot, This, running_spots, spots_of_thread, text};
use crate::handle::TimerHandle;
use crate::imports::module;
use crate::queue::view_of_queues;
use crate::task::{OWNERS, Task, is_registry_on, site_in};

/// Farther from its innermost frame a callback's own is not looked for.
const DEEPEST: usize = 1_000;

/// The names of more things are not looked for.
const MOST_NAMED: usize = 500;

/// All loops of the process with their tasks, at this moment.
///
/// Any thread that holds the interpreter may call it, whatever the loops are at. It runs the
/// representations of what tasks wait for, and methods of foreign tasks, and nothing else that is
/// not ours.
///
/// # Errors
/// What looking at the loops raises: MemoryError, say.
pub(crate) fn collect_snapshot() -> Outcome<Snapshot> {
    let now = monotonic_now().as_secs_f64();
    forget_dead();
    let mut loops = Vec::new();
    for event_loop in event_loops() {
        if !event_loop.is_closed() {
            loops.push(view_of_loop(&event_loop)?);
        }
    }
    loops.sort_by_key(|each| (each.thread.is_none(), each.id));
    let (major, minor, patch) = crate::ffi::python_version();
    Ok(Snapshot {
        process: std::process::id(),
        command: command()?,
        python: format!("{major}.{minor}.{patch}"),
        ferrio: env!("CARGO_PKG_VERSION").to_owned(),
        taken_at: now,
        tasks_at: now,
        loops,
        queues: view_of_queues()?,
    })
}

/// The command line; empty where an embedding program has none.
fn command() -> Outcome<Vec<String>> {
    let Some(command) = module(c"sys")?.find_attr(&text("orig_argv")?)? else {
        return Ok(Vec::new());
    };
    command.items()?.iter().map(Object::to_text).collect()
}

/// One loop and its tasks.
pub(super) fn view_of_loop(event_loop: &Own<EventLoop>) -> Outcome<Loop> {
    let look = Look::at(event_loop);
    let mut tasks = Vec::new();
    for task in all_tasks(event_loop)? {
        if let Some(native) = This::<Task>::from_object(&task) {
            tasks.push(look.view_of(native)?);
        } else if let Some(view) = look.view_of_foreign(&task) {
            tasks.push(view);
        }
    }
    tasks.sort_by_key(|task| task.id);
    let (ready, timers) = event_loop.queue_lengths();
    let record = &event_loop.record;
    Ok(Loop {
        id: record.id(),
        thread: record.heartbeat.thread().map(|(thread, _)| thread),
        running: look.running(&tasks, event_loop),
        turns: record.heartbeat.turns(),
        ready,
        timers,
        tasks,
        resources: resources_of(event_loop)?,
    })
}

/// The tasks of a loop that are not done.
fn all_tasks(event_loop: &Own<EventLoop>) -> Outcome<Vec<Object>> {
    let event_loop = event_loop.this().object();
    let known = module(c"asyncio")?.get_attr(&text("all_tasks")?)?;
    let mut tasks = known.call1(&event_loop)?.items()?;
    if cfg!(Py_3_14) {
        // There it does not know the tasks of the class in Python, which have a function of their own.
        let of_python = module(c"asyncio.tasks")?.find_attr(&text("_py_all_tasks")?)?;
        if let Some(of_python) = of_python {
            tasks.extend(of_python.call1(&event_loop)?.items()?);
        }
    }
    Ok(tasks)
}

/// What a loop is at, as far as its tasks are concerned.
struct Look {
    doing: Doing,
    /// The address of what is being run.
    object: usize,
    /// The address of the running thread's state.
    thread: usize,
    /// The addresses of the tasks that stand in the ready queue.
    queued: HashSet<usize>,
    /// When a timeout stops a task, by its address, in seconds of loop time.
    deadlines: HashMap<usize, f64>,
    /// What the program calls things that tasks wait for, by their addresses.
    names: RefCell<HashMap<u64, Option<String>>>,
}

impl Look {
    fn at(event_loop: &Own<EventLoop>) -> Look {
        let heartbeat = &event_loop.record.heartbeat;
        let (doing, object) = heartbeat.doing();
        let mut queued = HashSet::new();
        event_loop.for_each_ready(|entry| {
            if let Entry::Step(task) | Entry::Wake(task) = entry {
                queued.insert(task.address().addr());
            }
        });
        Look {
            doing,
            object,
            thread: heartbeat.thread().map_or(0, |(_, state)| state),
            queued,
            deadlines: deadlines_of(event_loop),
            names: RefCell::default(),
        }
    }

    fn running(&self, tasks: &[TaskView], event_loop: &Own<EventLoop>) -> Running {
        // What is run began in the turn that goes on.
        let since = Some(event_loop.moment().as_secs_f64());
        let stepped = tasks.iter().find(|task| task.state == TaskState::Running);
        match (self.doing, stepped) {
            (Doing::Nothing, _) => Running::Stopped,
            (Doing::Waiting | Doing::Turn, _) => Running::Waiting,
            (Doing::Step, Some(task)) => Running::Step {
                task: task.id,
                since,
            },
            _ => Running::Callback {
                name: self.callback_name(),
                since,
            },
        }
    }

    /// The function that the loop has called, and its place; `None` for one that is not Python's.
    fn callback_name(&self) -> Option<String> {
        let spots = spots_of_thread(self.thread, DEEPEST);
        let sites: Vec<Site> = readable(sites(spots.iter()))?;
        let owners = OWNERS.get();
        let called_by_loop = sites.iter().position(|site| {
            site.function.ends_with("run_forever") && owners.is_inside(&site.file)
        })?;
        let called = sites.get(called_by_loop.checked_sub(1)?)?;
        Some(format!(
            "{} ({}:{})",
            called.function, called.file, called.line
        ))
    }

    fn is_running(&self, address: usize) -> bool {
        self.doing == Doing::Step && self.object == address
    }

    fn view_of(&self, task: This<'_, Task>) -> Outcome<TaskView> {
        let address = task.as_ptr().addr();
        let coroutine = task.coroutine.get();
        let origin = &task.value().origin;
        let mut wait = None;
        let mut stack = Vec::new();
        let mut state = TaskState::Ready;
        if self.is_running(address) {
            state = TaskState::Running;
            if let Some(coroutine) = &coroutine {
                let spots = running_spots(self.thread, coroutine);
                let all = if spots.is_empty() {
                    // The step is over, but for what the task is to wait for.
                    let chain = chain_of(coroutine);
                    sites(chain.iter().filter_map(|link| link.spot.as_ref()))?
                } else {
                    sites(spots.iter().rev())?
                };
                stack = without_ours(all);
            }
        } else if let Some(coroutine) = &coroutine {
            let chain = chain_of(coroutine);
            stack = sites(chain.iter().filter_map(|link| link.spot.as_ref()))?;
            wait = task
                .awaited()
                .filter(|_| !self.queued.contains(&address))
                .map(|awaited| self.wait(&chain, &awaited, address, &stack));
            if let Some(wait) = &mut wait {
                wait.since = origin.since();
                state = TaskState::Waiting;
            }
        }
        let is_registered = is_registry_on();
        let times = origin.times();
        Ok(TaskView {
            id: id_of(&task.object()).unwrap_or(0),
            name: task.name()?.to_text()?,
            coroutine: coroutine_name(task, coroutine.as_ref())?,
            created: site(origin.site()),
            created_at: origin.created(),
            parent: origin.parent(),
            owner: task.owner(),
            state,
            wait,
            stack,
            steps: is_registered.then(|| origin.steps()),
            cpu: times.map(|times| seconds(times.cpu)),
            longest_step: times.map(|times| seconds(times.longest)),
            cancelling: task.cancel_requests().unsigned_abs(),
            foreign: false,
        })
    }

    /// A task of the standard library, as far as it can be seen.
    fn view_of_foreign(&self, task: &Object) -> Option<TaskView> {
        if !is_foreign_task(task) {
            return None;
        }
        let address = task.as_ptr().addr();
        let coroutine = called(task, "get_coro");
        let chain = coroutine.as_ref().map(chain_of).unwrap_or_default();
        let stack = readable(sites(chain.iter().filter_map(|link| link.spot.as_ref())))?;
        let awaited = attribute(task, "_fut_waiter").filter(|awaited| !awaited.is_none());
        let wait = awaited.map(|awaited| self.wait(&chain, &awaited, address, &stack));
        let state = if wait.is_some() {
            TaskState::Waiting
        } else {
            TaskState::Ready
        };
        Some(TaskView {
            id: id_of(task)?,
            name: readable(called(task, "get_name")?.to_text())?,
            coroutine: coroutine
                .and_then(|coroutine| attribute(&coroutine, "__qualname__"))
                .and_then(|name| readable(name.to_text()))
                .unwrap_or_default(),
            created: None,
            created_at: None,
            parent: None,
            owner: Owner::User,
            state,
            wait,
            stack,
            steps: None,
            cpu: None,
            longest_step: None,
            cancelling: called(task, "cancelling")
                .and_then(|count| readable(count.to_i64()))
                .and_then(|count| u32::try_from(count).ok())
                .unwrap_or(0),
            foreign: true,
        })
    }

    fn wait(
        &self,
        chain: &[Link],
        awaited: &Object,
        task: usize,
        stack: &[Site],
    ) -> ferrio_inspect::snapshot::Wait {
        let mut wait = wait_of(chain, awaited, self.deadlines.get(&task).copied());
        let owners = OWNERS.get();
        let mut program = stack.iter().rev();
        wait.site = program
            .find(|site| !owners.is_inside(&site.file))
            .or(stack.last())
            .cloned();
        if has_name(wait.kind) {
            wait.name = self.name_of(chain, wait.object);
        }
        wait
    }

    /// What the program calls the thing, as the first task that waits for it does.
    fn name_of(&self, chain: &[Link], object: u64) -> Option<String> {
        let mut names = self.names.borrow_mut();
        if let Some(known) = names.get(&object) {
            return known.clone();
        }
        if names.len() >= MOST_NAMED {
            return None;
        }
        let name = name_of(chain, usize::try_from(object).ok()?);
        names.insert(object, name.clone());
        name
    }
}

/// When a timeout stops a task, by the task's address, in seconds of loop time.
pub(super) fn deadlines_of(event_loop: &Own<EventLoop>) -> HashMap<usize, f64> {
    let mut timeouts = Vec::new();
    event_loop.for_each_timer(|entry| {
        if let Entry::Handle(handle) = entry
            && let Some(receiver) = handle.this().receiver()
        {
            timeouts.push((receiver, handle.clone()));
        }
    });
    let mut deadlines = HashMap::new();
    for (receiver, handle) in timeouts {
        let task = match This::<Timeout>::from_object(&receiver) {
            Some(timeout) => timeout.task_within(),
            None if is_named_timeout(&receiver) => attribute(&receiver, "_task"),
            None => None,
        };
        let handle = handle.into_object();
        let deadline =
            This::<TimerHandle>::from_object(&handle).and_then(This::<TimerHandle>::deadline);
        if let (Some(task), Some(deadline)) = (task, deadline) {
            let earliest = deadlines
                .entry(task.as_ptr().addr())
                .or_insert(f64::INFINITY);
            *earliest = earliest.min(deadline);
        }
    }
    deadlines
}

/// What a loop serves beside tasks.
fn resources_of(event_loop: &Own<EventLoop>) -> Outcome<Vec<Resource>> {
    let mut found = Vec::new();
    for transport in event_loop.transports()? {
        let (bytes, buffered) = transport.figures();
        found.push(Resource {
            kind: transport.kind().to_owned(),
            what: readable(transport.into_object().repr_text()).unwrap_or_default(),
            bytes: Some(bytes),
            buffered: Some(buffered),
        });
    }
    for (fd, reads, handle) in event_loop.descriptor_callbacks() {
        let callback = handle.this().callback();
        let named = callback.and_then(|callback| readable(callback.repr_text()));
        found.push(Resource {
            kind: if reads { "reader" } else { "writer" }.to_owned(),
            what: format!("fd {fd}: {}", named.unwrap_or_default()),
            bytes: None,
            buffered: None,
        });
    }
    // What Python code has made: servers, subprocesses, pipes, signal handlers.
    let others = module(c"ferrio.resources")?
        .get_attr(&text("_shown")?)?
        .call1(&event_loop.this().object())?;
    for other in others.items()? {
        if let [kind, what, bytes, buffered] = other.tuple_items() {
            let number = |bytes: &Object| bytes.to_i64().map(i64::cast_unsigned);
            let bytes = match bytes.tuple_items() {
                [received, sent] => Some((number(received)?, number(sent)?)),
                _ => None,
            };
            let buffered = buffered.some().map(Object::to_i64).transpose()?;
            found.push(Resource {
                kind: kind.to_text()?,
                what: what.to_text()?,
                bytes,
                buffered: buffered.and_then(|bytes| u64::try_from(bytes).ok()),
            });
        }
    }
    Ok(found)
}

/// Whether it may be asyncio's own `Timeout`: other objects are not asked for attributes.
fn is_named_timeout(object: &Object) -> bool {
    readable(object.type_name().and_then(|name| name.to_text()))
        .is_some_and(|name| name == "Timeout")
}

/// `object.name()`.
fn called(object: &Object, name: &str) -> Option<Object> {
    readable(object.call_method(&readable(text(name))?, &[]))
}

#[allow(
    clippy::cast_precision_loss,
    reason = "a float of seconds is what is wanted"
)]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

fn coroutine_name(task: This<'_, Task>, coroutine: Option<&Object>) -> Outcome<String> {
    if let Some(record) = task.value().origin.coroutine() {
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

/// The stack without the innermost frames, as far as they are asyncio's and ferrio's: those of
/// whoever is looking.
fn without_ours(mut stack: Vec<Site>) -> Vec<Site> {
    while stack.len() > 1
        && stack
            .last()
            .is_some_and(|site| OWNERS.get().is_inside(&site.file))
    {
        stack.pop();
    }
    stack
}

fn sites<'a>(spots: impl Iterator<Item = &'a Spot>) -> Outcome<Vec<Site>> {
    spots
        .map(|spot| site_in(&spot.code, spot.instruction))
        .collect()
}
