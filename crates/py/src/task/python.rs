//! `ferrio.Task` as Python sees it.

use super::{Task, TaskOptions, callback};
use crate::ffi::{
    Arguments, GetSet, Method, Native, Object, Outcome, Raised, Signature, This, TypeBuilder,
    attributes, methods, none, required, sys,
};
use crate::future::{Future, shared_attributes, shared_methods};
use crate::identity;
use crate::imports::imports;

const INIT: Signature<5> = Signature {
    function: "Task",
    names: [c"coro", c"loop", c"name", c"context", c"eager_start"],
    positional: 1,
    required: 1,
};
const CANCEL: Signature<1> = Signature {
    function: "cancel",
    names: [c"msg"],
    positional: 1,
    required: 0,
};
const GET_STACK: Signature<1> = Signature {
    function: "get_stack",
    names: [c"limit"],
    positional: 0,
    required: 0,
};
const PRINT_STACK: Signature<2> = Signature {
    function: "print_stack",
    names: [c"limit", c"file"],
    positional: 0,
    required: 0,
};

/// Builds the types of this module.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    callback::build(module)?;
    TypeBuilder::<Task>::new(
        c"Task(coro, *, loop=None, name=None, context=None, eager_start=False)\n--\n\n\
        A coroutine that the event loop runs, and a future for its result.\n\n\
        Like asyncio.Task, of which it is an instance for isinstance(); on a loop of ferrio its\n\
        steps are scheduled without a callback object. It can be made on any loop, from the\n\
        loop's own thread. `eager_start` runs the first step at once if the loop is running\n\
        (asyncio's since 3.12, here on every version).",
    )
    .subclassable()
    .init(initialise)
    .unary(sys::Py_tp_repr, |this| {
        this.future().event_loop()?;
        imports().task_repr.call1(&this.object())
    })
    .methods(methods(table()))
    .attributes(attributes(attribute_table()))
    .build(module, Some(Future::type_object()))
}

fn initialise(this: This<'_, Task>, arguments: Arguments<'_>) -> Outcome<()> {
    let [coroutine, event_loop, name, context, eager_start] = INIT.parse(arguments)?;
    let Some(coroutine) = coroutine else {
        return Err(Raised::type_error(
            "Task() missing required argument 'coro' (pos 1)",
        ));
    };
    let options = TaskOptions {
        name: name.and_then(Object::some),
        context: context.and_then(Object::some),
        eager_start: eager_start.map_or(Ok(false), Object::is_true)?,
    };
    this.initialise(coroutine, event_loop.and_then(Object::some), &options)
}

fn table() -> Vec<Method> {
    type Self_<'a> = This<'a, Task>;
    let mut table = shared_methods();
    table.extend([
        Method::any_arguments(
            c"cancel",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let [message] = CANCEL.parse(arguments)?;
                Ok(Object::from_bool(
                    this.cancel(message.and_then(Object::some))?,
                ))
            },
            c"Ask for a CancelledError to be thrown into the coroutine in its next step.\n\n\
            Returns False if the task is done. The coroutine may catch the error and go on.",
        ),
        Method::no_arguments(
            c"cancelling",
            |this: Self_<'_>| Object::from_i64(this.cancel_requests().into()),
            c"Return how many cancel() were not undone by uncancel().",
        ),
        Method::no_arguments(
            c"uncancel",
            |this: Self_<'_>| Object::from_i64(this.uncancel().into()),
            c"Take one cancel() back; return how many remain.",
        ),
        Method::no_arguments(
            c"get_coro",
            |this: Self_<'_>| Ok(this.coroutine.get().unwrap_or_else(none)),
            c"Return the coroutine.",
        ),
        Method::no_arguments(
            c"get_context",
            |this: Self_<'_>| Ok(this.value().context.get().unwrap_or_else(none)),
            c"Return the contextvars context that the coroutine runs in.",
        ),
        Method::no_arguments(
            c"get_name",
            |this: Self_<'_>| this.name(),
            c"Return the name.",
        ),
        Method::one_argument(
            c"set_name",
            |this: Self_<'_>, name: &Object| {
                this.set_name(name)?;
                Ok(none())
            },
            c"Set the name, to str(value).",
        ),
        Method::one_argument(
            c"set_result",
            |_this: Self_<'_>, _result: &Object| {
                Err(Raised::runtime_error(
                    "Task does not support set_result operation",
                ))
            },
            c"Raise RuntimeError: the result is the coroutine's.",
        ),
        Method::one_argument(
            c"set_exception",
            |_this: Self_<'_>, _exception: &Object| {
                Err(Raised::runtime_error(
                    "Task does not support set_exception operation",
                ))
            },
            c"Raise RuntimeError: the exception is the coroutine's.",
        ),
        Method::any_arguments(
            c"get_stack",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let [limit] = GET_STACK.parse(arguments)?;
                let limit = limit.map_or_else(none, Clone::clone);
                imports()
                    .task_get_stack
                    .call(&[&this.object(), &limit], None)
            },
            c"Return the frames of the suspended coroutine, or of the traceback it ended with.",
        ),
        Method::any_arguments(
            c"print_stack",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let [limit, file] = PRINT_STACK.parse(arguments)?;
                let limit = limit.map_or_else(none, Clone::clone);
                let file = file.map_or_else(none, Clone::clone);
                imports()
                    .task_print_stack
                    .call(&[&this.object(), &limit, &file], None)
            },
            c"Print the frames of get_stack() to `file`, sys.stderr by default.",
        ),
        Method::class_getitem(),
    ]);
    table
}

fn attribute_table() -> Vec<GetSet> {
    type Self_<'a> = This<'a, Task>;
    let mut table = shared_attributes();
    table.extend([
        identity::class_attribute::<Task, _>(|| &imports().asyncio_task),
        GetSet::read_only(
            c"_coro",
            |this: Self_<'_>| Ok(this.coroutine.get().unwrap_or_else(none)),
            c"The coroutine.",
        ),
        GetSet::read_only(
            c"_fut_waiter",
            |this: Self_<'_>| Ok(this.waits_for.get().unwrap_or_else(none)),
            c"The future that the task waits for, or None.",
        ),
        GetSet::read_only(
            c"_must_cancel",
            |this: Self_<'_>| Ok(Object::from_bool(this.must_cancel.get())),
            c"True if the next step throws CancelledError.",
        ),
        GetSet::read_write(
            c"_log_destroy_pending",
            |this: Self_<'_>| Ok(Object::from_bool(this.log_destroy_pending.get())),
            |this: Self_<'_>, value: Option<&Object>| {
                let value = required(value, "_log_destroy_pending")?;
                this.log_destroy_pending.set(value.is_true()?);
                Ok(())
            },
            c"Whether the task's end while pending is reported.",
        ),
    ]);
    table
}
