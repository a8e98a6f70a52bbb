//! Addresses of the interpreter, for those who look at it from outside.

use std::ffi::{c_char, c_void};
use std::ptr;

use super::{Object, sys};

/// The address of `_PyRuntime`, the interpreter's global state; `None` where it is not exported.
///
/// It is looked up when asked for: an extension that is linked to a symbol that is missing cannot
/// be loaded at all.
pub(crate) fn runtime_address() -> Option<usize> {
    unsafe extern "C" {
        fn dlsym(handle: *mut c_void, symbol: *const c_char) -> *mut c_void;
    }
    // SAFETY: a C string; no handle stands for all that is loaded.
    let runtime = unsafe { dlsym(ptr::null_mut(), c"_PyRuntime".as_ptr()) };
    (!runtime.is_null()).then(|| runtime.addr())
}

/// The address of the class of code objects.
pub(crate) fn code_type_address() -> usize {
    (&raw const sys::PyCode_Type).addr()
}

/// The running interpreter's version as `sys.hexversion` has it.
pub(crate) fn hex_version() -> u32 {
    // SAFETY: a constant of the interpreter.
    u32::try_from(unsafe { sys::Py_Version }).unwrap_or(0)
}

impl Object {
    /// Python's `id(self)`.
    pub(crate) fn address(&self) -> usize {
        self.as_ptr().addr()
    }
}
