//! What a Python thread is at, at one moment.

use super::frames::{Raw, innermost};
use super::gil::{Gil, is_collecting};
use super::layout::Layout;
use crate::kernel::{Activity, activity, is_futex};

/// What was seen of a thread at one moment, of the kernel's part and of Python's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Moment {
    /// It sleeps in the system call of that number, and not for the interpreter.
    InCall(i64),
    /// It waits for the interpreter, which the thread with that `PyThreadState` holds.
    WaitsForInterpreter { holder: usize },
    /// It runs and holds the interpreter.
    HoldsInterpreter { place: Place, collects: bool },
    /// It runs and does not hold the interpreter.
    WithoutInterpreter,
    /// It runs; whether with the interpreter is not known.
    Runs,
    /// It could run, and was given no processor.
    Ready,
    /// Nothing of that, or it was seen on its way.
    Unclear,
}

impl Moment {
    pub(crate) fn is_runnable(self) -> bool {
        matches!(
            self,
            Moment::HoldsInterpreter { .. }
                | Moment::WithoutInterpreter
                | Moment::Runs
                | Moment::Ready
        )
    }
}

/// Where the innermost Python frame is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Place {
    At(Raw),
    /// No Python function is called.
    NoFrame,
    /// It was called or returned while it was read.
    Changing,
}

/// Looks at one thread.
pub(crate) struct Observer<'a> {
    thread: u32,
    thread_state: usize,
    /// With whom it shares the interpreter; `None` when that cannot be read.
    python: Option<(&'a Layout, Gil<'a>)>,
}

impl<'a> Observer<'a> {
    pub(crate) fn new(
        layout: Option<&'a Layout>,
        thread: u32,
        thread_state: usize,
    ) -> Observer<'a> {
        let gil = |layout| Some((layout, Gil::of(layout, thread_state).ok()?));
        Observer {
            thread,
            thread_state,
            python: layout.and_then(gil),
        }
    }

    pub(crate) fn look(&self) -> Moment {
        match activity(self.thread) {
            None | Some(Activity::Asleep) => Moment::Unclear,
            Some(Activity::InCall { number, first }) => self.in_call(number, first),
            Some(Activity::Runnable) => self.running(),
        }
    }

    fn in_call(&self, number: i64, first: usize) -> Moment {
        if !is_futex(number) {
            return Moment::InCall(number);
        }
        // Threads wait for each other in the same call, for whatever reason. Those that wait for
        // the interpreter do so within its lock; but for musl's, which wait on their own stacks.
        let Some((_layout, gil)) = self.python else {
            return Moment::Unclear;
        };
        let holder = (gil.holder().ok().flatten()).filter(|holder| *holder != self.thread_state);
        match holder {
            Some(holder) if gil.is_waited_for_at(first) => Moment::WaitsForInterpreter { holder },
            _ if gil.is_waited_for_at(first) => Moment::Unclear,
            Some(_holder) if cfg!(target_env = "musl") => Moment::Unclear,
            _ => Moment::InCall(number),
        }
    }

    fn running(&self) -> Moment {
        let Some((layout, gil)) = self.python else {
            return Moment::Runs;
        };
        match gil.holder() {
            Err(_unreadable) => Moment::Runs,
            Ok(Some(holder)) if holder == self.thread_state => Moment::HoldsInterpreter {
                place: match innermost(layout, self.thread_state) {
                    Ok(Some(raw)) => Place::At(raw),
                    Ok(None) => Place::NoFrame,
                    Err(_changing) => Place::Changing,
                },
                // What cannot be read is not said to be so.
                collects: is_collecting(layout, self.thread_state).unwrap_or(false),
            },
            Ok(_other_or_none) => Moment::WithoutInterpreter,
        }
    }
}
