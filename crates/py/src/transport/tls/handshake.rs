//! From the transport's `connection_made()` to the application's.

use ferrio_inspect::counters::TransportKind;

use super::engine::{Progress, is_tls_error};
use super::{AppState, State, StreamTransport, TlsProtocol};
use crate::ffi::{Object, Outcome, Raised, This, none, sys, text};
use crate::imports::{imports, tls_imports};

impl This<'_, TlsProtocol> {
    /// `connection_made(transport)`: the handshake begins.
    pub(super) fn connection_made(self, transport: &Object) -> Outcome<()> {
        self.plain_transport.set(writes_by_itself(transport)?);
        self.transport.set(transport.clone());
        if let Some(event_loop) = self.event_loop.get() {
            self.counted.open(&event_loop.record, TransportKind::Tls);
        }
        self.log_debug("%r starts SSL handshake", &[], None)?;
        if self.is_debug() {
            self.handshake_started.set(self.now()?);
        }
        self.go(State::Handshake)?;
        let timer = self.call_later(&self.value().handshake_timeout, "_check_handshake_timeout")?;
        self.handshake_timer.set(timer);
        self.do_handshake()
    }

    fn now(self) -> Outcome<f64> {
        self.owner()?
            .call_method(&imports().names.time, &[])?
            .to_f64()
    }

    /// Goes on with the handshake.
    pub(super) fn do_handshake(self) -> Outcome<()> {
        match self.engine_handshake() {
            Ok(Progress::Again) => self.process_outgoing(),
            Ok(Progress::Done(())) => self.handshake_done(),
            Err(raised) if is_tls_error(&raised)? => self.handshake_failed(&raised.take()),
            Err(raised) => Err(raised),
        }
    }

    fn handshake_done(self) -> Outcome<()> {
        self.stop_handshake_timer()?;
        let certificate = match self.handshake_result() {
            Ok(certificate) => certificate,
            // SAFETY: a built-in class.
            Err(raised) if raised.matches(unsafe { sys::PyExc_Exception }) => {
                return self.handshake_failed(&raised.take());
            }
            Err(raised) => return Err(raised),
        };
        if self.is_debug() {
            let took = Object::from_f64((self.now()? - self.handshake_started.get()) * 1e3)?;
            self.log_debug("%r: SSL handshake took %.1f ms", &[&took], None)?;
        }
        self.describe_connection(&certificate)?;
        if self.app_state.get() == AppState::Initial {
            self.app_state.set(AppState::Made);
            self.tell_connection_made()?;
        }
        self.wake_waiter(&none())?;
        self.do_read()
    }

    /// The peer's certificate, when the connection may be used.
    fn handshake_result(self) -> Outcome<Object> {
        self.go(State::Wrapped)?;
        self.ssl_object
            .get()
            .unwrap_or_else(none)
            .call_method(&text("getpeercert")?, &[])
    }

    /// What `get_extra_info()` knows from now on.
    fn describe_connection(self, certificate: &Object) -> Outcome<()> {
        let ssl_object = self.ssl_object.get().unwrap_or_else(none);
        let cipher = ssl_object.call_method(&text("cipher")?, &[])?;
        let compression = ssl_object.call_method(&text("compression")?, &[])?;
        let Some(extra) = self.extra.get() else {
            return Ok(());
        };
        extra.dict_set(&text("peercert")?, certificate)?;
        extra.dict_set(&text("cipher")?, &cipher)?;
        extra.dict_set(&text("compression")?, &compression)?;
        extra.dict_set(&text("ssl_object")?, &ssl_object)
    }

    fn tell_connection_made(self) -> Outcome<()> {
        let (Some(protocol), Some(transport)) = (self.app_protocol.get(), self.app_transport.get())
        else {
            return Ok(());
        };
        protocol
            .call_method(&imports().names.connection_made, &[&transport])
            .map(drop)
    }

    /// The handshake has come to nothing.
    pub(super) fn handshake_failed(self, exception: &Object) -> Outcome<()> {
        self.stop_handshake_timer()?;
        self.go(State::Unwrapped)?;
        let certificate_error = tls_imports()?.certificate_error.as_ptr();
        let message = if exception.is_instance(certificate_error)? {
            "SSL handshake failed on verifying the certificate"
        } else {
            "SSL handshake failed"
        };
        self.fatal_error(exception, message)?;
        self.wake_waiter(exception)
    }

    /// The end of the stream in the middle of a handshake.
    pub(super) fn handshake_cut_off(self) -> Outcome<()> {
        let class =
            crate::imports::module(c"builtins")?.get_attr(&text("ConnectionResetError")?)?;
        self.handshake_failed(&class.call0()?)
    }

    /// The timer: a peer that does not go on is given up.
    pub(super) fn check_handshake_timeout(self) -> Outcome<()> {
        if self.state.get() != State::Handshake {
            return Ok(());
        }
        let seconds = self
            .handshake_timeout
            .get()
            .unwrap_or_else(none)
            .to_text()?;
        let class =
            crate::imports::module(c"builtins")?.get_attr(&text("ConnectionAbortedError")?)?;
        let message = format!(
            "SSL handshake is taking longer than {seconds} seconds: aborting the connection"
        );
        let exception = Raised::new(&class, &message).take();
        self.fatal_error(&exception, "Fatal error on transport")
    }

    pub(super) fn stop_handshake_timer(self) -> Outcome<()> {
        stop_timer(self.handshake_timer.take())
    }

    /// Tells whoever waits for the handshake; None is success.
    pub(super) fn wake_waiter(self, exception: &Object) -> Outcome<()> {
        let Some(waiter) = self.waiter.take() else {
            return Ok(());
        };
        if waiter.call_method(&text("cancelled")?, &[])?.is_true()? {
            return Ok(());
        }
        let names = &imports().names;
        match exception.some() {
            Some(exception) => waiter.call_method(&names.set_exception, &[exception]),
            None => waiter.call_method(&names.set_result, &[&none()]),
        }
        .map(drop)
    }
}

/// Cancels a timer's handle.
pub(super) fn stop_timer(timer: Option<Object>) -> Outcome<()> {
    match timer {
        Some(timer) => timer.call_method(&imports().names.cancel, &[]).map(drop),
        None => Ok(()),
    }
}

/// Whether a transport is ours and its `write` is, too: then it need not be looked up for each
/// record.
pub(crate) fn writes_by_itself(transport: &Object) -> Outcome<bool> {
    if This::<StreamTransport>::from_object(transport).is_none() {
        return Ok(false);
    }
    let write = transport.get_attr(&imports().names.write)?;
    Ok(write.is_builtin_method_of(transport))
}
