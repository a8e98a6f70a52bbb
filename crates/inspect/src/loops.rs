//! The loops of the process, as far as native threads look at them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use crate::trace::TraceSwitch;
use crate::{Counters, Heartbeat};

/// What native threads may look at of one loop. It lives as long as anybody looks.
#[derive(Debug)]
pub struct LoopRecord {
    id: u64,
    /// Written by the loop's thread.
    pub heartbeat: Heartbeat,
    /// Written by the loop's thread and those of its executor.
    pub counters: Counters,
    /// Whether the loop's thread records what it does.
    pub trace: TraceSwitch,
}

impl LoopRecord {
    /// Counts the process's loops, from 1.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }
}

static LAST: AtomicU64 = AtomicU64::new(0);
static LOOPS: Mutex<Vec<Weak<LoopRecord>>> = Mutex::new(Vec::new());

fn list() -> MutexGuard<'static, Vec<Weak<LoopRecord>>> {
    // A panic elsewhere leaves a list behind that is whole.
    LOOPS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The record of a new loop, which is in [`loops`] until the last owner lets go of it.
#[must_use]
pub fn add_loop() -> Arc<LoopRecord> {
    let record = Arc::new(LoopRecord {
        id: LAST.fetch_add(1, Ordering::Relaxed) + 1,
        heartbeat: Heartbeat::new(),
        counters: Counters::new(),
        trace: TraceSwitch::default(),
    });
    let mut list = list();
    list.retain(|other| other.strong_count() > 0);
    list.push(Arc::downgrade(&record));
    record
}

/// The loops that exist, in order of creation.
#[must_use]
pub fn loops() -> Vec<Arc<LoopRecord>> {
    list().iter().filter_map(Weak::upgrade).collect()
}
