//! asyncio's functions that put awaitables together.

mod any_future;
mod as_completed;
mod current;
mod ensure_future;
mod gather;
mod shield;
mod sleep;
mod task_group;
mod timeout;
mod wait;
mod wait_for;

pub(crate) use as_completed::WaitForOne;
pub(crate) use gather::GatheringFuture;
pub(crate) use shield::{LostException, lost_exception};
pub(crate) use sleep::Sleep;
pub(crate) use task_group::{EnterGroup, ExitGroup, TaskGroup};
pub(crate) use timeout::{EnterTimeout, ExitTimeout, Timeout};
pub(crate) use wait::Wait;
pub(crate) use wait_for::WaitFor;

use crate::ffi::{Object, Outcome};

/// Adds the functions to the module.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    as_completed::build(module)?;
    gather::build(module)?;
    shield::build(module)?;
    sleep::build(module)?;
    task_group::build(module)?;
    timeout::build(module)?;
    wait::build(module)?;
    wait_for::build(module)
}
