//! When a turn that has ready work asks the kernel for I/O, and when one that has none looks before
//! it waits.

use std::cell::Cell;
use std::time::Duration;

use crate::Instant;

/// A poll costs as much as ten callbacks, so busy turns skip it; but never for longer than this. With
/// the poll itself, and what the kernel takes to say that a file is ready, it is at most 50 µs.
const LONGEST_SKIP: Duration = Duration::from_micros(40);

/// Where there was an event there are often more: so many turns after it poll.
const TURNS_AFTER_EVENT: u32 = 16;

/// A turn in so many, at least, looks before it waits.
const LONGEST_REST: u32 = 63;

/// Decides which turns of a busy loop poll. A turn without ready work always does.
///
/// A program that lets I/O happen by yielding a few times must find that it happened. Hence the
/// turns that always poll: the first of a run, the one after an fd was registered or written to,
/// those within 16 turns of an event, and, in the event loop itself, the one that a wake or a stop
/// falls into.
#[derive(Debug)]
pub(crate) struct PollPolicy {
    /// Skips nothing.
    every_turn: bool,
    /// How many turns from now poll in any case.
    forced_turns: Cell<u32>,
    /// When the last poll was, on the monotonic clock.
    last_poll: Cell<Instant>,
    /// When the turn before began, or polled.
    last_turn: Cell<Instant>,
    /// How many waits from now begin without a look.
    rest: Cell<u32>,
    /// How many will do so when the next look finds nothing, before it is raised.
    next_rest: Cell<u32>,
}

impl PollPolicy {
    pub(crate) fn new(every_turn: bool) -> Self {
        Self {
            every_turn,
            forced_turns: Cell::new(0),
            last_poll: Cell::new(Instant::ZERO),
            last_turn: Cell::new(Instant::ZERO),
            rest: Cell::new(LONGEST_REST),
            next_rest: Cell::new(LONGEST_REST),
        }
    }

    /// Whether a turn that is about to wait looks for events first.
    ///
    /// A wait costs more than a look, even when it need not last: it needs the time until the next
    /// deadline, of which the kernel makes another; it tells wakers; and a driver may have to let
    /// go of a lock for it. So a loop whose events are there before it asks for them had better
    /// look, and one that goes to sleep between them had better not. The last looks tell which it is.
    #[inline]
    pub(crate) fn looks_first(&self) -> bool {
        match self.rest.get() {
            0 => true,
            rest => {
                self.rest.set(rest - 1);
                false
            }
        }
    }

    /// What such a look came to. Two of three must find something for it to pay.
    #[inline]
    pub(crate) fn looked(&self, found: bool) {
        let next = self.next_rest.get();
        if found {
            self.next_rest.set(next / 2);
        } else {
            let next = (4 * next + 3).min(LONGEST_REST);
            self.rest.set(next);
            self.next_rest.set(next);
        }
    }

    /// Makes the next turn poll.
    #[inline]
    pub(crate) fn force(&self) {
        self.force_turns(1);
    }

    /// A turn begins; says whether it polls in any case.
    #[inline]
    pub(crate) fn begin_turn(&self) -> bool {
        let forced = self.forced_turns.get();
        self.forced_turns.set(forced.saturating_sub(1));
        forced > 0
    }

    /// Whether a turn that has ready work at this time and need not poll should do so: the next one,
    /// if it comes as late as this one, would be too late.
    #[inline]
    pub(crate) fn wants_poll(&self, now: Instant) -> bool {
        let turn = now.saturating_since(self.last_turn.replace(now));
        self.every_turn || now.saturating_since(self.last_poll.get()) + turn > LONGEST_SKIP
    }

    /// A poll ended `now`, with or without events.
    #[inline]
    pub(crate) fn polled(&self, now: Instant, found_events: bool) {
        self.last_poll.set(now);
        self.last_turn.set(now);
        if found_events {
            self.force_turns(TURNS_AFTER_EVENT);
        }
    }

    #[inline]
    fn force_turns(&self, turns: u32) {
        self.forced_turns.set(self.forced_turns.get().max(turns));
    }
}
