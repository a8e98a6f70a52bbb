//! The reading end.

use std::ffi::{CStr, c_int};
use std::io;
use std::ops::Deref;

use rustix::io::Errno;

use super::{PipeTransport, file};
use crate::error::os_error;
use crate::event_loop::Side;
use crate::ffi::{Native, Object, Outcome, Own, Slot, This, TypeObject, Visitor, none, sys, text};
use crate::handle::Handle;
use crate::imports::imports;
use crate::transport::Endpoint;
use crate::transport::sending::is_not_now;

/// The reading end of a pipe.
#[repr(C)]
pub(crate) struct ReadPipeTransport {
    endpoint: Endpoint,
    reader: Slot<Own<Handle>>,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `ReadPipeTransport` in `python::build`; the offset is that of a
// field that only CPython touches.
unsafe impl Native for ReadPipeTransport {
    const NAME: &'static CStr = c"ferrio._ferrio.ReadPipeTransport";
    const WEAK_REFERENCES_OFFSET: Option<usize> = Some(std::mem::offset_of!(
        ReadPipeTransport,
        endpoint.weak_references
    ));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<ReadPipeTransport> {
        Ok(ReadPipeTransport {
            endpoint: Endpoint::new(),
            reader: Slot::new(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.endpoint.visit(visitor)?;
        self.reader.visit(visitor)
    }

    fn clear(&self) {
        self.endpoint.clear();
        self.reader.clear();
    }
}

impl Deref for ReadPipeTransport {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl PipeTransport for ReadPipeTransport {
    fn reader(&self) -> &Slot<Own<Handle>> {
        &self.reader
    }

    fn writer(&self) -> Option<&Slot<Own<Handle>>> {
        None
    }

    fn forget_unsent(&self) {}
}

impl This<'_, ReadPipeTransport> {
    /// Reading begins, unless it was paused or closed in `connection_made()`.
    pub(super) fn start_reading(self) -> Outcome<()> {
        if !self.is_reading() {
            return Ok(());
        }
        self.watch_half(Side::Reader, &imports().names.read_ready)
    }

    /// `is_reading()`.
    pub(super) fn is_reading(self) -> bool {
        !self.paused.get() && !self.closing.get()
    }

    /// `pause_reading()`.
    pub(super) fn pause_reading(self) -> Outcome<()> {
        if !self.is_reading() {
            return Ok(());
        }
        self.paused.set(true);
        self.unwatch_half(Side::Reader)?;
        self.log_debug("%r pauses reading", &[])
    }

    /// `resume_reading()`.
    pub(super) fn resume_reading(self) -> Outcome<()> {
        if self.closing.get() || !self.paused.get() {
            return Ok(());
        }
        self.paused.set(false);
        self.start_reading()?;
        self.log_debug("%r resumes reading", &[])
    }

    /// There is something to read, or the end: reads once, as asyncio does.
    ///
    /// # Errors
    /// What `data_received()` raises, which the loop reports and nobody minds otherwise: so it
    /// is in asyncio with pipes, other than with sockets.
    pub(super) fn read_ready(self) -> Outcome<()> {
        let Some(protocol) = self.protocol.get() else {
            return Ok(());
        };
        match self.read_bytes()? {
            Ok(Some(data)) => protocol
                .call_method(&imports().names.data_received, &[&data])
                .map(drop),
            Ok(None) => self.end_of_stream(&protocol),
            Err(error) if is_not_now(&error) => Ok(()),
            Err(error) => self.read_failed(&error),
        }
    }

    /// What has arrived; `None` at the end of the stream.
    fn read_bytes(self) -> Outcome<io::Result<Option<Object>>> {
        let event_loop = self.owner()?;
        let mut buffer = event_loop.gathering.take_receive_buffer();
        let memory = buffer.as_mut_slice();
        let data = match file::read(&self, memory) {
            Ok(0) => Ok(Ok(None)),
            Ok(length) => Object::from_bytes(&memory[..length]).map(|data| Ok(Some(data))),
            Err(error) => Ok(Err(error)),
        };
        event_loop.gathering.put_receive_buffer(buffer);
        data
    }

    fn end_of_stream(self, protocol: &Object) -> Outcome<()> {
        self.log_info("%r was closed by peer")?;
        self.closing.set(true);
        self.unwatch_half(Side::Reader)?;
        let names = &imports().names;
        let eof_received = protocol.get_attr(&names.eof_received)?;
        self.owner()?
            .into_object()
            .call_method(&names.call_soon, &[&eof_received])?;
        self.schedule_end(&none())
    }

    fn read_failed(self, error: &io::Error) -> Outcome<()> {
        self.fatal_error(&os_error(error)?, "Fatal read error on pipe transport")
    }

    /// `_fatal_error(exc, message)`: tells of an error and ends the connection with it.
    ///
    /// EIO is how a terminal says that its other side has hung up, and no news.
    pub(super) fn fatal_error(self, exception: &Object, message: &str) -> Outcome<()> {
        if is_hang_up(exception)? {
            self.log_debug_error(exception, message)?;
        } else {
            self.report(message, exception)?;
        }
        self.end_with(exception)
    }

    /// `close()`.
    pub(super) fn close_reader(self) -> Outcome<()> {
        if self.closing.get() || self.socket.get().is_none() {
            return Ok(());
        }
        self.end_with(&none())
    }
}

fn is_hang_up(exception: &Object) -> Outcome<bool> {
    // SAFETY: a built-in class.
    if !exception.is_instance(unsafe { sys::PyExc_OSError })? {
        return Ok(false);
    }
    let errno = exception.get_attr(&text("errno")?)?;
    errno.equals(&Object::from_i64(Errno::IO.raw_os_error().into())?)
}
