//! `Semaphore` and `BoundedSemaphore`: so many tasks at a time.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::count::Count;
use super::lock::add_context_manager;
use super::{
    BoundLoop, Deque, LoopBound, Pickled, StandsIn, Waiter, class_attribute, describe,
    describe_waiters, is_cancelled_error, is_future_cancelled, is_future_done,
    loop_bound_attributes, pickled_methods, visit_waiter, wake,
};
use crate::awaitable::{Coroutine, Steps};
use crate::ffi::{
    Arguments, Attribute, Extends, Function, GetSet, Method, Native, Object, ObjectCell, Outcome,
    Own, Progress, Raised, Signature, This, TypeBuilder, TypeObject, Visitor, attributes, methods,
    none, sys,
};
use crate::inspect::Told;
use crate::originals::{get, originals};
use ferrio_inspect::snapshot::WaitKind;

/// The native part of a `Semaphore`.
#[repr(C)]
pub(crate) struct Semaphore {
    dict: ObjectCell,
    weak_references: ObjectCell,
    bound_loop: BoundLoop,
    waiters: Deque,
    value: Count,
    /// The value that it was made with, if that is a number.
    first: Cell<Option<i64>>,
}

/// A semaphore that may not be released more often than it was acquired.
#[repr(C)]
pub(crate) struct BoundedSemaphore {
    /// First, so that one's methods work on the other.
    semaphore: Semaphore,
    bound: Count,
}

static TYPE: TypeObject = TypeObject::new();
static BOUNDED: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `Semaphore` in `build`; the offsets are those of fields that only
// CPython touches.
unsafe impl Native for Semaphore {
    const NAME: &'static CStr = c"ferrio._ferrio.Semaphore";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(Semaphore, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(Semaphore, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Semaphore> {
        Ok(Semaphore {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            bound_loop: BoundLoop::new(),
            waiters: Deque::absent(),
            value: Count::new(1),
            first: Cell::new(None),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.bound_loop.visit(visitor)?;
        self.waiters.visit(visitor)?;
        self.value.visit(visitor)
    }

    fn clear(&self) {
        self.bound_loop.clear();
        self.waiters.clear();
        self.value.clear();
    }
}

// SAFETY: `BOUNDED` is built for `BoundedSemaphore` in `build`; the offsets are those of the
// semaphore at offset 0.
unsafe impl Native for BoundedSemaphore {
    const NAME: &'static CStr = c"ferrio._ferrio.BoundedSemaphore";
    const DICT_OFFSET: Option<usize> = Semaphore::DICT_OFFSET;
    const WEAK_REFERENCES_OFFSET: Option<usize> = Semaphore::WEAK_REFERENCES_OFFSET;

    fn type_object() -> &'static TypeObject {
        &BOUNDED
    }

    fn create() -> Outcome<BoundedSemaphore> {
        Ok(BoundedSemaphore {
            semaphore: Semaphore::create()?,
            bound: Count::new(1),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.semaphore.visit(visitor)?;
        self.bound.visit(visitor)
    }

    fn clear(&self) {
        self.semaphore.clear();
        self.bound.clear();
    }
}

// SAFETY: `BoundedSemaphore` is `repr(C)` and begins with a `Semaphore`; `build` gives the base.
unsafe impl Extends<Semaphore> for BoundedSemaphore {}

const fn signature_of_init(function: &'static str) -> Signature<'static, 1> {
    Signature {
        function,
        names: [c"value"],
        positional: 1,
        required: 0,
    }
}

const INIT: Signature<1> = signature_of_init("Semaphore.__init__");
const BOUNDED_INIT: Signature<1> = signature_of_init("BoundedSemaphore.__init__");

impl Semaphore {
    /// The value that it was made with, if that is known: how many may have acquired it.
    pub(crate) fn first_value(&self) -> Option<i64> {
        self.first.get()
    }
}

impl This<'_, Semaphore> {
    /// `__init__(value=1)`.
    fn initialise(self, arguments: Arguments<'_>) -> Outcome<()> {
        let [value] = INIT.parse(arguments)?;
        let one = Object::from_i64(1)?;
        let start = Count::new(0);
        start.assign(value.unwrap_or(&one));
        if start.is_negative()? {
            return Err(Raised::value_error("Semaphore initial value must be >= 0"));
        }
        self.first.set(start.small_value());
        self.value.assign(value.unwrap_or(&one));
        self.waiters.clear();
        Ok(())
    }

    /// Whether its acquire() is the native one, for certain.
    #[inline]
    pub(crate) fn is_plain(self) -> bool {
        let class = self.object().type_ptr();
        [&TYPE, &BOUNDED]
            .into_iter()
            .any(|native| class == native.as_ptr() && native.is_unchanged())
            && self.dict.has_no_attributes()
    }

    /// `locked()`: whether acquire() would have to wait.
    #[inline]
    fn is_locked(self) -> Outcome<bool> {
        if self.value.is_zero()? {
            return Ok(true);
        }
        if self.waiters.is_empty()? {
            return Ok(false);
        }
        for waiter in self.waiters.items()? {
            if !is_future_cancelled(&waiter)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// `release()` of the semaphore without a bound.
    #[inline]
    pub(crate) fn release(self) -> Outcome<()> {
        self.value.add(1)?;
        self.wake_next().map(drop)
    }

    /// Wakes the first who is not awake; whether there was one.
    #[inline]
    fn wake_next(self) -> Outcome<bool> {
        if self.waiters.is_empty()? {
            return Ok(false);
        }
        let truth = Object::from_bool(true);
        // The first one nearly always is.
        if let Some(first) = self.waiters.first()?
            && self.wake_one(&first, &truth)?
        {
            return Ok(true);
        }
        for waiter in self.waiters.items()? {
            if self.wake_one(&waiter, &truth)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    #[inline]
    fn wake_one(self, waiter: &Object, truth: &Object) -> Outcome<bool> {
        if is_future_done(waiter)? {
            return Ok(false);
        }
        self.value.add(-1)?;
        wake(waiter, truth)
    }

    /// What a wait ends with: others may have come who had to wait for their turn.
    fn wake_all_there_is_room_for(self) -> Outcome<()> {
        while self.value.is_positive()? {
            if !self.wake_next()? {
                break;
            }
        }
        Ok(())
    }
}

/// `await semaphore.acquire()`.
pub(crate) struct AcquireSemaphore {
    semaphore: Own<Semaphore>,
    /// Its place in the list, once it waits.
    waits: Option<Waiter>,
}

impl AcquireSemaphore {
    #[inline]
    pub(crate) fn new(semaphore: Own<Semaphore>) -> AcquireSemaphore {
        AcquireSemaphore {
            semaphore,
            waits: None,
        }
    }

    /// `self.locked()`, overridden or not.
    #[inline]
    fn is_locked(&self) -> Outcome<bool> {
        let semaphore = self.semaphore.this();
        if semaphore.is_plain() {
            return semaphore.is_locked();
        }
        semaphore
            .object()
            .call_method(&originals().names.locked, &[])?
            .is_true()
    }

    /// The wait was cancelled: what was given to it meanwhile is given back.
    #[cold]
    fn give_back(&self, future: &Object) -> Outcome<()> {
        let semaphore = self.semaphore.this();
        if originals().semaphore_wakes_all {
            if is_future_done(future)? && !is_future_cancelled(future)? {
                semaphore.value.add(1)?;
            }
        } else if !is_future_cancelled(future)? {
            semaphore.value.add(1)?;
            semaphore.wake_next()?;
        }
        Ok(())
    }
}

impl Steps for AcquireSemaphore {
    #[inline]
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let semaphore = self.semaphore.this();
        let Some(waiter) = &self.waits else {
            if !self.is_locked()? {
                semaphore.value.add(-1)?;
                return Ok(Progress::Returned(Object::from_bool(true)));
            }
            let (bound_loop, waiters) = (&semaphore.bound_loop, &semaphore.waiters);
            self.waits = Some(Waiter::join(bound_loop, &semaphore.object(), waiters)?);
            return self.resume(None);
        };
        match waiter.resume_and_leave(&semaphore.waiters, thrown) {
            Ok(Some(item)) => Ok(Progress::Yielded(item)),
            Ok(None) => {
                if originals().semaphore_wakes_all {
                    semaphore.wake_all_there_is_room_for()?;
                } else if semaphore.value.is_positive()? {
                    semaphore.wake_next()?;
                }
                Ok(Progress::Returned(Object::from_bool(true)))
            }
            Err(raised) => {
                let cancelled = is_cancelled_error(&raised);
                let exception = raised.take();
                if cancelled {
                    self.give_back(&waiter.future())?;
                }
                if originals().semaphore_wakes_all {
                    semaphore.wake_all_there_is_room_for()?;
                }
                Err(Raised::exception(&exception))
            }
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.semaphore)?;
        visit_waiter(self.waits.as_ref(), visitor)
    }

    fn tell(&self, told: &mut Told) {
        told.waits_for(WaitKind::Semaphore, &self.semaphore.this().object());
    }
}

impl StandsIn for Semaphore {
    fn original() -> &'static Object {
        &originals().semaphore
    }
}

impl StandsIn for BoundedSemaphore {
    fn original() -> &'static Object {
        &originals().bounded_semaphore
    }
}

impl LoopBound for Semaphore {
    fn bound_loop(&self) -> &BoundLoop {
        &self.bound_loop
    }
}

impl Pickled for Semaphore {
    fn state(this: This<'_, Semaphore>) -> Outcome<Vec<(&'static str, Object)>> {
        let mut state = vec![
            ("_waiters", this.waiters.read()?),
            ("_value", this.value().value.read()?),
        ];
        if let Some(bounded) = This::<BoundedSemaphore>::from_object(&this.object()) {
            state.insert(0, ("_bound_value", bounded.bound.read()?));
        }
        Ok(state)
    }
}

/// Builds the Python types.
pub(super) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, Semaphore>;
    let table = pickled_methods::<Semaphore>(vec![
        Method::no_arguments(
            c"locked",
            |this: Self_<'_>| this.is_locked().map(Object::from_bool),
            c"Return True if acquire() would have to wait.",
        ),
        Method::no_arguments(
            c"release",
            |this: Self_<'_>| this.release().map(|()| none()),
            c"Count up by one and wake the first who waits.",
        ),
        Method::no_arguments(
            c"_wake_up_next",
            |this: Self_<'_>| {
                let woken = this.wake_next()?;
                Ok(if originals().semaphore_wakes_all {
                    Object::from_bool(woken)
                } else {
                    none()
                })
            },
            c"Wake the first who is not awake.",
        ),
    ]);
    let table_of_attributes = loop_bound_attributes::<Semaphore>([
        GetSet::field(
            c"_waiters",
            |semaphore: &Semaphore| &semaphore.waiters,
            c"The futures of those who wait; None when nobody has had to yet.",
        ),
        GetSet::field(
            c"_value",
            |semaphore: &Semaphore| &semaphore.value,
            c"How many may still acquire it at once.",
        ),
    ]);
    TypeBuilder::<Semaphore>::new(
        c"A counter that acquire() takes from and release() gives to: asyncio.Semaphore, native.\n\n\
        At zero, acquire() waits.",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
    .init(|this, arguments| this.initialise(arguments))
    .unary(sys::Py_tp_repr, |this| {
        let locked = this
            .object()
            .call_method(&originals().names.locked, &[])?
            .is_true()?;
        let state = if locked {
            "locked".to_owned()
        } else {
            format!("unlocked, value:{}", this.value().value.get()?.to_text()?)
        };
        describe(this, &describe_waiters(&state, this.waiters.len()?))
    })
    .methods(methods(table))
    .attributes(attributes(table_of_attributes))
    .build(module, None)?;
    let acquire = get(&originals().semaphore, c"acquire")?;
    let acquire = Function::make_method(&acquire, |function, semaphore| {
        Coroutine::make(function, AcquireSemaphore::new(semaphore))
    })?;
    TYPE.add_attribute(c"acquire", &acquire.into_object())?;
    add_context_manager::<Semaphore>()?;
    build_bounded(module)
}

fn build_bounded(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, BoundedSemaphore>;
    let table = methods(vec![Method::no_arguments(
        c"release",
        |this: Self_<'_>| {
            let semaphore = this.upcast::<Semaphore>();
            if semaphore.value().value.is_at_least(&this.bound)? {
                return Err(Raised::value_error(
                    "BoundedSemaphore released too many times",
                ));
            }
            semaphore.release().map(|()| none())
        },
        c"Count up by one and wake the first who waits.\n\n\
        Raises ValueError when that would exceed the first value.",
    )]);
    let attributes = attributes(vec![
        class_attribute::<BoundedSemaphore>(),
        GetSet::field(
            c"_bound_value",
            |semaphore: &BoundedSemaphore| &semaphore.bound,
            c"The value that it may not exceed.",
        ),
    ]);
    TypeBuilder::<BoundedSemaphore>::new(
        c"A semaphore that cannot be released more often than acquired:\n\
        asyncio.BoundedSemaphore, native.",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
    .init(|this, arguments| {
        let [value] = BOUNDED_INIT.parse(arguments)?;
        let one = Object::from_i64(1)?;
        this.bound.assign(value.unwrap_or(&one));
        this.upcast::<Semaphore>().initialise(arguments)
    })
    .methods(table)
    .attributes(attributes)
    .build(module, Some(&TYPE))
}
