//! `ferrio._ferrio.AcceptedSocket`: an accepted connection of which nobody has asked the socket.
//!
//! A server's protocols hardly ever look at their socket object, which takes some 250 bytes and
//! as much time to make as the connection itself to accept. So a connection is a descriptor and
//! two addresses until somebody does; then [`This::to_socket`] hands the descriptor over.

use std::cell::Cell;
use std::ffi::{CStr, c_int};
use std::io;
use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrV4, SocketAddrV6, SocketFlags};

use super::address::InternetAddress;
use crate::ffi::{
    Arguments, BeginsAsSocket, Method, Native, Object, Outcome, Own, Raised, SocketHead, This,
    TypeBuilder, TypeObject, Visitor, methods, none, not_implemented, standard_socket, text,
};
use crate::imports::imports;

/// An accepted connection over IPv4 or IPv6. It owns its descriptor.
#[repr(C)]
pub(crate) struct AcceptedSocket {
    head: SocketHead,
    /// This end's address.
    own_name: Name,
    /// The other end's.
    peer_name: Name,
}

/// An address in as little memory as the usual one takes.
enum Name {
    /// The kernel could not say; the peer may have gone already.
    Unknown,
    V4(SocketAddrV4),
    V6(Box<SocketAddrV6>),
}

impl Name {
    fn of(address: Option<InternetAddress>) -> Name {
        match address {
            None => Name::Unknown,
            Some(InternetAddress::V4(address)) => Name::V4(address),
            Some(InternetAddress::V6(address)) => Name::V6(Box::new(address)),
        }
    }

    fn to_python(&self) -> Outcome<Object> {
        match self {
            Name::Unknown => Ok(none()),
            Name::V4(address) => InternetAddress::V4(*address).to_python(),
            Name::V6(address) => InternetAddress::V6(**address).to_python(),
        }
    }
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `AcceptedSocket` in `build`.
unsafe impl Native for AcceptedSocket {
    const NAME: &'static CStr = c"ferrio._ferrio.AcceptedSocket";

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<AcceptedSocket> {
        Err(Raised::type_error("accepted sockets come from a listener"))
    }

    fn visit(&self, _visitor: Visitor<'_>) -> Result<(), c_int> {
        Ok(())
    }

    fn clear(&self) {}
}

// SAFETY: `AcceptedSocket` is `repr(C)` and begins with a `SocketHead`.
unsafe impl BeginsAsSocket for AcceptedSocket {}

impl Drop for AcceptedSocket {
    fn drop(&mut self) {
        self.close();
    }
}

impl AcceptedSocket {
    /// Closes the descriptor, if it is still this object's.
    fn close(&self) {
        let fd = self.head.fd.replace(-1);
        if fd >= 0 {
            // SAFETY: the descriptor that `accept` has given to this object alone; nobody has it
            // from now on.
            drop(unsafe { OwnedFd::from_raw_fd(fd) });
        }
    }
}

impl This<'_, AcceptedSocket> {
    /// What `get_extra_info()` tells by this name without a socket object; `None` if it has to be
    /// made for that.
    pub(super) fn extra_info(self, name: &Object, default: &Object) -> Outcome<Option<Object>> {
        let names = &imports().names;
        if name.equals(&names.peername)? {
            return self.peer_name.to_python().map(Some);
        }
        if name.equals(&names.sockname)? {
            return self.own_name.to_python().map(Some);
        }
        if name.equals(&names.socket)? {
            return Ok(None);
        }
        Ok(Some(default.clone()))
    }

    /// All that `get_extra_info()` knows of the connection, whose socket object this is.
    pub(super) fn describe(self, socket: &Object) -> Outcome<Object> {
        let names = &imports().names;
        let shown = crate::imports::module(c"asyncio.trsock")?
            .get_attr(&text("TransportSocket")?)?
            .call1(socket)?;
        let dict = Object::dict()?;
        dict.dict_set(&names.socket, &shown)?;
        dict.dict_set(&names.sockname, &self.own_name.to_python()?)?;
        dict.dict_set(&names.peername, &self.peer_name.to_python()?)?;
        Ok(dict)
    }

    /// The `socket.socket` that owns the descriptor from now on; one that is closed if this is.
    ///
    /// # Errors
    /// What making the object raises; the descriptor then stays where it was.
    pub(super) fn to_socket(self) -> Outcome<Object> {
        let family = Object::from_i64(self.head.family.into())?;
        let make = crate::imports::module(c"ferrio.transports")?.get_attr(&text("make_socket")?)?;
        let fd = Object::from_i64(self.head.fd.get().into())?;
        let socket = make.call(&[&family, &fd], None)?;
        self.head.fd.set(-1);
        Ok(socket)
    }
}

/// `_accept(listener)`: an [`AcceptedSocket`]; None when no connection waits; NotImplemented when
/// the listener's own `accept()` has to be called.
///
/// # Errors
/// OSError, as that method's.
fn accept(arguments: Arguments<'_>) -> Outcome<Object> {
    let [listener] = arguments.positional() else {
        return Err(Raised::type_error("a listening socket is needed"));
    };
    let Some(head) = standard_socket(listener).filter(|head| is_internet(head.family)) else {
        return Ok(not_implemented());
    };
    let family = head.family;
    // SAFETY: the socket object, which the caller keeps, says that the open descriptor is its.
    let listening = unsafe { BorrowedFd::borrow_raw(head.fd.get()) };
    match accept_waiting(listening) {
        Ok((connection, peer)) => {
            let own_name = rustix::net::getsockname(&connection).ok();
            Own::new(AcceptedSocket {
                own_name: Name::of(own_name.as_ref().and_then(InternetAddress::of_sender)),
                peer_name: Name::of(peer.as_ref().and_then(InternetAddress::of_sender)),
                head: SocketHead {
                    fd: Cell::new(connection.into_raw_fd()),
                    family,
                },
            })
            .map(Own::into_object)
        }
        Err(Errno::AGAIN | Errno::INTR) => Ok(none()),
        Err(error) => Err(io::Error::from(error).into()),
    }
}

/// Accepts a connection, non-blocking and without Nagle's delays.
fn accept_waiting(listener: BorrowedFd<'_>) -> Result<(OwnedFd, Option<SocketAddrAny>), Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let (connection, peer) = rustix::net::acceptfrom_with(listener, flags)?;
    // What is no TCP has no such delays, and says so.
    let _ = rustix::net::sockopt::set_tcp_nodelay(&connection, true);
    Ok((connection, peer))
}

fn is_internet(family: c_int) -> bool {
    [AddressFamily::INET, AddressFamily::INET6]
        .into_iter()
        .any(|known| c_int::from(known.as_raw()) == family)
}

/// Builds the type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    TypeBuilder::<AcceptedSocket>::new(
        c"An accepted connection, before anybody has asked for its socket object.",
    )
    .only_from_rust()
    .methods(methods(vec![
        Method::no_arguments(
            c"fileno",
            |this: This<'_, AcceptedSocket>| Object::from_i64(this.head.fd.get().into()),
            c"Return the descriptor; -1 once it is closed or a socket object's.",
        ),
        Method::no_arguments(
            c"close",
            |this: This<'_, AcceptedSocket>| {
                this.close();
                Ok(none())
            },
            c"Close the connection, unless a socket object has it.",
        ),
    ]))
    .build(module, None)
}

/// The functions of the module.
pub(crate) fn functions() -> Vec<Method> {
    vec![Method::function(
        c"_accept",
        accept,
        c"Accept a connection on a listening socket; None if none waits, NotImplemented if the\n\
        socket's own accept() has to be called.",
    )]
}
