//! Threads for what blocks.
//!
//! One mutex guards the queue of jobs and the count of threads. A thread is started when a job
//! comes that no idle thread is there for, up to the limit; it ends when it has been idle for long
//! enough, or when the pool is shut down and there is nothing left to do. No job and no job's drop
//! runs under the lock.

use std::any::Any;
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

type Job = Box<dyn FnOnce() + Send>;

/// What is told of a job that panicked: the panic's payload.
pub type PanicReporter = Arc<dyn Fn(Box<dyn Any + Send>) + Send + Sync>;

/// What a new [`BlockingPool`] is made of.
#[derive(Clone)]
pub struct PoolOptions {
    /// How many threads there are at most. Zero counts as one.
    pub max_threads: usize,
    /// How long a thread waits for its next job before it ends.
    pub idle_timeout: Duration,
    /// The name of every thread, as debuggers and `top` show it (the kernel keeps 15 bytes).
    pub thread_name: String,
    /// Is called, on the job's thread, with the payload of every panic.
    pub on_panic: PanicReporter,
}

impl Default for PoolOptions {
    /// As many threads as Python's executor (four more than processors, 32 at most), which end
    /// after ten idle seconds. Panics have been written to standard error by the panic hook, so
    /// nothing else is done about them.
    fn default() -> Self {
        let processors = thread::available_parallelism().map_or(1, usize::from);
        Self {
            max_threads: (processors + 4).min(32),
            idle_timeout: Duration::from_secs(10),
            thread_name: "ferrio-blocking".to_owned(),
            on_panic: Arc::new(drop),
        }
    }
}

impl fmt::Debug for PoolOptions {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PoolOptions")
            .field("max_threads", &self.max_threads)
            .field("idle_timeout", &self.idle_timeout)
            .field("thread_name", &self.thread_name)
            .finish_non_exhaustive()
    }
}

/// Why a pool did not take a job. The job is dropped.
#[derive(Debug)]
pub enum SpawnError {
    /// The pool is shut down.
    ShutDown,
    /// There is no thread, and the system refuses to start one.
    NoThread(io::Error),
}

impl fmt::Display for SpawnError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ShutDown => formatter.write_str("the pool is shut down"),
            Self::NoThread(error) => write!(formatter, "cannot start a thread: {error}"),
        }
    }
}

impl std::error::Error for SpawnError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::ShutDown => None,
            Self::NoThread(error) => Some(error),
        }
    }
}

/// What a shutdown does with jobs that have not begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unstarted {
    /// They still run.
    Run,
    /// They are dropped.
    Discard,
}

/// How many there are of what, at one moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolStats {
    /// Threads alive.
    pub threads: usize,
    /// Threads that wait for a job.
    pub idle: usize,
    /// Jobs that wait for a thread.
    pub queued: usize,
}

/// A bounded set of threads that run jobs in the order they come.
///
/// Dropping the pool shuts it down without waiting; jobs that were taken still run.
#[derive(Debug)]
pub struct BlockingPool {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: PoolOptions,
    state: Mutex<State>,
    /// A job was queued, or the pool was shut down. Idle threads wait for it.
    work: Condvar,
    /// The last thread ended. [`BlockingPool::join`] waits for it.
    empty: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    shut_down: bool,
}

impl fmt::Debug for State {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("State")
            .field("stats", &self.stats())
            .field("shut_down", &self.shut_down)
            .finish()
    }
}

impl State {
    fn stats(&self) -> PoolStats {
        PoolStats {
            threads: self.threads,
            idle: self.idle,
            queued: self.jobs.len(),
        }
    }
}

impl BlockingPool {
    /// A pool without threads.
    #[must_use]
    pub fn new(options: PoolOptions) -> Self {
        let shared = Shared {
            options,
            state: Mutex::default(),
            work: Condvar::new(),
            empty: Condvar::new(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Has `job` run on a thread of the pool.
    ///
    /// A panic of the job ends there: it is given to [`PoolOptions::on_panic`].
    ///
    /// # Errors
    ///
    /// When the pool is shut down, or there is no thread and none can be started.
    pub fn spawn(&self, job: impl FnOnce() + Send + 'static) -> Result<(), SpawnError> {
        let job: Job = Box::new(job);
        let mut state = self.shared.state();
        if state.shut_down {
            return Err(SpawnError::ShutDown);
        }
        state.jobs.push_back(job);
        if state.jobs.len() <= state.idle {
            self.shared.work.notify_one();
            return Ok(());
        }
        if state.threads < self.shared.options.max_threads.max(1)
            && let Err(error) = self.start_thread(&mut state)
            && state.threads == 0
        {
            let refused = state.jobs.pop_back();
            drop(state);
            drop(refused);
            return Err(SpawnError::NoThread(error));
        }
        // Where no thread could be started but there are others, they come to the job in time.
        Ok(())
    }

    /// Refuses jobs from now on. Does not wait.
    pub fn shut_down(&self, unstarted: Unstarted) {
        let mut state = self.shared.state();
        state.shut_down = true;
        let discarded = match unstarted {
            Unstarted::Run => VecDeque::new(),
            Unstarted::Discard => std::mem::take(&mut state.jobs),
        };
        drop(state);
        self.shared.work.notify_all();
        drop(discarded);
    }

    /// Waits until no thread is left, which happens soon after a shutdown when the last job has
    /// returned. A job that joins its own pool waits for ever.
    pub fn join(&self) {
        let mut state = self.shared.state();
        while state.threads > 0 {
            state = unpoison(self.shared.empty.wait(state));
        }
    }

    /// As [`BlockingPool::join`], for `timeout` at most. `false` when threads are left.
    #[must_use]
    pub fn join_timeout(&self, timeout: Duration) -> bool {
        let state = self.shared.state();
        let waited = self
            .shared
            .empty
            .wait_timeout_while(state, timeout, |state| state.threads > 0);
        unpoison(waited).0.threads == 0
    }

    /// How busy the pool is.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        self.shared.state().stats()
    }

    /// Starts a thread under the lock, so that it is counted exactly when it exists.
    fn start_thread(&self, state: &mut State) -> io::Result<()> {
        let shared = Arc::clone(&self.shared);
        let name = self.shared.options.thread_name.clone();
        thread::Builder::new()
            .name(name)
            .spawn(move || shared.work())?;
        state.threads += 1;
        Ok(())
    }
}

impl Drop for BlockingPool {
    fn drop(&mut self) {
        self.shut_down(Unstarted::Run);
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        unpoison(self.state.lock())
    }

    /// What a thread does from its start to its end.
    fn work(&self) {
        while let Some(job) = self.next_job() {
            if let Err(payload) = catch_unwind(AssertUnwindSafe(job)) {
                let report = AssertUnwindSafe(|| (self.options.on_panic)(payload));
                // A reporter that panics has nobody to report it to but the panic hook, which did.
                let _ = catch_unwind(report);
            }
        }
    }

    /// The next job, waited for; `None` when the thread is to end. It is then off the count
    /// already, under the same lock that saw no job: a job that comes later starts a thread.
    fn next_job(&self) -> Option<Job> {
        let mut state = self.state();
        if let Some(job) = state.jobs.pop_front() {
            return Some(job);
        }
        let idle_since = Instant::now();
        loop {
            let left = self
                .options
                .idle_timeout
                .saturating_sub(idle_since.elapsed());
            if state.shut_down || left.is_zero() {
                state.threads -= 1;
                if state.threads == 0 {
                    self.empty.notify_all();
                }
                return None;
            }
            state.idle += 1;
            state = unpoison(self.work.wait_timeout(state, left)).0;
            state.idle -= 1;
            if let Some(job) = state.jobs.pop_front() {
                return Some(job);
            }
        }
    }
}

/// Poison is ignored: nothing that can panic runs under the lock.
fn unpoison<T>(result: Result<T, PoisonError<T>>) -> T {
    result.unwrap_or_else(PoisonError::into_inner)
}
