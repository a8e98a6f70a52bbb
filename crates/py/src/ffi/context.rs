//! `contextvars` contexts: copied for callbacks, entered around them.

use super::{Object, Outcome, Raised, sys};

/// A `contextvars.Context`.
pub(crate) struct Context;

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
        let copy = Self::copy_current()?;
        Ok(if Self::is_empty(&copy)? {
            None
        } else {
            Some(copy)
        })
    }

    /// A context in which no variable is set.
    #[inline]
    pub(crate) fn empty() -> Outcome<Object> {
        // SAFETY: a new reference or null.
        unsafe { Object::from_new(sys::PyContext_New()) }
    }

    #[inline]
    pub(crate) fn is_empty(context: &Object) -> Outcome<bool> {
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
