//! What waits belongs to one loop: the one that runs when it first has to wait.

use std::ffi::c_int;

use crate::event_loop::EventLoop;
use crate::ffi::{Attribute, Object, ObjectCell, Outcome, Own, Raised, This, Visitor};
use crate::future::{Future, State};
use crate::imports::imports;
use crate::originals::originals;

/// `_loop`: empty until the first wait.
pub(crate) struct BoundLoop(ObjectCell);

impl BoundLoop {
    pub(crate) const fn new() -> BoundLoop {
        BoundLoop(ObjectCell::new())
    }

    pub(crate) fn clear(&self) {
        self.0.clear();
    }

    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.0.visit(visitor)
    }

    /// A future of the running loop, which has to be the one of before.
    ///
    /// # Errors
    /// RuntimeError when `owner` is bound to another loop.
    #[inline]
    pub(crate) fn create_future(&self, owner: &Object) -> Outcome<Object> {
        let running = self.running(owner)?;
        create_future(&running)
    }

    #[inline]
    fn running(&self, owner: &Object) -> Outcome<Object> {
        let running = originals().running_loop.call0()?;
        if !self.0.is_some() && !running.is_none() {
            self.0.set(running.clone());
        }
        if self.0.is_some() && self.0.address() != running.as_ptr() {
            let owner = owner.repr_text()?;
            return Err(Raised::runtime_error(&format!(
                "{owner} is bound to a different event loop"
            )));
        }
        Ok(running)
    }
}

impl Attribute for BoundLoop {
    fn read(&self) -> Outcome<Object> {
        self.0.read()
    }

    fn write(&self, value: Option<&Object>, _name: &str) -> Outcome<()> {
        self.0.assign(value.and_then(Object::some).cloned());
        Ok(())
    }
}

/// `loop.create_future()`.
#[inline]
pub(crate) fn create_future(event_loop: &Object) -> Outcome<Object> {
    if let Some(native) = This::<EventLoop>::from_object(event_loop)
        && let Some(future) = native.plain_future()?
    {
        native.note_wait();
        return Ok(Own::into_object(future));
    }
    event_loop.call_method(&imports().names.create_future, &[])
}

/// `future.done()`.
#[inline]
pub(crate) fn is_future_done(future: &Object) -> Outcome<bool> {
    match This::<Future>::from_exact(future) {
        Some(native) => Ok(native.is_done()),
        None => future.call_method(&originals().names.done, &[])?.is_true(),
    }
}

/// `future.cancelled()`.
#[inline]
pub(crate) fn is_future_cancelled(future: &Object) -> Outcome<bool> {
    match This::<Future>::from_exact(future) {
        Some(native) => Ok(native.state.get() == State::Cancelled),
        None => future
            .call_method(&originals().names.cancelled, &[])?
            .is_true(),
    }
}

/// `future.set_result(result)`, unless it is done; whether it was not.
#[inline]
pub(crate) fn wake(future: &Object, result: &Object) -> Outcome<bool> {
    if let Some(native) = This::<Future>::from_exact(future) {
        if native.is_done() {
            return Ok(false);
        }
        native.set_result(result.clone())?;
        return Ok(true);
    }
    if is_future_done(future)? {
        return Ok(false);
    }
    future.call_method(&imports().names.set_result, &[result])?;
    Ok(true)
}

/// Whether what was raised is a CancelledError.
pub(crate) fn is_cancelled_error(raised: &Raised) -> bool {
    raised.matches(imports().cancelled_error.as_ptr())
}
