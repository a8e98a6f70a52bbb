//! What shows loops to people, as far as it needs Python: `ferrio_inspect` has the rest.
//!
//! Any thread may ask for a [`ferrio_inspect::Snapshot`], also while the loop's own is in the
//! middle of a step. Nothing is kept while nobody asks: what a task waits for is found in its
//! coroutine, from the outermost await to the innermost.
//!
//! | module | what it holds |
//! |---|---|
//! | `chain` | from a task's outermost await to the innermost |
//! | `commands` | what `ferrio ps` and its like ask of other processes |
//! | `collect` | what loops and tasks are at, for whoever holds the interpreter |
//! | `http` | the HTTP server, as Python starts it |
//! | `interpreter_thread` | how native threads get something done in Python |
//! | `layout` | where the interpreter keeps what native threads look at |
//! | `look` | what the tests see of a thread from outside |
//! | `names` | what a program calls what a task waits for |
//! | `process` | this process as what views are made from |
//! | `reasons` | why a task waits, in a few words |
//! | `services` | the native threads, at a fork and at the end |
//! | `socket` | the inspect socket of this process |
//! | `stuck` | tasks that wait for what nobody who can run is able to reach |
//! | `waits` | what a task waits for |
//! | `watchdog` | which loops it watches, and how its reports reach Python |

mod chain;
mod collect;
mod commands;
mod cycles;
mod http;
mod ids;
pub(crate) mod interpreter_thread;
mod known_functions;
mod layout;
mod look;
mod names;
mod process;
mod reasons;
mod services;
mod socket;
mod stuck;
mod told;
mod waits;
mod watchdog;

pub(crate) use collect::collect_snapshot;
pub(crate) use cycles::{
    begin_endless_wait, begin_wait_for_future, begin_wait_for_group, begin_wait_for_lock,
    cycles_now,
};
pub(crate) use layout::layout;
pub(crate) use reasons::{reason_to_wait, told_kind};
pub(crate) use services::resume_after_fork;
pub(crate) use stuck::{look_soon, stuck_now};
pub(crate) use told::Told;

use serde::Serialize;

use crate::ffi::{Arguments, Method, Object, Outcome, Raised, text};

/// The module's functions.
pub(crate) fn functions() -> Vec<Method> {
    let mut functions = services::functions();
    functions.extend(socket::functions());
    functions.extend(commands::functions());
    functions.extend(http::functions());
    functions.extend(look::functions());
    functions.extend(watchdog::functions());
    functions.push(Method::function(
        c"_metrics",
        metrics_text,
        c"_metrics(tasks): the metrics of all loops as JSON, with a look at every task or without.",
    ));
    functions
}

fn metrics_text(arguments: Arguments<'_>) -> Outcome<Object> {
    let [tasks] = arguments.positional() else {
        return Err(Raised::type_error("one argument is expected"));
    };
    json(&process::metrics_here(tasks.is_true()?)?)
}

/// The snapshot as JSON.
pub(crate) fn snapshot_text() -> Outcome<Object> {
    json(&collect_snapshot()?)
}

fn json(value: &impl Serialize) -> Outcome<Object> {
    match serde_json::to_string(value) {
        Ok(json) => text(&json),
        Err(error) => Err(Raised::runtime_error(&error.to_string())),
    }
}
