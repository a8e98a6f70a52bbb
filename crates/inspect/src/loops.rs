//! The loops of the process, as far as native threads look at them.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

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
    /// In nanoseconds: from when on the watchdog speaks of a block; 0 for never.
    threshold: AtomicU64,
}

impl LoopRecord {
    /// Counts the process's loops, from 1.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// From how long on the watchdog speaks of a block, if it watches the loop.
    #[must_use]
    pub fn threshold(&self) -> Option<Duration> {
        match self.threshold.load(Ordering::Relaxed) {
            0 => None,
            nanoseconds => Some(Duration::from_nanos(nanoseconds)),
        }
    }

    /// Has the watchdog watch the loop from its next run on, or not.
    pub fn set_threshold(&self, threshold: Option<Duration>) {
        let nanoseconds = threshold.map_or(0, |time| {
            u64::try_from(time.as_nanos()).unwrap_or(u64::MAX).max(1)
        });
        self.threshold.store(nanoseconds, Ordering::Relaxed);
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
        threshold: AtomicU64::new(0),
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
