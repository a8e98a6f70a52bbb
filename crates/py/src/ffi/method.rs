//! Methods and attributes of native types, as safe Rust functions.
//!
//! A method's body is a function or a closure that captures nothing. Its type
//! alone says which it is, so the C function that CPython calls is made once
//! per body by the compiler, with nothing to look up at run time.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;

use super::native::{conjure, leak_attributes, leak_methods};
use super::{Arguments, Native, Object, Outcome, Raised, This, guard, guard_status, sys};

/// One entry of a type's method table.
pub(crate) struct Method(pub(super) sys::PyMethodDef);

/// One entry of a type's attribute table.
pub(crate) struct GetSet(pub(super) sys::PyGetSetDef);

/// Makes a table that lives as long as the process.
pub(crate) fn methods(methods: Vec<Method>) -> &'static [sys::PyMethodDef] {
    leak_methods(methods)
}

/// Makes a table that lives as long as the process.
pub(crate) fn attributes(attributes: Vec<GetSet>) -> &'static [sys::PyGetSetDef] {
    leak_attributes(attributes)
}

impl Method {
    /// A method without arguments.
    pub(crate) fn no_arguments<T, F>(name: &'static CStr, _body: F, doc: &'static CStr) -> Method
    where
        T: Native,
        F: Fn(This<'_, T>) -> Outcome<Object> + Copy + 'static,
    {
        Method(sys::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: sys::PyMethodDefPointer {
                PyCFunction: no_arguments::<T, F>,
            },
            ml_flags: sys::METH_NOARGS,
            ml_doc: doc.as_ptr(),
        })
    }

    /// A method with one positional argument.
    pub(crate) fn one_argument<T, F>(name: &'static CStr, _body: F, doc: &'static CStr) -> Method
    where
        T: Native,
        F: Fn(This<'_, T>, &Object) -> Outcome<Object> + Copy + 'static,
    {
        Method(sys::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: sys::PyMethodDefPointer {
                PyCFunction: one_argument::<T, F>,
            },
            ml_flags: sys::METH_O,
            ml_doc: doc.as_ptr(),
        })
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
        Method(sys::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: sys::PyMethodDefPointer {
                PyCFunctionFastWithKeywords: named_argument::<T, N, F>,
            },
            ml_flags: sys::METH_FASTCALL | sys::METH_KEYWORDS,
            ml_doc: doc.as_ptr(),
        })
    }

    /// A method with any arguments, positional and by keyword.
    pub(crate) fn any_arguments<T, F>(name: &'static CStr, _body: F, doc: &'static CStr) -> Method
    where
        T: Native,
        F: Fn(This<'_, T>, Arguments<'_>) -> Outcome<Object> + Copy + 'static,
    {
        Method(sys::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: sys::PyMethodDefPointer {
                PyCFunctionFastWithKeywords: any_arguments::<T, F>,
            },
            ml_flags: sys::METH_FASTCALL | sys::METH_KEYWORDS,
            ml_doc: doc.as_ptr(),
        })
    }

    /// Takes the place of the method that CPython would make of a slot of the same name.
    pub(crate) fn beside_slot(mut self) -> Method {
        self.0.ml_flags |= sys::METH_COEXIST;
        self
    }

    /// `__class_getitem__`, which makes `Type[int]` a generic alias.
    pub(crate) fn class_getitem() -> Method {
        Method(sys::PyMethodDef {
            ml_name: c"__class_getitem__".as_ptr(),
            ml_meth: sys::PyMethodDefPointer {
                PyCFunction: sys::Py_GenericAlias,
            },
            ml_flags: sys::METH_O | sys::METH_CLASS,
            ml_doc: c"Return a generic alias of the type, for annotations.".as_ptr(),
        })
    }

    /// A function of the module.
    pub(crate) fn function<F>(name: &'static CStr, _body: F, doc: &'static CStr) -> Method
    where
        F: Fn(Arguments<'_>) -> Outcome<Object> + Copy + 'static,
    {
        Method(sys::PyMethodDef {
            ml_name: name.as_ptr(),
            ml_meth: sys::PyMethodDefPointer {
                PyCFunctionFastWithKeywords: function::<F>,
            },
            ml_flags: sys::METH_FASTCALL | sys::METH_KEYWORDS,
            ml_doc: doc.as_ptr(),
        })
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
