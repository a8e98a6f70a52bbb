//! The synchronisation primitives of everything that crosses threads: the standard library's, or
//! [loom](https://docs.rs/loom)'s models of them under `--cfg loom`. Chosen here and nowhere else.

#[cfg(not(loom))]
pub(crate) use std::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU8, Ordering},
};

#[cfg(loom)]
pub(crate) use loom::sync::{
    Arc, Mutex, MutexGuard,
    atomic::{AtomicU8, Ordering},
};

use std::sync::PoisonError;

/// Locks a mutex. Poison is ignored: nothing that can panic in the middle of a change runs under
/// any of this crate's locks.
#[inline]
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
