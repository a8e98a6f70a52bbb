//! The system call `epoll_pwait2`, which `rustix` has only for programs that need no other.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::{io, ptr, slice};

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;

/// Waits as `epoll_wait` does, but to the nanosecond. Returns the part of `buffer` that the kernel
/// has filled.
///
/// # Errors
///
/// `ENOSYS` on kernels before 5.11; otherwise as `epoll_wait`.
pub(super) fn epoll_pwait2<'a>(
    epoll: BorrowedFd<'_>,
    buffer: &'a mut [MaybeUninit<epoll::Event>],
    timeout: Timespec,
) -> Result<&'a [epoll::Event], Errno> {
    let room = libc::c_int::try_from(buffer.len()).unwrap_or(libc::c_int::MAX);
    // SAFETY: the call is given a buffer and its length in events, of which the kernel writes no
    // more; `rustix` lays its event and time out as the kernel does. No signal mask is given, and
    // so none is read.
    let count = unsafe {
        libc::syscall(
            libc::SYS_epoll_pwait2,
            epoll.as_raw_fd(),
            buffer.as_mut_ptr(),
            room,
            &raw const timeout,
            ptr::null::<libc::sigset_t>(),
            0_usize,
        )
    };
    let Ok(count) = usize::try_from(count) else {
        let error = io::Error::last_os_error();
        return Err(Errno::from_io_error(&error).unwrap_or(Errno::INVAL));
    };
    debug_assert!(count <= buffer.len());
    // SAFETY: the kernel has written the first `count` events.
    Ok(unsafe { slice::from_raw_parts(buffer.as_ptr().cast(), count) })
}
