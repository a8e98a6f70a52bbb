//! From the protocol to the kernel.

use std::ffi::c_int;

use super::DatagramTransport;
use super::receiving::is_raised_not_now;
use super::socket::Calls;
use crate::error::os_error;
use crate::ffi::{Context, Object, Outcome, Raised, This, Visitor, audit, none, sys, text};
use crate::handle::only_ordinary;
use crate::transport::Transport;
use crate::transport::address::Address;
use crate::transport::flow_control::not_bytes_like;
use crate::transport::piece::{Data, Piece};
use crate::transport::sending::is_not_now;

/// What a waiting datagram counts beside its bytes. Without it any number of empty ones could
/// wait; before 3.13, where asyncio sends none, nothing is counted for the header of UDP.
const HEADER_SIZE: usize = if cfg!(Py_3_13) { 8 } else { 0 };

/// A datagram that waits to be sent.
pub(super) struct Datagram {
    data: Piece,
    route: Route,
}

impl Datagram {
    /// For `tp_traverse`.
    pub(super) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.data.visit(visitor)?;
        match &self.route {
            Route::Peer | Route::Send => Ok(()),
            Route::Address { given, .. } | Route::SendTo(given) => visitor.object(given),
        }
    }
}

/// How a datagram finds its way.
enum Route {
    /// To whom the socket is connected.
    Peer,
    /// To an address, which was `given` as this Python object.
    Address { address: Address, given: Object },
    /// By the socket object's method `send()`.
    Send,
    /// By the socket object's method `sendto()`, which knows more addresses, and how to complain
    /// of one.
    SendTo(Object),
}

/// What became of a datagram.
enum Attempt {
    Sent,
    /// The kernel has no room.
    NotNow,
    /// An OSError, which says nothing of later datagrams.
    Refused(Object),
    /// Anything else: a mistake.
    Broken(Raised),
}

impl This<'_, DatagramTransport> {
    /// `sendto(data, addr)`.
    #[inline]
    pub(super) fn send_to(self, data: &Object, given: Option<&Object>) -> Outcome<()> {
        if !data.is_writable_data() {
            return Err(not_bytes_like(data, "bytes-like object"));
        }
        if cfg!(not(Py_3_13)) && !data.is_true()? {
            return Ok(());
        }
        let only = self.address.get();
        if let Some(only) = &only {
            if let Some(given) = given
                && !given.equals(only)?
            {
                return Err(wrong_address(only));
            }
            if self.is_lost() {
                return self.count_lost_write();
            }
        }
        if !self.socket.is_some() {
            return Err(after_the_end());
        }
        let route = self.route(only.as_ref().or(given));
        let lent = match Data::of(data) {
            Ok(lent) => lent,
            Err(raised) => return self.send_failed(Attempt::Broken(raised)),
        };
        if !self.has_unsent() {
            match self.attempt(lent.as_slice(), Some(data), &route) {
                Attempt::Sent => return Ok(()),
                Attempt::NotNow => self.wait_for_room()?,
                failed => return self.send_failed(failed),
            }
        }
        let (piece, size) = (lent.keep(0), lent.as_slice().len() + HEADER_SIZE);
        self.buffer
            .borrow_mut()
            .push(Datagram { data: piece, route }, size);
        self.pause_if_full()
    }

    #[inline]
    fn route(self, given: Option<&Object>) -> Route {
        match (self.calls.get(), self.connected.get()) {
            (Calls::Native(_), true) => Route::Peer,
            (Calls::Python, true) => Route::Send,
            (Calls::Native(family), false) => {
                let address = given.and_then(|given| {
                    let known = self.known_addresses.borrow().last(given);
                    known.or_else(|| Address::from_python(family, given))
                });
                match (address, given) {
                    (Some(address), Some(given)) => Route::Address {
                        address,
                        given: given.clone(),
                    },
                    (_, given) => Route::SendTo(given.cloned().unwrap_or_else(none)),
                }
            }
            (Calls::Python, false) => Route::SendTo(given.cloned().unwrap_or_else(none)),
        }
    }

    /// Offers a datagram to the kernel; `data` is the object that has the bytes, if there is one.
    #[inline]
    fn attempt(self, bytes: &[u8], data: Option<&Object>, route: &Route) -> Attempt {
        let address = match route {
            Route::Peer => None,
            Route::Address { address, given } => {
                if let Err(raised) = self.audit_sendto(given) {
                    return Attempt::Broken(raised);
                }
                Some(address)
            }
            Route::Send | Route::SendTo(_) => return self.attempt_by_method(bytes, data, route),
        };
        let transmitted = self.transmit(bytes, address);
        self.note_io();
        match transmitted {
            Ok(()) => Attempt::Sent,
            Err(error) if is_not_now(&error) => Attempt::NotNow,
            Err(error) => match os_error(&error) {
                Ok(exception) => Attempt::Refused(exception),
                Err(raised) => Attempt::Broken(raised),
            },
        }
    }

    /// Tells audit hooks what `socket.sendto()` would.
    #[inline]
    fn audit_sendto(self, address: &Object) -> Outcome<()> {
        let socket = self.socket.get().unwrap_or_else(none);
        audit(c"socket.sendto", &socket, address)
    }

    #[cold]
    fn attempt_by_method(self, bytes: &[u8], data: Option<&Object>, route: &Route) -> Attempt {
        let Some(socket) = self.socket.get() else {
            return Attempt::Broken(after_the_end());
        };
        let data = match data {
            Some(data) => Ok(data.clone()),
            None => Object::from_bytes(bytes),
        };
        let called = data.and_then(|data| match route {
            Route::SendTo(given) => socket.call_method(&text("sendto")?, &[&data, given]),
            _ => socket.call_method(&text("send")?, &[&data]),
        });
        self.note_io();
        match called {
            Ok(_) => {
                self.counted.sent(bytes.len());
                Attempt::Sent
            }
            Err(raised) if is_raised_not_now(&raised) => {
                raised.discard(); // The loop will tell.
                Attempt::NotNow
            }
            // SAFETY: a built-in class.
            Err(raised) if raised.matches(unsafe { sys::PyExc_OSError }) => {
                Attempt::Refused(raised.take())
            }
            Err(raised) => Attempt::Broken(raised),
        }
    }

    #[cold]
    fn send_failed(self, attempt: Attempt) -> Outcome<()> {
        match attempt {
            Attempt::Sent | Attempt::NotNow => Ok(()),
            Attempt::Refused(exception) => match self.protocol.get() {
                Some(protocol) => self.tell_error(&protocol, &exception),
                None => Ok(()),
            },
            Attempt::Broken(raised) => {
                let exception = only_ordinary(raised)?;
                self.fatal_error(&exception, "Fatal write error on datagram transport")
            }
        }
    }

    /// Has the loop tell when the kernel has room again.
    #[cold]
    fn wait_for_room(self) -> Outcome<()> {
        self.write_context.set(Context::copy_current()?);
        self.awaits_room.set(true);
        let watched = self.watch_what_is_wanted();
        if watched.is_err() {
            self.awaits_room.set(false);
        }
        watched
    }

    /// The kernel has room again.
    pub(super) fn send_waiting(self) -> Outcome<()> {
        if self.is_lost() {
            return Ok(());
        }
        loop {
            let first = self.buffer.borrow_mut().pop();
            let Some((datagram, size)) = first else {
                break;
            };
            match self.attempt(datagram.data.as_ref(), None, &datagram.route) {
                Attempt::Sent => {}
                Attempt::NotNow => {
                    self.buffer.borrow_mut().put_back(datagram, size);
                    break;
                }
                // The others go on when the loop tells again, which it does at once.
                failed => return self.send_failed(failed),
            }
        }
        self.resume_if_drained()?;
        // The protocol may have sent more at once.
        if self.has_unsent() || self.is_lost() {
            return Ok(());
        }
        self.awaits_room.set(false);
        self.watch_what_is_wanted()?;
        if self.closing.get() {
            self.lost.set(1);
            return self.connection_lost(&none());
        }
        Ok(())
    }
}

#[cold]
fn wrong_address(only: &Object) -> Raised {
    match only.to_text() {
        Ok(only) => Raised::value_error(&format!("Invalid address: must be None or {only}")),
        Err(raised) => raised,
    }
}

/// asyncio has neither a socket nor a loop then, and no words of its own for it: this is what
/// comes of it.
#[cold]
fn after_the_end() -> Raised {
    Raised::attribute_error("'NoneType' object has no attribute 'call_exception_handler'")
}
