//! Which task is running, as `asyncio.current_task` sees it.
//!
//! Up to 3.13 that is the dict `asyncio.tasks._current_tasks`, from 3.14 on a
//! field of the thread state behind asyncio's functions. A step within a turn
//! of our loop uses [`EventLoop::enter_task`](crate::event_loop::EventLoop),
//! which writes the dict and leaves the entry for the next step to replace.

use crate::ffi::{Object, Outcome};
use crate::imports::imports;

/// Leaves the task when dropped.
pub(super) struct Entered<'a> {
    event_loop: &'a Object,
    task: &'a Object,
}

/// `asyncio.tasks._enter_task`: RuntimeError when another task is being run.
pub(super) fn enter<'a>(event_loop: &'a Object, task: &'a Object) -> Outcome<Entered<'a>> {
    imports().enter_task.call(&[event_loop, task], None)?;
    Ok(Entered { event_loop, task })
}

impl Drop for Entered<'_> {
    fn drop(&mut self) {
        // A step that failed has its exception set while its task is left.
        let saved = crate::ffi::SavedException::new();
        if let Err(raised) = imports()
            .leave_task
            .call(&[self.event_loop, self.task], None)
        {
            raised.report_unraisable(self.task);
        }
        drop(saved);
    }
}

/// Makes `task` the current one, or none; which it was before.
#[inline]
pub(super) fn swap(event_loop: &Object, task: Option<&Object>) -> Outcome<Option<Object>> {
    let imports = imports();
    let none = crate::ffi::none();
    if let Some(function) = &imports.swap_current_task {
        let previous = function.call(&[event_loop, task.unwrap_or(&none)], None)?;
        return Ok(previous.some().cloned());
    }
    let Some(current) = &imports.current_tasks else {
        return Ok(None);
    };
    let previous = current.call_method(&crate::ffi::text("pop")?, &[event_loop, &none])?;
    if let Some(task) = task {
        current.dict_set(event_loop, task)?;
    }
    Ok(previous.some().cloned())
}
