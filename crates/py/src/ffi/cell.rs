//! Fields that hold references.

use std::cell::Cell;
use std::ffi::c_int;

use super::{Native, Object, Own, Visitor, sys};

/// A reference, to any object or to a native one.
pub(crate) trait Reference: Clone {
    fn address(&self) -> *mut sys::PyObject;
}

impl Reference for Object {
    #[inline]
    fn address(&self) -> *mut sys::PyObject {
        self.as_ptr()
    }
}

impl<T: Native> Reference for Own<T> {
    #[inline]
    fn address(&self) -> *mut sys::PyObject {
        Own::address(self)
    }
}

/// A place for an optional reference inside a native object.
///
/// Replacing a value drops the old one only after the new one is in place:
/// the drop may run a finalizer that looks at this very field.
#[repr(transparent)]
pub(crate) struct Slot<R: Reference>(Cell<Option<R>>);

/// A place for an optional reference to any object.
pub(crate) type ObjectCell = Slot<Object>;

impl ObjectCell {
    /// Whether this, the place of an instance's `__dict__`, has no attribute in it.
    #[inline]
    pub(crate) fn has_no_attributes(&self) -> bool {
        let dict = self.address();
        // SAFETY: CPython puts nothing but a dict there.
        dict.is_null() || unsafe { sys::PyDict_Size(dict) } == 0
    }
}

impl<R: Reference> Slot<R> {
    pub(crate) const fn new() -> Slot<R> {
        Slot(Cell::new(None))
    }

    pub(crate) fn with(value: R) -> Slot<R> {
        Slot(Cell::new(Some(value)))
    }

    /// A reference of one's own to the value.
    #[inline]
    pub(crate) fn get(&self) -> Option<R> {
        // SAFETY: the value is read and its count raised before anything else can run.
        unsafe { (*self.0.as_ptr()).clone() }
    }

    #[inline]
    pub(crate) fn set(&self, value: R) {
        drop(self.0.replace(Some(value)));
    }

    #[inline]
    pub(crate) fn assign(&self, value: Option<R>) {
        drop(self.0.replace(value));
    }

    #[inline]
    pub(crate) fn take(&self) -> Option<R> {
        self.0.take()
    }

    #[inline]
    pub(crate) fn clear(&self) {
        drop(self.0.take());
    }

    #[inline]
    pub(crate) fn is_some(&self) -> bool {
        // SAFETY: a read of the field, with no reference kept.
        unsafe { (*self.0.as_ptr()).is_some() }
    }

    /// The value's address, or null: for comparing, never for use.
    #[inline]
    pub(crate) fn address(&self) -> *mut sys::PyObject {
        // SAFETY: a read of the field, with no reference kept.
        unsafe { (*self.0.as_ptr()).as_ref() }.map_or(std::ptr::null_mut(), R::address)
    }

    /// For `tp_traverse`.
    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.pointer(self.address())
    }
}
