//! Whom a future tells that it is done.

use std::cell::RefCell;
use std::ffi::c_int;

use crate::ffi::{Object, Own, Visitor};
use crate::task::Task;

/// One who waits for a future.
pub(crate) enum Callback {
    /// A task of ours on the future's own loop: woken without any object in between.
    Waiter(Own<Task>),
    /// A Python callable and the context it runs in.
    Call { function: Object, context: Object },
}

/// The waiters and callables of one future, in the order in which they came.
///
/// Nearly every future has one; only the second needs the heap.
#[derive(Default)]
pub(crate) struct Callbacks(RefCell<List>);

#[derive(Default)]
enum List {
    #[default]
    Empty,
    One(Callback),
    Many(Vec<Callback>),
}

impl Callbacks {
    pub(crate) fn is_empty(&self) -> bool {
        matches!(&*self.0.borrow(), List::Empty)
    }

    pub(crate) fn add(&self, callback: Callback) {
        let mut list = self.0.borrow_mut();
        *list = match std::mem::take(&mut *list) {
            List::Empty => List::One(callback),
            List::One(first) => List::Many(vec![first, callback]),
            List::Many(mut all) => {
                all.push(callback);
                List::Many(all)
            }
        };
    }

    /// Empties the list. The caller runs or drops what it gets with nothing borrowed.
    pub(crate) fn take(&self) -> Taken {
        match self.0.take() {
            List::Empty => Taken::Empty,
            List::One(one) => Taken::One(one),
            List::Many(all) => Taken::Many(all.into_iter()),
        }
    }

    /// Empties the list and gives its callbacks away, in order.
    #[inline]
    pub(crate) fn hand_over(&self, mut take: impl FnMut(Callback)) {
        match self.0.take() {
            List::Empty => {}
            List::One(one) => take(one),
            List::Many(all) => all.into_iter().for_each(take),
        }
    }

    /// Puts callbacks back in front of those that came since they were taken.
    pub(crate) fn put_back(&self, mut kept: Vec<Callback>) {
        kept.extend(self.take());
        if !kept.is_empty() {
            *self.0.borrow_mut() = List::Many(kept);
        }
    }

    /// What `look` makes of each callback; `look` only makes references.
    pub(crate) fn map<R>(&self, look: impl Fn(&Callback) -> R) -> Vec<R> {
        match &*self.0.borrow() {
            List::Empty => Vec::new(),
            List::One(one) => vec![look(one)],
            List::Many(all) => all.iter().map(look).collect(),
        }
    }

    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        // Borrowed only by the few instructions that change the list.
        let Ok(list) = self.0.try_borrow() else {
            return Ok(());
        };
        match &*list {
            List::Empty => Ok(()),
            List::One(one) => one.visit(visitor),
            List::Many(all) => all.iter().try_for_each(|one| one.visit(visitor)),
        }
    }
}

impl Callback {
    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        match self {
            Callback::Waiter(task) => visitor.own(task),
            Callback::Call { function, context } => {
                visitor.object(function)?;
                visitor.object(context)
            }
        }
    }
}

/// A list that was taken out of its future.
pub(crate) enum Taken {
    Empty,
    One(Callback),
    Many(std::vec::IntoIter<Callback>),
}

impl Iterator for Taken {
    type Item = Callback;

    #[inline]
    fn next(&mut self) -> Option<Callback> {
        if let Taken::Many(all) = self {
            return all.next();
        }
        match std::mem::replace(self, Taken::Empty) {
            Taken::One(one) => Some(one),
            Taken::Empty | Taken::Many(_) => None,
        }
    }
}
