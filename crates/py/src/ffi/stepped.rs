//! Which task a thread is stepping.
//!
//! It stands in a [`Stepped`]: that of the loop which the thread runs, or, for a step that some other
//! loop makes, one on the stack. A thread-local says where, because who asks for the task knows no
//! loop. It is written once a run or a foreign step and never in a turn: in a shared library each
//! use of a thread-local is a call.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use super::{Native, Own, Ref, This, sys};

thread_local! {
    /// The innermost place at which this thread steps something; null for none. Alive as long as it
    /// stands here.
    static PLACE: Cell<*const Stepped> = const { Cell::new(ptr::null()) };
}

/// A place at which one thing after the other is stepped.
pub(crate) struct Stepped {
    /// Null between steps. Alive as long as it stands here.
    object: Cell<*mut sys::PyObject>,
}

impl Stepped {
    pub(crate) const fn new() -> Stepped {
        Stepped {
            object: Cell::new(ptr::null_mut()),
        }
    }

    /// What this thread steps, it steps here until the returned value is dropped, which happens in
    /// this thread. Both outlive what happens in between.
    pub(crate) fn here(&self) -> SteppedHere {
        SteppedHere(PLACE.replace(ptr::from_ref(self)))
    }

    /// The object is being stepped here until the returned value is dropped, and outlives it.
    #[inline]
    pub(crate) fn step<T: Native>(&self, this: This<'_, T>) -> Stepping<'_> {
        Stepping {
            place: self,
            before: self.object.replace(this.as_ptr()),
        }
    }
}

/// Has the thread step where it did before, when dropped.
pub(crate) struct SteppedHere(*const Stepped);

impl Drop for SteppedHere {
    fn drop(&mut self) {
        PLACE.set(self.0);
    }
}

/// Ends the step when dropped.
pub(crate) struct Stepping<'a> {
    place: &'a Stepped,
    before: *mut sys::PyObject,
}

impl Drop for Stepping<'_> {
    #[inline]
    fn drop(&mut self) {
        self.place.object.set(self.before);
    }
}

/// What this thread is stepping, if it is exactly a `T` or of a subclass.
#[inline]
pub(crate) fn stepped<T: Native>() -> Option<Own<T>> {
    // SAFETY: what stands there lives at least until it is taken away, by this thread.
    let place = unsafe { PLACE.get().as_ref() }?;
    let object = NonNull::new(place.object.get())?;
    // SAFETY: whoever steps it keeps it alive meanwhile.
    let object: Ref<'_> = unsafe { Ref::new(object.as_ptr()) };
    This::<T>::from_object(&object).map(This::own)
}
