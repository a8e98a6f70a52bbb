//! How a connection ends.

use super::Transport;
use crate::ffi::{Object, Outcome, This, none, sys};
use crate::imports::imports;

impl<T: Transport> This<'_, T> {
    /// `close()`: ends the connection once everything is sent.
    pub(super) fn close(self) -> Outcome<()> {
        if self.closing.get() {
            return Ok(());
        }
        T::flush(self)?;
        // The flush may have found the connection broken.
        if self.closing.replace(true) {
            return Ok(());
        }
        self.reads.set(false);
        self.watch_what_is_wanted()?;
        if self.value().has_unsent() {
            return Ok(());
        }
        self.schedule_connection_lost(&none())
    }

    /// `abort()`, `_force_close(exc)`: ends the connection now. What the kernel had no room for
    /// is given up; what the turn has gathered is not, because asyncio would have sent it.
    pub(super) fn force_close(self, exception: &Object) -> Outcome<()> {
        if self.is_lost() {
            return Ok(());
        }
        T::flush(self)?;
        if self.is_lost() {
            return Ok(());
        }
        self.value().drop_unsent();
        self.closing.set(true);
        self.reads.set(false);
        self.watch_what_is_wanted()?;
        self.schedule_connection_lost(exception)
    }

    /// `_fatal_error(exc, message)`: tells of an error and ends the connection with it.
    ///
    /// Errors of the connection itself are everyday and told of in debug mode only.
    pub(super) fn fatal_error(self, exception: &Object, message: &str) -> Outcome<()> {
        T::flush(self)?;
        // SAFETY: a built-in class.
        if exception.is_instance(unsafe { sys::PyExc_OSError })? {
            self.log_debug_error(exception, message)?;
        } else {
            self.report(message, exception)?;
        }
        self.force_close(exception)
    }

    fn schedule_connection_lost(self, exception: &Object) -> Outcome<()> {
        self.lost.set(1);
        self.call_soon(&imports().names.call_connection_lost, exception)
    }

    /// Tells the protocol that the connection is gone, and gives everything up.
    pub(super) fn connection_lost(self, exception: &Object) -> Outcome<()> {
        let Some(socket) = self.socket.get() else {
            return Ok(());
        };
        let told = match self.protocol.get() {
            Some(protocol) => protocol
                .call_method(&imports().names.connection_lost, &[exception])
                .map(drop),
            None => Ok(()),
        };
        self.and_also(told, || self.release(&socket))
    }

    /// Lets go of everybody and closes the socket.
    fn release(self, socket: &Object) -> Outcome<()> {
        let event_loop = self.event_loop.get();
        self.reads.set(false);
        self.value().drop_unsent();
        // Before the number can be given to another file.
        let unwatched = self.watch_what_is_wanted();
        let disowned = self.and_also(unwatched, || match &event_loop {
            Some(event_loop) => event_loop.gathering.disown_descriptor(self),
            None => Ok(()),
        });
        drop(self.socket.take());
        self.protocol.clear();
        self.event_loop.clear();
        self.counted.close();
        self.read_context.clear();
        self.write_context.clear();
        let names = &imports().names;
        let closed = self.and_also(disowned, || socket.call_method(&names.close, &[]).map(drop));
        self.and_also(closed, || T::released(self))
    }
}
