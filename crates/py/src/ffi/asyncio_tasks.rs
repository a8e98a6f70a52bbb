//! The list of a thread's tasks that CPython keeps from 3.14 on.
//!
//! `asyncio.all_tasks()` reads it, and so does `python -m asyncio ps PID` from another process,
//! which knows where in a task of `_asyncio` its name, its coroutine, who waits for it and its
//! links are. A native type that has the same at the same places can be a member of the list: see
//! `task/published.rs`. That the places are what they were known to be is looked at once, on two
//! tasks of `_asyncio`, before anything is put there.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::linked::{Linked, Links, join};
use super::{Object, Outcome, This, sys, text};

/// Offsets within a task of `_asyncio`, from the start of the object.
pub(crate) mod places {
    pub(crate) const AWAITED_BY: usize = 96;
    pub(crate) const IS_TASK: usize = 108;
    pub(crate) const AWAITED_BY_IS_SET: usize = 109;
    pub(crate) const COROUTINE: usize = 128;
    pub(crate) const NAME: usize = 136;
    pub(crate) const LINKS: usize = 152;
    /// The size of the object.
    pub(crate) const END: usize = 168;
}

/// Where in a thread's state the list's head is; 0 while that is not known.
static HEAD: AtomicUsize = AtomicUsize::new(0);

/// Heads are looked for within so many bytes of a thread's state.
const FARTHEST: usize = 1 << 16;

/// Adds a task to the running thread's list; false when it is not known where that is.
///
/// # Safety
/// * A `T` has at the `places` what a task of `_asyncio` has there.
#[inline]
pub(crate) unsafe fn join_thread_list<T: Linked>(this: This<'_, T>) -> bool {
    let offset = HEAD.load(Ordering::Relaxed);
    if offset == 0 {
        return false;
    }
    // SAFETY: the running thread has a state, and the head was found at that offset in one.
    unsafe {
        let head = sys::PyThreadState_Get().byte_add(offset);
        join(this, head.cast::<Links>());
    }
    true
}

/// Looks at two tasks of `_asyncio` and remembers where this thread's list is, if they are laid
/// out as `places` says.
///
/// `first` and `second` were made in this thread, one straight after the other, and are pending;
/// `first` is awaited by `second`, and `second` by both.
///
/// # Errors
/// What reading the attributes of the tasks raises.
pub(crate) fn learn(first: &Object, second: &Object) -> Outcome<bool> {
    for task in [first, second] {
        // SAFETY: a live type.
        let size = unsafe { (*task.type_ptr()).tp_basicsize }.unsigned_abs();
        if size != places::END {
            return Ok(false);
        }
    }
    let agree = word(first, places::COROUTINE) == address(&first.call_method(&text("get_coro")?, &[])?)
        && word(first, places::NAME) == address(&first.call_method(&text("get_name")?, &[])?)
        && byte(first, places::IS_TASK) == 1
        && word(first, places::AWAITED_BY) == address(second)
        && byte(first, places::AWAITED_BY_IS_SET) == 0
        && byte(second, places::AWAITED_BY_IS_SET) == 1
        // The ring: first, second, head.
        && word(first, places::LINKS) == address(second) + places::LINKS
        && word(second, places::LINKS + size_of::<usize>()) == address(first) + places::LINKS;
    if !agree {
        return Ok(false);
    }
    let head = word(second, places::LINKS);
    // SAFETY: the running thread's state.
    let state = unsafe { sys::PyThreadState_Get() }.addr();
    match head.checked_sub(state) {
        Some(offset) if offset > 0 && offset < FARTHEST => {
            HEAD.store(offset, Ordering::Relaxed);
            Ok(true)
        }
        _ => Ok(false),
    }
}

fn address(object: &Object) -> usize {
    object.as_ptr().addr()
}

/// The word at an offset of a task of `_asyncio`.
fn word(task: &Object, offset: usize) -> usize {
    // SAFETY: within the object, whose size was compared; any bits are a number.
    unsafe { task.as_ptr().byte_add(offset).cast::<usize>().read() }
}

fn byte(task: &Object, offset: usize) -> u8 {
    // SAFETY: as above.
    unsafe { task.as_ptr().byte_add(offset).cast::<u8>().read() }
}
