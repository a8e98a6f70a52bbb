//! What is done with futures here, be they ours, asyncio's own or somebody else's.
//!
//! One of exactly our types, without attributes of its own, is asked directly; any other by the
//! names of its methods, as asyncio does.

use crate::ffi::{Object, Outcome, This};
use crate::future::{Extra, Future, State, ours};
use crate::imports::imports;
use crate::originals::originals;
use crate::task::{Task, cancel_ours};

/// How a future that is done has ended.
pub(super) enum End {
    Result,
    /// The exception counts as seen.
    Exception(Object),
    Cancelled,
}

/// `future.done()`.
#[inline]
pub(super) fn is_done(future: &Object) -> Outcome<bool> {
    match ours(future) {
        Some(ours) => Ok(ours.is_done()),
        None => future.call_method(&originals().names.done, &[])?.is_true(),
    }
}

/// `future.cancelled()`.
#[inline]
pub(super) fn is_cancelled(future: &Object) -> Outcome<bool> {
    match ours(future) {
        Some(ours) => Ok(ours.state.get() == State::Cancelled),
        None => future
            .call_method(&originals().names.cancelled, &[])?
            .is_true(),
    }
}

/// `future.cancelled()`, and if it was not, `future.exception()`.
#[inline]
pub(super) fn end_of(future: &Object) -> Outcome<End> {
    if is_cancelled(future)? {
        return Ok(End::Cancelled);
    }
    Ok(match exception_of(future)? {
        Some(exception) => End::Exception(exception),
        None => End::Result,
    })
}

/// `future.exception()`, which counts as seen.
#[inline]
pub(super) fn exception_of(future: &Object) -> Outcome<Option<Object>> {
    match ours(future) {
        Some(ours) => ours.exception(),
        None => {
            let exception = future.call_method(&originals().names.exception, &[])?;
            Ok(exception.some().cloned())
        }
    }
}

/// `future.result()`.
#[inline]
pub(super) fn result_of(future: &Object) -> Outcome<Object> {
    match ours(future) {
        Some(ours) => ours.result(),
        None => future.call_method(&imports().names.result, &[]),
    }
}

/// `future._make_cancelled_error()`.
pub(super) fn make_cancelled_error(future: &Object) -> Outcome<Object> {
    match ours(future) {
        Some(ours) => ours.make_cancelled_error(),
        None => future.call_method(&originals().names.make_cancelled_error, &[]),
    }
}

/// `future._cancel_message`.
pub(super) fn cancel_message(future: &Object) -> Outcome<Option<Object>> {
    match ours(future) {
        Some(ours) => Ok(ours.extras.get(Extra::CancelMessage)),
        None => {
            let message = future.get_attr(&originals().names.cancel_message)?;
            Ok(message.some().cloned())
        }
    }
}

/// `future.cancel(msg=message)`.
pub(super) fn cancel(future: &Object, message: Option<&Object>) -> Outcome<bool> {
    if ours(future).is_some()
        && let Some(answer) = cancel_ours(future, message)
    {
        return answer;
    }
    let none = crate::ffi::none();
    future
        .call_method_with(
            &imports().names.cancel,
            &[message.unwrap_or(&none)],
            Some(&imports().message_keyword),
        )?
        .is_true()
}

/// `future.set_result(result)`.
pub(super) fn set_result(future: &Object, result: &Object) -> Outcome<()> {
    match This::<Future>::from_exact(future) {
        Some(ours) => ours.set_result(result.clone()),
        None => future
            .call_method(&imports().names.set_result, &[result])
            .map(drop),
    }
}

/// `future.set_exception(exception)`.
pub(super) fn set_exception(future: &Object, exception: &Object) -> Outcome<()> {
    match This::<Future>::from_exact(future) {
        Some(ours) => ours.set_exception(exception),
        None => future
            .call_method(&imports().names.set_exception, &[exception])
            .map(drop),
    }
}

/// `future.add_done_callback(callback)`. Futures of ours keep `context`, a copy of the current one
/// that many of them may share.
#[inline]
pub(super) fn add_done_callback(
    future: &Object,
    callback: &Object,
    context: &Object,
) -> Outcome<()> {
    match ours(future) {
        Some(ours) => ours.add_done_callback(callback, Some(context)),
        None => future
            .call_method(&imports().names.add_done_callback, &[callback])
            .map(drop),
    }
}

/// `future.remove_done_callback(callback)`.
pub(super) fn remove_done_callback(future: &Object, callback: &Object) -> Outcome<()> {
    match ours(future) {
        Some(ours) => ours.remove_done_callback(callback).map(drop),
        None => future
            .call_method(&originals().names.remove_done_callback, &[callback])
            .map(drop),
    }
}

/// `asyncio.futures._get_loop(future)`.
pub(super) fn loop_of(future: &Object) -> Outcome<Object> {
    if let Some(ours) = ours(future) {
        return ours.event_loop();
    }
    match future.find_attr(&imports().names.get_loop)? {
        Some(get_loop) => get_loop.call0(),
        None => future.get_attr(&imports().names.loop_attribute),
    }
}

/// Nobody else holds the task that was made of a coroutine here, so nobody is to blame for its
/// end: `task._log_destroy_pending = False`.
#[inline]
pub(super) fn expect_abandonment(made: &Object) -> Outcome<()> {
    match This::<Task>::from_exact(made) {
        Some(task) => {
            task.expect_abandonment();
            Ok(())
        }
        None => made.set_attr(
            &originals().names.log_destroy_pending,
            &Object::from_bool(false),
        ),
    }
}
