//! Counters by the name of a coroutine: how many tasks were made of it, how many have ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::histogram::add;

/// What is counted for all tasks whose coroutine has one qualified name. It lives as long as the
/// process.
#[derive(Debug)]
pub struct CoroutineRecord {
    name: String,
    created: AtomicU64,
    done: AtomicU64,
    steps: AtomicU64,
    /// Of so many of the steps it was measured what they took, in nanoseconds.
    measured: AtomicU64,
    cpu: AtomicU64,
    delay: AtomicU64,
}

/// What measured steps have taken.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct StepTimes {
    /// How many were measured.
    pub steps: u64,
    /// Nanoseconds of the thread's CPU time.
    pub cpu: u64,
    /// Nanoseconds from being ready to the step.
    pub delay: u64,
}

impl CoroutineRecord {
    /// The qualified name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How many tasks were made of it.
    #[must_use]
    pub fn created(&self) -> u64 {
        self.created.load(Ordering::Relaxed)
    }

    /// How many of them are done: at their end, however it came, or when they were freed pending.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// How many steps they have made.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps.load(Ordering::Relaxed)
    }

    /// What their steps have taken, as far as that was measured; `None` when none was.
    #[must_use]
    pub fn times(&self) -> Option<StepTimes> {
        let steps = self.measured.load(Ordering::Relaxed);
        (steps > 0).then(|| StepTimes {
            steps,
            cpu: self.cpu.load(Ordering::Relaxed),
            delay: self.delay.load(Ordering::Relaxed),
        })
    }

    /// A task makes a step. Called as [`CoroutineRecord::count_created`].
    #[inline]
    pub fn count_step(&self) {
        add(&self.steps, 1);
    }

    /// A step was measured. Called as [`CoroutineRecord::count_created`].
    pub fn count_times(&self, cpu: u64, delay: u64) {
        add(&self.measured, 1);
        add(&self.cpu, cpu);
        add(&self.delay, delay);
    }

    /// A task is made. Called by threads that hold the interpreter: one at a time.
    #[inline]
    pub fn count_created(&self) {
        add(&self.created, 1);
    }

    /// A task is done. Called as [`CoroutineRecord::count_created`].
    #[inline]
    pub fn count_done(&self) {
        add(&self.done, 1);
    }
}

/// Names beyond so many are counted together, as [`OTHER`].
const MOST: usize = 1 << 14;

/// The name under which coroutines are counted for which there was no room.
pub const OTHER: &str = "(other)";

type Records = HashMap<String, &'static CoroutineRecord>;

fn records() -> MutexGuard<'static, Records> {
    static RECORDS: OnceLock<Mutex<Records>> = OnceLock::new();
    RECORDS
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
}

/// The record of a name, a new one if there was none.
pub fn coroutine_record(name: &str) -> &'static CoroutineRecord {
    let mut records = records();
    let name = if records.len() < MOST || records.contains_key(name) {
        name
    } else {
        OTHER
    };
    if let Some(record) = records.get(name) {
        return record;
    }
    let record: &'static CoroutineRecord = Box::leak(Box::new(CoroutineRecord {
        name: name.to_owned(),
        created: AtomicU64::new(0),
        done: AtomicU64::new(0),
        steps: AtomicU64::new(0),
        measured: AtomicU64::new(0),
        cpu: AtomicU64::new(0),
        delay: AtomicU64::new(0),
    }));
    records.insert(name.to_owned(), record);
    record
}

/// All records, in no particular order.
#[must_use]
pub fn coroutine_records() -> Vec<&'static CoroutineRecord> {
    records().values().copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_name() {
        let record = coroutine_record("Server.serve");
        record.count_created();
        record.count_created();
        record.count_done();
        record.count_step();
        let same = coroutine_record("Server.serve");
        assert_eq!((same.created(), same.done()), (2, 1));
        assert_eq!(same.name(), "Server.serve");
        assert_eq!((same.steps(), same.times()), (1, None));
        record.count_times(30, 5);
        record.count_times(10, 7);
        let times = StepTimes {
            steps: 2,
            cpu: 40,
            delay: 12,
        };
        assert_eq!(same.times(), Some(times));
        assert!(
            coroutine_records()
                .iter()
                .any(|other| std::ptr::eq(*other, record))
        );
    }
}
