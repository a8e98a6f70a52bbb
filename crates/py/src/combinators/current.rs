//! The running loop, its time and the task that is being stepped, as asyncio's own functions that
//! are written in Python ask for them.

use crate::event_loop::EventLoop;
use crate::ffi::{Object, Outcome, This};
use crate::future::Future;
use crate::imports::imports;
use crate::originals::originals;
use crate::sync::{is_future_cancelled, is_future_done};
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

/// `asyncio.current_task(event_loop)`.
#[inline]
pub(super) fn current_task_of(event_loop: &Object) -> Outcome<Option<Object>> {
    let task = originals().current_task.call1(event_loop)?;
    Ok(task.some().cloned())
}

/// `task.exception()`, which counts as seen.
#[inline]
pub(super) fn exception_of(task: &Object) -> Outcome<Option<Object>> {
    match This::<Task>::from_exact(task) {
        Some(native) if native.is_plain() => native.upcast::<Future>().exception(),
        _ => {
            let exception = task.call_method(&originals().names.exception, &[])?;
            Ok(exception.some().cloned())
        }
    }
}

/// `task.done()`.
#[inline]
pub(super) fn is_done(task: &Object) -> Outcome<bool> {
    match This::<Task>::from_exact(task) {
        Some(native) if native.is_plain() => Ok(native.future().is_done()),
        _ => is_future_done(task),
    }
}

/// `task.cancelled()`.
#[inline]
pub(super) fn is_cancelled(task: &Object) -> Outcome<bool> {
    match This::<Task>::from_exact(task) {
        Some(native) if native.is_plain() => {
            Ok(native.future().state.get() == crate::future::State::Cancelled)
        }
        _ => is_future_cancelled(task),
    }
}

/// `task.add_done_callback(callback)`, for a callback that looks at no context variable: tasks of
/// ours keep `context` for it, which many may share.
#[inline]
pub(super) fn add_done_callback(task: &Object, callback: &Object, context: &Object) -> Outcome<()> {
    match This::<Task>::from_exact(task) {
        Some(native) if native.is_plain() => native
            .upcast::<Future>()
            .add_done_callback(callback, Some(context)),
        _ => task
            .call_method(&imports().names.add_done_callback, &[callback])
            .map(drop),
    }
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
