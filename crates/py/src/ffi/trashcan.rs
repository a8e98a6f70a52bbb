//! Chains of native objects are freed without a stack frame each.
//!
//! A future may hold another as its result, which holds another, and so on for as long as the
//! user likes; freeing the first frees them all, each within the one before. So a deallocator
//! that finds itself too deep leaves its object here, and the outermost one takes it up again.
//! CPython does the same for its own containers.

//!
//! How deep a thread is, is its own matter: a finalizer may let another one in between, which then
//! frees chains of its own. That hardly ever happens, and a variable of each thread's own costs
//! more than all the rest of this. So one thread at a time uses the common one, which knows by its
//! number whose it is, and one that comes in between uses its own.

use std::cell::{Cell, RefCell};
use std::mem::ManuallyDrop;

use super::sys;

/// How deep deallocators may be within each other. Between two of ours there may be as many of
/// CPython's, in whose own trashcan the limit is 50.
const DEEPEST: usize = 50;

struct Trashcan {
    depth: Cell<usize>,
    /// The thread that is in there; none of them is 0.
    thread: Cell<usize>,
    /// Objects without references, unknown to the garbage collector, and their deallocators.
    waiting: RefCell<Vec<(*mut sys::PyObject, sys::destructor)>>,
}

// SAFETY: only touched by the thread that holds the interpreter, like all of this module.
unsafe impl Sync for Trashcan {}

impl Trashcan {
    const fn new() -> Trashcan {
        Trashcan {
            depth: Cell::new(0),
            thread: Cell::new(0),
            waiting: RefCell::new(Vec::new()),
        }
    }

    /// One level deeper, unless that is too deep.
    #[inline]
    fn descend(&self) -> bool {
        let depth = self.depth.get();
        if depth >= DEEPEST {
            return false;
        }
        self.depth.set(depth + 1);
        true
    }

    /// One level up. From the outermost one what was put off is freed first.
    #[inline]
    fn ascend(&self) {
        let depth = self.depth.get() - 1;
        if depth == 0 {
            // Still at this level: what is freed here must not come here again.
            loop {
                let next = self.waiting.borrow_mut().pop();
                let Some((pointer, deallocate)) = next else {
                    break;
                };
                // SAFETY: it was put off by this very function, see `Level::enter`.
                unsafe { deallocate(pointer) };
            }
        }
        self.depth.set(depth);
    }
}

static COMMON: Trashcan = Trashcan::new();

thread_local! {
    /// Never dropped, so that it is there as long as the thread is. It holds nothing by then.
    static OWN: ManuallyDrop<Trashcan> = const { ManuallyDrop::new(Trashcan::new()) };
}

/// This thread's number, which costs nothing to know.
#[inline]
fn this_thread() -> usize {
    unsafe extern "C" {
        safe fn pthread_self() -> usize;
    }
    pthread_self()
}

/// One deallocator more, until this is dropped.
pub(super) struct Level {
    /// Whether it is one of the thread's own, and not of the common ones.
    own: bool,
}

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
        let own = if COMMON.depth.get() == 0 {
            COMMON.thread.set(this_thread());
            false
        } else {
            COMMON.thread.get() != this_thread()
        };
        let (entered, waiting) = if own {
            (enter_own(), None)
        } else {
            (COMMON.descend(), Some(&COMMON.waiting))
        };
        if entered {
            return Some(Level { own });
        }
        // SAFETY: by the caller's word; nobody must find it meanwhile.
        unsafe { sys::PyObject_GC_UnTrack(pointer.cast()) };
        match waiting {
            Some(waiting) => waiting.borrow_mut().push((pointer, deallocate)),
            None => OWN.with(|own| own.waiting.borrow_mut().push((pointer, deallocate))),
        }
        None
    }
}

#[cold]
fn enter_own() -> bool {
    OWN.with(|own| own.descend())
}

impl Drop for Level {
    #[inline]
    fn drop(&mut self) {
        if self.own {
            OWN.with(|own| own.ascend());
        } else {
            COMMON.ascend();
        }
    }
}
