//! The methods by which the `sock_*` coroutines make their calls.

use super::operation::{Operation, Unsent};
use super::{Side, SocketCall};
use crate::event_loop::EventLoop;
use crate::ffi::{
    Arguments, Method, Object, ObjectCell, Outcome, Raised, Signature, This, TypeBuilder, methods,
    not_implemented, sys,
};

type Self_<'a> = This<'a, EventLoop>;

/// `sock_recv` of more than this goes through `socket.recv()`, which reads into memory of its own.
const MOST_RECEIVED: i64 = 256 * 1024;

const RECEIVE: Signature<2> = Signature {
    function: "_receive",
    names: [c"sock", c"n"],
    positional: 2,
    required: 2,
};
const RECEIVE_INTO: Signature<2> = Signature {
    function: "_receive_into",
    names: [c"sock", c"buf"],
    positional: 2,
    required: 2,
};
const SEND_ALL: Signature<2> = Signature {
    function: "_send_all",
    names: [c"sock", c"data"],
    positional: 2,
    required: 2,
};
const WAIT: Signature<3> = Signature {
    function: "_wait_for_socket",
    names: [c"sock", c"operation", c"writes"],
    positional: 3,
    required: 3,
};

/// What [`EventLoop`]'s table of methods gains.
pub(crate) fn methods_of_loop() -> Vec<Method> {
    vec![
        Method::any_arguments(
            c"_receive",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let [Some(socket), Some(size)] = RECEIVE.parse(arguments)? else {
                    return Ok(not_implemented());
                };
                match whole_number(size) {
                    Some(size @ 1..=MOST_RECEIVED) => {
                        let most = usize::try_from(size).unwrap_or(1);
                        this.call_or_refuse(socket, Side::Reader, Operation::Receive { most })
                    }
                    _ => Ok(not_implemented()),
                }
            },
            c"Receive up to `n` bytes: return them, or what to await for them.\n\n\
            NotImplemented when the socket is not to be called natively.",
        ),
        Method::any_arguments(
            c"_receive_into",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let [Some(socket), Some(memory)] = RECEIVE_INTO.parse(arguments)? else {
                    return Ok(not_implemented());
                };
                let memory = ObjectCell::with(memory.clone());
                let operation = Operation::ReceiveInto { memory };
                match this.call_or_refuse(socket, Side::Reader, operation) {
                    Err(raised) if is_about_memory(&raised) => {
                        raised.discard(); // The socket's own method says it in its own words.
                        Ok(not_implemented())
                    }
                    outcome => outcome,
                }
            },
            c"Receive into `buf`: return the number of bytes, or what to await for it.\n\n\
            NotImplemented when the socket is not to be called natively.",
        ),
        Method::any_arguments(
            c"_send_all",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let [Some(socket), Some(data)] = SEND_ALL.parse(arguments)? else {
                    return Ok(not_implemented());
                };
                match Unsent::of(data) {
                    Ok(unsent) => {
                        this.call_or_refuse(socket, Side::Writer, Operation::SendAll(unsent))
                    }
                    Err(raised) => {
                        raised.discard(); // The socket's own method says it in its own words.
                        Ok(not_implemented())
                    }
                }
            },
            c"Send all of `data`: return None, or what to await until it is sent.\n\n\
            NotImplemented when the socket is not to be called natively.",
        ),
        Method::any_arguments(
            c"_wait_for_socket",
            |this: Self_<'_>, arguments: Arguments<'_>| {
                let [Some(socket), Some(function), Some(writes)] = WAIT.parse(arguments)? else {
                    return Ok(not_implemented());
                };
                let side = if writes.is_true()? {
                    Side::Writer
                } else {
                    Side::Reader
                };
                this.retry_on_socket(socket, side, function)
            },
            c"Return what to await for `operation()` to be called whenever `sock` is ready, until\n\
            it does not raise BlockingIOError any more.\n\n\
            NotImplemented when the socket is not to be called natively.",
        ),
    ]
}

impl This<'_, EventLoop> {
    #[inline]
    fn call_or_refuse(self, socket: &Object, side: Side, operation: Operation) -> Outcome<Object> {
        let outcome = self.call_socket(socket, side, operation)?;
        Ok(outcome.unwrap_or_else(not_implemented))
    }

    fn retry_on_socket(self, socket: &Object, side: Side, function: &Object) -> Outcome<Object> {
        if self.is_debug() {
            return Ok(not_implemented());
        }
        let Some(fd) = crate::ffi::standard_socket_fd(socket) else {
            return Ok(not_implemented());
        };
        let function = ObjectCell::with(function.clone());
        let call = self.wait_for_socket(socket, fd, side, Operation::Call { function })?;
        self.core.note_io();
        Ok(call.into_object())
    }
}

/// Whether an object was found not to lend memory that can be written to.
fn is_about_memory(raised: &Raised) -> bool {
    // SAFETY: built-in classes live as long as the interpreter.
    unsafe { raised.matches(sys::PyExc_BufferError) || raised.matches(sys::PyExc_TypeError) }
}

/// The value of an int; `None` for anything else and for what is too large to be a size.
#[inline]
fn whole_number(object: &Object) -> Option<i64> {
    // SAFETY: a question about a live object's type.
    if unsafe { sys::PyLong_Check(object.as_ptr()) } == 0 {
        return None;
    }
    match object.to_i64() {
        Ok(number) => Some(number),
        Err(raised) => {
            raised.discard(); // The socket's own method says it in its own words.
            None
        }
    }
}

/// Builds the type of the awaitables.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, SocketCall>;
    let methods = methods(vec![
        Method::one_argument(
            c"send",
            |this: Self_<'_>, value: &Object| this.send(value),
            c"Resume the wait; the value is not used.",
        ),
        Method::any_arguments(
            c"throw",
            |this: Self_<'_>, arguments: Arguments<'_>| this.throw(arguments),
            c"End the wait with an exception.",
        ),
        Method::no_arguments(c"close", |this: Self_<'_>| this.close(), c"End the wait."),
    ]);
    TypeBuilder::<SocketCall>::new(c"What a coroutine awaits while its socket is not ready.")
        .only_from_rust()
        .unary(sys::Py_tp_iter, |this| Ok(this.own().into_object()))
        .unary(sys::Py_am_await, |this| Ok(this.own().into_object()))
        .next(|this| this.advance())
        .methods(methods)
        .build(module, None)
}
