//! The extension module itself.

use std::ffi::CStr;

use super::{Object, Outcome, Raised, sys};

/// A module object with `functions` in it.
///
/// It is made in one phase: its types and imports are shared by the process, so
/// there is one module per process, in the main interpreter.
pub(crate) fn create_module(
    name: &'static CStr,
    doc: &'static CStr,
    functions: &'static [sys::PyMethodDef],
) -> Outcome<Object> {
    let definition = Box::leak(Box::new(sys::PyModuleDef {
        m_base: sys::PyModuleDef_HEAD_INIT,
        m_name: name.as_ptr(),
        m_doc: doc.as_ptr(),
        m_size: -1,
        m_methods: functions.as_ptr().cast_mut(),
        m_slots: std::ptr::null_mut(),
        m_traverse: None,
        m_clear: None,
        m_free: None,
    }));
    // SAFETY: a definition that lives forever; a new reference or null.
    unsafe { Object::from_new(sys::PyModule_Create(definition)) }
}

impl Object {
    /// Python's `del self[key]` on an exact dict, where a missing key is no error.
    pub(crate) fn dict_remove(&self, key: &Object) -> Outcome<()> {
        // SAFETY: live objects; `self` is a dict by its construction.
        let status = unsafe { sys::PyDict_DelItem(self.as_ptr(), key.as_ptr()) };
        match Raised::check(status) {
            // SAFETY: a built-in class.
            Err(raised) if raised.matches(unsafe { sys::PyExc_KeyError }) => {
                raised.discard(); // Somebody else has removed it.
                Ok(())
            }
            outcome => outcome,
        }
    }

    /// The version of the object's class, which changes with the class; 0 is no version.
    #[inline]
    pub(crate) fn type_version(&self) -> u32 {
        // SAFETY: a live type; the field is only written by threads that hold the interpreter.
        unsafe { (*self.type_ptr()).tp_version_tag }
    }
}

/// The version of the running interpreter: major, minor, patch.
pub(crate) fn python_version() -> (u32, u32, u32) {
    // SAFETY: a constant of the interpreter.
    let version = unsafe { sys::Py_Version };
    let byte = |shift: u32| u32::try_from(version >> shift & 0xff).unwrap_or(0);
    (byte(24), byte(16), byte(8))
}
