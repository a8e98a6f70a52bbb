//! The queue between one thread that has jobs and the threads that do them.
//!
//! It starts no thread itself: whoever pushes is told when one more is wanted. (The threads of
//! Python code have to be Python's; [`crate::BlockingPool`] has threads of its own.)
//!
//! # Announcements
//!
//! A job is for a sleeping thread to wake to, and waking one early can be waste: where jobs need
//! an interpreter's lock, a thread that is woken while the pusher holds it goes back to sleep at
//! once. A push may therefore be deferred until [`JobQueue::announce`], which the pusher calls when
//! it has let go of the lock. It must not come to harm if it never gets there, because its caller
//! waits for the very job. So a push is deferred only to a thread that is *warm*: that went idle
//! less than [`WARM`] ago, and looks into the queue by itself when it has been idle for so long.
//!
//! For each job in the queue there is a thread that will look: one that was woken, one that is
//! awake, or one that is warm. No job and no job's drop runs under the lock.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an idle thread is warm.
pub const WARM: Duration = Duration::from_millis(1);

/// When a thread that waits is to learn of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announcement {
    /// At once.
    Now,
    /// With the next [`JobQueue::announce`], or within [`WARM`].
    MayWait,
}

/// What is to be done about a job that was pushed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Nothing: a thread will come to it.
    Taken,
    /// [`JobQueue::announce`] is to be called, soon.
    Unannounced,
    /// One more thread is to be started, to call [`JobQueue::thread_began`] and then
    /// [`JobQueue::next`] until that gives nothing. It is counted already;
    /// [`JobQueue::thread_failed`] says that there is none.
    WantsThread(Ticket),
}

/// Which job it was that a thread was wanted for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket(pub u64);

/// How many there are of what, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JobStats {
    /// Threads that were started and have not ended.
    pub threads: usize,
    /// Threads that wait for a job.
    pub idle: usize,
    /// Jobs that wait for a thread.
    pub queued: usize,
}

/// Jobs in the order they came, and the threads that wait for them.
pub struct JobQueue<J> {
    state: Mutex<State<J>>,
    /// A job was announced, or the queue was shut down. Idle threads wait for it.
    work: Condvar,
    max_threads: usize,
}

struct State<J> {
    jobs: VecDeque<(Ticket, J)>,
    /// The next job's ticket.
    next: u64,
    threads: usize,
    /// Of `threads`, those that have begun: the others may yet turn out not to be there.
    begun: usize,
    /// Of `threads`, those that wait.
    idle: usize,
    /// Of `idle`, those that look again by themselves.
    warm: usize,
    /// Jobs that were pushed without waking a thread for them, since the last announcement.
    unannounced: usize,
    shut_down: bool,
}

impl<J> fmt::Debug for JobQueue<J> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("JobQueue")
            .field("stats", &self.stats())
            .field("max_threads", &self.max_threads)
            .finish_non_exhaustive()
    }
}

impl<J> JobQueue<J> {
    /// An empty queue for at most `max_threads` threads. Zero counts as one.
    #[must_use]
    pub fn new(max_threads: usize) -> Self {
        Self {
            state: Mutex::new(State {
                jobs: VecDeque::new(),
                next: 0,
                threads: 0,
                begun: 0,
                idle: 0,
                warm: 0,
                unannounced: 0,
                shut_down: false,
            }),
            work: Condvar::new(),
            max_threads: max_threads.max(1),
        }
    }

    /// Puts a job at the end of the queue.
    ///
    /// # Errors
    ///
    /// Gives the job back when the queue is shut down.
    pub fn push(&self, job: J, announcement: Announcement) -> Result<Pushed, J> {
        let mut state = self.state();
        if state.shut_down {
            return Err(job);
        }
        let ticket = Ticket(state.next);
        state.next += 1;
        state.jobs.push_back((ticket, job));
        if state.jobs.len() > state.idle {
            if state.threads >= self.max_threads {
                return Ok(Pushed::Taken);
            }
            state.threads += 1;
            return Ok(Pushed::WantsThread(ticket));
        }
        // Every job that waits may have a warm thread to itself: which one was woken for another
        // job is not known.
        if announcement == Announcement::MayWait && state.jobs.len() <= state.warm {
            state.unannounced += 1;
            return Ok(Pushed::Unannounced);
        }
        // The thread that is woken may be the warm one that deferred jobs rely on.
        let count = 1 + std::mem::take(&mut state.unannounced);
        drop(state);
        for _ in 0..count {
            self.work.notify_one();
        }
        Ok(Pushed::Taken)
    }

    /// Wakes threads for the jobs that were pushed without.
    pub fn announce(&self) {
        let mut state = self.state();
        let count = std::mem::take(&mut state.unannounced).min(state.jobs.len());
        drop(state);
        for _ in 0..count {
            self.work.notify_one();
        }
    }

    /// The thread that was wanted could not be started. Gives the job back that it was wanted for,
    /// if that still waits and no other thread is certain to come to it: one that has begun.
    pub fn thread_failed(&self, ticket: Ticket) -> Option<J> {
        let mut state = self.state();
        state.threads -= 1;
        if state.begun > 0 {
            return None;
        }
        let index = state.jobs.iter().position(|(other, _)| *other == ticket)?;
        state.jobs.remove(index).map(|(_, job)| job)
    }

    /// A thread that was wanted is there.
    pub fn thread_began(&self) {
        self.state().begun += 1;
    }

    /// The next job, waited for; `None` when the thread is to end: the queue is shut down and
    /// empty.
    ///
    /// `before_waiting` is called once, when the thread counts as idle or has its job, and before
    /// it waits: whoever learns of the last job's result by it finds an idle thread for the next.
    pub fn next(&self, before_waiting: impl FnOnce()) -> Option<J> {
        let mut state = self.state();
        if let Some((_, job)) = state.jobs.pop_front() {
            drop(state);
            before_waiting();
            return Some(job);
        }
        state.idle += 1;
        state.warm += 1;
        drop(state);
        before_waiting();
        let idle_since = Instant::now();
        let mut state = self.state();
        let mut warm = true;
        loop {
            if !state.jobs.is_empty() || state.shut_down {
                state.idle -= 1;
                state.warm -= usize::from(warm);
                let Some((_, job)) = state.jobs.pop_front() else {
                    state.threads -= 1;
                    state.begun -= 1;
                    return None;
                };
                return Some(job);
            }
            if !warm {
                state = unpoison(self.work.wait(state));
                continue;
            }
            let left = WARM.saturating_sub(idle_since.elapsed());
            if left.is_zero() {
                warm = false;
                state.warm -= 1;
            } else {
                state = unpoison(self.work.wait_timeout(state, left)).0;
            }
        }
    }

    /// Refuses jobs from now on; those in the queue are still done. Does not wait.
    pub fn shut_down(&self) {
        self.state().shut_down = true;
        self.work.notify_all();
    }

    /// Takes the jobs out that have not begun.
    pub fn take_waiting(&self) -> VecDeque<J> {
        let mut state = self.state();
        state.unannounced = 0;
        std::mem::take(&mut state.jobs)
            .into_iter()
            .map(|(_, job)| job)
            .collect()
    }

    /// How busy the threads are.
    #[must_use]
    pub fn stats(&self) -> JobStats {
        let state = self.state();
        JobStats {
            threads: state.threads,
            idle: state.idle,
            queued: state.jobs.len(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State<J>> {
        unpoison(self.state.lock())
    }
}

/// Poison is ignored: nothing that can panic runs under the lock.
fn unpoison<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}
