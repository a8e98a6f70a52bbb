//! What becomes of a thread that CPython ends at the end of the interpreter.
//!
//! A daemon thread may run a loop when the interpreter ends. Up to 3.13 CPython ends it, with
//! `pthread_exit`, as soon as it wants the interpreter again, which it may in the middle of any
//! Python code that it runs for us. The C library then unwinds the thread's stack, through our
//! frames: their destructors touch what is Python's without having the interpreter, and
//! `catch_unwind` takes the unwinding for a panic. From 3.14 on CPython has such a thread stay where
//! it is, until the process is gone; here the same is done before 3.14.
//!
//! The means is a cleanup handler, as `pthread_cleanup_push` makes them. What tells glibc that the
//! unwinding has come to a handler's frame is the address of its record; one outside of the stack
//! counts as passed at once, so that the handler is called before the first frame is touched. musl
//! calls its handlers first anyway, and macOS unwinds nothing.

#[cfg(all(target_os = "linux", not(Py_3_14)))]
pub(crate) use handler::in_daemon_thread;

/// Runs `body`, in which CPython may want to end this thread: from 3.14 on it does not.
#[cfg(not(all(target_os = "linux", not(Py_3_14))))]
pub(crate) fn in_daemon_thread<R>(body: impl FnOnce() -> R) -> R {
    body()
}

#[cfg(all(target_os = "linux", not(Py_3_14)))]
mod handler {
    use std::ffi::{c_int, c_void};
    use std::ptr;
    use std::thread::sleep;
    use std::time::Duration;

    use super::super::is_finalizing;

    type Handler = unsafe extern "C" fn(*mut c_void);

    /// The C library's record of a handler: glibc's `struct _pthread_cleanup_buffer`. musl's `struct
    /// __ptcb` is the same without the third member. Only the library looks into it.
    #[repr(C)]
    struct Record {
        handler: Option<Handler>,
        argument: *mut c_void,
        cancel_type: c_int,
        previous: *mut Record,
    }

    unsafe extern "C" {
        fn _pthread_cleanup_push(record: *mut Record, handler: Handler, argument: *mut c_void);
        fn _pthread_cleanup_pop(record: *mut Record, execute: c_int);
    }

    /// Takes the handler back, and the record with it.
    struct Installed(*mut Record);

    impl Drop for Installed {
        fn drop(&mut self) {
            // SAFETY: the record that this thread has handed over last of those that it has not
            // taken back, for these values live in frames of its stack.
            unsafe { _pthread_cleanup_pop(self.0, 0) };
            // SAFETY: it comes from a box, and the library has forgotten it.
            drop(unsafe { Box::from_raw(self.0) });
        }
    }

    /// Runs `body`, in which CPython may want to end this thread: then it stays where it is instead.
    pub(crate) fn in_daemon_thread<R>(body: impl FnOnce() -> R) -> R {
        // On the heap, because of its address.
        let record = Box::into_raw(Box::new(Record {
            handler: None,
            argument: ptr::null_mut(),
            cancel_type: 0,
            previous: ptr::null_mut(),
        }));
        // SAFETY: the record is ours until it is taken back, in this thread, in the reverse order.
        unsafe { _pthread_cleanup_push(record, stay, ptr::null_mut()) };
        let _installed = Installed(record);
        body()
    }

    /// Called by the C library when the thread is to end. It does not hold the interpreter.
    unsafe extern "C" fn stay(_: *mut c_void) {
        // Whoever else ends threads in their midst is not to be held up by us.
        while is_finalizing() {
            sleep(Duration::from_secs(1));
        }
    }
}
