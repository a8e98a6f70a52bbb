//! The exception in which an awaited object hands its result to the interpreter.
//!
//! `SEND` asks `tp_iternext` of everything that is no coroutine of Python's, and takes a result
//! out of a StopIteration, which it throws away at once. Making one takes a tuple, two blocks of
//! memory and as many entries with the garbage collector: more than half of what awaiting costs.
//! So there is one that is used again and again, as long as nobody else has kept it.
//!
//! The result stays in it when the interpreter has taken it out. [`forget_returned`] lets go of it:
//! when the coroutine dies that has returned it, which mostly is the interpreter's next step.
//!
//! Python code sees it only if it calls `next()` on a coroutine, which Python's own refuse, or if
//! a debugger looks at what is raised. (`bdb` passes over an exact StopIteration without a
//! traceback, so that one of a class of our own would not do.)

#[cfg(Py_3_12)]
mod kept {
    use std::cell::Cell;
    use std::ptr;

    use super::super::{Guarded, Object, Raised, reference_count, sys};

    type StopIteration = sys::PyStopIterationObject;

    /// The one that is used again, of which this is a reference; null before the first use and
    /// while it is being changed.
    static KEPT: Guarded<Cell<*mut StopIteration>> = Guarded::new(Cell::new(ptr::null_mut()));

    /// Takes the exception from its place, if nobody else has it.
    #[inline]
    fn take() -> *mut StopIteration {
        let kept = KEPT.get().replace(ptr::null_mut());
        // SAFETY: null or a live exception.
        if kept.is_null() || unsafe { sys::Py_REFCNT(kept.cast()) } == 1 {
            return kept;
        }
        // Somebody looks at it, and may keep it.
        // SAFETY: a live exception, whole, which is given up.
        unsafe {
            if sys::PyObject_GC_IsTracked(kept.cast()) == 0 {
                sys::PyObject_GC_Track(kept.cast());
            }
            drop(Object::from_owned(kept.cast()));
        }
        ptr::null_mut()
    }

    /// Puts the exception into its place, if there is no other.
    #[inline]
    fn keep(exception: *mut StopIteration) {
        let other = KEPT.get().replace(exception);
        if !other.is_null() {
            // SAFETY: a reference that was kept.
            drop(unsafe { Object::from_owned(other.cast()) });
        }
    }

    /// Lets go of a result that was handed over.
    #[inline]
    pub(crate) fn forget_returned() {
        let kept = KEPT.get().get();
        // SAFETY: null or a live exception.
        if kept.is_null() || unsafe { (*kept).value.is_null() } {
            return;
        }
        let kept = take();
        if kept.is_null() {
            return;
        }
        // SAFETY: an exception that nobody else has; it is empty, and in its place again, before
        // the result's end may run code.
        let value = unsafe { (&raw mut (*kept).value).replace(ptr::null_mut()) };
        keep(kept);
        if !value.is_null() {
            // SAFETY: the reference that was in the exception.
            drop(unsafe { Object::from_owned(value) });
        }
    }

    impl Raised {
        /// Raises what the interpreter takes for the return of `value`; only for `tp_iternext`.
        #[inline]
        pub(crate) fn returned(value: Object) -> Raised {
            forget_returned();
            let mut exception = take();
            if exception.is_null() {
                exception = match make() {
                    Ok(exception) => exception,
                    Err(raised) => return raised,
                };
            }
            // SAFETY: an exception without a value that nobody else has; one reference goes into
            // its place, and one to the interpreter.
            unsafe {
                (*exception).value = value.into_ptr();
                reference_count::raise(exception.cast());
                keep(exception);
                sys::PyErr_SetRaisedException(exception.cast());
            }
            Raised::NOW
        }
    }

    /// A new one, without a value.
    #[cold]
    fn make() -> Result<*mut StopIteration, Raised> {
        // SAFETY: a built-in class, whose instances have the layout that is declared for them, or
        // another one is asked for; the allocator clears the fields, of which the arguments must be
        // there.
        unsafe {
            let class = sys::PyExc_StopIteration.cast::<sys::PyTypeObject>();
            if (*class).tp_basicsize.unsigned_abs() != size_of::<StopIteration>() {
                return Err(Raised::runtime_error(
                    "StopIteration is not what it was built for",
                ));
            }
            let arguments = Object::tuple(&[])?;
            let exception = sys::PyType_GenericAlloc(class, 0).cast::<StopIteration>();
            if exception.is_null() {
                return Err(Raised::NOW);
            }
            // It is no part of any cycle as long as nobody else has it.
            sys::PyObject_GC_UnTrack(exception.cast());
            (*exception).args = arguments.into_ptr();
            Ok(exception)
        }
    }
}

#[cfg(Py_3_12)]
pub(crate) use kept::forget_returned;

/// Up to 3.11 the value is raised without an exception around it, and nothing is kept.
#[cfg(not(Py_3_12))]
mod plain {
    use super::super::{Object, Raised};

    impl Raised {
        /// Raises what the interpreter takes for the return of `value`; only for `tp_iternext`.
        #[inline]
        pub(crate) fn returned(value: Object) -> Raised {
            Raised::stop_iteration(&value)
        }
    }

    /// Lets go of a result that was handed over.
    #[inline]
    pub(crate) fn forget_returned() {}
}

#[cfg(not(Py_3_12))]
pub(crate) use plain::forget_returned;
