//! From the kernel to the protocol.

use std::io;

use super::sending::is_not_now;
use super::tls::TlsProtocol;
use super::{Receiver, StreamTransport};
use crate::error::os_error;
use crate::ffi::{Buffer, Object, Outcome, Raised, This, text};
use crate::handle::only_ordinary;
use crate::imports::imports;
use crate::streams::StreamReaderProtocol;

/// What asyncio says when a read fails.
const READ_ERROR: &str = "Fatal read error on socket transport";

impl This<'_, StreamTransport> {
    /// Something has arrived: reads once, as asyncio does, so that no connection keeps the
    /// others waiting.
    #[inline]
    pub(super) fn read_available(self) -> Outcome<()> {
        let Some(protocol) = self.protocol.get() else {
            return Ok(());
        };
        match self.receiver.get() {
            Receiver::Data => self.read_data(&protocol),
            Receiver::Stream => self.read_stream(&protocol),
            Receiver::Tls => self.read_records(&protocol),
            Receiver::Buffer => self.read_into_buffer(&protocol),
        }
    }

    #[inline]
    fn read_data(self, protocol: &Object) -> Outcome<()> {
        let data = match self.receive_bytes()? {
            Ok(Some(data)) => data,
            Ok(None) => return self.end_of_stream(protocol),
            Err(error) => return self.read_failed(&error),
        };
        match protocol.call_method(&imports().names.data_received, &[&data]) {
            Ok(_) => Ok(()),
            Err(raised) => self.protocol_failed(raised, "data_received"),
        }
    }

    /// For a `StreamReader`: what has arrived goes from the loop's one buffer to the reader's.
    #[inline]
    fn read_stream(self, protocol: &Object) -> Outcome<()> {
        let Some(stream) = This::<StreamReaderProtocol>::from_exact(protocol) else {
            return self.read_data(protocol);
        };
        let Some(reader) = stream.plain_reader()? else {
            return self.read_data(protocol);
        };
        let reader = reader.this();
        let event_loop = self.owner()?;
        let mut buffer = event_loop.gathering.take_receive_buffer();
        let memory = buffer.as_mut_slice();
        let received = self.receive(memory);
        let taken = match received {
            Ok(length) if length > 0 => reader.take_in(&memory[..length]),
            _ => Ok(()),
        };
        event_loop.gathering.put_receive_buffer(buffer);
        match received {
            Ok(0) => return self.end_of_stream(protocol),
            Ok(_) => {}
            Err(error) => return self.read_failed(&error),
        }
        match taken.and_then(|()| reader.fed()) {
            Ok(()) => Ok(()),
            Err(raised) => self.protocol_failed(raised, "data_received"),
        }
    }

    /// What has arrived; `None` at the end of the stream.
    ///
    /// The kernel writes into the loop's one buffer. A fresh one of that size would cost a
    /// mapping and page faults for every read.
    #[inline]
    fn receive_bytes(self) -> Outcome<io::Result<Option<Object>>> {
        let event_loop = self.owner()?;
        let mut buffer = event_loop.gathering.take_receive_buffer();
        let memory = buffer.as_mut_slice();
        let data = match self.receive(memory) {
            Ok(0) => Ok(Ok(None)),
            Ok(length) => Object::from_bytes(&memory[..length]).map(|data| Ok(Some(data))),
            Err(error) => Ok(Err(error)),
        };
        event_loop.gathering.put_receive_buffer(buffer);
        data
    }

    /// For TLS: what has arrived goes from the loop's one buffer to OpenSSL.
    #[inline]
    fn read_records(self, protocol: &Object) -> Outcome<()> {
        let Some(tls) = This::<TlsProtocol>::from_object(protocol) else {
            return Ok(());
        };
        let event_loop = self.owner()?;
        let mut buffer = event_loop.gathering.take_receive_buffer();
        let memory = buffer.as_mut_slice();
        let received = self.receive(memory);
        let taken = match received {
            Ok(length) if length > 0 => tls.take_in(&memory[..length]),
            _ => Ok(()),
        };
        event_loop.gathering.put_receive_buffer(buffer);
        match received {
            Ok(0) => return self.end_of_stream(protocol),
            Ok(_) => {}
            Err(error) => return self.read_failed(&error),
        }
        match taken.and_then(|()| tls.go_on()) {
            Ok(()) => Ok(()),
            Err(raised) => self.protocol_failed(raised, "buffer_updated"),
        }
    }

    fn read_into_buffer(self, protocol: &Object) -> Outcome<()> {
        let memory = match lend_memory(protocol) {
            Ok(memory) => memory,
            Err(raised) => return self.protocol_failed(raised, "get_buffer"),
        };
        let received = match Buffer::to_write(&memory) {
            Ok(mut buffer) => self.receive(buffer.as_mut_slice()),
            Err(raised) => {
                let exception = only_ordinary(not_read_write(&memory, raised))?;
                return self.fatal_error(&exception, READ_ERROR);
            }
        };
        let length = match received {
            Ok(0) => return self.end_of_stream(protocol),
            Ok(length) => Object::from_i64(i64::try_from(length).unwrap_or(i64::MAX))?,
            Err(error) => return self.read_failed(&error),
        };
        match protocol.call_method(&imports().names.buffer_updated, &[&length]) {
            Ok(_) => Ok(()),
            Err(raised) => self.protocol_failed(raised, "buffer_updated"),
        }
    }

    #[cold]
    fn read_failed(self, error: &io::Error) -> Outcome<()> {
        if is_not_now(error) {
            return Ok(());
        }
        self.fatal_error(&os_error(error)?, READ_ERROR)
    }

    /// The peer has shut its side down: the protocol decides whether ours stays open.
    fn end_of_stream(self, protocol: &Object) -> Outcome<()> {
        self.log_debug("%r received EOF", &[])?;
        let keep_open = match protocol.call_method(&imports().names.eof_received, &[]) {
            Ok(answer) => answer.is_true()?,
            Err(raised) => return self.protocol_failed(raised, "eof_received"),
        };
        if keep_open {
            // The end of the stream would be reported for ever.
            self.reads.set(false);
            self.watch_what_is_wanted()
        } else {
            self.close()
        }
    }

    /// A method of the protocol raised: the connection ends.
    ///
    /// # Errors
    /// KeyboardInterrupt and SystemExit, which leave the connection as it is.
    #[cold]
    fn protocol_failed(self, raised: Raised, method: &str) -> Outcome<()> {
        let exception = only_ordinary(raised)?;
        let message = format!("Fatal error: protocol.{method}() call failed.");
        self.fatal_error(&exception, &message)
    }
}

/// What `socket.recv_into()` says of memory that it cannot use, whatever the memory itself says.
fn not_read_write(memory: &Object, raised: Raised) -> Raised {
    raised.discard();
    let name = text("__name__").and_then(|name| memory.type_object().get_attr(&name)?.to_text());
    match name {
        Ok(name) => Raised::type_error(&format!(
            "recv_into() argument 1 must be read-write bytes-like object, not {name}"
        )),
        Err(raised) => raised,
    }
}

/// The memory that a BufferedProtocol wants to be filled.
fn lend_memory(protocol: &Object) -> Outcome<Object> {
    // The hint, -1, says that the size of what has arrived is not known.
    let hint = Object::from_i64(-1)?;
    let memory = protocol.call_method(&imports().names.get_buffer, &[&hint])?;
    if memory.len()? == 0 {
        return Err(Raised::runtime_error(
            "get_buffer() returned an empty buffer",
        ));
    }
    Ok(memory)
}
