//! Who has a lock: the task that acquired it.

use std::cell::Cell;

use crate::ffi::{Own, Unowned, stepped};
use crate::task::Task;

/// The task that has a lock, as far as it is known: one of ours, on a loop whose steps are ours.
/// It is not kept alive by the lock.
pub(super) struct Holder {
    task: Unowned<Task>,
    /// Whether an `async with` block has it.
    in_section: Cell<bool>,
}

impl Holder {
    pub(super) const fn new() -> Holder {
        Holder {
            task: Unowned::new(),
            in_section: Cell::new(false),
        }
    }

    /// The task that is being stepped has the lock; whether that is known.
    #[inline]
    pub(super) fn take_for_stepped(&self, in_section: bool) -> bool {
        self.in_section.set(in_section);
        match stepped::<Task>() {
            Some(task) if task.this().is_stepped_for_certain() => {
                self.task.set(task.this());
                true
            }
            _ => {
                self.task.clear();
                false
            }
        }
    }

    #[inline]
    pub(super) fn clear(&self) {
        self.task.clear();
    }

    pub(super) fn get(&self) -> Option<Own<Task>> {
        self.task.get()
    }

    pub(super) fn is(&self, task: &Task) -> bool {
        self.task.is(task)
    }

    pub(super) fn in_section(&self) -> bool {
        self.in_section.get()
    }
}
