//! The epoll backend.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, epoll, poll};
use rustix::io::Errno;

use super::epoll_pwait2::epoll_pwait2;
use super::{Doorbell, Event, Interest, Readiness, Token};

/// How many events one wait takes from the kernel. What is left over comes with the next one: the
/// kernel puts files it has reported at the end of its list, so none is starved.
const EVENTS_PER_WAIT: usize = 1024;

const NO_WAIT: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// Room for what the kernel reports. It lives on the stack, because the kernel's event is not
/// `Send` and a wait may run without the interpreter's lock; not initialised, it costs nothing.
type Buffer = [MaybeUninit<epoll::Event>; EVENTS_PER_WAIT];

/// How an [`Epoll`] waits for a time that is no whole number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// By `epoll_pwait2`, which knows nanoseconds (Linux 5.11). Where the kernel or a sandbox
    /// refuses it, the next variant takes over for good.
    Native,
    /// By `ppoll` of the epoll set itself, and then a look into it: one system call more.
    Polled,
}

/// Waits with epoll, level-triggered.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    /// Whether `epoll_pwait2` may be called. Turned off by the first refusal; never turned on.
    has_nanoseconds: AtomicBool,
}

impl Epoll {
    /// Makes an epoll set.
    ///
    /// # Errors
    ///
    /// What the kernel says when there is no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Self::with_precision(Precision::Native)
    }

    /// Makes an epoll set that waits for short times in the given way.
    ///
    /// # Errors
    ///
    /// As [`Epoll::new`].
    pub fn with_precision(precision: Precision) -> io::Result<Self> {
        Ok(Self {
            fd: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            has_nanoseconds: AtomicBool::new(precision == Precision::Native),
        })
    }

    /// See [`Reactor::register`](super::Reactor::register).
    ///
    /// # Errors
    ///
    /// What `epoll_ctl` says.
    pub fn register(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        match self.add(fd, token, flags_of(interest)) {
            Err(Errno::EXIST) => self.change(fd, token, flags_of(interest)),
            result => result,
        }
        .map_err(io::Error::from)
    }

    /// See [`Reactor::modify`](super::Reactor::modify).
    ///
    /// # Errors
    ///
    /// What `epoll_ctl` says.
    pub fn modify(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        match self.change(fd, token, flags_of(interest)) {
            Err(Errno::NOENT) => self.add(fd, token, flags_of(interest)),
            result => result,
        }
        .map_err(io::Error::from)
    }

    /// See [`Reactor::deregister`](super::Reactor::deregister).
    ///
    /// # Errors
    ///
    /// What `epoll_ctl` says.
    pub fn deregister(&self, fd: RawFd) -> io::Result<()> {
        match borrow(fd).and_then(|fd| epoll::delete(&self.fd, fd)) {
            // Closing a file ends its watching, so both say that there is nothing to end.
            Err(Errno::NOENT | Errno::BADF) => Ok(()),
            result => result.map_err(io::Error::from),
        }
    }

    /// See [`Reactor::wait`](super::Reactor::wait).
    ///
    /// # Errors
    ///
    /// What `epoll_wait` says.
    pub fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let timeout = timeout.map(timespec_of);
        match timeout {
            Some(timeout) if !is_whole_milliseconds(timeout) => {
                self.wait_nanoseconds(events, timeout)
            }
            _ => self.wait_milliseconds(events, timeout.as_ref()),
        }
        .map_err(io::Error::from)
    }

    /// Rings of the doorbell end waits: edge-triggered, so that they need no answer.
    pub(super) fn watch_waker(&self, doorbell: &Doorbell) -> io::Result<()> {
        let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
        Ok(self.add(doorbell.as_raw_fd(), Token::WAKER, flags)?)
    }

    fn add(&self, fd: RawFd, token: Token, flags: epoll::EventFlags) -> Result<(), Errno> {
        epoll::add(
            &self.fd,
            borrow(fd)?,
            epoll::EventData::new_u64(token.0),
            flags,
        )
    }

    fn change(&self, fd: RawFd, token: Token, flags: epoll::EventFlags) -> Result<(), Errno> {
        epoll::modify(
            &self.fd,
            borrow(fd)?,
            epoll::EventData::new_u64(token.0),
            flags,
        )
    }

    /// One wait of whole milliseconds, none, or for ever. `rustix` calls `epoll_pwait`.
    fn wait_milliseconds(
        &self,
        events: &mut Vec<Event>,
        timeout: Option<&Timespec>,
    ) -> Result<(), Errno> {
        let mut buffer: Buffer = [MaybeUninit::uninit(); EVENTS_PER_WAIT];
        let (reported, _) = epoll::wait(&self.fd, &mut buffer, timeout)?;
        events.extend(reported.iter().map(event_of));
        Ok(())
    }

    fn wait_nanoseconds(&self, events: &mut Vec<Event>, timeout: Timespec) -> Result<(), Errno> {
        if self.has_nanoseconds.load(Ordering::Relaxed) {
            match self.wait_natively(events, timeout) {
                Err(error) if is_refusal(error) => {
                    self.has_nanoseconds.store(false, Ordering::Relaxed);
                }
                result => return result,
            }
        }
        let mut set = [PollFd::new(&self.fd, PollFlags::IN)];
        if poll(&mut set, Some(&timeout))? == 0 {
            return Ok(());
        }
        self.wait_milliseconds(events, Some(&NO_WAIT))
    }

    fn wait_natively(&self, events: &mut Vec<Event>, timeout: Timespec) -> Result<(), Errno> {
        let mut buffer: Buffer = [MaybeUninit::uninit(); EVENTS_PER_WAIT];
        let reported = epoll_pwait2(self.fd.as_fd(), &mut buffer, timeout)?;
        events.extend(reported.iter().map(event_of));
        Ok(())
    }
}

fn is_whole_milliseconds(timeout: Timespec) -> bool {
    timeout.tv_nsec % 1_000_000 == 0
}

/// Kernels before 5.11 do not know the call (`ENOSYS`); sandboxes refuse what they do not know in
/// ways of their own.
fn is_refusal(error: Errno) -> bool {
    matches!(error, Errno::NOSYS | Errno::PERM | Errno::INVAL)
}

fn timespec_of(duration: Duration) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(duration.as_secs()).unwrap_or(i64::MAX),
        tv_nsec: i64::from(duration.subsec_nanos()),
    }
}

fn flags_of(interest: Interest) -> epoll::EventFlags {
    let mut flags = epoll::EventFlags::empty();
    flags.set(epoll::EventFlags::IN, interest.contains(Interest::READABLE));
    flags.set(
        epoll::EventFlags::OUT,
        interest.contains(Interest::WRITABLE),
    );
    flags.set(epoll::EventFlags::ET, interest.contains(Interest::EDGE));
    flags
}

#[inline]
fn event_of(event: &epoll::Event) -> Event {
    // By value: the kernel's event is packed on some machines.
    let (flags, data) = (event.flags, event.data);
    let mut readiness = Readiness::empty();
    readiness.set(Readiness::READABLE, flags.contains(epoll::EventFlags::IN));
    readiness.set(Readiness::WRITABLE, flags.contains(epoll::EventFlags::OUT));
    readiness.set(Readiness::ERROR, flags.contains(epoll::EventFlags::ERR));
    readiness.set(Readiness::HANG_UP, flags.contains(epoll::EventFlags::HUP));
    Event {
        token: Token(data.u64()),
        readiness,
    }
}

/// Callers name files by number, because Python does, and may name one that is closed.
fn borrow<'fd>(fd: RawFd) -> Result<BorrowedFd<'fd>, Errno> {
    if fd < 0 {
        return Err(Errno::BADF);
    }
    // SAFETY: `fd` is not -1, the one value the type forbids. The borrow lives for one `epoll_ctl`,
    // which reads and writes no data of the file; for a number that is not open it says EBADF, and
    // for one that means another file by now it watches that one, as its caller's number says.
    Ok(unsafe { BorrowedFd::borrow_raw(fd) })
}
