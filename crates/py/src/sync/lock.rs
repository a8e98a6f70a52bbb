//! `Lock`: one task at a time, in the order in which they came.

use std::cell::Cell;
use std::ffi::{CStr, c_int};

use super::holder::Holder;
use super::{
    BoundLoop, Condition, Deque, LoopBound, Pickled, Semaphore, StandsIn, Waiter, describe,
    describe_waiters, is_cancelled_error, is_future_cancelled, loop_bound_attributes,
    pickled_methods, visit_waiter, wake,
};
use crate::awaitable::{Awaited, Coroutine, Steps};
use crate::ffi::{
    Attribute, Function, GetSet, Linked, LinkedList, Links, Method, Native, Object, ObjectCell,
    Outcome, Own, Progress, Raised, Signature, This, TypeBuilder, TypeObject, Visitor, attributes,
    methods, none, receiver, sys, unlink,
};
use crate::future::Purpose;
use crate::inspect::{Told, begin_wait_for_lock};
use crate::originals::{get, originals};
use crate::task::Task;
use ferrio_inspect::snapshot::WaitKind;

/// The native part of a `Lock`.
#[repr(C)]
pub(crate) struct Lock {
    dict: ObjectCell,
    weak_references: ObjectCell,
    bound_loop: BoundLoop,
    waiters: Deque,
    locked: Cell<bool>,
    /// Who has it, where that is known.
    holder: Holder,
    /// Its place among the locks that tasks are known to have.
    links: Links,
}

static TYPE: TypeObject = TypeObject::new();

/// The locks whose holders are known.
static HELD: LinkedList<Lock> = LinkedList::new();

/// A task that is known to have locks is gone.
#[cold]
pub(crate) fn forget_holder_of_locks(task: &Task) {
    HELD.for_each(|lock| {
        if lock.holder.is(task) {
            lock.forget_holder();
        }
    });
}

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
            holder: Holder::new(),
            links: Links::new(),
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

    fn detach(&self) {
        self.holder.clear();
        unlink(self);
    }
}

// SAFETY: the offset of the field.
unsafe impl Linked for Lock {
    const OFFSET: usize = std::mem::offset_of!(Lock, links);

    fn links(&self) -> &Links {
        &self.links
    }
}

impl StandsIn for Lock {
    fn original() -> &'static Object {
        &originals().lock
    }
}

impl LoopBound for Lock {
    fn bound_loop(&self) -> &BoundLoop {
        &self.bound_loop
    }
}

impl Pickled for Lock {
    fn state(this: This<'_, Lock>) -> Outcome<Vec<(&'static str, Object)>> {
        Ok(vec![
            ("_waiters", this.waiters.read()?),
            ("_locked", this.locked.read()?),
        ])
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

    /// The task that has it, if it is known.
    pub(crate) fn holder(&self) -> Option<Own<Task>> {
        self.holder.get()
    }

    /// The number of the task that has it, if it is known.
    pub(crate) fn holder_id(&self) -> Option<u64> {
        self.holder().map(|task| task.origin.id())
    }

    /// Whether it is held by an `async with` block.
    pub(crate) fn is_held_in_section(&self) -> bool {
        self.locked.get() && self.holder.in_section()
    }
}

impl This<'_, Lock> {
    /// Whether nobody can have replaced a method of it.
    #[inline]
    pub(crate) fn is_plain(self) -> bool {
        self.has_original_methods() && self.dict.has_no_attributes()
    }

    /// `release()`.
    #[inline]
    pub(crate) fn release(self) -> Outcome<()> {
        if !self.locked.replace(false) {
            return Err(Raised::runtime_error("Lock is not acquired."));
        }
        self.forget_holder();
        self.wake_first()
    }

    /// Takes it if nobody has it or wants it; whether it did.
    #[inline]
    fn take_at_once(self, in_section: bool) -> bool {
        let possible = !self.locked.get() && self.waiters.is_natively_empty();
        if possible {
            self.take(in_section);
        }
        possible
    }

    /// The task that is being stepped has it from now on.
    #[inline]
    fn take(self, in_section: bool) {
        self.locked.set(true);
        if self.holder.take_for_stepped(in_section) {
            HELD.add(self);
        }
    }

    #[inline]
    fn forget_holder(self) {
        self.holder.clear();
        unlink(self.value());
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
    /// Its place in the list, once it waits.
    waits: Option<Waiter>,
    /// Whether it is for an `async with` block, which releases the lock at its end.
    in_section: bool,
}

impl AcquireLock {
    #[inline]
    pub(crate) fn new(lock: Own<Lock>) -> AcquireLock {
        AcquireLock {
            lock,
            waits: None,
            in_section: false,
        }
    }

    /// For an `async with` block.
    #[inline]
    pub(crate) fn for_section(lock: Own<Lock>) -> AcquireLock {
        AcquireLock {
            in_section: true,
            ..AcquireLock::new(lock)
        }
    }

    /// Takes the lock if nobody has it or wants it; whether it did.
    #[inline]
    fn at_once(&self) -> bool {
        self.waits.is_none() && self.lock.this().take_at_once(self.in_section)
    }

    /// A step that is not the whole of it.
    #[inline(never)]
    fn go_on(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let lock = self.lock.this();
        let Some(waiter) = &self.waits else {
            if lock.is_free()? {
                lock.take(self.in_section);
                return Ok(Progress::Returned(Object::from_bool(true)));
            }
            begin_wait_for_lock(lock)?;
            let waiter = Waiter::join(&lock.bound_loop, &lock.object(), &lock.waiters)?;
            waiter.serves(Purpose::Lock);
            let first = waiter.begin();
            self.waits = Some(waiter);
            return match first {
                Some(item) => Ok(Progress::Yielded(item)),
                None => self.go_on(None),
            };
        };
        match waiter.resume_and_leave(&lock.waiters, thrown) {
            Ok(Some(item)) => Ok(Progress::Yielded(item)),
            Ok(None) => {
                lock.take(self.in_section);
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
}

impl Steps for AcquireLock {
    #[inline(always)]
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        if self.at_once() {
            return Ok(Progress::Returned(Object::from_bool(true)));
        }
        self.go_on(thrown)
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.lock)?;
        visit_waiter(self.waits.as_ref(), visitor)
    }

    fn tell(&self, told: &mut Told) {
        told.waits_for(WaitKind::Lock, &self.lock.this().object());
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
        if let Some(lock) = This::<Lock>::from_exact(object)
            && lock.is_plain()
        {
            return Enter::Lock(AcquireLock::for_section(lock.own()));
        }
        if let Some(condition) = This::<Condition>::from_exact(object)
            && let Some(lock) = condition.plain_lock()
        {
            return Enter::Lock(AcquireLock::for_section(lock));
        }
        if let Some(semaphore) = This::<Semaphore>::from_object(object)
            && semaphore.is_plain()
        {
            return Enter::Semaphore(super::AcquireSemaphore::new(semaphore.own()));
        }
        Enter::Named(object.clone())
    }

    /// A step that is not the whole of it.
    #[inline(never)]
    fn go_on(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let progress = match self {
            Enter::Lock(acquire) => acquire.go_on(thrown)?,
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
}

impl Steps for Enter {
    #[inline(always)]
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        if let Enter::Lock(acquire) = self
            && acquire.at_once()
        {
            return Ok(Progress::Returned(none()));
        }
        self.go_on(thrown)
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        match self {
            Enter::Lock(acquire) => acquire.visit(visitor),
            Enter::Semaphore(acquire) => acquire.visit(visitor),
            Enter::Named(object) => visitor.object(object),
            Enter::Awaiting(awaited) => awaited.visit(visitor),
        }
    }

    fn tell(&self, told: &mut Told) {
        match self {
            Enter::Lock(acquire) => acquire.tell(told),
            Enter::Semaphore(acquire) => acquire.tell(told),
            Enter::Named(_) => {}
            Enter::Awaiting(awaited) => told.then(awaited),
        }
    }
}

/// `__aexit__` of whatever has a `release()`.
pub(crate) struct Exit(pub(crate) Object);

impl Exit {
    /// Whatever it is that is released.
    #[inline(never)]
    fn release(&self) -> Outcome<Progress> {
        let object = &self.0;
        if let Some(semaphore) = This::<Semaphore>::from_exact(object)
            && semaphore.is_plain()
        {
            semaphore.release()?;
        } else if let Some(condition) = This::<Condition>::from_exact(object)
            && let Some(lock) = condition.plain_lock()
        {
            lock.this().release()?;
        } else {
            object.call_method(&originals().names.release, &[])?;
        }
        Ok(Progress::Returned(none()))
    }
}

impl Steps for Exit {
    #[inline(always)]
    fn resume(&mut self, _thrown: Option<Object>) -> Outcome<Progress> {
        match This::<Lock>::from_exact(&self.0) {
            Some(lock) if lock.is_plain() => {
                lock.release()?;
                Ok(Progress::Returned(none()))
            }
            _ => self.release(),
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.object(&self.0)
    }
}

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
    let enter = Function::make_method(&enter, |function, this: Own<T>| {
        Coroutine::make(function, Enter::new(&this.this().object()))
    })?;
    let exit = get(mixin, c"__aexit__")?;
    let exit = Function::make(&exit, "ferrio", |function, arguments| {
        let [this, ..] = EXIT.parse(arguments)?;
        let this = receiver::<T>(this, "__aexit__")?;
        Coroutine::make(function, Exit(this.into_object()))
    })?;
    T::type_object().add_attribute(c"__aenter__", &enter.into_special_method())?;
    T::type_object().add_attribute(c"__aexit__", &exit.into_special_method())
}

/// Builds the Python type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, Lock>;
    let table = pickled_methods::<Lock>(vec![
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
    ]);
    let table_of_attributes = loop_bound_attributes::<Lock>([
        GetSet::field(
            c"_waiters",
            |lock: &Lock| &lock.waiters,
            c"The futures of those who wait; None when nobody has had to yet.",
        ),
        GetSet::field(
            c"_locked",
            |lock: &Lock| &lock.locked,
            c"Whether somebody has it.",
        ),
    ]);
    TypeBuilder::<Lock>::new(
        c"A lock for tasks: asyncio.Lock, native.\n\n\
        Who waits for it gets it in the order of coming. `async with lock` holds it.",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
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
        this.forget_holder();
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
    .methods(methods(table))
    .attributes(attributes(table_of_attributes))
    .build(module, None)?;
    let acquire = get(&originals().lock, c"acquire")?;
    let acquire = Function::make_method(&acquire, |function, lock| {
        Coroutine::make(function, AcquireLock::new(lock))
    })?;
    TYPE.add_attribute(c"acquire", &acquire.into_object())?;
    add_context_manager::<Lock>()
}
