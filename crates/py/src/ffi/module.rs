//! The extension module itself.

use std::ffi::{CStr, c_int, c_void};
use std::ptr;
use std::sync::OnceLock;

use super::{Method, Object, Outcome, Raised, guard_status, methods, sys};

/// What fills the module; set once.
static FILL: OnceLock<fn(&Object) -> Outcome<()>> = OnceLock::new();

/// The definition, made once.
static DEFINITION: OnceLock<Definition> = OnceLock::new();

struct Definition(*mut sys::PyModuleDef);

// SAFETY: made once and leaked; afterwards only CPython touches it.
unsafe impl Send for Definition {}
// SAFETY: as above.
unsafe impl Sync for Definition {}

/// The module's definition, for CPython to make the module of, in two phases: the second, `fill`,
/// runs in the interpreter that imports, which may then refuse.
///
/// It makes no Python object, as CPython asks of the first phase.
pub(crate) fn module_definition(
    name: &'static CStr,
    doc: &'static CStr,
    functions: fn() -> Vec<Method>,
    fill: fn(&Object) -> Outcome<()>,
) -> *mut sys::PyObject {
    FILL.get_or_init(|| fill);
    let definition = DEFINITION.get_or_init(|| {
        Definition(Box::leak(Box::new(sys::PyModuleDef {
            m_base: sys::PyModuleDef_HEAD_INIT,
            m_name: name.as_ptr(),
            m_doc: doc.as_ptr(),
            m_size: 0,
            m_methods: methods(functions()).as_ptr().cast_mut(),
            m_slots: slots(),
            m_traverse: None,
            m_clear: None,
            m_free: None,
        })))
    });
    // SAFETY: a definition that lives forever.
    unsafe { sys::PyModuleDef_Init(definition.0) }
}

/// The slots, numbered as in CPython's `moduleobject.h`.
fn slots() -> *mut sys::PyModuleDef_Slot {
    const EXECUTE: c_int = 2;
    #[cfg(Py_3_12)]
    const MULTIPLE_INTERPRETERS: c_int = 3;
    let slots = vec![
        sys::PyModuleDef_Slot {
            slot: EXECUTE,
            value: execute as *mut c_void,
        },
        // The types and imports are shared by the process: see `imports.rs`.
        #[cfg(Py_3_12)]
        sys::PyModuleDef_Slot {
            slot: MULTIPLE_INTERPRETERS,
            value: ptr::null_mut(),
        },
        sys::PyModuleDef_Slot {
            slot: 0,
            value: ptr::null_mut(),
        },
    ];
    slots.leak().as_mut_ptr()
}

unsafe extern "C" fn execute(module: *mut sys::PyObject) -> c_int {
    guard_status(|| match FILL.get() {
        // SAFETY: the module that CPython has just made, alive for the call.
        Some(fill) => fill(unsafe { Object::view(&module) }),
        None => Err(Raised::runtime_error(
            "the module's definition was not made here",
        )),
    })
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

    /// `object.__setattr__(self, name, value)`; no value deletes.
    pub(crate) fn generic_set_attr(&self, name: &Object, value: Option<&Object>) -> Outcome<()> {
        // SAFETY: live objects; null deletes.
        Raised::check(unsafe {
            sys::PyObject_GenericSetAttr(
                self.as_ptr(),
                name.as_ptr(),
                value.map_or(ptr::null_mut(), Object::as_ptr),
            )
        })
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
