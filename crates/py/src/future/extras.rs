//! References that few futures have.

use std::cell::Cell;
use std::ffi::c_int;

use crate::ffi::{Object, Visitor};

/// Which of them.
#[derive(Clone, Copy)]
pub(crate) enum Extra {
    /// The exception's traceback when it was set: each `result()` restores it, or the traceback
    /// would grow with every raise.
    ExceptionTraceback,
    /// The very exception that ended a task as cancelled, to be raised once.
    CancelledError,
    CancelMessage,
    /// Where it was made, in debug mode.
    SourceTraceback,
}

/// One for each [`Extra`].
type All = [Option<Object>; 4];

/// A place for each of them, on the heap once there is one: every task that waits has two futures,
/// itself and what it waits for, and the four would be a twelfth of what both take.
#[derive(Default)]
pub(crate) struct Extras(Cell<Option<Box<All>>>);

impl Extras {
    pub(crate) const fn new() -> Extras {
        Extras(Cell::new(None))
    }

    /// What `look` makes of them, if there are any; it runs no code that is not ours.
    #[inline]
    fn with<R>(&self, look: impl FnOnce(&mut All) -> R) -> Option<R> {
        let mut all = self.0.take()?;
        let result = look(&mut all);
        self.0.set(Some(all));
        Some(result)
    }

    #[inline]
    pub(crate) fn get(&self, extra: Extra) -> Option<Object> {
        self.with(|all| all[extra as usize].clone()).flatten()
    }

    /// What is there, which is gone from here.
    pub(crate) fn take(&self, extra: Extra) -> Option<Object> {
        self.with(|all| all[extra as usize].take()).flatten()
    }

    pub(crate) fn assign(&self, extra: Extra, value: Option<Object>) {
        let mut all = match (self.0.take(), &value) {
            (None, None) => return,
            (all, _) => all.unwrap_or_default(),
        };
        let before = std::mem::replace(&mut all[extra as usize], value);
        self.0.set(Some(all));
        // The new one is in place: the end of this one may run code.
        drop(before);
    }

    pub(crate) fn clear(&self) {
        drop(self.0.take());
    }

    /// For `tp_traverse`.
    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        let visited = self.with(|all| {
            let mut objects = all.iter().flatten();
            objects.try_for_each(|object| visitor.object(object))
        });
        visited.unwrap_or(Ok(()))
    }
}
