//! What an event loop asks of whoever runs it.

use std::io;
use std::time::Duration;

use crate::{Event, EventLoop, Instant};

/// Gives meaning to a loop's entries, events and signals.
///
/// The loop decides when; the driver decides what. Nothing of the loop is borrowed during any
/// call, so a driver may call every method of [`EventLoop`] from every method here.
pub trait Driver<T> {
    /// What makes [`EventLoop::run`] return early. It is made from an [`io::Error`] when the
    /// reactor breaks.
    type Error: From<io::Error>;

    /// The time that timers go by. `clock` is a fresh reading of the loop's own clock, and the
    /// answer unless the driver has another time.
    ///
    /// # Errors
    ///
    /// End the run.
    #[inline]
    fn now(&mut self, event_loop: &EventLoop<T>, clock: Instant) -> Result<Instant, Self::Error> {
        let _ = event_loop;
        Ok(clock)
    }

    /// Calls `wait`, which waits for I/O for `timeout` at most: for ever when it is `None`, not at
    /// all when it is zero. A driver that holds an interpreter's lock releases it around the call.
    #[inline]
    fn wait<R: Send>(&mut self, timeout: Option<Duration>, wait: impl FnOnce() -> R + Send) -> R {
        let _ = timeout;
        wait()
    }

    /// Whether a turn that is about to wait may look for events first. Not if it would have to let
    /// others have something for that: then waiting is as cheap.
    #[inline]
    fn may_look(&mut self) -> bool {
        true
    }

    /// A wait begins at `now`, on the monotonic clock, that may last; what the loop did before it
    /// ends here. Not told of a look at what is there already.
    #[inline]
    fn begin_wait(&mut self, now: Instant) {
        let _ = now;
    }

    /// A wait or a look has ended at `now`, on the monotonic clock.
    #[inline]
    fn polled(&mut self, now: Instant) {
        let _ = now;
    }

    /// Timers were found due, the first of them this long after it was: after its deadline or, if
    /// that is later, the turn that did not find it.
    #[inline]
    fn timers_due(&mut self, late: Duration) {
        let _ = late;
    }

    /// A turn is about to run so many entries.
    #[inline]
    fn begin_batch(&mut self, event_loop: &EventLoop<T>, count: usize) {
        let _ = (event_loop, count);
    }

    /// A signal handler interrupted the wait. The turn goes on without events.
    ///
    /// # Errors
    ///
    /// End the run.
    #[inline]
    fn interrupted(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// A watched file descriptor is ready. Turns the event into ready entries.
    ///
    /// The events of one wait are told one after another. An fd that was deregistered for an
    /// earlier one may still have an event among the later: a driver that reuses tokens tells
    /// generations apart.
    ///
    /// # Errors
    ///
    /// End the run. Events not told yet are told by the next turn, if they still hold.
    fn event(&mut self, event_loop: &EventLoop<T>, event: Event) -> Result<(), Self::Error>;

    /// A signal arrived through [`EventLoop::signal_fd`].
    ///
    /// # Errors
    ///
    /// End the run. Signals not told yet are told by the next turn.
    #[inline]
    fn signal(&mut self, event_loop: &EventLoop<T>, number: u8) -> Result<(), Self::Error> {
        let _ = (event_loop, number);
        Ok(())
    }

    /// Runs one entry.
    ///
    /// # Errors
    ///
    /// End the run. The rest of the batch stays queued, in order.
    fn run(&mut self, event_loop: &EventLoop<T>, entry: T) -> Result<(), Self::Error>;

    /// The turn is over, with this `outcome`, also when that is an error. What the turn gathered
    /// can be flushed here. The driver decides what becomes of the outcome, usually itself.
    ///
    /// # Errors
    ///
    /// End the run.
    #[inline]
    fn end_of_turn(
        &mut self,
        event_loop: &EventLoop<T>,
        outcome: Result<(), Self::Error>,
    ) -> Result<(), Self::Error> {
        let _ = event_loop;
        outcome
    }
}
