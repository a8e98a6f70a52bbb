//! Cancelling gives the entry back at once, costs memory for a bounded time only, and is safe at
//! any moment.

mod support;

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use ferrio_core::{Instant, TimerHeap};
use support::{Log, Runner, at_millis, call, virtual_loop};

#[test]
fn cancelled_entries_come_back_and_do_not_run() -> io::Result<()> {
    let ((event_loop, _clock), log) = (virtual_loop(), Log::default());
    let key = event_loop.add_timer(at_millis(1), log.entry("cancelled"));
    event_loop.add_timer(at_millis(2), log.entry("kept"));
    assert!(event_loop.cancel_timer(key).is_some());
    assert!(event_loop.cancel_timer(key).is_none());
    assert_eq!(event_loop.timer_count(), 1);
    event_loop.turn(&mut Runner::default())?;
    assert_eq!(log.take(), "kept");
    Ok(())
}

#[test]
fn a_key_names_nothing_after_its_timer_fired() -> io::Result<()> {
    let ((event_loop, _clock), log) = (virtual_loop(), Log::default());
    let fired = event_loop.add_timer(at_millis(1), log.entry("first"));
    event_loop.turn(&mut Runner::default())?;
    // It takes the slot of the first.
    event_loop.add_timer(at_millis(2), log.entry("second"));
    assert!(event_loop.cancel_timer(fired).is_none());
    event_loop.turn(&mut Runner::default())?;
    assert_eq!(log.take(), "first second");
    Ok(())
}

#[test]
fn a_timer_may_cancel_itself_and_others_while_it_runs() -> io::Result<()> {
    let ((event_loop, _clock), log) = (virtual_loop(), Log::default());
    let later = event_loop.add_timer(at_millis(5), log.entry("later"));
    let own_key = Rc::new(Cell::new(None));
    let (key, runs) = (Rc::clone(&own_key), log.clone());
    own_key.set(Some(event_loop.add_timer(
        at_millis(1),
        call(move |event_loop| {
            assert!(event_loop.cancel_timer(later).is_some());
            let own = key.get().expect("it was set before the loop ran");
            assert!(event_loop.cancel_timer(own).is_none());
            runs.add("ran");
        }),
    )));
    event_loop.turn(&mut Runner::default())?;
    assert_eq!(log.take(), "ran");
    assert_eq!(event_loop.timer_count(), 0);
    Ok(())
}

/// Dropping a cancelled entry may run anything; here it uses the loop.
#[test]
fn a_cancelled_entry_may_use_the_loop_when_it_is_dropped() {
    struct PushOnDrop(Rc<support::Loop>, Log);
    impl Drop for PushOnDrop {
        fn drop(&mut self) {
            self.0.push_ready(self.1.entry("pushed"));
            self.0.add_timer(Instant::MAX, self.1.entry("added"));
        }
    }
    let ((event_loop, _clock), log) = (virtual_loop(), Log::default());
    let event_loop = Rc::new(event_loop);
    let guard = PushOnDrop(Rc::clone(&event_loop), log);
    let key = event_loop.add_timer(at_millis(1), call(move |_| drop(guard)));
    drop(event_loop.cancel_timer(key));
    assert_eq!((event_loop.ready_len(), event_loop.timer_count()), (1, 1));
    // The entries hold the loop that holds them.
    drop(event_loop.close());
}

#[test]
fn stale_nodes_are_compacted_when_they_outnumber_the_live() {
    let mut timers = TimerHeap::new();
    for number in 0..100 {
        timers.insert(at_millis(number), number);
    }
    for number in 0..10_000 {
        let key = timers.insert(at_millis(1_000 + number), number);
        assert_eq!(timers.cancel(key), Some(number));
        assert!(timers.stale() <= 101, "{} are stale", timers.stale());
    }
    assert_eq!(timers.len(), 100);
    let order: Vec<_> = std::iter::from_fn(|| timers.pop_due(Instant::MAX)).collect();
    assert_eq!(order, (0..100).collect::<Vec<_>>());
}

#[test]
fn the_last_cancellation_leaves_nothing_stale() {
    let mut timers = TimerHeap::new();
    let keys: Vec<_> = (0..50).map(|n| timers.insert(at_millis(n), n)).collect();
    for key in keys {
        timers.cancel(key);
    }
    assert_eq!((timers.len(), timers.stale()), (0, 0));
    assert_eq!(timers.next_deadline(), None);
}

#[test]
fn everything_can_be_taken_out_at_once() {
    let mut timers = TimerHeap::new();
    let keys: Vec<_> = (0..6).map(|n| timers.insert(at_millis(n), n)).collect();
    timers.cancel(keys[3]);
    let mut taken = timers.take_all();
    taken.sort_unstable();
    assert_eq!(taken, [0, 1, 2, 4, 5]);
    assert_eq!(timers.cancel(keys[0]), None);
    assert_eq!((timers.len(), timers.stale()), (0, 0));
}

#[test]
fn a_heap_that_was_large_still_works_when_it_is_empty_again() {
    let mut timers = TimerHeap::new();
    let keys: Vec<_> = (0..5_000).map(|n| timers.insert(at_millis(n), n)).collect();
    while timers.pop_due(Instant::MAX).is_some() {}
    let key = timers.insert(at_millis(1), 7);
    assert!(keys.into_iter().all(|old| timers.cancel(old).is_none()));
    assert_eq!(timers.cancel(key), Some(7));
}
