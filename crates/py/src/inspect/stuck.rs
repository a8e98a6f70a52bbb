//! Tasks that wait for events, queues and the like which nobody who can run is able to reach.
//!
//! Looked for in a while after a wait has begun, and then again as long as there are tasks that
//! only each other could wake: see `ferrio_inspect::reachability` for how that is known.

use std::collections::{HashMap, HashSet};

use ferrio_core::monotonic_now;
use ferrio_inspect::reachability::{Node, Waiting, edges_of_stuck};
use ferrio_inspect::snapshot::WaitKind;
use ferrio_inspect::wait_graph::{Edge, Needs, find_cycles};

use super::chain::{Link, attribute, chain_of, readable};
use super::collect::deadlines_of;
use super::told::Subject;
use super::waits::{is_certain, is_over, subject_of, tasks_behind};
use crate::event_loop::{Entry, EventLoop};
use crate::ffi::{Object, Outcome, Own, Reached, This, interned, sections_of, text};
use crate::imports::module;
use crate::sync::{Lock, Semaphore};
use crate::task::{Task, is_registry_on};

/// More tasks are not looked at: the loop does nothing else meanwhile.
const MOST_TASKS: usize = 1_000;

/// More objects are not gone through.
const MOST_OBJECTS: usize = 20_000;

/// Seconds: when no task has waited for so long nothing is gone through.
const PATIENCE: f64 = 0.9;

/// A wait for something that others may change has begun: somebody is to look in a second whether
/// they can.
#[cold]
pub(crate) fn look_soon(event_loop: This<'_, EventLoop>) -> Outcome<()> {
    if !is_registry_on() {
        return Ok(()); // Tasks have no numbers.
    }
    module(c"ferrio.deadlocks")?
        .get_attr(&interned(c"_look_soon")?)?
        .call1(&event_loop.object())
        .map(drop)
}

/// A task that waits, before the objects are gone through.
struct Found {
    task: Object,
    id: u64,
    since: Option<f64>,
    /// The addresses of what the task awaits: others who hold it cannot make it go on.
    chain: Vec<usize>,
    object: Option<usize>,
    by_itself: bool,
    tasks: Vec<u64>,
    needs: Needs,
    certain: bool,
    /// Whether sections of the tasks are all that keeps the object from it.
    in_sections: bool,
}

/// The tasks of a loop that only each other could wake: a list of `(ids, certain, holders)` for
/// their cycles, where `holders` has for each of the ids those that it would need; whether there
/// are tasks that may yet come to that; and whether they all have waited for less than a second.
pub(crate) fn stuck_now(event_loop: This<'_, EventLoop>) -> Outcome<Object> {
    let event_loop = event_loop.own();
    let found = tasks_that_wait(&event_loop)?;
    let now = monotonic_now().as_secs_f64();
    if !found
        .iter()
        .any(|each| each.since.is_some_and(|since| now - since > PATIENCE))
    {
        return answer(Vec::new(), false, !found.is_empty());
    }
    let tasks: Vec<Object> = found.iter().map(|each| each.task.clone()).collect();
    let (mut reached, first) = Reached::from(&tasks, MOST_OBJECTS, is_end);
    let chains: HashSet<u32> = found
        .iter()
        .flat_map(|each| &each.chain)
        .filter_map(|&address| reached.place_of(address))
        .collect();
    let nodes: Vec<Node> = (0..reached.len())
        .map(|place| Node {
            held_from_outside: reached.is_held_elsewhere(place)
                && !u32::try_from(place).is_ok_and(|place| chains.contains(&place)),
            refers_to: reached.take_references_of(place),
        })
        .collect();
    let mut may_come_to_it = false;
    let waiting: Vec<Waiting> = found
        .iter()
        .zip(first)
        .map(|(each, refers_to)| {
            let object = each.object.and_then(|address| reached.place_of(address));
            may_come_to_it |= each.in_sections
                || object.is_some_and(|object| !nodes[object as usize].held_from_outside);
            Waiting {
                task: each.id,
                refers_to,
                object,
                by_itself: each.by_itself,
                tasks: each.tasks.clone(),
                needs: each.needs,
                certain: each.certain,
            }
        })
        .collect();
    let edges = edges_of_stuck(&nodes, &waiting);
    let cycles = find_cycles(&edges)
        .iter()
        .map(|cycle| cycle_in_python(&cycle.tasks, cycle.certain, &edges))
        .collect::<Outcome<Vec<_>>>()?;
    answer(cycles, may_come_to_it, false)
}

fn answer(cycles: Vec<Object>, may_come_to_it: bool, are_young: bool) -> Outcome<Object> {
    Object::tuple(&[
        &Object::list(cycles)?,
        &Object::from_bool(may_come_to_it),
        &Object::from_bool(are_young),
    ])
}

/// What leads to other things than those that a task has: another task's are that one's.
fn is_end(object: &Object) -> bool {
    This::<Task>::from_object(object).is_some() || This::<EventLoop>::from_object(object).is_some()
}

/// The tasks of a loop that wait, until somebody ends it, for what others may end.
fn tasks_that_wait(event_loop: &Own<EventLoop>) -> Outcome<Vec<Found>> {
    let mut queued = HashSet::new();
    event_loop.for_each_ready(|entry| {
        if let Entry::Step(task) | Entry::Wake(task) = entry {
            queued.insert(task.address().addr());
        }
    });
    let deadlines = deadlines_of(event_loop);
    let all = module(c"asyncio")?
        .get_attr(&text("all_tasks")?)?
        .call1(&event_loop.this().object())?
        .items()?;
    let mut found = Vec::new();
    if all.len() > MOST_TASKS {
        return Ok(found);
    }
    let mut sections = None;
    for object in &all {
        let Some(task) = This::<Task>::from_object(object) else {
            continue;
        };
        let address = object.address();
        if queued.contains(&address) || deadlines.contains_key(&address) {
            continue;
        }
        if let Some((mut waits, subject)) = wait_without_end(task, object) {
            if let Some(holders) = holders_of(&subject, &mut sections, &all) {
                waits.object = None;
                waits.tasks = holders;
                waits.needs = Needs::One;
                waits.in_sections = true;
            }
            found.push(waits);
        }
    }
    Ok(found)
}

/// The tasks in sections of each object, by its address: as often as they are.
type Sections = HashMap<usize, Vec<u64>>;

/// The tasks that have to leave a section before a wait for a semaphore or a lock ends, if nobody
/// but they has it.
///
/// Who else knows the object may release it all the same, which would be a mistake of its own.
fn holders_of(
    subject: &Subject,
    sections: &mut Option<Sections>,
    all: &[Object],
) -> Option<Vec<u64>> {
    if !matches!(subject.kind, WaitKind::Semaphore | WaitKind::Lock) {
        return None;
    }
    let object = subject.object.as_ref()?;
    if This::<Lock>::from_object(object).is_some() {
        return None; // It knows its holder.
    }
    let sections = sections.get_or_insert_with(|| sections_among(all));
    let mut holders = sections.get(&object.address())?.clone();
    let most = match This::<Semaphore>::from_object(object) {
        Some(semaphore) => semaphore.value().first_value(),
        None => attribute(object, "_bound_value").and_then(|bound| readable(bound.to_i64())),
    };
    // Somebody has acquired it without a section, or it is one that others release to tell of
    // something.
    if most.is_some_and(|most| most < 1 || i64::try_from(holders.len()).is_ok_and(|n| n < most)) {
        return None;
    }
    holders.sort_unstable();
    holders.dedup();
    Some(holders)
}

fn sections_among(all: &[Object]) -> Sections {
    let mut sections = Sections::new();
    for task in all.iter().filter_map(This::<Task>::from_object) {
        let Some(coroutine) = task.coroutine.get() else {
            continue;
        };
        let chain = chain_of(&coroutine);
        for (place, link) in chain.iter().enumerate() {
            let mut within = sections_of(&link.object);
            if chain.get(place + 1).is_some_and(is_entering) {
                within.pop(); // The last one is only being entered.
            }
            for object in within {
                let holders = sections.entry(object.address()).or_default();
                holders.push(task.origin.id());
            }
        }
    }
    sections
}

/// Whether it is what `async with` awaits first.
fn is_entering(link: &Link) -> bool {
    attribute(&link.object, "__name__")
        .and_then(|name| readable(name.to_text()))
        .is_some_and(|name| name == "__aenter__")
}

fn wait_without_end(task: This<'_, Task>, object: &Object) -> Option<(Found, Subject)> {
    let awaited = task.awaited().filter(|awaited| !is_over(awaited))?;
    let coroutine = task.coroutine.get()?;
    let chain = chain_of(&coroutine);
    let (subject, until) = subject_of(&chain, &awaited, None);
    if until.is_some() {
        return None;
    }
    let certain = is_certain(&subject);
    let tasks = tasks_behind(&subject);
    let (has_object, by_itself) = match subject.kind {
        WaitKind::Event | WaitKind::Condition | WaitKind::QueueGet | WaitKind::Barrier => {
            (true, false)
        }
        WaitKind::QueuePut | WaitKind::QueueJoin | WaitKind::Semaphore => (true, true),
        // One that is held by a section is up to its holder.
        WaitKind::Lock => (!certain, true),
        // One that is enough may be a future, which anybody may end.
        WaitKind::Task | WaitKind::TaskGroup => (false, false),
        WaitKind::Tasks if !subject.any || tasks.len() == subject.futures.len() => (false, false),
        _ => return None,
    };
    let held = has_object.then_some(subject.object.as_ref()).flatten();
    if has_object != held.is_some() {
        return None;
    }
    let found = Found {
        task: object.clone(),
        id: task.origin.id(),
        since: task.origin.since(),
        chain: chain.iter().map(|link| link.object.address()).collect(),
        object: held.map(Object::address),
        by_itself,
        tasks,
        needs: if subject.any { Needs::One } else { Needs::All },
        certain,
        in_sections: false,
    };
    Some((found, subject))
}

fn cycle_in_python(ids: &[u64], certain: bool, edges: &[Edge]) -> Outcome<Object> {
    let holders = ids
        .iter()
        .map(|&id| {
            let edge = edges.iter().find(|edge| edge.task == id);
            numbers(edge.map_or(&[], |edge| &edge.holders))
        })
        .collect::<Outcome<Vec<_>>>()?;
    Object::tuple(&[
        &numbers(ids)?,
        &Object::from_bool(certain),
        &Object::tuple_of(&holders)?,
    ])
}

fn numbers(ids: &[u64]) -> Outcome<Object> {
    let numbers = ids
        .iter()
        .map(|&id| Object::from_i64(id.cast_signed()))
        .collect::<Outcome<Vec<_>>>()?;
    Object::tuple_of(&numbers)
}
