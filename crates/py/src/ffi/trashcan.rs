//! Chains of native objects are freed without a stack frame each.
//!
//! A future may hold another as its result, which holds another, and so on for as long as the
//! user likes; freeing the first frees them all, each within the one before. So a deallocator
//! that finds itself too deep leaves its object here, and the outermost one takes it up again.
//! CPython does the same for its own containers.

use std::cell::{Cell, RefCell};

use super::sys;

/// How deep deallocators may be within each other. Between two of ours there may be as many of
/// CPython's, in whose own trashcan the limit is 50.
const DEEPEST: usize = 50;

struct Trashcan {
    depth: Cell<usize>,
    /// Objects without references, unknown to the garbage collector, and their deallocators.
    waiting: RefCell<Vec<(*mut sys::PyObject, sys::destructor)>>,
}

// SAFETY: only touched by the thread that holds the interpreter, like all of this module. A
// finalizer may let another thread in between: what that one leaves here, this one takes up.
unsafe impl Sync for Trashcan {}

static TRASHCAN: Trashcan = Trashcan {
    depth: Cell::new(0),
    waiting: RefCell::new(Vec::new()),
};

/// One deallocator more, until this is dropped.
pub(super) struct Level(());

impl Level {
    /// Enters a level, unless there are too many: then the object is kept for later, and its
    /// deallocator returns at once.
    ///
    /// # Safety
    /// * `pointer` has no references, and `deallocate` is the function that was called for it.
    #[inline]
    pub(super) unsafe fn enter(
        pointer: *mut sys::PyObject,
        deallocate: sys::destructor,
    ) -> Option<Level> {
        let depth = TRASHCAN.depth.get();
        if depth >= DEEPEST {
            // SAFETY: by the caller's word; nobody must find it meanwhile.
            unsafe { sys::PyObject_GC_UnTrack(pointer.cast()) };
            TRASHCAN.waiting.borrow_mut().push((pointer, deallocate));
            return None;
        }
        TRASHCAN.depth.set(depth + 1);
        Some(Level(()))
    }
}

impl Drop for Level {
    #[inline]
    fn drop(&mut self) {
        let depth = TRASHCAN.depth.get() - 1;
        if depth == 0 {
            // Still at this level: what is freed here must not come here again.
            loop {
                let next = TRASHCAN.waiting.borrow_mut().pop();
                let Some((pointer, deallocate)) = next else {
                    break;
                };
                // SAFETY: it was put off by this very function, see `enter`.
                unsafe { deallocate(pointer) };
            }
        }
        TRASHCAN.depth.set(depth);
    }
}
