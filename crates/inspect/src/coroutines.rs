//! Counters by the name of a coroutine: how many tasks were made of it, how many have ended.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// What is counted for all tasks whose coroutine has one qualified name. It lives as long as the
/// process.
#[derive(Debug)]
pub struct CoroutineRecord {
    name: String,
    created: AtomicU64,
    done: AtomicU64,
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

    /// A task is made. Called by threads that hold the interpreter: one at a time.
    #[inline]
    pub fn count_created(&self) {
        let next = self.created.load(Ordering::Relaxed).wrapping_add(1);
        self.created.store(next, Ordering::Relaxed);
    }

    /// A task is done. Called as [`CoroutineRecord::count_created`].
    #[inline]
    pub fn count_done(&self) {
        let next = self.done.load(Ordering::Relaxed).wrapping_add(1);
        self.done.store(next, Ordering::Relaxed);
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
        let same = coroutine_record("Server.serve");
        assert_eq!((same.created(), same.done()), (2, 1));
        assert_eq!(same.name(), "Server.serve");
        assert!(
            coroutine_records()
                .iter()
                .any(|other| std::ptr::eq(*other, record))
        );
    }
}
