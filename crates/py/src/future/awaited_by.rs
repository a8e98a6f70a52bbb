//! Who waits for a future, as call graphs show it: `asyncio.capture_call_graph`, from 3.14.
//!
//! A step that waits for a future leaves an edge to its task there, and the step after takes it
//! away; `gather`, `shield`, task groups and the like leave edges by hand, because what is awaited
//! there is a future in between. Nearly every future has one edge: only the second makes a set.

use super::Future;
use crate::ffi::{Arguments, Object, Outcome, Raised, This, none};
use crate::imports::imports;

impl This<'_, Future> {
    /// Notes that `waiter` waits for this future.
    #[inline]
    pub(crate) fn add_awaiter(self, waiter: &Object) -> Outcome<()> {
        if cfg!(not(Py_3_14)) || self.awaited_by.address() == waiter.as_ptr() {
            return Ok(());
        }
        if self.awaited_by.is_some() {
            return self.add_another(waiter);
        }
        self.awaited_by_is_set.set(false);
        self.awaited_by.set(waiter.clone());
        Ok(())
    }

    #[cold]
    fn add_another(self, waiter: &Object) -> Outcome<()> {
        let Some(first) = self.awaited_by.get() else {
            return Ok(());
        };
        if self.awaited_by_is_set.get() {
            return first.set_add(waiter);
        }
        let all = Object::set()?;
        all.set_add(&first)?;
        all.set_add(waiter)?;
        self.awaited_by.set(all);
        self.awaited_by_is_set.set(true);
        Ok(())
    }

    /// Forgets that `waiter` waits for this future; it may never have been noted.
    #[inline]
    pub(crate) fn discard_awaiter(self, waiter: &Object) -> Outcome<()> {
        if cfg!(not(Py_3_14)) {
            return Ok(());
        }
        if self.awaited_by_is_set.get() {
            return match self.awaited_by.get() {
                Some(all) => all.set_discard(waiter),
                None => Ok(()),
            };
        }
        if self.awaited_by.address() == waiter.as_ptr() {
            self.awaited_by.clear();
        }
        Ok(())
    }

    /// `_asyncio_awaited_by`: None, or a frozenset.
    pub(super) fn awaited_by(self) -> Outcome<Object> {
        match self.awaited_by.get() {
            None => Ok(none()),
            Some(all) if self.awaited_by_is_set.get() => Object::frozenset(&all),
            Some(one) => Object::frozenset(&Object::tuple(&[&one])?),
        }
    }
}

/// `asyncio.future_add_to_awaited_by(future, waiter)`.
///
/// asyncio's own knows its own types alone, so `ferrio` puts this in its place; what is not ours
/// is handed on to it.
pub(crate) fn add_to_awaited_by(arguments: Arguments<'_>) -> Outcome<Object> {
    let (future, waiter) = two(arguments, "future_add_to_awaited_by")?;
    add_awaiter(future, waiter).map(|()| none())
}

/// Notes that `waiter` waits for `future`, whosever they are.
pub(crate) fn add_awaiter(future: &Object, waiter: &Object) -> Outcome<()> {
    let Some(ours) = This::<Future>::from_object(future) else {
        return hand_on(imports().add_to_awaited_by.as_ref(), future, waiter);
    };
    if is_future(waiter)? {
        ours.add_awaiter(waiter)?;
    }
    Ok(())
}

/// `asyncio.future_discard_from_awaited_by(future, waiter)`, likewise.
pub(crate) fn discard_from_awaited_by(arguments: Arguments<'_>) -> Outcome<Object> {
    let (future, waiter) = two(arguments, "future_discard_from_awaited_by")?;
    discard_awaiter(future, waiter).map(|()| none())
}

/// Forgets that `waiter` waits for `future`, whosever they are; it may never have been noted.
pub(crate) fn discard_awaiter(future: &Object, waiter: &Object) -> Outcome<()> {
    match This::<Future>::from_object(future) {
        Some(ours) => ours.discard_awaiter(waiter),
        None => hand_on(imports().discard_from_awaited_by.as_ref(), future, waiter),
    }
}

fn two<'a>(arguments: Arguments<'a>, function: &str) -> Outcome<(&'a Object, &'a Object)> {
    match arguments.positional() {
        [future, waiter] if !arguments.has_keywords() => Ok((future, waiter)),
        given => Err(Raised::type_error(&format!(
            "{function}() takes exactly 2 positional arguments ({} given)",
            given.len(),
        ))),
    }
}

fn hand_on(function: Option<&Object>, future: &Object, waiter: &Object) -> Outcome<()> {
    match function {
        Some(function) => function.call(&[future, waiter], None).map(drop),
        None => Ok(()),
    }
}

/// Whether `waiter` is a future or a task, ours or asyncio's: asyncio notes no others.
fn is_future(waiter: &Object) -> Outcome<bool> {
    if This::<Future>::from_object(waiter).is_some() {
        return Ok(true);
    }
    waiter.is_instance(imports().asyncio_future.as_ptr())
}
