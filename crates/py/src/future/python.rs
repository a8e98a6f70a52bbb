//! `ferrio.Future` as Python sees it.

use super::{Callback, Extra, Future, FutureIterator, iterator};
use crate::ffi::{
    Arguments, GetSet, Method, Object, Outcome, Raised, Signature, This, TypeBuilder, attributes,
    methods, none, sys, text,
};
use crate::identity;
use crate::imports::imports;

const INIT: Signature<1> = Signature {
    function: "Future",
    names: [c"loop"],
    positional: 0,
    required: 0,
};
pub(crate) const CANCEL: Signature<1> = Signature {
    function: "cancel",
    names: [c"msg"],
    positional: 1,
    required: 0,
};
const ADD_DONE_CALLBACK: Signature<2> = Signature {
    function: "add_done_callback",
    names: [c"fn", c"context"],
    positional: 1,
    required: 1,
};

/// Builds the types of this module.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    iterator::build(module)?;
    super::watcher::build(module)?;
    TypeBuilder::<Future>::new(
        c"Future(*, loop=None)\n--\n\n\
        A placeholder for a result that is not there yet.\n\n\
        Like asyncio.Future, of which it is an instance for isinstance(). `loop` is the event\n\
        loop that calls the callbacks, the running one by default. Not thread-safe: from\n\
        another thread go through loop.call_soon_threadsafe().",
    )
    .subclassable()
    .init(|this, arguments| {
        let [event_loop] = INIT.parse(arguments)?;
        this.initialise(event_loop.and_then(Object::some))
    })
    .unary(sys::Py_tp_repr, |this| {
        this.event_loop()?;
        imports().future_repr.call1(&this.object())
    })
    .unary(sys::Py_am_await, FutureIterator::over)
    .unary(sys::Py_tp_iter, FutureIterator::over)
    .methods(methods(table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)
}

fn table() -> Vec<Method> {
    type Self_<'a> = This<'a, Future>;
    let mut table = shared_methods();
    table.extend([
        Method::one_argument(
            c"set_result",
            |this: Self_<'_>, result: &Object| {
                this.set_result(result.clone())?;
                Ok(none())
            },
            c"Make the future done with this result; InvalidStateError if it is done already.",
        ),
        Method::one_argument(
            c"set_exception",
            |this: Self_<'_>, exception: &Object| {
                this.set_exception(exception)?;
                Ok(none())
            },
            c"Make the future done with this exception, an instance or a class.\n\n\
            Raises InvalidStateError if it is done already, TypeError for anything that is no\n\
            exception.",
        ),
        Method::any_arguments(
            c"cancel",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let [message] = CANCEL.parse(arguments)?;
                this.event_loop()?;
                let message = message.and_then(Object::some).cloned();
                Ok(Object::from_bool(this.cancel_future(message)?))
            },
            c"Cancel the future and schedule its callbacks; return False if it is done already.",
        ),
        Method::class_getitem(),
    ]);
    table
}

/// The methods that are the same for a task, which has them as its own: the interpreter calls a
/// method faster on objects of the very class that it belongs to.
pub(crate) fn shared_methods() -> Vec<Method> {
    type Self_<'a> = This<'a, Future>;
    vec![
        Method::no_arguments(
            c"result",
            |this: Self_<'_>| this.result(),
            c"Return the result, or raise the exception that was set.\n\n\
            Raises InvalidStateError while the future is pending, CancelledError when it was\n\
            cancelled.",
        ),
        Method::no_arguments(
            c"exception",
            |this: Self_<'_>| Ok(this.exception()?.unwrap_or_else(none)),
            c"Return the exception that was set, or None.\n\n\
            Raises InvalidStateError while the future is pending, CancelledError when it was\n\
            cancelled.",
        ),
        Method::any_arguments(
            c"add_done_callback",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                if let Some(function) = arguments.only() {
                    this.add_done_callback(function, None)?;
                    return Ok(none());
                }
                let [function, context] = ADD_DONE_CALLBACK.parse(arguments)?;
                if let Some(function) = function {
                    this.add_done_callback(function, context.and_then(Object::some))?;
                }
                Ok(none())
            },
            c"Have `fn(future)` called soon after the future is done, in `context` or in a copy\n\
            of the current one.",
        ),
        Method::one_argument(
            c"remove_done_callback",
            |this: Self_<'_>, function: &Object| {
                let removed = this.remove_done_callback(function)?;
                Object::from_i64(i64::try_from(removed).unwrap_or(i64::MAX))
            },
            c"Remove every callback that equals `fn`; return how many they were.",
        ),
        Method::no_arguments(
            c"cancelled",
            |this: Self_<'_>| {
                Ok(Object::from_bool(
                    this.state.get() == super::State::Cancelled,
                ))
            },
            c"Return True if the future was cancelled.",
        ),
        Method::no_arguments(
            c"done",
            |this: Self_<'_>| Ok(Object::from_bool(this.is_done())),
            c"Return True if the future has a result or an exception or was cancelled.",
        ),
        Method::no_arguments(
            c"get_loop",
            |this: Self_<'_>| this.event_loop(),
            c"Return the event loop that the future is bound to.",
        ),
        Method::no_arguments(
            c"_make_cancelled_error",
            |this: Self_<'_>| this.make_cancelled_error(),
            c"Create the CancelledError to raise; to be called once per cancellation.",
        ),
    ]
}

fn attribute_table() -> Vec<GetSet> {
    let mut table = shared_attributes();
    table.push(identity::class_attribute::<Future, _>(|| {
        &imports().asyncio_future
    }));
    table
}

/// The attributes that are the same for a task; see [`shared_methods`].
pub(crate) fn shared_attributes() -> Vec<GetSet> {
    type Self_<'a> = This<'a, Future>;
    let mut attributes = vec![
        GetSet::read_only(
            c"_state",
            |this: Self_<'_>| text(this.state.get().name()),
            c"'PENDING', 'CANCELLED' or 'FINISHED'.",
        ),
        GetSet::read_write(
            c"_asyncio_future_blocking",
            |this: Self_<'_>| Ok(Object::from_bool(this.blocking.get())),
            |this: Self_<'_>, value: Option<&Object>| {
                let value = crate::ffi::required(value, "_asyncio_future_blocking")?;
                this.event_loop()?;
                this.blocking.set(value.is_true()?);
                Ok(())
            },
            c"True between the future's own yield and the task that takes it up.",
        ),
        GetSet::read_only(
            c"_loop",
            |this: Self_<'_>| Ok(this.event_loop.get().unwrap_or_else(none)),
            c"The event loop that the future is bound to.",
        ),
        GetSet::read_only(
            c"_callbacks",
            callbacks,
            c"The callbacks with their contexts, or None.",
        ),
        GetSet::read_only(
            c"_result",
            |this: Self_<'_>| Ok(this.success().unwrap_or_else(none)),
            c"The result, if there is one.",
        ),
        GetSet::read_only(
            c"_exception",
            |this: Self_<'_>| Ok(this.failure().unwrap_or_else(none)),
            c"The exception, if there is one.",
        ),
        GetSet::read_write(
            c"_log_traceback",
            |this: Self_<'_>| Ok(Object::from_bool(this.wants_report())),
            |this: Self_<'_>, value: Option<&Object>| {
                if crate::ffi::required(value, "_log_traceback")?.is_true()? {
                    return Err(Raised::value_error(
                        "_log_traceback can only be set to False",
                    ));
                }
                this.forget_traceback();
                Ok(())
            },
            c"True while an exception waits to be retrieved.",
        ),
        GetSet::read_only(
            c"_source_traceback",
            |this: Self_<'_>| Ok(this.extras.get(Extra::SourceTraceback).unwrap_or_else(none)),
            c"Where the future was made, in debug mode.",
        ),
        GetSet::read_write(
            c"_cancel_message",
            |this: Self_<'_>| Ok(this.extras.get(Extra::CancelMessage).unwrap_or_else(none)),
            |this: Self_<'_>, value: Option<&Object>| {
                let message = crate::ffi::required(value, "_cancel_message")?;
                let message = message.some().cloned();
                this.extras.assign(Extra::CancelMessage, message);
                Ok(())
            },
            c"The message of the cancellation.",
        ),
    ];
    if cfg!(Py_3_14) {
        attributes.push(GetSet::read_only(
            c"_asyncio_awaited_by",
            |this: Self_<'_>| this.awaited_by(),
            c"The tasks that wait for the future, as a frozenset, or None.",
        ));
    }
    attributes
}

fn callbacks(this: This<'_, Future>) -> Outcome<Object> {
    let copies = this.callbacks.map(|callback| match callback {
        Callback::Waiter(task) => Callback::Waiter(task.clone()),
        Callback::Call { function, context } => Callback::Call {
            function: function.clone(),
            context: context.clone(),
        },
    });
    if copies.is_empty() {
        return Ok(none());
    }
    let pairs = copies.into_iter().map(|callback| {
        let (function, context) = callback.into_python()?;
        Object::tuple(&[&function, &context])
    });
    Object::list(pairs.collect::<Outcome<Vec<_>>>()?)
}
