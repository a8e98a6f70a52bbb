//! The entries that will run, in order.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;

/// A first-in first-out queue of entries that belongs to the loop's owner thread.
///
/// Every method borrows the queue for its own length only and none of them drops an entry or calls
/// foreign code while it does, so an entry that runs may push more of them.
#[derive(Debug)]
pub(crate) struct ReadyQueue<T> {
    entries: RefCell<VecDeque<T>>,
}

impl<T> ReadyQueue<T> {
    pub(crate) fn new() -> Self {
        Self {
            entries: RefCell::new(VecDeque::new()),
        }
    }

    /// An entry that might have to be dropped half-way, because the queue cannot grow, would be built
    /// on the stack and copied from there in larger pieces than it was written in, for which the
    /// processor has to wait. So the way without growth has nothing in it that can fail.
    #[inline]
    pub(crate) fn push(&self, entry: T) {
        let entry = ManuallyDrop::new(entry);
        let mut entries = self.entries.borrow_mut();
        if entries.len() == entries.capacity() {
            grow_and_push(&mut entries, ManuallyDrop::into_inner(entry));
        } else {
            entries.push_back(ManuallyDrop::into_inner(entry));
        }
    }

    #[inline]
    pub(crate) fn pop(&self) -> Option<T> {
        self.entries.borrow_mut().pop_front()
    }

    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.entries.borrow().len()
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.entries.borrow().is_empty()
    }

    /// Moves the first `count` entries behind all others.
    pub(crate) fn rotate(&self, count: usize) {
        self.entries.borrow_mut().rotate_left(count);
    }

    /// Lets `fill` append to the queue. It must do nothing else: the queue is borrowed meanwhile.
    #[inline]
    pub(crate) fn append_with(&self, fill: impl FnOnce(&mut VecDeque<T>)) {
        fill(&mut self.entries.borrow_mut());
    }

    pub(crate) fn take_all(&self) -> VecDeque<T> {
        self.entries.take()
    }

    /// Visits those behind the first `count`.
    pub(crate) fn for_each_from(&self, count: usize, mut visit: impl FnMut(&T)) {
        let entries = self.entries.borrow();
        // There are none or few.
        for index in count..entries.len() {
            visit(&entries[index]);
        }
    }

    pub(crate) fn for_each(&self, visit: impl FnMut(&T)) {
        self.entries.borrow().iter().for_each(visit);
    }
}

#[cold]
fn grow_and_push<T>(entries: &mut VecDeque<T>, entry: T) {
    entries.push_back(entry);
}
