//! Where a loop's time comes from: the machine, or a test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

use crate::Instant;

/// The source of a loop's time.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The kernel's `CLOCK_MONOTONIC`, the clock of Python's `time.monotonic()`.
    #[default]
    Monotonic,
    /// A clock that stands still until it is moved. A loop that has nothing else to do moves it to
    /// its next deadline, so a program of sleeps runs to its end without sleeping.
    Virtual(VirtualClock),
}

impl Clock {
    /// The time now.
    #[inline]
    #[must_use]
    pub fn now(&self) -> Instant {
        match self {
            Self::Monotonic => monotonic_now(),
            Self::Virtual(clock) => clock.now(),
        }
    }

    /// The time now, given a reading of the monotonic clock: one reading then serves the loop's
    /// own bookkeeping and its timers.
    #[inline]
    pub(crate) fn at(&self, monotonic: Instant) -> Instant {
        match self {
            Self::Monotonic => monotonic,
            Self::Virtual(clock) => clock.now(),
        }
    }
}

/// A clock that moves only when it is told to. Clones share the same time.
#[derive(Clone, Debug, Default)]
pub struct VirtualClock {
    /// Nanoseconds since zero. An atomic, so that a test's other threads may read and move it.
    nanos: Arc<AtomicI64>,
}

impl VirtualClock {
    /// A clock that stands at [`Instant::ZERO`].
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The time now.
    #[must_use]
    pub fn now(&self) -> Instant {
        Instant::from_nanos(self.nanos.load(Ordering::Acquire))
    }

    /// Moves the clock forward by `duration`.
    pub fn advance(&self, duration: Duration) {
        self.advance_to(self.now().saturating_add(duration));
    }

    /// Moves the clock forward to `instant`. Time never goes back: an earlier `instant` changes
    /// nothing.
    pub fn advance_to(&self, instant: Instant) {
        self.nanos.fetch_max(instant.as_nanos(), Ordering::AcqRel);
    }
}

/// `CLOCK_MONOTONIC` now. Read through the vDSO, so it is no system call.
#[inline]
#[must_use]
pub fn monotonic_now() -> Instant {
    let time = clock_gettime(ClockId::Monotonic);
    Instant::from_nanos(time.tv_sec * 1_000_000_000 + time.tv_nsec)
}
