//! Who our objects say they are.
//!
//! `isinstance(task, asyncio.Task)` and `asyncio.isfuture(future)` must hold
//! without any name of asyncio being replaced. `isinstance` asks an object's
//! `__class__` when its type is no subclass, so ours answer asyncio's class
//! there. For a Python subclass of one of our types the answer is a *shadow*:
//! a class with the subclass's name whose base is asyncio's, made once per
//! subclass and kept in it. DESIGN.md tells what was weighed.

use crate::ffi::{GetSet, Native, Object, Outcome, This, sys, text};

/// The attribute of a subclass that keeps its shadow.
const SHADOW: &str = "__ferrio_shadow__";

/// The attribute `__class__` of a native type that stands for `answer`.
pub(crate) fn class_attribute<T: Native, F>(_answer: F) -> GetSet
where
    F: Fn() -> &'static Object + Copy + 'static,
{
    GetSet::read_only(
        c"__class__",
        |this: This<'_, T>| {
            // A closure without captures is its type, as in `ffi::method`; calling it
            // through a fresh value keeps this attribute free of state.
            let answer = answer_of::<F>();
            if this.is_exact() {
                Ok(answer.clone())
            } else {
                shadow(&this.object(), answer)
            }
        },
        c"The class that this object stands for.",
    )
}

fn answer_of<F: Fn() -> &'static Object + Copy + 'static>() -> &'static Object {
    crate::ffi::call_captureless::<F>()
}

/// The shadow of the object's class, made on first use.
fn shadow(object: &Object, answer: &Object) -> Outcome<Object> {
    let class = object.type_object();
    let key = text(SHADOW)?;
    let namespace = class.get_attr(&text("__dict__")?)?;
    // The class's own dict: a base's shadow has the wrong name.
    let found = namespace.call_method(&text("get")?, &[&key])?;
    if let Some(found) = found.some() {
        return Ok(found.clone());
    }
    let name = class.get_attr(&text("__name__")?)?;
    let attributes = Object::dict()?;
    for copied in ["__module__", "__qualname__", "__doc__"] {
        let copied = text(copied)?;
        attributes.dict_set(&copied, &class.get_attr(&copied)?)?;
    }
    let bases = Object::tuple(&[answer])?;
    // SAFETY: `type` lives as long as the interpreter.
    let type_type = unsafe { Object::from_borrowed((&raw mut sys::PyType_Type).cast()) };
    let made = type_type.call(&[&name, &bases, &attributes], None)?;
    class.set_attr(&key, &made)?;
    Ok(made)
}
