//! `Lock`, `Event`, `Condition`, `Semaphore`: asyncio's, with their waiting done in Rust.
//!
//! An object of exactly one of these types, without attributes of its own, is *plain*: its
//! methods call each other directly. For a subclass, and for an object that somebody has hung an
//! attribute on, they go through the attributes, as Python code would, so that whatever was
//! overridden is called.

mod condition;
mod count;
mod deque;
mod event;
mod lock;
mod loop_bound;
mod semaphore;

pub(crate) use condition::{Condition, WaitCondition, WaitForPredicate};
pub(crate) use count::Count;
pub(crate) use deque::Deque;
pub(crate) use event::{Event, WaitEvent, receiver};
pub(crate) use lock::{AcquireLock, Enter, Exit, Lock};
pub(crate) use loop_bound::{
    BoundLoop, create_future, is_cancelled_error, is_future_cancelled, is_future_done, wake,
};
pub(crate) use semaphore::{AcquireSemaphore, Semaphore};

use crate::ffi::{Arguments, Native, Object, Outcome, Raised, Signature, This, text};

/// Builds the Python types.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    lock::build(module)?;
    event::build(module)?;
    condition::build(module)?;
    semaphore::build(module)
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

/// `class.__new__(class)`: the first half of unpickling.
pub(crate) fn make(arguments: Arguments<'_>) -> Outcome<Object> {
    const MAKE: Signature<1> = Signature {
        function: "_make",
        names: [c"class"],
        positional: 1,
        required: 1,
    };
    match MAKE.parse(arguments)? {
        [Some(class)] => class.call_method(&text("__new__")?, &[class]),
        [None] => Err(Raised::type_error("_make() needs a class")),
    }
}

/// How an object is pickled: `_make(class)`, and then these attributes. Not by
/// `copyreg.__newobj__`, which wants the class that `__class__` answers.
pub(crate) fn reduce<T: Native>(
    this: This<'_, T>,
    attributes: &[(&str, Object)],
) -> Outcome<Object> {
    let new_object = crate::imports::module(c"ferrio._ferrio")?.get_attr(&text("_make")?)?;
    let state = Object::dict()?;
    for (name, value) in attributes {
        state.dict_set(&text(name)?, value)?;
    }
    let own = this.object().get_attr(&text("__dict__")?)?;
    state.call_method(&text("update")?, &[&own])?;
    let class = Object::tuple(&[&this.object().type_object()])?;
    Object::tuple(&[&new_object, &class, &state])
}

/// Sets attributes from the state that [`reduce`] has given.
pub(crate) fn set_state<T: Native>(this: This<'_, T>, state: &Object) -> Outcome<Object> {
    let items = state.call_method(&text("items")?, &[])?;
    // SAFETY: a live object; a new reference or null.
    let items = unsafe { Object::from_new(crate::ffi::sys::PySequence_Tuple(items.as_ptr()))? };
    for item in items.tuple_items() {
        if let [name, value] = item.tuple_items() {
            this.object().set_attr(name, value)?;
        }
    }
    Ok(crate::ffi::none())
}
