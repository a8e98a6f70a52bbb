//! What the watchdog sees of a loop's thread, and with what.

use std::fmt;
use std::time::Duration;

use serde::{Serialize, Serializer};

use crate::Doing;
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

    /// The Python frames of a thread, and why it does not come on.
    fn look_at(&mut self, thread: u32, thread_state: usize) -> Sight;

    /// The task or callback that the heartbeat names.
    fn culprit(&mut self, doing: Doing, object: usize) -> Culprit;

    /// What a thread has had of the processors so far; `None` where the kernel does not tell.
    fn run_time(&mut self, thread: u32) -> Option<RunTime>;

    /// Whether a thread could run, or does.
    fn is_runnable(&mut self, thread: u32) -> bool;

    /// A line of a source file, without the space around it.
    fn source_line(&mut self, site: &Site) -> Option<String>;
}

/// What a thread is at.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Sight {
    /// The Python frames, the innermost first; empty if they could not be read.
    pub frames: Vec<Site>,
    /// Why the thread does not come on.
    pub cause: Cause,
}

/// Why a thread does not come on.
#[derive(Clone, PartialEq, Eq, Hash, Debug, Default)]
pub enum Cause {
    /// It runs Python code.
    Python,
    /// It runs C code that holds the interpreter.
    CGil,
    /// It runs C code that has released the interpreter.
    CNogil,
    /// It waits in a system call.
    Syscall(String),
    /// It waits for the interpreter.
    GilWait {
        /// The kernel's number of the thread that holds it.
        thread: u32,
        /// That thread's name, if it was given one.
        name: Option<String>,
        /// What that thread is at, if it could be read.
        at: Option<Site>,
    },
    /// The garbage collector is at work.
    Gc,
    /// Others have the processors.
    Descheduled,
    /// It could not be seen.
    #[default]
    Unknown,
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Cause::Python => "python",
            Cause::CGil => "c-gil",
            Cause::CNogil => "c-nogil",
            Cause::Syscall(name) => return write!(formatter, "syscall:{name}"),
            Cause::GilWait { .. } => "gil-wait",
            Cause::Gc => "gc",
            Cause::Descheduled => "descheduled",
            Cause::Unknown => "unknown",
        })
    }
}

impl Serialize for Cause {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whose work a loop is at.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Culprit {
    /// A task's step.
    Task(SeenTask),
    /// A callback.
    Callback,
    /// A transport's or socket call's event, or a done-callback.
    Event,
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
