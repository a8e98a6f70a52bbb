//! `TaskGroup`: tasks that end before its block does.
//!
//! The group knows its unfinished tasks. Each tells it when it is done; the first that fails has
//! the others cancelled, and the parent task too if it is still in the block. `exit.rs` holds what
//! happens at the block's end.

mod exit;
mod python;

use std::cell::Cell;
use std::ffi::{CStr, c_int};

pub(crate) use exit::ExitGroup;
pub(super) use python::build;

use super::current::{
    add_done_callback, cancel, current_task_of, exception_of, is_cancelled, is_done, running_loop,
};
use crate::awaitable::Steps;
use crate::event_loop::EventLoop;
use crate::ffi::{
    Context, Native, Object, ObjectCell, Outcome, Own, Progress, Raised, This, TypeObject, Visitor,
    sys, text,
};
use crate::future::{Watcher, add_awaiter, discard_awaiter};
use crate::imports::imports;
use crate::originals::originals;
use crate::sync::wake;
use crate::task::{Maker, Making, Task};

/// The native part of a `TaskGroup`.
#[repr(C)]
pub(crate) struct TaskGroup {
    dict: ObjectCell,
    weak_references: ObjectCell,
    entered: Cell<bool>,
    /// The block has ended.
    exiting: Cell<bool>,
    /// Its tasks were asked to stop.
    aborting: Cell<bool>,
    /// It has asked the parent task to stop, and will take that back.
    parent_cancel_requested: Cell<bool>,
    event_loop: ObjectCell,
    /// The task in the block.
    parent: ObjectCell,
    /// A set of the tasks that are not done.
    tasks: ObjectCell,
    /// A list of what tasks have failed with; empty once it was raised.
    errors: ObjectCell,
    /// The KeyboardInterrupt or SystemExit that goes before all other exceptions.
    base_error: ObjectCell,
    /// What the parent waits for at the block's end: the last task's end sets it.
    on_completed: ObjectCell,
    /// What its tasks call when they are done, once there is one.
    watcher: ObjectCell,
    /// The context that they call it in.
    context: ObjectCell,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `TaskGroup` in `python::build`; the offsets are those of fields
// that only CPython touches.
unsafe impl Native for TaskGroup {
    const NAME: &'static CStr = c"ferrio._ferrio.TaskGroup";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(TaskGroup, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(TaskGroup, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<TaskGroup> {
        Ok(TaskGroup {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            entered: Cell::new(false),
            exiting: Cell::new(false),
            aborting: Cell::new(false),
            parent_cancel_requested: Cell::new(false),
            event_loop: ObjectCell::new(),
            parent: ObjectCell::new(),
            tasks: ObjectCell::with(Object::set()?),
            errors: ObjectCell::with(Object::list(Vec::new())?),
            base_error: ObjectCell::new(),
            on_completed: ObjectCell::new(),
            watcher: ObjectCell::new(),
            context: ObjectCell::new(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.references()
            .into_iter()
            .try_for_each(|cell| cell.visit(visitor))
    }

    fn clear(&self) {
        for cell in self.references() {
            cell.clear();
        }
    }
}

impl TaskGroup {
    fn references(&self) -> [&ObjectCell; 8] {
        [
            &self.event_loop,
            &self.parent,
            &self.tasks,
            &self.errors,
            &self.base_error,
            &self.on_completed,
            &self.watcher,
            &self.context,
        ]
    }
}

impl This<'_, TaskGroup> {
    /// Whether nobody can have replaced a method of it.
    #[inline]
    fn is_plain(self) -> bool {
        self.has_original_methods() && self.dict.has_no_attributes()
    }

    /// Its tasks that are not done: a set.
    pub(crate) fn unfinished(self) -> Option<Object> {
        self.tasks.get()
    }

    /// `__aenter__`.
    fn enter(self) -> Outcome<()> {
        if self.entered.get() {
            return Err(self.error("has already been entered")?);
        }
        let event_loop = match self.event_loop.get() {
            Some(event_loop) => event_loop,
            None => {
                let event_loop = running_loop()?;
                self.event_loop.set(event_loop.clone());
                event_loop
            }
        };
        let task = current_task_of(&event_loop)?;
        self.parent.assign(task.clone());
        if task.is_none() {
            return Err(self.error("cannot determine the parent task")?);
        }
        self.entered.set(true);
        Ok(())
    }

    /// RuntimeError about this group.
    #[cold]
    fn error(self, what: &str) -> Outcome<Raised> {
        let group = self.object().repr_text()?;
        Ok(Raised::runtime_error(&format!("TaskGroup {group} {what}")))
    }

    /// The set of unfinished tasks.
    fn task_set(self) -> Outcome<Object> {
        self.tasks
            .get()
            .ok_or_else(|| Raised::type_error("'NoneType' object is not iterable"))
    }

    #[inline]
    fn has_tasks(self) -> Outcome<bool> {
        self.tasks.get().map_or(Ok(false), |tasks| tasks.is_true())
    }

    #[inline]
    fn has_errors(self) -> Outcome<bool> {
        self.errors
            .get()
            .map_or(Ok(false), |errors| errors.is_true())
    }

    fn add_error(self, exception: &Object) -> Outcome<()> {
        match self.errors.get() {
            Some(errors) => errors
                .call_method(&originals().names.append, &[exception])
                .map(drop),
            None => Err(Raised::attribute_error(
                "'NoneType' object has no attribute 'append'",
            )),
        }
    }

    /// Refuses a task, whose coroutine will not be awaited.
    #[cold]
    fn refuse(self, coroutine: &Object, why: &str) -> Outcome<Raised> {
        if originals().group_closes_coroutines {
            coroutine.call_method(&imports().names.close, &[])?;
        }
        self.error(why)
    }

    /// Raises RuntimeError unless tasks may be made.
    #[inline]
    fn check_open(self, coroutine: &Object) -> Outcome<()> {
        let why = if !self.entered.get() {
            "has not been entered"
        } else if self.exiting.get() && !self.has_tasks()? {
            "is finished"
        } else if self.aborting.get() {
            "is shutting down"
        } else {
            return Ok(());
        };
        Err(self.refuse(coroutine, why)?)
    }

    /// The number of the task in the block, if it is one of ours.
    fn parent_id(self) -> u64 {
        let parent = self.parent.get();
        let task = parent.as_ref().and_then(This::<Task>::from_object);
        task.map_or(0, |task| task.origin.id())
    }

    fn loop_of_tasks(self) -> Outcome<Object> {
        self.event_loop
            .get()
            .ok_or_else(|| Raised::runtime_error("the group has no loop"))
    }

    /// `create_task(coro, …)`. Without `options` the loop's own way is taken where it may be;
    /// `make` calls the loop's method.
    #[inline]
    fn create_task(
        self,
        coroutine: &Object,
        options: bool,
        make: impl FnOnce(&Object) -> Outcome<Object>,
    ) -> Outcome<Object> {
        self.check_open(coroutine)?;
        let event_loop = self.loop_of_tasks()?;
        let _making = Making::by(Maker::TaskGroup, self.parent_id());
        let plain = match This::<EventLoop>::from_object(&event_loop) {
            Some(native) if !options => native.plain_task(coroutine)?,
            _ => None,
        };
        let task = match plain {
            Some(task) => task.into_object(),
            None => make(&event_loop)?,
        };
        self.adopt(&task)?;
        Ok(task)
    }

    /// Makes a task one of the group's.
    fn adopt(self, task: &Object) -> Outcome<()> {
        if cfg!(Py_3_14)
            && let Some(parent) = self.parent.get()
        {
            add_awaiter(task, &parent)?;
        }
        if originals().group_hears_of_done_at_once && is_done(task)? {
            if self.is_plain() {
                return self.on_task_done(task);
            }
            return self
                .object()
                .call_method(&originals().names.on_task_done, &[task])
                .map(drop);
        }
        self.task_set()?.set_add(task)?;
        if !self.is_plain() {
            let callback = self.object().get_attr(&originals().names.on_task_done)?;
            return task
                .call_method(&imports().names.add_done_callback, &[&callback])
                .map(drop);
        }
        let (watcher, context) = self.watcher()?;
        add_done_callback(task, &watcher, &context)
    }

    /// What its tasks call, and in which context.
    #[inline]
    fn watcher(self) -> Outcome<(Object, Object)> {
        if let (Some(watcher), Some(context)) = (self.watcher.get(), self.context.get()) {
            return Ok((watcher, context));
        }
        let watcher = Watcher::make(
            self.own().into_object(),
            "TaskGroup._on_task_done",
            |group, task| match This::<TaskGroup>::from_object(group) {
                Some(group) => group.on_task_done(task),
                None => Ok(()),
            },
        )?;
        let context = Context::copy_current()?;
        self.value().watcher.set(watcher.clone());
        self.value().context.set(context.clone());
        Ok((watcher, context))
    }

    /// `_on_task_done(task)`.
    fn on_task_done(self, task: &Object) -> Outcome<()> {
        let tasks = self.task_set()?;
        tasks.set_discard(task)?;
        if cfg!(Py_3_14)
            && let Some(parent) = self.parent.get()
        {
            discard_awaiter(task, &parent)?;
        }
        if let Some(on_completed) = self.on_completed.get()
            && !tasks.is_true()?
        {
            wake(&on_completed, &Object::from_bool(true))?;
        }
        if is_cancelled(task)? {
            return Ok(());
        }
        match exception_of(task)? {
            Some(exception) => self.on_task_failed(task, &exception),
            None => Ok(()),
        }
    }

    #[cold]
    fn on_task_failed(self, task: &Object, exception: &Object) -> Outcome<()> {
        self.add_error(exception)?;
        if self.is_base_error(exception)? && !self.base_error.is_some() {
            self.base_error.set(exception.clone());
        }
        let Some(parent) = self.parent.get() else {
            return Err(Raised::attribute_error(
                "'NoneType' object has no attribute 'done'",
            ));
        };
        if is_done(&parent)? {
            return self.report_orphan(task, &parent, exception);
        }
        if !self.aborting.get() && !self.parent_cancel_requested.get() {
            self.ask_to_abort()?;
            self.parent_cancel_requested.set(true);
            cancel(&parent)?;
        }
        Ok(())
    }

    /// A task has failed and nobody is there to raise it.
    fn report_orphan(self, task: &Object, parent: &Object, exception: &Object) -> Outcome<()> {
        let message = format!(
            "Task {} has errored out but its parent task {} is already completed",
            task.repr_text()?,
            parent.to_text()?,
        );
        let context = Object::dict()?;
        context.dict_set(&text("message")?, &text(&message)?)?;
        context.dict_set(&text("exception")?, exception)?;
        context.dict_set(&text("task")?, task)?;
        self.loop_of_tasks()?
            .call_method(&imports().names.call_exception_handler, &[&context])
            .map(drop)
    }

    /// `_is_base_error(exception)`, overridden or not.
    fn is_base_error(self, exception: &Object) -> Outcome<bool> {
        if self.is_plain() {
            return is_base_error(exception);
        }
        self.object()
            .call_method(&originals().names.is_base_error, &[exception])?
            .is_true()
    }

    /// `_abort()`, overridden or not.
    fn ask_to_abort(self) -> Outcome<()> {
        if self.is_plain() {
            return self.abort();
        }
        self.object()
            .call_method(&originals().names.abort, &[])
            .map(drop)
    }

    /// Asks every task to stop.
    fn abort(self) -> Outcome<()> {
        self.aborting.set(true);
        for task in self.task_set()?.items()? {
            if !is_done(&task)? {
                cancel(&task)?;
            }
        }
        Ok(())
    }

    fn describe(self) -> Outcome<Object> {
        let mut parts = vec!["<TaskGroup".to_owned()];
        for (name, cell) in [("tasks", &self.tasks), ("errors", &self.errors)] {
            let count = cell.get().map_or(Ok(0), |items| items.length())?;
            if count > 0 {
                parts.push(format!("{name}={count}"));
            }
        }
        if self.aborting.get() {
            parts.push("cancelling".to_owned());
        } else if self.entered.get() {
            parts.push("entered".to_owned());
        }
        text(&format!("{}>", parts.join(" ")))
    }
}

/// `isinstance(exception, (SystemExit, KeyboardInterrupt))`.
fn is_base_error(exception: &Object) -> Outcome<bool> {
    // SAFETY: two built-in classes.
    let (exit, interrupt) = unsafe { (sys::PyExc_SystemExit, sys::PyExc_KeyboardInterrupt) };
    Ok(exception.is_instance(exit)? || exception.is_instance(interrupt)?)
}

/// `await group.__aenter__()`.
pub(crate) struct EnterGroup(Own<TaskGroup>);

impl Steps for EnterGroup {
    fn resume(&mut self, _thrown: Option<Object>) -> Outcome<Progress> {
        self.0.this().enter()?;
        Ok(Progress::Returned(self.0.clone().into_object()))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.0)
    }
}
