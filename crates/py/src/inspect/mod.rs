//! What loops and tasks are at, collected into a [`Snapshot`] by whoever holds the interpreter.
//!
//! Any thread may ask, also while the loop's own is in the middle of a step. Nothing is kept while
//! nobody asks: what a task waits for is found in its coroutine, from the outermost await to the
//! innermost.

mod chain;
mod collect;
mod cycles;
mod ids;
mod known_functions;
mod told;
mod waits;

pub(crate) use collect::collect_snapshot;
pub(crate) use cycles::{
    begin_endless_wait, begin_wait_for_future, begin_wait_for_group, begin_wait_for_lock,
    cycles_now,
};
pub(crate) use told::Told;

use crate::ffi::{Object, Outcome, Raised, text};

/// The snapshot as JSON.
pub(crate) fn snapshot_text() -> Outcome<Object> {
    let snapshot = collect_snapshot()?;
    match serde_json::to_string(&snapshot) {
        Ok(json) => text(&json),
        Err(error) => Err(Raised::runtime_error(&error.to_string())),
    }
}
