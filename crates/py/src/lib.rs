//! `ferrio._ferrio`: asyncio's event loop, Task and Future in Rust.
//!
//! | module | what it holds |
//! |---|---|
//! | `ffi` | the one home of raw CPython: references, native types, calls |
//! | `event_loop` | asyncio's loop methods over `ferrio_core::EventLoop` |
//! | `task`, `future` | `ferrio.Task` and `ferrio.Future` |
//! | `handle` | what `call_soon` and `call_later` return |
//! | `transport` | sockets |
//! | `identity` | why `isinstance(task, asyncio.Task)` holds |
//! | `imports` | what is used of Python's own modules |
//! | `error` | `io::Error` to OSError |
//!
//! Calls go one way: Python → this crate → `ferrio_core` → kernel.

mod error;
mod event_loop;
mod ffi;
mod future;
mod handle;
mod identity;
mod imports;
mod task;
mod transport;

use ffi::{Method, Object, Outcome, guard, methods, sys};

/// Entry point that CPython calls on `import ferrio._ferrio`.
#[unsafe(no_mangle)]
pub extern "C" fn PyInit__ferrio() -> *mut sys::PyObject {
    guard(init_module)
}

fn init_module() -> Outcome<Object> {
    imports::require_main_interpreter()?;
    let functions = methods(vec![Method::function(
        c"_all_tasks",
        |_arguments| task::all_tasks(),
        c"Return the tasks of ferrio, of all loops, that are scheduled and not done.",
    )]);
    let module = ffi::create_module(
        c"_ferrio",
        c"asyncio's event loop, Task and Future in Rust.",
        functions,
    )?;
    imports::load()?;
    future::build(&module)?;
    task::build(&module)?;
    handle::build(&module)?;
    transport::build(&module)?;
    event_loop::build(&module)?;
    Ok(module)
}
