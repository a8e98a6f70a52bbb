//! The one thread-safe way into a loop.

use std::collections::VecDeque;
use std::io;

use crate::reactor::Waker;
use crate::sync::{Mutex, lock};

/// Carries entries from any thread to the loop's owner thread and wakes it.
///
/// It is shared in an `Arc`; where `T` is not [`Send`] the queue is not either, and serves the
/// owner thread alone. Entries of one thread keep their order. Pushing to a loop that is running
/// costs a mutex and an atomic; only a loop that waits is woken by a system call, and only by the
/// first of many pushes.
#[derive(Debug)]
pub struct InjectQueue<T> {
    /// What was pushed and not drained yet; `None` once closed. Locked for moves only: no entry is
    /// dropped and no foreign code runs under the lock.
    entries: Mutex<Option<VecDeque<T>>>,
    waker: Waker,
}

impl<T> InjectQueue<T> {
    /// Makes an open queue with a waker of its own.
    ///
    /// # Errors
    ///
    /// As [`Waker::new`].
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            entries: Mutex::new(Some(VecDeque::new())),
            waker: Waker::new()?,
        })
    }

    /// Hands `entry` to the loop and wakes it.
    ///
    /// # Errors
    ///
    /// Gives the entry back when the queue is closed.
    #[inline]
    pub fn push(&self, entry: T) -> Result<(), T> {
        let is_told = {
            let mut entries = lock(&self.entries);
            match entries.as_mut() {
                Some(entries) => entries.push_back(entry),
                None => return Err(entry),
            }
            // A wake that nobody has acknowledged is as good as one of our own, which would cost
            // an atomic swap. This can be told under the lock only: had the owner acknowledged it
            // and drained before this push, it would have held the lock in between.
            self.waker.is_notified()
        };
        if !is_told {
            self.waker.wake();
        }
        Ok(())
    }

    /// Hands `entry` to the loop without waking it: a loop that waits learns of it by the next
    /// [`InjectQueue::wake`] only, which the caller owes.
    ///
    /// # Errors
    ///
    /// Gives the entry back when the queue is closed.
    #[inline]
    pub fn push_quietly(&self, entry: T) -> Result<(), T> {
        match lock(&self.entries).as_mut() {
            Some(entries) => entries.push_back(entry),
            None => return Err(entry),
        }
        Ok(())
    }

    /// Wakes the loop without an entry.
    #[inline]
    pub fn wake(&self) {
        self.waker.wake();
    }

    /// Whether a push or wake waits to be drained. A relaxed load: it may be late to see a push of
    /// another thread, but such a push also ends the loop's next wait.
    #[inline]
    #[must_use]
    pub fn is_pending(&self) -> bool {
        self.waker.is_notified()
    }

    /// Whether there is no entry in it, also none that nobody was woken for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        lock(&self.entries)
            .as_ref()
            .is_none_or(|entries| entries.is_empty())
    }

    /// Whether the queue refuses entries.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        lock(&self.entries).is_none()
    }

    /// Acknowledges wakes and, if there were any, moves all entries behind those of `into`. Also
    /// says that the owner is awake. Only the owner calls it.
    #[inline]
    pub fn drain(&self, into: &mut VecDeque<T>) {
        if !self.waker.acknowledge() {
            return;
        }
        if let Some(entries) = lock(&self.entries).as_mut() {
            if into.is_empty() {
                std::mem::swap(into, entries);
            } else {
                into.append(entries);
            }
        }
    }

    /// Refuses entries from now on and returns those that nobody drained. Closes the waker.
    pub fn close(&self) -> VecDeque<T> {
        let leftover = lock(&self.entries).take();
        self.waker.close();
        leftover.unwrap_or_default()
    }

    /// What wakes the loop.
    #[must_use]
    pub fn waker(&self) -> &Waker {
        &self.waker
    }
}
