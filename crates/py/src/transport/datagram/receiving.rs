//! From the kernel to the protocol.

use std::io;

use rustix::net::AddressFamily;

use super::DatagramTransport;
use super::known_addresses::KnownAddresses;
use super::socket::Calls;
use crate::error::os_error;
use crate::ffi::{Object, Outcome, Raised, This, none, sys, text};
use crate::handle::only_ordinary;
use crate::imports::imports;
use crate::transport::address::{InternetAddress, unix_to_python};
use crate::transport::gathering::RECEIVE_SIZE;
use crate::transport::sending::is_not_now;

/// How many datagrams are taken at once: as asyncio takes one, a socket on which very many arrive
/// must not keep the others waiting for long.
const MOST_AT_ONCE: usize = 16;

/// The most wake-ups for which nobody looks for a second datagram.
const LONGEST_PATIENCE: u8 = 63;

/// Guesses whether there is more than one datagram behind a wake-up.
///
/// Where datagrams come in bursts it saves a turn of the loop for each to take several at once;
/// where they come one by one, to look for a second one is a system call for nothing. So after a
/// vain look there is none for a while, which is twice as long each time.
#[derive(Clone, Copy, Default)]
pub(super) struct Bursts {
    /// For how many wake-ups there will be no look for a second datagram.
    rests: u8,
    /// How many that were last time.
    patience: u8,
}

impl Bursts {
    /// How many datagrams may be taken now.
    fn allowance(&mut self) -> usize {
        if self.rests == 0 {
            return MOST_AT_ONCE;
        }
        self.rests -= 1;
        1
    }

    /// There was a second datagram, or none.
    fn looked(&mut self, found: bool) {
        self.patience = if found {
            0
        } else {
            (self.patience * 2 + 1).min(LONGEST_PATIENCE)
        };
        self.rests = self.patience;
    }
}

/// What an attempt to receive came to.
enum Received {
    Datagram {
        data: Object,
        sender: Object,
    },
    Nothing,
    /// An OSError, which says nothing of later datagrams.
    Failed(Object),
}

impl This<'_, DatagramTransport> {
    /// Something has arrived: gives the protocol a few datagrams, or an error.
    #[inline]
    pub(super) fn receive_available(self) -> Outcome<()> {
        let mut bursts = self.bursts.get();
        let allowance = bursts.allowance();
        self.bursts.set(bursts);
        for count in 0..allowance {
            let Some(protocol) = self.protocol.get() else {
                return Ok(());
            };
            let received = match self.receive_one() {
                Ok(received) => received,
                Err(raised) => {
                    let exception = only_ordinary(raised)?;
                    return self.fatal_error(&exception, "Fatal read error on datagram transport");
                }
            };
            match received {
                Received::Datagram { data, sender } => {
                    let method = &imports().names.datagram_received;
                    protocol.call_method(method, &[&data, &sender])?;
                }
                Received::Failed(exception) => return self.tell_error(&protocol, &exception),
                Received::Nothing => {
                    if count <= 1 && allowance > 1 {
                        bursts.looked(false);
                        self.bursts.set(bursts);
                    }
                    return Ok(());
                }
            }
            if count == 1 {
                bursts.looked(true);
                self.bursts.set(bursts);
            }
            if !self.may_take_another()? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Between two datagrams as between two callbacks: sends what streams have gathered for long
    /// enough, and says whether the callback has left everything as it was. In debug mode each
    /// datagram has a turn of its own, so that a slow callback is told of as such.
    #[inline]
    fn may_take_another(self) -> Outcome<bool> {
        let Some(event_loop) = self.event_loop.get() else {
            return Ok(false);
        };
        event_loop.this().flush_overdue_writes()?;
        Ok(self.reads.get() && !event_loop.is_debug() && !event_loop.is_stopping())
    }

    /// `protocol.error_received(exception)`.
    pub(super) fn tell_error(self, protocol: &Object, exception: &Object) -> Outcome<()> {
        protocol
            .call_method(&text("error_received")?, &[exception])
            .map(drop)
    }

    /// # Errors
    /// Everything but OSError.
    #[inline]
    fn receive_one(self) -> Outcome<Received> {
        match self.calls.get() {
            Calls::Native(_) => self.receive_natively(),
            Calls::Python => self.receive_by_method(),
        }
    }

    /// The kernel writes into the loop's one buffer, as for streams.
    #[inline]
    fn receive_natively(self) -> Outcome<Received> {
        let event_loop = self.owner()?;
        let mut buffer = event_loop.gathering.take_receive_buffer();
        let memory = buffer.as_mut_slice();
        let received = match self.receive(memory) {
            Ok((length, sender)) => {
                Object::from_bytes(&memory[..length]).map(|data| Ok((data, sender)))
            }
            Err(error) => Ok(Err(error)),
        };
        event_loop.gathering.put_receive_buffer(buffer);
        match received? {
            Ok((data, sender)) => {
                let sender = match sender {
                    None => none(),
                    Some(sender) => match InternetAddress::of_sender(&sender) {
                        Some(address) => self.name_sender(address)?,
                        None if sender.address_family() == AddressFamily::UNIX => {
                            unix_to_python(sender)?
                        }
                        None => none(),
                    },
                };
                Ok(Received::Datagram { data, sender })
            }
            Err(error) => receive_failed(&error),
        }
    }

    #[inline]
    fn name_sender(self, address: InternetAddress) -> Outcome<Object> {
        let known = self.known_addresses.borrow_mut().find(address);
        if let Some(tuple) = known {
            return Ok(tuple);
        }
        let tuple = KnownAddresses::introduce(address)?;
        let replaced = self
            .known_addresses
            .borrow_mut()
            .remember(address, tuple.clone());
        drop(replaced);
        Ok(tuple)
    }

    /// `socket.recvfrom()`.
    #[cold]
    fn receive_by_method(self) -> Outcome<Received> {
        let Some(socket) = self.socket.get() else {
            return Ok(Received::Nothing);
        };
        let size = Object::from_i64(i64::try_from(RECEIVE_SIZE).unwrap_or(i64::MAX))?;
        let pair = match socket.call_method(&text("recvfrom")?, &[&size]) {
            Ok(pair) => pair,
            Err(raised) if is_raised_not_now(&raised) => {
                raised.discard(); // The loop will tell.
                return Ok(Received::Nothing);
            }
            // SAFETY: a built-in class.
            Err(raised) if raised.matches(unsafe { sys::PyExc_OSError }) => {
                return Ok(Received::Failed(raised.take()));
            }
            Err(raised) => return Err(raised),
        };
        match pair.tuple_items() {
            [data, sender] => Ok(Received::Datagram {
                data: data.clone(),
                sender: sender.clone(),
            }),
            _ => Err(Raised::type_error("recvfrom() should return a pair")),
        }
    }
}

#[cold]
fn receive_failed(error: &io::Error) -> Outcome<Received> {
    if is_not_now(error) {
        return Ok(Received::Nothing);
    }
    os_error(error).map(Received::Failed)
}

/// Whether an exception says only that now is not the time.
pub(super) fn is_raised_not_now(raised: &Raised) -> bool {
    // SAFETY: built-in classes.
    unsafe {
        raised.matches(sys::PyExc_BlockingIOError) || raised.matches(sys::PyExc_InterruptedError)
    }
}
