//! asyncio's functions that put awaitables together.

mod sleep;

pub(crate) use sleep::Sleep;

use crate::ffi::{Object, Outcome};

/// Adds the functions to the module.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    sleep::build(module)
}
