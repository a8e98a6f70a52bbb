//! What shows loops to people, as far as it needs Python: `ferrio_inspect` has the rest.
//!
//! Any thread may ask for a [`ferrio_inspect::Snapshot`], also while the loop's own is in the
//! middle of a step. Nothing is kept while nobody asks: what a task waits for is found in its
//! coroutine, from the outermost await to the innermost.
//!
//! | module | what it holds |
//! |---|---|
//! | `chain` | from a task's outermost await to the innermost |
//! | `commands` | what `ferrio ps` and its like ask of other processes |
//! | `collect` | what loops and tasks are at, for whoever holds the interpreter |
//! | `interpreter_thread` | how native threads get something done in Python |
//! | `process` | this process as what views are made from |
//! | `reasons` | why a task waits, in a few words |
//! | `services` | the native threads, at a fork and at the end |
//! | `socket` | the inspect socket of this process |
//! | `waits` | what a task waits for |

mod chain;
mod collect;
mod commands;
pub(crate) mod interpreter_thread;
mod process;
mod reasons;
mod services;
mod socket;
mod waits;

pub(crate) use collect::collect_snapshot;
pub(crate) use process::Process;
pub(crate) use reasons::reason_to_wait;
pub(crate) use services::resume_after_fork;

use crate::ffi::{Method, Object, Outcome, Raised, text};

/// The module's functions.
pub(crate) fn functions() -> Vec<Method> {
    let mut functions = services::functions();
    functions.extend(socket::functions());
    functions.extend(commands::functions());
    functions
}

/// The snapshot as JSON.
pub(crate) fn snapshot_text() -> Outcome<Object> {
    let snapshot = collect_snapshot()?;
    match serde_json::to_string(&snapshot) {
        Ok(json) => text(&json),
        Err(error) => Err(Raised::runtime_error(&error.to_string())),
    }
}
