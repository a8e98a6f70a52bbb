//! Audit hooks (PEP 578), for what is done here instead of in a function of CPython's that tells
//! them.

use std::ffi::{CStr, c_char, c_int};

use super::{Object, Outcome, Raised};

unsafe extern "C" {
    // `pyo3-ffi` leaves it out.
    fn PySys_Audit(event: *const c_char, format: *const c_char, ...) -> c_int;
}

/// Tells the audit hooks of an event with two arguments. It costs next to nothing while there
/// are none.
///
/// # Errors
/// What a hook raises: then the event must not happen.
#[inline]
pub(crate) fn audit(event: &CStr, first: &Object, second: &Object) -> Outcome<()> {
    // SAFETY: two C strings, and as many live objects as the format asks for.
    Raised::check(unsafe {
        PySys_Audit(
            event.as_ptr(),
            c"OO".as_ptr(),
            first.as_ptr(),
            second.as_ptr(),
        )
    })
}
