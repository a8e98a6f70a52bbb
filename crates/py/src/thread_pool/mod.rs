//! Python functions in threads: what a loop's default executor is made of.
//!
//! The threads are Python's own (`ferrio.default_executor` starts them), so `threading` sees
//! them; each spends its life in [`This::<ThreadPool>::work`]. A job goes in through the core's
//! [`JobQueue`] and its outcome comes back through the loop's inject queue, without a
//! `concurrent.futures.Future` in between.
//!
//! Who holds the interpreter when a thread is woken decides what a job costs: a thread that is
//! woken while somebody else holds it goes to sleep again. So the loop announces jobs when it has
//! let go of the interpreter to wait for events, and a thread wakes the loop when it has let go to
//! wait for its next job.

mod job;
mod python;

use std::cell::{Cell, OnceCell};
use std::ffi::{CStr, c_int};
use std::sync::Arc;

use ferrio_core::job_queue::{Announcement, JobStats, Pushed, Ticket};
use ferrio_core::{InjectQueue, JobQueue};
use ferrio_inspect::LoopRecord;
pub(crate) use job::{Job, Offloaded};
pub(crate) use python::{build, ticket_object};

use crate::event_loop::{Entry, EventLoop};
use crate::ffi::{
    Native, Object, ObjectCell, Outcome, Raised, This, TypeObject, Visitor, in_daemon_thread,
    released, text,
};

/// The queue of jobs of one event loop, and the threads that do them.
#[repr(C)]
pub(crate) struct ThreadPool {
    weak_references: ObjectCell,
    /// Empty until `__init__` has run.
    shared: OnceCell<Arc<Shared>>,
    /// Whether the pool is that of the process this one was forked from: its threads are not here,
    /// and may have left its lock locked.
    abandoned: Cell<bool>,
}

/// What a thread has of its pool while it does not hold the interpreter.
pub(crate) struct Shared {
    jobs: JobQueue<Job>,
    /// The way back to the loop.
    injector: Arc<InjectQueue<Entry>>,
    /// Where the loop's jobs are counted.
    record: Arc<LoopRecord>,
}

impl Shared {
    /// Wakes threads for the jobs that were not announced yet.
    pub(crate) fn announce(&self) {
        self.jobs.announce();
    }
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `ThreadPool` in `python::build`; the offset is that of a field that
// only CPython touches.
unsafe impl Native for ThreadPool {
    const NAME: &'static CStr = c"ferrio._ferrio.ThreadPool";
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(ThreadPool, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<ThreadPool> {
        Ok(ThreadPool {
            weak_references: ObjectCell::new(),
            shared: OnceCell::new(),
            abandoned: Cell::new(false),
        })
    }

    /// Jobs are not shown: what waits to be run is not garbage, and another thread may be taking
    /// one out at this moment.
    fn visit(&self, _visitor: Visitor<'_>) -> Result<(), c_int> {
        Ok(())
    }

    fn clear(&self) {}
}

impl ThreadPool {
    fn shared(&self) -> Outcome<&Arc<Shared>> {
        if self.abandoned.get() {
            return Err(Raised::runtime_error(
                "the executor's threads belong to the process that this one was forked from",
            ));
        }
        self.shared
            .get()
            .ok_or_else(|| Raised::runtime_error("the pool is not initialised"))
    }
}

impl This<'_, ThreadPool> {
    /// Binds the pool to the loop that its outcomes go to.
    fn initialise(self, event_loop: This<'_, EventLoop>, max_threads: usize) -> Outcome<()> {
        let shared = Shared {
            jobs: JobQueue::new(max_threads),
            injector: event_loop.injector(),
            record: Arc::clone(&event_loop.value().record),
        };
        self.shared
            .set(Arc::new(shared))
            .map_err(|_| Raised::runtime_error("the pool is initialised already"))
    }

    /// Puts a job at the end of the queue. With a ticket, one more thread is to be started.
    ///
    /// # Errors
    /// RuntimeError after the shutdown.
    pub(crate) fn submit(
        self,
        job: Job,
        event_loop: Option<This<'_, EventLoop>>,
    ) -> Outcome<Option<Ticket>> {
        let shared = self.shared()?;
        // Only a loop in its turns comes to the place where it lets go of the interpreter.
        let turning = event_loop.filter(|event_loop| event_loop.is_turning_here());
        let announcement = match turning {
            Some(_) => Announcement::MayWait,
            None => Announcement::Now,
        };
        let pushed = shared.jobs.push(job, announcement);
        if pushed.is_ok() {
            shared.record.counters.executor.submit();
        }
        match pushed {
            Ok(Pushed::Taken) => Ok(None),
            Ok(Pushed::Unannounced) => {
                if let Some(event_loop) = turning {
                    event_loop.owe_announcement(Arc::clone(shared));
                }
                Ok(None)
            }
            Ok(Pushed::WantsThread(ticket)) => Ok(Some(ticket)),
            Err(refused) => {
                drop(refused);
                Err(refusal()?)
            }
        }
    }

    /// Its threads and jobs; `None` where there cannot be any.
    pub(crate) fn stats(self) -> Option<JobStats> {
        if self.abandoned.get() {
            return None;
        }
        self.shared.get().map(|shared| shared.jobs.stats())
    }

    /// The thread that was wanted could not be started. True when the job is taken back, because
    /// nobody would do it.
    fn thread_failed(self, ticket: Ticket) -> Outcome<bool> {
        let job = self.shared()?.jobs.thread_failed(ticket);
        Ok(job.is_some())
    }

    /// A thread's life: does jobs until the pool is shut down.
    fn work(self) -> Outcome<()> {
        in_daemon_thread(|| self.do_jobs())
    }

    fn do_jobs(self) -> Outcome<()> {
        let shared = Arc::clone(self.shared()?);
        shared.jobs.thread_began();
        // Whether the loop has to be woken for what it was handed.
        let mut handed = false;
        loop {
            let job = released(|| {
                shared.jobs.next(|| {
                    if handed {
                        shared.injector.wake();
                    }
                })
            });
            let Some(job) = job else { return Ok(()) };
            handed = match job.run(&shared.record.counters.executor) {
                // A closed loop refuses it, and nobody waits for it any more.
                Some(outcome) => shared
                    .injector
                    .push_quietly(Entry::Offloaded(outcome))
                    .is_ok(),
                None => false,
            };
        }
    }

    /// Refuses jobs from now on, and ends the threads.
    fn shut_down(self) -> Outcome<()> {
        if !self.abandoned.get() {
            self.shared()?.jobs.shut_down();
        }
        Ok(())
    }

    /// Takes the jobs out that have not begun; returns the future of each, or its function if it
    /// has none.
    fn discard(self) -> Outcome<Object> {
        let waiting = self.shared()?.jobs.take_waiting();
        Object::list(waiting.into_iter().map(Job::into_who_waits).collect())
    }
}

/// What a job is refused with, in the words of `concurrent.futures`.
#[cold]
fn refusal() -> Outcome<Raised> {
    let module = crate::imports::module(c"concurrent.futures.thread")?;
    let at_exit = module.get_attr(&text("_shutdown")?)?.is_true()?;
    Ok(Raised::runtime_error(if at_exit {
        "cannot schedule new futures after interpreter shutdown"
    } else {
        "cannot schedule new futures after shutdown"
    }))
}
