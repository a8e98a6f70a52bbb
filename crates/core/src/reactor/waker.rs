//! Ends a loop's wait from any thread.
//!
//! # Protocol
//!
//! One atomic says what the owner thread is doing:
//!
//! - `AWAKE`: it runs; it looks at the state before it waits again. A wake only leaves a note.
//! - `ASLEEP`: it waits in the reactor or is about to. A wake has to ring the doorbell.
//! - `NOTIFIED`: a wake came. The owner must not wait before it has acknowledged it.
//!
//! `wake` swaps in `NOTIFIED` and rings only when it found `ASLEEP`, so many wakes cost one ring
//! and wakes of a loop that is busy cost none. The owner goes from `AWAKE` to `ASLEEP` by
//! compare-and-swap, which fails when it has been notified, and back to `AWAKE` by a swap, after
//! which it looks at whatever wakers may have published. All of these are read-modify-write
//! operations on one location, so they have one order: a wake comes before the owner's swap, and
//! then the owner sees what was published, or after it, and then the next wait does not happen.
//!
//! A ring may come late, when the owner has long been awake again. It then ends a later wait for
//! nothing, which is harmless.

use std::io;

use crate::sync::{AtomicU8, Mutex, Ordering, lock};

use super::doorbell::Doorbell;

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
const NOTIFIED: u8 = 2;

/// Ends the wait of one event loop. Shared between threads.
#[derive(Debug)]
pub struct Waker {
    /// One of the three states of the module's protocol.
    state: AtomicU8,
    /// What the reactor listens to; `None` once closed. Behind a mutex so that it cannot be closed
    /// while another thread rings it; only rings, which are system calls anyway, take it.
    doorbell: Mutex<Option<Doorbell>>,
}

impl Waker {
    /// Makes a waker whose owner is awake.
    ///
    /// # Errors
    ///
    /// What the kernel says when there is no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            state: AtomicU8::new(AWAKE),
            doorbell: Mutex::new(Some(Doorbell::new()?)),
        })
    }

    /// Makes the owner's present or next wait end at once. Any thread may call it.
    #[inline]
    pub fn wake(&self) {
        if self.state.swap(NOTIFIED, Ordering::AcqRel) == ASLEEP {
            self.ring();
        }
    }

    /// Whether a wake waits to be acknowledged. A relaxed load.
    #[inline]
    #[must_use]
    pub fn is_notified(&self) -> bool {
        self.state.load(Ordering::Relaxed) == NOTIFIED
    }

    /// The owner is about to wait. `false` when it must not, because a wake came.
    #[inline]
    #[must_use]
    pub fn fall_asleep(&self) -> bool {
        self.state
            .compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Relaxed)
            .is_ok()
    }

    /// The owner runs again. `true` when a wake came since the last call: what the wakers
    /// published before it is visible now.
    #[inline]
    #[must_use]
    pub fn acknowledge(&self) -> bool {
        self.state.swap(AWAKE, Ordering::AcqRel) == NOTIFIED
    }

    /// Closes the doorbell. Later wakes do nothing but leave a note.
    pub fn close(&self) {
        let doorbell = lock(&self.doorbell).take();
        drop(doorbell);
    }

    /// [`Waker::close`] for the child of a fork, which has one thread only. Another may have held
    /// the lock at that moment, to ring: then nobody will ever give it back, and the child's copy
    /// of the doorbell stays open.
    pub(crate) fn abandon(&self) {
        let doorbell = self
            .doorbell
            .try_lock()
            .ok()
            .and_then(|mut doorbell| doorbell.take());
        drop(doorbell);
    }

    /// Lends the doorbell to what must listen to it. `None` once closed.
    pub(crate) fn with_doorbell<R>(&self, visit: impl FnOnce(&Doorbell) -> R) -> Option<R> {
        lock(&self.doorbell).as_ref().map(visit)
    }

    #[cold]
    fn ring(&self) {
        self.with_doorbell(Doorbell::ring);
    }
}

#[cfg(loom)]
impl Waker {
    /// Blocks until the doorbell rings, as a reactor's wait does. For the model tests, where there
    /// is no reactor.
    pub fn wait_for_ring(&self) {
        let waiting = self.with_doorbell(Doorbell::listen);
        if let Some(listener) = waiting {
            listener.wait();
        }
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::Waker;

    #[test]
    fn abandoning_does_not_wait_for_a_thread_that_was_not_copied() {
        let waker = Waker::new().expect("there are descriptors left");
        // The lock is held meanwhile, as it is in the child of a fork when another thread rang.
        let held = waker.with_doorbell(|_doorbell| waker.abandon());
        assert!(held.is_some());
        assert!(waker.with_doorbell(|_doorbell| ()).is_some());
        waker.abandon();
        assert!(waker.with_doorbell(|_doorbell| ()).is_none());
    }
}
