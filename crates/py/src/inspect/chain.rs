//! The chain of awaits of a task that does not run: its coroutine, what that awaits, and so on.

use super::told::Told;
use crate::awaitable::Coroutine;
use crate::ffi::{Object, Spot, This, awaited_in, is_generator, suspended_spot, text};

/// One member of the chain.
pub(super) struct Link {
    pub(super) object: Object,
    /// Where it is, if it is Python's.
    pub(super) spot: Option<Spot>,
    /// What it waits for, if it is ours.
    pub(super) told: Option<Told>,
}

/// Longer chains are cut off.
const LONGEST: usize = 1000;

/// What a coroutine awaits, it first.
pub(super) fn chain_of(coroutine: &Object) -> Vec<Link> {
    let mut chain = Vec::new();
    let mut next = Some(coroutine.clone());
    while let Some(object) = next.take()
        && chain.len() < LONGEST
    {
        let mut told = This::<Coroutine>::from_exact(&object).map(|native| native.tell());
        next = match &mut told {
            Some(told) => told.next.take(),
            None => awaited_by(&object),
        };
        chain.push(Link {
            spot: suspended_spot(&object),
            object,
            told,
        });
    }
    chain
}

/// What a coroutine, a generator or a step of an asynchronous generator awaits.
fn awaited_by(link: &Object) -> Option<Object> {
    if is_generator(link) {
        return awaited_in(link);
    }
    // What `await generator.asend(…)` awaits, and `async for`, has no attribute that leads to the
    // generator.
    let class = readable(link.type_name().and_then(|name| name.to_text()))?;
    let is_step = class.starts_with("async_generator_")
        || class == "anext_awaitable"
        || class == "coroutine_wrapper";
    if is_step { referred_by(link) } else { None }
}

/// The coroutine, generator or asynchronous generator that an object of CPython's holds.
fn referred_by(link: &Object) -> Option<Object> {
    let items = crate::imports::module(c"gc")
        .and_then(|gc| gc.get_attr(&text("get_referents")?))
        .and_then(|function| function.call1(link))
        .and_then(|list| list.items());
    readable(items)?.into_iter().find(is_generator)
}

/// `getattr(object, name, None)`.
pub(super) fn attribute(object: &Object, name: &str) -> Option<Object> {
    readable(text(name).and_then(|name| object.find_attr(&name)))?
}

/// What could be read: a view shows as much as there is, so that one odd object hides nothing else.
pub(super) fn readable<T>(outcome: crate::ffi::Outcome<T>) -> Option<T> {
    match outcome {
        Ok(value) => Some(value),
        Err(raised) => {
            raised.discard();
            None
        }
    }
}
