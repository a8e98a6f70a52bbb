//! `ensure_future(awaitable)`: asyncio's own, with a short cut for what it mostly gets.

use crate::awaitable::is_exact_coroutine;
use crate::event_loop::EventLoop;
use crate::ffi::{Object, Outcome, This, none};
use crate::future::ours;
use crate::originals::originals;

/// `ensure_future(awaitable, loop=event_loop)`. `running` is the running loop, which a coroutine
/// becomes a task of when no loop is given.
#[inline]
pub(super) fn ensure_future(
    awaitable: &Object,
    event_loop: Option<&Object>,
    running: Option<&Object>,
) -> Outcome<Object> {
    if is_exact_coroutine(awaitable)
        && let Some(event_loop) = event_loop.or(running)
        && let Some(native) = This::<EventLoop>::from_object(event_loop)
        && let Some(task) = native.plain_task(awaitable)?
    {
        return Ok(task.into_object());
    }
    if let Some(future) = ours(awaitable)
        && event_loop.is_none_or(|event_loop| event_loop.as_ptr() == future.event_loop_address())
    {
        return Ok(awaitable.clone());
    }
    let none = none();
    originals().ensure_future.call(
        &[awaitable, event_loop.unwrap_or(&none)],
        Some(&originals().loop_keyword),
    )
}
