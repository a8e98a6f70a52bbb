//! Where views get their data from: the process itself, or a test's fixed picture.

use std::time::Duration;

use crate::{Metrics, Snapshot};

/// Gives what every view shows. Called from native threads that do not hold the interpreter, at
/// any time, also while a loop is blocked.
pub trait Source: Send + Sync {
    /// The loops as they are now, and their tasks as they are now if the interpreter can be had
    /// within `patience`; else as they were at the snapshot's `tasks_at`. It may take as long as
    /// that and not much longer.
    fn snapshot(&self, patience: Duration) -> Snapshot;

    /// The numbers of the loops. Never waits.
    fn metrics(&self) -> Metrics;
}
