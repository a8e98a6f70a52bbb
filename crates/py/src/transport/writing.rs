//! From the protocol to the kernel, and flow control.

use std::collections::VecDeque;
use std::io;

use super::flow_control::not_bytes_like;
use super::piece::{Data, Piece};
use super::sending::{MOST_PIECES, send};
use super::{Output, StreamTransport, Transport};
use crate::error::os_error;
#[cfg(Py_3_12)]
use crate::ffi::sys;
use crate::ffi::{Context, Object, Outcome, Raised, This, text};
use crate::handle::only_ordinary;
use crate::imports::imports;

/// A turn gathers no more than this for one transport.
const MOST_GATHERED: usize = 64 * 1024;

/// For whose sake a write may be held back.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hold {
    /// The turn's, while the loop drains one.
    Turn,
    /// That of the other lines of one `writelines()`, in or outside of a turn.
    Lines,
}

impl StreamTransport {
    /// Empties the buffer; the pieces are the caller's to drop.
    #[must_use]
    pub(super) fn take_unsent(&self) -> VecDeque<Piece> {
        self.output.set(Output::Idle);
        self.buffer.borrow_mut().take_all()
    }

    fn push(&self, piece: Piece) {
        self.buffer.borrow_mut().push(piece);
    }

    /// Whether `size` more bytes may wait for the end of the turn.
    #[inline]
    fn has_room_to_gather(&self, size: usize) -> bool {
        let buffer = self.buffer.borrow();
        buffer.len() + size <= MOST_GATHERED && buffer.piece_count() < MOST_PIECES
    }
}

impl This<'_, StreamTransport> {
    /// `write(data)`.
    #[inline]
    pub(crate) fn write(self, data: &Object) -> Outcome<()> {
        if !data.is_writable_data() {
            return Err(not_bytes_like(data, WRITABLE));
        }
        self.check_may_write("write")?;
        if !data.is_true()? {
            return Ok(());
        }
        if self.is_lost() {
            return self.count_lost_write();
        }
        match Data::of(data) {
            Ok(data) => self.put(&data, Hold::Turn),
            Err(raised) => self.write_failed(&only_ordinary(raised)?),
        }
    }

    /// `writelines(list_of_data)`: up to 3.11 the same as writing what the items join to.
    #[cfg(not(Py_3_12))]
    pub(super) fn write_lines(self, lines: &Object) -> Outcome<()> {
        let joined = Object::from_bytes(&[])?.call_method(&text("join")?, &[lines])?;
        self.write(&joined)
    }

    /// `writelines(list_of_data)`: from 3.12 on the items go to the kernel as they are.
    ///
    /// asyncio forgets to pause the protocol here before 3.12.9 and 3.13.2, and to count writes
    /// that come too late; that was found to be a vulnerability and is not repeated.
    #[cfg(Py_3_12)]
    pub(super) fn write_lines(self, lines: &Object) -> Outcome<()> {
        self.check_may_write("writelines")?;
        if !lines.is_true()? {
            return Ok(());
        }
        let lines = lines.collect()?;
        let mut all = Vec::with_capacity(lines.len());
        for line in &lines {
            all.push(lend_line(line)?);
        }
        if self.is_lost() {
            return self.count_lost_write();
        }
        for data in all.iter().filter(|data| !data.as_slice().is_empty()) {
            // What an earlier line met with may have ended the connection.
            if self.is_lost() {
                return Ok(());
            }
            self.put(data, Hold::Lines)?;
        }
        if self.owner()?.gathering.is_open() {
            return Ok(());
        }
        self.flush()
    }

    #[inline]
    fn check_may_write(self, method: &str) -> Outcome<()> {
        if self.eof.get() {
            return Err(Raised::runtime_error(&format!(
                "Cannot call {method}() after write_eof()"
            )));
        }
        if self.empty_waiter.is_some() {
            return Err(Raised::runtime_error(&format!(
                "unable to {method}; sendfile is in progress"
            )));
        }
        Ok(())
    }

    /// Takes bytes to be written: behind those that wait for the kernel, to be sent with others,
    /// or to be sent now.
    #[inline]
    fn put(self, data: &Data<'_>, hold: Hold) -> Outcome<()> {
        if self.output.get() == Output::Refused {
            self.push(data.keep(0));
            return self.pause_if_full();
        }
        let event_loop = self.owner()?;
        let open = event_loop.gathering.is_open();
        if (open || hold == Hold::Lines) && self.has_room_to_gather(data.as_slice().len()) {
            self.push(data.keep(0));
            self.output.set(Output::Gathered);
            if open {
                event_loop.gathering.enlist(self);
            }
            return Ok(());
        }
        let outcome = self.send(Some(data));
        event_loop.note_io();
        self.settle(outcome)
    }

    /// Sends what this turn has written so far, if anything: for everything by which a caller
    /// could tell that it has not been sent yet.
    #[inline]
    pub(super) fn flush(self) -> Outcome<()> {
        if self.output.get() != Output::Gathered {
            return Ok(());
        }
        let outcome = self.send(None);
        self.note_io();
        self.settle(outcome)
    }

    /// [`Self::flush`] from the loop: what the protocol is told comes in the connection's
    /// context.
    #[inline]
    pub(super) fn flush_for_loop(self) -> Outcome<()> {
        if self.output.get() != Output::Gathered {
            return Ok(());
        }
        let outcome = self.send(None);
        self.note_io();
        if matches!(outcome, Ok(Output::Idle)) {
            return Ok(());
        }
        self.settle_for_loop(outcome)
    }

    #[cold]
    fn settle_for_loop(self, outcome: io::Result<Output>) -> Outcome<()> {
        let context = self.read_context.get();
        let entered = match context.as_ref().map(Context::enter) {
            None => None,
            Some(Ok(entered)) => Some(entered),
            Some(Err(raised)) => {
                // It is entered already: a callback of this connection has stopped the loop or
                // forked. Then this is the right context.
                raised.discard();
                None
            }
        };
        let settled = self.settle(outcome);
        drop(entered);
        self.contain(settled, "_flush")
    }

    /// Offers the buffer, and behind it `last`, to the kernel until it has taken or refused it.
    /// What it refuses is kept in the buffer.
    #[inline]
    fn send(self, last: Option<&Data<'_>>) -> io::Result<Output> {
        let output = send(&self.buffer, last, |rest| self.offer(rest))?;
        self.output.set(output);
        Ok(output)
    }

    /// Does what a [`Self::send`] calls for.
    #[inline]
    fn settle(self, outcome: io::Result<Output>) -> Outcome<()> {
        match outcome {
            Ok(Output::Idle | Output::Gathered) => Ok(()),
            Ok(Output::Refused) => self.wait_for_room(),
            Err(error) => self.write_failed(&os_error(&error)?),
        }
    }

    /// Has the loop tell when the kernel has room again.
    #[cold]
    fn wait_for_room(self) -> Outcome<()> {
        self.write_context.set(Context::copy_current()?);
        self.watch_what_is_wanted()?;
        self.pause_if_full()
    }

    /// The connection is broken: nothing of what waits will ever be sent.
    #[cold]
    fn write_failed(self, exception: &Object) -> Outcome<()> {
        drop(self.take_unsent());
        self.watch_what_is_wanted()?;
        self.fatal_error(exception, "Fatal write error on socket transport")
    }

    /// The kernel has room again.
    pub(super) fn write_more(self) -> Outcome<()> {
        if self.is_lost() {
            return Ok(());
        }
        if let Err(error) = self.send(None) {
            let exception = os_error(&error)?;
            let failed = self.write_failed(&exception);
            return failed.and_then(|()| self.fail_empty_waiter(&exception));
        }
        self.resume_if_drained()?;
        // The protocol may have written more at once.
        self.flush()?;
        if self.has_unsent() {
            return Ok(());
        }
        self.watch_what_is_wanted()?;
        self.all_sent()
    }

    /// What was put off until everything is sent.
    fn all_sent(self) -> Outcome<()> {
        if let Some(waiter) = self.empty_waiter.get()
            && !is_done(&waiter)?
        {
            waiter.call_method(&imports().names.set_result, &[&crate::ffi::none()])?;
        }
        if self.is_lost() {
            return Ok(());
        }
        if self.closing.get() {
            self.lost.set(1);
            self.connection_lost(&crate::ffi::none())
        } else if self.eof.get() {
            Ok(self.shut_down_output()?)
        } else {
            Ok(())
        }
    }

    /// `write_eof()`.
    pub(super) fn write_eof(self) -> Outcome<()> {
        if self.closing.get() || self.eof.get() {
            return Ok(());
        }
        self.flush()?;
        // The flush may have found the connection broken.
        if self.closing.get() {
            return Ok(());
        }
        self.eof.set(true);
        if self.has_unsent() {
            return Ok(());
        }
        Ok(self.shut_down_output()?)
    }

    /// `_make_empty_waiter()`: a future that is done when everything is sent. Until
    /// `_reset_empty_waiter()` nobody may write.
    pub(super) fn make_empty_waiter(self) -> Outcome<Object> {
        if self.empty_waiter.is_some() {
            return Err(Raised::runtime_error("Empty waiter is already set"));
        }
        self.flush()?;
        let names = &imports().names;
        let event_loop = self.owner()?.into_object();
        let waiter = event_loop.call_method(&names.create_future, &[])?;
        self.empty_waiter.set(waiter.clone());
        if !self.has_unsent() {
            waiter.call_method(&names.set_result, &[&crate::ffi::none()])?;
        }
        Ok(waiter)
    }

    pub(super) fn fail_empty_waiter(self, exception: &Object) -> Outcome<()> {
        let Some(waiter) = self.empty_waiter.get() else {
            return Ok(());
        };
        if is_done(&waiter)? {
            return Ok(());
        }
        waiter
            .call_method(&imports().names.set_exception, &[exception])
            .map(drop)
    }

    /// `_wait_for_room()`: a future that is done when the kernel takes more, for who sends past
    /// the transport. It fails when the connection is lost.
    pub(super) fn make_room_waiter(self) -> Outcome<Object> {
        if self.is_lost() {
            return Err(connection_is_closed()?);
        }
        let event_loop = self.owner()?.into_object();
        let waiter = event_loop.call_method(&imports().names.create_future, &[])?;
        self.room_waiter.set(waiter.clone());
        self.watch_what_is_wanted()?;
        Ok(waiter)
    }

    #[cold]
    pub(super) fn tell_of_room(self) -> Outcome<()> {
        let Some(waiter) = self.room_waiter.take() else {
            return Ok(());
        };
        self.watch_what_is_wanted()?;
        if is_done(&waiter)? {
            return Ok(());
        }
        waiter
            .call_method(&imports().names.set_result, &[&crate::ffi::none()])
            .map(drop)
    }

    /// The connection is lost: there will be no room.
    pub(super) fn fail_room_waiter(self) -> Outcome<()> {
        let Some(waiter) = self.room_waiter.take() else {
            return Ok(());
        };
        if is_done(&waiter)? {
            return Ok(());
        }
        let exception = connection_is_closed()?.take();
        waiter
            .call_method(&imports().names.set_exception, &[&exception])
            .map(drop)
    }
}

fn connection_is_closed() -> Outcome<Raised> {
    let class = crate::imports::module(c"builtins")?.get_attr(&text("ConnectionError")?)?;
    Ok(Raised::new(&class, "Connection is closed by peer"))
}

fn is_done(future: &Object) -> Outcome<bool> {
    future.call_method(&text("done")?, &[])?.is_true()
}

/// What may be written, in the words of the version at hand.
const WRITABLE: &str = if cfg!(Py_3_14) {
    "bytes, bytearray, or memoryview object"
} else {
    "bytes-like object"
};

/// One item of `writelines()`, with asyncio's words when it is no bytes.
#[cfg(Py_3_12)]
fn lend_line(line: &Object) -> Outcome<Data<'_>> {
    Data::of(line).or_else(|raised| {
        // SAFETY: a built-in class.
        if !raised.matches(unsafe { sys::PyExc_TypeError }) {
            return Err(raised);
        }
        let words = raised.take().to_text()?;
        Err(Raised::type_error(&format!("memoryview: {words}")))
    })
}
