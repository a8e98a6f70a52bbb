//! [`Instant`]: a point on the loop's clock.

use std::time::Duration;

const NANOS_PER_SECOND: f64 = 1e9;

/// A point in time on an event loop's clock, in whole nanoseconds.
///
/// It is a plain number and not [`std::time::Instant`] because a loop's clock may be virtual, and
/// it is signed because a caller may schedule for a time before the clock's zero and still expects
/// deadlines to keep their order. The range is about 292 years to either side; arithmetic
/// saturates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Instant(i64);

impl Instant {
    /// The clock's zero.
    pub const ZERO: Self = Self(0);
    /// The last point the type can name. A timer with this deadline never fires.
    pub const MAX: Self = Self(i64::MAX);

    /// The point `nanos` nanoseconds after the clock's zero.
    #[inline]
    #[must_use]
    pub const fn from_nanos(nanos: i64) -> Self {
        Self(nanos)
    }

    /// Nanoseconds since the clock's zero.
    #[inline]
    #[must_use]
    pub const fn as_nanos(self) -> i64 {
        self.0
    }

    /// The point `seconds` after the clock's zero, rounded to the nearest nanosecond.
    ///
    /// Saturates at both ends; infinity is [`Instant::MAX`]. NaN becomes zero: callers that can
    /// meet it refuse it first.
    #[inline]
    #[must_use]
    pub fn from_secs_f64(seconds: f64) -> Self {
        #[allow(clippy::cast_possible_truncation)] // `as` saturates, which is what is wanted.
        Self((seconds * NANOS_PER_SECOND).round() as i64)
    }

    /// Seconds since the clock's zero, as Python's `time.monotonic()` gives them.
    #[inline]
    #[must_use]
    pub fn as_secs_f64(self) -> f64 {
        #[allow(clippy::cast_precision_loss)] // A float of seconds is what was asked for.
        let nanos = self.0 as f64;
        nanos / NANOS_PER_SECOND
    }

    /// This point moved into the future, at most to [`Instant::MAX`].
    #[inline]
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let nanos = i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        Self(self.0.saturating_add(nanos))
    }

    /// How long after `earlier` this point is, or `None` when it is before it.
    #[inline]
    #[must_use]
    pub fn checked_since(self, earlier: Self) -> Option<Duration> {
        let ordered = self.0 >= earlier.0;
        ordered.then(|| Duration::from_nanos(self.0.abs_diff(earlier.0)))
    }

    /// How long after `earlier` this point is; zero when it is before it.
    #[inline]
    #[must_use]
    pub fn saturating_since(self, earlier: Self) -> Duration {
        self.checked_since(earlier).unwrap_or(Duration::ZERO)
    }
}
