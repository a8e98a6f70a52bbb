//! A list of native objects that does not count references.
//!
//! The links are fields of the objects, so that joining and leaving cost a few
//! stores and no allocation. An object leaves in [`Native::detach`] at the
//! latest, before its memory goes, so every linked pointer is alive.

use std::cell::Cell;
use std::ptr;

use super::{Native, Own, This};
use crate::ffi::Instance;

/// The neighbours of a linked object.
pub(crate) struct Links<T: Native> {
    previous: Cell<*mut Instance<T>>,
    next: Cell<*mut Instance<T>>,
    linked: Cell<bool>,
}

impl<T: Native> Links<T> {
    pub(crate) const fn new() -> Links<T> {
        Links {
            previous: Cell::new(ptr::null_mut()),
            next: Cell::new(ptr::null_mut()),
            linked: Cell::new(false),
        }
    }
}

/// A type whose objects carry links.
pub(crate) trait Linked: Native {
    fn links(&self) -> &Links<Self>;
}

/// The list's head.
pub(crate) struct LinkedList<T: Linked> {
    first: Cell<*mut Instance<T>>,
}

// SAFETY: a process-wide list is only touched by the thread that holds the
// interpreter, which is the rule of everything in this module.
unsafe impl<T: Linked> Sync for LinkedList<T> {}

impl<T: Linked> LinkedList<T> {
    pub(crate) const fn new() -> LinkedList<T> {
        LinkedList {
            first: Cell::new(ptr::null_mut()),
        }
    }

    /// Adds the object at the front; does nothing when it is in the list.
    #[inline]
    pub(crate) fn add(&self, this: This<'_, T>) {
        let links = this.value().links();
        if links.linked.replace(true) {
            return;
        }
        let pointer: *mut Instance<T> = this.as_ptr().cast();
        let first = self.first.replace(pointer);
        links.previous.set(ptr::null_mut());
        links.next.set(first);
        if !first.is_null() {
            // SAFETY: linked objects are alive (see the module's text).
            unsafe { This::<T>::from_raw(first.cast()) }
                .value()
                .links()
                .previous
                .set(pointer);
        }
    }

    /// Takes the object out; does nothing when it is not in the list.
    #[inline]
    pub(crate) fn remove(&self, value: &T) {
        let links = value.links();
        if !links.linked.replace(false) {
            return;
        }
        let previous = links.previous.replace(ptr::null_mut());
        let next = links.next.replace(ptr::null_mut());
        // SAFETY: both neighbours are linked, so alive (see the module's text).
        unsafe {
            if previous.is_null() {
                self.first.set(next);
            } else {
                This::<T>::from_raw(previous.cast())
                    .value()
                    .links()
                    .next
                    .set(next);
            }
            if !next.is_null() {
                This::<T>::from_raw(next.cast())
                    .value()
                    .links()
                    .previous
                    .set(previous);
            }
        }
    }

    /// References to all, newest first.
    pub(crate) fn snapshot(&self) -> Vec<Own<T>> {
        let mut all = Vec::new();
        let mut pointer = self.first.get();
        while !pointer.is_null() {
            // SAFETY: linked objects are alive; taking a reference runs no code.
            let this = unsafe { This::<T>::from_raw(pointer.cast()) };
            // A subclass's instance whose last reference is gone stays linked while CPython
            // clears its slots, which runs code: it must not come back from there.
            // SAFETY: a linked object's memory is there.
            if unsafe { super::sys::Py_REFCNT(this.as_ptr()) } > 0 {
                all.push(this.own());
            }
            pointer = this.value().links().next.get();
        }
        all
    }
}
