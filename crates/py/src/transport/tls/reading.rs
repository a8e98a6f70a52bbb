//! From the socket's transport to the application.

use ferrio_core::flow_control::Limits;

use super::super::Receiver;
use super::engine::Progress;
use super::{State, TlsProtocol, limits_of};
use crate::ffi::{Buffer, FreshBytes, MemoryBio, Object, Outcome, SslSocket, This, none, text};
use crate::imports::imports;

/// asyncio's default of how many bytes wait to be decrypted before the transport is paused.
pub(super) const fn default_limits() -> Limits {
    limits_of(256 * 1024)
}

/// The most that one call of the application's `data_received()` is made of, when nothing better
/// is known; also what a transport that is not ours is lent to write into.
pub(super) const READ_SIZE: usize = 256 * 1024;

/// A record's most plaintext.
const RECORD_SIZE: usize = 16 * 1024;

/// What decrypting has given.
struct Decrypted {
    /// What the records held; `None` when there was no whole record.
    data: Option<Object>,
    /// The peer has said that no more will come.
    ended: bool,
}

impl This<'_, TlsProtocol> {
    /// Bytes have arrived: OpenSSL gets a copy. No Python code runs here.
    #[inline]
    pub(in super::super) fn take_in(self, bytes: &[u8]) -> Outcome<()> {
        let Some(incoming) = self.incoming.get() else {
            return Ok(());
        };
        let mut records = self.records.get();
        records.take_in(bytes);
        self.records.set(records);
        incoming.write(bytes)
    }

    /// Something has arrived, whatever that means now.
    #[inline]
    pub(in super::super) fn go_on(self) -> Outcome<()> {
        match self.state.get() {
            State::Wrapped => self.do_read(),
            State::Handshake => self.do_handshake(),
            State::Flushing => self.do_flush(),
            State::Shutdown => self.do_shutdown(),
            State::Unwrapped => Ok(()),
        }
    }

    /// Gives the application what has arrived.
    ///
    /// # Errors
    /// What is no `Exception`; everything else ends the connection.
    #[inline]
    pub(super) fn do_read(self) -> Outcome<()> {
        if !self.state.get().delivers() {
            return Ok(());
        }
        let outcome = self.read_and_answer();
        self.contain(outcome)
    }

    #[inline]
    fn read_and_answer(self) -> Outcome<()> {
        if !self.app_reading_paused.get() {
            match self.receiver.get() {
                Receiver::Data | Receiver::Stream => self.read_to_protocol()?,
                // TLS within TLS, too: the inner one is a BufferedProtocol.
                Receiver::Buffer | Receiver::Tls => self.read_into_protocol()?,
            }
            if self.backlog_size.get() > 0 {
                self.do_write()?;
            } else {
                // A renegotiation, a key update.
                self.process_outgoing()?;
            }
        }
        self.control_reading()
    }

    /// For protocols with `data_received()`: everything that has arrived, in one call.
    #[inline]
    fn read_to_protocol(self) -> Outcome<()> {
        let decrypted = match (self.ssl_socket.get(), self.incoming.get()) {
            (Some(socket), Some(incoming)) => self.decrypt(&socket, &incoming)?,
            _ => self.decrypt_by_object()?,
        };
        if let (Some(data), Some(protocol)) = (&decrypted.data, self.app_protocol.get()) {
            protocol.call_method(&imports().names.data_received, &[data])?;
        }
        if decrypted.ended {
            self.peer_ended()?;
        }
        Ok(())
    }

    /// Decrypts all whole records into one `bytes`.
    ///
    /// The plaintext is shorter than the records, so what has arrived says how much room it
    /// needs; only compression, which no TLS of today has, could make it longer.
    #[inline]
    fn decrypt(self, socket: &SslSocket, incoming: &MemoryBio) -> Outcome<Decrypted> {
        let waiting = self.whole_records(incoming)?;
        let unread = self.unread.get();
        if waiting == 0 && !unread {
            return Ok(Decrypted {
                data: None,
                ended: false,
            });
        }
        let room = waiting + if unread { RECORD_SIZE } else { 0 };
        let mut bytes = FreshBytes::with_capacity(room)?;
        let mut full = Vec::new();
        let ended = loop {
            let room = bytes.room();
            match Progress::of(socket.read_onto(&mut bytes))? {
                Progress::Again => {
                    self.unread.set(false);
                    break false;
                }
                Progress::Done(0) => break true,
                Progress::Done(count) if count >= room => {
                    full.push(bytes.finish()?);
                    bytes = FreshBytes::with_capacity(incoming.pending()?.max(RECORD_SIZE))?;
                }
                // The record had no more. OpenSSL would answer with an exception if the next is not
                // whole.
                Progress::Done(_) => {
                    self.unread.set(false);
                    if self.whole_records(incoming)? == 0 {
                        break false;
                    }
                }
            }
        };
        let last = if bytes.len() > 0 {
            Some(bytes.finish()?)
        } else {
            None
        };
        Ok(Decrypted {
            data: join(full, last)?,
            ended,
        })
    }

    /// The size of the whole records that OpenSSL has not taken out of the BIO.
    #[inline]
    fn whole_records(self, incoming: &MemoryBio) -> Outcome<usize> {
        // Of the unfinished one OpenSSL may have taken a part, if it was asked during a handshake.
        Ok(incoming
            .pending()?
            .saturating_sub(self.records.get().unfinished()))
    }

    /// [`Self::decrypt`] with an `SSLObject` whose methods somebody has overridden.
    fn decrypt_by_object(self) -> Outcome<Decrypted> {
        let mut chunks = Vec::new();
        let ended = loop {
            match self.engine_read(READ_SIZE)? {
                Progress::Again => break false,
                Progress::Done(chunk) if !chunk.is_true()? => break true,
                Progress::Done(chunk) => chunks.push(chunk),
            }
        };
        Ok(Decrypted {
            data: join(chunks, None)?,
            ended,
        })
    }

    /// For protocols with `get_buffer()`: as much as fits into what they lend.
    fn read_into_protocol(self) -> Outcome<()> {
        let (Some(protocol), Some(incoming)) = (self.app_protocol.get(), self.incoming.get())
        else {
            return Ok(());
        };
        let waiting = self.whole_records(&incoming)?;
        if waiting == 0 && !self.unread.get() {
            return Ok(());
        }
        let names = &imports().names;
        let hint = Object::from_i64(i64::try_from(waiting).unwrap_or(i64::MAX))?;
        let memory = protocol.call_method(&names.get_buffer, &[&hint])?;
        let (count, ended) = match self.ssl_socket.get() {
            Some(socket) => self.decrypt_into(&socket, &incoming, &memory)?,
            None => self.decrypt_into_by_object(&memory)?,
        };
        if count > 0 {
            let count = Object::from_i64(i64::try_from(count).unwrap_or(i64::MAX))?;
            protocol.call_method(&names.buffer_updated, &[&count])?;
        }
        if ended {
            self.peer_ended()?;
        }
        Ok(())
    }

    /// Decrypts into what the protocol lends; how many bytes, and whether the peer has ended.
    fn decrypt_into(
        self,
        socket: &SslSocket,
        incoming: &MemoryBio,
        memory: &Object,
    ) -> Outcome<(usize, bool)> {
        let mut memory = Buffer::to_write(memory)?;
        let memory = memory.as_mut_slice();
        if memory.is_empty() {
            return Ok((0, true));
        }
        let mut filled = 0;
        loop {
            let rest = &mut memory[filled..];
            let room = rest.len();
            match Progress::of(socket.read_into(rest))? {
                Progress::Again => {
                    self.unread.set(false);
                    return Ok((filled, false));
                }
                Progress::Done(0) => return Ok((filled, true)),
                Progress::Done(count) if count >= room => {
                    self.unread.set(true);
                    self.call_soon("_do_read")?;
                    return Ok((filled + count, false));
                }
                Progress::Done(count) => {
                    filled += count;
                    self.unread.set(false);
                    if self.whole_records(incoming)? == 0 {
                        return Ok((filled, false));
                    }
                }
            }
        }
    }

    fn decrypt_into_by_object(self, memory: &Object) -> Outcome<(usize, bool)> {
        let view = memory.memory_view()?;
        let size = view.len()?;
        let mut filled = 0;
        while filled < size {
            match self.engine_read_into(&view.slice_from(filled)?)? {
                Progress::Again => return Ok((filled, false)),
                Progress::Done(0) => return Ok((filled, true)),
                Progress::Done(count) => filled += count,
            }
        }
        self.unread.set(true);
        self.call_soon("_do_read")?;
        Ok((filled, size == 0))
    }

    /// The peer's close_notify.
    fn peer_ended(self) -> Outcome<()> {
        self.tell_eof()?;
        self.start_shutdown()
    }

    /// `pause_reading()` of the application's transport.
    pub(super) fn pause_app_reading(self) {
        self.app_reading_paused.set(true);
    }

    /// `resume_reading()` of the application's transport.
    pub(super) fn resume_app_reading(self) -> Outcome<()> {
        if !self.app_reading_paused.replace(false) {
            return Ok(());
        }
        self.call_soon("_resume")
    }

    /// What [`Self::resume_app_reading`] has scheduled.
    pub(super) fn resume(self) -> Outcome<()> {
        match self.state.get() {
            State::Wrapped => self.do_read(),
            State::Flushing => self.do_flush(),
            State::Shutdown => self.do_shutdown(),
            State::Handshake | State::Unwrapped => Ok(()),
        }
    }

    /// Pauses the transport below when too much waits to be decrypted, and has it go on when
    /// little enough does.
    #[inline]
    pub(super) fn control_reading(self) -> Outcome<()> {
        let size = self.read_buffer_size()?;
        let limits = self.incoming_limits.get();
        let paused = self.reading_paused.get();
        let names = &imports().names;
        if size >= limits.high && !paused {
            self.reading_paused.set(true);
            self.call_transport(&names.pause_reading, &[])
        } else if size <= limits.low && paused {
            self.reading_paused.set(false);
            self.call_transport(&names.resume_reading, &[])
        } else {
            Ok(())
        }
    }

    /// How many bytes wait to be decrypted. Not those of an unfinished record: the transport below
    /// has to go on for it to be finished.
    #[inline]
    pub(super) fn read_buffer_size(self) -> Outcome<usize> {
        match self.incoming.get() {
            Some(incoming) => self.whole_records(&incoming),
            None => Ok(0),
        }
    }

    /// `get_buffer(sizehint)` for a transport that is not ours.
    pub(super) fn lend_buffer(self, hint: &Object) -> Outcome<Object> {
        let hint = usize::try_from(hint.to_i64()?).unwrap_or(0);
        let wanted = if hint == 0 {
            READ_SIZE
        } else {
            hint.min(READ_SIZE)
        };
        let buffer = match self.buffer.get() {
            Some(buffer) if buffer.len()? >= wanted => buffer,
            _ => {
                let buffer = Object::bytearray(wanted)?;
                self.buffer.set(buffer.clone());
                buffer
            }
        };
        buffer.memory_view()
    }

    /// `buffer_updated(nbytes)` of a transport that is not ours.
    pub(super) fn buffer_updated(self, count: &Object) -> Outcome<()> {
        let count = usize::try_from(count.to_i64()?).unwrap_or(0);
        if let Some(buffer) = self.buffer.get() {
            let lent = Buffer::to_read(&buffer)?;
            let bytes = lent.as_slice();
            self.take_in(&bytes[..count.min(bytes.len())])?;
        }
        self.go_on()
    }

    /// `set_protocol()` of the application's transport.
    pub(super) fn set_app_protocol(self, protocol: &Object) -> Outcome<()> {
        self.receiver.set(Receiver::of(protocol)?);
        self.app_protocol.set(protocol.clone());
        Ok(())
    }

    /// `get_protocol()` of the application's transport.
    pub(super) fn app_protocol(self) -> Object {
        self.app_protocol.get().unwrap_or_else(none)
    }
}

/// One `bytes` of all that was decrypted.
#[inline]
fn join(mut chunks: Vec<Object>, last: Option<Object>) -> Outcome<Option<Object>> {
    if chunks.is_empty() {
        return Ok(last);
    }
    chunks.extend(last);
    if chunks.len() == 1 {
        return Ok(chunks.pop());
    }
    let chunks = Object::list(chunks)?;
    Object::from_bytes(&[])?
        .call_method(&text("join")?, &[&chunks])
        .map(Some)
}
