//! A process's loops and tasks at one moment, as plain data.
//!
//! The one shape from which `ferrio.tasks()`, `ferrio dump`, the inspect socket, HTTP, the web page
//! and the terminal view are made. Its JSON is what the socket and HTTP speak. Times are seconds;
//! `since` and `at` are on the process's monotonic clock, so that `taken_at - since` is how long.

use serde::{Deserialize, Serialize};

/// All loops of a process.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Snapshot {
    /// The process's number.
    pub process: u32,
    /// The command line that it was started with.
    pub command: Vec<String>,
    /// "3.13.0".
    pub python: String,
    /// ferrio's version.
    pub ferrio: String,
    /// Monotonic seconds.
    pub taken_at: f64,
    /// Monotonic seconds of the moment from which everything that needs the interpreter is (tasks,
    /// waits, stacks). Earlier than `taken_at` when the interpreter could not be had.
    pub tasks_at: f64,
    /// The loops that exist, those that run first.
    pub loops: Vec<Loop>,
    /// ferrio's queues, of all loops.
    #[serde(default)]
    pub queues: Vec<Queue>,
}

/// A queue between tasks.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Queue {
    /// The line that made it, which is its name.
    pub created: Option<Site>,
    /// An address that is the same for the same queue.
    #[serde(default)]
    pub object: u64,
    /// What is in it.
    pub items: u64,
    /// How much there is room for; `None` without a limit.
    pub room: Option<u64>,
    /// Tasks that wait for an item.
    pub getters: u64,
    /// Tasks that wait for room.
    pub putters: u64,
    /// Items for which `task_done()` was not called yet.
    pub unfinished: u64,
}

/// An event loop.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Loop {
    /// Counts the process's loops, from 1.
    pub id: u64,
    /// The kernel's number of the thread that runs it.
    pub thread: Option<u32>,
    /// What runs right now.
    pub running: Running,
    /// Turns made so far.
    pub turns: u64,
    /// Entries in the ready queue.
    pub ready: usize,
    /// Timers that wait.
    pub timers: usize,
    /// Tasks that are not done, in order of creation.
    pub tasks: Vec<Task>,
    /// What transports, servers, readers and subprocesses there are.
    pub resources: Vec<Resource>,
}

/// What a loop is at.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Running {
    /// Nobody runs the loop.
    Stopped,
    /// It waits for events.
    Waiting,
    /// It makes a task's step.
    Step {
        /// The task's id.
        task: u64,
        /// Since when (monotonic seconds): to a turn's precision, or since it was first seen.
        since: Option<f64>,
    },
    /// It calls something else.
    Callback {
        /// What, if it is known: a Python function is, with its place.
        name: Option<String>,
        /// As for a step.
        since: Option<f64>,
    },
}

/// A task that is not done.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Task {
    /// Counts the process's tasks, from 1; never given twice.
    pub id: u64,
    /// `get_name()`.
    pub name: String,
    /// The coroutine's qualified name.
    pub coroutine: String,
    /// Where `create_task` was called.
    pub created: Option<Site>,
    /// Monotonic seconds.
    pub created_at: Option<f64>,
    /// The id of the task that created it; that task may be gone.
    pub parent: Option<u64>,
    /// Who answers for it.
    pub owner: Owner,
    /// What it is at.
    pub state: TaskState,
    /// What it waits for, from the outermost await to the innermost.
    pub wait: Option<Wait>,
    /// Its frames, the outermost first.
    pub stack: Vec<Site>,
    /// Steps made so far; `None` when they are not counted.
    pub steps: Option<u64>,
    /// Seconds of CPU in its steps, where that is measured.
    pub cpu: Option<f64>,
    /// Seconds of its longest step, where that is measured.
    pub longest_step: Option<f64>,
    /// `cancelling()`.
    pub cancelling: u32,
    /// Whether it is the standard library's and not ferrio's.
    pub foreign: bool,
}

/// What a task is at.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TaskState {
    /// Its step is being made.
    Running,
    /// It stands in the ready queue.
    Ready,
    /// It waits.
    Waiting,
}

/// Who answers for a task.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Owner {
    /// `create_task` was called and nothing more is known.
    User,
    /// `asyncio.run` or `run_until_complete`.
    Runner,
    /// A task group entered by a task.
    TaskGroup {
        /// The task that has entered it.
        task: Option<u64>,
    },
    /// `gather`, `wait_for` and their like, called by a task.
    Combinator {
        /// "gather".
        name: String,
        /// The task that called it.
        task: Option<u64>,
    },
    /// A server made it for a connection.
    Server,
}

/// What a task waits for.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Wait {
    /// What kind of thing.
    pub kind: WaitKind,
    /// The thing in words: a lock's repr, an address, a descriptor, a deadline.
    pub what: String,
    /// What the program calls it: "Class.attribute", or a variable's name.
    #[serde(default)]
    pub name: Option<String>,
    /// The tasks that are waited for, or that hold what is waited for.
    pub tasks: Vec<u64>,
    /// An address that is the same for the same thing, for the wait graph; 0 if there is none.
    pub object: u64,
    /// The line that waits: the innermost Python frame.
    pub site: Option<Site>,
    /// Monotonic seconds; to a turn's precision.
    pub since: Option<f64>,
    /// For sleeps and timeouts, when it ends by itself.
    pub until: Option<f64>,
    /// Whether `tasks` have to end the wait themselves, each by its own end or by that of its
    /// `async with` section: nobody else does.
    #[serde(default)]
    pub certain: bool,
    /// Whether each of `tasks` has to end before the wait does; otherwise one is enough.
    #[serde(default)]
    pub all: bool,
}

/// Kinds of things that tasks wait for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum WaitKind {
    /// `Lock.acquire`.
    Lock,
    /// `Semaphore.acquire`.
    Semaphore,
    /// `Condition.wait`.
    Condition,
    /// `Event.wait`.
    Event,
    /// `Barrier.wait`.
    Barrier,
    /// `Queue.get`.
    QueueGet,
    /// `Queue.put`.
    QueuePut,
    /// `Queue.join`.
    QueueJoin,
    /// `sleep`.
    Sleep,
    /// `wait_for`, or within a `timeout` block that ends it.
    Timeout,
    /// Another task.
    Task,
    /// `gather`, `wait`, `as_completed`.
    Tasks,
    /// A task group's end.
    TaskGroup,
    /// A socket to become readable, or data of a stream.
    Read,
    /// A socket to become writable, or a stream to drain.
    Write,
    /// A connection to be made or accepted.
    Connection,
    /// A name lookup.
    Lookup,
    /// A call in a thread.
    Executor,
    /// A subprocess.
    Subprocess,
    /// A future of which no more is known.
    Future,
}

impl WaitKind {
    /// The word for it, as in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            WaitKind::Lock => "lock",
            WaitKind::Semaphore => "semaphore",
            WaitKind::Condition => "condition",
            WaitKind::Event => "event",
            WaitKind::Barrier => "barrier",
            WaitKind::QueueGet => "queue-get",
            WaitKind::QueuePut => "queue-put",
            WaitKind::QueueJoin => "queue-join",
            WaitKind::Sleep => "sleep",
            WaitKind::Timeout => "timeout",
            WaitKind::Task => "task",
            WaitKind::Tasks => "tasks",
            WaitKind::TaskGroup => "task-group",
            WaitKind::Read => "read",
            WaitKind::Write => "write",
            WaitKind::Connection => "connection",
            WaitKind::Lookup => "lookup",
            WaitKind::Executor => "executor",
            WaitKind::Subprocess => "subprocess",
            WaitKind::Future => "future",
        }
    }
}

/// A place in a program.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
pub struct Site {
    /// The file's path as the code object has it.
    pub file: String,
    /// From 1.
    pub line: u32,
    /// The function's qualified name.
    pub function: String,
}

/// Something that the loop serves beside tasks.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Resource {
    /// "stream", "datagram", "pipe", "server", "subprocess", "reader", "writer", "signal".
    pub kind: String,
    /// The thing in words.
    pub what: String,
    /// Bytes received and sent, where they are counted.
    pub bytes: Option<(u64, u64)>,
    /// Bytes that wait to be sent.
    pub buffered: Option<u64>,
}
