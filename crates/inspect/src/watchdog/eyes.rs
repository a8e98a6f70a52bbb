//! What the watchdog sees of a loop's thread, and with what.

use std::time::Duration;

use serde::Serialize;

use crate::python::Cause;
use crate::snapshot::Site;

/// Looks at threads from outside.
///
/// None of it waits for the interpreter. What it answers holds for the moment of the call: the
/// watchdog believes it if the loop's beat has not changed meanwhile.
pub trait Eyes {
    /// The monotonic clock.
    fn now(&mut self) -> Duration;

    /// How long the calling thread could have run so far and did not.
    fn own_delay(&mut self) -> Duration;

    /// The Python frames of a thread, the innermost first; none if they could not be read.
    fn frames(&mut self, thread: u32, thread_state: usize) -> Vec<Site>;

    /// Why a thread does not come on. Takes some milliseconds.
    fn cause(&mut self, thread: u32, thread_state: usize) -> Cause;

    /// The task that is at an address.
    fn task(&mut self, address: usize) -> SeenTask;

    /// What a thread has had of the processors so far; `None` where the kernel does not tell.
    fn run_time(&mut self, thread: u32) -> Option<RunTime>;

    /// Whether a thread could run, or does.
    fn is_runnable(&mut self, thread: u32) -> bool;

    /// A line of a source file, without the space around it.
    fn source_line(&mut self, site: &Site) -> Option<String>;
}

/// Whose work a loop is at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Culprit {
    /// A task's step.
    Task(SeenTask),
    /// A callback.
    Callback {
        /// The function's qualified name.
        function: Option<String>,
    },
    /// A transport's or socket call's event, or a done-callback.
    Event {
        /// The function that is called for it.
        function: Option<String>,
    },
    /// The loop itself, between turns.
    Loop,
}

/// What can be seen of a task from outside.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub struct SeenTask {
    /// Counts the process's tasks, from 1; `None` without the registry.
    pub id: Option<u64>,
    /// `get_name()`.
    pub name: Option<String>,
    /// The coroutine's qualified name.
    pub coroutine: Option<String>,
    /// Where it was created.
    pub created: Option<Site>,
    /// Who answers for it, in words.
    pub owner: Option<String>,
}

/// What a thread has had of the processors.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct RunTime {
    /// The time that it ran.
    pub cpu: Duration,
    /// The time that it could have run and did not, as far as that is over.
    pub delay: Duration,
}

impl RunTime {
    /// How much of the time since `before` is accounted for.
    pub(super) fn since(self, before: RunTime) -> Duration {
        self.cpu.saturating_sub(before.cpu) + self.delay.saturating_sub(before.delay)
    }
}
