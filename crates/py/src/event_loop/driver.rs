//! What the core's loop asks of Python: to release the interpreter while it
//! waits, to turn events into entries, and to run them.

use std::time::Duration;

use ferrio_core::{Driver, Event, Instant};
use ferrio_inspect::clock::now_ns;
use ferrio_inspect::{Counters, Doing, Heartbeat};

use super::recorder::Recorder;
use super::{Entry, EventLoop};
use crate::ffi::{
    Context, Object, Outcome, Own, Raised, This, in_daemon_thread, may_others_want_interpreter,
    released, sys, text, thread_number, thread_state_address,
};
use crate::future::Watcher;
use crate::handle::{Handle, describe_callback, only_ordinary};
use crate::imports::imports;
use crate::inspect::{begin_endless_wait, resume_after_fork};
use crate::task::{Next, Task};
use crate::thread_pool::Offloaded;

type Core = ferrio_core::EventLoop<Entry>;

/// One run of a loop, from `run_forever` to its end.
pub(super) struct Run<'a> {
    event_loop: This<'a, EventLoop>,
    /// Whether the turn has polled.
    polled: bool,
    /// When the wait has begun that is to come, where that is known.
    wait_begun: Option<u64>,
    /// While `ferrio trace` records.
    recorder: Option<Box<Recorder>>,
    /// Whether the turn has found a descriptor ready.
    found_event: bool,
}

impl This<'_, EventLoop> {
    /// Runs turns until `stop()`.
    ///
    /// # Errors
    /// KeyboardInterrupt and SystemExit from a callback, with the rest of its batch kept for the
    /// next run.
    pub(super) fn run_turns(self) -> Outcome<()> {
        self.check_closed()?;
        // Once a run also at what was put into the object's dict without a word.
        self.look_for_overrides()?;
        // The loop must outlive its own run, whatever the callbacks do.
        let alive = self.own();
        resume_after_fork(&alive.this().object());
        let _stepped_here = alive.stepped.here();
        alive.in_turns.set(true);
        alive
            .record
            .heartbeat
            .run_by(thread_number(), thread_state_address());
        alive.record.counters.begin_run(now_ns());
        alive.this().be_watched();
        let mut run = Run {
            event_loop: alive.this(),
            polled: false,
            wait_begun: None,
            found_event: false,
            recorder: None,
        };
        let outcome = in_daemon_thread(|| alive.core.run(&mut run));
        run.recorded(|recorder| recorder.tape().stop());
        drop(run);
        alive.record.counters.end_run(now_ns());
        alive.record.heartbeat.run_by(0, 0);
        alive.in_turns.set(false);
        alive.announce_jobs();
        alive.this().track_queued();
        match outcome {
            Ok(()) => alive.this().leave_task(),
            Err(raised) => Err(alive.this().leave_task_with(raised)),
        }
    }

    /// Takes the current task back with an exception on its way.
    #[cold]
    fn leave_task_with(self, raised: Raised) -> Raised {
        let exception = raised.take();
        match self.leave_task() {
            Ok(()) => {}
            // In the child of a fork Python has forgotten the running loop, and with it whose
            // task is the current one.
            Err(forgotten) if self.owner_process.get().is_some() => forgotten.discard(),
            Err(second) => second.report_unraisable(&self.object()),
        }
        Raised::exception(&exception)
    }
}

impl This<'_, EventLoop> {
    /// Shows what is left in the queue to the garbage collector: a loop that does not run may be
    /// garbage, and all that waits in it too.
    fn track_queued(self) {
        self.core.collect_injected();
        let track = |entry: &Entry| {
            if let Entry::Handle(handle) = entry {
                handle.this().track();
            }
        };
        self.core.for_each_ready(track);
        if self.untracked_timers.take() {
            self.core.for_each_timer(track);
        }
    }
}

impl Driver<Entry> for Run<'_> {
    type Error = Raised;

    #[inline]
    fn now(&mut self, _core: &Core, clock: Instant) -> Outcome<Instant> {
        self.event_loop.now(clock)
    }

    #[inline]
    fn wait<R: Send>(&mut self, timeout: Option<Duration>, wait: impl FnOnce() -> R + Send) -> R {
        self.polled = true;
        self.heartbeat().begin(Doing::Waiting, 0);
        let begun = self.wait_begun.take();
        self.recorded(|recorder| recorder.tape().poll(begun.unwrap_or_else(now_ns)));
        // While the interpreter is theirs, other threads may look for the current task.
        if let Err(raised) = self.event_loop.leave_task() {
            raised.report_unraisable(&self.event_loop.object());
        }
        // A timer that only looks for deadlocks is none that counts.
        let is_endless = timeout
            .is_none_or(|timeout| self.event_loop.has_own_timer() && timeout > Duration::ZERO);
        if is_endless && let Err(raised) = begin_endless_wait(self.event_loop) {
            raised.report_unraisable(&self.event_loop.object());
        }
        // Who has what it waited for, and then waits for the interpreter, is blocked.
        let heartbeat = &self.event_loop.value().record.heartbeat;
        // Threads are told of their jobs when they can have the interpreter.
        let announcement = self.event_loop.take_announcement();
        if timeout == Some(Duration::ZERO)
            && announcement.is_none()
            && !may_others_want_interpreter()
        {
            let looked = wait();
            heartbeat.begin(Doing::Turn, 0);
            return looked;
        }
        match announcement {
            Some(shared) => released(|| {
                shared.announce();
                let waited = wait();
                heartbeat.begin(Doing::Turn, 0);
                waited
            }),
            None => released(|| {
                let waited = wait();
                heartbeat.begin(Doing::Turn, 0);
                waited
            }),
        }
    }

    #[inline]
    fn may_look(&mut self) -> bool {
        !may_others_want_interpreter()
    }

    #[inline]
    fn begin_wait(&mut self, now: Instant) {
        self.wait_begun = Some(nanos(now));
        self.counters().begin_wait(nanos(now));
    }

    #[inline]
    fn polled(&mut self, now: Instant) {
        self.counters().polled(nanos(now));
        self.recorded(|recorder| recorder.tape().turn(nanos(now)));
    }

    #[inline]
    fn timers_due(&mut self, late: Duration) {
        let late = u64::try_from(late.as_nanos()).unwrap_or(u64::MAX);
        self.counters().timer_lateness.add(late);
    }

    #[inline]
    fn begin_batch(&mut self, _core: &Core, count: usize) {
        self.counters()
            .begin_batch(count, self.event_loop.timer_count());
    }

    fn interrupted(&mut self) -> Outcome<()> {
        // SAFETY: asks Python to run the handlers of signals that arrived.
        Raised::check(unsafe { sys::PyErr_CheckSignals() })
    }

    #[inline]
    fn event(&mut self, core: &Core, event: Event) -> Outcome<()> {
        self.found_event = true;
        self.event_loop.dispatch(core, event)
    }

    fn signal(&mut self, _core: &Core, number: u8) -> Outcome<()> {
        let number = Object::from_i64(number.into())?;
        self.event_loop
            .object()
            .call_method(&imports().names.handle_signal, &[&number])
            .map(drop)
    }

    #[inline]
    fn run(&mut self, _core: &Core, entry: Entry) -> Outcome<()> {
        self.event_loop.gathering.open();
        if self.event_loop.record.trace.is_on() {
            self.run_recorded(entry)?;
        } else if self.event_loop.is_debug() {
            self.run_timed(entry)?;
        } else {
            self.run_entry(entry)?;
        }
        // The callback may have forked: what else there is to run is the parent's.
        self.event_loop.check_owner()?;
        self.event_loop.flush_overdue_writes()
    }

    #[inline]
    fn end_of_turn(&mut self, _core: &Core, outcome: Outcome<()>) -> Outcome<()> {
        let event_loop = self.event_loop;
        if event_loop.owner_process.get().is_some() {
            return outcome;
        }
        let (doing, object) = match self.heartbeat().doing() {
            _ if self.found_event => (Doing::Waiting, 0),
            ended_with => ended_with,
        };
        self.found_event = false;
        self.heartbeat().begin(Doing::Turn, 0);
        self.heartbeat().begin_turn();
        if event_loop.gathering.has_pending() {
            // What is sent now is not the last entry's.
            self.recorded(|recorder| recorder.tape().turn(now_ns()));
        }
        resume_after_fork(&event_loop.object());
        event_loop.turn_ended_with(doing, object);
        // A loop that runs no bytecode would never come to a signal's handler by itself.
        let outcome = match outcome {
            Ok(()) if std::mem::take(&mut self.polled) => self.interrupted(),
            outcome => outcome,
        };
        match outcome {
            Ok(()) => {
                if event_loop.gathering.has_pending() {
                    // What a protocol does when it is told to pause is nobody's step.
                    event_loop.leave_task()?;
                }
                event_loop.flush_gathered()?;
                event_loop.refresh_overrides()
            }
            Err(raised) => {
                // What was gathered goes out all the same; the first exception is the one
                // that leaves the loop.
                let exception = raised.take();
                for failed in [event_loop.leave_task(), event_loop.flush_gathered()] {
                    if let Err(second) = failed {
                        second.report_unraisable(&event_loop.object());
                    }
                }
                Err(Raised::exception(&exception))
            }
        }
    }
}

impl Run<'_> {
    #[inline]
    fn heartbeat(&self) -> &Heartbeat {
        &self.event_loop.value().record.heartbeat
    }

    #[inline]
    fn counters(&self) -> &Counters {
        &self.event_loop.value().record.counters
    }

    /// Does it while `ferrio trace` records.
    #[inline]
    fn recorded(&mut self, write: impl FnOnce(&mut Recorder)) {
        if self.event_loop.record.trace.is_on() {
            self.with_recorder(write);
        }
    }

    #[cold]
    fn with_recorder(&mut self, write: impl FnOnce(&mut Recorder)) {
        let switch = &self.event_loop.value().record.trace;
        let recording = switch.recording();
        if !matches!(&self.recorder, Some(recorder) if recorder.is_of(recording)) {
            self.recorder = Recorder::new(switch).map(Box::new);
        }
        if let Some(recorder) = &mut self.recorder {
            write(recorder);
        }
    }

    #[cold]
    fn run_recorded(&mut self, entry: Entry) -> Outcome<()> {
        let event_loop = self.event_loop;
        let mut task = None;
        self.recorded(|recorder| task = recorder.begin(&entry));
        let queued = event_loop.core.ready_len();
        let ran = if event_loop.is_debug() {
            self.run_timed(entry)
        } else {
            self.run_entry(entry)
        };
        let raised = match ran {
            Ok(()) => None,
            // Python is asked for names, which must not find an exception on its way.
            Err(raised) => Some(raised.take()),
        };
        self.recorded(|recorder| recorder.end(event_loop.value(), task.as_ref(), queued));
        // This one and that of `asyncio.tasks._current_tasks`.
        const OURS: isize = 2;
        if task.is_some_and(|task| {
            task.this().future().is_done() && task.this().object().reference_count() <= OURS
        }) {
            // The step has seen the reference that was held here, and left the task entered.
            event_loop.leave_task()?;
        }
        raised.map_or(Ok(()), |raised| Err(Raised::exception(&raised)))
    }

    #[inline]
    fn run_entry(&mut self, entry: Entry) -> Outcome<()> {
        let event_loop = self.event_loop;
        match entry {
            Entry::Step(task) => {
                self.heartbeat().begin(Doing::Step, task.address().addr());
                let stepped = task.this().step_in_turn(event_loop);
                self.has_stepped(task, stepped)
            }
            Entry::Wake(task) => {
                self.heartbeat().begin(Doing::Step, task.address().addr());
                let stepped = task.this().wake_in_turn(event_loop);
                self.has_stepped(task, stepped)
            }
            Entry::Handle(handle) => {
                let handle = handle.this();
                let (doing, object) = if event_loop.is_plain() {
                    (Doing::Callback, handle.as_ptr().addr())
                } else {
                    // Steps of tasks go by handles then.
                    match handle.task() {
                        Some(task) => (Doing::Step, task.as_ptr().addr()),
                        None => (Doing::Callback, handle.as_ptr().addr()),
                    }
                };
                self.heartbeat().begin(doing, object);
                event_loop.leave_task()?;
                let ran = handle.run();
                handle.left_queue();
                ran
            }
            Entry::Done {
                function,
                future,
                context,
            } => {
                self.heartbeat()
                    .begin(Doing::Other, function.as_ptr().addr());
                event_loop.leave_task()?;
                self.tell_done(&function, &future, &context)
            }
            Entry::Io {
                transport,
                readiness,
            } => {
                self.heartbeat().begin(Doing::Other, 0);
                event_loop.leave_task()?;
                transport.on_ready(readiness)
            }
            Entry::SocketCall(call) => {
                self.heartbeat().begin(Doing::Other, call.address().addr());
                call.this().on_ready(event_loop)
            }
            Entry::Offloaded(outcome) => {
                self.heartbeat()
                    .begin(Doing::Other, outcome.future().as_ptr().addr());
                event_loop.leave_task()?;
                match outcome.settle() {
                    Ok(()) => Ok(()),
                    Err(raised) => self.settling_failed(raised, &outcome),
                }
            }
        }
    }

    /// A step of a task is over.
    #[inline]
    fn has_stepped(&self, task: Own<Task>, stepped: Outcome<Next>) -> Outcome<()> {
        match stepped {
            Ok(Next::Nothing) => Ok(()),
            Ok(Next::Step) => {
                self.event_loop.push(Entry::Step(task));
                Ok(())
            }
            Err(raised) => self.step_failed(raised, &task),
        }
    }

    /// Calls a future's done-callback.
    #[inline]
    fn tell_done(&self, function: &Object, future: &Object, context: &Object) -> Outcome<()> {
        let called = match This::<Watcher>::from_exact(function) {
            Some(watcher) => watcher.tell(future),
            None => Context::enter(context)
                .and_then(|_entered| function.call1(future))
                .map(drop),
        };
        match called {
            Ok(()) => Ok(()),
            Err(raised) => {
                // The exception handler is shown the handle that asyncio would have run.
                let handle = Own::<Handle>::make(
                    self.event_loop,
                    function,
                    std::slice::from_ref(future),
                    Some(context),
                )?;
                self.callback_failed(raised, &handle.into_object(), function, Some(future))
            }
        }
    }

    /// A future has refused what came of a call in a thread.
    #[cold]
    fn settling_failed(&self, raised: Raised, outcome: &Offloaded) -> Outcome<()> {
        let exception = only_ordinary(raised)?;
        let setter = outcome.setter()?;
        let value = std::slice::from_ref(outcome.value());
        let handle = Own::<Handle>::make(self.event_loop, &setter, value, None)?;
        let raised = Raised::exception(&exception);
        self.callback_failed(raised, &handle.into_object(), &setter, value.first())
    }

    /// The step itself failed, or the coroutine raised what has to leave the loop.
    #[cold]
    fn step_failed(&self, raised: Raised, task: &Own<Task>) -> Outcome<()> {
        let exception = only_ordinary(raised)?;
        let callback = crate::task::TaskCallback::step(task.clone(), None)?.into_object();
        let context = task.context()?;
        let handle = Own::<Handle>::make(self.event_loop, &callback, &[], Some(&context))?;
        let raised = Raised::exception(&exception);
        self.callback_failed(raised, &handle.into_object(), &callback, None)
    }

    #[cold]
    fn callback_failed(
        &self,
        raised: Raised,
        handle: &Object,
        callback: &Object,
        argument: Option<&Object>,
    ) -> Outcome<()> {
        let exception = only_ordinary(raised)?;
        let arguments = match argument {
            Some(argument) => Object::tuple(&[argument])?,
            None => Object::tuple(&[])?,
        };
        let source = describe_callback(callback, &arguments, self.event_loop.is_debug())?;
        let context = Object::dict()?;
        let message = text(&format!("Exception in callback {}", source.to_text()?))?;
        context.dict_set(&text("message")?, &message)?;
        context.dict_set(&text("exception")?, &exception)?;
        context.dict_set(&text("handle")?, handle)?;
        self.event_loop.call_exception_handler(&context)
    }

    /// Debug mode: callbacks that take too long are told of.
    #[cold]
    fn run_timed(&mut self, entry: Entry) -> Outcome<()> {
        let whose = match &entry {
            Entry::Step(task) | Entry::Wake(task) => task.clone().into_object(),
            Entry::Handle(handle) => handle.clone().into_object(),
            Entry::Done { function, .. } => function.clone(),
            Entry::Io { transport, .. } => transport.clone().into_object(),
            Entry::SocketCall(call) => call.clone().into_object(),
            Entry::Offloaded(outcome) => outcome.future().clone(),
        };
        let started = self
            .event_loop
            .object()
            .call_method(&imports().names.time, &[])?
            .to_f64()?;
        if let Entry::Handle(handle) = &entry {
            self.event_loop.current_handle.set(handle.clone());
        }
        let ran = self.run_entry(entry);
        self.event_loop.current_handle.clear();
        ran?;
        let ended = self
            .event_loop
            .object()
            .call_method(&imports().names.time, &[])?
            .to_f64()?;
        let limit = match self.event_loop.slow_callback_duration.get() {
            Some(limit) => limit.to_f64()?,
            None => return Ok(()),
        };
        if ended - started >= limit {
            report_slow(&whose, ended - started)
        } else {
            Ok(())
        }
    }
}

/// A reading of the monotonic clock, which starts at 0 with the machine.
#[inline]
fn nanos(now: Instant) -> u64 {
    now.as_nanos().unsigned_abs()
}

/// asyncio's warning about a callback that kept the loop busy for `seconds`.
fn report_slow(whose: &Object, seconds: f64) -> Outcome<()> {
    let logger = crate::imports::module(c"asyncio.log")?.get_attr(&text("logger")?)?;
    let shown = match This::<Handle>::from_object(whose).and_then(|handle| handle.task()) {
        Some(task) => task.repr()?,
        None => whose.str()?,
    };
    let format = text("Executing %s took %.3f seconds")?;
    let seconds = Object::from_f64(seconds)?;
    logger
        .call_method(&text("warning")?, &[&format, &shown, &seconds])
        .map(drop)
}
