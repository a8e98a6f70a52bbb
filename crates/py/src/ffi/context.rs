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
