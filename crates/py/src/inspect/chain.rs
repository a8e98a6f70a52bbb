//! The chain of awaits of a task that does not run: its coroutine, what that awaits, and so on.

use crate::ffi::{Object, Spot, is_generator, none, suspended_spot, text};

/// What a task awaits.
pub(super) struct Chain {
    /// Where its Python frames are, the outermost first.
    pub(super) spots: Vec<Spot>,
    /// Its objects, the outermost first, the coroutine itself included.
    pub(super) links: Vec<Object>,
}

/// Longer chains are cut off.
const LONGEST: usize = 1000;

impl Chain {
    pub(super) fn of(coroutine: &Object) -> Chain {
        let mut chain = Chain {
            spots: Vec::new(),
            links: vec![coroutine.clone()],
        };
        let mut link = coroutine.clone();
        while chain.links.len() < LONGEST {
            chain.spots.extend(suspended_spot(&link));
            let next = awaited_by(&link);
            if next.is_none() {
                break;
            }
            chain.links.push(next.clone());
            link = next;
        }
        chain
    }
}

/// What a coroutine, a generator or a step of an asynchronous generator awaits, or None.
fn awaited_by(link: &Object) -> Object {
    if is_generator(link) {
        return ["cr_await", "gi_yieldfrom", "ag_await"]
            .into_iter()
            .find_map(|name| attribute(link, name))
            .unwrap_or_else(none);
    }
    // What `await generator.asend(…)` awaits, and `async for`, has no attribute that leads to the
    // generator.
    let class = link.type_name().and_then(|name| name.to_text());
    match class {
        Ok(class) if class.starts_with("async_generator_") || class == "anext_awaitable" => {
            referred_by(link).unwrap_or_else(none)
        }
        Ok(class) if class == "coroutine_wrapper" => referred_by(link).unwrap_or_else(none),
        Ok(_) => none(),
        Err(raised) => {
            raised.discard(); // A class without a readable name is none of those.
            none()
        }
    }
}

/// The coroutine, generator or asynchronous generator that an object of CPython's holds.
fn referred_by(link: &Object) -> Option<Object> {
    let found = crate::imports::module(c"gc")
        .and_then(|gc| gc.get_attr(&text("get_referents")?))
        .and_then(|function| function.call1(link))
        .and_then(|list| list.items());
    match found {
        Ok(items) => items.into_iter().find(is_generator),
        Err(raised) => {
            raised.discard(); // Without it the chain ends here.
            None
        }
    }
}

fn attribute(object: &Object, name: &str) -> Option<Object> {
    match text(name).and_then(|name| object.find_attr(&name)) {
        Ok(found) => found,
        Err(raised) => {
            raised.discard(); // A view shows what can be read.
            None
        }
    }
}
