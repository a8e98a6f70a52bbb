//! A backend for tests: readiness comes from a script and no kernel is asked.

use std::collections::{HashMap, VecDeque};
use std::io;
use std::os::fd::RawFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::{Doorbell, Event, Interest, Readiness, Token};

/// What a [`Scripted`] reactor does, written and read by a test. Clones share it.
///
/// Each wait takes one line of the script, in order. A wait that finds none is over at once when
/// it has a timeout, and fails with [`io::ErrorKind::TimedOut`] when it would last for ever, so
/// that a program which hangs is a test that fails. File descriptors are plain numbers; rings of
/// the waker are not seen, but a wake that comes before a wait prevents it as with every backend.
#[derive(Clone, Debug, Default)]
pub struct Script {
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    lines: VecDeque<Line>,
    watched: HashMap<RawFd, (Token, Interest)>,
    waits: Vec<Option<Duration>>,
}

/// What one wait answers.
#[derive(Debug)]
enum Line {
    Ready(Vec<(RawFd, Readiness)>),
    Fails(io::ErrorKind),
}

impl Script {
    /// An empty script.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A wait reports these file descriptors. Those that are not watched by then, or not for
    /// this, are left out, as a kernel would.
    pub fn ready(&self, fds: impl IntoIterator<Item = (RawFd, Readiness)>) {
        let line = Line::Ready(fds.into_iter().collect());
        self.state().lines.push_back(line);
    }

    /// A wait reports nothing.
    pub fn nothing(&self) {
        self.ready([]);
    }

    /// A wait fails.
    pub fn fails(&self, kind: io::ErrorKind) {
        self.state().lines.push_back(Line::Fails(kind));
    }

    /// The timeouts of all waits so far.
    #[must_use]
    pub fn waits(&self) -> Vec<Option<Duration>> {
        self.state().waits.clone()
    }

    /// How many waits there were.
    #[must_use]
    pub fn wait_count(&self) -> usize {
        self.state().waits.len()
    }

    /// What a file descriptor is watched for.
    #[must_use]
    pub fn interest(&self, fd: RawFd) -> Option<Interest> {
        self.state().watched.get(&fd).map(|&(_, interest)| interest)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A reactor that does what its [`Script`] says.
#[derive(Debug, Default)]
pub struct Scripted {
    script: Script,
}

impl Scripted {
    /// A reactor for this script.
    #[must_use]
    pub fn new(script: &Script) -> Self {
        Self {
            script: script.clone(),
        }
    }

    /// See [`Reactor::register`](super::Reactor::register).
    ///
    /// # Errors
    ///
    /// `EBADF` for a negative number.
    pub fn register(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        if fd < 0 {
            return Err(rustix::io::Errno::BADF.into());
        }
        self.script.state().watched.insert(fd, (token, interest));
        Ok(())
    }

    /// See [`Reactor::modify`](super::Reactor::modify).
    ///
    /// # Errors
    ///
    /// As [`Scripted::register`].
    pub fn modify(&self, fd: RawFd, token: Token, interest: Interest) -> io::Result<()> {
        self.register(fd, token, interest)
    }

    /// See [`Reactor::deregister`](super::Reactor::deregister).
    ///
    /// # Errors
    ///
    /// None.
    pub fn deregister(&self, fd: RawFd) -> io::Result<()> {
        self.script.state().watched.remove(&fd);
        Ok(())
    }

    /// See [`Reactor::wait`](super::Reactor::wait).
    ///
    /// # Errors
    ///
    /// Those of the script.
    pub fn wait(&self, events: &mut Vec<Event>, timeout: Option<Duration>) -> io::Result<()> {
        let mut state = self.script.state();
        state.waits.push(timeout);
        match state.lines.pop_front() {
            Some(Line::Ready(fds)) => {
                events.extend(fds.into_iter().filter_map(|ready| state.event_of(ready)));
                Ok(())
            }
            Some(Line::Fails(kind)) => Err(kind.into()),
            None if timeout.is_some() => Ok(()),
            None => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                "the script is over and the loop waits for ever",
            )),
        }
    }

    #[allow(clippy::unnecessary_wraps, clippy::unused_self)] // As every backend's.
    pub(super) fn watch_waker(&self, _doorbell: &Doorbell) -> io::Result<()> {
        Ok(())
    }
}

impl State {
    fn event_of(&self, (fd, readiness): (RawFd, Readiness)) -> Option<Event> {
        let &(token, interest) = self.watched.get(&fd)?;
        let always = Readiness::ERROR | Readiness::HANG_UP;
        let asked = interest & (Interest::READABLE | Interest::WRITABLE);
        let wanted = Readiness::from_bits_retain(asked.bits()) | always;
        let readiness = readiness & wanted;
        (!readiness.is_empty()).then_some(Event { token, readiness })
    }
}
