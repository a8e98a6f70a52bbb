//! A step or a wake-up as a Python callable, for where the ready queue is not ours.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::Task;
use crate::ffi::{
    Arguments, GetSet, Native, Object, ObjectCell, Outcome, Own, Raised, Slot, This, TypeBuilder,
    TypeObject, Visitor, attributes, none, text,
};

/// What calling it does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Action {
    /// Step the task; `exception`, if any, is thrown.
    Step,
    /// Step the task after the future in the argument is done.
    Wakeup,
}

/// The callable. Its `__self__` is the task, by which asyncio's debug messages name it.
pub(crate) struct TaskCallback {
    task: Slot<Own<Task>>,
    action: Cell<Action>,
    exception: ObjectCell,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `TaskCallback` in `build`.
unsafe impl Native for TaskCallback {
    const NAME: &'static CStr = c"ferrio._ferrio.TaskStepMethWrapper";

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<TaskCallback> {
        Ok(TaskCallback {
            task: Slot::new(),
            action: Cell::new(Action::Step),
            exception: ObjectCell::new(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.task.visit(visitor)?;
        self.exception.visit(visitor)
    }

    fn clear(&self) {
        self.task.clear();
        self.exception.clear();
    }
}

impl TaskCallback {
    pub(crate) fn step(task: Own<Task>, exception: Option<Object>) -> Outcome<Own<TaskCallback>> {
        let callback = TaskCallback {
            task: Slot::with(task),
            action: Cell::new(Action::Step),
            exception: ObjectCell::new(),
        };
        callback.exception.assign(exception);
        Own::new(callback)
    }

    pub(crate) fn wakeup(task: Own<Task>) -> Outcome<Own<TaskCallback>> {
        Own::new(TaskCallback {
            task: Slot::with(task),
            action: Cell::new(Action::Wakeup),
            exception: ObjectCell::new(),
        })
    }
}

impl This<'_, TaskCallback> {
    fn call(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let Some(task) = self.value().task.get() else {
            return Err(Raised::runtime_error("the task of this callback is gone"));
        };
        match (self.action.get(), arguments.positional()) {
            (Action::Step, []) => task.this().step_as_callback(self.exception.take())?,
            (Action::Wakeup, [future]) => task.this().wakeup_as_callback(future)?,
            (Action::Step, _) => {
                return Err(Raised::type_error("function takes no positional arguments"));
            }
            (Action::Wakeup, _) => {
                return Err(Raised::type_error("function takes exactly one argument"));
            }
        }
        Ok(none())
    }

    pub(crate) fn task(self) -> Option<Object> {
        self.value().task.get().map(Own::into_object)
    }

    /// The name in representations: asyncio's own, for a wake-up.
    fn qualified_name(self) -> Outcome<Object> {
        match self.action.get() {
            Action::Wakeup => text("Task.task_wakeup"),
            Action::Step => Err(Raised::attribute_error(
                "'TaskStepMethWrapper' object has no attribute '__qualname__'",
            )),
        }
    }
}

/// Builds the Python type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    let table = attributes(vec![
        GetSet::read_only(
            c"__self__",
            |this: This<'_, TaskCallback>| Ok(this.task().unwrap_or_else(none)),
            c"The task.",
        ),
        GetSet::read_only(
            c"__qualname__",
            |this: This<'_, TaskCallback>| this.qualified_name(),
            c"The name of a wake-up in representations.",
        ),
    ]);
    TypeBuilder::<TaskCallback>::new(c"A task's step or wake-up, for a loop to call.")
        .only_from_rust()
        .call(|this, arguments| this.call(arguments))
        .attributes(table)
        .build(module, None)
}
