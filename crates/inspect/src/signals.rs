//! Signals, of which native threads want none.

use std::io;
use std::mem::MaybeUninit;
use std::ptr;

/// Has no signal handled by this thread.
///
/// The kernel gives a process's signal to any thread that does not block it: to one of ours, where
/// the program blocks it in its own in order to wait for it.
///
/// # Errors
/// What the kernel says.
pub(crate) fn block_all() -> io::Result<()> {
    let mut all = MaybeUninit::uninit();
    // SAFETY: `sigfillset` fills in the set that the next call reads; no old set is asked for.
    let code = unsafe {
        libc::sigfillset(all.as_mut_ptr());
        libc::pthread_sigmask(libc::SIG_BLOCK, all.as_ptr(), ptr::null_mut())
    };
    match code {
        0 => Ok(()),
        code => Err(io::Error::from_raw_os_error(code)),
    }
}
