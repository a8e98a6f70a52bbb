//! The error indicator as a Rust value.

use std::ffi::c_int;

use super::{Object, sys};

/// What a call into Python gives.
pub(crate) type Outcome<T> = Result<T, Raised>;

/// Says that the error indicator of this thread is set.
///
/// Whoever does not pass it on takes the exception with [`Raised::take`] or
/// drops it knowingly with [`Raised::discard`].
#[must_use = "the error indicator is set: pass it on, take it or discard it"]
#[derive(Debug)]
pub(crate) struct Raised(());

impl Raised {
    /// For the caller of a C function that has just failed.
    pub(crate) const NOW: Raised = Raised(());

    /// The result of a C function that returns -1 when it failed.
    #[inline]
    pub(crate) fn check(status: c_int) -> Outcome<()> {
        if status < 0 { Err(Raised::NOW) } else { Ok(()) }
    }

    /// Raises `class(message)`.
    pub(crate) fn new(class: &Object, message: &str) -> Raised {
        match super::text(message) {
            // SAFETY: an exception class and its argument.
            Ok(text) => unsafe { sys::PyErr_SetObject(class.as_ptr(), text.as_ptr()) },
            Err(raised) => return raised,
        }
        Raised::NOW
    }

    /// Raises `class(message)` for an exception type of the C API.
    ///
    /// # Safety
    /// * `class` is one of CPython's `PyExc_*`.
    pub(crate) unsafe fn builtin(class: *mut sys::PyObject, message: &str) -> Raised {
        // SAFETY: the exception types live as long as the interpreter.
        Raised::new(&unsafe { Object::from_borrowed(class) }, message)
    }

    pub(crate) fn runtime_error(message: &str) -> Raised {
        // SAFETY: a built-in exception type.
        unsafe { Raised::builtin(sys::PyExc_RuntimeError, message) }
    }

    pub(crate) fn type_error(message: &str) -> Raised {
        // SAFETY: a built-in exception type.
        unsafe { Raised::builtin(sys::PyExc_TypeError, message) }
    }

    pub(crate) fn value_error(message: &str) -> Raised {
        // SAFETY: a built-in exception type.
        unsafe { Raised::builtin(sys::PyExc_ValueError, message) }
    }

    pub(crate) fn attribute_error(message: &str) -> Raised {
        // SAFETY: a built-in exception type.
        unsafe { Raised::builtin(sys::PyExc_AttributeError, message) }
    }

    /// Raises `StopIteration(value)`, by which an iterator hands over what it returns.
    ///
    /// It comes with every await of a result, and calling the class is most of what it costs. So
    /// the instance is made by hand, as the class would make it.
    pub(crate) fn stop_iteration(value: &Object) -> Raised {
        // SAFETY: always allowed; a new reference or null.
        let handled = unsafe { sys::PyErr_GetHandledException() };
        if !handled.is_null() {
            // In an `except` block CPython gives a new exception its context.
            // SAFETY: the reference is ours.
            drop(unsafe { Object::from_owned(handled) });
            return Raised::called_stop_iteration(value);
        }
        Raised::made_stop_iteration(value)
    }

    fn called_stop_iteration(value: &Object) -> Raised {
        // An instance, and not the bare value: a tuple or an exception as the value would
        // otherwise be taken for the arguments or for the exception itself.
        // SAFETY: a built-in class.
        let class = unsafe { Object::from_borrowed(sys::PyExc_StopIteration) };
        match class.call1(value) {
            Ok(exception) => Raised::exception(&exception),
            Err(raised) => raised,
        }
    }

    #[cfg(Py_3_12)]
    fn made_stop_iteration(value: &Object) -> Raised {
        // SAFETY: a built-in class, whose instances have the layout that is declared for them, or
        // are not touched; the allocator clears them, and a cleared one lacks only its arguments
        // and its value. Every reference is handed over.
        unsafe {
            let class = sys::PyExc_StopIteration.cast::<sys::PyTypeObject>();
            if (*class).tp_basicsize.unsigned_abs() != size_of::<sys::PyStopIterationObject>() {
                return Raised::called_stop_iteration(value);
            }
            let arguments = match Object::tuple(&[value]) {
                Ok(arguments) => arguments,
                Err(raised) => return raised,
            };
            let exception = sys::PyType_GenericAlloc(class, 0);
            if exception.is_null() {
                return Raised::NOW;
            }
            let fields = exception.cast::<sys::PyStopIterationObject>();
            (*fields).args = arguments.into_ptr();
            (*fields).value = value.clone().into_ptr();
            sys::PyErr_SetRaisedException(exception);
        }
        Raised::NOW
    }

    /// Up to 3.11 the value alone will do: whoever wants an instance makes it, unless the value
    /// is of a kind that would be taken for the instance or for its arguments.
    #[cfg(not(Py_3_12))]
    fn made_stop_iteration(value: &Object) -> Raised {
        // SAFETY: type questions about a live object.
        let ambiguous = unsafe {
            sys::PyTuple_Check(value.as_ptr()) != 0
                || sys::PyExceptionInstance_Check(value.as_ptr()) != 0
        };
        if ambiguous || value.is_none() {
            return Raised::called_stop_iteration(value);
        }
        // SAFETY: a built-in class; both references are handed over.
        unsafe {
            sys::Py_INCREF(sys::PyExc_StopIteration);
            sys::PyErr_Restore(
                sys::PyExc_StopIteration,
                value.clone().into_ptr(),
                std::ptr::null_mut(),
            );
        }
        Raised::NOW
    }

    /// Raises an exception instance.
    pub(crate) fn exception(exception: &Object) -> Raised {
        // SAFETY: an instance and its type, both alive.
        unsafe { sys::PyErr_SetObject(exception.type_ptr().cast(), exception.as_ptr()) }
        Raised::NOW
    }

    /// Raises an exception instance as it is: its context does not become what is being handled.
    pub(crate) fn with_its_context(exception: Object) -> Raised {
        restore(exception);
        Raised::NOW
    }

    /// Whether the exception is an instance of `class` (a class of the C API).
    pub(crate) fn matches(&self, class: *mut sys::PyObject) -> bool {
        // SAFETY: the indicator is set, so there is something to compare.
        unsafe { sys::PyErr_ExceptionMatches(class) != 0 }
    }

    /// Clears the indicator and gives the exception, a normalised instance that carries
    /// its traceback.
    pub(crate) fn take(self) -> Object {
        #[cfg(Py_3_12)]
        // SAFETY: the indicator is set; the reference is ours.
        unsafe {
            let exception = sys::PyErr_GetRaisedException();
            if exception.is_null() {
                return missing_exception();
            }
            Object::from_owned(exception)
        }
        #[cfg(not(Py_3_12))]
        // SAFETY: the indicator is set; the three references become ours, and
        // normalising makes `value` an instance.
        unsafe {
            let (mut class, mut value, mut traceback) = (
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
            );
            sys::PyErr_Fetch(&raw mut class, &raw mut value, &raw mut traceback);
            if class.is_null() {
                return missing_exception();
            }
            sys::PyErr_NormalizeException(&raw mut class, &raw mut value, &raw mut traceback);
            drop(Object::from_owned(class));
            let exception = Object::from_owned(value);
            if !traceback.is_null() {
                sys::PyException_SetTraceback(exception.as_ptr(), traceback);
                drop(Object::from_owned(traceback));
            }
            exception
        }
    }

    /// Drops the exception. The caller says why that is right.
    pub(crate) fn discard(self) {
        // SAFETY: always allowed.
        unsafe { sys::PyErr_Clear() }
    }

    /// Hands the exception to `sys.unraisablehook`, where nothing else can be told of it.
    pub(crate) fn report_unraisable(self, whose: &Object) {
        // SAFETY: a live object; clears the indicator.
        unsafe { sys::PyErr_WriteUnraisable(whose.as_ptr()) }
    }
}

/// Runs `body` as if in an `except` block that handles `exception`: what is raised there gets it
/// as its context.
pub(crate) fn handling<R>(exception: &Object, body: impl FnOnce() -> R) -> R {
    struct Restore(*mut sys::PyObject);
    impl Drop for Restore {
        fn drop(&mut self) {
            // SAFETY: a reference of ours, or null for none; the function takes one of its own.
            unsafe {
                sys::PyErr_SetHandledException(self.0);
                if !self.0.is_null() {
                    drop(Object::from_owned(self.0));
                }
            }
        }
    }
    // SAFETY: always allowed; a new reference or null.
    let _restore = Restore(unsafe { sys::PyErr_GetHandledException() });
    // SAFETY: a live exception.
    unsafe { sys::PyErr_SetHandledException(exception.as_ptr()) };
    body()
}

/// What stands in when C code failed without setting the indicator: a bug in
/// that code, which must still be seen by somebody.
fn missing_exception() -> Object {
    // SAFETY: a built-in type is called; MemoryError's instance is preallocated,
    // so this cannot fail for lack of memory in a way that leaves nothing set.
    unsafe {
        sys::PyErr_SetString(
            sys::PyExc_SystemError,
            c"a call failed without setting an exception".as_ptr(),
        );
    }
    Raised::NOW.take()
}

/// The exception that was set before a finalizer ran, put back when it ends.
pub(crate) struct SavedException(Option<Object>);

impl SavedException {
    pub(crate) fn new() -> SavedException {
        // SAFETY: always allowed.
        let set = unsafe { !sys::PyErr_Occurred().is_null() };
        SavedException(set.then(|| Raised::NOW.take()))
    }
}

impl Drop for SavedException {
    fn drop(&mut self) {
        if let Some(exception) = self.0.take() {
            restore(exception);
        }
    }
}

/// Sets the indicator to an exception, with the traceback and the context that it has.
fn restore(exception: Object) {
    #[cfg(Py_3_12)]
    // SAFETY: hands over our reference.
    unsafe {
        sys::PyErr_SetRaisedException(exception.into_ptr());
    }
    #[cfg(not(Py_3_12))]
    // SAFETY: hands over three references; the traceback may be null.
    unsafe {
        let class = exception.type_object();
        let traceback = sys::PyException_GetTraceback(exception.as_ptr());
        sys::PyErr_Restore(class.into_ptr(), exception.into_ptr(), traceback);
    }
}
