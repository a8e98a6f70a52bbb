//! The exception in which an awaited object hands its result to the interpreter.
//!
//! `SEND` asks `tp_iternext` of everything that is no coroutine of Python's, and takes a result
//! out of a StopIteration, which it throws away at once. Making one takes a tuple, two blocks of
//! memory and as many entries with the garbage collector: more than half of what awaiting costs.
//! So it is one of a class of ours, derived from StopIteration, whose memory is used again. It is
//! not the same object again and again: that would keep the result alive.
//!
//! Python code sees one only if it calls `next()` on a coroutine, which Python's own refuse, or if
//! a debugger shows it what is raised.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::atomic::{AtomicPtr, Ordering};

use super::{Object, Outcome, Raised, sys};

/// The class; null until [`build_returned`], and for ever where StopIteration is not what it is
/// declared to be.
static CLASS: AtomicPtr<sys::PyTypeObject> = AtomicPtr::new(ptr::null_mut());

/// The memory of the last one, or null: a dead instance that still refers to its class and to its
/// arguments, an empty tuple.
static SPARE: AtomicPtr<sys::PyStopIterationObject> = AtomicPtr::new(ptr::null_mut());

impl Raised {
    /// Raises what the interpreter takes for the return of `value`; only for `tp_iternext`.
    #[inline]
    pub(crate) fn returned(value: Object) -> Raised {
        unsafe extern "C" {
            fn _Py_NewReference(object: *mut sys::PyObject);
        }
        let spare = SPARE.load(Ordering::Relaxed);
        if spare.is_null() {
            return Raised::returned_anew(value);
        }
        SPARE.store(ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: a dead instance that nobody else knows, made an object again with one reference,
        // which is handed over.
        unsafe {
            _Py_NewReference(spare.cast());
            (*spare).value = value.into_ptr();
            raise(spare);
        }
        Raised::NOW
    }

    #[cold]
    fn returned_anew(value: Object) -> Raised {
        let class = CLASS.load(Ordering::Relaxed);
        if class.is_null() {
            return Raised::stop_iteration(&value);
        }
        let arguments = match Object::tuple(&[]) {
            Ok(arguments) => arguments,
            Err(raised) => return raised,
        };
        // SAFETY: a class of that layout; the allocator clears the fields, and the two that are
        // needed are filled. The reference is handed over.
        unsafe {
            let exception = sys::PyType_GenericAlloc(class, 0).cast::<sys::PyStopIterationObject>();
            if exception.is_null() {
                return Raised::NOW;
            }
            // Nobody keeps it for longer than it takes to look into it.
            sys::PyObject_GC_UnTrack(exception.cast());
            (*exception).args = arguments.into_ptr();
            (*exception).value = value.into_ptr();
            raise(exception);
        }
        Raised::NOW
    }
}

/// # Safety
/// * `exception` is an exception, whose reference is handed over.
#[inline]
unsafe fn raise(exception: *mut sys::PyStopIterationObject) {
    #[cfg(Py_3_12)]
    // SAFETY: by the caller's word.
    unsafe {
        sys::PyErr_SetRaisedException(exception.cast());
    }
    #[cfg(not(Py_3_12))]
    // SAFETY: by the caller's word; the class gets a reference of its own.
    unsafe {
        let class = sys::Py_TYPE(exception.cast()).cast();
        sys::Py_INCREF(class);
        sys::PyErr_Restore(class, exception.cast(), ptr::null_mut());
    }
}

unsafe extern "C" fn deallocate(pointer: *mut sys::PyObject) {
    let exception = pointer.cast::<sys::PyStopIterationObject>();
    // SAFETY: CPython calls this once, when the last reference is gone. Each field gives up what
    // it holds after it was emptied, since dropping may run code.
    unsafe {
        sys::PyObject_GC_UnTrack(pointer.cast());
        for field in [
            &raw mut (*exception).value,
            &raw mut (*exception).dict,
            &raw mut (*exception).notes,
            &raw mut (*exception).traceback,
            &raw mut (*exception).context,
            &raw mut (*exception).cause,
        ] {
            let held = field.replace(ptr::null_mut());
            if !held.is_null() {
                drop(Object::from_owned(held));
            }
        }
        let unchanged = !(*exception).args.is_null()
            && sys::PyTuple_CheckExact((*exception).args) != 0
            && sys::PyTuple_GET_SIZE((*exception).args) == 0
            && (&raw const (*exception).suppress_context)
                .cast::<u8>()
                .read()
                == 0;
        if unchanged && SPARE.load(Ordering::Relaxed).is_null() {
            SPARE.store(exception, Ordering::Relaxed);
            return;
        }
        let class = sys::Py_TYPE(pointer);
        let arguments = (&raw mut (*exception).args).replace(ptr::null_mut());
        if !arguments.is_null() {
            drop(Object::from_owned(arguments));
        }
        if let Some(free) = (*class).tp_free {
            free(pointer.cast());
        }
        sys::Py_DECREF(class.cast());
    }
}

/// Makes the class, once.
pub(crate) fn build_returned() -> Outcome<()> {
    if !CLASS.load(Ordering::Relaxed).is_null() {
        return Ok(());
    }
    // SAFETY: a built-in class, which has the layout that is declared for it or is left alone; a
    // spec whose slots hold what belongs there.
    unsafe {
        let base = sys::PyExc_StopIteration.cast::<sys::PyTypeObject>();
        if (*base).tp_basicsize.unsigned_abs() != size_of::<sys::PyStopIterationObject>() {
            return Ok(());
        }
        let mut slots = [
            sys::PyType_Slot {
                slot: sys::Py_tp_base,
                pfunc: base.cast(),
            },
            sys::PyType_Slot {
                slot: sys::Py_tp_dealloc,
                pfunc: deallocate as *mut c_void,
            },
            sys::PyType_Slot {
                slot: 0,
                pfunc: ptr::null_mut(),
            },
        ];
        let mut spec = sys::PyType_Spec {
            name: c"ferrio._ferrio.StopIteration".as_ptr(),
            basicsize: c_int::try_from((*base).tp_basicsize).unwrap_or(0),
            itemsize: 0,
            flags: std::ffi::c_uint::try_from(sys::Py_TPFLAGS_DEFAULT).unwrap_or(0),
            slots: slots.as_mut_ptr(),
        };
        let class = Object::from_new(sys::PyType_FromSpec(&raw mut spec))?;
        // The one reference is never given back.
        CLASS.store(class.into_ptr().cast(), Ordering::Relaxed);
    }
    Ok(())
}
