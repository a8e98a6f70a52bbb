//! What a callable runs.

use super::{Object, sys};

unsafe extern "C" {
    static mut PyMethod_Type: sys::PyTypeObject;
    fn PyMethod_Function(method: *mut sys::PyObject) -> *mut sys::PyObject;
}

/// The code object of a Python function, bound to an object or not; `None` for other callables.
pub(crate) fn code_of_function(callable: &Object) -> Option<Object> {
    // SAFETY: a method has a function; both are asked for their type first, and lend what they
    // have.
    unsafe {
        let mut function = callable.as_ptr();
        if sys::Py_IS_TYPE(function, &raw mut PyMethod_Type) != 0 {
            function = PyMethod_Function(function);
        }
        if function.is_null() || sys::PyFunction_Check(function) == 0 {
            return None;
        }
        let code = sys::PyFunction_GetCode(function);
        (!code.is_null()).then(|| Object::from_borrowed(code))
    }
}
