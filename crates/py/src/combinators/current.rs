//! The running loop, its time and the task that is being stepped, as asyncio's own functions that
//! are written in Python ask for them.

use crate::event_loop::EventLoop;
use crate::ffi::{Object, Outcome, This};
use crate::imports::imports;
use crate::originals::originals;
use crate::task::Task;

/// `asyncio.get_running_loop()`.
#[inline]
pub(super) fn running_loop() -> Outcome<Object> {
    originals().required_running_loop.call0()
}

/// `event_loop.time()`.
#[inline]
pub(super) fn time_of(event_loop: &Object) -> Outcome<Object> {
    if let Some(native) = This::<EventLoop>::from_object(event_loop)
        && let Some(seconds) = native.plain_time()
    {
        return Object::from_f64(seconds);
    }
    event_loop.call_method(&imports().names.time, &[])
}

/// `asyncio.current_task()`.
#[inline]
pub(super) fn current_task() -> Outcome<Option<Object>> {
    let task = originals().current_task.call0()?;
    Ok(task.some().cloned())
}

/// `task.cancel()`.
pub(super) fn cancel(task: &Object) -> Outcome<()> {
    match This::<Task>::from_exact(task) {
        Some(native) if native.is_plain() => native.cancel(None).map(drop),
        _ => task.call_method(&imports().names.cancel, &[]).map(drop),
    }
}

/// `task.cancelling()`.
#[inline]
pub(super) fn cancelling(task: &Object) -> Outcome<i64> {
    match This::<Task>::from_exact(task) {
        Some(native) if native.is_plain() => Ok(native.cancel_requests().into()),
        _ => task
            .call_method(&originals().names.cancelling, &[])?
            .to_i64(),
    }
}

/// `task.uncancel()`.
pub(super) fn uncancel(task: &Object) -> Outcome<i64> {
    match This::<Task>::from_exact(task) {
        Some(native) if native.is_plain() => Ok(native.uncancel().into()),
        _ => task.call_method(&originals().names.uncancel, &[])?.to_i64(),
    }
}
