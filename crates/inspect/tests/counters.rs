//! Where a loop's time goes, told by hand.

use ferrio_inspect::Counters;
use ferrio_inspect::counters::{Spent, TransportKind};

const SECOND: u64 = 1_000_000_000;

#[test]
fn nothing_is_spent_while_the_loop_does_not_run() {
    let counters = Counters::new();
    assert_eq!(counters.spent(5 * SECOND), Spent::default());
    counters.begin_run(SECOND);
    counters.end_run(2 * SECOND);
    let spent = counters.spent(9 * SECOND);
    assert_eq!((spent.busy, spent.waiting, spent.lag), (SECOND, 0, 0));
    assert!(!spent.runs);
}

#[test]
fn a_busy_stretch_lasts_from_one_poll_to_the_next() {
    let counters = Counters::new();
    counters.begin_run(100);
    counters.begin_wait(110);
    counters.polled(150);
    // A look that does not wait: the stretch before it counts to its end.
    counters.polled(180);
    counters.begin_wait(200);
    counters.polled(300);
    let spent = counters.spent(300);
    assert_eq!((spent.busy, spent.waiting), (10 + 30 + 20, 40 + 100));
    let lag = counters.lag.read();
    assert_eq!(lag.count, 3);
    assert!((lag.longest - 30e-9).abs() < 1e-15);
}

#[test]
fn what_goes_on_is_counted() {
    let counters = Counters::new();
    counters.begin_run(SECOND);
    counters.begin_wait(SECOND);
    counters.polled(2 * SECOND);
    let blocked = counters.spent(5 * SECOND);
    assert_eq!((blocked.lag, blocked.busy), (3 * SECOND, 3 * SECOND));
    counters.begin_wait(5 * SECOND);
    let waiting = counters.spent(7 * SECOND);
    assert_eq!((waiting.lag, waiting.waiting), (0, 3 * SECOND));
}

#[test]
fn the_recent_share_forgets() {
    let counters = Counters::new();
    counters.begin_run(0);
    // Ten seconds of work, then three of nothing much.
    for second in 1..=10 {
        counters.polled(second * SECOND);
    }
    let (whole, part) = counters.spent(10 * SECOND).recent;
    assert_eq!(whole, part);
    for second in 10..13 {
        counters.begin_wait(second * SECOND);
        counters.polled((second + 1) * SECOND);
    }
    let (whole, part) = counters.spent(13 * SECOND).recent;
    assert!(whole >= SECOND);
    assert_eq!(part, 0);
}

#[test]
fn the_recent_share_is_known_in_a_long_wait_and_in_a_long_block() {
    let counters = Counters::new();
    counters.begin_run(0);
    counters.polled(SECOND);
    counters.begin_wait(SECOND);
    assert_eq!(counters.spent(11 * SECOND).recent, (10 * SECOND, 0));
    counters.polled(11 * SECOND);
    assert_eq!(counters.spent(16 * SECOND).recent, (5 * SECOND, 5 * SECOND));
}

#[test]
fn the_batch_is_gone_in_a_wait() {
    use std::sync::atomic::Ordering;

    let counters = Counters::new();
    counters.begin_run(0);
    counters.begin_batch(7, 3);
    assert_eq!(counters.ready.load(Ordering::Relaxed), 7);
    counters.begin_wait(10);
    assert_eq!(counters.ready.load(Ordering::Relaxed), 0);
    assert_eq!(counters.timers.load(Ordering::Relaxed), 3);
}

#[test]
fn transports_are_open_until_they_are_closed() {
    let traffic = Counters::new().traffic;
    traffic.opened(TransportKind::Stream);
    traffic.opened(TransportKind::Stream);
    traffic.closed(TransportKind::Stream);
    assert_eq!(traffic.transports(TransportKind::Stream), (1, 2));
    assert_eq!(traffic.transports(TransportKind::Tls), (0, 0));
    traffic.received(10);
    traffic.sent(4);
    traffic.buffered(0, 9);
    traffic.buffered(9, 2);
    assert_eq!(traffic.bytes(), (10, 4, 2, 2));
}
