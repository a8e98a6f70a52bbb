//! A list of native objects that does not count references.
//!
//! The links are a field of the objects, so that joining and leaving cost a few stores and no
//! allocation. They form a ring that the list's head is part of, as CPython's own intrusive lists
//! do (`struct llist_node`): an object can leave without knowing which list it is in, and it may
//! be in one of CPython's (see `asyncio_tasks.rs`). An object leaves in [`Native::detach`] at the
//! latest, before its memory goes, so every linked pointer is alive.

use std::cell::Cell;
use std::marker::PhantomData;
use std::ptr;

use super::{Instance, Native, Own, This, sys};

/// The neighbours of a linked object, in CPython's order; null while it is in no list.
#[repr(C)]
pub(crate) struct Links {
    next: Cell<*const Links>,
    previous: Cell<*const Links>,
}

impl Links {
    pub(crate) const fn new() -> Links {
        Links {
            next: Cell::new(ptr::null()),
            previous: Cell::new(ptr::null()),
        }
    }

    fn is_linked(&self) -> bool {
        !self.next.get().is_null()
    }

    /// Joins the ring at its end, in front of `head`; does nothing when it is in one.
    ///
    /// # Safety
    /// * `head` is part of a ring, and lives for as long as anything is linked to it.
    #[inline]
    unsafe fn join(&self, head: *const Links) {
        if self.is_linked() {
            return;
        }
        // SAFETY: `head` by the caller's word, its neighbour because it is linked.
        unsafe {
            let last = (*head).previous.replace(self);
            self.previous.set(last);
            self.next.set(head);
            (*last).next.set(self);
        }
    }

    /// Leaves the ring; does nothing when it is in none.
    #[inline]
    fn leave(&self) {
        if !self.is_linked() {
            return;
        }
        let next = self.next.replace(ptr::null());
        let previous = self.previous.replace(ptr::null());
        // SAFETY: both neighbours are linked, so alive (see the module's text).
        unsafe {
            (*previous).next.set(next);
            (*next).previous.set(previous);
        }
    }
}

/// A type whose objects carry links.
///
/// # Safety
/// * [`Linked::OFFSET`] is the offset within `Self` of what [`Linked::links`] gives.
pub(crate) unsafe trait Linked: Native {
    const OFFSET: usize;

    fn links(&self) -> &Links;
}

/// The list's head.
pub(crate) struct LinkedList<T: Linked> {
    /// Linked to itself when it is first used.
    head: Links,
    members: PhantomData<T>,
}

// SAFETY: a process-wide list is only touched by the thread that holds the
// interpreter, which is the rule of everything in this module.
unsafe impl<T: Linked> Sync for LinkedList<T> {}

impl<T: Linked> LinkedList<T> {
    pub(crate) const fn new() -> LinkedList<T> {
        LinkedList {
            head: Links::new(),
            members: PhantomData,
        }
    }

    /// Adds the object; does nothing when it is in a list.
    ///
    /// The list is never moved from then on: only statics of this type exist.
    #[inline]
    pub(crate) fn add(&'static self, this: This<'_, T>) {
        if !self.head.is_linked() {
            self.head.next.set(&raw const self.head);
            self.head.previous.set(&raw const self.head);
        }
        // SAFETY: a static, linked to itself at least.
        unsafe { this.value().links().join(&raw const self.head) }
    }

    /// Shows each, oldest first, also those whose last reference is gone. `look` may take what it
    /// is shown out of the list; it runs no code that is not ours and keeps no reference.
    pub(crate) fn for_each(&self, mut look: impl FnMut(This<'_, T>)) {
        let mut links = self.head.next.get();
        while !links.is_null() && !ptr::eq(links, &raw const self.head) {
            let offset = Instance::<T>::VALUE_OFFSET + T::OFFSET;
            // SAFETY: the memory of linked objects is there, and their links stand at that offset.
            let this = unsafe { This::<T>::from_raw(links.byte_sub(offset).cast_mut().cast()) };
            links = this.value().links().next.get();
            look(this);
        }
    }

    /// References to all, oldest first.
    pub(crate) fn snapshot(&self) -> Vec<Own<T>> {
        let mut all = Vec::new();
        let mut links = self.head.next.get();
        while !links.is_null() && !ptr::eq(links, &raw const self.head) {
            let offset = Instance::<T>::VALUE_OFFSET + T::OFFSET;
            // SAFETY: linked objects are alive, and their links stand at that offset; taking a
            // reference runs no code.
            let this = unsafe { This::<T>::from_raw(links.byte_sub(offset).cast_mut().cast()) };
            // A subclass's instance whose last reference is gone stays linked while CPython
            // clears its slots, which runs code: it must not come back from there.
            // SAFETY: a linked object's memory is there.
            if unsafe { sys::Py_REFCNT(this.as_ptr()) } > 0 {
                all.push(this.own());
            }
            links = this.value().links().next.get();
        }
        all
    }
}

/// Adds the object to a list of CPython's; does nothing when it is in a list.
///
/// # Safety
/// * `head` is the head of a list of CPython's that expects objects like this one.
#[inline]
pub(super) unsafe fn join<T: Linked>(this: This<'_, T>, head: *const Links) {
    // SAFETY: by the caller's word; CPython empties a list before its head goes.
    unsafe { this.value().links().join(head) }
}

/// Takes the object out of the list it is in, if any.
#[inline]
pub(crate) fn unlink<T: Linked>(value: &T) {
    value.links().leave();
}
