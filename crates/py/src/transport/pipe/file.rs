//! System calls on a pipe's file.
//!
//! They do not wait while the file is non-blocking, which it is made at the beginning. But the
//! setting belongs to the open file and not to the descriptor: whoever shares it, a child or the
//! shell that the terminal is from, may undo it. Then a call does wait, as it would in asyncio,
//! and so the interpreter is released for it.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use crate::ffi::released;
use crate::transport::Endpoint;
use crate::transport::sending::Sink;

/// Reads into `memory`; zero bytes are the end of the stream.
pub(super) fn read(endpoint: &Endpoint, memory: &mut [u8]) -> io::Result<usize> {
    let fd = endpoint.open_fd()?;
    let length = released(|| rustix::io::read(fd, &mut *memory))?;
    endpoint.counted.received(length);
    Ok(length)
}

/// A pipe as what bytes are handed to, which nobody may change meanwhile. A peer that is gone is
/// an error: Python ignores SIGPIPE.
pub(super) struct Pipe<'a>(BorrowedFd<'a>);

impl Pipe<'_> {
    pub(super) fn of(endpoint: &Endpoint) -> io::Result<Pipe<'_>> {
        Ok(Pipe(endpoint.open_fd()?))
    }
}

impl Sink for Pipe<'_> {
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(released(|| rustix::io::write(self.0, bytes))?)
    }

    fn send_pieces(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        Ok(released(|| rustix::io::writev(self.0, pieces))?)
    }
}
