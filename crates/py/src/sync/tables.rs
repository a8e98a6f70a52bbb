//! What the Python types of this folder, and queues, have in common: attributes and pickling.

use std::cell::Cell;

use super::BoundLoop;
use crate::ffi::{
    Arguments, Attribute, GetSet, Method, Native, Object, Outcome, Raised, Signature, This,
    required, text,
};

/// A native type that stands for a class of asyncio's.
pub(crate) trait StandsIn: Native {
    /// The class that its instances say they are of.
    fn original() -> &'static Object;
}

/// A type whose instances belong to a loop from their first wait on.
pub(crate) trait LoopBound: StandsIn {
    fn bound_loop(&self) -> &BoundLoop;
}

/// What asyncio has a member of an enumeration for.
pub(crate) trait Enumeration: Copy + 'static {
    const ALL: &'static [Self];

    /// The member's value.
    fn value(self) -> &'static str;

    /// The enumeration.
    fn class() -> &'static Object;
}

impl<E: Enumeration> Attribute for Cell<E> {
    fn read(&self) -> Outcome<Object> {
        E::class().call1(&text(self.get().value())?)
    }

    fn write(&self, value: Option<&Object>, name: &str) -> Outcome<()> {
        let member = E::class().call1(required(value, name)?)?;
        let given = member.get_attr(&text("value")?)?.to_text()?;
        match E::ALL.iter().find(|known| known.value() == given) {
            Some(known) => self.set(*known),
            None => return Err(Raised::value_error(&format!("{name} cannot be {given}"))),
        }
        Ok(())
    }
}

/// A type whose instances can be pickled.
pub(crate) trait Pickled: Native {
    /// The attributes to be set again, with their names.
    ///
    /// # Errors
    /// What the making of a value raises.
    fn state(this: This<'_, Self>) -> Outcome<Vec<(&'static str, Object)>>;
}

/// `__class__`.
pub(crate) fn class_attribute<T: StandsIn>() -> GetSet {
    crate::identity::class_attribute::<T, _>(T::original)
}

/// The attributes of every loop-bound type, and then its own.
pub(crate) fn loop_bound_attributes<T: LoopBound>(
    own: impl IntoIterator<Item = GetSet>,
) -> Vec<GetSet> {
    let mut table = vec![
        class_attribute::<T>(),
        GetSet::instance_dict(),
        GetSet::field(
            c"_loop",
            T::bound_loop,
            c"The loop that it belongs to, or None before the first wait.",
        ),
    ];
    table.extend(own);
    table
}

/// The methods by which instances are pickled, behind `own`.
pub(crate) fn pickled_methods<T: Pickled>(mut own: Vec<Method>) -> Vec<Method> {
    own.push(Method::any_arguments(
        c"__reduce_ex__",
        |this: This<'_, T>, _: Arguments<'_>| reduce(this),
        c"Pickle it with its attributes.",
    ));
    own.push(Method::one_argument(
        c"__setstate__",
        |this: This<'_, T>, state: &Object| set_state(this, state),
        c"Set the attributes that were pickled.",
    ));
    own
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
fn reduce<T: Pickled>(this: This<'_, T>) -> Outcome<Object> {
    let new_object = crate::imports::module(c"ferrio._ferrio")?.get_attr(&text("_make")?)?;
    let state = Object::dict()?;
    for (name, value) in T::state(this)? {
        state.dict_set(&text(name)?, &value)?;
    }
    let own = this.object().get_attr(&text("__dict__")?)?;
    state.call_method(&text("update")?, &[&own])?;
    let class = Object::tuple(&[&this.object().type_object()])?;
    Object::tuple(&[&new_object, &class, &state])
}

/// Sets attributes from the state that [`reduce`] has given.
fn set_state<T: Native>(this: This<'_, T>, state: &Object) -> Outcome<Object> {
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
