//! `Handle` and `TimerHandle` as Python sees them.

use std::ffi::c_int;

use super::{Handle, TimerHandle};
use crate::ffi::{
    GetSet, Method, Native, Object, Outcome, Own, Raised, Signature, This, TypeBuilder, attributes,
    methods, none, sys,
};
use crate::identity;
use crate::imports::imports;

const INIT: Signature<4> = Signature {
    function: "Handle",
    names: [c"callback", c"args", c"loop", c"context"],
    positional: 4,
    required: 3,
};

/// Builds the types of this module.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    TypeBuilder::<Handle>::new(
        c"A callback that the event loop will call, as loop.call_soon() returns it.",
    )
    .subclassable()
    .init(|this, arguments| {
        let [callback, values, event_loop, context] = INIT.parse(arguments)?;
        match (callback, values, event_loop) {
            (Some(callback), Some(values), Some(event_loop)) => {
                this.initialise(callback, values, event_loop, context.and_then(Object::some))
            }
            _ => Err(Raised::type_error(
                "Handle() needs a callback, its arguments and a loop",
            )),
        }
    })
    .unary(sys::Py_tp_repr, |this| this.describe())
    .methods(methods(vec![
        Method::no_arguments(
            c"cancel",
            |this: This<'_, Handle>| {
                this.cancel()?;
                Ok(none())
            },
            c"Cancel the call; does nothing if it was made or cancelled already.",
        ),
        Method::no_arguments(
            c"cancelled",
            |this: This<'_, Handle>| Ok(Object::from_bool(this.is_cancelled())),
            c"Return True if the call was cancelled.",
        ),
        Method::no_arguments(
            c"get_context",
            |this: This<'_, Handle>| this.own_context(),
            c"Return the contextvars context of the call.",
        ),
        Method::no_arguments(
            c"_run",
            |this: This<'_, Handle>| {
                this.run()?;
                Ok(none())
            },
            c"Make the call now.",
        ),
    ]))
    .attributes(attributes(handle_attributes()))
    .build(module, None)?;

    TypeBuilder::<TimerHandle>::new(
        c"A callback with the loop time at which it is due, as loop.call_later() returns it.",
    )
    .only_from_rust()
    .compare(compare)
    .hash(|this| match this.when()? {
        // SAFETY: a live object; -1 means that it cannot be hashed.
        Some(when) => match unsafe { sys::PyObject_Hash(when.as_ptr()) } {
            -1 => Err(crate::ffi::Raised::NOW),
            hash => Ok(hash),
        },
        None => Ok(0),
    })
    .methods(methods(vec![
        Method::no_arguments(
            c"cancel",
            |this: This<'_, TimerHandle>| {
                this.cancel()?;
                Ok(none())
            },
            c"Cancel the call; does nothing if it was made or cancelled already.",
        ),
        Method::no_arguments(
            c"when",
            |this: This<'_, TimerHandle>| Ok(this.when()?.unwrap_or_else(none)),
            c"Return the loop time at which the call is due, in seconds.",
        ),
    ]))
    .attributes(attributes(vec![
        identity::class_attribute::<TimerHandle, _>(|| &imports().asyncio_timer_handle),
        GetSet::read_only(
            c"_when",
            |this: This<'_, TimerHandle>| Ok(this.when()?.unwrap_or_else(none)),
            c"The loop time at which the call is due, in seconds.",
        ),
        GetSet::read_only(
            c"_scheduled",
            |this: This<'_, TimerHandle>| Ok(Object::from_bool(this.is_scheduled())),
            c"True while the timer stands in the loop's heap.",
        ),
    ]))
    .build(module, Some(Handle::type_object()))?;
    super::thread_safe::build(module)
}

fn handle_attributes() -> Vec<GetSet> {
    type Self_<'a> = This<'a, Handle>;
    vec![
        identity::class_attribute::<Handle, _>(|| &imports().asyncio_handle),
        GetSet::read_only(
            c"_callback",
            |this: Self_<'_>| Ok(this.callback.get().unwrap_or_else(none)),
            c"The callable, or None when cancelled.",
        ),
        GetSet::read_only(
            c"_args",
            |this: Self_<'_>| this.arguments_or_none(),
            c"The arguments, or None when cancelled.",
        ),
        GetSet::read_only(
            c"_context",
            |this: Self_<'_>| this.own_context(),
            c"The contextvars context of the call.",
        ),
        GetSet::read_only(
            c"_cancelled",
            |this: Self_<'_>| Ok(Object::from_bool(this.is_cancelled())),
            c"True if the call was cancelled.",
        ),
        GetSet::read_only(
            c"_loop",
            |this: Self_<'_>| Ok(this.event_loop.get().map_or_else(none, Own::into_object)),
            c"The event loop.",
        ),
        GetSet::read_only(
            c"_source_traceback",
            |this: Self_<'_>| Ok(this.source_traceback.get().unwrap_or_else(none)),
            c"Where the handle was made, in debug mode.",
        ),
        GetSet::read_only(
            c"_repr",
            |this: Self_<'_>| Ok(this.representation.get().unwrap_or_else(none)),
            c"The representation before it was cancelled, in debug mode.",
        ),
    ]
}

/// By time; equal ones are equal only if all else is, as in asyncio.
fn compare(this: This<'_, TimerHandle>, other: &Object, operation: c_int) -> Outcome<Option<bool>> {
    let Some(other) = This::<TimerHandle>::from_object(other) else {
        return Ok(None);
    };
    let (Some(mine), Some(theirs)) = (this.when()?, other.when()?) else {
        return Ok(None);
    };
    let (mine, theirs) = (mine.to_f64()?, theirs.to_f64()?);
    Ok(Some(match operation {
        sys::Py_LT => mine < theirs,
        sys::Py_GT => mine > theirs,
        sys::Py_LE => mine < theirs || equal(this, other)?,
        sys::Py_GE => mine > theirs || equal(this, other)?,
        sys::Py_EQ => equal(this, other)?,
        sys::Py_NE => !equal(this, other)?,
        _ => return Ok(None),
    }))
}

fn equal(this: This<'_, TimerHandle>, other: This<'_, TimerHandle>) -> Outcome<bool> {
    let (mine, theirs) = (this.upcast::<Handle>(), other.upcast::<Handle>());
    let (Some(when), Some(other_when)) = (this.when()?, other.when()?) else {
        return Ok(false);
    };
    let callback = |handle: This<'_, Handle>| handle.callback.get().unwrap_or_else(none);
    Ok(when.equals(&other_when)?
        && mine.is_cancelled() == theirs.is_cancelled()
        && callback(mine).equals(&callback(theirs))?
        && mine
            .arguments_or_none()?
            .equals(&theirs.arguments_or_none()?)?)
}
