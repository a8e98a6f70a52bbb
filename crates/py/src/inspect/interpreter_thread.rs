//! How native threads get something done in Python, without waiting for the interpreter.
//!
//! One more native thread waits for it in their place. It is a service like the others: stopped
//! for a fork and at the end, and whoever stops it has released the interpreter, so that it is never
//! waited for in vain. What was put off is done once the thread runs again; who waits for an answer
//! is told at once that there is none.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::sync_channel;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use ferrio_inspect::services::{Stop, services};

use crate::ffi::attached;

const NAME: &str = "ferrio-python";

/// How many jobs may wait. The interpreter cannot be had for a while, and nobody gains by more.
const MOST: usize = 1000;

struct Job {
    body: Box<dyn FnOnce() + Send>,
    /// Somebody waits for it, and must not wait for a thread that is stopped.
    is_asked: bool,
}

struct Queue {
    jobs: VecDeque<Job>,
    /// Wakes the thread, while it runs.
    thread: Option<Stop>,
}

/// Held for the moment of a change, by threads that hold the interpreter or are services.
static QUEUE: Mutex<Queue> = Mutex::new(Queue {
    jobs: VecDeque::new(),
    thread: None,
});

fn queue() -> MutexGuard<'static, Queue> {
    // A panic elsewhere leaves a queue behind that is whole.
    QUEUE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Starts the thread if it was not. The caller holds the interpreter.
///
/// # Errors
/// What the kernel says when there can be no thread.
pub(crate) fn start() -> io::Result<()> {
    if services().has(NAME) {
        return Ok(());
    }
    services().start(NAME, |stop| work(&stop))
}

/// Has `job` run with the interpreter held, as soon as that can be had, in the order of these
/// calls. False when too many wait already: it is dropped then.
///
/// From any thread. What the job raises in Python it has to deal with itself.
pub(crate) fn with_interpreter(job: impl FnOnce() + Send + 'static) -> bool {
    push(Job {
        body: Box::new(job),
        is_asked: false,
    })
}

/// Runs `job` with the interpreter held and gives what it returns; `None` when it did not come to
/// its end in time, or the thread is stopped. It may come to its end afterwards.
///
/// From a native thread: one that holds the interpreter would wait in vain.
pub(crate) fn ask<R: Send + 'static>(
    job: impl FnOnce() -> R + Send + 'static,
    timeout: Duration,
) -> Option<R> {
    let (sender, receiver) = sync_channel(1);
    let is_pushed = push(Job {
        // Nobody may be waiting any more.
        body: Box::new(move || drop(sender.send(job()))),
        is_asked: true,
    });
    if is_pushed {
        receiver.recv_timeout(timeout).ok()
    } else {
        None
    }
}

/// This is the child of a fork: the jobs are the parent's.
pub(super) fn forget() {
    let mut queue = queue();
    queue.thread = None;
    let jobs = std::mem::take(&mut queue.jobs);
    drop(queue);
    drop(jobs);
}

fn push(job: Job) -> bool {
    let mut queue = queue();
    if queue.jobs.len() >= MOST || job.is_asked && queue.thread.is_none() {
        return false;
    }
    queue.jobs.push_back(job);
    if let Some(thread) = &queue.thread {
        thread.nudge();
    }
    true
}

/// The thread's life.
fn work(stop: &Stop) {
    queue().thread = Some(stop.clone());
    loop {
        let has_jobs = !queue().jobs.is_empty();
        if has_jobs && !stop.is_asked() {
            attached(|| run_jobs(stop));
        }
        // Nudged meanwhile, it comes back at once.
        if stop.wait() {
            break;
        }
    }
    let mut queue = queue();
    queue.thread = None;
    let (asked, kept): (VecDeque<Job>, VecDeque<Job>) =
        queue.jobs.drain(..).partition(|job| job.is_asked);
    drop(queue);
    drop(asked);
    // Whoever stops the thread waits a while: what is there already is still done.
    if !kept.is_empty() {
        attached(|| kept.into_iter().for_each(run_job));
    }
}

/// Runs what waits; the interpreter is held.
fn run_jobs(stop: &Stop) {
    while !stop.is_asked() {
        let Some(job) = queue().jobs.pop_front() else {
            return;
        };
        run_job(job);
    }
}

fn run_job(job: Job) {
    // The panic hook tells of it; the next job is somebody else's.
    drop(catch_unwind(AssertUnwindSafe(job.body)));
}
