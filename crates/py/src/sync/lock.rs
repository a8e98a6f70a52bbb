//! `Lock`: one task at a time, in the order in which they came.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::event::{leave, receiver};
use super::{
    BoundLoop, Deque, Semaphore, describe, describe_waiters, is_cancelled_error,
    is_future_cancelled, reduce, set_state, wake,
};
use crate::awaitable::{Awaited, Coroutine, Steps};
use crate::ffi::{
    Arguments, Function, GetSet, Method, Native, Object, ObjectCell, Outcome, Own, Progress,
    Raised, Signature, This, TypeBuilder, TypeObject, Visitor, attributes, methods, none, required,
    sys,
};
use crate::originals::{get, originals};

/// The native part of a `Lock`.
#[repr(C)]
pub(crate) struct Lock {
    dict: ObjectCell,
    weak_references: ObjectCell,
    bound_loop: BoundLoop,
    waiters: Deque,
    locked: Cell<bool>,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `Lock` in `build`; the offsets are those of fields that only
// CPython touches.
unsafe impl Native for Lock {
    const NAME: &'static CStr = c"ferrio._ferrio.Lock";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(Lock, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> = Some(std::mem::offset_of!(Lock, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Lock> {
        Ok(Lock {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            bound_loop: BoundLoop::new(),
            waiters: Deque::absent(),
            locked: Cell::new(false),
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

impl Own<Lock> {
    pub(crate) fn make() -> Outcome<Own<Lock>> {
        Own::new(Lock::create()?)
    }
}

impl Lock {
    #[inline]
    pub(crate) fn is_locked(&self) -> bool {
        self.locked.get()
    }
}

impl This<'_, Lock> {
    /// Whether nobody can have replaced a method of it.
    #[inline]
    pub(crate) fn is_plain(self) -> bool {
        self.is_exact() && self.dict.has_no_attributes()
    }

    /// `release()`.
    #[inline]
    pub(crate) fn release(self) -> Outcome<()> {
        if !self.locked.replace(false) {
            return Err(Raised::runtime_error("Lock is not acquired."));
        }
        self.wake_first()
    }

    #[inline]
    fn wake_first(self) -> Outcome<()> {
        if self.waiters.is_empty()? {
            return Ok(());
        }
        if let Some(first) = self.waiters.first()? {
            wake(&first, &Object::from_bool(true))?;
        }
        Ok(())
    }

    /// Whether it is free and nobody who came before still wants it.
    #[inline]
    fn is_free(self) -> Outcome<bool> {
        if self.locked.get() {
            return Ok(false);
        }
        if self.waiters.is_empty()? {
            return Ok(true);
        }
        for waiter in self.waiters.items()? {
            if !is_future_cancelled(&waiter)? {
                return Ok(false);
            }
        }
        Ok(true)
    }
}

/// `await lock.acquire()`.
pub(crate) struct AcquireLock {
    lock: Own<Lock>,
    /// The future it waits for, once it waits.
    waits: Option<(Object, Awaited)>,
}

impl AcquireLock {
    #[inline]
    pub(crate) fn new(lock: Own<Lock>) -> AcquireLock {
        AcquireLock { lock, waits: None }
    }
}

impl Steps for AcquireLock {
    #[inline]
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let lock = self.lock.this();
        let Some((future, awaited)) = &self.waits else {
            if lock.is_free()? {
                lock.locked.set(true);
                return Ok(Progress::Returned(Object::from_bool(true)));
            }
            let future = lock.bound_loop.create_future(&lock.object())?;
            lock.waiters.push_back(&future)?;
            let awaited = Awaited::new(&future)?;
            self.waits = Some((future, awaited));
            return self.resume(None);
        };
        let outcome = match awaited.resume(thrown) {
            Ok(Progress::Yielded(item)) => return Ok(Progress::Yielded(item)),
            Ok(Progress::Returned(_)) => Ok(()),
            Err(raised) => Err(raised),
        };
        match leave(&lock.waiters, future, outcome) {
            Ok(()) => {
                lock.locked.set(true);
                Ok(Progress::Returned(Object::from_bool(true)))
            }
            Err(raised) if is_cancelled_error(&raised) && !lock.locked.get() => {
                // Its turn goes to the next one.
                let exception = raised.take();
                lock.wake_first()?;
                Err(Raised::exception(&exception))
            }
            Err(raised) => Err(raised),
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.lock)?;
        match &self.waits {
            Some((future, awaited)) => {
                visitor.object(future)?;
                awaited.visit(visitor)
            }
            None => Ok(()),
        }
    }
}

/// `__aenter__` of whatever has an `acquire()`.
pub(crate) enum Enter {
    Lock(AcquireLock),
    Semaphore(super::AcquireSemaphore),
    /// By its name, because somebody may have overridden it.
    Named(Object),
    /// The overridden one, under way.
    Awaiting(Awaited),
}

impl Enter {
    #[inline]
    pub(crate) fn new(object: &Object) -> Enter {
        if let Some(lock) = This::<Lock>::from_object(object)
            && lock.is_plain()
        {
            return Enter::Lock(AcquireLock::new(lock.own()));
        }
        if let Some(semaphore) = This::<Semaphore>::from_object(object)
            && semaphore.is_plain()
        {
            return Enter::Semaphore(super::AcquireSemaphore::new(semaphore.own()));
        }
        if let Some(condition) = This::<super::Condition>::from_object(object)
            && let Some(lock) = condition.plain_lock()
        {
            return Enter::Lock(AcquireLock::new(lock));
        }
        Enter::Named(object.clone())
    }
}

impl Steps for Enter {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let progress = match self {
            Enter::Lock(acquire) => acquire.resume(thrown)?,
            Enter::Semaphore(acquire) => acquire.resume(thrown)?,
            Enter::Awaiting(awaited) => awaited.resume(thrown)?,
            Enter::Named(object) => {
                let awaitable = object.call_method(&originals().names.acquire, &[])?;
                let awaited = Awaited::new(&awaitable)?;
                let progress = awaited.resume(None)?;
                *self = Enter::Awaiting(awaited);
                progress
            }
        };
        Ok(match progress {
            Progress::Returned(_) => Progress::Returned(none()),
            yielded @ Progress::Yielded(_) => yielded,
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        match self {
            Enter::Lock(acquire) => acquire.visit(visitor),
            Enter::Semaphore(acquire) => acquire.visit(visitor),
            Enter::Named(object) => visitor.object(object),
            Enter::Awaiting(awaited) => awaited.visit(visitor),
        }
    }
}

/// `__aexit__` of whatever has a `release()`.
pub(crate) struct Exit(pub(crate) Object);

impl Steps for Exit {
    #[inline]
    fn resume(&mut self, _thrown: Option<Object>) -> Outcome<Progress> {
        let object = &self.0;
        match This::<Lock>::from_exact(object) {
            Some(lock) if lock.is_plain() => lock.release()?,
            _ => match This::<Semaphore>::from_exact(object) {
                Some(semaphore) if semaphore.is_plain() => semaphore.release()?,
                _ => {
                    object.call_method(&originals().names.release, &[])?;
                }
            },
        }
        Ok(Progress::Returned(none()))
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.object(&self.0)
    }
}

const ENTER: Signature<1> = Signature {
    function: "__aenter__",
    names: [c"self"],
    positional: 1,
    required: 1,
};

const EXIT: Signature<4> = Signature {
    function: "__aexit__",
    names: [c"self", c"exc_type", c"exc", c"tb"],
    positional: 4,
    required: 4,
};

/// Gives a type `__aenter__` and `__aexit__`, which acquire and release.
pub(super) fn add_context_manager<T: Native>() -> Outcome<()> {
    let mixin = &originals().context_manager;
    let enter = get(mixin, c"__aenter__")?;
    let enter = Function::make(&enter, "ferrio", |function, arguments| {
        let [this] = ENTER.parse(arguments)?;
        let this = receiver::<T>(this, "__aenter__")?;
        Coroutine::make(function, Enter::new(&this.this().object()))
    })?;
    let exit = get(mixin, c"__aexit__")?;
    let exit = Function::make(&exit, "ferrio", |function, arguments| {
        let [this, ..] = EXIT.parse(arguments)?;
        let this = receiver::<T>(this, "__aexit__")?;
        Coroutine::make(function, Exit(this.into_object()))
    })?;
    T::type_object().add_attribute(c"__aenter__", &enter.into_object())?;
    T::type_object().add_attribute(c"__aexit__", &exit.into_object())
}

/// Builds the Python type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, Lock>;
    let table = methods(vec![
        Method::no_arguments(
            c"locked",
            |this: Self_<'_>| Ok(Object::from_bool(this.locked.get())),
            c"Return True while somebody has it.",
        ),
        Method::no_arguments(
            c"release",
            |this: Self_<'_>| this.release().map(|()| none()),
            c"Give it back and wake the first who waits.\n\n\
            Raises RuntimeError when nobody has it.",
        ),
        Method::no_arguments(
            c"_wake_up_first",
            |this: Self_<'_>| this.wake_first().map(|()| none()),
            c"Wake the first who waits.",
        ),
        Method::any_arguments(
            c"__reduce_ex__",
            |this: Self_<'_>, _: Arguments<'_>| {
                let waiters = this.waiters.to_python(&originals().deque)?;
                let locked = Object::from_bool(this.locked.get());
                reduce(this, &[("_waiters", waiters), ("_locked", locked)])
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
        crate::identity::class_attribute::<Lock, _>(|| &originals().lock),
        GetSet::instance_dict(),
        GetSet::read_write(
            c"_waiters",
            |this: Self_<'_>| this.waiters.to_python(&originals().deque),
            |this: Self_<'_>, value: Option<&Object>| {
                this.waiters.assign(Some(required(value, "_waiters")?));
                Ok(())
            },
            c"The futures of those who wait; None when nobody has had to yet.",
        ),
        GetSet::read_write(
            c"_locked",
            |this: Self_<'_>| Ok(Object::from_bool(this.locked.get())),
            |this: Self_<'_>, value: Option<&Object>| {
                this.locked.set(required(value, "_locked")?.is_true()?);
                Ok(())
            },
            c"Whether somebody has it.",
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
    TypeBuilder::<Lock>::new(
        c"A lock for tasks: asyncio.Lock, native.\n\n\
        Who waits for it gets it in the order of coming. `async with lock` holds it.",
    )
    .subclassable()
    .named_as_in_python()
    .init(|this, arguments| {
        const INIT: Signature<0> = Signature {
            function: "Lock.__init__",
            names: [],
            positional: 0,
            required: 0,
        };
        INIT.parse(arguments)?;
        this.waiters.clear();
        this.locked.set(false);
        Ok(())
    })
    .unary(sys::Py_tp_repr, |this| {
        let state = if this.locked.get() {
            "locked"
        } else {
            "unlocked"
        };
        describe(this, &describe_waiters(state, this.waiters.len()?))
    })
    .methods(table)
    .attributes(attributes)
    .build(module, None)?;
    let acquire = get(&originals().lock, c"acquire")?;
    let acquire = Function::make(&acquire, "ferrio", |function, arguments| {
        const ACQUIRE: Signature<1> = Signature {
            function: "Lock.acquire",
            names: [c"self"],
            positional: 1,
            required: 1,
        };
        let [this] = ACQUIRE.parse(arguments)?;
        Coroutine::make(function, AcquireLock::new(receiver(this, "Lock.acquire")?))
    })?;
    TYPE.add_attribute(c"acquire", &acquire.into_object())?;
    add_context_manager::<Lock>()
}
