//! The clock that all times here are on.

use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of `CLOCK_MONOTONIC`, the clock of Python's `time.monotonic()` and of the loops.
#[must_use]
pub fn now_ns() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    let nanos = time.tv_sec * 1_000_000_000 + time.tv_nsec;
    // The clock starts at 0 with the machine.
    u64::try_from(nanos).unwrap_or(0)
}

/// The same in seconds.
#[must_use]
pub fn now() -> f64 {
    seconds(now_ns())
}

/// Nanoseconds as seconds.
#[must_use]
#[allow(clippy::cast_precision_loss)] // A float of seconds is what was asked for.
pub fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
