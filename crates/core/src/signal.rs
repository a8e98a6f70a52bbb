//! From a signal handler to the loop.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

/// A pipe through which signal handlers tell a loop of signals, one byte each.
///
/// A handler may do next to nothing, but it may write to a pipe, which stays readable until the
/// loop has read it: a signal that arrives before the loop waits, or before it runs, is not lost.
/// Both ends are non-blocking; a handler that finds the pipe full (64 KiB of signals) drops its
/// byte.
#[derive(Debug)]
pub struct SignalPipe {
    reader: OwnedFd,
    writer: OwnedFd,
    /// Numbers that were read and not taken yet.
    arrived: RefCell<VecDeque<u8>>,
}

impl SignalPipe {
    /// Makes an empty pipe.
    ///
    /// # Errors
    ///
    /// What the kernel says when there is no file descriptor left.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK)?;
        Ok(Self {
            reader,
            writer,
            arrived: RefCell::default(),
        })
    }

    /// What a signal handler writes the signal's number to.
    #[must_use]
    pub fn write_fd(&self) -> RawFd {
        self.writer.as_raw_fd()
    }

    /// What is readable while there are signals in the pipe.
    #[must_use]
    pub fn read_fd(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    /// Takes the number of the signal that arrived first. `None` when there is none.
    pub fn take(&self) -> Option<u8> {
        let number = self.arrived.borrow_mut().pop_front();
        number.or_else(|| {
            self.read();
            self.arrived.borrow_mut().pop_front()
        })
    }

    /// Calls `visit` with the number of every signal that arrived, in order.
    pub fn drain(&self, mut visit: impl FnMut(u8)) {
        while let Some(number) = self.take() {
            visit(number);
        }
    }

    /// Whether numbers were read from the pipe and not taken, because taking was broken off.
    #[must_use]
    pub fn has_arrived(&self) -> bool {
        !self.arrived.borrow().is_empty()
    }

    fn read(&self) {
        let mut buffer = [0; 256];
        loop {
            match rustix::io::read(&self.reader, &mut buffer) {
                Ok(count) => break self.arrived.borrow_mut().extend(&buffer[..count]),
                Err(Errno::INTR) => {}
                // Empty: `EAGAIN` is the only other thing a pipe of ours can say.
                Err(error) => break debug_assert_eq!(error, Errno::AGAIN),
            }
        }
    }
}
