//! What shows loops to people, as far as it needs Python: `ferrio_inspect` has the rest.
//!
//! | module | what it holds |
//! |---|---|
//! | `interpreter_thread` | how native threads get something done in Python |
//! | `layout` | where the interpreter keeps what native threads look at |
//! | `look` | what the tests see of a thread from outside |
//! | `services` | the native threads, at a fork and at the end |
//! | `watchdog` | which loops it watches, and how its reports reach Python |

pub(crate) mod interpreter_thread;
mod layout;
mod look;
mod services;
mod watchdog;

pub(crate) use layout::layout;
pub(crate) use services::resume_after_fork;

use crate::ffi::Method;

/// The module's functions.
pub(crate) fn functions() -> Vec<Method> {
    let mut functions = services::functions();
    functions.extend(look::functions());
    functions.extend(watchdog::functions());
    functions
}
