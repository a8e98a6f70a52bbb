//! Why a task waits, in a few words that hold for everyone who waits at that line.

use ferrio_inspect::view::words;

use super::chain::Chain;
use super::waits::wait_of;
use crate::ffi::{Object, Own};
use crate::task::{Task, site_in};

/// "queue get at app.py:12 worker".
pub(crate) fn reason_to_wait(
    task: &Own<Task>,
    coroutine: Option<&Object>,
    awaited: &Object,
) -> String {
    let Some(coroutine) = coroutine else {
        return "waits".to_owned();
    };
    let chain = Chain::of(coroutine);
    let wait = wait_of(task, &chain, awaited);
    let kind = words::wait_kind(wait.kind);
    let innermost = || match site_in(&chain.spots.last()?.code, chain.spots.last()?.instruction) {
        Ok(site) => Some(site),
        Err(raised) => {
            raised.discard(); // The words do without it.
            None
        }
    };
    match wait.site.or_else(innermost) {
        Some(site) => format!("{kind} at {}", words::site(&site)),
        None => kind.to_owned(),
    }
}
