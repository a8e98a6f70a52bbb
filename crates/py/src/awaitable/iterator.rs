//! What `coroutine.__await__()` returns when a program calls it: `yield from` in a generator asks
//! for something to iterate over, and a coroutine itself is nothing of the kind.
//!
//! `await` does not come here. It asks the type's slot, which answers the coroutine itself.

use std::ffi::{CStr, c_int};

use super::Coroutine;
use crate::ffi::{
    Arguments, Method, Native, Object, Outcome, Own, Progress, Raised, Slot, This, TypeBuilder,
    TypeObject, Visitor, methods, none, sys,
};

/// An iterator that resumes a coroutine.
pub(super) struct CoroutineIterator {
    /// Empty only in garbage.
    coroutine: Slot<Own<Coroutine>>,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `CoroutineIterator` in `build`.
unsafe impl Native for CoroutineIterator {
    const NAME: &'static CStr = c"ferrio._ferrio.CoroutineIterator";

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<CoroutineIterator> {
        Ok(CoroutineIterator {
            coroutine: Slot::new(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.coroutine.visit(visitor)
    }

    fn clear(&self) {
        self.coroutine.clear();
    }
}

impl CoroutineIterator {
    /// An iterator over `coroutine`, unless it is being awaited.
    pub(super) fn over(coroutine: This<'_, Coroutine>) -> Outcome<Object> {
        coroutine.begin()?;
        Own::new(CoroutineIterator {
            coroutine: Slot::with(coroutine.own()),
        })
        .map(Own::into_object)
    }
}

impl This<'_, CoroutineIterator> {
    fn coroutine(self) -> Outcome<Own<Coroutine>> {
        let coroutine = self.value().coroutine.get();
        coroutine.ok_or_else(|| Raised::runtime_error("the coroutine is gone"))
    }

    fn send(self, value: &Object) -> Outcome<Object> {
        let coroutine = self.coroutine()?;
        let coroutine = coroutine.this();
        coroutine.check_sent(value)?;
        match coroutine.resume(None)? {
            Progress::Yielded(item) => Ok(item),
            Progress::Returned(value) => Err(Raised::stop_iteration(&value)),
        }
    }
}

/// Builds the Python type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, CoroutineIterator>;
    let table = methods(vec![
        Method::one_argument(
            c"send",
            |this: Self_<'_>, value: &Object| this.send(value),
            c"Resume the coroutine; return what it yields.",
        ),
        Method::any_arguments(
            c"throw",
            |this: Self_<'_>, arguments: Arguments<'_>| this.coroutine()?.this().throw(arguments),
            c"Raise an exception where the coroutine waits; return what it yields.",
        ),
        Method::no_arguments(
            c"close",
            |this: Self_<'_>| this.coroutine()?.this().close().map(|()| none()),
            c"End the coroutine with GeneratorExit.",
        ),
    ]);
    TypeBuilder::<CoroutineIterator>::new(c"The iterator that coroutine.__await__() returns.")
        .only_from_rust()
        .unary(sys::Py_tp_iter, |this| Ok(this.own().into_object()))
        .next(|this| this.send(&none()).map(Some))
        .methods(table)
        .build(module, None)
}
