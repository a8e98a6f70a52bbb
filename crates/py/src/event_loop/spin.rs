//! A task that is resumed, or a callback that is called, in every turn for no reason but that it
//! wants to be.

use std::cell::{Cell, RefCell};

use ferrio_inspect::Doing;

use super::{Entry, EventLoop};
use crate::ffi::{Object, Outcome, This, code_of_function, interned, text};
use crate::handle::TimerHandle;
use crate::imports::module;
use crate::task::are_lints_on;

/// So many turns in a row, within [`WITHIN`].
const TURNS: u32 = 20_000;
/// Nanoseconds.
const WITHIN: i64 = 10_000_000_000;

/// A callback must then be queued again at the end of so many turns more.
const TURNS_TO_BE_SURE: u32 = 100;

/// More entries of the ready queue are not compared.
const MOST_COMPARED: usize = 32;

/// What the last turns have ended with.
#[derive(Default)]
pub(super) struct Spin {
    /// The task's address; 0 for a callback.
    object: Cell<usize>,
    turns: Cell<u32>,
    /// When the first of them was, in nanoseconds.
    since: Cell<i64>,
    /// The callbacks that have been queued at the end of each turn since there were enough of them,
    /// by what they run.
    callbacks: RefCell<Vec<usize>>,
}

impl This<'_, EventLoop> {
    /// A turn has ended with this, which is at that address; after I/O with nothing.
    #[inline]
    pub(super) fn turn_ended_with(self, doing: Doing, object: usize) {
        let object = match doing {
            Doing::Step => object,
            // Each call has a handle of its own.
            Doing::Callback => 0,
            _ => {
                self.value().spin.turns.set(0);
                return;
            }
        };
        let spin = &self.value().spin;
        if spin.object.replace(object) != object {
            spin.turns.set(0);
            return;
        }
        let turns = spin.turns.get() + 1;
        spin.turns.set(turns);
        if turns == 1 {
            spin.since.set(self.moment().as_nanos());
        } else if turns >= TURNS {
            self.spins(object, turns);
        }
    }

    #[cold]
    fn spins(self, object: usize, turns: u32) {
        let spin = &self.value().spin;
        let passed = self.moment().as_nanos() - spin.since.get();
        if passed > WITHIN || !are_lints_on() {
            spin.turns.set(0);
            return;
        }
        #[allow(clippy::cast_precision_loss, reason = "for a message")]
        let seconds = passed as f64 / 1e9;
        if object != 0 {
            spin.turns.set(0);
            self.task_spins(object, seconds);
        } else if !self.is_queued_again(turns == TURNS) {
            spin.turns.set(0);
        } else if turns == TURNS + TURNS_TO_BE_SURE {
            spin.turns.set(0);
            if let Err(raised) = self.callback_spins(turns, seconds) {
                raised.report_unraisable(&self.object());
            }
        }
    }

    fn task_spins(self, object: usize, seconds: f64) {
        let mut spinning = None;
        self.for_each_ready(|entry| {
            if let Entry::Step(task) = entry
                && task.address().addr() == object
            {
                spinning = Some(task.clone());
            }
        });
        if let Some(task) = spinning {
            task.this().tell_hot_spin(TURNS, seconds);
        }
    }

    /// Whether one of the callbacks that were queued at the end of the turns before is again.
    fn is_queued_again(self, is_first: bool) -> bool {
        let queued: Vec<usize> = self.queued_callbacks().iter().map(identity).collect();
        let mut callbacks = self.spin.callbacks.borrow_mut();
        if is_first {
            *callbacks = queued;
        } else {
            callbacks.retain(|one| queued.contains(one));
        }
        !callbacks.is_empty()
    }

    fn queued_callbacks(self) -> Vec<Object> {
        let mut callbacks = Vec::new();
        self.for_each_ready(|entry| {
            if let Entry::Handle(handle) = entry
                && callbacks.len() < MOST_COMPARED
                && handle.this().task().is_none()
                && let Some(callback) = handle.this().callback()
            {
                callbacks.push(callback);
            }
        });
        // One that a timer calls as soon as the next turn comes is queued as well.
        let now = self.core.now().as_secs_f64();
        let mut timers = Vec::new();
        self.for_each_timer(|entry| {
            if let Entry::Handle(handle) = entry
                && handle.this().task().is_none()
            {
                timers.push(handle.clone());
            }
        });
        for handle in timers {
            let callback = handle.this().callback();
            let handle = handle.into_object();
            let deadline =
                This::<TimerHandle>::from_object(&handle).and_then(This::<TimerHandle>::deadline);
            if callbacks.len() < MOST_COMPARED
                && deadline.is_some_and(|deadline| deadline <= now)
                && let Some(callback) = callback
            {
                callbacks.push(callback);
            }
        }
        callbacks
    }

    /// `ferrio.lints._tell_of_callback(kind, loop, callback, words)`.
    fn callback_spins(self, turns: u32, seconds: f64) -> Outcome<()> {
        let spinning = self.spin.callbacks.borrow().first().copied();
        let callbacks = self.queued_callbacks();
        let Some(callback) = callbacks.iter().find(|one| Some(identity(one)) == spinning) else {
            return Ok(());
        };
        let words = format!(
            "was called in each of {turns} turns within {seconds:.3} s, without any I/O: \
            it schedules itself for the next turn"
        );
        module(c"ferrio.lints")?
            .get_attr(&interned(c"_tell_of_callback")?)?
            .call(
                &[&text("hot-spin")?, &self.object(), callback, &text(&words)?],
                None,
            )
            .map(drop)
    }
}

/// What a callback runs: the same for a method that was bound twice.
fn identity(callback: &Object) -> usize {
    code_of_function(callback).map_or_else(|| callback.address(), |code| code.address())
}
