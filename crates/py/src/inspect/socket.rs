//! The inspect socket of this process: opened when asked, served by a native thread.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use ferrio_inspect::services::{Stopping, services};
use ferrio_inspect::socket::{Directory, InspectSocket};
use ferrio_inspect::trace;

use super::process::Process;
use super::services::stop;
use crate::ffi::{Method, Object, Outcome, Raised, none, text};

const SERVICE: &str = "ferrio-inspect";

/// The socket while it is open. Held by threads that hold the interpreter, for a moment.
static SOCKET: Mutex<Option<Arc<InspectSocket>>> = Mutex::new(None);

fn socket() -> MutexGuard<'static, Option<Arc<InspectSocket>>> {
    // A panic elsewhere leaves a socket behind or none.
    SOCKET.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The functions of the module.
pub(super) fn functions() -> Vec<Method> {
    vec![
        Method::function(
            c"_open_inspect_socket",
            |arguments| match arguments.positional() {
                [] if !arguments.has_keywords() => open(),
                _ => Err(Raised::type_error("no arguments are expected")),
            },
            c"Open this process's inspect socket if it is not open, and return its path.",
        ),
        Method::function(
            c"_close_inspect_socket",
            |arguments| match arguments.positional() {
                [] if !arguments.has_keywords() => {
                    close();
                    Ok(none())
                }
                _ => Err(Raised::type_error("no arguments are expected")),
            },
            c"Close this process's inspect socket and remove its file; nothing if it is not open.",
        ),
    ]
}

fn open() -> Outcome<Object> {
    let mut place = socket();
    let opened = match &*place {
        Some(opened) => Arc::clone(opened),
        None => {
            let opened = start()?;
            *place = Some(Arc::clone(&opened));
            opened
        }
    };
    drop(place);
    text(&opened.path().display().to_string())
}

fn start() -> io::Result<Arc<InspectSocket>> {
    let source = Process::start()?;
    let opened = Arc::new(InspectSocket::open(&Directory::to_listen()?)?);
    let served = Arc::clone(&opened);
    match services().start(SERVICE, move |stop| served.serve(&source, &stop)) {
        Ok(()) => Ok(opened),
        Err(error) => {
            opened.close();
            Err(error)
        }
    }
}

fn close() {
    let Some(opened) = socket().take() else {
        return;
    };
    let stopping: Stopping = services().stop(SERVICE);
    stop(stopping);
    opened.close();
}

/// This is the child of a fork: the socket is the parent's, and so is a recording.
pub(super) fn forget() {
    if let Some(opened) = socket().take() {
        opened.forget();
    }
    trace::forget();
}
