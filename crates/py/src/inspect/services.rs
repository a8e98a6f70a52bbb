//! When the native threads of ours are stopped and started: for `ferrio.forking`.

use ferrio_inspect::services::{Stopping, services};
use ferrio_inspect::watchdog;

use super::{http, interpreter_thread, process, socket};
use crate::ffi::{Arguments, Method, Object, Outcome, Raised, none, released};

/// The functions that `ferrio.forking` calls.
pub(super) fn functions() -> Vec<Method> {
    vec![
        Method::function(
            c"_begin_fork",
            |arguments| {
                refuse_arguments(arguments)?;
                stop(services().begin_fork());
                Ok(none())
            },
            c"Stop ferrio's native threads: this thread is about to fork.",
        ),
        Method::function(
            c"_end_fork_in_parent",
            |arguments| {
                refuse_arguments(arguments)?;
                services().end_fork();
                Ok(none())
            },
            c"Have the next turn of a loop start the native threads again.",
        ),
        Method::function(
            c"_end_fork_in_child",
            |arguments| {
                refuse_arguments(arguments)?;
                services().forget();
                interpreter_thread::forget();
                process::forget();
                socket::forget();
                http::forget();
                watchdog::forget();
                Ok(none())
            },
            c"Forget the native threads, which are the parent's.",
        ),
        Method::function(
            c"_end_services",
            |arguments| {
                refuse_arguments(arguments)?;
                // What it says at last is still handed on to Python.
                stop(services().stop(watchdog::NAME));
                stop(services().end());
                Ok(none())
            },
            c"Stop ferrio's native threads for good: the interpreter ends.",
        ),
    ]
}

/// Starts the native threads again that were stopped for a fork. Called once a turn; a failure is
/// reported on behalf of `event_loop`.
#[inline]
pub(crate) fn resume_after_fork(event_loop: &Object) {
    if services().is_waiting() {
        resume(event_loop);
    }
}

#[cold]
fn resume(event_loop: &Object) {
    if let Err(error) = services().resume() {
        Raised::from(error).report_unraisable(event_loop);
    }
}

/// Waits for threads that may need the interpreter to come to their end.
pub(super) fn stop(stopping: Stopping) {
    if !stopping.is_empty() {
        released(|| stopping.wait());
    }
}

fn refuse_arguments(arguments: Arguments<'_>) -> Outcome<()> {
    match arguments.positional() {
        [] if !arguments.has_keywords() => Ok(()),
        _ => Err(Raised::type_error("no arguments are expected")),
    }
}
