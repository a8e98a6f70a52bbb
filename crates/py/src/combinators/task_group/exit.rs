//! The end of a task group's block: wait for the tasks, then raise what is to be raised.

use std::ffi::c_int;

use super::TaskGroup;
use crate::awaitable::{Awaited, Steps};
use crate::combinators::current::{cancel, cancelling, uncancel};
use crate::ffi::{Object, Outcome, Own, Progress, Raised, This, Visitor, none, text};
use crate::future::{Future, Purpose};
use crate::imports::imports;
use crate::inspect::{Told, begin_wait_for_group};
use crate::originals::originals;
use crate::sync::{create_future, is_cancelled_error};
use crate::task::Task;
use ferrio_inspect::snapshot::WaitKind;

/// `await group.__aexit__(class, exception, traceback)`.
pub(crate) struct ExitGroup {
    group: Own<TaskGroup>,
    /// The class of what the block ended with, and that itself.
    class: Option<Object>,
    exception: Option<Object>,
    /// The cancellation that is to be raised at the end.
    cancellation: Option<Object>,
    stage: Stage,
}

enum Stage {
    /// It has not begun.
    Created,
    /// For the last task's end.
    Waiting(Awaited),
}

impl ExitGroup {
    pub(super) fn new(
        group: Own<TaskGroup>,
        class: Option<Object>,
        exception: Option<Object>,
    ) -> ExitGroup {
        ExitGroup {
            group,
            class,
            exception,
            cancellation: None,
            stage: Stage::Created,
        }
    }

    fn begin(&mut self) -> Outcome<()> {
        let group = self.group.clone();
        let group = group.this();
        group.exiting.set(true);
        if let Some(exception) = &self.exception
            && group.is_base_error(exception)?
            && !group.base_error.is_some()
        {
            group.base_error.set(exception.clone());
        }
        if self.is_cancelled()? {
            self.cancellation.clone_from(&self.exception);
        }
        if !originals().group_keeps_cancel_count {
            self.take_request_back()?;
        }
        if self.class.is_some() && !group.aborting.get() {
            group.ask_to_abort()?;
        }
        Ok(())
    }

    /// Whether the block has ended with a cancellation.
    fn is_cancelled(&self) -> Outcome<bool> {
        let cancelled_error = &imports().cancelled_error;
        match &self.class {
            Some(class) if originals().group_keeps_cancel_count => {
                class.is_subclass(cancelled_error)
            }
            Some(class) => Ok(class.is(cancelled_error)),
            None => Ok(false),
        }
    }

    /// The group has asked its parent to stop: that is taken back. If nobody else has asked, the
    /// cancellation was the group's own.
    fn take_request_back(&mut self) -> Outcome<()> {
        let group = self.group.this();
        if group.parent_cancel_requested.get() && uncancel(&parent_of(group)?)? == 0 {
            self.cancellation = None;
        }
        Ok(())
    }

    /// Waits until there are no more tasks.
    fn wait(&mut self, mut thrown: Option<Object>) -> Outcome<Option<Object>> {
        loop {
            let group = self.group.this();
            if let Stage::Waiting(awaited) = &self.stage {
                match awaited.resume(thrown.take()) {
                    Ok(Progress::Yielded(item)) => return Ok(Some(item)),
                    Ok(Progress::Returned(_)) => {}
                    Err(raised) if is_cancelled_error(&raised) => {
                        let cancellation = raised.take();
                        if !group.aborting.get() {
                            // The parent is being cancelled from outside.
                            self.cancellation = Some(cancellation);
                            group.ask_to_abort()?;
                        }
                    }
                    Err(raised) => return Err(raised),
                }
                group.on_completed.clear();
            }
            if !group.has_tasks()? {
                return Ok(None);
            }
            if let Err(raised) = begin_wait_for_group(group) {
                return Err(stop_with(group, raised)?);
            }
            let future = match group.on_completed.get() {
                Some(future) => future,
                None => {
                    let future = create_future(&group.loop_of_tasks()?)?;
                    if let Some(native) = This::<Future>::from_exact(&future) {
                        native.purpose.set(Purpose::TaskGroup);
                    }
                    group.on_completed.set(future.clone());
                    future
                }
            };
            self.stage = Stage::Waiting(Awaited::new(&future)?);
        }
    }

    /// All tasks are done.
    fn conclude(&mut self) -> Outcome<()> {
        let group = self.group.clone();
        let group = group.this();
        if let Some(error) = group.base_error.get() {
            return Err(Raised::exception(&error));
        }
        if originals().group_keeps_cancel_count {
            self.take_request_back()?;
        }
        if let Some(cancellation) = &self.cancellation
            && !group.has_errors()?
        {
            return Err(Raised::exception(cancellation));
        }
        if self.class.is_some() && !self.is_cancelled()? {
            let exception = self.exception.clone().unwrap_or_else(none);
            group.add_error(&exception)?;
        }
        if group.has_errors()? {
            return Err(raise_all(group)?);
        }
        Ok(())
    }

    /// What is left when it is over, however it ended.
    fn forget(&mut self) {
        // It holds the group, which would be garbage together with it.
        self.group.watcher.clear();
        self.group.context.clear();
        if originals().group_forgets {
            for cell in [
                &self.group.parent,
                &self.group.errors,
                &self.group.base_error,
            ] {
                cell.clear();
            }
        }
        self.exception = None;
        self.cancellation = None;
    }
}

/// The group does not wait for its tasks, because it would for ever: they are asked to stop. One
/// that waits for the parent hands that on to it, which is taken back.
#[cold]
fn stop_with(group: This<'_, TaskGroup>, raised: Raised) -> Outcome<Raised> {
    let exception = raised.take();
    let parent = parent_of(group)?;
    let task = This::<Task>::from_object(&parent);
    let requests = task.map(|task| task.cancel_requests());
    if !group.aborting.get() {
        group.ask_to_abort()?;
    }
    if let (Some(task), Some(requests)) = (task, requests) {
        task.forgive(requests);
    }
    Ok(Raised::exception(&exception))
}

/// `raise BaseExceptionGroup(…) from None`.
fn raise_all(group: This<'_, TaskGroup>) -> Outcome<Raised> {
    if originals().group_keeps_cancel_count {
        let parent = parent_of(group)?;
        if cancelling(&parent)? != 0 {
            // Somebody else's request stays; it is made anew, so that the count is what it was.
            uncancel(&parent)?;
            cancel(&parent)?;
        }
    }
    let message = text("unhandled errors in a TaskGroup")?;
    let errors = group.errors.get().unwrap_or_else(none);
    let made = originals()
        .base_exception_group
        .call(&[&message, &errors], None);
    group.errors.clear();
    let exceptions = made?;
    exceptions.set_attr(&imports().names.cause, &none())?;
    Ok(Raised::exception(&exceptions))
}

fn parent_of(group: This<'_, TaskGroup>) -> Outcome<Object> {
    group
        .parent
        .get()
        .ok_or_else(|| Raised::attribute_error("'NoneType' object has no attribute 'uncancel'"))
}

impl Steps for ExitGroup {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let begun = match self.stage {
            Stage::Created => self.begin(),
            Stage::Waiting(_) => Ok(()),
        };
        let ended = match begun.and_then(|()| self.wait(thrown)) {
            Ok(Some(item)) => return Ok(Progress::Yielded(item)),
            Ok(None) => self.conclude(),
            Err(raised) => Err(raised),
        };
        // Nothing is dropped with an exception set.
        let failure = ended.map_err(Raised::take).err();
        self.forget();
        match failure {
            Some(exception) => Err(Raised::with_its_context(exception)),
            None => Ok(Progress::Returned(none())),
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.group)?;
        for object in [&self.class, &self.exception, &self.cancellation]
            .into_iter()
            .flatten()
        {
            visitor.object(object)?;
        }
        match &self.stage {
            Stage::Created => Ok(()),
            Stage::Waiting(awaited) => awaited.visit(visitor),
        }
    }

    fn tell(&self, told: &mut Told) {
        told.waits_for(WaitKind::TaskGroup, &self.group.this().object());
    }
}
