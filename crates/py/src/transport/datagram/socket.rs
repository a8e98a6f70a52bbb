//! System calls on a datagram socket.
//!
//! They never wait (`MSG_DONTWAIT`), whatever somebody has set the socket to, so the interpreter
//! is not released for them.

use std::io;

use rustix::net::sockopt::socket_domain;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketAddrAny};

use super::DatagramTransport;
use crate::ffi::{Object, Outcome, text};
use crate::transport::address::Address;

/// Who makes the system calls.
#[derive(Clone, Copy)]
pub(super) enum Calls {
    /// We do: the socket is one of Python's own, of a family whose addresses we know.
    Native(Family),
    /// The socket object's methods: another family, or a class with methods of its own.
    Python,
}

/// A family whose addresses we know.
#[derive(Clone, Copy)]
pub(in crate::transport) enum Family {
    Inet,
    Inet6,
    Unix,
}

const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

impl DatagramTransport {
    /// Decides who makes the system calls on `socket`, which was just taken over.
    pub(super) fn choose_calls(&self, socket: &Object) -> Outcome<Calls> {
        if !has_the_usual_methods(socket)? {
            return Ok(Calls::Python);
        }
        let domain = self.open_fd().and_then(|fd| Ok(socket_domain(fd)?)).ok();
        Ok(match domain {
            Some(AddressFamily::INET) => Calls::Native(Family::Inet),
            Some(AddressFamily::INET6) => Calls::Native(Family::Inet6),
            Some(AddressFamily::UNIX) => Calls::Native(Family::Unix),
            // A closed socket too: its methods have the words for that.
            _ => Calls::Python,
        })
    }

    /// Receives a datagram into `memory`: its length and, if there is one, the sender's address.
    #[inline]
    pub(super) fn receive(&self, memory: &mut [u8]) -> io::Result<(usize, Option<SocketAddrAny>)> {
        let (_, length, sender) =
            rustix::net::recvfrom(self.open_fd()?, &mut *memory, RecvFlags::DONTWAIT)?;
        let length = length.min(memory.len());
        self.counted.received(length);
        Ok((length, sender))
    }

    /// Sends a datagram; without an address to whom the socket is connected to.
    #[inline]
    pub(super) fn transmit(&self, bytes: &[u8], address: Option<&Address>) -> io::Result<()> {
        let fd = self.open_fd()?;
        let taken = match address {
            None => rustix::net::send(fd, bytes, SEND_FLAGS)?,
            Some(Address::V4(address)) => rustix::net::sendto(fd, bytes, SEND_FLAGS, address)?,
            Some(Address::V6(address)) => rustix::net::sendto(fd, bytes, SEND_FLAGS, address)?,
            Some(Address::Unix(address)) => rustix::net::sendto(fd, bytes, SEND_FLAGS, address)?,
        };
        self.counted.sent(taken);
        Ok(())
    }
}

/// Whether the socket's methods are those of Python's own sockets.
fn has_the_usual_methods(socket: &Object) -> Outcome<bool> {
    let (class, usual) = (
        socket.type_object(),
        crate::imports::module(c"_socket")?.get_attr(&text("socket")?)?,
    );
    for name in ["recvfrom", "send", "sendto"] {
        let name = text(name)?;
        let method = class.find_attr(&name)?;
        if !method.is_some_and(|method| usual.get_attr(&name).is_ok_and(|its| its.is(&method))) {
            return Ok(false);
        }
    }
    Ok(true)
}
