//! Tasks as others find them: `asyncio.all_tasks`, and `python -m asyncio ps PID` on 3.14.
//!
//! Up to 3.13 the list is our own, and `ferrio/registry.py` leads `all_tasks` to it. From 3.14
//! on CPython keeps a list per thread, which other processes read too, by offsets that CPython
//! tells them. So a [`Task`] has what they look for where a task of `_asyncio` has it, and is a
//! member of that list.

use super::Task;
use crate::ffi::{LinkedList, Object, Outcome, Own, This, asyncio_tasks, unlink};

/// The tasks that are scheduled and not done, where CPython has no list for them.
static SCHEDULED: LinkedList<Task> = LinkedList::new();

#[cfg(Py_3_14)]
const _: () = {
    use crate::ffi::{Instance, asyncio_tasks::places};
    use crate::future::Future;
    use std::mem::offset_of;

    const fn within(offset: usize) -> usize {
        Instance::<Task>::VALUE_OFFSET + offset
    }
    assert!(within(offset_of!(Future, awaited_by)) == places::AWAITED_BY);
    assert!(within(offset_of!(Future, is_task)) == places::IS_TASK);
    assert!(within(offset_of!(Future, awaited_by_is_set)) == places::AWAITED_BY_IS_SET);
    assert!(within(offset_of!(Task, coroutine)) == places::COROUTINE);
    assert!(within(offset_of!(Task, name)) == places::NAME);
    assert!(within(offset_of!(Task, links)) == places::LINKS);
    assert!(size_of::<Instance<Task>>() >= places::END);
};

impl This<'_, Task> {
    /// Joins the tasks that are scheduled and not done.
    #[inline]
    pub(super) fn publish(self) {
        // SAFETY: asserted above.
        if cfg!(Py_3_14) && unsafe { asyncio_tasks::join_thread_list(self) } {
            return;
        }
        SCHEDULED.add(self);
    }

    /// Leaves them.
    #[inline]
    pub(super) fn withdraw(self) {
        unlink(self.value());
    }
}

/// Every task of ours that is scheduled and not done, of all loops, but for those that are in
/// CPython's own list.
pub(crate) fn all_tasks() -> Outcome<Object> {
    Object::list(
        SCHEDULED
            .snapshot()
            .into_iter()
            .map(Own::into_object)
            .collect(),
    )
}
