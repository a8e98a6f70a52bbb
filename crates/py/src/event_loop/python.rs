//! The native base of `ferrio.EventLoop` as Python sees it.

use std::time::Duration;

use super::sources::Side;
use super::{EventLoop, counting, socket_calls};
use crate::ffi::{
    Arguments, GetSet, Method, Object, Outcome, Own, Raised, This, TypeBuilder, attributes,
    methods, none, required, sys,
};
use crate::transport::AnyTransport;

type Self_<'a> = This<'a, EventLoop>;

/// Builds the type.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    socket_calls::build(module)?;
    TypeBuilder::<EventLoop>::new(
        c"The native base of ferrio.EventLoop: scheduling, timers, descriptors, tasks.\n\n\
        Its methods are asyncio's and may be called from the loop's own thread only, but for\n\
        call_soon_threadsafe().",
    )
    .subclassable()
    .init(|this, _arguments| {
        super::LOOPS.add(this);
        this.refresh_overrides()
    })
    .set_attribute(|this, name, value| this.set_attribute(name, value))
    .methods(methods(table()))
    .attributes(attributes(attribute_table()))
    .build(module, None)
}

/// Has `class`, in which the parts of the loop are put together, own the native methods.
pub(crate) fn adopt_methods(arguments: Arguments<'_>) -> Outcome<Object> {
    let [class] = arguments.positional() else {
        return Err(Raised::type_error("a class was expected"));
    };
    crate::ffi::adopt_methods::<EventLoop>(class)?;
    Ok(none())
}

fn table() -> Vec<Method> {
    let mut table = scheduling();
    table.extend(state());
    table.extend(descriptors());
    table.extend(socket_calls::methods_of_loop());
    table.extend(counting::methods());
    table
}

fn scheduling() -> Vec<Method> {
    vec![
        Method::any_arguments(
            c"call_soon",
            |this: Self_<'_>, arguments: Arguments<'_>| this.call_soon(arguments),
            c"Have `callback(*args)` called in the next turn; return its Handle.\n\n\
            Calls are made in the order in which they were scheduled, in `context` or in a copy\n\
            of the current one.",
        ),
        Method::any_arguments(
            c"call_soon_threadsafe",
            |this: Self_<'_>, arguments: Arguments<'_>| this.call_soon_threadsafe(arguments),
            c"call_soon() for any thread; wakes the loop.",
        ),
        Method::any_arguments(
            c"call_later",
            |this: Self_<'_>, arguments: Arguments<'_>| this.call_later(arguments),
            c"Have `callback(*args)` called after `delay` seconds; return its TimerHandle.",
        ),
        Method::any_arguments(
            c"call_at",
            |this: Self_<'_>, arguments: Arguments<'_>| this.call_at(arguments),
            c"Have `callback(*args)` called at the loop time `when`, in seconds; return its\n\
            TimerHandle.",
        ),
        Method::no_arguments(
            c"time",
            |this: Self_<'_>| this.time(),
            c"Return the loop's time in seconds, from a monotonic clock.",
        ),
        Method::no_arguments(
            c"create_future",
            |this: Self_<'_>| this.create_future(),
            c"Return a new ferrio.Future of this loop.",
        ),
        Method::any_arguments(
            c"create_task",
            |this: Self_<'_>, arguments: Arguments<'_>| this.create_task(arguments),
            c"Schedule a coroutine; return its task, from the task factory if one is set.",
        ),
        Method::named_argument(
            c"set_task_factory",
            || ("set_task_factory", c"factory"),
            |this: Self_<'_>, factory: &Object| this.set_task_factory(factory),
            c"Have create_task() call `factory(loop, coro)`; None for ferrio.Task.",
        ),
        Method::no_arguments(
            c"get_task_factory",
            |this: Self_<'_>| this.get_task_factory(),
            c"Return the task factory, or None.",
        ),
        Method::any_arguments(
            c"run_in_executor",
            |this: Self_<'_>, arguments: Arguments<'_>| this.run_in_executor(arguments),
            c"Run `func(*args)` in `executor`; return a future of the loop with its outcome.\n\n\
            `executor=None` is the default executor, which is made at its first use.\n\
            Raises RuntimeError when the loop is closed or its default executor was shut down.",
        ),
        Method::one_argument(
            c"_use_thread_pool",
            |this: Self_<'_>, pool: &Object| this.use_thread_pool(pool),
            c"Give the default executor's jobs to `pool`; None when the executor is not ferrio's.",
        ),
        Method::named_argument(
            c"_add_handle",
            || ("_add_handle", c"handle"),
            |this: Self_<'_>, handle: &Object| this.add_handle(handle),
            c"Put a handle into the ready queue, unless it is cancelled.",
        ),
    ]
}

fn state() -> Vec<Method> {
    vec![
        Method::no_arguments(
            c"_open_transports",
            |this: Self_<'_>| {
                Object::list(
                    this.transports()?
                        .into_iter()
                        .filter(|transport| !transport.is_closing())
                        .map(AnyTransport::into_object)
                        .collect(),
                )
            },
            c"Return the transports over sockets that are open.",
        ),
        Method::no_arguments(
            c"_waits_for_nothing",
            |this: Self_<'_>| Ok(Object::from_bool(this.waits_for_nothing())),
            c"Return True if no timer, descriptor or call in a thread will give it anything to do.",
        ),
        Method::any_arguments(
            c"_expect_look",
            |this: Self_<'_>, arguments: Arguments<'_>| match arguments.positional() {
                [due] => {
                    this.look_due.set(due.is_true()?);
                    Ok(none())
                }
                _ => Err(Raised::type_error("an argument is needed")),
            },
            c"Hear whether a look for deadlocks is due soon.",
        ),
        Method::one_argument(
            c"_count_own_timers",
            |this: Self_<'_>, more: &Object| {
                let more = isize::try_from(more.to_i64()?).unwrap_or(0);
                let timers = this.own_timers.get().saturating_add_signed(more);
                this.own_timers.set(timers);
                Ok(none())
            },
            c"Hear that there are so many more timers that are none of the program's.",
        ),
        Method::one_argument(
            c"_set_strict",
            |this: Self_<'_>, strict: &Object| {
                this.strict.set(strict.is_true()?);
                Ok(none())
            },
            c"Have a certain deadlock raised in the task that closes it, or only reported.",
        ),
        Method::no_arguments(
            c"is_running",
            |this: Self_<'_>| Ok(Object::from_bool(this.is_running())),
            c"Return True while the loop runs.",
        ),
        Method::no_arguments(
            c"is_closed",
            |this: Self_<'_>| Ok(Object::from_bool(this.is_closed())),
            c"Return True once the loop is closed.",
        ),
        Method::no_arguments(
            c"stop",
            |this: Self_<'_>| {
                this.check_owner()?;
                this.core.stop();
                this.flush_writes()?;
                Ok(none())
            },
            c"Stop running after the turn that is under way.",
        ),
        Method::no_arguments(
            c"get_debug",
            |this: Self_<'_>| Ok(Object::from_bool(this.is_debug())),
            c"Return True in debug mode.",
        ),
        Method::named_argument(
            c"set_debug",
            || ("set_debug", c"enabled"),
            |this: Self_<'_>, enabled: &Object| {
                this.value().set_debug(enabled.is_true()?);
                Ok(none())
            },
            c"Turn debug mode on or off.",
        ),
        Method::one_argument(
            c"_be_watched",
            |this: Self_<'_>, seconds: &Object| {
                let threshold = match seconds.some() {
                    Some(seconds) => Duration::try_from_secs_f64(seconds.to_f64()?).ok(),
                    None => None,
                };
                this.record.set_threshold(threshold);
                if this.is_in_turns() {
                    this.be_watched();
                }
                Ok(none())
            },
            c"Have the watchdog tell of blocks of so many seconds; None for not any more.",
        ),
        Method::no_arguments(
            c"_threshold",
            |this: Self_<'_>| match this.record.threshold() {
                Some(threshold) => Object::from_f64(threshold.as_secs_f64()),
                None => Ok(none()),
            },
            c"Return what _be_watched() was given.",
        ),
        Method::no_arguments(
            c"_check_closed",
            |this: Self_<'_>| {
                this.check_closed()?;
                Ok(none())
            },
            c"Raise RuntimeError when the loop is closed.",
        ),
        Method::no_arguments(
            c"_run_turns",
            |this: Self_<'_>| {
                this.run_turns()?;
                Ok(none())
            },
            c"Run turns until stop(); KeyboardInterrupt and SystemExit of a callback leave it.",
        ),
        Method::no_arguments(
            c"_note_io",
            |this: Self_<'_>| {
                this.value().note_io();
                Ok(none())
            },
            c"Have the next turn look for events, even if it is busy.",
        ),
        Method::no_arguments(
            c"_ready_count",
            |this: Self_<'_>| {
                Object::from_i64(i64::try_from(this.core.ready_len()).unwrap_or(i64::MAX))
            },
            c"Return how many entries stand in the ready queue.",
        ),
        Method::no_arguments(
            c"_flush_writes",
            |this: Self_<'_>| {
                this.flush_writes()?;
                Ok(none())
            },
            c"Send what the transports were given in this turn; see gather_writes.",
        ),
        Method::no_arguments(
            c"_close",
            |this: Self_<'_>| {
                this.close();
                Ok(none())
            },
            c"Free everything that the loop holds.",
        ),
        Method::one_argument(
            c"_disown",
            |this: Self_<'_>, process: &Object| {
                this.disown(process.to_i64()?);
                Ok(none())
            },
            c"Let go of everything that is shared with the process `pid`, which made the loop.\n\n\
            Called in a child that it has forked.",
        ),
        Method::no_arguments(
            c"_signal_wakeup_fd",
            |this: Self_<'_>| {
                this.check_closed()?;
                Object::from_i64(this.core.signal_fd()?.into())
            },
            c"Return the descriptor that signal.set_wakeup_fd() is to write to.\n\n\
            Each byte that arrives there makes the loop call self._handle_signal(number).",
        ),
    ]
}

fn descriptors() -> Vec<Method> {
    vec![
        Method::any_arguments(
            c"add_reader",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                this.add_watch(arguments, Side::Reader).map(|_| none())
            },
            c"Have `callback(*args)` called whenever `fd` can be read.",
        ),
        Method::any_arguments(
            c"add_writer",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                this.add_watch(arguments, Side::Writer).map(|_| none())
            },
            c"Have `callback(*args)` called whenever `fd` can be written.",
        ),
        Method::any_arguments(
            c"_add_reader",
            |this: Self_<'_>, arguments: Arguments<'_>| this.add_watch(arguments, Side::Reader),
            c"add_reader() that returns the handle.",
        ),
        Method::any_arguments(
            c"_add_writer",
            |this: Self_<'_>, arguments: Arguments<'_>| this.add_watch(arguments, Side::Writer),
            c"add_writer() that returns the handle.",
        ),
        Method::named_argument(
            c"remove_reader",
            || ("remove_reader", c"fd"),
            |this: Self_<'_>, file: &Object| this.remove_watch(file, Side::Reader),
            c"Stop watching `fd` for reading; return whether it was watched.",
        ),
        Method::named_argument(
            c"remove_writer",
            || ("remove_writer", c"fd"),
            |this: Self_<'_>, file: &Object| this.remove_watch(file, Side::Writer),
            c"Stop watching `fd` for writing; return whether it was watched.",
        ),
        Method::named_argument(
            c"_remove_reader",
            || ("_remove_reader", c"fd"),
            |this: Self_<'_>, file: &Object| this.remove_own_watch(file, Side::Reader),
            c"remove_reader(), under the name that asyncio's own modules use.",
        ),
        Method::named_argument(
            c"_remove_writer",
            || ("_remove_writer", c"fd"),
            |this: Self_<'_>, file: &Object| this.remove_own_watch(file, Side::Writer),
            c"remove_writer(), under the name that asyncio's own modules use.",
        ),
        Method::named_argument(
            c"_ensure_fd_no_transport",
            || ("_ensure_fd_no_transport", c"fd"),
            |this: Self_<'_>, file: &Object| {
                this.descriptor(file)?;
                Ok(none())
            },
            c"Raise RuntimeError when a transport of this loop owns the descriptor.",
        ),
        Method::named_argument(
            c"_transports_of",
            || ("_transports_of", c"server"),
            |this: Self_<'_>, server: &Object| this.gathering.transports_of(server),
            c"Return a list of the open transports whose connections the server has accepted.",
        ),
    ]
}

fn attribute_table() -> Vec<GetSet> {
    vec![
        GetSet::read_write(
            c"_thread_id",
            |this: Self_<'_>| match this.thread.get() {
                Some(thread) => {
                    // SAFETY: a new reference or null.
                    unsafe { Object::from_new(sys::PyLong_FromUnsignedLongLong(thread)) }
                }
                None => Ok(none()),
            },
            |this: Self_<'_>, value: Option<&Object>| {
                let thread = required(value, "_thread_id")?.some();
                let thread = thread.map(Object::to_i64).transpose()?;
                this.thread.set(thread.map(i64::cast_unsigned));
                Ok(())
            },
            c"The identifier of the thread that runs the loop, or None.",
        ),
        GetSet::read_only(
            c"_number",
            |this: Self_<'_>| Object::from_i64(this.record.id().cast_signed()),
            c"Counts the process's loops, from 1.",
        ),
        GetSet::read_only(
            c"_debug",
            |this: Self_<'_>| Ok(Object::from_bool(this.is_debug())),
            c"True in debug mode.",
        ),
        GetSet::read_only(
            c"_stopping",
            |this: Self_<'_>| Ok(Object::from_bool(this.core.is_stopping())),
            c"True between stop() and the end of the run.",
        ),
        GetSet::read_only(
            c"_current_handle",
            |this: Self_<'_>| {
                Ok(this
                    .current_handle
                    .get()
                    .map_or_else(none, Own::into_object))
            },
            c"The handle being run, in debug mode.",
        ),
        GetSet::read_only(
            c"_closed",
            |this: Self_<'_>| Ok(Object::from_bool(this.is_closed())),
            c"True once the loop is closed.",
        ),
        GetSet::read_write(
            c"gather_writes",
            |this: Self_<'_>| Ok(Object::from_bool(this.gathering.is_enabled())),
            |this: Self_<'_>, value: Option<&Object>| {
                this.set_gather_writes(required(value, "gather_writes")?.is_true()?)
            },
            c"True (the default): a transport's writes of one turn are sent by one system call at\n\
            its end. False: each by its own, at once.",
        ),
        GetSet::read_write(
            c"slow_callback_duration",
            |this: Self_<'_>| Ok(this.slow_callback_duration.get().unwrap_or_else(none)),
            |this: Self_<'_>, value: Option<&Object>| {
                let value = required(value, "slow_callback_duration")?;
                if value.is_none() {
                    return Err(Raised::type_error(
                        "slow_callback_duration must be a number",
                    ));
                }
                this.slow_callback_duration.set(value.clone());
                Ok(())
            },
            c"Seconds; debug mode reports callbacks that take as long or longer.",
        ),
    ]
}
