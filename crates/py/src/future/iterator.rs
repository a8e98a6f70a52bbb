//! What `await future` iterates over.

use std::ffi::{CStr, c_int};

use super::Future;
use crate::ffi::{
    Arguments, FreeList, Method, Native, Object, Outcome, Own, Raised, Signature, Slot, This,
    TypeBuilder, TypeObject, Visitor, methods, none, sys,
};

/// Yields the future once, while it is pending, then returns its result.
pub(crate) struct FutureIterator {
    /// Empty when the iteration is over.
    future: Slot<Own<Future>>,
}

static TYPE: TypeObject = TypeObject::new();
static FREE_LIST: FreeList = FreeList::new();

// SAFETY: `TYPE` is built for `FutureIterator` in `build`.
unsafe impl Native for FutureIterator {
    const NAME: &'static CStr = c"ferrio._ferrio.FutureIter";

    fn free_list() -> Option<&'static FreeList> {
        Some(&FREE_LIST)
    }

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<FutureIterator> {
        Ok(FutureIterator {
            future: Slot::new(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.future.visit(visitor)
    }

    fn clear(&self) {
        self.future.clear();
    }
}

impl FutureIterator {
    #[inline]
    pub(crate) fn over(future: This<'_, Future>) -> Outcome<Object> {
        future.event_loop()?;
        Own::new(FutureIterator {
            future: Slot::with(future.own()),
        })
        .map(Own::into_object)
    }
}

impl This<'_, FutureIterator> {
    #[inline]
    fn advance(self) -> Outcome<Option<Object>> {
        advance(&self.value().future)
    }

    fn send(self, _value: &Object) -> Outcome<Object> {
        self.advance()?
            .ok_or_else(|| Raised::stop_iteration(&none()))
    }

    fn throw(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let exception = thrown_exception(arguments)?;
        self.future.clear();
        Err(Raised::exception(&exception))
    }

    fn close(self) -> Outcome<Object> {
        self.future.clear();
        Ok(none())
    }
}

/// The next item of an iteration over `future`: the future itself, or the end, with the result in
/// StopIteration. `future` is emptied at the end.
///
/// `Ok(None)` is the end with the result None: the interpreter takes an iterator that
/// stops without an exception for one that returned None, which spares the exception.
#[inline]
pub(crate) fn advance(future: &Slot<Own<Future>>) -> Outcome<Option<Object>> {
    let Some(awaited) = future.get() else {
        return Ok(None);
    };
    if !awaited.is_done() {
        if awaited.blocking.replace(true) {
            return Err(Raised::runtime_error("await wasn't used with future"));
        }
        return Ok(Some(awaited.into_object()));
    }
    future.clear();
    let result = awaited.this().result()?;
    if result.is_none() {
        Ok(None)
    } else {
        Err(Raised::stop_iteration(&result))
    }
}

/// What `throw(exception)` or the older `throw(type, value, traceback)` is to raise.
pub(crate) fn thrown_exception(arguments: Arguments<'_>) -> Outcome<Object> {
    const THROW: Signature<3> = Signature {
        function: "throw",
        names: [c"type", c"value", c"traceback"],
        positional: 3,
        required: 1,
    };
    let [class, value, traceback] = THROW.parse(arguments)?;
    let class = class.map_or_else(none, Clone::clone);
    if cfg!(Py_3_12) && (value.is_some() || traceback.is_some()) {
        warn_three_arguments()?;
    }
    exception_to_throw(&class, value.and_then(Object::some), traceback)
}

fn warn_three_arguments() -> Outcome<()> {
    // SAFETY: a built-in category and a C string.
    Raised::check(unsafe {
        sys::PyErr_WarnEx(
            sys::PyExc_DeprecationWarning,
            c"the (type, exc, tb) signature of throw() is deprecated, use the single-arg \
              signature instead."
                .as_ptr(),
            1,
        )
    })
}

fn exception_to_throw(
    class: &Object,
    value: Option<&Object>,
    traceback: Option<&Object>,
) -> Outcome<Object> {
    let traceback = traceback.and_then(Object::some);
    // SAFETY: questions about live objects; PyTraceBack_Check is a type comparison.
    let (is_class, is_instance, bad_traceback) = unsafe {
        (
            sys::PyExceptionClass_Check(class.as_ptr()) != 0,
            sys::PyExceptionInstance_Check(class.as_ptr()) != 0,
            traceback.is_some_and(|traceback| sys::PyTraceBack_Check(traceback.as_ptr()) == 0),
        )
    };
    if bad_traceback {
        return Err(Raised::type_error(
            "throw() third argument must be a traceback",
        ));
    }
    let exception = if is_class {
        match value {
            None => class.call0()?,
            Some(value) if value.is_instance(class.as_ptr())? => value.clone(),
            Some(value) if !value.tuple_items().is_empty() => {
                let arguments: Vec<&Object> = value.tuple_items().iter().take(6).collect();
                class.call(&arguments, None)?
            }
            Some(value) => class.call1(value)?,
        }
    } else if is_instance {
        if value.is_some() {
            return Err(Raised::type_error(
                "instance exception may not have a separate value",
            ));
        }
        class.clone()
    } else {
        return Err(Raised::type_error(
            "exceptions must be classes deriving BaseException or instances of such a class",
        ));
    };
    if let Some(traceback) = traceback {
        exception.set_attr(&crate::imports::imports().names.traceback, traceback)?;
    }
    Ok(exception)
}

/// Builds the Python type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    let methods = methods(vec![
        Method::one_argument(
            c"send",
            |this: This<'_, FutureIterator>, value: &Object| this.send(value),
            c"Resume the iteration; the value is not used.",
        ),
        Method::any_arguments(
            c"throw",
            |this: This<'_, FutureIterator>, arguments: Arguments<'_>| this.throw(arguments),
            c"End the iteration with an exception.",
        ),
        Method::no_arguments(
            c"close",
            |this: This<'_, FutureIterator>| this.close(),
            c"End the iteration.",
        ),
    ]);
    TypeBuilder::<FutureIterator>::new(c"The iterator behind `await future`.")
        .only_from_rust()
        .unary(sys::Py_tp_iter, |this| Ok(this.own().into_object()))
        .next(|this| this.advance())
        .methods(methods)
        .build(module, None)
}
