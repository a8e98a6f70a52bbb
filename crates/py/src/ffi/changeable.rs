//! Native classes that a program may change, and whether one has.
//!
//! What stands in the place of a class of asyncio's that is written in Python can be patched as that
//! one can (`mock.patch.object(asyncio.StreamWriter, "writelines")`). So a shortcut past a method's
//! name asks first whether the class is still what it was when the module was made. The version that
//! CPython gives to each state of a class answers that with one comparison; what the class consisted
//! of is compared when the version is another, because it changes for other reasons as well.

use std::ptr;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};

use super::{Object, Outcome, Raised, TypeObject, interned, sys};

/// Every class that may be changed. Written while the module is made.
static CLASSES: Mutex<Vec<&'static TypeObject>> = Mutex::new(Vec::new());

/// What a class consisted of.
pub(super) struct Original {
    /// A tuple of the dicts of the class and of its bases, copies, in the order of the class's MRO
    /// and without those of built-in classes. Null in a class that cannot be changed, and until the
    /// module is made. It lives for ever.
    attributes: AtomicPtr<sys::PyObject>,
    /// The version in which the class was last seen to be that; 0 is no version.
    version: AtomicU32,
    /// The version in which it was last seen to be something else.
    changed_version: AtomicU32,
}

impl Original {
    pub(super) const fn new() -> Original {
        Original {
            attributes: AtomicPtr::new(ptr::null_mut()),
            version: AtomicU32::new(0),
            changed_version: AtomicU32::new(0),
        }
    }
}

/// Notes a class that was built and may be changed.
pub(super) fn add(class: &'static TypeObject) {
    let mut classes = CLASSES.lock().unwrap_or_else(PoisonError::into_inner);
    classes.push(class);
}

/// Remembers what the classes consist of; at the end of the module's import.
pub(crate) fn remember_classes() -> Outcome<()> {
    let classes = CLASSES.lock().unwrap_or_else(PoisonError::into_inner);
    for class in &*classes {
        if class.original.attributes.load(Ordering::Relaxed).is_null() {
            let attributes = copies(class)?;
            let place = &class.original.attributes;
            place.store(attributes.into_ptr(), Ordering::Release);
        }
    }
    Ok(())
}

impl TypeObject {
    /// Whether nobody has changed the class or a base of it since the module was made.
    #[inline]
    pub(crate) fn is_unchanged(&self) -> bool {
        let version = self.version();
        (version != 0 && version == self.original.version.load(Ordering::Relaxed))
            || self.look_again()
    }

    #[inline]
    fn version(&self) -> u32 {
        // SAFETY: a live type; the field is only written by threads that hold the interpreter.
        unsafe { (*self.as_ptr()).tp_version_tag }
    }

    #[cold]
    fn look_again(&self) -> bool {
        let version = self.version();
        if version != 0 && version == self.original.changed_version.load(Ordering::Relaxed) {
            return false;
        }
        let attributes = self.original.attributes.load(Ordering::Relaxed);
        if attributes.is_null() {
            return true;
        }
        let mut position = 0;
        let unchanged = dicts(self).all(|dict| {
            // SAFETY: a tuple that lives for ever; the position is compared with its size.
            let copy = unsafe {
                if position >= sys::PyTuple_Size(attributes) {
                    return false;
                }
                sys::PyTuple_GetItem(attributes, position)
            };
            position += 1;
            is_same(dict, copy)
        });
        // A class has no version until somebody looks something up in it.
        let looked_up = interned(c"__init__").and_then(|name| self.object().get_attr(&name));
        if let Err(raised) = looked_up {
            raised.discard(); // It is compared again the next time.
        }
        let seen = if unchanged {
            &self.original.version
        } else {
            &self.original.changed_version
        };
        seen.store(self.version(), Ordering::Relaxed);
        unchanged
    }
}

/// The dicts of the class and its bases, but for those of built-in classes, which nobody can change.
fn dicts(class: &TypeObject) -> impl Iterator<Item = *mut sys::PyObject> {
    // SAFETY: a live type, whose MRO is a tuple of live types. It is read as it is now, and nothing
    // that runs between two steps of the iterator can replace it.
    let (bases, count) = unsafe {
        let bases = (*class.as_ptr()).tp_mro;
        (bases, sys::PyTuple_Size(bases))
    };
    (0..count).filter_map(move |position| {
        // SAFETY: as above.
        unsafe {
            let base = sys::PyTuple_GetItem(bases, position).cast::<sys::PyTypeObject>();
            let is_built_in = (*base).tp_flags & sys::Py_TPFLAGS_HEAPTYPE == 0;
            (!is_built_in).then(|| (*base).tp_dict)
        }
    })
}

fn copies(class: &TypeObject) -> Outcome<Object> {
    let dicts: Vec<_> = dicts(class).collect();
    let copies = dicts
        .into_iter()
        // SAFETY: the dict of a live class; a new reference or an exception.
        .map(|dict| unsafe { Object::from_new(sys::PyDict_Copy(dict)) })
        .collect::<Outcome<Vec<_>>>()?;
    Object::tuple_of(&copies)
}

/// Whether a dict has the same objects under the same names as its copy.
fn is_same(dict: *mut sys::PyObject, copy: *mut sys::PyObject) -> bool {
    let (mut position, mut name, mut value) = (0, ptr::null_mut(), ptr::null_mut());
    // SAFETY: two live dicts whose names are strings, so that no code of a program's runs here.
    unsafe {
        if sys::PyDict_Size(dict) != sys::PyDict_Size(copy) {
            return false;
        }
        while sys::PyDict_Next(copy, &raw mut position, &raw mut name, &raw mut value) != 0 {
            let found = sys::PyDict_GetItemWithError(dict, name);
            if found.is_null() && !sys::PyErr_Occurred().is_null() {
                Raised::NOW.discard(); // No memory: it is asked by its name then, which is never wrong.
                return false;
            }
            if found != value {
                return false;
            }
        }
    }
    true
}
