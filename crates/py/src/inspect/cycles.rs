//! Looks for tasks that wait for each other at the moment when one of them begins to.
//!
//! Only the wait that begins now can close a cycle, and only if somebody waits for the task that
//! begins it: that it holds no lock and nobody stands in its list is seen in two looks, and nearly
//! always so. Otherwise the waits are followed from what it begins to wait for.

use std::cell::Cell;
use std::collections::HashMap;

use ferrio_inspect::wait_graph::{Cycle, Edge, Needs, find_cycles};

use super::chain::{chain_of, readable};
use super::collect::deadlines_of;
use crate::combinators::{GatheringFuture, TaskGroup};
use crate::event_loop::{Entry, EventLoop};
use crate::ffi::{
    Object, Outcome, Own, Raised, Reached, This, count_other_threads, interned, stepped, text,
};
use crate::future::{Future, Purpose};
use crate::imports::module;
use crate::sync::Lock;
use crate::task::{Task, is_registry_on};

/// More tasks are not followed.
const FARTHEST: usize = 10_000;

/// Whom a task waits for.
struct Behind {
    tasks: Vec<Own<Task>>,
    certain: bool,
}

/// The task being stepped begins to wait for a lock that is held.
///
/// # Errors
/// `ferrio.DeadlockError` in strict mode, when that is certain never to end.
#[inline]
pub(crate) fn begin_wait_for_lock(lock: This<'_, Lock>) -> Outcome<()> {
    let (Some(task), Some(holder)) = (stepped::<Task>(), lock.holder()) else {
        return Ok(());
    };
    let waits_for_itself = task.address() == holder.address();
    if !(waits_for_itself || is_waited_for(task.this())) || !task.this().is_stepped_for_certain() {
        return Ok(());
    }
    let behind = Behind {
        tasks: vec![holder],
        certain: lock.is_held_in_section(),
    };
    look(&task, behind, "lock", &lock.object())
}

/// A task begins to wait for a future.
///
/// # Errors
/// As [`begin_wait_for_lock`].
#[inline]
pub(crate) fn begin_wait_for_future(task: This<'_, Task>, awaited: &Object) -> Outcome<()> {
    if !is_waited_for(task) {
        return Ok(());
    }
    let task = &task.own();
    if let Some(other) = This::<Task>::from_exact(awaited) {
        if other.awaited().is_none() {
            return Ok(());
        }
        let behind = Behind {
            tasks: vec![other.own()],
            certain: true,
        };
        return look(task, behind, "task", awaited);
    }
    if let Some(gather) = This::<GatheringFuture>::from_exact(awaited) {
        return look(task, children_of(gather), "tasks", awaited);
    }
    Ok(())
}

/// The task being stepped begins to wait for the tasks of its group.
///
/// # Errors
/// As [`begin_wait_for_lock`].
#[inline]
pub(crate) fn begin_wait_for_group(group: This<'_, TaskGroup>) -> Outcome<()> {
    match stepped::<Task>() {
        Some(task) if is_waited_for(task.this()) && task.this().is_stepped_for_certain() => {
            look(&task, members_of(group), "task-group", &group.object())
        }
        _ => Ok(()),
    }
}

/// Whether somebody may be waiting for the task, or for a lock that it has.
#[inline]
fn is_waited_for(task: This<'_, Task>) -> bool {
    task.holds_locks() || !task.future().callbacks().is_empty()
}

fn children_of(gather: This<'_, GatheringFuture>) -> Behind {
    Behind {
        tasks: native_tasks(gather.value().children()),
        // A child that fails ends the wait as well.
        certain: false,
    }
}

fn members_of(group: This<'_, TaskGroup>) -> Behind {
    let members = group
        .unfinished()
        .and_then(|members| readable(members.items()));
    Behind {
        tasks: native_tasks(&members.unwrap_or_default()),
        certain: true,
    }
}

fn native_tasks(objects: &[Object]) -> Vec<Own<Task>> {
    objects
        .iter()
        .filter_map(This::<Task>::from_object)
        .filter(|task| !task.future().is_done())
        .map(This::own)
        .collect()
}

/// Whom a task waits for that does not run; nobody if it does not wait for tasks.
fn behind(task: &Own<Task>) -> Option<Behind> {
    let awaited = task.awaited()?;
    if let Some(other) = This::<Task>::from_object(&awaited) {
        return Some(Behind {
            tasks: native_tasks(std::slice::from_ref(&*other.object())),
            certain: true,
        });
    }
    if let Some(gather) = This::<GatheringFuture>::from_object(&awaited) {
        return (!gather.upcast::<Future>().is_done()).then(|| children_of(gather));
    }
    let future = This::<Future>::from_exact(&awaited)?;
    if future.is_done() {
        return None;
    }
    match future.purpose.get() {
        Purpose::Lock => {
            let object = innermost_object(task)?;
            let lock = This::<Lock>::from_object(&object)?;
            Some(Behind {
                tasks: vec![lock.holder()?],
                certain: lock.is_held_in_section(),
            })
        }
        Purpose::TaskGroup => {
            let object = innermost_object(task)?;
            This::<TaskGroup>::from_object(&object).map(members_of)
        }
        Purpose::Executor | Purpose::Unknown => None,
    }
}

/// What the innermost native coroutine of a task waits for.
fn innermost_object(task: &Own<Task>) -> Option<Object> {
    let chain = chain_of(&task.coroutine.get()?);
    let told = chain.last()?.told.as_ref()?;
    told.subjects.last()?.object.clone()
}

/// Follows the waits from what `task` begins to wait for.
#[cold]
fn look(task: &Own<Task>, begun: Behind, kind: &str, object: &Object) -> Outcome<()> {
    if !is_registry_on() {
        return Ok(()); // Tasks have no numbers.
    }
    let mut known: HashMap<u64, Own<Task>> = HashMap::new();
    let mut edges = Vec::new();
    let mut ahead = vec![task.clone()];
    let mut begun = Some(begun);
    while let Some(next) = ahead.pop() {
        let id = next.origin.id();
        if known.len() >= FARTHEST || known.insert(id, next.clone()).is_some() {
            continue;
        }
        let Some(found) = begun.take().or_else(|| behind(&next)) else {
            continue;
        };
        edges.push(Edge {
            task: id,
            holders: found.tasks.iter().map(|task| task.origin.id()).collect(),
            needs: Needs::All,
            certain: found.certain,
        });
        ahead.extend(found.tasks);
    }
    let id = task.origin.id();
    let cycles = find_cycles(&edges);
    let Some(cycle) = cycles.iter().find(|cycle| cycle.tasks.contains(&id)) else {
        return Ok(());
    };
    let members: Vec<&Own<Task>> = cycle.tasks.iter().filter_map(|id| known.get(id)).collect();
    report(task, cycle, &members, kind, object)
}

/// Tells of a cycle that `task` is about to close.
fn report(
    task: &Own<Task>,
    cycle: &Cycle,
    members: &[&Own<Task>],
    kind: &str,
    object: &Object,
) -> Outcome<()> {
    let Some(event_loop) = task.future().native_loop() else {
        return Ok(());
    };
    // One that a timeout stops gives way by itself.
    let deadlines = deadlines_of(&event_loop);
    let timed = members
        .iter()
        .any(|member| deadlines.contains_key(&member.address().addr()))
        || is_near_a_timer(&event_loop, members);
    let certain = cycle.certain && !timed;
    let ids = cycle
        .tasks
        .iter()
        .map(|&id| Object::from_i64(id.cast_signed()))
        .collect::<Outcome<Vec<_>>>()?;
    let strict = certain && event_loop.is_strict();
    let made = module(c"ferrio.deadlocks")?
        .get_attr(&interned(c"_found")?)?
        .call(
            &[
                &event_loop.this().object(),
                &Object::tuple_of(&ids)?,
                &Object::from_i64(task.origin.id().cast_signed())?,
                &text(kind)?,
                object,
                &Object::from_bool(certain),
            ],
            None,
        )?;
    if strict {
        return Err(Raised::exception(&made));
    }
    Ok(())
}

/// So many objects are gone through behind each timer.
const NEAR: usize = 64;

/// Whether a timer's callback has one of the tasks at hand: it may be there to cancel it, as those
/// of other libraries' timeouts are.
#[cold]
fn is_near_a_timer(event_loop: &Own<EventLoop>, members: &[&Own<Task>]) -> bool {
    let mut handles = Vec::new();
    event_loop.for_each_timer(|entry| {
        if let Entry::Handle(handle) = entry {
            handles.push(handle.clone());
        }
    });
    let is_near = Cell::new(false);
    for handle in handles {
        Reached::from(&[handle.into_object()], NEAR, |object| {
            if let Some(task) = This::<Task>::from_object(object) {
                let found = members
                    .iter()
                    .any(|member| member.address() == task.as_ptr());
                is_near.set(is_near.get() || found);
                return true;
            }
            // What is in a context is there for everybody who runs in it.
            This::<EventLoop>::from_object(object).is_some() || object.is_context()
        });
    }
    is_near.get()
}

/// The loop is about to wait, and no timer of the program's will end that.
#[cold]
pub(crate) fn begin_endless_wait(event_loop: This<'_, EventLoop>) -> Outcome<()> {
    if !event_loop.waits_for_nothing() {
        return Ok(());
    }
    let function = match others(event_loop) {
        Others::None => interned(c"_nothing_can_wake")?,
        Others::Ending => interned(c"_look_later")?,
        Others::Some => return Ok(()),
    };
    module(c"ferrio.deadlocks")?
        .get_attr(&function)?
        .call1(&event_loop.object())
        .map(drop)
}

/// The other threads of the process.
enum Others {
    /// There are none, or they wait for this loop's jobs.
    None,
    /// They are those that do this loop's jobs, and some are at one.
    Ending,
    /// There are others, which may do anything.
    Some,
}

fn others(event_loop: This<'_, EventLoop>) -> Others {
    let threads = count_other_threads();
    if threads == 0 {
        return Others::None;
    }
    let pool = event_loop.pool_threads();
    // A thread hands in what has come of its job before it counts as idle.
    if threads > pool.threads || event_loop.is_handed_something() {
        Others::Some
    } else if threads > pool.idle || pool.queued > 0 {
        Others::Ending
    } else {
        Others::None
    }
}

/// The cycles of this moment: a list of `(ids, certain)`.
pub(crate) fn cycles_now() -> Outcome<Object> {
    let snapshot = super::collect_snapshot()?;
    let edges = ferrio_inspect::wait_graph::edges_of(&snapshot);
    let cycles = find_cycles(&edges)
        .into_iter()
        .map(|cycle| {
            let ids = cycle
                .tasks
                .iter()
                .map(|&id| Object::from_i64(id.cast_signed()))
                .collect::<Outcome<Vec<_>>>()?;
            Object::tuple(&[&Object::tuple_of(&ids)?, &Object::from_bool(cycle.certain)])
        })
        .collect::<Outcome<Vec<_>>>()?;
    Object::list(cycles)
}
