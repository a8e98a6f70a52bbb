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
    vec![
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
            c"_make",
            sync::make,
            c"Make an object of a class without initialising it, for what was pickled.",
        ),
    ]
}

fn fill_module(module: &Object) -> Outcome<()> {
    imports::require_main_interpreter()?;
    imports::load()?;
    future::build(module)?;
    task::build(module)?;
    handle::build(module)?;
    transport::build(module)?;
    event_loop::build(module)?;
    thread_pool::build(module)?;
    originals::load()?;
    ffi::learn_origin_depth()?;
    ffi::function::build(module)?;
    awaitable::build(module)?;
    sync::build(module)?;
    queue::build(module)?;
    streams::build(module)?;
    combinators::build(module)?;
    ffi::remember_classes()
}
