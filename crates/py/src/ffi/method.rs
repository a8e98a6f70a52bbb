//! Methods and attributes of native types, as safe Rust functions.
//!
//! A method's body is a function or a closure that captures nothing. Its type
//! alone says which it is, so the C function that CPython calls is made once
//! per body by the compiler, with nothing to look up at run time.

use std::cell::Cell;
use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use super::slots::conjure;
use super::{
    Arguments, Native, Object, ObjectCell, Outcome, Raised, This, guard, guard_status, interned,
    none, sys,
};

/// One entry of a type's method table.
pub(crate) struct Method(pub(super) sys::PyMethodDef);

/// One entry of a type's attribute table.
pub(crate) struct GetSet(pub(super) sys::PyGetSetDef);

/// Makes a table that lives as long as the process.
pub(crate) fn methods(methods: Vec<Method>) -> &'static [sys::PyMethodDef] {
    let mut table: Vec<_> = methods.into_iter().map(|method| method.0).collect();
    table.push(sys::PyMethodDef::zeroed());
    table.leak()
}

/// Makes a table that lives as long as the process.
pub(crate) fn attributes(attributes: Vec<GetSet>) -> &'static [sys::PyGetSetDef] {
    let mut table: Vec<_> = attributes
        .into_iter()
        .map(|attribute| attribute.0)
        .collect();
    table.push(END_OF_ATTRIBUTES);
    table.leak()
}

const END_OF_ATTRIBUTES: sys::PyGetSetDef = sys::PyGetSetDef {
    name: ptr::null(),
    get: None,
    set: None,
    doc: ptr::null(),
    closure: ptr::null_mut(),
};

impl Method {
    /// One with as many arguments as the flags say, none of them by keyword.
    fn plain(
        name: &'static CStr,
        function: sys::PyCFunction,
        flags: c_int,
        doc: &'static CStr,
    ) -> Method {
        Method(sys::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: sys::PyMethodDefPointer {
                PyCFunction: function,
            },
            ml_flags: flags,
            ml_doc: doc.as_ptr(),
        })
    }

    /// One that looks at its arguments itself.
    fn of_any(
        name: &'static CStr,
        function: sys::PyCFunctionFastWithKeywords,
        doc: &'static CStr,
    ) -> Method {
        Method(sys::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: sys::PyMethodDefPointer {
                PyCFunctionFastWithKeywords: function,
            },
            ml_flags: sys::METH_FASTCALL | sys::METH_KEYWORDS,
            ml_doc: doc.as_ptr(),
        })
    }

    /// A method without arguments.
    pub(crate) fn no_arguments<T, F>(name: &'static CStr, _body: F, doc: &'static CStr) -> Method
    where
        T: Native,
        F: Fn(This<'_, T>) -> Outcome<Object> + Copy + 'static,
    {
        Method::plain(name, no_arguments::<T, F>, sys::METH_NOARGS, doc)
    }

    /// A method with one positional argument.
    pub(crate) fn one_argument<T, F>(name: &'static CStr, _body: F, doc: &'static CStr) -> Method
    where
        T: Native,
        F: Fn(This<'_, T>, &Object) -> Outcome<Object> + Copy + 'static,
    {
        Method::plain(name, one_argument::<T, F>, sys::METH_O, doc)
    }

    /// A method with one argument, by position or by its name; `_names` gives the method's and
    /// the parameter's.
    pub(crate) fn named_argument<T, N, F>(
        name: &'static CStr,
        _names: N,
        _body: F,
        doc: &'static CStr,
    ) -> Method
    where
        T: Native,
        N: Fn() -> (&'static str, &'static CStr) + Copy + 'static,
        F: Fn(This<'_, T>, &Object) -> Outcome<Object> + Copy + 'static,
    {
        Method::of_any(name, named_argument::<T, N, F>, doc)
    }

    /// A method with any arguments, positional and by keyword.
    pub(crate) fn any_arguments<T, F>(name: &'static CStr, _body: F, doc: &'static CStr) -> Method
    where
        T: Native,
        F: Fn(This<'_, T>, Arguments<'_>) -> Outcome<Object> + Copy + 'static,
    {
        Method::of_any(name, any_arguments::<T, F>, doc)
    }

    /// Takes the place of the method that CPython would make of a slot of the same name.
    pub(crate) fn beside_slot(mut self) -> Method {
        self.0.ml_flags |= sys::METH_COEXIST;
        self
    }

    /// `__class_getitem__`, which makes `Type[int]` a generic alias.
    pub(crate) fn class_getitem() -> Method {
        Method::plain(
            c"__class_getitem__",
            sys::Py_GenericAlias,
            sys::METH_O | sys::METH_CLASS,
            c"Return a generic alias of the type, for annotations.",
        )
    }

    /// A function of the module.
    pub(crate) fn function<F>(name: &'static CStr, _body: F, doc: &'static CStr) -> Method
    where
        F: Fn(Arguments<'_>) -> Outcome<Object> + Copy + 'static,
    {
        Method::of_any(name, function::<F>, doc)
    }
}

/// Gives a subclass of `T`'s type the type's methods as methods of its own, except where something
/// else stands between the two.
///
/// The interpreter calls a method directly when the object is of exactly the class that the method
/// belongs to. Otherwise it looks for that class among the object's own class's bases first, each
/// time.
///
/// # Errors
/// TypeError for what is no subclass; what the class's making raises.
pub(crate) fn adopt_methods<T: Native>(class: &Object) -> Outcome<()> {
    let base = T::type_object();
    // SAFETY: a question about a live object; types are compared once it is one.
    let is_subclass = unsafe {
        sys::PyType_Check(class.as_ptr()) != 0
            && sys::PyType_IsSubtype(class.as_ptr().cast(), base.as_ptr()) != 0
    };
    if !is_subclass {
        return Err(Raised::type_error(
            "a subclass of the native type was expected",
        ));
    }
    // SAFETY: a live type; its table is one of `methods`, which lives as long as the process and
    // ends with an entry without a name.
    let mut method = unsafe { (*base.as_ptr()).tp_methods };
    loop {
        // SAFETY: an entry of the table, at most the one at its end.
        let name = unsafe { (*method).ml_name };
        if name.is_null() {
            return Ok(());
        }
        // SAFETY: the table's names are C strings.
        let name = interned(unsafe { CStr::from_ptr(name) })?;
        if class.get_attr(&name)?.is(&base.object().get_attr(&name)?) {
            // SAFETY: the class is alive, and its instances begin with a `T`, so that the method's
            // function may be called with one. A new reference or null.
            let own =
                unsafe { Object::from_new(sys::PyDescr_NewMethod(class.as_ptr().cast(), method))? };
            class.set_attr(&name, &own)?;
        }
        // SAFETY: this was not the entry at the end.
        method = unsafe { method.add(1) };
    }
}

impl Object {
    /// Whether both are methods of classes, written in C, with the same body.
    pub(crate) fn is_same_method(&self, other: &Object) -> bool {
        if self.is(other) {
            return true;
        }
        // SAFETY: the types are compared before the structure that goes with them is read.
        unsafe {
            let method_type = &raw mut sys::PyMethodDescr_Type;
            let body = |object: &Object| {
                (object.type_ptr() == method_type)
                    .then(|| (*object.as_ptr().cast::<sys::PyMethodDescrObject>()).d_method)
            };
            body(self).is_some() && body(self) == body(other)
        }
    }
}

impl GetSet {
    /// An attribute that can only be read.
    pub(crate) fn read_only<T, G>(name: &'static CStr, _get: G, doc: &'static CStr) -> GetSet
    where
        T: Native,
        G: Fn(This<'_, T>) -> Outcome<Object> + Copy + 'static,
    {
        GetSet(sys::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(getter::<T, G>),
            set: None,
            doc: doc.as_ptr(),
            closure: ptr::null_mut(),
        })
    }

    /// `__dict__`, for a type whose instances have one.
    pub(crate) fn instance_dict() -> GetSet {
        unsafe extern "C" {
            fn PyObject_GenericGetDict(
                object: *mut sys::PyObject,
                context: *mut c_void,
            ) -> *mut sys::PyObject;
        }
        GetSet(sys::PyGetSetDef {
            name: c"__dict__".as_ptr(),
            get: Some(PyObject_GenericGetDict),
            set: Some(sys::PyObject_GenericSetDict),
            doc: c"The attributes that were given to this object.".as_ptr(),
            closure: ptr::null_mut(),
        })
    }

    /// An attribute that is a field of the Rust value, to be read and assigned as such.
    pub(crate) fn field<T, V, F>(name: &'static CStr, _field: F, doc: &'static CStr) -> GetSet
    where
        T: Native,
        V: Attribute,
        F: Fn(&T) -> &V + Copy + 'static,
    {
        GetSet(sys::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(field_getter::<T, V, F>),
            set: Some(field_setter::<T, V, F>),
            doc: doc.as_ptr(),
            // The setter's messages name the attribute.
            closure: name.as_ptr().cast_mut().cast(),
        })
    }

    /// An attribute that can be read and assigned; a deletion comes as `None`.
    pub(crate) fn read_write<T, G, S>(
        name: &'static CStr,
        _get: G,
        _set: S,
        doc: &'static CStr,
    ) -> GetSet
    where
        T: Native,
        G: Fn(This<'_, T>) -> Outcome<Object> + Copy + 'static,
        S: Fn(This<'_, T>, Option<&Object>) -> Outcome<()> + Copy + 'static,
    {
        GetSet(sys::PyGetSetDef {
            name: name.as_ptr(),
            get: Some(getter::<T, G>),
            set: Some(setter::<T, S>),
            doc: doc.as_ptr(),
            closure: ptr::null_mut(),
        })
    }
}

/// A field that Python code may read and assign as an attribute.
pub(crate) trait Attribute {
    /// The value as an object.
    ///
    /// # Errors
    /// What its making raises.
    fn read(&self) -> Outcome<Object>;

    /// Assigns the attribute called `name`, or deletes it.
    ///
    /// # Errors
    /// AttributeError for a deletion where that has no meaning; what the value's conversion raises.
    fn write(&self, value: Option<&Object>, name: &str) -> Outcome<()>;
}

impl Attribute for Cell<bool> {
    fn read(&self) -> Outcome<Object> {
        Ok(Object::from_bool(self.get()))
    }

    fn write(&self, value: Option<&Object>, name: &str) -> Outcome<()> {
        self.set(required(value, name)?.is_true()?);
        Ok(())
    }
}

impl Attribute for Cell<i64> {
    fn read(&self) -> Outcome<Object> {
        Object::from_i64(self.get())
    }

    fn write(&self, value: Option<&Object>, name: &str) -> Outcome<()> {
        self.set(required(value, name)?.to_i64()?);
        Ok(())
    }
}

/// Empty is None.
impl Attribute for ObjectCell {
    fn read(&self) -> Outcome<Object> {
        Ok(self.get().unwrap_or_else(none))
    }

    fn write(&self, value: Option<&Object>, name: &str) -> Outcome<()> {
        self.assign(required(value, name)?.some().cloned());
        Ok(())
    }
}

/// Calls a function item or a closure without captures by its type alone.
pub(crate) fn call_captureless<F>() -> &'static Object
where
    F: Fn() -> &'static Object + Copy + 'static,
{
    // SAFETY: whoever names `F` as a type parameter here was handed a value of it.
    unsafe { conjure::<F>()() }
}

// In each of the following, CPython's method descriptor has checked that the
// first argument is an instance of the type that the method belongs to.

unsafe extern "C" fn no_arguments<T: Native, F>(
    pointer: *mut sys::PyObject,
    _unused: *mut sys::PyObject,
) -> *mut sys::PyObject
where
    F: Fn(This<'_, T>) -> Outcome<Object> + Copy + 'static,
{
    // SAFETY: the descriptor checked the type; see `conjure`.
    guard(|| unsafe { conjure::<F>()(This::from_raw(pointer)) })
}

unsafe extern "C" fn one_argument<T: Native, F>(
    pointer: *mut sys::PyObject,
    argument: *mut sys::PyObject,
) -> *mut sys::PyObject
where
    F: Fn(This<'_, T>, &Object) -> Outcome<Object> + Copy + 'static,
{
    // SAFETY: the descriptor checked the type; the argument is lent for the call.
    guard(|| unsafe { conjure::<F>()(This::from_raw(pointer), Object::view(&argument)) })
}

unsafe extern "C" fn named_argument<T: Native, N, F>(
    pointer: *mut sys::PyObject,
    arguments: *const *mut sys::PyObject,
    count: sys::Py_ssize_t,
    names: *mut sys::PyObject,
) -> *mut sys::PyObject
where
    N: Fn() -> (&'static str, &'static CStr) + Copy + 'static,
    F: Fn(This<'_, T>, &Object) -> Outcome<Object> + Copy + 'static,
{
    // SAFETY: the descriptor checked the type; the arguments are lent for the call.
    guard(|| unsafe {
        let arguments = Arguments::from_vectorcall(arguments, count.unsigned_abs(), &names);
        let argument = arguments.single(conjure::<N>())?;
        conjure::<F>()(This::from_raw(pointer), argument)
    })
}

unsafe extern "C" fn any_arguments<T: Native, F>(
    pointer: *mut sys::PyObject,
    arguments: *const *mut sys::PyObject,
    count: sys::Py_ssize_t,
    names: *mut sys::PyObject,
) -> *mut sys::PyObject
where
    F: Fn(This<'_, T>, Arguments<'_>) -> Outcome<Object> + Copy + 'static,
{
    // SAFETY: the descriptor checked the type; the arguments are lent for the call.
    guard(|| unsafe {
        conjure::<F>()(
            This::from_raw(pointer),
            Arguments::from_vectorcall(arguments, count.unsigned_abs(), &names),
        )
    })
}

unsafe extern "C" fn function<F>(
    _module: *mut sys::PyObject,
    arguments: *const *mut sys::PyObject,
    count: sys::Py_ssize_t,
    names: *mut sys::PyObject,
) -> *mut sys::PyObject
where
    F: Fn(Arguments<'_>) -> Outcome<Object> + Copy + 'static,
{
    // SAFETY: the arguments are lent for the call; see `conjure`.
    guard(|| unsafe {
        conjure::<F>()(Arguments::from_vectorcall(
            arguments,
            count.unsigned_abs(),
            &names,
        ))
    })
}

unsafe extern "C" fn getter<T: Native, G>(
    pointer: *mut sys::PyObject,
    _closure: *mut c_void,
) -> *mut sys::PyObject
where
    G: Fn(This<'_, T>) -> Outcome<Object> + Copy + 'static,
{
    // SAFETY: the descriptor checked the type; see `conjure`.
    guard(|| unsafe { conjure::<G>()(This::from_raw(pointer)) })
}

unsafe extern "C" fn field_getter<T: Native, V: Attribute, F>(
    pointer: *mut sys::PyObject,
    _name: *mut c_void,
) -> *mut sys::PyObject
where
    F: Fn(&T) -> &V + Copy + 'static,
{
    // SAFETY: the descriptor checked the type; see `conjure`.
    guard(|| unsafe { conjure::<F>()(This::<T>::from_raw(pointer).value()).read() })
}

unsafe extern "C" fn field_setter<T: Native, V: Attribute, F>(
    pointer: *mut sys::PyObject,
    value: *mut sys::PyObject,
    name: *mut c_void,
) -> c_int
where
    F: Fn(&T) -> &V + Copy + 'static,
{
    guard_status(|| {
        // SAFETY: the descriptor checked the type; null is a deletion; the name is the one that
        // `GetSet::field` was given.
        unsafe {
            let value = if value.is_null() {
                None
            } else {
                Some(Object::view(&value))
            };
            let name = CStr::from_ptr(name.cast()).to_string_lossy();
            conjure::<F>()(This::<T>::from_raw(pointer).value()).write(value, &name)
        }
    })
}

unsafe extern "C" fn setter<T: Native, S>(
    pointer: *mut sys::PyObject,
    value: *mut sys::PyObject,
    _closure: *mut c_void,
) -> c_int
where
    S: Fn(This<'_, T>, Option<&Object>) -> Outcome<()> + Copy + 'static,
{
    guard_status(|| {
        // SAFETY: the descriptor checked the type; null is a deletion.
        unsafe {
            let value = if value.is_null() {
                None
            } else {
                Some(Object::view(&value))
            };
            conjure::<S>()(This::from_raw(pointer), value)
        }
    })
}

/// For attributes that must not be deleted.
pub(crate) fn required<'a>(value: Option<&'a Object>, name: &str) -> Outcome<&'a Object> {
    value.ok_or_else(|| Raised::attribute_error(&format!("cannot delete attribute {name}")))
}
