//! What a loop is doing, for whoever looks from another thread.
//!
//! The loop's thread alone writes, a few plain stores for each thing that it begins, and never
//! reads a clock for it. A reader that sees the same beat twice knows that the loop has been at one
//! thing for all of the time between. What is behind the address may be looked at only from
//! outside (it may be freed meanwhile), and what was seen counts only if the beat has not changed.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// What kind of thing a loop is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u8)]
pub enum Doing {
    /// The loop does not run.
    Nothing = 0,
    /// It waits for events, or looks for them.
    Waiting = 1,
    /// A task's step; the address is the task's.
    Step = 2,
    /// A callback; the address is the handle's.
    Callback = 3,
    /// Something done-callbacks, transports or socket calls are called for; the address is that
    /// object's, or 0.
    Other = 4,
    /// What belongs to no entry: flushing, bookkeeping between turns.
    Turn = 5,
}

impl Doing {
    fn from_code(code: u8) -> Doing {
        match code {
            1 => Doing::Waiting,
            2 => Doing::Step,
            3 => Doing::Callback,
            4 => Doing::Other,
            5 => Doing::Turn,
            _ => Doing::Nothing,
        }
    }
}

/// One loop's heartbeat. Written by the loop's thread, read by any.
#[derive(Debug, Default)]
pub struct Heartbeat {
    /// Counts what was begun; every change of the other fields is followed by one of this.
    beat: AtomicU64,
    doing: AtomicU8,
    /// The address of what is run, or 0.
    object: AtomicUsize,
    /// The kernel's number of the thread that runs the loop, or 0.
    thread: AtomicU32,
    /// The address of that thread's `PyThreadState`, or 0.
    thread_state: AtomicUsize,
    turns: AtomicU64,
}

impl Heartbeat {
    /// A loop that does nothing yet.
    #[must_use]
    pub fn new() -> Heartbeat {
        Heartbeat::default()
    }

    /// The loop's thread begins something.
    #[inline]
    pub fn begin(&self, doing: Doing, object: usize) {
        self.doing.store(doing as u8, Ordering::Relaxed);
        self.object.store(object, Ordering::Relaxed);
        let next = self.beat.load(Ordering::Relaxed).wrapping_add(1);
        self.beat.store(next, Ordering::Release);
    }

    /// The loop's thread begins a turn.
    #[inline]
    pub fn begin_turn(&self) {
        let next = self.turns.load(Ordering::Relaxed).wrapping_add(1);
        self.turns.store(next, Ordering::Relaxed);
    }

    /// A thread begins to run the loop, or ends (with zeros).
    pub fn run_by(&self, thread: u32, thread_state: usize) {
        self.thread.store(thread, Ordering::Relaxed);
        self.thread_state.store(thread_state, Ordering::Relaxed);
        self.begin(
            if thread == 0 {
                Doing::Nothing
            } else {
                Doing::Turn
            },
            0,
        );
    }

    /// The number of things begun so far.
    #[inline]
    #[must_use]
    pub fn beat(&self) -> u64 {
        self.beat.load(Ordering::Acquire)
    }

    /// What the loop is at, and the address of it. Valid if [`Heartbeat::beat`] answers the same
    /// before and after.
    #[must_use]
    pub fn doing(&self) -> (Doing, usize) {
        (
            Doing::from_code(self.doing.load(Ordering::Relaxed)),
            self.object.load(Ordering::Relaxed),
        )
    }

    /// The kernel's number of the running thread and the address of its `PyThreadState`.
    #[must_use]
    pub fn thread(&self) -> Option<(u32, usize)> {
        match self.thread.load(Ordering::Relaxed) {
            0 => None,
            thread => Some((thread, self.thread_state.load(Ordering::Relaxed))),
        }
    }

    /// How many turns were begun.
    #[must_use]
    pub fn turns(&self) -> u64 {
        self.turns.load(Ordering::Relaxed)
    }
}
