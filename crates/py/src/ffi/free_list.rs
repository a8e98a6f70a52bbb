//! Memory of dead instances, kept for the next ones.
//!
//! Handles, futures and tasks come and go with every await. Reusing a block spares the
//! allocator's work and, which weighs more, does not count towards the next garbage collection.
//!
//! A block in the list is an object without references that is unknown to the garbage
//! collector. One whose finalizer CPython has called is not kept: CPython remembers that in
//! the block, and would not call the next one's.

use std::cell::Cell;
use std::ptr;

use super::{Object, sys};

/// How many blocks a list keeps.
const CAPACITY: usize = 256;

/// The list of one type.
pub(crate) struct FreeList {
    length: Cell<usize>,
    blocks: [Cell<*mut sys::PyObject>; CAPACITY],
}

// SAFETY: only touched by the thread that holds the interpreter, like all of this module.
unsafe impl Sync for FreeList {}

impl FreeList {
    pub(crate) const fn new() -> FreeList {
        FreeList {
            length: Cell::new(0),
            blocks: [const { Cell::new(ptr::null_mut()) }; CAPACITY],
        }
    }

    /// A block as a fresh object of `class`, not yet tracked by the garbage collector.
    ///
    /// # Safety
    /// * Every block in the list was an instance of exactly `class`.
    #[inline]
    pub(super) unsafe fn take(&self, class: *mut sys::PyTypeObject) -> Option<Object> {
        unsafe extern "C" {
            fn _Py_NewReference(object: *mut sys::PyObject);
        }
        let length = self.length.get().checked_sub(1)?;
        self.length.set(length);
        let block = self.blocks[length].get();
        // SAFETY: a dead instance of `class`, which it still refers to; the function makes it an
        // object again, with one reference, as CPython does with the blocks of its own lists.
        unsafe {
            debug_assert!(sys::Py_TYPE(block) == class);
            _Py_NewReference(block);
            Some(Object::from_owned(block))
        }
    }

    /// Keeps the memory of a dead instance, and its reference to its type; `false` when the
    /// caller has to free both.
    ///
    /// # Safety
    /// * `block` has no references left, its value was dropped, the collector does not track it.
    /// * CPython has not called its finalizer.
    #[inline]
    pub(super) unsafe fn keep(&self, block: *mut sys::PyObject) -> bool {
        let length = self.length.get();
        if length == CAPACITY {
            return false;
        }
        self.blocks[length].set(block);
        self.length.set(length + 1);
        true
    }
}
