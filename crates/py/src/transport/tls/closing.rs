//! The closing handshake, and how a connection ends.

use super::engine::{Progress, is_tls_error};
use super::handshake::stop_timer;
use super::transport::TlsTransport;
use super::{AppState, State, TlsProtocol, logger};
use crate::ffi::{Object, Outcome, Raised, This, none, sys, text};
use crate::handle::only_ordinary;
use crate::imports::imports;

impl This<'_, TlsProtocol> {
    /// `close()` of the application's transport, and the answer to the peer's close_notify.
    pub(super) fn start_shutdown(self) -> Outcome<()> {
        match self.state.get() {
            State::Flushing | State::Shutdown | State::Unwrapped => return Ok(()),
            State::Handshake | State::Wrapped => {}
        }
        self.mark_transport_closed();
        if self.state.get() == State::Handshake {
            return self.abort(&none());
        }
        self.go(State::Flushing)?;
        self.start_shutdown_timer()?;
        self.do_flush()
    }

    fn start_shutdown_timer(self) -> Outcome<()> {
        let timer = self.call_later(&self.value().shutdown_timeout, "_check_shutdown_timeout")?;
        self.shutdown_timer.set(timer);
        Ok(())
    }

    fn mark_transport_closed(self) {
        if let Some(transport) = self.app_transport.get()
            && let Some(transport) = This::<TlsTransport>::from_object(&transport)
        {
            transport.mark_closed();
        }
    }

    /// Delivers what has arrived, then says goodbye.
    pub(super) fn do_flush(self) -> Outcome<()> {
        self.do_read()?;
        if self.state.get() != State::Flushing {
            // A callback has ended the connection meanwhile.
            return Ok(());
        }
        self.go(State::Shutdown)?;
        self.do_shutdown()
    }

    /// Goes on with the closing handshake.
    pub(super) fn do_shutdown(self) -> Outcome<()> {
        if self.eof_received.get() {
            return self.shutdown_finished();
        }
        match self.engine_unwrap() {
            Ok(Progress::Again) => self.process_outgoing(),
            Ok(Progress::Done(())) => self.shutdown_finished(),
            Err(raised) if is_tls_error(&raised)? => {
                let exception = raised.take();
                self.stop_shutdown_timer()?;
                self.fatal_error(&exception, "Fatal error on transport")
            }
            Err(raised) => Err(raised),
        }
    }

    /// The goodbyes are said; the transport below closes when it has sent everything.
    ///
    /// A peer that does not read could delay that for ever, so the timer runs until the connection
    /// is lost; asyncio's does in its newest versions.
    fn shutdown_finished(self) -> Outcome<()> {
        self.process_outgoing()?;
        self.tell_eof()?;
        let Some(transport) = self.transport.get() else {
            return self.stop_shutdown_timer();
        };
        if !self.shutdown_timer.is_some() {
            self.start_shutdown_timer()?;
        }
        let names = &imports().names;
        let close = transport.get_attr(&names.close)?;
        self.owner()?
            .call_method(&names.call_soon, &[&close])
            .map(drop)
    }

    fn stop_shutdown_timer(self) -> Outcome<()> {
        stop_timer(self.shutdown_timer.take())
    }

    /// The timer: a peer that does not say goodbye is left without.
    pub(super) fn check_shutdown_timeout(self) -> Outcome<()> {
        if !matches!(self.state.get(), State::Flushing | State::Shutdown) {
            return Ok(());
        }
        // SAFETY: a built-in class.
        let timeout = unsafe { Raised::builtin(sys::PyExc_TimeoutError, "SSL shutdown timed out") };
        self.call_transport(&imports().names.force_close, &[&timeout.take()])
    }

    /// Tells the application that nothing more comes, once.
    pub(super) fn tell_eof(self) -> Outcome<()> {
        if self.app_state.get() != AppState::Made {
            return Ok(());
        }
        self.app_state.set(AppState::Eof);
        let Some(protocol) = self.app_protocol.get() else {
            return Ok(());
        };
        let told = protocol
            .call_method(&imports().names.eof_received, &[])
            .and_then(|answer| answer.is_true());
        match told {
            Ok(false) => Ok(()),
            Ok(true) => {
                let words =
                    text("returning true from eof_received() has no effect when using ssl")?;
                logger()?
                    .call_method(&text("warning")?, &[&words])
                    .map(drop)
            }
            Err(raised) => {
                let exception = only_ordinary(raised)?;
                self.fatal_error(&exception, "Error calling eof_received()")
            }
        }
    }

    /// `eof_received()` of the transport below. True keeps that transport open.
    pub(super) fn eof_received(self) -> Outcome<bool> {
        self.eof_received.set(true);
        match self.end_of_stream() {
            Ok(keep_open) => Ok(keep_open),
            Err(raised) => {
                // SAFETY: a built-in class.
                if raised.matches(unsafe { sys::PyExc_Exception }) {
                    let exception = raised.take();
                    self.call_transport(&imports().names.close, &[])?;
                    return Err(Raised::exception(&exception));
                }
                Err(raised)
            }
        }
    }

    fn end_of_stream(self) -> Outcome<bool> {
        self.log_debug("%r received EOF", &[], None)?;
        match self.state.get() {
            State::Handshake => self.handshake_cut_off()?,
            State::Wrapped => {
                self.go(State::Flushing)?;
                if self.app_reading_paused.get() {
                    // What has arrived is delivered when reading goes on.
                    return Ok(true);
                }
                self.do_flush()?;
            }
            State::Flushing => {
                self.do_write()?;
                self.go(State::Shutdown)?;
                self.do_shutdown()?;
            }
            State::Shutdown => self.do_shutdown()?,
            State::Unwrapped => {}
        }
        Ok(false)
    }

    /// `connection_lost(exc)` of the transport below.
    pub(super) fn connection_lost(self, exception: &Object) -> Outcome<()> {
        self.counted.close();
        self.drop_backlog();
        if let Some(outgoing) = self.outgoing.get() {
            drop(outgoing.read()?);
        }
        self.lost.set(self.lost.get().saturating_add(1));
        self.mark_transport_closed();
        let told = self.state.get() != State::Handshake
            && matches!(self.app_state.get(), AppState::Made | AppState::Eof);
        if told {
            self.app_state.set(AppState::Lost);
            self.schedule_connection_lost(exception)?;
        }
        self.go(State::Unwrapped)?;
        self.transport.clear();
        self.app_transport.clear();
        self.app_protocol.clear();
        self.buffer.clear();
        self.wake_waiter(exception)?;
        self.stop_shutdown_timer()?;
        self.stop_handshake_timer()
    }

    fn schedule_connection_lost(self, exception: &Object) -> Outcome<()> {
        let Some(protocol) = self.app_protocol.get() else {
            return Ok(());
        };
        let names = &imports().names;
        let method = protocol.get_attr(&names.connection_lost)?;
        self.owner()?
            .call_method(&names.call_soon, &[&method, exception])
            .map(drop)
    }

    /// `abort()`, `_force_close(exc)` of the application's transport: no closing handshake.
    pub(super) fn abort(self, exception: &Object) -> Outcome<()> {
        self.go(State::Unwrapped)?;
        self.call_transport(&imports().names.force_close, &[exception])
    }

    /// Ends the connection with an exception, and tells of it.
    ///
    /// Errors of the connection itself, TLS errors among them, are everyday and told of in debug
    /// mode only.
    pub(super) fn fatal_error(self, exception: &Object, message: &str) -> Outcome<()> {
        self.call_transport(&imports().names.force_close, &[exception])?;
        // SAFETY: a built-in class.
        if exception.is_instance(unsafe { sys::PyExc_OSError })? {
            self.log_debug("%r: %s", &[&text(message)?], Some(exception))
        } else if exception.is_instance(imports().cancelled_error.as_ptr())? {
            Ok(())
        } else {
            self.report(message, exception, &self.value().transport)
        }
    }
}
