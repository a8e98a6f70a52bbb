//! The file descriptor that a reactor listens to for wakes; under loom, a model of it.

#[cfg(not(loom))]
pub(crate) use event_fd::Doorbell;
#[cfg(loom)]
pub(crate) use model::Doorbell;

#[cfg(not(loom))]
mod event_fd {
    use std::io;
    use std::os::fd::{AsRawFd, OwnedFd, RawFd};

    use rustix::event::{EventfdFlags, eventfd};

    /// An eventfd, to be watched edge-triggered: every write is an edge of its own even if the
    /// counter was not read since the last, so nobody ever has to read it. The counter would
    /// overflow after 2⁶⁴ rings.
    #[derive(Debug)]
    pub(crate) struct Doorbell {
        fd: OwnedFd,
    }

    impl Doorbell {
        pub(crate) fn new() -> io::Result<Self> {
            let fd = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
            Ok(Self { fd })
        }

        pub(crate) fn ring(&self) {
            // A lost ring is a loop that sleeps on. Linux has no reason to interrupt this write,
            // but a sandbox may answer system calls as it likes.
            let ring = || rustix::io::write(&self.fd, &1_u64.to_ne_bytes());
            let written = rustix::io::retry_on_intr(ring);
            debug_assert!(written.is_ok(), "an eventfd takes a write: {written:?}");
        }
    }

    impl AsRawFd for Doorbell {
        fn as_raw_fd(&self) -> RawFd {
            self.fd.as_raw_fd()
        }
    }
}

#[cfg(loom)]
mod model {
    use std::io;
    use std::os::fd::{AsRawFd, RawFd};

    use loom::sync::{Arc, Condvar, Mutex};

    use crate::sync::lock;

    /// One bit and a condition variable: rings are remembered until a wait takes them.
    #[derive(Debug)]
    pub(crate) struct Doorbell {
        bell: Arc<Bell>,
    }

    #[derive(Debug)]
    struct Bell {
        rung: Mutex<bool>,
        changed: Condvar,
    }

    impl Doorbell {
        pub(crate) fn new() -> io::Result<Self> {
            let bell = Arc::new(Bell {
                rung: Mutex::new(false),
                changed: Condvar::new(),
            });
            Ok(Self { bell })
        }

        pub(crate) fn ring(&self) {
            *lock(&self.bell.rung) = true;
            self.bell.changed.notify_one();
        }

        pub(crate) fn listen(&self) -> Listener {
            Listener(Arc::clone(&self.bell))
        }
    }

    /// The waiting side.
    pub(crate) struct Listener(Arc<Bell>);

    impl Listener {
        pub(crate) fn wait(self) {
            let mut rung = lock(&self.0.rung);
            while !*rung {
                rung = self
                    .0
                    .changed
                    .wait(rung)
                    .expect("no thread of a model panics with the lock held");
            }
            *rung = false;
        }
    }

    impl AsRawFd for Doorbell {
        fn as_raw_fd(&self) -> RawFd {
            -1
        }
    }
}
