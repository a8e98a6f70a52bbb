//! System calls on a transport's socket.
//!
//! They never wait (`MSG_DONTWAIT`), whatever somebody has set the socket to, so the interpreter
//! is not released for them. A peer that is gone is an error and no SIGPIPE.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};

use super::StreamTransport;
use super::sending::{Offer, Sink, offer};

impl StreamTransport {
    /// Reads into `memory`; zero bytes are the end of the stream.
    #[inline]
    pub(super) fn receive(&self, memory: &mut [u8]) -> io::Result<usize> {
        let (_, length) = rustix::net::recv(self.open_fd()?, memory, RecvFlags::DONTWAIT)?;
        self.counted.received(length);
        Ok(length)
    }

    /// Offers the kernel what the buffer holds and, behind it, `rest`; as many pieces as fit in
    /// one call.
    #[inline]
    pub(super) fn offer(&self, rest: &[u8]) -> io::Result<Offer> {
        let offer = offer(&Socket(self.open_fd()?), &self.buffer.borrow(), rest)?;
        self.counted.sent(offer.taken);
        Ok(offer)
    }

    /// Tells the peer that nothing more will come.
    pub(super) fn shut_down_output(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.open_fd()?, Shutdown::Write)?)
    }
}

const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

/// A socket as what bytes are handed to.
struct Socket<'a>(BorrowedFd<'a>);

impl Sink for Socket<'_> {
    #[inline]
    fn send(&self, bytes: &[u8]) -> io::Result<usize> {
        Ok(rustix::net::send(self.0, bytes, SEND_FLAGS)?)
    }

    fn send_pieces(&self, pieces: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut no_control = SendAncillaryBuffer::default();
        Ok(rustix::net::sendmsg(
            self.0,
            pieces,
            &mut no_control,
            SEND_FLAGS,
        )?)
    }
}
