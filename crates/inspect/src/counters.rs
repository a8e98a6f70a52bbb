//! What a loop's thread counts while it works, for whoever reads from another thread.
//!
//! The loop's thread writes with plain relaxed loads and stores, a few for each turn and each
//! system call and none for each callback. Other threads of the loop's, those of its executor, add
//! with atomic additions, in fields of their own. Readers get numbers that are each right but may be
//! a turn apart.
//!
//! # Busy, waiting and lag
//!
//! A loop that runs either **waits** for events (it is in the poll, or takes the interpreter back
//! after it) or is **busy**. A busy stretch begins when a poll ends and lasts until the next one.
//! What arrives in between is noticed at its end, so the stretch is how late the loop can be for
//! it: the stretches are its **lag**. The loop reads its clock after every poll anyway; before a
//! poll that may wait it reads it for its timers or, without any, for this. A poll that does not
//! wait counts as busy.
//!
//! How late timers are is known exactly: for each turn that finds timers due, the time since the
//! earliest deadline.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::Histogram;
use crate::histogram::add;

/// How long the busy share that is shown looks back, at least, in nanoseconds.
const WINDOW: u64 = 1_000_000_000;

/// One loop's counters.
#[derive(Debug, Default)]
pub struct Counters {
    /// Busy stretches.
    pub lag: Histogram,
    /// How late timers were.
    pub timer_lateness: Histogram,
    /// Entries in the batch of the turn; 0 while the loop waits.
    pub ready: AtomicU64,
    /// Timers that wait.
    pub timers: AtomicU64,
    /// Times below are nanoseconds on the monotonic clock, durations nanoseconds.
    clock: Stretches,
    /// The loop's transports.
    pub traffic: Traffic,
    /// The loop's default executor.
    pub executor: Executor,
    /// Name lookups that were made for the loop.
    pub lookups: Calls,
    /// The loop's servers.
    pub accepts: Accepts,
}

/// Where the loop's time goes.
#[derive(Debug, Default)]
struct Stretches {
    busy: AtomicU64,
    waiting: AtomicU64,
    /// When the stretch began that goes on; 0 while the loop does not run.
    since: AtomicU64,
    /// Whether that is a wait.
    in_wait: AtomicBool,
    /// When the window began that goes on, and `busy` at that time.
    window_since: AtomicU64,
    window_busy: AtomicU64,
    /// How long the window before was, and how much of it busy.
    last_window: AtomicU64,
    last_window_busy: AtomicU64,
}

/// Bytes and transports. Written by the loop's thread.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Transports that are open, by [`TransportKind`].
    open: [AtomicU64; TransportKind::ALL.len()],
    /// Transports that were opened.
    opened: [AtomicU64; TransportKind::ALL.len()],
    /// What the kernel gave.
    received: AtomicU64,
    /// What the kernel took.
    sent: AtomicU64,
    /// System calls that gave or took something.
    calls: AtomicU64,
    /// What transports keep because the kernel did not take it.
    buffered: AtomicU64,
}

/// What kind of transport.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransportKind {
    /// TCP and Unix streams.
    Stream,
    /// The same with TLS.
    Tls,
    /// UDP and Unix datagrams.
    Datagram,
    /// Pipes, to and from subprocesses too.
    Pipe,
}

impl TransportKind {
    /// All there are.
    pub const ALL: [TransportKind; 4] = [
        TransportKind::Stream,
        TransportKind::Tls,
        TransportKind::Datagram,
        TransportKind::Pipe,
    ];

    /// The word for it in what is shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            TransportKind::Stream => "stream",
            TransportKind::Tls => "tls",
            TransportKind::Datagram => "datagram",
            TransportKind::Pipe => "pipe",
        }
    }
}

/// Calls that threads make for the loop. Any thread writes.
#[derive(Debug, Default)]
pub struct Calls {
    /// Calls that were handed over.
    pub submitted: AtomicU64,
    /// Calls that raised.
    pub failed: AtomicU64,
    /// From being handed over to being begun.
    pub wait: Histogram,
    /// From there to the end.
    pub run: Histogram,
}

/// The default executor. Any thread writes.
pub type Executor = Calls;

/// Connections that servers accept. Written by the loop's thread.
#[derive(Debug, Default)]
pub struct Accepts {
    /// Connections that were accepted.
    pub accepted: AtomicU64,
    /// Calls of `accept()` that failed.
    pub failed: AtomicU64,
}

/// Where a loop's time went, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Spent {
    /// In turns.
    pub busy: u64,
    /// In waits.
    pub waiting: u64,
    /// How long the present busy stretch has lasted; 0 in a wait and when the loop does not run.
    pub lag: u64,
    /// Of the last second or two: how much there is to look at, and how much of it was busy.
    pub recent: (u64, u64),
    /// Whether the loop runs.
    pub runs: bool,
}

impl Counters {
    /// A loop that has counted nothing yet.
    #[must_use]
    pub fn new() -> Counters {
        Counters::default()
    }

    /// The loop begins to run, `now`.
    pub fn begin_run(&self, now: u64) {
        let clock = &self.clock;
        clock.in_wait.store(false, Ordering::Relaxed);
        clock.window_since.store(now, Ordering::Relaxed);
        let busy = clock.busy.load(Ordering::Relaxed);
        clock.window_busy.store(busy, Ordering::Relaxed);
        clock.last_window.store(0, Ordering::Relaxed);
        clock.last_window_busy.store(0, Ordering::Relaxed);
        clock.since.store(now, Ordering::Relaxed);
    }

    /// The loop ends to run, `now`.
    pub fn end_run(&self, now: u64) {
        self.end_stretch(now);
        self.clock.since.store(0, Ordering::Relaxed);
        self.ready.store(0, Ordering::Relaxed);
    }

    /// A poll begins `now` that may wait.
    #[inline]
    pub fn begin_wait(&self, now: u64) {
        self.end_stretch(now);
        self.clock.in_wait.store(true, Ordering::Relaxed);
        self.ready.store(0, Ordering::Relaxed);
    }

    /// A poll has ended `now`, whether or not it could wait.
    #[inline]
    pub fn polled(&self, now: u64) {
        self.end_stretch(now);
        self.clock.in_wait.store(false, Ordering::Relaxed);
        let since = self.clock.window_since.load(Ordering::Relaxed);
        if now.wrapping_sub(since) >= WINDOW {
            self.begin_window(since, now);
        }
    }

    /// A turn runs a batch of so many entries; so many timers wait.
    #[inline]
    pub fn begin_batch(&self, ready: usize, timers: usize) {
        self.ready.store(ready as u64, Ordering::Relaxed);
        self.timers.store(timers as u64, Ordering::Relaxed);
    }

    /// What was going on until `now` is counted; the next stretch begins.
    #[inline]
    fn end_stretch(&self, now: u64) {
        let clock = &self.clock;
        let length = now.saturating_sub(clock.since.load(Ordering::Relaxed));
        clock.since.store(now, Ordering::Relaxed);
        if clock.in_wait.load(Ordering::Relaxed) {
            add(&clock.waiting, length);
        } else {
            add(&clock.busy, length);
            self.lag.add(length);
        }
    }

    #[cold]
    fn begin_window(&self, since: u64, now: u64) {
        let clock = &self.clock;
        let busy = clock.busy.load(Ordering::Relaxed);
        let last_busy = busy - clock.window_busy.load(Ordering::Relaxed);
        clock.last_window.store(now - since, Ordering::Relaxed);
        clock.last_window_busy.store(last_busy, Ordering::Relaxed);
        clock.window_busy.store(busy, Ordering::Relaxed);
        clock.window_since.store(now, Ordering::Relaxed);
    }

    /// Where the time went, with what goes on `now`. For any thread.
    #[must_use]
    pub fn spent(&self, now: u64) -> Spent {
        let clock = &self.clock;
        let mut busy = clock.busy.load(Ordering::Relaxed);
        let mut waiting = clock.waiting.load(Ordering::Relaxed);
        let since = clock.since.load(Ordering::Relaxed);
        if since == 0 {
            return Spent {
                busy,
                waiting,
                ..Spent::default()
            };
        }
        let length = now.saturating_sub(since);
        let in_wait = clock.in_wait.load(Ordering::Relaxed);
        if in_wait {
            waiting += length;
        } else {
            busy += length;
        }
        let mut window = now.saturating_sub(clock.window_since.load(Ordering::Relaxed));
        let mut window_busy = busy.saturating_sub(clock.window_busy.load(Ordering::Relaxed));
        if window < WINDOW {
            window += clock.last_window.load(Ordering::Relaxed);
            window_busy += clock.last_window_busy.load(Ordering::Relaxed);
        }
        Spent {
            busy,
            waiting,
            lag: if in_wait { 0 } else { length },
            recent: (window, window_busy.min(window)),
            runs: true,
        }
    }
}

impl Traffic {
    /// A transport was made.
    pub fn opened(&self, kind: TransportKind) {
        add(&self.open[kind as usize], 1);
        add(&self.opened[kind as usize], 1);
    }

    /// A transport has let go of its descriptor.
    pub fn closed(&self, kind: TransportKind) {
        add(&self.open[kind as usize], 1_u64.wrapping_neg());
    }

    /// A system call has given so many bytes.
    #[inline]
    pub fn received(&self, bytes: usize) {
        add(&self.received, bytes as u64);
        add(&self.calls, 1);
    }

    /// A system call has taken so many bytes.
    #[inline]
    pub fn sent(&self, bytes: usize) {
        add(&self.sent, bytes as u64);
        add(&self.calls, 1);
    }

    /// A transport keeps so many bytes, and not so many as before.
    #[inline]
    pub fn buffered(&self, before: usize, now: usize) {
        add(&self.buffered, (now as u64).wrapping_sub(before as u64));
    }

    /// Transports that are open and that were ever opened.
    #[must_use]
    pub fn transports(&self, kind: TransportKind) -> (u64, u64) {
        (
            self.open[kind as usize].load(Ordering::Relaxed),
            self.opened[kind as usize].load(Ordering::Relaxed),
        )
    }

    /// Bytes received, bytes sent, system calls, bytes kept.
    #[must_use]
    pub fn bytes(&self) -> (u64, u64, u64, u64) {
        (
            self.received.load(Ordering::Relaxed),
            self.sent.load(Ordering::Relaxed),
            self.calls.load(Ordering::Relaxed),
            self.buffered.load(Ordering::Relaxed),
        )
    }
}

impl Calls {
    /// A call was handed over.
    pub fn submit(&self) {
        self.submitted.fetch_add(1, Ordering::Relaxed);
    }

    /// A call was made: it waited and ran for so many nanoseconds.
    pub fn made(&self, wait: u64, run: u64, failed: bool) {
        self.wait.add_shared(wait);
        self.run.add_shared(run);
        if failed {
            self.failed.fetch_add(1, Ordering::Relaxed);
        }
    }
}
