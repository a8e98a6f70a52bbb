//! What loops do, recorded for a while: `ferrio trace`.
//!
//! While nothing is recorded a loop pays for one look at a flag per entry ([`TraceSwitch::is_on`]).
//! While something is, its thread writes what it begins to a [`Tape`], a ring in which later events
//! take the place of the earliest. Names are written there when a task or a function is met for the
//! first time, because by the end it may be gone. A native thread starts and stops it all, and makes
//! the file's events out of the tapes (`chrome`).
//!
//! Every moment is read once, when something begins: that is when what was before has ended.

mod chrome;
mod tape;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

pub use chrome::TraceEvent;
pub use tape::{Lane, Reason, Tape, TaskName};

use crate::clock::{now_ns, seconds};
use crate::snapshot::Snapshot;
use crate::socket::TraceSummary;
use crate::source::Source;
use crate::watchdog::{Report, recent_blocks};
use crate::{Doing, loops};

/// How long the interpreter is waited for to name what waits at the end.
const PATIENCE: Duration = Duration::from_millis(500);

/// Whether a loop records; a part of its record.
#[derive(Debug, Default)]
pub struct TraceSwitch {
    /// The number of the recording that goes on; 0 while none does.
    recording: AtomicU64,
    tape: Mutex<Option<Arc<Tape>>>,
}

impl TraceSwitch {
    /// Whether the loop is to write on a tape.
    #[inline]
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.recording() != 0
    }

    /// Which recording goes on, counted from 1; 0 if none does.
    #[inline]
    #[must_use]
    pub fn recording(&self) -> u64 {
        self.recording.load(Ordering::Relaxed)
    }

    /// The tape to write on, if it is on. A loop asks for it once for each recording.
    #[must_use]
    pub fn tape(&self) -> Option<Arc<Tape>> {
        self.lock().clone()
    }

    fn set(&self, tape: Option<Arc<Tape>>) {
        let recording = match tape {
            Some(_) => RECORDINGS.load(Ordering::Relaxed),
            None => 0,
        };
        *self.lock() = tape;
        self.recording.store(recording, Ordering::Relaxed);
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Option<Arc<Tape>>> {
        // A panic elsewhere leaves a reference behind or none.
        self.tape.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

static RECORDING: AtomicBool = AtomicBool::new(false);

/// How many there were, with the one that goes on.
static RECORDINGS: AtomicU64 = AtomicU64::new(0);

/// A recording that goes on. Dropping it ends it.
#[must_use = "it ends when it is dropped"]
pub struct Recording {
    started: u64,
    tapes: Vec<Arc<Tape>>,
}

/// Has all loops that exist record what they do from now on; `None` while another recording goes on.
pub fn start() -> Option<Recording> {
    if RECORDING.swap(true, Ordering::Acquire) {
        return None;
    }
    RECORDINGS.fetch_add(1, Ordering::Relaxed);
    let started = now_ns();
    let mut tapes = Vec::new();
    for record in loops() {
        let tape = Arc::new(Tape::new(record.id(), started));
        if record.heartbeat.doing().0 == Doing::Waiting {
            // It will not say so again.
            tape.poll(now_ns());
        }
        record.trace.set(Some(Arc::clone(&tape)));
        tapes.push(tape);
    }
    Some(Recording { started, tapes })
}

impl Recording {
    /// Ends it. `source` is asked what still waits, and for what.
    pub fn stop(mut self, source: &dyn Source) -> Recorded {
        let ended = now_ns();
        switch_off();
        let started = seconds(self.started);
        let mut blocks = recent_blocks();
        let is_recorded = |number| {
            self.tapes
                .iter()
                .any(|tape: &Arc<Tape>| tape.number() == number)
        };
        blocks.retain(|report| report.began_at >= started && is_recorded(report.event_loop));
        Recorded {
            blocks,
            started: self.started,
            duration: ended - self.started,
            tapes: std::mem::take(&mut self.tapes),
            snapshot: source.snapshot(PATIENCE),
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        switch_off();
        RECORDING.store(false, Ordering::Release);
    }
}

fn switch_off() {
    for record in loops() {
        record.trace.set(None);
    }
}

/// In the child of a fork: no recording goes on here.
pub fn forget() {
    RECORDING.store(false, Ordering::Release);
}

/// What was recorded.
pub struct Recorded {
    started: u64,
    duration: u64,
    tapes: Vec<Arc<Tape>>,
    snapshot: Snapshot,
    /// What the watchdog has said meanwhile.
    blocks: Vec<Arc<Report>>,
}

impl Recorded {
    /// Gives the events of a Chrome trace to `take`, one by one.
    ///
    /// # Errors
    /// What `take` says; it is not called again then.
    pub fn write<E>(&self, mut take: impl FnMut(TraceEvent) -> Result<(), E>) -> Result<(), E> {
        chrome::write_process(&self.snapshot, &mut take)?;
        for tape in &self.tapes {
            let its_loop = self.snapshot.loops.iter().find(|l| l.id == tape.number());
            chrome::write_loop(tape, its_loop, &self.snapshot, self.duration, &mut take)?;
        }
        for report in &self.blocks {
            let since = report.began_at - seconds(self.started);
            take(chrome::block(report, &self.snapshot, since))?;
        }
        Ok(())
    }

    /// How much it is.
    #[must_use]
    pub fn summary(&self) -> TraceSummary {
        TraceSummary {
            events: self.tapes.iter().map(|tape| tape.written()).sum(),
            lost: self.tapes.iter().map(|tape| tape.lost()).sum(),
            seconds: seconds(self.duration),
        }
    }
}
