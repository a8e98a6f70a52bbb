//! Points on a clock, as numbers of nanoseconds and of seconds.

use std::time::Duration;

use ferrio_core::{Clock, Instant};

#[test]
fn arithmetic_saturates() {
    let end = Instant::MAX;
    assert_eq!(end.saturating_add(Duration::from_nanos(1)), end);
    assert_eq!(Instant::ZERO.saturating_add(Duration::MAX), end);
    let start = Instant::from_nanos(i64::MIN);
    let whole_range = Duration::from_nanos(u64::MAX);
    assert_eq!(end.saturating_since(start), whole_range);
    assert_eq!(start.saturating_since(end), Duration::ZERO);
    assert_eq!(start.checked_since(end), None);
}

#[test]
fn seconds_are_rounded_to_the_nearest_nanosecond() {
    assert_eq!(
        Instant::from_secs_f64(1.5),
        Instant::from_nanos(1_500_000_000)
    );
    assert_eq!(
        Instant::from_secs_f64(0.1 + 0.2),
        Instant::from_secs_f64(0.3)
    );
    assert_eq!(
        Instant::from_secs_f64(-2.0),
        Instant::from_nanos(-2_000_000_000)
    );
    assert_eq!(Instant::from_secs_f64(f64::INFINITY), Instant::MAX);
    assert_eq!(Instant::from_nanos(2_500_000_000).as_secs_f64(), 2.5);
}

#[test]
fn the_monotonic_clock_moves_forward() {
    let clock = Clock::Monotonic;
    let (first, second) = (clock.now(), clock.now());
    assert!(Instant::ZERO < first && first <= second);
}
