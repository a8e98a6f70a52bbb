//! What a task waits for, out of its chain of awaits.

use ferrio_core::monotonic_now;
use ferrio_inspect::snapshot::{Wait, WaitKind};

use super::chain::{Link, attribute, readable};
use super::ids::id_of;
use super::known_functions::kind_of_function;
use super::told::Subject;
use crate::combinators::{GatheringFuture, TaskGroup};
use crate::event_loop::SocketCall;
use crate::ffi::{Object, Spot, This, text};
use crate::future::{Future, Purpose};
use crate::sync::Lock;
use crate::task::OWNERS;

/// What a task waits for. `awaited` is the future that it stands in the list of; `until` is when
/// a timeout around the wait ends it, if there is one.
pub(super) fn wait_of(chain: &[Link], awaited: &Object, until: Option<f64>) -> Wait {
    let (subject, until) = subject_of(chain, awaited, until);
    let tasks = tasks_behind(&subject);
    Wait {
        kind: subject.kind,
        what: in_words(&subject, until),
        name: None,
        tasks,
        object: subject.object.as_ref().map_or(0, address),
        site: None,
        since: None,
        until,
        certain: is_certain(&subject),
        all: !subject.any,
    }
}

/// What a task waits for, not yet in words, and when that ends by itself.
pub(super) fn subject_of(
    chain: &[Link],
    awaited: &Object,
    until: Option<f64>,
) -> (Subject, Option<f64>) {
    let mut until = until;
    let mut subject = None;
    for link in chain {
        if let Some(told) = &link.told {
            until = earlier(until, told.until);
            subject = told.subjects.last().map(copy).or(subject);
        } else if let Some(spot) = &link.spot {
            if let Some(known) = python_subject(link, spot) {
                until = earlier(until, python_deadline(link, known.kind));
                if !subject
                    .as_ref()
                    .is_some_and(|outer| is_done_by(outer.kind, known.kind))
                {
                    subject = Some(known);
                }
            }
        } else if let Some(call) = This::<SocketCall>::from_exact(&link.object) {
            let (_, reads) = call.waits_for();
            let kind = match &subject {
                Some(outer) if outer.kind == WaitKind::Connection => WaitKind::Connection,
                _ if reads => WaitKind::Read,
                _ => WaitKind::Write,
            };
            subject = Some(on(kind, link.object.clone()));
        }
    }
    (by_future(awaited, subject), until)
}

/// Whether waiting for the inner thing is how asyncio, or ferrio, waits for the outer one.
fn is_done_by(outer: WaitKind, inner: WaitKind) -> bool {
    match outer {
        WaitKind::QueueJoin => inner == WaitKind::Event,
        WaitKind::Barrier => inner == WaitKind::Condition,
        WaitKind::Connection => matches!(inner, WaitKind::Read | WaitKind::Write),
        _ => false,
    }
}

fn address(object: &Object) -> u64 {
    object.as_ptr().addr() as u64
}

fn earlier(one: Option<f64>, other: Option<f64>) -> Option<f64> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

fn copy(subject: &Subject) -> Subject {
    Subject {
        kind: subject.kind,
        object: subject.object.clone(),
        futures: subject.futures.clone(),
        any: subject.any,
    }
}

fn on(kind: WaitKind, object: Object) -> Subject {
    Subject {
        kind,
        object: Some(object),
        futures: Vec::new(),
        any: false,
    }
}

/// The future itself may say more than who awaits it.
fn by_future(awaited: &Object, subject: Option<Subject>) -> Subject {
    if id_of(awaited).is_some() {
        return Subject {
            kind: WaitKind::Task,
            object: Some(awaited.clone()),
            futures: vec![awaited.clone()],
            any: false,
        };
    }
    let children = match This::<GatheringFuture>::from_object(awaited) {
        Some(gather) => Some(gather.value().children().to_vec()),
        None => attribute(awaited, "_children").and_then(|children| readable(children.items())),
    };
    if let Some(futures) = children {
        return Subject {
            kind: WaitKind::Tasks,
            object: Some(awaited.clone()),
            futures,
            any: false,
        };
    }
    let is_vague = subject
        .as_ref()
        .is_none_or(|subject| subject.kind == WaitKind::Timeout);
    if is_vague && purpose_of(awaited) == Purpose::Executor {
        return on(WaitKind::Executor, awaited.clone());
    }
    subject.unwrap_or_else(|| on(WaitKind::Future, awaited.clone()))
}

fn purpose_of(awaited: &Object) -> Purpose {
    This::<Future>::from_object(awaited).map_or(Purpose::Unknown, |future| future.purpose.get())
}

/// What a coroutine of asyncio's or ferrio's waits for that is written in Python.
fn python_subject(link: &Link, spot: &Spot) -> Option<Subject> {
    let file = readable(
        spot.code
            .get_attr(&readable(text("co_filename"))?)
            .and_then(|name| name.to_text()),
    )?;
    if !OWNERS.get().is_inside(&file) {
        return None;
    }
    let function = readable(
        spot.code
            .get_attr(&readable(text("co_qualname"))?)
            .and_then(|name| name.to_text()),
    )?;
    let kind = kind_of_function(&file, &function)?;
    let futures = match kind {
        WaitKind::Tasks => local(link, "fs").or_else(|| local(link, "fut")),
        _ => None,
    };
    let futures = futures.map_or_else(Vec::new, |futures| {
        readable(futures.items()).unwrap_or_else(|| vec![futures])
    });
    Some(Subject {
        kind,
        object: local(link, "self"),
        futures,
        any: kind == WaitKind::Tasks,
    })
}

/// When Python's `sleep` or `wait_for` ends.
fn python_deadline(link: &Link, kind: WaitKind) -> Option<f64> {
    let timer = match kind {
        WaitKind::Sleep => local(link, "h"),
        WaitKind::Timeout | WaitKind::Tasks => local(link, "timeout_handle"),
        _ => None,
    }?;
    let when = attribute(&timer, "when")?;
    readable(when.call0().and_then(|when| when.to_f64()))
}

/// A local variable of a coroutine of Python's.
fn local(link: &Link, name: &str) -> Option<Object> {
    let frame = attribute(&link.object, "cr_frame")?;
    let locals = attribute(&frame, "f_locals")?;
    readable(locals.call_method(&readable(text("get"))?, &[&readable(text(name))?]))
        .filter(|value| !value.is_none())
}

/// The tasks that are waited for, or that hold what is waited for.
pub(super) fn tasks_behind(subject: &Subject) -> Vec<u64> {
    let mut tasks: Vec<u64> = subject
        .futures
        .iter()
        .filter(|future| !is_over(future))
        .filter_map(id_of)
        .collect();
    if let Some(object) = &subject.object {
        if let Some(lock) = This::<Lock>::from_object(object) {
            tasks.extend(lock.holder_id());
        }
        let members = match This::<TaskGroup>::from_object(object) {
            Some(group) => group.unfinished(),
            None if subject.kind == WaitKind::TaskGroup => attribute(object, "_tasks"),
            None => None,
        };
        if let Some(members) = members.and_then(|members| readable(members.items())) {
            tasks.extend(members.iter().filter_map(id_of));
        }
    }
    tasks.sort_unstable();
    tasks.dedup();
    tasks
}

/// Whether a future is done, whoever made it.
pub(super) fn is_over(future: &Object) -> bool {
    if let Some(native) = This::<Future>::from_object(future) {
        return native.is_done();
    }
    attribute(future, "done")
        .and_then(|done| readable(done.call0()))
        .and_then(|done| readable(done.is_true()))
        .unwrap_or(false)
}

/// Whether the tasks behind have to end it themselves: each by its own end, or by that of an
/// `async with` section.
pub(super) fn is_certain(subject: &Subject) -> bool {
    match subject.kind {
        WaitKind::Task | WaitKind::TaskGroup => true,
        WaitKind::Lock => subject.object.as_ref().is_some_and(|object| {
            This::<Lock>::from_object(object).is_some_and(|lock| lock.is_held_in_section())
        }),
        _ => false,
    }
}

fn in_words(subject: &Subject, until: Option<f64>) -> String {
    let left = until.map(|until| (until - monotonic_now().as_secs_f64()).max(0.0));
    match (subject.kind, &subject.object, left) {
        (WaitKind::Sleep, _, Some(left)) => format!("{left:.3} s left"),
        (WaitKind::Task, Some(task), _) => attribute(task, "get_name")
            .and_then(|name| readable(name.call0()))
            .and_then(|name| readable(name.to_text()))
            .unwrap_or_default(),
        (WaitKind::Tasks, ..) => {
            let pending = subject.futures.iter().filter(|future| !is_over(future));
            format!("{} of {} tasks", pending.count(), subject.futures.len())
        }
        (_, Some(object), _) => match This::<SocketCall>::from_exact(object) {
            Some(call) => format!("fd {}", call.waits_for().0),
            None => readable(object.repr_text()).unwrap_or_default(),
        },
        (_, None, Some(left)) => format!("{left:.3} s left"),
        (_, None, None) => String::new(),
    }
}
