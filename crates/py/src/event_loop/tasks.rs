//! `create_future`, `create_task` and the task factory.

use super::EventLoop;
use crate::ffi::{Arguments, Object, Outcome, Own, Raised, Signature, This, none, text, thread_id};
use crate::future::Future;
use crate::imports::imports;
use crate::inspect::look_soon;
use crate::task::{Task, TaskOptions};

const CREATE_TASK: Signature<4> = Signature {
    function: "create_task",
    names: [c"coro", c"name", c"context", c"eager_start"],
    positional: 1,
    required: 1,
};

impl This<'_, EventLoop> {
    /// A future as `create_future()` makes it; `None` when that has to be called by name.
    #[inline]
    pub(crate) fn plain_future(self) -> Outcome<Option<Own<Future>>> {
        if !self.is_plain() || self.overrides.create_future() {
            return Ok(None);
        }
        Own::new(Future::bound(self)).map(Some)
    }

    /// A task is about to wait for something that others may change.
    #[inline]
    pub(crate) fn note_wait(self) {
        if !self.look_due.get() && self.in_turns.get() {
            self.begin_to_look();
        }
    }

    #[cold]
    fn begin_to_look(self) {
        if self.thread.get() != Some(thread_id()) {
            return;
        }
        self.look_due.set(true);
        // The wait itself has nothing to do with it.
        if let Err(raised) = look_soon(self) {
            raised.report_unraisable(&self.object());
        }
    }

    /// A task as `create_task(coroutine)` makes it; `None` when that has to be called by name.
    #[inline]
    pub(crate) fn plain_task(self, coroutine: &Object) -> Outcome<Option<Own<Task>>> {
        if !self.is_plain() || self.overrides.create_task() || self.task_factory.is_some() {
            return Ok(None);
        }
        let options = TaskOptions {
            name: None,
            context: None,
            eager_start: false,
        };
        Own::<Task>::spawn(self, coroutine, &options).map(Some)
    }

    #[inline]
    pub(super) fn create_future(self) -> Outcome<Object> {
        // The locks and queues of the standard library wait for one.
        self.note_wait();
        if self.is_debug() {
            let future = Own::new(Future::empty())?;
            future.this().initialise(Some(&self.object()))?;
            return Ok(future.into_object());
        }
        Ok(Own::new(Future::bound(self))?.into_object())
    }

    pub(super) fn create_task(self, arguments: Arguments<'_>) -> Outcome<Object> {
        if cfg!(Py_3_14)
            && let Some(factory) = self.task_factory.get()
        {
            self.check_closed()?;
            // The factory gets what it may know and we do not.
            return arguments.call_behind(&factory, &self.object());
        }
        let [coroutine, name, context, eager_start] = match arguments.only() {
            Some(coroutine) => [Some(coroutine), None, None, None],
            None => CREATE_TASK.parse(arguments)?,
        };
        let Some(coroutine) = coroutine else {
            return Err(Raised::type_error("create_task() needs a coroutine"));
        };
        let (name, context) = (name.and_then(Object::some), context.and_then(Object::some));
        self.check_closed()?;
        if let Some(factory) = self.task_factory.get() {
            return self.create_with_factory(&factory, coroutine, name, context, eager_start);
        }
        let options = TaskOptions {
            name,
            context,
            eager_start: eager_start.map_or(Ok(false), Object::is_true)?,
        };
        Ok(Own::<Task>::spawn(self, coroutine, &options)?.into_object())
    }

    /// A factory up to 3.13; how asyncio calls one was changed later.
    #[cold]
    fn create_with_factory(
        self,
        factory: &Object,
        coroutine: &Object,
        name: Option<&Object>,
        context: Option<&Object>,
        eager_start: Option<&Object>,
    ) -> Outcome<Object> {
        let event_loop = self.object();
        let mut arguments = vec![&*event_loop, coroutine];
        let mut keywords = Vec::new();
        // Factories written before contexts could be given take two arguments.
        for (keyword, value) in [("context", context), ("eager_start", eager_start)] {
            if let Some(value) = value {
                arguments.push(value);
                keywords.push(text(keyword)?);
            }
        }
        let keywords = Object::tuple_of(&keywords)?;
        let task = factory.call(&arguments, Some(&keywords))?;
        if let Some(name) = name {
            task.call_method(&imports().names.set_name, &[name])?;
        }
        Ok(task)
    }

    pub(super) fn set_task_factory(self, factory: &Object) -> Outcome<Object> {
        match factory.some() {
            None => self.task_factory.clear(),
            Some(factory) if factory.is_callable() => self.task_factory.set(factory.clone()),
            Some(_) => {
                return Err(Raised::type_error(
                    "task factory must be a callable or None",
                ));
            }
        }
        Ok(none())
    }

    pub(super) fn get_task_factory(self) -> Outcome<Object> {
        Ok(self.task_factory.get().unwrap_or_else(none))
    }
}
