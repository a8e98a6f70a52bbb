//! System calls by number: those in which programs wait.

use std::borrow::Cow;

macro_rules! names {
    ($number:expr, $($constant:ident $name:literal)*) => {
        match $number {
            $(libc::$constant => Some($name),)*
            _ => None,
        }
    };
}

/// The name of a system call on this machine; its number where the name is not known.
#[must_use]
pub fn syscall_name(number: i64) -> Cow<'static, str> {
    match everywhere(number).or_else(|| older(number)) {
        Some(name) => Cow::Borrowed(name),
        None => Cow::Owned(number.to_string()),
    }
}

/// Whether threads wait for each other in that call.
pub(crate) fn is_futex(number: i64) -> bool {
    number == libc::SYS_futex
}

fn everywhere(number: i64) -> Option<&'static str> {
    names!(number,
        SYS_accept "accept"
        SYS_accept4 "accept4"
        SYS_bind "bind"
        SYS_clock_nanosleep "clock_nanosleep"
        SYS_clone "clone"
        SYS_clone3 "clone3"
        SYS_close "close"
        SYS_connect "connect"
        SYS_copy_file_range "copy_file_range"
        SYS_epoll_pwait "epoll_pwait"
        SYS_epoll_pwait2 "epoll_pwait2"
        SYS_execve "execve"
        SYS_faccessat "faccessat"
        SYS_fallocate "fallocate"
        SYS_fcntl "fcntl"
        SYS_fdatasync "fdatasync"
        SYS_flock "flock"
        SYS_fstat "fstat"
        SYS_fsync "fsync"
        SYS_ftruncate "ftruncate"
        SYS_futex "futex"
        SYS_getdents64 "getdents64"
        SYS_getrandom "getrandom"
        SYS_io_getevents "io_getevents"
        SYS_io_uring_enter "io_uring_enter"
        SYS_ioctl "ioctl"
        SYS_linkat "linkat"
        SYS_lseek "lseek"
        SYS_madvise "madvise"
        SYS_mkdirat "mkdirat"
        SYS_mmap "mmap"
        SYS_mprotect "mprotect"
        SYS_mq_timedreceive "mq_timedreceive"
        SYS_mq_timedsend "mq_timedsend"
        SYS_mremap "mremap"
        SYS_msgrcv "msgrcv"
        SYS_msgsnd "msgsnd"
        SYS_msync "msync"
        SYS_munmap "munmap"
        SYS_nanosleep "nanosleep"
        SYS_openat "openat"
        SYS_openat2 "openat2"
        SYS_ppoll "ppoll"
        SYS_pread64 "pread64"
        SYS_preadv "preadv"
        SYS_preadv2 "preadv2"
        SYS_pselect6 "pselect6"
        SYS_pwrite64 "pwrite64"
        SYS_pwritev "pwritev"
        SYS_pwritev2 "pwritev2"
        SYS_read "read"
        SYS_readlinkat "readlinkat"
        SYS_readv "readv"
        SYS_recvfrom "recvfrom"
        SYS_recvmmsg "recvmmsg"
        SYS_recvmsg "recvmsg"
        SYS_renameat "renameat"
        SYS_renameat2 "renameat2"
        SYS_restart_syscall "restart_syscall"
        SYS_rt_sigsuspend "rt_sigsuspend"
        SYS_rt_sigtimedwait "rt_sigtimedwait"
        SYS_sched_yield "sched_yield"
        SYS_semop "semop"
        SYS_semtimedop "semtimedop"
        SYS_sendfile "sendfile"
        SYS_sendmmsg "sendmmsg"
        SYS_sendmsg "sendmsg"
        SYS_sendto "sendto"
        SYS_splice "splice"
        SYS_statfs "statfs"
        SYS_statx "statx"
        SYS_symlinkat "symlinkat"
        SYS_sync "sync"
        SYS_sync_file_range "sync_file_range"
        SYS_syncfs "syncfs"
        SYS_truncate "truncate"
        SYS_unlinkat "unlinkat"
        SYS_wait4 "wait4"
        SYS_waitid "waitid"
        SYS_write "write"
        SYS_writev "writev"
    )
}

/// Those that machines newer than x86-64 were not given.
#[cfg(target_arch = "x86_64")]
fn older(number: i64) -> Option<&'static str> {
    names!(number,
        SYS_access "access"
        SYS_epoll_wait "epoll_wait"
        SYS_fork "fork"
        SYS_getdents "getdents"
        SYS_link "link"
        SYS_lstat "lstat"
        SYS_mkdir "mkdir"
        SYS_newfstatat "newfstatat"
        SYS_open "open"
        SYS_pause "pause"
        SYS_poll "poll"
        SYS_readlink "readlink"
        SYS_rename "rename"
        SYS_rmdir "rmdir"
        SYS_select "select"
        SYS_stat "stat"
        SYS_symlink "symlink"
        SYS_unlink "unlink"
        SYS_vfork "vfork"
    )
}

#[cfg(not(target_arch = "x86_64"))]
fn older(_number: i64) -> Option<&'static str> {
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_have_names() {
        assert_eq!(syscall_name(libc::SYS_clock_nanosleep), "clock_nanosleep");
        assert_eq!(syscall_name(libc::SYS_recvfrom), "recvfrom");
        assert!(is_futex(libc::SYS_futex) && !is_futex(libc::SYS_read));
    }

    #[test]
    fn an_unknown_call_has_its_number() {
        assert_eq!(syscall_name(100_000), "100000");
    }

    #[cfg(target_arch = "x86_64")]
    #[test]
    fn the_numbers_are_the_kernels() {
        for (number, name) in [(0, "read"), (7, "poll"), (45, "recvfrom"), (202, "futex")] {
            assert_eq!(syscall_name(number), name);
        }
    }
}
