//! Statics that only the thread that holds the interpreter touches.

use std::cell::Cell;

use super::{Native, Own, Ref, This, sys};

/// A static whose cells are used by one thread at a time: the one that holds the interpreter.
pub(crate) struct Guarded<T>(T);

// SAFETY: everything above this module runs only with the interpreter held (the first rule of
// `ffi`), so no two threads are at it at once, and each sees what the one before has written.
unsafe impl<T> Sync for Guarded<T> {}

impl<T> Guarded<T> {
    pub(crate) const fn new(value: T) -> Guarded<T> {
        Guarded(value)
    }

    #[inline]
    pub(crate) fn get(&self) -> &T {
        &self.0
    }
}

thread_local! {
    /// What this thread is stepping; null for nothing. Alive as long as it stands here.
    static STEPPED: Cell<*mut sys::PyObject> = const { Cell::new(std::ptr::null_mut()) };
}

/// The object is being stepped by this thread until this is dropped.
pub(crate) struct Stepping(*mut sys::PyObject);

impl Stepping {
    /// The object outlives the returned value, which is dropped in the thread that made it.
    #[inline]
    pub(crate) fn enter<T: Native>(this: This<'_, T>) -> Stepping {
        Stepping(STEPPED.replace(this.as_ptr()))
    }
}

impl Drop for Stepping {
    #[inline]
    fn drop(&mut self) {
        STEPPED.set(self.0);
    }
}

/// What this thread is stepping, if it is exactly a `T` or of a subclass.
#[inline]
pub(crate) fn stepped<T: Native>() -> Option<Own<T>> {
    let pointer = STEPPED.get();
    if pointer.is_null() {
        return None;
    }
    // SAFETY: whoever steps it keeps it alive meanwhile.
    let object: Ref<'_> = unsafe { Ref::new(pointer) };
    This::<T>::from_object(&object).map(This::own)
}
