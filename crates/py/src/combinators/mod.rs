//! asyncio's functions that put awaitables together.

mod current;
mod sleep;
mod task_group;
mod timeout;
mod wait_for;

pub(crate) use sleep::Sleep;
pub(crate) use task_group::{EnterGroup, ExitGroup};
pub(crate) use timeout::{EnterTimeout, ExitTimeout};
pub(crate) use wait_for::WaitFor;

use crate::ffi::{Object, Outcome};

/// Adds the functions to the module.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    sleep::build(module)?;
    task_group::build(module)?;
    timeout::build(module)?;
    wait_for::build(module)
}
