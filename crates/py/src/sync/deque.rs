//! `collections.deque`, as long as nobody looks.
//!
//! Waiters and a queue's items are kept in Rust. The first time that Python code reads the
//! attribute they move into a real deque (a list for the queues that have one), which may be kept
//! and changed, and stay there. Nothing is borrowed while Python code can run.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::ffi::c_int;

use crate::ffi::{Attribute, Object, Outcome, Raised, Visitor, none, required, sys};
use crate::originals::originals;

/// A double-ended queue of objects.
pub(crate) struct Deque(RefCell<Container>);

enum Container {
    /// None in Python: nothing has been added yet.
    Absent,
    Native(VecDeque<Object>),
    /// Whatever Python code knows of or has put there.
    Python(Object),
}

/// What a native operation leaves to Python.
enum Done<R> {
    Natively(R),
    In(Object),
}

impl Deque {
    /// An empty one.
    pub(crate) const fn new() -> Deque {
        Deque(RefCell::new(Container::Native(VecDeque::new())))
    }

    /// None, until something is added.
    pub(crate) const fn absent() -> Deque {
        Deque(RefCell::new(Container::Absent))
    }

    #[inline]
    fn natively<R>(&self, operation: impl FnOnce(&mut VecDeque<Object>) -> R) -> Done<R> {
        let mut container = self.0.borrow_mut();
        if let Container::Absent = &*container {
            *container = Container::Native(VecDeque::new());
        }
        match &mut *container {
            Container::Native(items) => Done::Natively(operation(items)),
            Container::Python(object) => Done::In(object.clone()),
            Container::Absent => unreachable!("it has just been made"),
        }
    }

    /// Whether it is certain that nothing is in it.
    #[inline]
    pub(crate) fn is_natively_empty(&self) -> bool {
        match &*self.0.borrow() {
            Container::Absent => true,
            Container::Native(items) => items.is_empty(),
            Container::Python(_) => false,
        }
    }

    /// Puts a reference to the item at the end, if no Python code knows of the deque; whether it did.
    #[inline]
    pub(crate) fn push_back_natively(&self, item: &Object) -> bool {
        match &mut *self.0.borrow_mut() {
            Container::Native(items) => {
                items.push_back(item.clone());
                true
            }
            Container::Absent | Container::Python(_) => false,
        }
    }

    /// Takes the first item, if there is one and no Python code knows of the deque.
    #[inline]
    pub(crate) fn pop_front_natively(&self) -> Option<Object> {
        match &mut *self.0.borrow_mut() {
            Container::Native(items) => items.pop_front(),
            Container::Absent | Container::Python(_) => None,
        }
    }

    #[inline]
    pub(crate) fn len(&self) -> Outcome<usize> {
        let object = match &*self.0.borrow() {
            Container::Absent => return Ok(0),
            Container::Native(items) => return Ok(items.len()),
            Container::Python(object) => object.clone(),
        };
        object.length()
    }

    /// Whether it counts as false in Python.
    #[inline(always)]
    pub(crate) fn is_empty(&self) -> Outcome<bool> {
        match &*self.0.borrow() {
            Container::Absent => Ok(true),
            Container::Native(items) => Ok(items.is_empty()),
            Container::Python(_) => self.is_python_empty(),
        }
    }

    #[cold]
    fn is_python_empty(&self) -> Outcome<bool> {
        let object = match &*self.0.borrow() {
            Container::Absent | Container::Native(_) => return Ok(true),
            Container::Python(object) => object.clone(),
        };
        object.is_true().map(|truth| !truth)
    }

    #[inline]
    pub(crate) fn push_back(&self, item: &Object) -> Outcome<()> {
        match self.natively(|items| items.push_back(item.clone())) {
            Done::Natively(()) => Ok(()),
            Done::In(object) => object
                .call_method(&originals().names.append, &[item])
                .map(drop),
        }
    }

    /// `popleft()`; for an empty one IndexError.
    #[inline]
    pub(crate) fn pop_front(&self) -> Outcome<Object> {
        match self.natively(VecDeque::pop_front) {
            Done::Natively(Some(item)) => Ok(item),
            Done::Natively(None) => Err(index_error("pop from an empty deque")),
            Done::In(object) => object.call_method(&originals().names.popleft, &[]),
        }
    }

    /// `pop()`; for an empty one IndexError.
    #[inline]
    pub(crate) fn pop_back(&self) -> Outcome<Object> {
        match self.natively(VecDeque::pop_back) {
            Done::Natively(Some(item)) => Ok(item),
            Done::Natively(None) => Err(index_error("pop from empty list")),
            Done::In(object) => object.call_method(&originals().names.pop, &[]),
        }
    }

    /// `next(iter(self), None)`.
    #[inline]
    pub(crate) fn first(&self) -> Outcome<Option<Object>> {
        match self.natively(|items| items.front().cloned()) {
            Done::Natively(first) => Ok(first),
            Done::In(object) => Ok(object.items()?.into_iter().next()),
        }
    }

    /// `remove(item)`; whether it was there.
    #[inline]
    pub(crate) fn remove(&self, item: &Object) -> Outcome<bool> {
        let removed = self.natively(|items| {
            if items.front().is_some_and(|first| first.is(item)) {
                return items.pop_front();
            }
            let index = items.iter().position(|candidate| candidate.is(item))?;
            items.remove(index)
        });
        match removed {
            Done::Natively(removed) => Ok(removed.is_some()),
            Done::In(object) => match object.call_method(&originals().names.remove, &[item]) {
                Ok(_) => Ok(true),
                // SAFETY: a built-in class.
                Err(raised) if raised.matches(unsafe { sys::PyExc_ValueError }) => {
                    raised.discard(); // It is not in the deque: an answer, no failure.
                    Ok(false)
                }
                Err(raised) => Err(raised),
            },
        }
    }

    /// All items, in order.
    pub(crate) fn items(&self) -> Outcome<Vec<Object>> {
        match self.natively(|items| items.iter().cloned().collect()) {
            Done::Natively(items) => Ok(items),
            Done::In(object) => object.items(),
        }
    }

    /// The deque as Python sees it, from now on the one that is used; made by calling `class`
    /// with a list, if it has not been made yet. None while it is absent.
    pub(crate) fn to_python(&self, class: &Object) -> Outcome<Object> {
        let items = match &*self.0.borrow() {
            Container::Absent => return Ok(none()),
            Container::Python(object) => return Ok(object.clone()),
            Container::Native(items) => items.iter().cloned().collect(),
        };
        let object = class.call1(&Object::list(items)?)?;
        self.assign(Some(&object));
        Ok(object)
    }

    /// Puts another in its place; None makes it absent.
    pub(crate) fn assign(&self, value: Option<&Object>) {
        let container = match value.and_then(Object::some) {
            Some(object) => Container::Python(object.clone()),
            None => Container::Absent,
        };
        // What was there goes after the borrow has ended.
        drop(self.0.replace(container));
    }

    /// Makes it an empty one again.
    pub(crate) fn reset(&self) {
        drop(self.0.replace(Container::Native(VecDeque::new())));
    }

    pub(crate) fn clear(&self) {
        drop(self.0.replace(Container::Absent));
    }

    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        // Borrowed only by the few instructions that change it.
        let Ok(container) = self.0.try_borrow() else {
            return Ok(());
        };
        match &*container {
            Container::Absent => Ok(()),
            Container::Native(items) => items.iter().try_for_each(|item| visitor.object(item)),
            Container::Python(object) => visitor.object(object),
        }
    }
}

/// As a deque: where Python has a list, [`Deque::to_python`] is asked for one.
impl Attribute for Deque {
    fn read(&self) -> Outcome<Object> {
        self.to_python(&originals().deque)
    }

    fn write(&self, value: Option<&Object>, name: &str) -> Outcome<()> {
        self.assign(Some(required(value, name)?));
        Ok(())
    }
}

#[cold]
fn index_error(message: &str) -> Raised {
    // SAFETY: a built-in exception type.
    unsafe { Raised::builtin(sys::PyExc_IndexError, message) }
}
