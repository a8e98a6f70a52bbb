//! `shield(awaitable)`: a future that ends as another does, and whose cancellation stays its own.

use super::any_future::{
    End, add_done_callback, cancel, end_of, exception_of, is_cancelled, is_done, loop_of,
    remove_done_callback, result_of, set_exception, set_result,
};
use super::ensure_future::ensure_future;
use crate::ffi::{Context, Function, Object, Outcome, Raised, Signature, none, text};
use crate::future::{Watcher, add_awaiter, discard_awaiter};
use crate::originals::originals;
use crate::sync::create_future;
use crate::task::{Maker, Making};

/// What becomes of the inner future's exception when the outer one was cancelled; it was changed
/// more than once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum LostException {
    /// It counts as seen.
    Seen,
    /// The loop's exception handler is told: `_log_on_exception`.
    Logged,
    /// It is like that of any future.
    Kept,
}

/// `shield(arg)`.
fn shield(awaitable: &Object) -> Outcome<Object> {
    let running = originals().running_loop.call0()?;
    let _making = Making::by(Maker::Shield, 0);
    let inner = ensure_future(awaitable, None, running.some())?;
    if is_done(&inner)? {
        return Ok(inner);
    }
    let event_loop = loop_of(&inner)?;
    let outer = create_future(&event_loop)?;
    let context = Context::copy_current()?;
    let waiter = waiting_task(&inner, &event_loop)?;
    let forget = match &waiter {
        Some(waiter) => {
            let forget = Watcher::make(
                waiter.clone(),
                "shield.<locals>._clear_awaited_by_callback",
                |waiter, inner| discard_awaiter(inner, waiter),
            )?;
            add_done_callback(&inner, &forget, &context)?;
            forget
        }
        None => none(),
    };
    let on_inner = Watcher::make(
        outer.clone(),
        "shield.<locals>._inner_done_callback",
        inner_is_done,
    )?;
    add_done_callback(&inner, &on_inner, &context)?;
    let waiter = waiter.unwrap_or_else(none);
    let on_outer = Watcher::make(
        Object::tuple(&[&inner, &on_inner, &forget, &waiter])?,
        "shield.<locals>._outer_done_callback",
        outer_is_done,
    )?;
    add_done_callback(&outer, &on_outer, &context)?;
    Ok(outer)
}

/// The task that shields, which waits for the inner future from now on: noted from 3.14.
fn waiting_task(inner: &Object, event_loop: &Object) -> Outcome<Option<Object>> {
    if cfg!(not(Py_3_14)) || event_loop.is_none() {
        return Ok(None);
    }
    let task = originals().current_task.call1(event_loop)?;
    let Some(task) = task.some() else {
        return Ok(None);
    };
    add_awaiter(inner, task)?;
    Ok(Some(task.clone()))
}

fn inner_is_done(outer: &Object, inner: &Object) -> Outcome<()> {
    if is_cancelled(outer)? {
        if originals().shield_loses == LostException::Seen && !is_cancelled(inner)? {
            exception_of(inner)?;
        }
        return Ok(());
    }
    match end_of(inner)? {
        End::Cancelled => cancel(outer, None).map(drop),
        End::Exception(exception) => set_exception(outer, &exception),
        End::Result => set_result(outer, &result_of(inner)?),
    }
}

fn outer_is_done(inner_and_callbacks: &Object, _outer: &Object) -> Outcome<()> {
    let [inner, on_inner, forget, waiter] = inner_and_callbacks.tuple_items() else {
        return Err(Raised::type_error("four objects were expected"));
    };
    if is_done(inner)? {
        return Ok(());
    }
    remove_done_callback(inner, on_inner)?;
    if let Some(log) = &originals().log_on_exception {
        // The handler is told once, however many shields there were.
        remove_done_callback(inner, log)?;
        add_done_callback(inner, log, &Context::copy_current()?)?;
    }
    if let Some(waiter) = waiter.some() {
        remove_done_callback(inner, forget)?;
        discard_awaiter(inner, waiter)?;
    }
    Ok(())
}

/// Which way `asyncio.shield` has, by what it is made of.
pub(crate) fn lost_exception(shield: &Object, logs: bool) -> Outcome<LostException> {
    if logs {
        return Ok(LostException::Logged);
    }
    let name = text("co_name")?;
    let constants = shield
        .get_attr(&text("__code__")?)?
        .get_attr(&text("co_consts")?)?;
    for constant in constants.tuple_items() {
        let Some(own_name) = constant.find_attr(&name)? else {
            continue;
        };
        if own_name.to_text()? != "_inner_done_callback" {
            continue;
        }
        // Names stand in the order of their first use.
        for used in constant.get_attr(&text("co_names")?)?.tuple_items() {
            match used.to_text()?.as_str() {
                "exception" => return Ok(LostException::Seen),
                "cancel" => return Ok(LostException::Kept),
                _ => {}
            }
        }
    }
    Ok(LostException::Kept)
}

/// Adds the function to the module.
pub(super) fn build(module: &Object) -> Outcome<()> {
    const SHIELD: Signature<1> = Signature {
        function: "shield",
        names: [c"arg"],
        positional: 1,
        required: 1,
    };
    let shield = Function::make(&originals().shield, "ferrio", |_, arguments| {
        match SHIELD.parse(arguments)? {
            [Some(awaitable)] => shield(awaitable),
            [None] => Err(Raised::type_error("shield() needs an awaitable")),
        }
    })?;
    module.set_attr(&text("shield")?, &shield.into_object())
}
