//! `create_future`, `create_task` and the task factory.

use super::EventLoop;
use crate::ffi::{Arguments, Object, Outcome, Own, Raised, Signature, This, none};
use crate::future::Future;
use crate::imports::imports;
use crate::task::{Task, TaskOptions};

const CREATE_TASK: Signature<4> = Signature {
    function: "create_task",
    names: [c"coro", c"name", c"context", c"eager_start"],
    positional: 1,
    required: 1,
};

impl This<'_, EventLoop> {
    #[inline]
    pub(super) fn create_future(self) -> Outcome<Object> {
        if self.is_debug() {
            let future = Own::new(Future::empty())?;
            future.this().initialise(Some(&self.object()))?;
            return Ok(future.into_object());
        }
        Ok(Own::new(Future::bound(self))?.into_object())
    }

    pub(super) fn create_task(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let [coroutine, name, context, eager_start] = CREATE_TASK.parse(arguments)?;
        let Some(coroutine) = coroutine else {
            return Err(Raised::type_error("create_task() needs a coroutine"));
        };
        let (name, context) = (name.and_then(Object::some), context.and_then(Object::some));
        self.check_closed()?;
        if let Some(factory) = self.task_factory.get() {
            return self.create_with_factory(&factory, coroutine, name, context);
        }
        let eager_start = match eager_start {
            Some(value) => value.is_true()?,
            None => false,
        };
        let options = TaskOptions {
            name,
            context,
            eager_start,
        };
        Ok(Own::<Task>::spawn(self, coroutine, &options)?.into_object())
    }

    #[cold]
    fn create_with_factory(
        self,
        factory: &Object,
        coroutine: &Object,
        name: Option<&Object>,
        context: Option<&Object>,
    ) -> Outcome<Object> {
        let event_loop = self.object();
        let task = match context {
            // Factories written before contexts could be given take two arguments.
            None => factory.call(&[&event_loop, coroutine], None)?,
            Some(context) => factory.call(
                &[&event_loop, coroutine, context],
                Some(&imports().context_keyword),
            )?,
        };
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
