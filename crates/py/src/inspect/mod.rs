//! What shows loops to people, as far as it needs Python: `ferrio_inspect` has the rest.
//!
//! | module | what it holds |
//! |---|---|
//! | `interpreter_thread` | how native threads get something done in Python |
//! | `services` | the native threads, at a fork and at the end |

pub(crate) mod interpreter_thread;
mod services;

pub(crate) use services::resume_after_fork;

use crate::ffi::Method;

/// The module's functions.
pub(crate) fn functions() -> Vec<Method> {
    services::functions()
}
