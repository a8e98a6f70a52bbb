//! `ferrio dump`: all that is known, to be kept and read later.

use super::words;
use crate::snapshot::{Loop, Queue, Resource, Snapshot, Task};

/// Every loop, every task with its stack, everything that is open.
#[must_use]
pub fn dump(snapshot: &Snapshot) -> String {
    let mut lines = vec![words::process(snapshot)];
    lines.extend(words::outdated(snapshot));
    for its_loop in &snapshot.loops {
        lines.push(String::new());
        lines.push(words::event_loop(its_loop, snapshot));
        for task in &its_loop.tasks {
            lines.push(String::new());
            describe(task, its_loop, snapshot, &mut lines);
        }
        if !its_loop.resources.is_empty() {
            lines.push(String::new());
            lines.push("open:".to_owned());
            lines.extend(its_loop.resources.iter().map(resource));
        }
    }
    if !snapshot.queues.is_empty() {
        lines.push(String::new());
        lines.push("queues:".to_owned());
        lines.extend(snapshot.queues.iter().map(queue));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn queue(queue: &Queue) -> String {
    let mut text = format!(
        "  {}",
        words::plural(usize::try_from(queue.items).unwrap_or(usize::MAX), "item")
    );
    if let Some(room) = queue.room {
        text = format!("{text} of {}", words::count(room));
    }
    for (number, what) in [
        (queue.unfinished, "not done"),
        (queue.getters, "waiting for one"),
        (queue.putters, "waiting for room"),
    ] {
        if number > 0 {
            text = format!("{text}, {} {what}", words::count(number));
        }
    }
    match &queue.created {
        Some(site) => format!("{text}  made at {}", words::whole_site(site)),
        None => text,
    }
}

/// A task's lines: what it is, what it waits for, where it comes from, where it stands.
pub fn describe(task: &Task, its_loop: &Loop, snapshot: &Snapshot, lines: &mut Vec<String>) {
    lines.push(format!(
        "task #{} {}  {}",
        task.id,
        words::plain(&task.name),
        words::plain(&task.coroutine)
    ));
    let mut about = |name: &str, text: String| lines.push(format!("  {name:<9}{text}"));
    about("state", state(task, its_loop, snapshot));
    if let Some(wait) = &task.wait {
        about("waits", words::whole_wait(wait, snapshot));
    }
    about("owner", words::owner(&task.owner));
    if let Some(created) = created(task, snapshot) {
        about("created", created);
    }
    if let Some(work) = work(task) {
        about("work", work);
    }
    if task.foreign {
        about("made by", "the standard library".to_owned());
    }
    if !task.stack.is_empty() {
        lines.push("  stack, the innermost call last".to_owned());
        lines.extend(
            task.stack
                .iter()
                .map(|site| format!("    {}", words::whole_site(site))),
        );
    }
}

fn state(task: &Task, its_loop: &Loop, snapshot: &Snapshot) -> String {
    let mut text = words::state(task.state).to_owned();
    if let Some(age) = words::task_age(task, its_loop, snapshot) {
        text = format!("{text} for {}", words::duration(age));
    }
    match task.cancelling {
        0 => text,
        1 => format!("{text}, cancelling"),
        times => format!("{text}, cancelled {times} times"),
    }
}

fn created(task: &Task, snapshot: &Snapshot) -> Option<String> {
    let ago = task
        .created_at
        .map(|at| format!("{} ago", words::duration((snapshot.taken_at - at).max(0.0))));
    let by = task.parent.map(|parent| format!("by #{parent}"));
    let at = task
        .created
        .as_ref()
        .map(|site| format!("at {}", words::whole_site(site)));
    let parts: Vec<_> = [ago, by, at].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(" "))
}

fn work(task: &Task) -> Option<String> {
    let steps = task
        .steps
        .map(|steps| words::plural(usize::try_from(steps).unwrap_or(usize::MAX), "step"));
    let cpu = task.cpu.map(|cpu| format!("{} CPU", words::duration(cpu)));
    let longest = task
        .longest_step
        .map(|longest| format!("longest step {}", words::duration(longest)));
    let parts: Vec<_> = [steps, cpu, longest].into_iter().flatten().collect();
    (!parts.is_empty()).then(|| parts.join(", "))
}

fn resource(open: &Resource) -> String {
    let mut text = format!("  {:<11}{}", open.kind, words::plain(&open.what));
    if let Some((received, sent)) = open.bytes {
        text = format!(
            "{text}  {} received, {} sent",
            words::bytes(received),
            words::bytes(sent)
        );
    }
    if let Some(buffered) = open.buffered.filter(|bytes| *bytes > 0) {
        text = format!("{text}  {} wait to be sent", words::bytes(buffered));
    }
    text
}
