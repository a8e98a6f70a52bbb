//! From the application to the socket's transport, and flow control.

use ferrio_core::flow_control::Limits;

use super::engine::Progress;
use super::{State, StreamTransport, TlsProtocol, limits_of, logger};
use crate::ffi::{Buffer, Object, Outcome, Raised, This, sys, text};
use crate::handle::only_ordinary;
use crate::imports::imports;

/// asyncio's default of how many bytes wait for the transport below before the application's
/// protocol is paused.
pub(super) const fn default_limits() -> Limits {
    limits_of(512 * 1024)
}

impl This<'_, TlsProtocol> {
    /// `write(data)` of the application's transport.
    #[inline]
    pub(super) fn write(self, data: &Object) -> Outcome<()> {
        if self.state.get() == State::Wrapped && self.backlog_size.get() == 0 {
            let outcome = self.encrypt(data);
            return self.contain(outcome);
        }
        self.write_later(data)
    }

    /// Encrypts now, and sends.
    #[inline]
    fn encrypt(self, data: &Object) -> Outcome<()> {
        match self.engine_write(data)? {
            Progress::Done(taken) => {
                let size = byte_size(data)?;
                if taken < size {
                    self.keep(data, taken)?;
                    return self.do_write();
                }
            }
            Progress::Again => self.keep(data, 0)?,
        }
        self.flush_outgoing()
    }

    /// Behind what OpenSSL has not taken yet, or too late.
    #[cold]
    fn write_later(self, data: &Object) -> Outcome<()> {
        match self.state.get() {
            State::Flushing | State::Shutdown | State::Unwrapped => self.count_lost_write(),
            State::Handshake => self.keep(data, 0),
            State::Wrapped => {
                self.keep(data, 0)?;
                let outcome = self.do_write();
                self.contain(outcome)
            }
        }
    }

    /// `writelines(list_of_data)` of the application's transport.
    pub(super) fn write_lines(self, lines: &Object) -> Outcome<()> {
        let state = self.state.get();
        if !matches!(state, State::Handshake | State::Wrapped) {
            return self.count_lost_write();
        }
        for line in &lines.collect()? {
            // What has no length is the caller's mistake; what has one and is no bytes, OpenSSL's
            // call finds out.
            line.len()?;
            self.keep(line, 0)?;
        }
        if self.state.get() != State::Wrapped {
            return Ok(());
        }
        let outcome = self.do_write();
        self.contain(outcome)
    }

    /// A write after the end is not an error, but many are worth a warning.
    #[cold]
    fn count_lost_write(self) -> Outcome<()> {
        let threshold = crate::imports::module(c"asyncio.constants")?
            .get_attr(&text("LOG_THRESHOLD_FOR_CONNLOST_WRITES")?)?
            .to_i64()?;
        if i64::try_from(self.lost.get()).unwrap_or(i64::MAX) >= threshold {
            let words = text("SSL connection is closed")?;
            logger()?.call_method(&text("warning")?, &[&words])?;
        }
        self.lost.set(self.lost.get().saturating_add(1));
        Ok(())
    }

    /// Puts an object's bytes from `start` on behind the others.
    pub(super) fn keep(self, data: &Object, start: usize) -> Outcome<()> {
        let kept = match data.as_bytes() {
            Some(_) if start == 0 => data.clone(),
            Some(bytes) => Object::from_bytes(bytes.get(start..).unwrap_or_default())?,
            None => match Buffer::to_read(data) {
                Ok(lent) => Object::from_bytes(lent.as_slice().get(start..).unwrap_or_default())?,
                Err(raised) => {
                    raised.discard(); // OpenSSL's call will say it, when its turn comes.
                    data.clone()
                }
            },
        };
        // Nothing to send is not worth a record; an object that is no bytes counts as one.
        let size = kept.as_bytes().map_or(1, <[u8]>::len);
        if size > 0 {
            self.backlog_size.set(self.backlog_size.get() + size);
            self.backlog.borrow_mut().push_back(kept);
        }
        Ok(())
    }

    /// Encrypts what waits for it, and sends.
    pub(super) fn do_write(self) -> Outcome<()> {
        loop {
            let first = self.backlog.borrow().front().cloned();
            let Some(first) = first else { break };
            let Progress::Done(taken) = self.engine_write(&first)? else {
                break;
            };
            self.taken_from(&first, taken)?;
        }
        self.flush_outgoing()
    }

    /// OpenSSL has taken so many bytes of the first piece.
    fn taken_from(self, piece: &Object, taken: usize) -> Outcome<()> {
        let bytes = piece.as_bytes().unwrap_or_default();
        let rest = match bytes.get(taken..) {
            Some(rest) if !rest.is_empty() => Some(Object::from_bytes(rest)?),
            _ => None,
        };
        let removed = {
            let mut backlog = self.backlog.borrow_mut();
            // A callback of OpenSSL's may have emptied the list.
            if !backlog.front().is_some_and(|first| first.is(piece)) {
                return Ok(());
            }
            let removed = backlog.pop_front();
            if let Some(rest) = rest {
                backlog.push_front(rest);
            }
            removed
        };
        let size = taken.min(bytes.len().max(1));
        self.backlog_size
            .set(self.backlog_size.get().saturating_sub(size));
        drop(removed);
        Ok(())
    }

    /// Sends what OpenSSL has made, if anything: in steps that mostly make nothing.
    #[inline]
    pub(super) fn process_outgoing(self) -> Outcome<()> {
        let Some(outgoing) = self.outgoing.get() else {
            return Ok(());
        };
        if outgoing.pending()? > 0 {
            return self.flush_outgoing();
        }
        self.control_writing(self.backlog_size.get())
    }

    /// Sends what OpenSSL has made.
    #[inline]
    fn flush_outgoing(self) -> Outcome<()> {
        if self.writing_paused.get() {
            return self.control_writing(self.write_buffer_size()?);
        }
        let (Some(outgoing), Some(transport)) = (self.outgoing.get(), self.transport.get()) else {
            return Ok(());
        };
        let records = outgoing.read()?;
        if records
            .as_bytes()
            .is_some_and(|records| !records.is_empty())
        {
            self.write_below(&transport, &records)?;
        }
        self.control_writing(self.backlog_size.get())
    }

    #[inline]
    fn write_below(self, transport: &Object, records: &Object) -> Outcome<()> {
        if self.plain_transport.get()
            && let Some(transport) = This::<StreamTransport>::from_object(transport)
            && !transport.has_replaced_methods()
        {
            return transport.write(records);
        }
        transport
            .call_method(&imports().names.write, &[records])
            .map(drop)
    }

    /// Asks the application's protocol to pause when `size` bytes are too many, and to go on
    /// when they are few enough.
    #[inline]
    fn control_writing(self, size: usize) -> Outcome<()> {
        let limits = self.outgoing_limits.get();
        let paused = self.app_writing_paused.get();
        if size >= limits.high && !paused {
            self.app_writing_paused.set(true);
            self.tell_app_protocol("pause_writing")
        } else if size <= limits.low && paused {
            self.app_writing_paused.set(false);
            self.tell_app_protocol("resume_writing")
        } else {
            Ok(())
        }
    }

    #[cold]
    fn tell_app_protocol(self, method: &str) -> Outcome<()> {
        let Some(protocol) = self.app_protocol.get() else {
            return Ok(());
        };
        match protocol.call_method(&text(method)?, &[]) {
            Ok(_) => Ok(()),
            Err(raised) => {
                let exception = only_ordinary(raised)?;
                let message = format!("protocol.{method}() failed");
                self.report(&message, &exception, &self.value().app_transport)
            }
        }
    }

    /// `pause_writing()` of the transport below.
    pub(super) fn pause_writing(self) -> Outcome<()> {
        self.set_writing_paused(true)
    }

    /// `resume_writing()` of the transport below.
    pub(super) fn resume_writing(self) -> Outcome<()> {
        self.set_writing_paused(false)?;
        self.flush_outgoing()
    }

    fn set_writing_paused(self, paused: bool) -> Outcome<()> {
        if self.writing_paused.replace(paused) == paused {
            // SAFETY: a built-in class.
            return Err(unsafe { Raised::builtin(sys::PyExc_AssertionError, "") });
        }
        Ok(())
    }

    /// `get_write_buffer_size()` of the application's transport.
    pub(super) fn write_buffer_size(self) -> Outcome<usize> {
        let encrypted = match self.outgoing.get() {
            Some(outgoing) => outgoing.pending()?,
            None => 0,
        };
        Ok(encrypted + self.backlog_size.get())
    }

    /// `set_write_buffer_limits()` of the application's transport.
    pub(super) fn set_write_limits(self, limits: Limits) -> Outcome<()> {
        self.outgoing_limits.set(limits);
        self.control_writing(self.write_buffer_size()?)
    }
}

/// How many bytes an object lends.
#[inline]
fn byte_size(data: &Object) -> Outcome<usize> {
    match data.as_bytes() {
        Some(bytes) => Ok(bytes.len()),
        None => Ok(Buffer::to_read(data)?.as_slice().len()),
    }
}
