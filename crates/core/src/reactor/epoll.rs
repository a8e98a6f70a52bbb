//! The epoll backend.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::event::{Timespec, epoll};
use rustix::io::Errno;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, timerfd_create, timerfd_settime,
};

use super::{Doorbell, Event, Interest, Readiness, Token};

/// How many events one wait takes from the kernel. What is left over comes with the next one: the
/// kernel puts files it has reported at the end of its list, so none is starved.
const EVENTS_PER_WAIT: usize = 1024;

const ZERO: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// How an [`Epoll`] waits for a time that is no whole number of milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Precision {
    /// By `epoll_pwait2`, which knows nanoseconds (Linux 5.11). Where the kernel or a sandbox
    /// refuses it, the next variant takes over for good.
    Native,
    /// By a timerfd in the epoll set: two system calls a wait, but as precise.
    TimerFd,
}

/// Waits with epoll, level-triggered.
#[derive(Debug)]
pub struct Epoll {
    fd: OwnedFd,
    /// Whether `epoll_pwait2` may be called. Turned off by the first refusal; never turned on.
    has_nanoseconds: AtomicBool,
    /// Made when it is needed first.
    timer: OnceLock<OwnedFd>,
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
            timer: OnceLock::new(),
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
        let Some(timeout) = timeout else {
            return Ok(self.wait_for(events, None)?);
        };
        let timeout = timespec_of(timeout);
        if is_whole_milliseconds(&timeout) || self.has_nanoseconds.load(Ordering::Relaxed) {
            match self.wait_for(events, Some(&timeout)) {
                Err(error) if !is_whole_milliseconds(&timeout) && is_refusal(error) => {
                    self.has_nanoseconds.store(false, Ordering::Relaxed);
                }
                result => return Ok(result?),
            }
        }
        self.wait_with_timer(events, timeout)
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

    /// One wait. `rustix` calls `epoll_pwait` where milliseconds are enough and `epoll_pwait2`
    /// where they are not.
    fn wait_for(&self, events: &mut Vec<Event>, timeout: Option<&Timespec>) -> Result<(), Errno> {
        // On the stack, because the kernel's event is not `Send` and the wait may run without the
        // interpreter's lock; it is not initialised, so its size costs nothing.
        let mut buffer = [MaybeUninit::<epoll::Event>::uninit(); EVENTS_PER_WAIT];
        let (reported, _) = epoll::wait(&self.fd, &mut buffer, timeout)?;
        events.extend(reported.iter().map(event_of));
        Ok(())
    }

    fn wait_with_timer(&self, events: &mut Vec<Event>, timeout: Timespec) -> io::Result<()> {
        let timer = self.timer()?;
        arm(timer, timeout)?;
        let already = events.len();
        let result = self.wait_for(events, None);
        // Disarmed, an expiry that nobody saw cannot end a later wait.
        arm(timer, ZERO)?;
        result?;
        let reported = events[already..].iter();
        if let Some(index) = reported
            .map(|event| event.token)
            .position(|token| token == Token::TIMER)
        {
            events.remove(already + index);
        }
        Ok(())
    }

    fn timer(&self) -> io::Result<&OwnedFd> {
        if self.timer.get().is_none() {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            self.add(timer.as_raw_fd(), Token::TIMER, epoll::EventFlags::IN)?;
            // Only the owner thread waits, so nobody else can have set it meanwhile.
            let set = self.timer.set(timer);
            debug_assert!(set.is_ok(), "one thread waits at a time");
        }
        Ok(self.timer.get().expect("it was set above"))
    }
}

/// Arms a timer to expire once after `timeout`; zero disarms it. Either forgets earlier expiries.
fn arm(timer: &OwnedFd, timeout: Timespec) -> Result<(), Errno> {
    let once = Itimerspec {
        it_interval: ZERO,
        it_value: timeout,
    };
    timerfd_settime(timer, TimerfdTimerFlags::empty(), &once).map(drop)
}

fn is_whole_milliseconds(timeout: &Timespec) -> bool {
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
