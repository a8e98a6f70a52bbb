//! What becomes of the task in which a server's callback runs.

use std::ffi::{CStr, c_int};

use super::originals::originals;
use crate::ffi::{
    Arguments, Native, Object, ObjectCell, Outcome, Own, Raised, This, TypeBuilder, TypeObject,
    Visitor, none, text,
};
use crate::sync::is_future_cancelled;

/// Called when the task is done; asyncio has a nested function there.
pub(crate) struct TaskWatch {
    event_loop: ObjectCell,
    transport: ObjectCell,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `TaskWatch` in `build`.
unsafe impl Native for TaskWatch {
    const NAME: &'static CStr = c"ferrio._ferrio.ConnectedTaskWatch";

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<TaskWatch> {
        Err(Raised::type_error("it is not made by calling"))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.event_loop.visit(visitor)?;
        self.transport.visit(visitor)
    }

    fn clear(&self) {
        self.event_loop.clear();
        self.transport.clear();
    }
}

/// Has a failed task reported, and its transport closed.
pub(super) fn watch_task(task: &Object, event_loop: &Object, transport: &Object) -> Outcome<()> {
    let watch = Own::new(TaskWatch {
        event_loop: ObjectCell::with(event_loop.clone()),
        transport: ObjectCell::with(transport.clone()),
    })?
    .into_object();
    task.call_method(&originals().names.add_done_callback, &[&watch])
        .map(drop)
}

/// Tells the loop's exception handler of an exception of the callback's.
pub(super) fn report(event_loop: &Object, exception: &Object, transport: &Object) -> Outcome<()> {
    let context = Object::dict()?;
    let message = text("Unhandled exception in client_connected_cb")?;
    context.dict_set(&text("message")?, &message)?;
    context.dict_set(&text("exception")?, exception)?;
    context.dict_set(&text("transport")?, transport)?;
    event_loop
        .call_method(&originals().names.call_exception_handler, &[&context])
        .map(drop)
}

impl This<'_, TaskWatch> {
    fn task_done(self, task: &Object) -> Outcome<()> {
        let transport = self.transport.get().unwrap_or_else(none);
        let close = || {
            transport
                .call_method(&originals().names.close, &[])
                .map(drop)
        };
        if originals().manners.knows_cancelled_task && is_future_cancelled(task)? {
            return close();
        }
        let exception = task.call_method(&originals().names.exception, &[])?;
        if exception.is_none() {
            return Ok(());
        }
        let event_loop = self.event_loop.get().unwrap_or_else(none);
        report(&event_loop, &exception, &transport)?;
        close()
    }
}

/// Builds the type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    TypeBuilder::<TaskWatch>::new(c"Looks at the task of a server's callback when it is done.")
        .only_from_rust()
        .call(
            |this, arguments: Arguments<'_>| match arguments.positional() {
                [task] => this.task_done(task).map(|()| none()),
                _ => Err(Raised::type_error("callback() takes 1 positional argument")),
            },
        )
        .build(module, None)
}
