//! A task that is resumed in every turn for no reason but that it wants to be.

use std::cell::Cell;

use super::{Entry, EventLoop};
use crate::ffi::This;
use crate::task::are_lints_on;

/// So many turns in a row, within [`WITHIN`].
const TURNS: u32 = 20_000;
/// Nanoseconds.
const WITHIN: i64 = 10_000_000_000;

/// What the last turns have ended with.
#[derive(Default)]
pub(super) struct Spin {
    /// The task's address.
    object: Cell<usize>,
    turns: Cell<u32>,
    /// When the first of them was, in nanoseconds.
    since: Cell<i64>,
}

impl This<'_, EventLoop> {
    /// A turn has ended with a step of the task at that address (0 for something else, and after
    /// I/O).
    #[inline]
    pub(super) fn turn_ended_with(self, object: usize) {
        let spin = &self.value().spin;
        if object == 0 || spin.object.replace(object) != object {
            spin.turns.set(0);
            return;
        }
        let turns = spin.turns.get() + 1;
        spin.turns.set(turns);
        if turns == 1 {
            spin.since.set(self.moment().as_nanos());
        } else if turns == TURNS {
            self.spins();
        }
    }

    #[cold]
    fn spins(self) {
        let spin = &self.value().spin;
        spin.turns.set(0);
        let passed = self.moment().as_nanos() - spin.since.get();
        if passed > WITHIN || !are_lints_on() {
            return;
        }
        let mut spinning = None;
        self.for_each_ready(|entry| {
            if let Entry::Step(task) = entry
                && task.address().addr() == spin.object.get()
            {
                spinning = Some(task.clone());
            }
        });
        if let Some(task) = spinning {
            #[allow(clippy::cast_precision_loss, reason = "for a message")]
            let seconds = passed as f64 / 1e9;
            task.this().tell_hot_spin(TURNS, seconds);
        }
    }
}
