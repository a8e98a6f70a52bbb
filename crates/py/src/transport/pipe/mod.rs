//! `ferrio._ferrio.ReadPipeTransport` and `WritePipeTransport`: one end of a pipe, a FIFO, a
//! socket or a character device, and the protocol it serves.
//!
//! | file | what it holds |
//! |---|---|
//! | `mod` | what both ends have |
//! | `file` | system calls on the file |
//! | `reader` | from the kernel to the protocol |
//! | `writer` | from the protocol to the kernel, and the peer's end |
//! | `python` | both as Python sees them |
//!
//! # The descriptor
//!
//! A descriptor has two halves, as in asyncio: a terminal may be read by one transport and
//! written by another under one number. So a pipe's transport watches through `add_reader` and
//! `add_writer`, half by half, and not as the owner of the number, as a socket's does.
//!
//! # How it ends
//!
//! `closing` is set first, then `lost`, when `connection_lost()` is scheduled, once. It is followed
//! by the file's end.

mod file;
mod python;
mod reader;
mod writer;

use std::ops::Deref;

pub(crate) use python::build;

use super::Endpoint;
use crate::event_loop::Side;
use crate::ffi::{Native, Object, Outcome, Own, Slot, This};
use crate::handle::Handle;
use crate::imports::imports;

/// A transport over one end of a pipe.
pub(crate) trait PipeTransport: Native + Deref<Target = Endpoint> {
    /// The half of the descriptor by which the loop tells of something to read or, at the writing
    /// end, of the peer's end.
    fn reader(&self) -> &Slot<Own<Handle>>;
    /// The half by which it tells of room to write; the reading end has none.
    fn writer(&self) -> Option<&Slot<Own<Handle>>>;
    /// Gives up what waits to be written.
    fn forget_unsent(&self);

    fn half(&self, side: Side) -> Option<&Slot<Own<Handle>>> {
        match side {
            Side::Reader => Some(self.reader()),
            Side::Writer => self.writer(),
        }
    }

    fn is_half_watched(&self, side: Side) -> bool {
        self.half(side).is_some_and(Slot::is_some)
    }
}

impl<T: PipeTransport> This<'_, T> {
    /// Has the loop call one of this object's own methods, in a copy of the current context,
    /// whenever the file is ready.
    fn watch_half(self, side: Side, method: &Object) -> Outcome<()> {
        let Some(half) = self.value().half(side) else {
            return Ok(());
        };
        let event_loop = self.owner()?;
        event_loop.check_closed()?;
        let method = self.object().get_attr(method)?;
        let handle = Own::<Handle>::make(event_loop.this(), &method, &[], None)?;
        let fd = self.fd.get();
        event_loop.this().watch_handle(fd, side, handle.clone())?;
        half.set(handle);
        Ok(())
    }

    fn unwatch_half(self, side: Side) -> Outcome<()> {
        let Some(handle) = self.value().half(side).and_then(Slot::take) else {
            return Ok(());
        };
        let Some(event_loop) = self.event_loop.get() else {
            return Ok(());
        };
        // A cancelled handle has been replaced: the number is somebody else's by now.
        if event_loop.is_closed() || handle.is_cancelled() {
            return Ok(());
        }
        let fd = self.fd.get();
        event_loop.this().unwatch_handle(fd, side).map(drop)
    }

    fn unwatch_both_halves(self) -> Outcome<()> {
        let unwatched = self.unwatch_half(Side::Writer);
        self.and_also(unwatched, || self.unwatch_half(Side::Reader))
    }

    /// `_close(exc)`: ends it now, whatever waits to be written.
    fn end_with(self, exception: &Object) -> Outcome<()> {
        self.closing.set(true);
        self.value().forget_unsent();
        self.unwatch_both_halves()?;
        self.schedule_end(exception)
    }

    fn schedule_end(self, exception: &Object) -> Outcome<()> {
        if self.is_lost() {
            return Ok(());
        }
        self.lost.set(1);
        self.call_soon(&imports().names.call_connection_lost, exception)
    }

    /// `_call_connection_lost(exc)`: tells the protocol, and gives everything up.
    fn end(self, exception: &Object) -> Outcome<()> {
        let Some(file) = self.socket.get() else {
            return Ok(());
        };
        self.lost.set(1);
        let told = match self.protocol.get() {
            Some(protocol) => protocol
                .call_method(&imports().names.connection_lost, &[exception])
                .map(drop),
            None => Ok(()),
        };
        self.and_also(told, || self.let_go(&file))
    }

    fn let_go(self, file: &Object) -> Outcome<()> {
        self.closing.set(true);
        self.value().forget_unsent();
        // Before the number can be given to another file.
        let unwatched = self.unwatch_both_halves();
        drop(self.socket.take());
        self.protocol.clear();
        self.event_loop.clear();
        self.counted.close();
        let close = &imports().names.close;
        self.and_also(unwatched, || file.call_method(close, &[]).map(drop))
    }
}
