//! The event loop: prepare → wait → collect → drain. The only file that sees every part.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use rustix::io::Errno;

use crate::clock::monotonic_now;
use crate::poll_policy::PollPolicy;
use crate::ready::ReadyQueue;
use crate::sync::Arc;
use crate::timer_slack::TimerSlack;
use crate::{
    Clock, Driver, Event, InjectQueue, Instant, Interest, Reactor, SignalPipe, TimerHeap, TimerKey,
    Token,
};

/// asyncio's clock resolution: a timer is due when its deadline is no later than this after now.
const CLOCK_RESOLUTION: Duration = Duration::from_nanos(1);

/// No wait is longer, whatever the next deadline; the loop then simply turns once more.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 60 * 60);

/// What a new [`EventLoop`] is made of.
#[derive(Debug)]
pub struct Options {
    /// Where time comes from.
    pub clock: Clock,
    /// Where I/O events come from.
    pub reactor: Reactor,
    /// Asks for I/O on every turn. Otherwise a loop with ready work may skip that for up to 40 µs
    /// at a time; see [`EventLoop::turn`].
    pub poll_every_turn: bool,
}

impl Options {
    /// The monotonic clock, the kernel's best reactor, skipped polls.
    ///
    /// # Errors
    ///
    /// As [`Reactor::new`].
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            clock: Clock::Monotonic,
            reactor: Reactor::new()?,
            poll_every_turn: false,
        })
    }
}

/// Runs entries of type `T`: those that are ready, those whose time has come, those that other
/// threads hand in.
///
/// It belongs to one thread, and every method takes `&self`, because entries that run use the loop
/// that runs them: nothing is borrowed while a [`Driver`] is called or an entry is dropped.
#[derive(Debug)]
pub struct EventLoop<T> {
    clock: Clock,
    ready: ReadyQueue<T>,
    timers: RefCell<TimerHeap<T>>,
    injector: Arc<InjectQueue<T>>,
    /// `None` once closed. Shared so that a wait does not borrow the cell.
    reactor: RefCell<Option<Arc<Reactor>>>,
    /// The buffer of a turn's events, kept for its memory. Empty while a turn uses it.
    events: RefCell<Vec<Event>>,
    /// Made when it is first asked for.
    signals: RefCell<Option<SignalPipe>>,
    policy: PollPolicy,
    /// When a turn has last looked for due timers, on the loop's clock.
    timers_seen: Cell<Instant>,
    /// Set by [`EventLoop::stop`], unset when a run ends.
    stopping: Cell<bool>,
    /// See [`EventLoop::turn_moment`].
    turn_moment: Cell<Instant>,
    /// Set by [`EventLoop::abandon`], for ever.
    abandoned: Cell<bool>,
}

/// How a turn gets its I/O events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Not at all, at this time on the monotonic clock.
    Skip { now: Instant },
    /// By a look that does not wait.
    PollNow,
    /// By a look, and by a wait when that finds nothing.
    Look,
    /// By a wait of this length, `None` for ever, that begins at this time on the monotonic clock.
    Wait {
        timeout: Option<Duration>,
        now: Instant,
    },
}

/// How a turn stands when it has its I/O events.
#[derive(Clone, Copy, Debug)]
struct Collected {
    /// The time on the monotonic clock.
    now: Instant,
    /// The wait ended without any event, and the turn without ready entries so far.
    is_idle: bool,
}

impl<T> EventLoop<T> {
    /// Makes a loop with nothing to do.
    ///
    /// # Errors
    ///
    /// What the kernel says when there is no file descriptor left.
    pub fn new(options: Options) -> io::Result<Self> {
        let injector = InjectQueue::new()?;
        let watched = injector
            .waker()
            .with_doorbell(|doorbell| options.reactor.watch_waker(doorbell));
        watched.expect("a new waker is open")?;
        Ok(Self {
            clock: options.clock,
            ready: ReadyQueue::new(),
            timers: RefCell::new(TimerHeap::new()),
            injector: Arc::new(injector),
            reactor: RefCell::new(Some(Arc::new(options.reactor))),
            events: RefCell::default(),
            signals: RefCell::default(),
            policy: PollPolicy::new(options.poll_every_turn),
            timers_seen: Cell::new(Instant::ZERO),
            stopping: Cell::new(false),
            turn_moment: Cell::new(Instant::ZERO),
            abandoned: Cell::new(false),
        })
    }

    /// The time now on the loop's clock.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        self.clock.now()
    }

    /// When the turn's batch began, on the monotonic clock whatever the loop's own is: a moment
    /// that costs nothing to know.
    #[inline]
    #[must_use]
    pub fn turn_moment(&self) -> Instant {
        self.turn_moment.get()
    }

    /// Queues an entry to run on the next turn, or on this one when its batch has not begun.
    #[inline]
    pub fn push_ready(&self, entry: T) {
        self.ready.push(entry);
    }

    /// How many entries are queued.
    #[inline]
    #[must_use]
    pub fn ready_len(&self) -> usize {
        self.ready.len()
    }

    /// Shows every queued entry, in order. For a garbage collector: allocates nothing; `visit` must
    /// not use the loop.
    pub fn for_each_ready(&self, visit: impl FnMut(&T)) {
        self.ready.for_each(visit);
    }

    /// Shows the queued entries behind the first `count`, in order: those that were queued since
    /// [`EventLoop::ready_len`] was that. `visit` must not use the loop.
    pub fn for_each_ready_from(&self, count: usize, visit: impl FnMut(&T)) {
        self.ready.for_each_from(count, visit);
    }

    /// Queues an entry to run when the loop's clock has reached `deadline`.
    #[inline]
    pub fn add_timer(&self, deadline: Instant, entry: T) -> TimerKey {
        self.timers.borrow_mut().insert(deadline, entry)
    }

    /// Takes a timer's entry back. `None` when it was queued for running, or cancelled, before.
    #[inline]
    pub fn cancel_timer(&self, key: TimerKey) -> Option<T> {
        self.timers.borrow_mut().cancel(key)
    }

    /// Whether the timer still waits for its time.
    #[must_use]
    pub fn has_timer(&self, key: TimerKey) -> bool {
        self.timers.borrow().contains(key)
    }

    /// How many timers there are; cancelled ones do not count.
    #[inline]
    #[must_use]
    pub fn timer_count(&self) -> usize {
        self.timers.borrow().len()
    }

    /// The earliest deadline of a timer.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        self.timers.borrow_mut().next_deadline()
    }

    /// Shows every timer's entry, in no particular order. For a garbage collector: allocates
    /// nothing; `visit` must not use the loop.
    pub fn for_each_timer(&self, visit: impl FnMut(&T)) {
        self.timers.borrow().for_each(visit);
    }

    /// The way in for other threads. It stays valid, but refuses entries, when the loop is gone.
    #[must_use]
    pub fn injector(&self) -> Arc<InjectQueue<T>> {
        Arc::clone(&self.injector)
    }

    /// Watches a file descriptor; its events go to [`Driver::event`] with this token.
    ///
    /// # Errors
    ///
    /// As [`Reactor::register`]; `EBADF` when the loop is closed.
    pub fn register(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        debug_assert!(!token.is_reserved());
        self.policy.force();
        self.with_reactor(|reactor| reactor.register(fd, token, interest))
    }

    /// Replaces token and interest of a file descriptor.
    ///
    /// # Errors
    ///
    /// As [`EventLoop::register`].
    pub fn modify(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        debug_assert!(!token.is_reserved());
        self.policy.force();
        self.with_reactor(|reactor| reactor.modify(fd, token, interest))
    }

    /// Stops watching a file descriptor. Nothing happens when the loop is closed.
    ///
    /// # Errors
    ///
    /// As [`Reactor::deregister`].
    pub fn deregister(&self, fd: RawFd) -> io::Result<()> {
        match self.reactor.borrow().as_ref() {
            Some(reactor) => reactor.deregister(fd),
            None => Ok(()),
        }
    }

    /// [`InjectQueue::push`] for who has the loop at hand: it spares the count of an `Arc`.
    ///
    /// # Errors
    ///
    /// Gives the entry back when the loop is closed.
    #[inline]
    pub fn inject(&self, entry: T) -> Result<(), T> {
        self.injector.push(entry)
    }

    /// Moves what other threads have injected so far behind the ready entries. The loop does so by
    /// itself before every wait; an owner that must keep the order between an injection it knows
    /// of and an entry it is about to push does it first. Only the owner thread calls it.
    pub fn collect_injected(&self) {
        self.ready.append_with(|ready| self.injector.drain(ready));
        self.policy.force();
    }

    /// Whether other threads have injected something that is not collected yet.
    #[inline]
    #[must_use]
    pub fn has_injected(&self) -> bool {
        self.injector.is_pending()
    }

    /// Whether there is something that other threads have injected, woken up for or not.
    #[must_use]
    pub fn is_handed_something(&self) -> bool {
        self.injector.is_pending() || !self.injector.is_empty()
    }

    /// Says that something was written to an fd, or a signal arrived by another way than the
    /// signal pipe: the next turn asks for I/O even if it has ready work.
    #[inline]
    pub fn note_io(&self) {
        self.policy.force();
    }

    /// What a signal handler writes a signal's number to, as one byte, for [`Driver::signal`]. It
    /// is open until the loop is closed.
    ///
    /// # Errors
    ///
    /// What the kernel says when there is no file descriptor left; `EBADF` when the loop is
    /// closed.
    pub fn signal_fd(&self) -> io::Result<RawFd> {
        if let Some(pipe) = self.signals.borrow().as_ref() {
            return Ok(pipe.write_fd());
        }
        let pipe = SignalPipe::new()?;
        self.with_reactor(|reactor| {
            reactor.register(pipe.read_fd(), Token::SIGNAL, Interest::READABLE)
        })?;
        let write_fd = pipe.write_fd();
        self.signals.replace(Some(pipe));
        Ok(write_fd)
    }

    /// Ends the run at the end of this turn; of the first turn, when the loop does not run.
    #[inline]
    pub fn stop(&self) {
        self.stopping.set(true);
    }

    /// Whether [`EventLoop::stop`] was called and the run has not ended.
    #[inline]
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping.get()
    }

    /// Frees what the loop holds: closes the injector, reactor and signal pipe, and returns every
    /// entry, so that the caller drops them with nothing borrowed. Idempotent. A signal handler
    /// must not use [`EventLoop::signal_fd`] any more.
    pub fn close(&self) -> Vec<T> {
        drop(self.signals.take());
        drop(self.reactor.take());
        let mut entries = Vec::from(self.ready.take_all());
        entries.extend(self.timers.take().take_all());
        if !self.abandoned.get() {
            entries.extend(self.injector.close());
        }
        entries
    }

    /// For the child of a fork, where this loop is a copy of the parent's: lets go of what both
    /// would share, without telling the kernel anything, because the epoll set is the parent's. The
    /// entries stay where they are; they are the parent's to run. Nothing waits for a lock, neither
    /// here nor when the loop is dropped: a thread that this process does not have may hold it.
    pub fn abandon(&self) {
        self.abandoned.set(true);
        drop(self.signals.take());
        drop(self.reactor.take());
        self.injector.waker().abandon();
    }

    /// Turns until [`EventLoop::stop`]. It can be called again afterwards, whatever it returned.
    ///
    /// Meanwhile the thread's timer slack is 1 µs, and so is that of threads and processes it makes.
    ///
    /// # Errors
    ///
    /// What the driver or the reactor failed with. A stop that was asked for is forgotten.
    pub fn run<D: Driver<T>>(&self, driver: &mut D) -> Result<(), D::Error> {
        self.policy.force();
        let _slack = TimerSlack::shorten();
        let outcome = loop {
            match self.turn(driver) {
                Ok(()) if !self.is_stopping() => {}
                outcome => break outcome,
            }
        };
        self.stopping.set(false);
        outcome
    }

    /// One iteration of the loop.
    ///
    /// 1. **Prepare.** With ready entries, or a stop asked for, the turn does not wait. Otherwise
    ///    it waits until the next deadline, 24 hours at most; with no deadline, for ever. On a
    ///    virtual clock it never waits for a deadline. A loop whose last waits found events at once
    ///    looks for them before it waits.
    /// 2. **Wait** for I/O. A turn with ready entries may skip this for up to 40 µs, but never the
    ///    first turn of a run, nor the turn a stop takes effect on, nor within 16 turns of an
    ///    event, nor after an fd was registered or written to, nor with a wake pending.
    /// 3. **Collect** what became ready: entries of other threads, signals, I/O events, then due
    ///    timers by deadline. When nothing at all happened, a virtual clock moves to the next
    ///    deadline first.
    /// 4. **Drain** exactly the entries that are ready now; what they add waits for the next turn.
    ///
    /// [`Driver::end_of_turn`] ends every turn, also one that fails.
    ///
    /// # Errors
    ///
    /// What the driver or the reactor failed with. Entries that have not run stay queued.
    pub fn turn<D: Driver<T>>(&self, driver: &mut D) -> Result<(), D::Error> {
        let outcome = self.prepare_wait_collect_drain(driver);
        driver.end_of_turn(self, outcome)
    }

    fn prepare_wait_collect_drain<D: Driver<T>>(&self, driver: &mut D) -> Result<(), D::Error> {
        let mut plan = self.prepare(driver)?;
        let mut collected = self.carry_out(plan, driver)?;
        if plan == Plan::Look {
            self.policy.looked(!collected.is_idle);
            if collected.is_idle && !self.is_stopping() {
                plan = self.plan_wait(driver)?;
                collected = self.carry_out(plan, driver)?;
            }
        }
        self.turn_moment.set(collected.now);
        self.collect_timers(driver, collected)?;
        let count = self.ready.len();
        driver.begin_batch(self, count);
        self.drain(driver, count)?;
        if matches!(plan, Plan::Skip { .. }) && self.is_stopping() {
            self.make_up_for_skipped_poll(driver)?;
        }
        Ok(())
    }

    fn prepare<D: Driver<T>>(&self, driver: &mut D) -> Result<Plan, D::Error> {
        let forced = self.policy.begin_turn();
        if !self.ready.is_empty() || self.is_stopping() {
            return Ok(self.plan_busy_turn(forced));
        }
        let is_real = matches!(self.clock, Clock::Monotonic);
        if is_real && self.policy.looks_first() && driver.may_look() {
            return Ok(Plan::Look);
        }
        self.plan_wait(driver)
    }

    /// Nothing is ready.
    fn plan_wait<D: Driver<T>>(&self, driver: &mut D) -> Result<Plan, D::Error> {
        match (&self.clock, self.next_deadline()) {
            (_, None) => Ok(Plan::Wait {
                timeout: None,
                now: monotonic_now(),
            }),
            (Clock::Virtual(_), Some(_)) => Ok(Plan::PollNow),
            (Clock::Monotonic, Some(deadline)) => {
                let now = self.now();
                let timeout = deadline.saturating_since(driver.now(self, now)?);
                Ok(Plan::Wait {
                    timeout: Some(timeout.min(LONGEST_WAIT)),
                    now,
                })
            }
        }
    }

    fn carry_out<D: Driver<T>>(&self, plan: Plan, driver: &mut D) -> Result<Collected, D::Error> {
        match plan {
            Plan::Skip { now } => Ok(Collected {
                now,
                is_idle: false,
            }),
            Plan::PollNow | Plan::Look => self.wait_and_collect(driver, Some(Duration::ZERO)),
            Plan::Wait { timeout, now } => {
                driver.begin_wait(now);
                self.wait_and_collect(driver, timeout)
            }
        }
    }

    fn plan_busy_turn(&self, forced: bool) -> Plan {
        if forced || self.is_stopping() || self.injector.is_pending() {
            return Plan::PollNow;
        }
        let now = monotonic_now();
        if self.policy.wants_poll(now) {
            Plan::PollNow
        } else {
            Plan::Skip { now }
        }
    }

    /// Waits, and collects everything but timers.
    fn wait_and_collect<D: Driver<T>>(
        &self,
        driver: &mut D,
        timeout: Option<Duration>,
    ) -> Result<Collected, D::Error> {
        let reactor = self.open_reactor()?;
        let mut events = self.events.take();
        let timeout = self.timeout_unless_woken(timeout);
        let waited = driver.wait(timeout, || reactor.wait(&mut events, timeout));
        self.ready.append_with(|ready| self.injector.drain(ready));
        let now = monotonic_now();
        driver.polled(now);
        self.policy.polled(now, events.iter().any(is_io));
        let is_quiet = waited.is_ok() && events.is_empty();
        let told = match waited {
            Ok(()) => self.collect_events(driver, &events),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => driver.interrupted(),
            Err(error) => Err(error.into()),
        };
        events.clear();
        self.events.replace(events);
        told?;
        let is_idle = is_quiet && self.ready.is_empty();
        Ok(Collected { now, is_idle })
    }

    /// A wait that would last tells the waker first; a wake that came before makes it not last.
    fn timeout_unless_woken(&self, timeout: Option<Duration>) -> Option<Duration> {
        if timeout == Some(Duration::ZERO) || self.injector.waker().fall_asleep() {
            timeout
        } else {
            Some(Duration::ZERO)
        }
    }

    fn collect_events<D: Driver<T>>(
        &self,
        driver: &mut D,
        events: &[Event],
    ) -> Result<(), D::Error> {
        self.collect_signals(driver, events)?;
        for &event in events.iter().filter(|event| is_io(event)) {
            driver.event(self, event)?;
        }
        Ok(())
    }

    fn collect_signals<D: Driver<T>>(
        &self,
        driver: &mut D,
        events: &[Event],
    ) -> Result<(), D::Error> {
        let has_arrived = match self.signals.borrow().as_ref() {
            None => return Ok(()),
            Some(pipe) => pipe.has_arrived(),
        };
        if has_arrived || events.iter().any(|event| event.token == Token::SIGNAL) {
            while let Some(number) = self.take_signal() {
                driver.signal(self, number)?;
            }
        }
        Ok(())
    }

    fn take_signal(&self) -> Option<u8> {
        self.signals.borrow().as_ref()?.take()
    }

    /// Queues the timers that are due.
    #[inline]
    fn collect_timers<D: Driver<T>>(
        &self,
        driver: &mut D,
        collected: Collected,
    ) -> Result<(), D::Error> {
        if self.timers.borrow().is_empty() {
            self.timers_seen.set(self.clock.at(collected.now));
            return Ok(());
        }
        if collected.is_idle && !self.is_stopping() {
            self.jump_to_next_deadline();
        }
        let now = driver.now(self, self.clock.at(collected.now))?;
        let due = now.saturating_add(CLOCK_RESOLUTION);
        // A timer that is due now was not so, or not set, when the turn before looked.
        let since = self.timers_seen.replace(now);
        let mut timers = self.timers.borrow_mut();
        let first = timers.next_deadline().filter(|&deadline| deadline <= due);
        while let Some(entry) = timers.pop_due(due) {
            self.ready.push(entry);
        }
        drop(timers);
        if let Some(deadline) = first {
            driver.timers_due(now.saturating_since(deadline.max(since)));
        }
        Ok(())
    }

    /// Nothing is left to do before the next deadline: a virtual clock need not wait for it.
    fn jump_to_next_deadline(&self) {
        if let Clock::Virtual(clock) = &self.clock
            && let Some(deadline) = self.next_deadline()
        {
            clock.advance_to(deadline);
        }
    }

    /// Runs the first `count` entries.
    #[inline]
    fn drain<D: Driver<T>>(&self, driver: &mut D, count: usize) -> Result<(), D::Error> {
        for _ in 0..count {
            // An entry may itself have turned the loop, and run what was counted here.
            let Some(entry) = self.ready.pop() else {
                break;
            };
            driver.run(self, entry)?;
        }
        Ok(())
    }

    /// A stop took effect on a turn that had skipped its poll. The turn is given what the poll
    /// would have added to the end of its batch, before what the batch has left for later turns.
    #[cold]
    fn make_up_for_skipped_poll<D: Driver<T>>(&self, driver: &mut D) -> Result<(), D::Error> {
        let left_for_later = self.ready.len();
        let polled = self.wait_and_collect(driver, Some(Duration::ZERO));
        self.ready.rotate(left_for_later);
        polled?;
        self.drain(driver, self.ready.len() - left_for_later)
    }

    fn open_reactor(&self) -> io::Result<Arc<Reactor>> {
        self.reactor.borrow().clone().ok_or_else(closed)
    }

    fn with_reactor(&self, visit: impl FnOnce(&Reactor) -> io::Result<()>) -> io::Result<()> {
        visit(self.reactor.borrow().as_deref().ok_or_else(closed)?)
    }
}

impl<T> Drop for EventLoop<T> {
    fn drop(&mut self) {
        // Other threads may hold the injector for long; what they push must come back to them.
        drop(self.close());
    }
}

/// Whether an event is the driver's and not the loop's own.
fn is_io(event: &Event) -> bool {
    !event.token.is_reserved()
}

/// What a system call says of a closed file descriptor.
fn closed() -> io::Error {
    Errno::BADF.into()
}
