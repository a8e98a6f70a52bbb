//! The writing end.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::ffi::{CStr, c_int};
use std::io;
use std::ops::Deref;

use ferrio_core::WriteBuffer;
use ferrio_core::flow_control::{Limits, Pressure};

use super::PipeTransport;
use super::file::Pipe;
use crate::error::os_error;
use crate::event_loop::Side;
use crate::ffi::{
    Native, Object, Outcome, Own, Raised, Slot, This, TypeObject, Visitor, none, sys,
};
use crate::handle::{Handle, only_ordinary};
use crate::imports::imports;
use crate::transport::flow_control::{limits, warn_of_late_writes};
use crate::transport::piece::{Data, Piece, visit_unsent};
use crate::transport::sending::{offer, send};
use crate::transport::{Endpoint, Output};

/// The writing end of a pipe.
#[repr(C)]
pub(crate) struct WritePipeTransport {
    endpoint: Endpoint,
    /// Watches for the peer's end.
    reader: Slot<Own<Handle>>,
    /// Watches for room, while the kernel has refused something.
    writer: Slot<Own<Handle>>,
    /// What was written and the kernel has not taken.
    buffer: RefCell<WriteBuffer<Piece>>,
    /// How many writes have failed or come too late.
    pub(super) failed_writes: Cell<usize>,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `WritePipeTransport` in `python::build`; the offset is that of a
// field that only CPython touches.
unsafe impl Native for WritePipeTransport {
    const NAME: &'static CStr = c"ferrio._ferrio.WritePipeTransport";
    const WEAK_REFERENCES_OFFSET: Option<usize> = Some(std::mem::offset_of!(
        WritePipeTransport,
        endpoint.weak_references
    ));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<WritePipeTransport> {
        Ok(WritePipeTransport {
            endpoint: Endpoint::new(),
            reader: Slot::new(),
            writer: Slot::new(),
            buffer: RefCell::new(WriteBuffer::new()),
            failed_writes: Cell::new(0),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.endpoint.visit(visitor)?;
        self.reader.visit(visitor)?;
        self.writer.visit(visitor)?;
        visit_unsent(&self.buffer, visitor)
    }

    fn clear(&self) {
        self.endpoint.clear();
        self.reader.clear();
        self.writer.clear();
        drop(self.take_unsent());
    }
}

impl Deref for WritePipeTransport {
    type Target = Endpoint;

    fn deref(&self) -> &Endpoint {
        &self.endpoint
    }
}

impl PipeTransport for WritePipeTransport {
    fn reader(&self) -> &Slot<Own<Handle>> {
        &self.reader
    }

    fn writer(&self) -> Option<&Slot<Own<Handle>>> {
        Some(&self.writer)
    }

    fn forget_unsent(&self) {
        drop(self.take_unsent());
    }
}

impl WritePipeTransport {
    /// Empties the buffer; the pieces are the caller's to drop.
    #[must_use]
    fn take_unsent(&self) -> VecDeque<Piece> {
        self.buffer.borrow_mut().take_all()
    }

    /// How many bytes wait for the kernel.
    pub(super) fn unsent(&self) -> usize {
        self.buffer.borrow().len()
    }

    /// Offers the kernel what the buffer holds and `last` behind it.
    fn send(&self, last: Option<&Data<'_>>) -> io::Result<Output> {
        send(&self.buffer, last, |rest| {
            let offer = offer(&Pipe::of(self)?, &self.buffer.borrow(), rest)?;
            self.counted.sent(offer.taken);
            Ok(offer)
        })
    }
}

impl This<'_, WritePipeTransport> {
    /// Has the loop tell when the peer closes its end.
    pub(super) fn watch_peer(self) -> Outcome<()> {
        if self.closing.get() {
            return Ok(());
        }
        self.watch_half(Side::Reader, &imports().names.read_ready)
    }

    /// The peer has closed its end: a pipe can only be told of by an error, and a socket that
    /// has something to read counts as closed, as in asyncio.
    pub(super) fn peer_closed(self) -> Outcome<()> {
        self.log_info("%r was closed by peer")?;
        if self.unsent() == 0 {
            return self.end_with(&none());
        }
        // SAFETY: a built-in class.
        let class = unsafe { Object::from_borrowed(sys::PyExc_BrokenPipeError) };
        self.end_with(&class.call0()?)
    }

    /// `write(data)`: goes to the kernel at once, so that whoever reads the other end in the
    /// next line finds it.
    pub(super) fn write(self, data: &Object) -> Outcome<()> {
        if !data.is_writable_data() {
            // SAFETY: a built-in class.
            return Err(unsafe { Raised::builtin(sys::PyExc_AssertionError, &data.repr_text()?) });
        }
        if !data.is_true()? {
            return Ok(());
        }
        if self.failed_writes.get() > 0 || self.closing.get() {
            return self.count_late_write();
        }
        let data = match Data::of(data) {
            Ok(data) => data,
            Err(raised) => return self.write_failed(&only_ordinary(raised)?),
        };
        if self.is_half_watched(Side::Writer) {
            self.buffer.borrow_mut().push(data.keep(0));
            return self.pause_if_full();
        }
        let outcome = match data {
            Data::Bytes(_) => self.send(Some(&data)),
            // The interpreter is released while the kernel reads: from a copy of what its owner
            // may change.
            Data::Lent(_) => {
                self.buffer.borrow_mut().push(data.keep(0));
                self.send(None)
            }
        };
        match outcome {
            Ok(Output::Refused) => {
                self.watch_half(Side::Writer, &imports().names.write_ready)?;
                self.pause_if_full()
            }
            Ok(Output::Idle | Output::Gathered) => Ok(()),
            Err(error) => self.write_failed(&os_error(&error)?),
        }
    }

    fn count_late_write(self) -> Outcome<()> {
        let message = "pipe closed by peer or os.write(pipe, data) raised exception.";
        warn_of_late_writes(self.failed_writes.get(), message)?;
        self.failed_writes
            .set(self.failed_writes.get().saturating_add(1));
        Ok(())
    }

    fn write_failed(self, exception: &Object) -> Outcome<()> {
        self.failed_writes
            .set(self.failed_writes.get().saturating_add(1));
        self.forget_unsent();
        self.fatal_error(exception, "Fatal write error on pipe transport")
    }

    /// The kernel has room again. The protocol is told to go on only when everything is sent,
    /// as in asyncio with pipes.
    pub(super) fn write_ready(self) -> Outcome<()> {
        match self.send(None) {
            Ok(Output::Refused) => return Ok(()),
            Ok(Output::Idle | Output::Gathered) => {}
            Err(error) => return self.write_failed(&os_error(&error)?),
        }
        self.unwatch_half(Side::Writer)?;
        self.resume_if_paused()?;
        if self.closing.get() && self.unsent() == 0 && !self.is_lost() {
            self.unwatch_half(Side::Reader)?;
            return self.end(&none());
        }
        Ok(())
    }

    /// `set_write_buffer_limits(high, low)`.
    pub(super) fn set_limits(self, high: Option<&Object>, low: Option<&Object>) -> Outcome<()> {
        let limits = limits(high, low)?;
        self.buffer.borrow_mut().set_limits(limits);
        self.pause_if_full()
    }

    pub(super) fn limits(self) -> Limits {
        self.buffer.borrow().limits()
    }

    pub(super) fn is_protocol_paused(self) -> bool {
        self.buffer.borrow().is_paused()
    }

    fn pause_if_full(self) -> Outcome<()> {
        self.counted.buffered(self.unsent());
        if self.is_protocol_paused() {
            return Ok(());
        }
        let pressure = self.buffer.borrow_mut().pressure();
        match pressure {
            Some(Pressure::Pause) => self.tell_protocol("pause_writing"),
            Some(Pressure::Resume) | None => Ok(()),
        }
    }

    fn resume_if_paused(self) -> Outcome<()> {
        self.counted.buffered(self.unsent());
        if !self.is_protocol_paused() {
            return Ok(());
        }
        let pressure = self.buffer.borrow_mut().pressure();
        match pressure {
            Some(Pressure::Resume) => self.tell_protocol("resume_writing"),
            Some(Pressure::Pause) | None => Ok(()),
        }
    }

    /// `write_eof()`, and all there is to do to close a pipe: once everything is sent.
    pub(super) fn write_eof(self) -> Outcome<()> {
        if self.socket.get().is_none() || self.closing.replace(true) {
            return Ok(());
        }
        if self.unsent() > 0 {
            return Ok(());
        }
        self.unwatch_half(Side::Reader)?;
        self.schedule_end(&none())
    }

    /// `abort()`.
    pub(super) fn abort(self) -> Outcome<()> {
        if self.socket.get().is_none() || self.is_lost() {
            return Ok(());
        }
        self.end_with(&none())
    }

    /// `_fatal_error(exc, message)`: tells of an error and ends the connection with it. What the
    /// kernel says is everyday and told of in debug mode only.
    pub(super) fn fatal_error(self, exception: &Object, message: &str) -> Outcome<()> {
        // SAFETY: a built-in class.
        if exception.is_instance(unsafe { sys::PyExc_OSError })? {
            self.log_debug_error(exception, message)?;
        } else {
            self.report(message, exception)?;
        }
        self.end_with(exception)
    }
}
