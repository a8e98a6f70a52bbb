//! The one home of raw CPython: references, native types, calls, exceptions.
//!
//! Everything above this module is safe Rust. The rules that make it so:
//!
//! * **One thread at a time.** A value of this module exists only while its
//!   thread holds the interpreter. [`Object`], [`Own`] and [`This`] are
//!   neither `Send` nor `Sync`, so the compiler keeps them out of the one place
//!   where the interpreter is released ([`released`]), whose closure must be
//!   `Send`.
//! * **The error indicator is a value.** A call that failed returns
//!   [`Raised`]: the indicator is set, and whoever swallows it must take the
//!   exception ([`Raised::take`]).
//! * **No panic crosses into C.** Every function that CPython calls goes
//!   through [`guard`].
//! * **Dropping runs code.** The last reference to an object runs its
//!   finalizer, which may call back into us; nothing is borrowed while a
//!   reference is dropped ([`ObjectCell`] stores first and drops afterwards).
//!
//! Why `pyo3-ffi` and not PyO3 itself: see DESIGN.md.

mod arguments;
pub(crate) mod asyncio_tasks;
mod audit;
mod bound;
mod buffer;
mod callable;
mod cell;
mod changeable;
mod context;
mod coroutine_origin;
mod daemon_threads;
mod exception;
mod frames;
mod free_list;
pub(crate) mod function;
mod guarded;
mod linked;
mod looked_up;
mod method;
mod module;
mod native;
mod object;
mod outside;
mod reach;
mod reference_count;
mod replaced_value;
mod returned;
mod search;
mod slots;
mod socket_object;
mod stepped;
mod text_signature;
mod threads;
mod tls;
mod trashcan;
mod type_builder;
mod unowned;

pub(crate) use arguments::{Arguments, Signature};
pub(crate) use audit::audit;
pub(crate) use buffer::Buffer;
pub(crate) use callable::code_of_function;
pub(crate) use cell::{ObjectCell, Slot};
pub(crate) use changeable::remember_classes;
pub(crate) use context::{Context, learn_context_place};
pub(crate) use coroutine_origin::{is_origin_tracked, learn_origin_depth, origin};
pub(crate) use daemon_threads::in_daemon_thread;
pub(crate) use exception::{Outcome, Raised, SavedException, handling};
pub(crate) use frames::{
    Frame, Spot, awaited_in, code_address, code_of, is_generator, learn_frames, line_of,
    running_spots, spots_of_thread, suspended_spot,
};
pub(crate) use free_list::FreeList;
pub(crate) use function::{Function, receiver};
pub(crate) use guarded::Guarded;
pub(crate) use linked::{Linked, LinkedList, Links, unlink};
pub(crate) use looked_up::LookedUp;
pub(crate) use method::{
    Attribute, GetSet, Method, adopt_methods, attributes, call_captureless, methods, required,
};
pub(crate) use module::{module_definition, python_version};
pub(crate) use native::{Extends, Instance, Native, Own, This, TypeObject, Visitor};
pub(crate) use object::{Object, Ref, interned, none, not_implemented, text, text_type_address};
pub(crate) use outside::{code_type_address, hex_version, runtime_address};
pub(crate) use reach::{Reached, attribute_that_is, sections_of, variable_that_is};
pub(crate) use replaced_value::{ReplacedValue, learn_dict_layout};
pub(crate) use returned::forget_returned;
pub(crate) use search::find;
pub(crate) use slots::Progress;
pub(crate) use socket_object::{
    BeginsAsSocket, SocketCell, SocketHead, learn_socket_layout, standard_socket,
    standard_socket_fd,
};
pub(crate) use stepped::{Stepped, stepped};
use threads::guard_optional;
pub(crate) use threads::{
    attached, count_other_threads, guard, guard_status, is_finalizing, may_others_want_interpreter,
    recursive, released, thread_id, thread_number, thread_state_address,
};
pub(crate) use tls::{FreshBytes, MemoryBio, SslSocket, build_window, learn_tls_types};
pub(crate) use type_builder::{TypeBuilder, set_metaclass};
pub(crate) use unowned::{Pointed, Unowned};

pub(crate) use pyo3_ffi as sys;
