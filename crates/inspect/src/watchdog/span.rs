//! A stretch of time in which a loop did not come on.

use std::time::Duration;

use super::eyes::{Eyes, RunTime};

/// A processor's time is counted by ticks of up to 10 ms: a thread whose count has not moved for
/// longer was not running.
const COUNTED_AFTER: Duration = Duration::from_millis(20);

/// Since when something goes on, and how much of that was nobody's fault.
///
/// Times are the monotonic clock's.
#[derive(Debug)]
pub(super) struct Span {
    /// When it was first seen: it is at least that old.
    pub(super) began: Duration,
    /// When it was last seen to go on.
    pub(super) seen: Duration,
    /// How much of it the watchdog itself was kept from running: as likely as not the loop was too.
    excused: Duration,
    first: Option<RunTime>,
    last: Option<RunTime>,
    /// Up to when all of the thread's time is in its run time, or else it slept.
    accounted: Duration,
}

impl Span {
    pub(super) fn begin(now: Duration, run_time: Option<RunTime>) -> Span {
        Span {
            began: now,
            seen: now,
            excused: Duration::ZERO,
            first: run_time,
            last: run_time,
            accounted: now,
        }
    }

    /// It still goes on; the watchdog comes later than it wanted by `late`.
    pub(super) fn go_on(&mut self, now: Duration, late: Duration, run_time: Option<RunTime>) {
        // Before it began nobody was kept from anything.
        self.excused += late.min(now.saturating_sub(self.seen));
        if run_time != self.last {
            // It has had a processor since the last look, but perhaps long ago: when the watchdog
            // comes late, the thread may be waiting again since then.
            self.accounted = match (self.last, run_time) {
                (Some(before), Some(after)) => now.min(self.seen + after.since(before)),
                _ => now,
            };
            self.last = run_time;
        }
        self.seen = now;
    }

    /// How long it has been going on.
    pub(super) fn elapsed(&self) -> Duration {
        self.seen.saturating_sub(self.began)
    }

    /// How long, without what the watchdog has missed.
    pub(super) fn net(&self) -> Duration {
        self.elapsed().saturating_sub(self.excused)
    }

    /// Whether the thread could have run for more than half of the time, and did not.
    pub(super) fn is_descheduled(&self, thread: u32, eyes: &mut dyn Eyes) -> bool {
        let (Some(first), Some(last)) = (self.first, self.last) else {
            return false;
        };
        let mut delay = last.delay.saturating_sub(first.delay);
        // The kernel counts a delay when it is over.
        let still = self.seen.saturating_sub(self.accounted);
        if still > COUNTED_AFTER && eyes.is_runnable(thread) {
            delay += still;
        }
        delay * 2 > self.elapsed()
    }
}
