//! `ferrio._ferrio`: asyncio's event loop, Task and Future in Rust.
//!
//! | module | what it holds |
//! |---|---|
//! | `ffi` | the one home of raw CPython: references, native types, calls |
//! | `event_loop` | asyncio's loop methods over `ferrio_core::EventLoop` |
//! | `task`, `future` | `ferrio.Task` and `ferrio.Future` |
//! | `handle` | what `call_soon` and `call_later` return |
//! | `transport` | sockets |
//! | `thread_pool` | calls in threads: the default executor's jobs |
//! | `awaitable` | coroutines whose body is Rust |
//! | `sync`, `queue` | locks, events, semaphores, conditions; queues |
//! | `streams` | `StreamReader`, `StreamWriter` and their protocol |
//! | `combinators` | `sleep` and its like |
//! | `inspect` | the native threads that show what loops do, as far as they need Python |
//! | `originals` | asyncio's versions of these |
//! | `identity` | why `isinstance(task, asyncio.Task)` holds |
//! | `imports` | what is used of Python's own modules |
//! | `error` | `io::Error` to OSError |
//!
//! Calls go one way: Python → this crate → `ferrio_core` → kernel.

mod awaitable;
mod combinators;
mod error;
mod event_loop;
mod ffi;
mod future;
mod handle;
mod identity;
mod imports;
mod inspect;
mod originals;
mod queue;
mod streams;
mod sync;
mod task;
mod thread_pool;
mod transport;

use ffi::{Method, Object, Outcome, sys};

/// Entry point that CPython calls on `import ferrio._ferrio`. It makes nothing yet: CPython may
/// call it in another interpreter than the one that imports.
#[unsafe(no_mangle)]
pub extern "C" fn PyInit__ferrio() -> *mut sys::PyObject {
    ffi::module_definition(
        c"_ferrio",
        c"asyncio's event loop, Task and Future in Rust.",
        functions,
        fill_module,
    )
}

fn functions() -> Vec<Method> {
    let mut functions = vec![
        Method::function(
            c"_all_tasks",
            |_arguments| task::all_tasks(),
            c"Return the tasks of ferrio, of all loops, that are scheduled and not done.",
        ),
        Method::function(
            c"_learn_task_list",
            |arguments| match arguments.positional() {
                [first, second] => {
                    ffi::asyncio_tasks::learn(first, second).map(Object::from_bool)
                }
                _ => Err(ffi::Raised::type_error("two tasks are needed")),
            },
            c"Look at two tasks of asyncio's own; True if ferrio's can join CPython's list of them.",
        ),
        Method::function(
            c"_adopt_methods",
            event_loop::adopt_methods,
            c"Have a subclass of EventLoop own the native methods that nothing overrides in it.",
        ),
        Method::function(
            c"future_add_to_awaited_by",
            future::add_to_awaited_by,
            c"asyncio's function of that name, which knows ferrio's futures as well.",
        ),
        Method::function(
            c"future_discard_from_awaited_by",
            future::discard_from_awaited_by,
            c"asyncio's function of that name, which knows ferrio's futures as well.",
        ),
        Method::function(
            c"_set_metaclass",
            |arguments| match arguments.positional() {
                [class, metaclass] => {
                    ffi::set_metaclass(class, metaclass).map(|()| ffi::none())
                }
                _ => Err(ffi::Raised::type_error("a type and a metaclass are needed")),
            },
            c"Give a native type another metaclass.",
        ),
        Method::function(
            c"_snapshot",
            |_arguments| inspect::snapshot_text(),
            c"Return what all loops of the process and their tasks are at, as JSON.",
        ),
        Method::function(
            c"_cycles",
            |_arguments| inspect::cycles_now(),
            c"Return the cycles of tasks that wait for each other: a list of (ids, certain).",
        ),
        Method::function(
            c"_stuck",
            |arguments| match arguments.positional() {
                [event_loop] => {
                    match ffi::This::<event_loop::EventLoop>::from_object(event_loop) {
                        Some(event_loop) => inspect::stuck_now(event_loop),
                        None => Err(ffi::Raised::type_error("a loop of ferrio's is needed")),
                    }
                }
                _ => Err(ffi::Raised::type_error("one argument is needed")),
            },
            c"Return the cycles of a loop's tasks that only each other could wake, as a list of\n\
            (ids, certain, who each of them needs), whether others may come to that, and whether\n\
            all have waited only for a moment.",
        ),
        Method::function(
            c"_origin_of",
            |arguments| match arguments.positional() {
                [task] => match ffi::This::<task::Task>::from_object(task) {
                    Some(task) => task.origin_in_python(),
                    None => Err(ffi::Raised::type_error("a task of ferrio's is needed")),
                },
                _ => Err(ffi::Raised::type_error("one argument is needed")),
            },
            c"Return where a task comes from: (id, site, owner, combinator, owner's task).",
        ),
        Method::function(
            c"_hear_of_unawaited",
            |_arguments| task::hear_of_unawaited(),
            c"Have ferrio.lints told of each coroutine that is dropped before it began.",
        ),
        Method::function(
            c"_warn_unawaited",
            |arguments| match arguments.positional() {
                [coroutine] => task::warn_unawaited(coroutine),
                _ => Err(ffi::Raised::type_error("one argument is needed")),
            },
            c"Warn of a coroutine that was never awaited, as CPython does, and tell ferrio.lints.",
        ),
        Method::function(
            c"_measure_steps",
            |arguments| match arguments.positional() {
                [measured] => {
                    task::measure_steps(measured.is_true()?);
                    Ok(ffi::none())
                }
                _ => Err(ffi::Raised::type_error("one argument is needed")),
            },
            c"Measure what each step of every task takes from now on, or no more.",
        ),
        Method::function(
            c"_make",
            sync::make,
            c"Make an object of a class without initialising it, for what was pickled.",
        ),
    ];
    functions.extend(transport::functions());
    functions.extend(inspect::functions());
    functions
}

fn fill_module(module: &Object) -> Outcome<()> {
    imports::require_main_interpreter()?;
    imports::load()?;
    ffi::learn_frames()?;
    task::measure_steps(std::env::var_os("FERRIO_TASK_TIMES").is_some_and(|value| value == "1"));
    task::learn_folders()?;
    future::build(module)?;
    task::build(module)?;
    handle::build(module)?;
    transport::build(module)?;
    event_loop::build(module)?;
    thread_pool::build(module)?;
    originals::load()?;
    ffi::learn_origin_depth()?;
    ffi::learn_context_place()?;
    ffi::learn_dict_layout()?;
    ffi::function::build(module)?;
    awaitable::build(module)?;
    sync::build(module)?;
    queue::build(module)?;
    streams::build(module)?;
    combinators::build(module)?;
    ffi::remember_classes()
}
