//! `Lock`, `Event`, `Condition`, `Semaphore`, `Barrier`: asyncio's, with their waiting done in Rust.
//!
//! An object of exactly one of these types, without attributes of its own, is *plain* while nobody
//! has changed the type: its methods call each other directly. For a subclass, for an object that
//! somebody has hung an attribute on, and for a type with a patched method they go through the
//! attributes, as Python code would, so that whatever was put in a method's place is called.

mod barrier;
mod condition;
mod count;
mod deque;
mod event;
mod holder;
mod lock;
mod loop_bound;
mod semaphore;
mod tables;
mod waiter;

pub(crate) use barrier::{ChangeBarrier, WaitBarrier};
pub(crate) use condition::{Condition, WaitCondition, WaitForPredicate};
pub(crate) use count::Count;
pub(crate) use deque::Deque;
pub(crate) use event::{Event, WaitEvent};
pub(crate) use lock::{AcquireLock, Enter, Exit, Lock, forget_holder_of_locks};
pub(crate) use loop_bound::{
    BoundLoop, create_future, is_cancelled_error, is_future_cancelled, is_future_done, wake,
};
pub(crate) use semaphore::{AcquireSemaphore, Semaphore};
pub(crate) use tables::{
    Enumeration, LoopBound, Pickled, StandsIn, class_attribute, loop_bound_attributes, make,
    pickled_methods,
};
pub(crate) use waiter::{Waiter, visit_waiter};

use crate::ffi::{Native, Object, Outcome, This, text};

/// Builds the Python types.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    lock::build(module)?;
    event::build(module)?;
    condition::build(module)?;
    semaphore::build(module)?;
    barrier::build(module)
}

/// `<module.Class object at 0x… [extra]>`, with the class as asyncio has it.
pub(crate) fn describe<T: Native>(this: This<'_, T>, extra: &str) -> Outcome<Object> {
    let class = this.object().get_attr(&text("__class__")?)?;
    let module = class.get_attr(&text("__module__")?)?.to_text()?;
    let name = class.get_attr(&text("__qualname__")?)?.to_text()?;
    text(&format!(
        "<{module}.{name} object at {:p} [{extra}]>",
        this.as_ptr()
    ))
}

/// What is said of those who wait.
pub(crate) fn describe_waiters(state: &str, waiters: usize) -> String {
    if waiters == 0 {
        state.to_owned()
    } else {
        format!("{state}, waiters:{waiters}")
    }
}
