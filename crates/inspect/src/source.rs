//! Where views get their data from: the process itself, or a test's fixed picture.

use std::sync::Arc;
use std::time::Duration;

use crate::watchdog::{Report, recent_blocks};
use crate::{Metrics, Snapshot};

/// Gives what every view shows. Called from native threads that do not hold the interpreter, at
/// any time, also while a loop is blocked.
pub trait Source: Send + Sync {
    /// The loops as they are now, and their tasks as they are now if the interpreter can be had
    /// within `patience`; else as they were at the snapshot's `tasks_at`. It may take as long as
    /// that and not much longer.
    fn snapshot(&self, patience: Duration) -> Snapshot;

    /// The numbers of the loops, those of their tasks as fresh as a snapshot's, unless there are so
    /// many tasks that looking at each would cost the loop too much.
    fn fresh_metrics(&self, patience: Duration) -> Metrics {
        self.snapshot(patience);
        self.metrics()
    }

    /// What the watchdog last said of each of the last blocks, the oldest first. Never waits.
    fn recent_blocks(&self) -> Vec<Arc<Report>> {
        recent_blocks()
    }

    /// The numbers of the loops, those of their tasks as they were when somebody last looked. Never
    /// waits.
    fn metrics(&self) -> Metrics;
}
