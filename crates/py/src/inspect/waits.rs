//! What a task waits for, out of its chain of awaits.

use ferrio_inspect::snapshot::{Wait, WaitKind};

use super::chain::Chain;
use crate::ffi::{Object, Own, This};
use crate::task::Task;

/// What a task waits for. `awaited` is the future that it stands in the list of.
pub(super) fn wait_of(task: &Own<Task>, _chain: &Chain, awaited: &Object) -> Wait {
    let (kind, tasks) = match This::<Task>::from_object(awaited) {
        Some(other) => (WaitKind::Task, vec![other.origin.id()]),
        None => (WaitKind::Future, Vec::new()),
    };
    Wait {
        kind,
        what: String::new(),
        tasks,
        object: awaited.as_ptr().addr() as u64,
        site: None,
        since: task.origin.since(),
        until: None,
    }
}
