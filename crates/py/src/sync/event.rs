//! `Event`: a flag that tasks wait for.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::{
    BoundLoop, Deque, LoopBound, Pickled, StandsIn, Waiter, describe, describe_waiters,
    loop_bound_attributes, pickled_methods, visit_waiter, wake,
};
use crate::awaitable::{Coroutine, Steps};
use crate::ffi::{
    Attribute, Function, GetSet, Method, Native, Object, ObjectCell, Outcome, Own, Progress,
    Signature, This, TypeBuilder, TypeObject, Visitor, attributes, methods, none, sys,
};
use crate::inspect::Told;
use crate::originals::{get, originals};
use ferrio_inspect::snapshot::WaitKind;

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

impl StandsIn for Event {
    fn original() -> &'static Object {
        &originals().event
    }
}

impl LoopBound for Event {
    fn bound_loop(&self) -> &BoundLoop {
        &self.bound_loop
    }
}

impl Pickled for Event {
    fn state(this: This<'_, Event>) -> Outcome<Vec<(&'static str, Object)>> {
        Ok(vec![
            ("_waiters", this.waiters.read()?),
            ("_value", this.value().value.read()?),
        ])
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
    /// Its place in the list, once it waits.
    waits: Option<Waiter>,
}

impl WaitEvent {
    pub(crate) fn new(event: Own<Event>) -> WaitEvent {
        WaitEvent { event, waits: None }
    }
}

impl Steps for WaitEvent {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let event = self.event.this();
        let Some(waiter) = &self.waits else {
            if event.value.get() {
                return Ok(Progress::Returned(Object::from_bool(true)));
            }
            let waiter = Waiter::join(&event.bound_loop, &event.object(), &event.waiters)?;
            self.waits = Some(waiter);
            return self.resume(None);
        };
        Ok(match waiter.resume_and_leave(&event.waiters, thrown)? {
            Some(item) => Progress::Yielded(item),
            None => Progress::Returned(Object::from_bool(true)),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.event)?;
        visit_waiter(self.waits.as_ref(), visitor)
    }

    fn tell(&self, told: &mut Told) {
        told.waits_for(WaitKind::Event, &self.event.this().object());
    }
}

/// Builds the Python type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, Event>;
    let table = pickled_methods::<Event>(vec![
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
    ]);
    let table_of_attributes = loop_bound_attributes::<Event>([
        GetSet::field(
            c"_waiters",
            |event: &Event| &event.waiters,
            c"The futures of those who wait.",
        ),
        GetSet::field(c"_value", |event: &Event| &event.value, c"The flag."),
    ]);
    TypeBuilder::<Event>::new(
        c"A flag that tasks can wait for: asyncio.Event, native.\n\nIt is unset at first.",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
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
    .methods(methods(table))
    .attributes(attributes(table_of_attributes))
    .build(module, None)?;
    let wait = get(&originals().event, c"wait")?;
    let wait = Function::make_method(&wait, |function, event| {
        Coroutine::make(function, WaitEvent::new(event))
    })?;
    TYPE.add_attribute(c"wait", &wait.into_object())
}
