//! `run_in_executor`, and what comes back from the threads.

use std::sync::Arc;

use ferrio_core::InjectQueue;
use ferrio_core::job_queue::JobStats;
use ferrio_inspect::clock::now_ns;

use super::callbacks::{check_callback, missing};
use super::{Entry, EventLoop};
use crate::ffi::{Arguments, Object, Outcome, Own, This, none, thread_id};
use crate::future::Purpose;
use crate::originals::originals;
use crate::thread_pool::{Job, Shared, ThreadPool, ticket_object};

impl EventLoop {
    /// Whether this thread is in the loop's turns.
    pub(crate) fn is_turning_here(&self) -> bool {
        self.in_turns.get() && self.thread.get() == Some(thread_id())
    }

    /// The way in for other threads.
    pub(crate) fn injector(&self) -> Arc<InjectQueue<Entry>> {
        self.core.injector()
    }

    /// Announces the pool's jobs when the interpreter is released next.
    pub(crate) fn owe_announcement(&self, shared: Arc<Shared>) {
        self.unannounced.set(Some(shared));
    }

    /// The pool whose jobs are to be announced, now that the interpreter is being released.
    #[inline]
    pub(super) fn take_announcement(&self) -> Option<Arc<Shared>> {
        self.unannounced.take()
    }

    /// How many threads the default executor has, and how many of them wait for a job.
    pub(crate) fn pool_threads(&self) -> JobStats {
        self.thread_pool
            .get()
            .and_then(|pool| pool.this().stats())
            .unwrap_or(JobStats {
                threads: 0,
                idle: 0,
                queued: 0,
            })
    }

    /// Announces what was not announced yet: the loop stops turning.
    pub(super) fn announce_jobs(&self) {
        if let Some(shared) = self.unannounced.take() {
            shared.announce();
        }
    }
}

impl This<'_, EventLoop> {
    /// `run_in_executor(executor, func, *args)`.
    pub(super) fn run_in_executor(self, arguments: Arguments<'_>) -> Outcome<Object> {
        const METHOD: &str = "run_in_executor";
        let (executor, function, rest) = match (arguments.positional(), arguments.has_keywords()) {
            ([executor, function, rest @ ..], false) => (executor, function, rest),
            _ => {
                let [executor, function] = arguments.named(METHOD, [c"executor", c"func"], 2)?;
                let executor = executor.ok_or_else(|| missing(METHOD, &["executor", "func"]))?;
                let function = function.ok_or_else(|| missing(METHOD, &["func"]))?;
                let rest = arguments.positional().get(2..).unwrap_or_default();
                (executor, function, rest)
            }
        };
        self.check_closed()?;
        if self.is_debug() {
            check_callback(function, METHOD)?;
        }
        if !executor.is_none() {
            return self.run_in_any_executor(executor, function, rest);
        }
        self.run_in_default_executor(function, rest)
    }

    fn run_in_default_executor(self, function: &Object, arguments: &[Object]) -> Outcome<Object> {
        let pool = match self.usable_thread_pool()? {
            Ok(pool) => pool,
            Err(executor) => return self.run_in_any_executor(&executor, function, arguments),
        };
        self.offload(&pool, |future| {
            Ok(Job {
                function: function.clone(),
                arguments: Object::tuple_of(arguments)?,
                keywords: None,
                context: None,
                future: Some(future),
                submitted: now_ns(),
            })
        })
    }

    /// The pool of the default executor, which is made if there is none; or the executor, when it
    /// is not one of ours.
    ///
    /// # Errors
    /// RuntimeError after `shutdown_default_executor()`.
    fn usable_thread_pool(self) -> Outcome<Result<Own<ThreadPool>, Object>> {
        if !self.is_running() {
            // While it runs, every turn looks.
            self.refresh_overrides()?;
        }
        if !self.overrides.call_soon_threadsafe()
            && let Some(pool) = self.thread_pool.get()
        {
            return Ok(Ok(pool));
        }
        let executor = self
            .object()
            .call_method(&originals().names.usable_default_executor, &[])?;
        match self.thread_pool.get() {
            // Outcomes go through the method that somebody has put in the place of ours.
            Some(pool) if !self.overrides.call_soon_threadsafe() => Ok(Ok(pool)),
            _ => Ok(Err(executor)),
        }
    }

    /// Hands a job to the pool; returns the future that it is made with.
    fn offload(
        self,
        pool: &Own<ThreadPool>,
        job: impl FnOnce(Object) -> Outcome<Job>,
    ) -> Outcome<Object> {
        let future = match self.plain_future()? {
            Some(future) => {
                future.purpose.set(Purpose::Executor);
                future.into_object()
            }
            None => self
                .object()
                .call_method(&crate::imports::imports().names.create_future, &[])?,
        };
        let ticket = pool.this().submit(job(future.clone())?, Some(self))?;
        if ticket.is_some() {
            let ticket = ticket_object(ticket)?;
            self.object()
                .call_method(&originals().names.start_worker, &[&ticket])?;
        }
        Ok(future)
    }

    #[cold]
    fn run_in_any_executor(
        self,
        executor: &Object,
        function: &Object,
        arguments: &[Object],
    ) -> Outcome<Object> {
        let arguments = Object::tuple_of(arguments)?;
        self.object().call_method(
            &originals().names.run_in_any_executor,
            &[executor, function, &arguments],
        )
    }

    /// `_use_thread_pool(pool)`: that of the default executor; None when that has none of ours.
    pub(super) fn use_thread_pool(self, pool: &Object) -> Outcome<Object> {
        self.announce_jobs();
        self.thread_pool
            .assign(This::<ThreadPool>::from_object(pool).map(This::own));
        Ok(none())
    }
}
