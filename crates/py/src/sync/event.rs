//! `Event`: a flag that tasks wait for.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::{BoundLoop, Deque, describe, describe_waiters, reduce, set_state, wake};
use crate::awaitable::{Awaited, Coroutine, Steps};
use crate::ffi::{
    Arguments, Function, GetSet, Method, Native, Object, ObjectCell, Outcome, Own, Progress,
    Signature, This, TypeBuilder, TypeObject, Visitor, attributes, methods, none, required, sys,
};
use crate::originals::{get, originals};

/// The native part of an `Event`.
#[repr(C)]
pub(crate) struct Event {
    dict: ObjectCell,
    weak_references: ObjectCell,
    bound_loop: BoundLoop,
    waiters: Deque,
    value: Cell<bool>,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `Event` in `build`; the offsets are those of fields that only
// CPython touches.
unsafe impl Native for Event {
    const NAME: &'static CStr = c"ferrio._ferrio.Event";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(Event, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(Event, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Event> {
        Ok(Event {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            bound_loop: BoundLoop::new(),
            waiters: Deque::new(),
            value: Cell::new(false),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.bound_loop.visit(visitor)?;
        self.waiters.visit(visitor)
    }

    fn clear(&self) {
        self.bound_loop.clear();
        self.waiters.clear();
    }
}

impl Own<Event> {
    pub(crate) fn make() -> Outcome<Own<Event>> {
        Own::new(Event::create()?)
    }
}

impl Event {
    #[inline]
    pub(crate) fn unset(&self) {
        self.value.set(false);
    }
}

impl This<'_, Event> {
    /// Sets the flag and wakes everybody.
    pub(crate) fn set(self) -> Outcome<()> {
        if self.value.replace(true) || self.waiters.is_empty()? {
            return Ok(());
        }
        let truth = Object::from_bool(true);
        for waiter in self.waiters.items()? {
            wake(&waiter, &truth)?;
        }
        Ok(())
    }
}

/// `await event.wait()`.
pub(crate) struct WaitEvent {
    event: Own<Event>,
    /// The future it waits for, once it waits.
    waits: Option<(Object, Awaited)>,
}

impl WaitEvent {
    pub(crate) fn new(event: Own<Event>) -> WaitEvent {
        WaitEvent { event, waits: None }
    }
}

impl Steps for WaitEvent {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let event = self.event.this();
        let Some((future, awaited)) = &self.waits else {
            if event.value.get() {
                return Ok(Progress::Returned(Object::from_bool(true)));
            }
            let future = event.bound_loop.create_future(&event.object())?;
            event.waiters.push_back(&future)?;
            let awaited = Awaited::new(&future)?;
            self.waits = Some((future, awaited));
            return self.resume(None);
        };
        let outcome = match awaited.resume(thrown) {
            Ok(Progress::Yielded(item)) => return Ok(Progress::Yielded(item)),
            Ok(Progress::Returned(_)) => Ok(Progress::Returned(Object::from_bool(true))),
            Err(raised) => Err(raised),
        };
        leave(&event.waiters, future, outcome)
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.event)?;
        match &self.waits {
            Some((future, awaited)) => {
                visitor.object(future)?;
                awaited.visit(visitor)
            }
            None => Ok(()),
        }
    }
}

/// Takes a future out of its list, whatever came of the wait; the wait's own exception goes
/// before one of this.
#[inline]
pub(crate) fn leave<R>(waiters: &Deque, future: &Object, outcome: Outcome<R>) -> Outcome<R> {
    match outcome {
        Ok(result) => {
            if !waiters.remove(future)? {
                return Err(not_in_deque());
            }
            Ok(result)
        }
        Err(raised) => {
            // No call may be made with an exception set.
            let exception = raised.take();
            if !waiters.remove(future)? {
                return Err(not_in_deque());
            }
            Err(crate::ffi::Raised::exception(&exception))
        }
    }
}

#[cold]
fn not_in_deque() -> crate::ffi::Raised {
    crate::ffi::Raised::value_error("deque.remove(x): x not in deque")
}

const WAIT: Signature<1> = Signature {
    function: "Event.wait",
    names: [c"self"],
    positional: 1,
    required: 1,
};

/// The receiver of a method that was called as a function of the class.
pub(crate) fn receiver<T: Native>(object: Option<&Object>, method: &str) -> Outcome<Own<T>> {
    if let Some(object) = object
        && let Some(this) = This::<T>::from_object(object)
    {
        return Ok(this.own());
    }
    let name = T::NAME.to_string_lossy();
    let name = name.rsplit('.').next().unwrap_or_default().to_owned();
    Err(crate::ffi::Raised::type_error(&format!(
        "{method}() needs an instance of '{name}'"
    )))
}

/// Builds the Python type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, Event>;
    let table = methods(vec![
        Method::no_arguments(
            c"is_set",
            |this: Self_<'_>| Ok(Object::from_bool(this.value.get())),
            c"Return True if and only if the flag is set.",
        ),
        Method::no_arguments(
            c"set",
            |this: Self_<'_>| this.set().map(|()| none()),
            c"Set the flag and wake every task that waits for it.",
        ),
        Method::no_arguments(
            c"clear",
            |this: Self_<'_>| {
                this.unset();
                Ok(none())
            },
            c"Unset the flag; who waits from now on, waits for the next set().",
        ),
        Method::any_arguments(
            c"__reduce_ex__",
            |this: Self_<'_>, _: Arguments<'_>| {
                let waiters = this.waiters.to_python(&originals().deque)?;
                let value = Object::from_bool(this.value.get());
                reduce(this, &[("_waiters", waiters), ("_value", value)])
            },
            c"Pickle it with its attributes.",
        ),
        Method::one_argument(
            c"__setstate__",
            |this: Self_<'_>, state: &Object| set_state(this, state),
            c"Set the attributes that were pickled.",
        ),
    ]);
    let attributes = attributes(vec![
        crate::identity::class_attribute::<Event, _>(|| &originals().event),
        GetSet::instance_dict(),
        GetSet::read_write(
            c"_waiters",
            |this: Self_<'_>| this.waiters.to_python(&originals().deque),
            |this: Self_<'_>, value: Option<&Object>| {
                this.waiters.assign(Some(required(value, "_waiters")?));
                Ok(())
            },
            c"The futures of those who wait.",
        ),
        GetSet::read_write(
            c"_value",
            |this: Self_<'_>| Ok(Object::from_bool(this.value.get())),
            |this: Self_<'_>, value: Option<&Object>| {
                this.value.set(required(value, "_value")?.is_true()?);
                Ok(())
            },
            c"The flag.",
        ),
        GetSet::read_write(
            c"_loop",
            |this: Self_<'_>| Ok(this.bound_loop.get()),
            |this: Self_<'_>, value: Option<&Object>| {
                this.bound_loop.assign(value);
                Ok(())
            },
            c"The loop that it belongs to, or None before the first wait.",
        ),
    ]);
    TypeBuilder::<Event>::new(
        c"A flag that tasks can wait for: asyncio.Event, native.\n\nIt is unset at first.",
    )
    .subclassable()
    .named_as_in_python()
    .init(|this, arguments| {
        const INIT: Signature<0> = Signature {
            function: "Event.__init__",
            names: [],
            positional: 0,
            required: 0,
        };
        INIT.parse(arguments)?;
        this.waiters.reset();
        this.value.set(false);
        Ok(())
    })
    .unary(sys::Py_tp_repr, |this| {
        let state = if this.value.get() { "set" } else { "unset" };
        describe(this, &describe_waiters(state, this.waiters.len()?))
    })
    .methods(table)
    .attributes(attributes)
    .build(module, None)?;
    let wait = get(&originals().event, c"wait")?;
    let wait = Function::make(&wait, "ferrio", |function, arguments| {
        let [this] = WAIT.parse(arguments)?;
        Coroutine::make(function, WaitEvent::new(receiver(this, "Event.wait")?))
    })?;
    TYPE.add_attribute(c"wait", &wait.into_object())
}
