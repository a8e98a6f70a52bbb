//! Every interleaving of the inject queue and the waker, by loom.
//!
//! Run with `RUSTFLAGS="--cfg loom" cargo test -p ferrio-core --release --test loom_inject`. Loom
//! reports a lost wake as a deadlock.

#![cfg(loom)]

use std::collections::VecDeque;

use ferrio_core::{InjectQueue, Waker};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

/// Explores interleavings with up to three preemptions, which is where such bugs are found, and
/// stays within a minute.
fn model(test: impl Fn() + Sync + Send + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.max_duration = Some(std::time::Duration::from_secs(60));
    builder.check(test);
}

fn queue() -> Arc<InjectQueue<u32>> {
    Arc::new(InjectQueue::new().expect("a model needs no file descriptor"))
}

/// What the owner thread does: looks, and sleeps when there is nothing.
fn drain_until(queue: &InjectQueue<u32>, count: usize) -> Vec<u32> {
    let mut entries = VecDeque::new();
    loop {
        queue.drain(&mut entries);
        if entries.len() >= count {
            return entries.into();
        }
        if queue.waker().fall_asleep() {
            queue.waker().wait_for_ring();
        }
    }
}

#[test]
fn a_push_wakes_the_owner_whenever_it_comes() {
    model(|| {
        let queue = queue();
        let other = Arc::clone(&queue);
        let pusher = thread::spawn(move || {
            other.push(1).expect("it is open");
            other.push(2).expect("it is open");
        });
        assert_eq!(drain_until(&queue, 2), [1, 2]);
        pusher.join().expect("no thread panics");
    });
}

#[test]
fn pushes_of_two_threads_both_arrive() {
    model(|| {
        let queue = queue();
        let pushers: Vec<_> = [10, 20]
            .into_iter()
            .map(|number| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || queue.push(number).expect("it is open"))
            })
            .collect();
        let mut entries = drain_until(&queue, 2);
        entries.sort_unstable();
        assert_eq!(entries, [10, 20]);
        for pusher in pushers {
            pusher.join().expect("no thread panics");
        }
    });
}

/// The owner sleeps more than once: a ring that comes late must not hide a later wake.
#[test]
fn a_late_ring_hides_no_later_wake() {
    model(|| {
        let queue = queue();
        let other = Arc::clone(&queue);
        let pusher = thread::spawn(move || {
            other.push(1).expect("it is open");
        });
        assert_eq!(drain_until(&queue, 1), [1]);
        let other = Arc::clone(&queue);
        let second = thread::spawn(move || {
            other.push(2).expect("it is open");
        });
        assert_eq!(drain_until(&queue, 1), [2]);
        pusher.join().expect("no thread panics");
        second.join().expect("no thread panics");
    });
}

#[test]
fn an_entry_is_drained_or_left_over_or_given_back() {
    model(|| {
        let queue = queue();
        let other = Arc::clone(&queue);
        let pusher = thread::spawn(move || other.push(1).is_err());
        let mut entries = VecDeque::new();
        queue.drain(&mut entries);
        let left_over = queue.close();
        let given_back = pusher.join().expect("no thread panics");
        let seen = entries.len() + left_over.len() + usize::from(given_back);
        assert_eq!(seen, 1);
    });
}

/// The waker by itself: whatever was published before a wake is visible to the woken owner.
#[test]
fn a_wake_publishes_what_came_before_it() {
    model(|| {
        let waker = Arc::new(Waker::new().expect("a model needs no file descriptor"));
        let published = Arc::new(AtomicBool::new(false));
        let (other_waker, other_published) = (Arc::clone(&waker), Arc::clone(&published));
        let other = thread::spawn(move || {
            other_published.store(true, Ordering::Relaxed);
            other_waker.wake();
        });
        while !waker.acknowledge() {
            if waker.fall_asleep() {
                waker.wait_for_ring();
            }
        }
        assert!(published.load(Ordering::Relaxed));
        other.join().expect("no thread panics");
    });
}

#[test]
fn a_loop_may_close_while_it_is_woken() {
    model(|| {
        let queue = queue();
        let other = Arc::clone(&queue);
        let waking = thread::spawn(move || other.wake());
        // The owner is about to wait when it is told to close instead.
        let _may_wait = queue.waker().fall_asleep();
        assert!(queue.close().is_empty());
        waking.join().expect("no thread panics");
    });
}
