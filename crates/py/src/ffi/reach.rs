//! What objects refer to, as the garbage collector is told it, and who else refers to them.

use std::collections::HashMap;
use std::ffi::{c_int, c_void};

use super::bound::BoundFunction;
use super::{Function, Object, Outcome, Ref, This, interned, sys};

/// Objects that were reached, each by its place in the lists.
pub(crate) struct Reached {
    places: HashMap<usize, u32>,
    /// How often each is referred to by the others and by those that the way began at.
    from_within: Vec<isize>,
    /// How often each is referred to at all.
    references: Vec<isize>,
    refers_to: Vec<Vec<u32>>,
}

/// More references of one object are not followed.
const MOST_OF_ONE: usize = 20_000;

impl Reached {
    /// Goes from `starts`, which are not among the objects themselves, and then from all that is
    /// reached but types, modules, the global variables of functions, and what `is_end` says.
    /// Gives the objects, and to which of them each of the starts refers.
    ///
    /// At most `most` are gone through. What was left out counts as somebody who refers to the
    /// objects from elsewhere. Nothing of Python's runs meanwhile.
    pub(crate) fn from(
        starts: &[Object],
        most: usize,
        is_end: impl Fn(&Object) -> bool,
    ) -> (Reached, Vec<Vec<u32>>) {
        let mut reached = Reached {
            places: HashMap::new(),
            from_within: Vec::new(),
            references: Vec::new(),
            refers_to: Vec::new(),
        };
        let mut ahead = Vec::new();
        let first = starts
            .iter()
            .map(|start| reached.look_at(start.as_ptr(), &is_end, &mut ahead))
            .collect();
        let mut next = 0;
        while next < ahead.len() && next < most {
            let found = reached.look_at(ahead[next], &is_end, &mut ahead);
            reached.refers_to[next] = found;
            next += 1;
        }
        (reached, first)
    }

    /// Counts what an object refers to, and enters what is new; gives the places.
    fn look_at(
        &mut self,
        object: *mut sys::PyObject,
        is_end: &impl Fn(&Object) -> bool,
        ahead: &mut Vec<*mut sys::PyObject>,
    ) -> Vec<u32> {
        let mut found = Vec::new();
        for referred in referents(object) {
            let place = match self.places.get(&referred.addr()) {
                Some(&place) => place,
                None => {
                    // SAFETY: alive, because `object` refers to it and nothing runs.
                    let seen = unsafe { Ref::new(referred) };
                    if is_left_out(referred) || is_end(&seen) {
                        continue;
                    }
                    let Ok(place) = u32::try_from(ahead.len()) else {
                        continue;
                    };
                    self.places.insert(referred.addr(), place);
                    self.from_within.push(0);
                    // SAFETY: as above.
                    self.references.push(unsafe { sys::Py_REFCNT(referred) });
                    self.refers_to.push(Vec::new());
                    ahead.push(referred);
                    place
                }
            };
            self.from_within[place as usize] += 1;
            found.push(place);
        }
        found
    }

    pub(crate) fn len(&self) -> usize {
        self.refers_to.len()
    }

    /// The place of the object at that address.
    pub(crate) fn place_of(&self, address: usize) -> Option<u32> {
        self.places.get(&address).copied()
    }

    /// Whether somebody refers to the object who was not gone through.
    pub(crate) fn is_held_elsewhere(&self, place: usize) -> bool {
        self.references[place] > self.from_within[place]
    }

    pub(crate) fn take_references_of(&mut self, place: usize) -> Vec<u32> {
        std::mem::take(&mut self.refers_to[place])
    }
}

impl Object {
    /// Whether it is a `contextvars.Context`.
    pub(crate) fn is_context(&self) -> bool {
        // SAFETY: a live object.
        unsafe { sys::PyContext_CheckExact(self.as_ptr()) != 0 }
    }
}

/// What a suspended coroutine, or generator, is in an `async with` section of: objects of which it has
/// `__aexit__` at hand, for the end of the section.
pub(crate) fn sections_of(suspended: &Object) -> Vec<Object> {
    // All are referred to before anything is asked of one of them.
    let at_hand: Vec<Object> = referents(suspended.as_ptr())
        .into_iter()
        // SAFETY: alive, because the coroutine refers to it and nothing has run.
        .map(|referred| unsafe { Object::from_borrowed(referred) })
        .collect();
    let mut found = Vec::new();
    for (place, object) in at_hand.iter().enumerate() {
        if let Some((function, receiver)) = bound_parts(object) {
            if is_section_end(&function) {
                found.push(receiver);
            }
        } else if is_section_end(object)
            && let Some(receiver) = at_hand.get(place + 1)
        {
            // From 3.14 on the two lie on the stack one above the other.
            found.push(receiver.clone());
        }
    }
    found
}

/// The function and the object of a bound method, Python's or ours.
fn bound_parts(object: &Object) -> Option<(Object, Object)> {
    if !object.is_bound_method() && This::<BoundFunction>::from_exact(object).is_none() {
        return None;
    }
    let part = |name| object.get_attr(&interned(name)?);
    match (part(c"__func__"), part(c"__self__")) {
        (Ok(function), Ok(receiver)) => Some((function, receiver)),
        (Err(raised), _) | (_, Err(raised)) => {
            // Of one that is being freed.
            raised.discard();
            None
        }
    }
}

/// Whether it is a function that ends a section.
fn is_section_end(function: &Object) -> bool {
    // SAFETY: a live object.
    let is_of_python = unsafe { sys::PyFunction_Check(function.as_ptr()) != 0 };
    if !is_of_python && This::<Function>::from_exact(function).is_none() {
        return false;
    }
    let named = interned(c"__name__")
        .and_then(|name| function.get_attr(&name))
        .and_then(|name| name.to_text());
    match named {
        Ok(name) => name == "__aexit__",
        // Neither has a name that cannot be read; nothing is known of one that had.
        Err(raised) => {
            raised.discard();
            false
        }
    }
}

/// The instance of a class of Python's, at hand for a suspended coroutine, that has the object at an
/// address as an attribute: its class, and the attribute's name.
pub(crate) fn attribute_that_is(suspended: &Object, object: usize) -> Option<(Object, String)> {
    // All are referred to before anything is asked of one of them.
    let at_hand: Vec<Object> = referents(suspended.as_ptr())
        .into_iter()
        // SAFETY: alive, because the coroutine refers to it and nothing has run.
        .map(|referred| unsafe { Object::from_borrowed(referred) })
        .filter(is_instance_of_python)
        .collect();
    at_hand
        .iter()
        .filter(|holder| refers_by_attribute(holder, object))
        .find_map(|holder| {
            let name = attribute_name(holder, object)?;
            Some((holder.type_object(), name))
        })
}

/// Whether a class statement, and not C code, has made its class; classes themselves are none.
fn is_instance_of_python(object: &Object) -> bool {
    // SAFETY: a live object, and its type.
    unsafe {
        sys::PyType_HasFeature(object.type_ptr(), sys::Py_TPFLAGS_HEAPTYPE) != 0
            && sys::PyType_Check(object.as_ptr()) == 0
    }
}

/// Whether an instance refers to the object at an address, or a dict that it refers to does: in most
/// cases it does not, and its dict need not be made for that to be known.
fn refers_by_attribute(holder: &Object, object: usize) -> bool {
    referents(holder.as_ptr()).into_iter().any(|referred| {
        if referred.addr() == object {
            return true;
        }
        // SAFETY: alive, because the holder refers to it and nothing has run.
        let is_dict = unsafe { sys::PyDict_CheckExact(referred) != 0 };
        is_dict
            && referents(referred)
                .iter()
                .any(|value| value.addr() == object)
    })
}

/// The name of the attribute in an instance's dict that is the object at an address.
fn attribute_name(holder: &Object, object: usize) -> Option<String> {
    // SAFETY: a live object; a new reference, or null with an exception.
    let dict = unsafe {
        Object::from_new(sys::PyObject_GenericGetDict(
            holder.as_ptr(),
            std::ptr::null_mut(),
        ))
    };
    match dict {
        Ok(dict) => key_of(&dict, object),
        Err(raised) => {
            raised.discard(); // It has no dict.
            None
        }
    }
}

/// The key, if it is text, of a dict's value that is the object at an address.
fn key_of(dict: &Object, object: usize) -> Option<String> {
    let (mut position, mut key, mut value) = (0, std::ptr::null_mut(), std::ptr::null_mut());
    // SAFETY: the type is asked first; the dict does not change meanwhile, for nothing runs. What it
    // lends is alive.
    unsafe {
        if sys::PyDict_Check(dict.as_ptr()) == 0 {
            return None;
        }
        while sys::PyDict_Next(
            dict.as_ptr(),
            &raw mut position,
            &raw mut key,
            &raw mut value,
        ) != 0
        {
            if value.addr() == object {
                return match Object::from_borrowed(key).to_text() {
                    Ok(name) => Some(name),
                    Err(raised) => {
                        raised.discard(); // A key of another kind is no name.
                        None
                    }
                };
            }
        }
    }
    None
}

/// The name of a variable of a frame that is the object at an address: a global one that its code
/// uses, or one of its own.
///
/// # Errors
/// What reading the code's names raises.
pub(crate) fn variable_that_is(
    frame: &Object,
    code: &Object,
    object: usize,
) -> Outcome<Option<String>> {
    let globals = frame.get_attr(&interned(c"f_globals")?)?;
    for name in code.get_attr(&interned(c"co_names")?)?.tuple_items() {
        if globals
            .dict_get(name)?
            .is_some_and(|value| value.address() == object)
        {
            return name.to_text().map(Some);
        }
    }
    // Before 3.12 a frame's own variables cannot be read without a dict that keeps them alive.
    #[cfg(Py_3_12)]
    for names in [c"co_varnames", c"co_cellvars", c"co_freevars"] {
        for name in code.get_attr(&interned(names)?)?.tuple_items() {
            // SAFETY: a live frame and text; a new reference, or null with an exception.
            let value = unsafe {
                Object::from_new(sys::PyFrame_GetVar(frame.as_ptr().cast(), name.as_ptr()))
            };
            match value {
                Ok(value) if value.address() == object => return name.to_text().map(Some),
                Ok(_) => {}
                Err(raised) => raised.discard(), // It has no value yet, or none any more.
            }
        }
    }
    Ok(None)
}

/// Whether everybody may get at it, or it refers to nothing.
fn is_left_out(object: *mut sys::PyObject) -> bool {
    // SAFETY: a live object.
    unsafe {
        sys::PyObject_IS_GC(object) == 0
            || sys::PyType_Check(object) != 0
            || sys::PyModule_Check(object) != 0
    }
}

/// What an object refers to, each as often as it does; without the global variables of a function.
fn referents(object: *mut sys::PyObject) -> Vec<*mut sys::PyObject> {
    unsafe extern "C" fn collect(object: *mut sys::PyObject, list: *mut c_void) -> c_int {
        // SAFETY: the list below, which nobody else has meanwhile.
        let list = unsafe { &mut *list.cast::<Vec<*mut sys::PyObject>>() };
        list.push(object);
        c_int::from(list.len() >= MOST_OF_ONE)
    }
    let mut list: Vec<*mut sys::PyObject> = Vec::new();
    // SAFETY: a live object of a collected class, which shows what it refers to and runs nothing;
    // a function has a dict of global variables, which it lends.
    unsafe {
        if sys::PyObject_IS_GC(object) == 0 {
            return list;
        }
        if let Some(traverse) = (*sys::Py_TYPE(object)).tp_traverse {
            traverse(object, collect, (&raw mut list).cast());
        }
        if sys::PyFunction_Check(object) != 0 {
            let globals = sys::PyFunction_GetGlobals(object);
            let builtins = sys::PyEval_GetBuiltins();
            list.retain(|&referred| referred != globals && referred != builtins);
        }
    }
    list
}
