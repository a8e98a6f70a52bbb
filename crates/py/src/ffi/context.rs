//! `contextvars` contexts: copied for callbacks, entered around them.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Object, Outcome, Raised, sys};

/// A `contextvars.Context`.
pub(crate) struct Context;

/// The index of the current context in the thread's state, seen as an array of pointers;
/// `UNKNOWN` while it is not known for certain.
static INDEX: AtomicUsize = AtomicUsize::new(UNKNOWN);

const UNKNOWN: usize = usize::MAX;

/// How many pointers of the thread's state are looked at: less than it has on every version.
const LENGTH: usize = 32;

/// Looks for the place where a thread keeps its current context, once, at import: it is the one
/// pointer that is to each of two contexts while that is entered, and to neither afterwards.
///
/// The public way to the current context makes a copy of it, which costs a tenth of a `call_soon`
/// and is for nothing when no variable is set.
pub(crate) fn learn_context_place() -> Outcome<()> {
    let before = words();
    let mut candidates: Vec<usize> = (0..LENGTH).collect();
    for _ in 0..2 {
        let probe = Context::empty()?;
        let entered = Context::enter(&probe)?;
        let during = words();
        candidates.retain(|&index| during[index] == probe.as_ptr().addr());
        drop(entered);
    }
    let after = words();
    candidates.retain(|&index| before[index] == after[index]);
    if let [index] = candidates[..] {
        INDEX.store(index, Ordering::Relaxed);
    }
    Ok(())
}

fn words() -> [usize; LENGTH] {
    std::array::from_fn(|index| {
        // SAFETY: this thread's state, of which `LENGTH` words are there on every version; a plain
        // read of memory that only this thread writes.
        unsafe {
            sys::PyThreadState_Get()
                .cast::<usize>()
                .add(index)
                .read_volatile()
        }
    })
}

impl Context {
    /// `contextvars.copy_context()`.
    #[inline]
    pub(crate) fn copy_current() -> Outcome<Object> {
        // SAFETY: a new reference or null.
        unsafe { Object::from_new(sys::PyContext_CopyCurrent()) }
    }

    /// `contextvars.copy_context()`, or `None` when no variable is set in the current context: an
    /// empty context is as good when it is made later.
    #[inline]
    pub(crate) fn copy_current_unless_empty() -> Outcome<Option<Object>> {
        if Self::current_is_empty() {
            return Ok(None);
        }
        let copy = Self::copy_current()?;
        Ok(if Self::is_empty(&copy)? {
            None
        } else {
            Some(copy)
        })
    }

    /// Whether no variable is set in the current context; `false` also where that cannot be told
    /// without a copy.
    #[inline]
    fn current_is_empty() -> bool {
        let index = INDEX.load(Ordering::Relaxed);
        if index == UNKNOWN {
            return false;
        }
        // SAFETY: the place was found at import. There is the thread's current context, which it
        // holds a reference to, or null in a thread that has not had one yet.
        unsafe {
            let current = *sys::PyThreadState_Get()
                .cast::<*mut sys::PyObject>()
                .add(index);
            current.is_null() || length(current) == Some(0)
        }
    }

    /// A context in which no variable is set.
    #[inline]
    pub(crate) fn empty() -> Outcome<Object> {
        // SAFETY: a new reference or null.
        unsafe { Object::from_new(sys::PyContext_New()) }
    }

    #[inline]
    pub(crate) fn is_empty(context: &Object) -> Outcome<bool> {
        // SAFETY: a live object, and what cannot be told here is asked for below.
        if let Some(length) = unsafe { length(context.as_ptr()) } {
            return Ok(length == 0);
        }
        // SAFETY: a live object; -1 with an exception when it has no length.
        match unsafe { sys::PyObject_Size(context.as_ptr()) } {
            -1 => Err(Raised::NOW),
            size => Ok(size == 0),
        }
    }

    /// Enters `context` until the guard is left.
    ///
    /// # Errors
    /// RuntimeError when it is entered already, TypeError when it is no context.
    #[inline]
    pub(crate) fn enter(context: &Object) -> Outcome<EnteredContext<'_>> {
        // SAFETY: PyContext_Enter checks the type itself.
        Raised::check(unsafe { sys::PyContext_Enter(context.as_ptr()) })?;
        Ok(EnteredContext(context))
    }
}

/// How many variables are set in a context, by the type's own function for that, which cannot fail;
/// `None` for anything else. `len()` takes two calls more to come to it.
///
/// # Safety
/// * `context` is a live object.
#[inline]
unsafe fn length(context: *mut sys::PyObject) -> Option<isize> {
    // SAFETY: by the caller's word; `Context` cannot be subclassed, and its slots never change.
    unsafe {
        let class = sys::Py_TYPE(context);
        if class != &raw mut sys::PyContext_Type {
            return None;
        }
        let length = (*class).tp_as_mapping.as_ref()?.mp_length?;
        Some(length(context))
    }
}

/// Leaves the context when dropped.
pub(crate) struct EnteredContext<'a>(&'a Object);

impl Drop for EnteredContext<'_> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: this guard's own enter; contexts are left in the order opposite to
        // that of entering, because guards are.
        if unsafe { sys::PyContext_Exit(self.0.as_ptr()) } < 0 {
            // Only a callback that left the context by itself can bring us here.
            Raised::NOW.report_unraisable(self.0);
        }
    }
}
