//! The one place where an `io::Error` becomes a Python exception.

use std::io;

use crate::ffi::{Object, Outcome, Raised, sys, text};

/// Raises the subclass of OSError that belongs to the error's errno, with errno and text kept.
impl From<io::Error> for Raised {
    #[cold]
    fn from(error: io::Error) -> Raised {
        match os_error(&error) {
            Ok(exception) => Raised::exception(&exception),
            Err(raised) => raised,
        }
    }
}

/// The exception for an I/O error, not raised: `OSError(errno, text)` chooses the subclass.
pub(crate) fn os_error(error: &io::Error) -> Outcome<Object> {
    // SAFETY: a built-in class.
    let class = unsafe { Object::from_borrowed(sys::PyExc_OSError) };
    match error.raw_os_error() {
        Some(number) => {
            let errno = Object::from_i64(number.into())?;
            // `strerror` through Python, for the very words that Python itself uses.
            let words =
                crate::imports::module(c"os")?.call_method(&text("strerror")?, &[&errno])?;
            class.call(&[&errno, &words], None)
        }
        None => class.call1(&text(&error.to_string())?),
    }
}
