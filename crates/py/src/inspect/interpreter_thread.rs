//! How native threads get something done in Python, without waiting for the interpreter.
//!
//! One more native thread waits for it in their place. It is a service like the others: stopped
//! for a fork and at the end, and whoever stops it has released the interpreter, so that it is never
//! waited for in vain. What was put off is done once the thread runs again.

use std::collections::VecDeque;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, MutexGuard, PoisonError};

use ferrio_inspect::services::{Stop, services};

use crate::ffi::attached;

const NAME: &str = "ferrio-python";

/// How many jobs may wait. The interpreter cannot be had for a while, and nobody gains by more.
const MOST: usize = 1000;

type Job = Box<dyn FnOnce() + Send>;

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
    let mut queue = queue();
    if queue.jobs.len() >= MOST {
        return false;
    }
    queue.jobs.push_back(Box::new(job));
    if let Some(thread) = &queue.thread {
        thread.nudge();
    }
    true
}

/// This is the child of a fork: the jobs are the parent's.
pub(super) fn forget() {
    let mut queue = queue();
    queue.thread = None;
    let jobs = std::mem::take(&mut queue.jobs);
    drop(queue);
    drop(jobs);
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
    let kept = std::mem::take(&mut queue.jobs);
    drop(queue);
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
    drop(catch_unwind(AssertUnwindSafe(job)));
}
