//! The boundary to C: panics, and the one place where the interpreter is released.

use std::any::Any;
use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;

use super::{Object, Outcome, Raised, sys};

/// Runs the body of a C function that returns an object.
///
/// A panic becomes a Python exception: a bug of ours must not take the process down.
#[inline]
pub(crate) fn guard(body: impl FnOnce() -> Outcome<Object>) -> *mut sys::PyObject {
    // Unwind safety: what a panic leaves half done is our own state, whose cells
    // are each valid by themselves.
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(object)) => object.into_ptr(),
        Ok(Err(_raised)) => ptr::null_mut(),
        Err(panic) => {
            raise_panic(&*panic);
            ptr::null_mut()
        }
    }
}

/// [`guard`] for functions that may return null without an exception, as the end of an iteration.
#[inline]
pub(super) fn guard_optional(body: impl FnOnce() -> Outcome<Option<Object>>) -> *mut sys::PyObject {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(Some(object))) => object.into_ptr(),
        Ok(Ok(None) | Err(_)) => ptr::null_mut(),
        Err(panic) => {
            raise_panic(&*panic);
            ptr::null_mut()
        }
    }
}

/// [`guard`] for functions that return 0, or -1 when an exception is set.
#[inline]
pub(crate) fn guard_status(body: impl FnOnce() -> Outcome<()>) -> c_int {
    match catch_unwind(AssertUnwindSafe(body)) {
        Ok(Ok(())) => 0,
        Ok(Err(_raised)) => -1,
        Err(panic) => {
            raise_panic(&*panic);
            -1
        }
    }
}

#[cold]
fn raise_panic(panic: &(dyn Any + Send)) {
    let cause = panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("unknown cause");
    let message = format!("internal error in ferrio, please report it: {cause}");
    // SAFETY: a built-in exception type. The value says only that the indicator is
    // set, which the caller's null or -1 repeats.
    let Raised { .. } = unsafe { Raised::builtin(sys::PyExc_SystemError, &message) };
}

/// Runs `wait` with the interpreter released, so that other threads run Python code.
///
/// `Send` keeps every reference to a Python object out of the closure.
#[inline]
pub(crate) fn released<R: Send>(wait: impl FnOnce() -> R + Send) -> R {
    struct Reacquire(*mut sys::PyThreadState);
    impl Drop for Reacquire {
        fn drop(&mut self) {
            // SAFETY: the state that PyEval_SaveThread gave to this very thread.
            unsafe { sys::PyEval_RestoreThread(self.0) }
        }
    }
    // SAFETY: the thread holds the interpreter (the module's first rule) and gets it
    // back before anything of Python is touched, also when `wait` unwinds.
    let _reacquire = Reacquire(unsafe { sys::PyEval_SaveThread() });
    wait()
}

/// Runs `body` with the interpreter held, in a native thread that does not hold it.
///
/// Waits for the interpreter as long as that takes. Must not be called once the interpreter ends:
/// CPython would keep the thread for ever, or end it where it stands.
pub(crate) fn attached<R>(body: impl FnOnce() -> R) -> R {
    struct Detach(sys::PyGILState_STATE);
    impl Drop for Detach {
        fn drop(&mut self) {
            // SAFETY: what PyGILState_Ensure gave to this very thread.
            unsafe { sys::PyGILState_Release(self.0) }
        }
    }
    // SAFETY: the interpreter is there, for native threads are stopped before it ends.
    let _detach = Detach(unsafe { sys::PyGILState_Ensure() });
    body()
}

/// `threading.get_ident()`.
#[inline]
pub(crate) fn thread_id() -> u64 {
    unsafe extern "C" {
        fn PyThread_get_thread_ident() -> std::ffi::c_ulong;
    }
    // SAFETY: asks the thread library, touches nothing.
    unsafe { PyThread_get_thread_ident() }
}

/// The kernel's number of this thread.
pub(crate) fn thread_number() -> u32 {
    rustix::thread::gettid()
        .as_raw_nonzero()
        .get()
        .unsigned_abs()
}

/// How many other threads than this one have ever run Python code and not ended.
pub(crate) fn count_other_threads() -> usize {
    let mut count = 0_usize;
    // SAFETY: the thread holds the interpreter, so that the list of its threads stays as it is.
    unsafe {
        let mut state = sys::PyInterpreterState_ThreadHead(sys::PyInterpreterState_Get());
        while !state.is_null() {
            count += 1;
            state = sys::PyThreadState_Next(state);
        }
    }
    count.saturating_sub(1)
}

/// Whether some thread may be waiting for the interpreter, or be about to: another one of this
/// interpreter, or one of another interpreter, which may share its lock.
///
/// A thread that is just being made may be missed, once.
#[inline]
pub(crate) fn may_others_want_interpreter() -> bool {
    // SAFETY: asks for the first of two lists, and for the next of the one of threads, which is not
    // empty and whose states are only ended by who holds the interpreter. Another interpreter may
    // end at any time and is not looked at: the main one, the last of the list, is the only one if
    // it is the first.
    unsafe {
        let interpreter = sys::PyInterpreterState_Get();
        let thread = sys::PyInterpreterState_ThreadHead(interpreter);
        !sys::PyThreadState_Next(thread).is_null() || sys::PyInterpreterState_Head() != interpreter
    }
}

/// Whether the interpreter is going down: no stack can be extracted any more, and a daemon thread
/// that lets go of the interpreter will not have it again.
pub(crate) fn is_finalizing() -> bool {
    #[cfg(Py_3_13)]
    // SAFETY: a question that may always be asked.
    unsafe {
        sys::Py_IsFinalizing() != 0
    }
    #[cfg(not(Py_3_13))]
    {
        unsafe extern "C" {
            fn _Py_IsFinalizing() -> c_int;
        }
        // SAFETY: a question that may always be asked; the name before 3.13.
        unsafe { _Py_IsFinalizing() != 0 }
    }
}

/// Where CPython keeps the state of this thread: for those who look at it from outside.
pub(crate) fn thread_state_address() -> usize {
    // SAFETY: the thread holds the interpreter; only the address is taken.
    unsafe { sys::PyThreadState_Get() as usize }
}

/// Runs `body` one level deeper, for what may go as deep as a user's objects are chained.
///
/// # Errors
/// RecursionError at the interpreter's limit; `context` ends its message, as in
/// " while cancelling a task".
pub(crate) fn recursive<R>(
    context: &'static std::ffi::CStr,
    body: impl FnOnce() -> Outcome<R>,
) -> Outcome<R> {
    struct Leave;
    impl Drop for Leave {
        fn drop(&mut self) {
            // SAFETY: the level that was entered below, by this thread.
            unsafe { sys::Py_LeaveRecursiveCall() }
        }
    }
    // SAFETY: a C string; the thread holds the interpreter.
    Raised::check(-unsafe { sys::Py_EnterRecursiveCall(context.as_ptr()) }.abs())?;
    let _leave = Leave;
    body()
}
