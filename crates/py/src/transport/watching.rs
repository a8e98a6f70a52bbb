//! What the loop watches a transport's socket for.
//!
//! The socket stays registered for reading while the connection lasts, so that a packet costs no
//! `epoll_ctl`, and is registered for writing only while the kernel has no room. What is wanted
//! and not registered is registered at once. Reading that is paused is left registered: a protocol
//! that pauses mostly resumes before anything arrives. When something does arrive, that is the
//! moment to stop watching.

use ferrio_core::{Interest, Readiness};

use super::Transport;
use crate::event_loop::EventLoop;
use crate::ffi::{Context, ObjectCell, Outcome, This};

impl<T: Transport> This<'_, T> {
    #[inline]
    fn wanted(self) -> Interest {
        let mut wanted = Interest::empty();
        wanted.set(Interest::READABLE, self.reads.get());
        wanted.set(Interest::WRITABLE, self.value().awaits_room());
        wanted
    }

    /// The loop's entry: the socket is ready.
    ///
    /// # Errors
    /// KeyboardInterrupt and SystemExit of the protocol.
    #[inline]
    pub(crate) fn on_ready(self, readiness: Readiness) -> Outcome<()> {
        if readiness.concerns_reader() {
            if self.reads.get() {
                let outcome = self.read_in_context();
                self.contain(outcome, "_read_ready")?;
            } else if self.watched.get().contains(Interest::READABLE) {
                let outcome = self.watch_what_is_wanted();
                self.contain(outcome, "pause_reading")?;
            }
        }
        // The read may have had the last word.
        if readiness.concerns_writer() && self.value().awaits_room() {
            let outcome = self.in_context(&self.value().write_context, T::write_ready);
            self.contain(outcome, T::WRITE_CALLBACK)?;
        }
        Ok(())
    }

    /// Reading begins, unless it was paused or the connection has gone already.
    pub(super) fn start_reading(self) -> Outcome<()> {
        if self.is_reading() {
            self.want_reads()
        } else {
            Ok(())
        }
    }

    /// `is_reading()`.
    pub(super) fn is_reading(self) -> bool {
        !self.closing.get() && !self.paused.get()
    }

    /// `pause_reading()`.
    pub(super) fn pause_reading(self) -> Outcome<()> {
        if !self.is_reading() {
            return Ok(());
        }
        self.paused.set(true);
        self.reads.set(false);
        self.log_debug("%r pauses reading", &[])
    }

    /// `resume_reading()`.
    pub(super) fn resume_reading(self) -> Outcome<()> {
        if self.closing.get() || !self.paused.get() {
            return Ok(());
        }
        self.paused.set(false);
        self.want_reads()?;
        self.log_debug("%r resumes reading", &[])
    }

    /// Runs `body` in the context that `cell` holds.
    #[inline]
    pub(super) fn in_context(
        self,
        cell: &ObjectCell,
        body: impl FnOnce(Self) -> Outcome<()>,
    ) -> Outcome<()> {
        match cell.get() {
            Some(context) => {
                let _entered = Context::enter(&context)?;
                body(self)
            }
            None => body(self),
        }
    }

    /// Reads in the context in which reading began. If that was an empty one, one is lent for each
    /// time, and kept once a variable is set in it.
    #[inline]
    fn read_in_context(self) -> Outcome<()> {
        let cell = &self.value().read_context;
        if cell.is_some() {
            return self.in_context(cell, T::read_ready);
        }
        let event_loop = self.owner()?;
        let lent = event_loop.lend_context()?;
        cell.set(lent.clone());
        let outcome = self.in_context(cell, T::read_ready);
        // Python is asked nothing with an exception on its way.
        if outcome.is_ok() {
            // Reading may have ended meanwhile, or have been resumed in another context.
            let is_still_its = cell.address() == lent.as_ptr();
            if is_still_its {
                drop(cell.take());
            }
            if let Some(used) = event_loop.take_context_back(lent)?
                && is_still_its
            {
                cell.set(used);
            }
        }
        outcome
    }

    /// Wants to be told of what arrives, in a copy of the current context.
    pub(super) fn want_reads(self) -> Outcome<()> {
        self.read_context
            .assign(Context::copy_current_unless_empty()?);
        self.reads.set(true);
        self.watch_what_is_wanted()
    }

    /// Brings what the loop watches in line with what is wanted.
    ///
    /// # Errors
    /// RuntimeError when something is wanted of a closed loop; OSError from the kernel.
    pub(super) fn watch_what_is_wanted(self) -> Outcome<()> {
        let (wanted, watched) = (self.wanted(), self.watched.get());
        if wanted == watched {
            return Ok(());
        }
        let Some(event_loop) = self.event_loop.get() else {
            return Ok(());
        };
        self.watched.set(wanted);
        let (event_loop, fd) = (event_loop.this(), self.fd.get());
        let outcome = if watched.is_empty() {
            event_loop
                .check_closed()
                .and_then(|()| event_loop.watch_transport(fd, T::into_any(self.own()), wanted))
        } else if !self.is_watched_by(event_loop) {
            // It is closed, or the number has gone to another transport.
            event_loop.check_closed().or_else(|raised| {
                if !watched.contains(wanted) {
                    return Err(raised);
                }
                raised.discard(); // Nothing more is wanted of the closed loop.
                Ok(())
            })
        } else if wanted.is_empty() {
            event_loop.unwatch_transport(fd)
        } else {
            event_loop.rewatch_transport(fd, wanted)
        };
        if outcome.is_err() {
            self.watched.set(watched);
        }
        outcome
    }

    /// Whether the loop watches the number for us: when the socket was closed behind our back
    /// another transport may have the number now, and its events.
    fn is_watched_by(self, event_loop: This<'_, EventLoop>) -> bool {
        event_loop
            .watcher_of(self.fd.get())
            .is_some_and(|watcher| watcher.address() == self.as_ptr())
    }
}
