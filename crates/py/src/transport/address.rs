//! Addresses as the kernel and as Python know them.
//!
//! Here is only what can be said in one way: numbers, paths, and the tuples that `recvfrom()`
//! gives. Whatever else Python's `sendto()` understands (host names, "", "<broadcast>") or refuses
//! is left to that method itself.

use std::fmt::Write;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use rustix::net::{AddressFamily, SocketAddrAny, SocketAddrUnix};

use super::datagram::Family;
use crate::ffi::{Object, Outcome, none, text};

/// The longest path of a Unix socket, without the zero byte that ends it.
const LONGEST_UNIX_PATH: usize = 107;

/// The largest flow label of IPv6.
const LARGEST_FLOW: u32 = 0xf_ffff;

/// Where a datagram goes.
pub(super) enum Address {
    V4(SocketAddrV4),
    V6(SocketAddrV6),
    Unix(SocketAddrUnix),
}

/// The address of an Internet socket, which has a tuple in Python.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum InternetAddress {
    V4(SocketAddrV4),
    V6(SocketAddrV6),
}

impl From<InternetAddress> for Address {
    fn from(address: InternetAddress) -> Address {
        match address {
            InternetAddress::V4(address) => Address::V4(address),
            InternetAddress::V6(address) => Address::V6(address),
        }
    }
}

impl InternetAddress {
    /// The sender that `recvfrom()` has told of; `None` for one of another family.
    #[inline]
    pub(super) fn of_sender(sender: &SocketAddrAny) -> Option<InternetAddress> {
        match sender.address_family() {
            AddressFamily::INET => {
                let address = SocketAddrV4::try_from(sender.clone()).ok()?;
                Some(InternetAddress::V4(address))
            }
            AddressFamily::INET6 => {
                let address = SocketAddrV6::try_from(sender.clone()).ok()?;
                Some(InternetAddress::V6(address))
            }
            _ => None,
        }
    }

    /// The tuple by which Python knows the address: `(host, port)`, and for IPv6 flow and scope.
    pub(super) fn to_python(self) -> Outcome<Object> {
        let mut host = Host::new();
        match self {
            InternetAddress::V4(address) => {
                host.write(address.ip());
                let port = Object::from_i64(address.port().into())?;
                Object::tuple(&[&text(host.as_str())?, &port])
            }
            InternetAddress::V6(address) => {
                host.write_v6(address.ip());
                Object::tuple(&[
                    &text(host.as_str())?,
                    &Object::from_i64(address.port().into())?,
                    &Object::from_i64(address.flowinfo().into())?,
                    &Object::from_i64(address.scope_id().into())?,
                ])
            }
        }
    }

    /// A number that tells addresses apart mostly.
    #[inline]
    pub(super) fn hash(self) -> usize {
        let (host, port) = match self {
            InternetAddress::V4(address) => (address.ip().to_bits(), address.port()),
            InternetAddress::V6(address) => {
                let [.., third, second, first] = address.ip().segments();
                let low = u32::from(second) << 16 | u32::from(first);
                (low ^ u32::from(third), address.port())
            }
        };
        // Many ports of one host are mostly in a row, and so are many hosts of one network.
        host as usize ^ (host >> 8) as usize ^ usize::from(port)
    }
}

/// What `recvfrom()` gives as the address of a sender that is no Internet socket: the path of a
/// Unix socket as text, its abstract name as bytes, None for one without either.
pub(super) fn unix_to_python(sender: SocketAddrAny) -> Outcome<Object> {
    let Ok(sender) = SocketAddrUnix::try_from(sender) else {
        return Ok(none());
    };
    if let Some(name) = sender.abstract_name() {
        let mut bytes = vec![0];
        bytes.extend_from_slice(name);
        return Object::from_bytes(&bytes);
    }
    match sender.path_bytes() {
        Some(path) => Object::from_path(path),
        None => text(""),
    }
}

impl Address {
    /// Reads an address that a user has given for a socket of `family`; `None` when that is
    /// better left to Python.
    pub(super) fn from_python(family: Family, address: &Object) -> Option<Address> {
        match family {
            Family::Inet => {
                let [host, port] = address.tuple_items() else {
                    return None;
                };
                let host: Ipv4Addr = host.ascii()?.parse().ok()?;
                Some(Address::V4(SocketAddrV4::new(host, number(port)?)))
            }
            Family::Inet6 => {
                let [host, port, rest @ ..] = address.tuple_items() else {
                    return None;
                };
                let (flow, scope) = match rest {
                    [] => (0, 0),
                    [flow] => (number(flow)?, 0),
                    [flow, scope] => (number(flow)?, number(scope)?),
                    _ => return None,
                };
                if flow > LARGEST_FLOW {
                    return None;
                }
                let host: Ipv6Addr = host.ascii()?.parse().ok()?;
                let address = SocketAddrV6::new(host, number(port)?, flow, scope);
                Some(Address::V6(address))
            }
            Family::Unix => unix_from_python(address).map(Address::Unix),
        }
    }
}

fn unix_from_python(address: &Object) -> Option<SocketAddrUnix> {
    let path = match address.as_bytes() {
        Some(bytes) => bytes,
        // In every encoding of file names ASCII is ASCII.
        None => address.ascii()?.as_bytes(),
    };
    match path {
        [] => None,
        [0, name @ ..] if address.as_bytes().is_some() => {
            SocketAddrUnix::new_abstract_name(name).ok()
        }
        path if path.len() > LONGEST_UNIX_PATH || path.contains(&0) => None,
        path => SocketAddrUnix::new(path).ok(),
    }
}

/// A whole number that fits; anything else Python may judge.
fn number<N: TryFrom<i64>>(object: &Object) -> Option<N> {
    N::try_from(object.as_integer()?).ok()
}

/// A host's number in text, without an allocation.
struct Host {
    /// As long as the longest: eight groups of four digits, or six and an IPv4 address.
    text: [u8; 48],
    length: usize,
}

impl Host {
    fn new() -> Host {
        Host {
            text: [0; 48],
            length: 0,
        }
    }

    fn write(&mut self, address: &Ipv4Addr) {
        let written = write!(self, "{address}");
        debug_assert!(written.is_ok(), "there is room for every address");
    }

    /// As the C library writes it, which has an opinion of its own about `::1.2.3.4`.
    fn write_v6(&mut self, address: &Ipv6Addr) {
        let written = match address.segments() {
            [0, 0, 0, 0, 0, 0, high, _] if high != 0 => {
                let [.., a, b, c, d] = address.octets();
                write!(self, "::{a}.{b}.{c}.{d}")
            }
            _ => write!(self, "{address}"),
        };
        debug_assert!(written.is_ok(), "there is room for every address");
    }

    fn as_str(&self) -> &str {
        std::str::from_utf8(&self.text[..self.length]).unwrap_or_default()
    }
}

impl Write for Host {
    fn write_str(&mut self, part: &str) -> std::fmt::Result {
        let end = self.length + part.len();
        let room = self.text.get_mut(self.length..end).ok_or(std::fmt::Error)?;
        room.copy_from_slice(part.as_bytes());
        self.length = end;
        Ok(())
    }
}
