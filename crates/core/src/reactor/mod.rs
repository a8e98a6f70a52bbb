//! Waiting for I/O: a closed enum over backends, and the words they share.
//!
//! # What a backend must do
//!
//! Every backend has the same methods, and [`Reactor`] does nothing but choose:
//!
//! - `register(fd, token, interest)` watches a file descriptor, level-triggered: as long as it is
//!   ready, every wait says so; with [`Interest::EDGE`] only the next one does. When the fd is being
//!   watched already (somebody closed it and the kernel gave its number to another file that we
//!   also know) it behaves as `modify`.
//! - `modify(fd, token, interest)` replaces token and interest. When the fd is not watched (it was
//!   closed, which ends the watching, and its number came back) it behaves as `register`.
//! - `deregister(fd)` ends the watching. An fd that is not watched, or not open, is no error.
//! - `watch_waker(doorbell)` lets rings of a [`Waker`]'s doorbell end waits.
//! - `wait(events, timeout)` appends what is ready. It takes `&self` and a backend is [`Sync`], so
//!   that a wait may happen while an interpreter lock is released; it is called by the owner
//!   thread only. No timeout waits for ever; zero does not wait. It may return early without an
//!   event. It never returns before the timeout because of rounding. A signal handler that ran
//!   makes it fail with [`io::ErrorKind::Interrupted`].
//!
//! A token is the caller's own number. The reactor never looks at it, except that those of
//! [`Token::is_reserved`] are the loop's.

mod doorbell;
mod epoll;
mod epoll_pwait2;
#[cfg(any(test, feature = "scripted"))]
mod scripted;
mod waker;

use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

use bitflags::bitflags;

pub(crate) use doorbell::Doorbell;
pub use epoll::{Epoll, Precision};
#[cfg(any(test, feature = "scripted"))]
pub use scripted::{Script, Scripted};
pub use waker::Waker;

/// The caller's name for a watched file descriptor.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Token(pub u64);

impl Token {
    /// The loop's waker rang.
    pub const WAKER: Self = Self(u64::MAX);
    /// The loop's signal pipe is readable.
    pub const SIGNAL: Self = Self(u64::MAX - 1);

    /// Whether the core uses this token itself. Callers must not.
    #[must_use]
    pub const fn is_reserved(self) -> bool {
        self.0 >= Self::SIGNAL.0
    }
}

bitflags! {
    /// What a caller wants to hear of. Errors and hang-ups are always reported.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
    pub struct Interest: u8 {
        /// There is something to read, or the end of the stream.
        const READABLE = 1;
        /// There is room to write.
        const WRITABLE = 2;
        /// Every change is reported once (edge-triggered) instead of the state as often as it
        /// is asked for. Registering or modifying reports the state that is found.
        const EDGE = 4;
    }

    /// What a file descriptor is ready for.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
    pub struct Readiness: u8 {
        /// There is something to read, or the end of the stream.
        const READABLE = 1;
        /// There is room to write.
        const WRITABLE = 2;
        /// The file has an error to report.
        const ERROR = 4;
        /// The other side is gone.
        const HANG_UP = 8;
    }
}

impl Readiness {
    /// Whether a reader has to be told: there is something to read, or a read would tell of the
    /// error or hang-up. Python's selectors see it the same way.
    #[inline]
    #[must_use]
    pub fn concerns_reader(self) -> bool {
        self.intersects(Self::READABLE | Self::ERROR | Self::HANG_UP)
    }

    /// Whether a writer has to be told: there is room, or a write would tell of the error or
    /// hang-up.
    #[inline]
    #[must_use]
    pub fn concerns_writer(self) -> bool {
        self.intersects(Self::WRITABLE | Self::ERROR | Self::HANG_UP)
    }
}

/// One watched file descriptor is ready.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Event {
    /// The token it was registered with.
    pub token: Token,
    /// What it is ready for.
    pub readiness: Readiness,
}

/// What tells a loop of I/O. See the [module](self) for the contract of every method.
#[derive(Debug)]
pub enum Reactor {
    /// Linux's epoll.
    Epoll(Epoll),
    /// A test's script instead of a kernel.
    #[cfg(any(test, feature = "scripted"))]
    Scripted(Scripted),
}

impl Reactor {
    /// The kernel's best backend: epoll.
    ///
    /// # Errors
    ///
    /// What the kernel says when there is no file descriptor left.
    pub fn new() -> io::Result<Self> {
        Ok(Self::Epoll(Epoll::new()?))
    }

    /// Watches `fd`.
    ///
    /// # Errors
    ///
    /// What the kernel says: `EBADF` for an fd that is not open, `EPERM` for a file that is always
    /// ready, such as one on a disk.
    #[inline]
    pub fn register(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        match self {
            Self::Epoll(epoll) => epoll.register(fd, token, interest),
            #[cfg(any(test, feature = "scripted"))]
            Self::Scripted(scripted) => scripted.register(fd, token, interest),
        }
    }

    /// Replaces the token and interest of `fd`.
    ///
    /// # Errors
    ///
    /// As [`Reactor::register`].
    #[inline]
    pub fn modify(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        match self {
            Self::Epoll(epoll) => epoll.modify(fd, token, interest),
            #[cfg(any(test, feature = "scripted"))]
            Self::Scripted(scripted) => scripted.modify(fd, token, interest),
        }
    }

    /// Stops watching `fd`.
    ///
    /// # Errors
    ///
    /// What the kernel says; not for an fd that is not watched or not open.
    #[inline]
    pub fn deregister(&self, fd: RawFd) -> io::Result<()> {
        match self {
            Self::Epoll(epoll) => epoll.deregister(fd),
            #[cfg(any(test, feature = "scripted"))]
            Self::Scripted(scripted) => scripted.deregister(fd),
        }
    }

    /// Appends to `events` what is ready, after waiting for it for `timeout` at most.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::Interrupted`] when a signal handler ran; anything else is a broken reactor.
    #[inline]
    pub fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        match self {
            Self::Epoll(epoll) => epoll.wait(events, timeout),
            #[cfg(any(test, feature = "scripted"))]
            Self::Scripted(scripted) => scripted.wait(events, timeout),
        }
    }

    pub(crate) fn watch_waker(&self, doorbell: &Doorbell) -> io::Result<()> {
        match self {
            Self::Epoll(epoll) => epoll.watch_waker(doorbell),
            #[cfg(any(test, feature = "scripted"))]
            Self::Scripted(scripted) => scripted.watch_waker(doorbell),
        }
    }
}
