//! `Condition`: wait, without holding the lock, until somebody who holds it notifies.

use std::ffi::{CStr, c_int};

use super::lock::add_context_manager;
use super::{
    AcquireLock, BoundLoop, Deque, Lock, LoopBound, StandsIn, Waiter, describe, describe_waiters,
    is_cancelled_error, is_future_done, loop_bound_attributes, wake,
};
use crate::awaitable::{Awaited, Coroutine, Steps};
use crate::ffi::{
    Function, GetSet, Method, Native, Object, ObjectCell, Outcome, Own, Progress, Raised,
    Signature, This, TypeBuilder, TypeObject, Visitor, attributes, methods, none, receiver,
    required, sys,
};
use crate::imports::imports;
use crate::inspect::Told;
use crate::originals::{get, originals};
use ferrio_inspect::snapshot::WaitKind;

/// The native part of a `Condition`.
#[repr(C)]
pub(crate) struct Condition {
    dict: ObjectCell,
    weak_references: ObjectCell,
    bound_loop: BoundLoop,
    waiters: Deque,
    lock: ObjectCell,
    /// What somebody has put in the place of the lock's methods.
    locked: ObjectCell,
    acquire: ObjectCell,
    release: ObjectCell,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `Condition` in `build`; the offsets are those of fields that only
// CPython touches.
unsafe impl Native for Condition {
    const NAME: &'static CStr = c"ferrio._ferrio.Condition";
    const DICT_OFFSET: Option<usize> = Some(std::mem::offset_of!(Condition, dict));
    const WEAK_REFERENCES_OFFSET: Option<usize> =
        Some(std::mem::offset_of!(Condition, weak_references));

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Condition> {
        Ok(Condition {
            dict: ObjectCell::new(),
            weak_references: ObjectCell::new(),
            bound_loop: BoundLoop::new(),
            waiters: Deque::new(),
            lock: ObjectCell::new(),
            locked: ObjectCell::new(),
            acquire: ObjectCell::new(),
            release: ObjectCell::new(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.bound_loop.visit(visitor)?;
        self.waiters.visit(visitor)?;
        self.lock.visit(visitor)?;
        self.locked.visit(visitor)?;
        self.acquire.visit(visitor)?;
        self.release.visit(visitor)
    }

    fn clear(&self) {
        self.bound_loop.clear();
        self.waiters.clear();
        self.lock.clear();
        self.locked.clear();
        self.acquire.clear();
        self.release.clear();
    }
}

impl StandsIn for Condition {
    fn original() -> &'static Object {
        &originals().condition
    }
}

impl LoopBound for Condition {
    fn bound_loop(&self) -> &BoundLoop {
        &self.bound_loop
    }
}

impl This<'_, Condition> {
    /// Whether nobody can have replaced a method of its own class.
    #[inline]
    fn is_plain(self) -> bool {
        self.has_original_methods() && self.dict.has_no_attributes()
    }

    /// The lock, when its own methods are certain to be the ones that are called.
    #[inline]
    pub(crate) fn plain_lock(self) -> Option<Own<Lock>> {
        if !self.is_plain()
            || self.locked.is_some()
            || self.acquire.is_some()
            || self.release.is_some()
        {
            return None;
        }
        let lock = Own::<Lock>::from_exact(self.lock.get()?).ok()?;
        lock.this().is_plain().then_some(lock)
    }

    fn lock(self) -> Outcome<Object> {
        self.value()
            .lock
            .get()
            .ok_or_else(|| Raised::attribute_error("'Condition' object has no attribute '_lock'"))
    }

    /// `self.locked()`.
    fn is_locked(self) -> Outcome<bool> {
        if let Some(lock) = self.plain_lock() {
            return Ok(lock.is_locked());
        }
        self.object()
            .call_method(&originals().names.locked, &[])?
            .is_true()
    }

    /// `self.release()`.
    pub(super) fn release(self) -> Outcome<()> {
        if let Some(lock) = self.plain_lock() {
            return lock.this().release();
        }
        self.object()
            .call_method(&originals().names.release, &[])
            .map(drop)
    }

    /// `self.acquire()`, to be awaited.
    fn acquire(self) -> Outcome<Acquire> {
        if let Some(lock) = self.plain_lock() {
            return Ok(Acquire::Plain(AcquireLock::new(lock)));
        }
        let awaitable = self.object().call_method(&originals().names.acquire, &[])?;
        Awaited::new(&awaitable).map(Acquire::Named)
    }

    /// `self.notify_all()`.
    pub(super) fn notify_everybody(self) -> Outcome<()> {
        let all = i64::try_from(self.waiters.len()?).unwrap_or(i64::MAX);
        self.notify(&Object::from_i64(all)?)
    }

    fn notify(self, count: &Object) -> Outcome<()> {
        if !self.is_locked()? {
            return Err(Raised::runtime_error("cannot notify on un-acquired lock"));
        }
        self.wake(count)
    }

    /// Wakes as many as `count` says.
    fn wake(self, count: &Object) -> Outcome<()> {
        if self.waiters.is_empty()? {
            return Ok(());
        }
        let falsehood = Object::from_bool(false);
        // The first one nearly always is enough.
        if count.as_integer() == Some(1)
            && let Some(first) = self.waiters.first()?
            && wake(&first, &falsehood)?
        {
            return Ok(());
        }
        let mut woken = 0;
        for waiter in self.waiters.items()? {
            let enough = Object::from_i64(woken)?;
            // SAFETY: live objects.
            let enough = unsafe {
                sys::PyObject_RichCompareBool(enough.as_ptr(), count.as_ptr(), sys::Py_GE)
            };
            match enough {
                -1 => return Err(Raised::NOW),
                0 => {}
                _ => break,
            }
            if !is_future_done(&waiter)? {
                woken += 1;
                wake(&waiter, &falsehood)?;
            }
        }
        Ok(())
    }

    /// One of the lock's methods, or what somebody has put in its place.
    fn lent_method(self, cell: &ObjectCell, name: &Object) -> Outcome<Object> {
        match cell.get() {
            Some(method) => Ok(method),
            None => self.lock()?.get_attr(name),
        }
    }
}

/// The lock being acquired.
enum Acquire {
    Plain(AcquireLock),
    Named(Awaited),
}

impl Acquire {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        match self {
            Acquire::Plain(acquire) => acquire.resume(thrown),
            Acquire::Named(awaited) => awaited.resume(thrown),
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        match self {
            Acquire::Plain(acquire) => acquire.visit(visitor),
            Acquire::Named(awaited) => awaited.visit(visitor),
        }
    }
}

/// `await condition.wait()`.
pub(crate) struct WaitCondition {
    condition: Own<Condition>,
    state: Waiting,
}

enum Waiting {
    /// It has not begun.
    Not,
    /// For a notification, without the lock.
    ForNotification(Waiter),
    /// For the lock, which it must have again whatever happens.
    ForLock {
        acquire: Acquire,
        /// What ended the wait, if it was no notification.
        failure: Option<Object>,
        /// The last cancellation that came while it waited for the lock.
        cancelled: Option<Object>,
    },
}

impl WaitCondition {
    pub(crate) fn new(condition: Own<Condition>) -> WaitCondition {
        WaitCondition {
            condition,
            state: Waiting::Not,
        }
    }

    /// A step of one that another native body awaits.
    ///
    /// # Errors
    /// RuntimeError when it waits for the lock instead of being closed: what awaits it goes on with
    /// that, and lets go of it, as asyncio's function does.
    pub(super) fn resume_within(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        // SAFETY: a built-in class.
        let exit = unsafe { sys::PyExc_GeneratorExit };
        let closing = match &thrown {
            Some(exception) => exception.is_instance(exit)?.then(|| exception.clone()),
            None => None,
        };
        let progress = self.resume(thrown)?;
        if let (Progress::Yielded(_), Some(closing)) = (&progress, closing) {
            // The wait for the lock is closed in its turn, and leaves the lock's list.
            if let Err(raised) = self.resume(Some(closing)) {
                raised.discard(); // It was asked to end, and has.
            }
            return Err(Raised::runtime_error("coroutine ignored GeneratorExit"));
        }
        Ok(progress)
    }

    fn begin(&mut self) -> Outcome<Progress> {
        let condition = self.condition.this();
        if !condition.is_locked()? {
            return Err(Raised::runtime_error("cannot wait on un-acquired lock"));
        }
        let begun = if originals().condition_renotifies {
            let future = condition.bound_loop.create_future(&condition.object())?;
            condition.release()?;
            self.wait_for(future)
        } else {
            condition.release()?;
            condition
                .bound_loop
                .create_future(&condition.object())
                .and_then(|future| self.wait_for(future))
        };
        match begun {
            Ok(progress) => Ok(progress),
            Err(raised) => self.reacquire(Some(raised.take())),
        }
    }

    /// Joins those who wait.
    fn wait_for(&mut self, future: Object) -> Outcome<Progress> {
        let waiter = Waiter::join_with(future, &self.condition.waiters)?;
        let progress = waiter.resume(None)?;
        self.state = Waiting::ForNotification(waiter);
        Ok(progress)
    }

    /// Begins to wait for the lock.
    fn reacquire(&mut self, failure: Option<Object>) -> Outcome<Progress> {
        let acquire = match self.condition.this().acquire() {
            Ok(acquire) => acquire,
            Err(raised) => return self.fail(raised),
        };
        self.state = Waiting::ForLock {
            acquire,
            failure,
            cancelled: None,
        };
        self.go_on_reacquiring(None)
    }

    fn go_on_reacquiring(&mut self, mut thrown: Option<Object>) -> Outcome<Progress> {
        loop {
            let Waiting::ForLock {
                acquire, cancelled, ..
            } = &mut self.state
            else {
                unreachable!("only called in this state");
            };
            match acquire.resume(thrown.take()) {
                Ok(Progress::Yielded(item)) => return Ok(Progress::Yielded(item)),
                Ok(Progress::Returned(_)) => return self.end(),
                Err(raised) if is_cancelled_error(&raised) => {
                    *cancelled = Some(raised.take());
                    match self.condition.this().acquire() {
                        Ok(again) => *acquire = again,
                        Err(raised) => return self.fail(raised),
                    }
                }
                Err(raised) => return self.fail(raised),
            }
        }
    }

    /// It has the lock again.
    fn end(&mut self) -> Outcome<Progress> {
        let Waiting::ForLock {
            failure, cancelled, ..
        } = std::mem::replace(&mut self.state, Waiting::Not)
        else {
            unreachable!("only called in this state");
        };
        let exception = match (failure, cancelled) {
            (None, None) => return Ok(Progress::Returned(Object::from_bool(true))),
            (Some(failure), None) => failure,
            (failure, Some(cancelled)) => {
                let cancelled = if originals().condition_renotifies {
                    cancelled
                } else {
                    imports().cancelled_error.call0()?
                };
                if let Some(failure) = failure
                    && !failure.is(&cancelled)
                {
                    cancelled.set_attr(&imports().names.context_attribute, &failure)?;
                }
                cancelled
            }
        };
        self.fail(Raised::exception(&exception))
    }

    /// It ends with an exception; a notification that it may have had goes to another.
    fn fail(&self, raised: Raised) -> Outcome<Progress> {
        if !originals().condition_renotifies {
            return Err(raised);
        }
        let exception = raised.take();
        self.condition.this().wake(&Object::from_i64(1)?)?;
        Err(Raised::exception(&exception))
    }
}

impl Steps for WaitCondition {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        let ended = match &self.state {
            Waiting::Not => return self.begin(),
            Waiting::ForLock { .. } => return self.go_on_reacquiring(thrown),
            Waiting::ForNotification(waiter) => {
                match waiter.resume_and_leave(&self.condition.waiters, thrown) {
                    Ok(Some(item)) => return Ok(Progress::Yielded(item)),
                    Ok(None) => None,
                    Err(raised) => Some(raised.take()),
                }
            }
        };
        self.reacquire(ended)
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.condition)?;
        match &self.state {
            Waiting::Not => Ok(()),
            Waiting::ForNotification(waiter) => waiter.visit(visitor),
            Waiting::ForLock {
                acquire,
                failure,
                cancelled,
            } => {
                acquire.visit(visitor)?;
                for exception in [failure, cancelled].into_iter().flatten() {
                    visitor.object(exception)?;
                }
                Ok(())
            }
        }
    }

    fn tell(&self, told: &mut Told) {
        match &self.state {
            Waiting::Not => {}
            Waiting::ForNotification(_) => {
                told.waits_for(WaitKind::Condition, &self.condition.this().object());
            }
            Waiting::ForLock { acquire, .. } => match acquire {
                Acquire::Plain(acquire) => acquire.tell(told),
                Acquire::Named(awaited) => told.then(awaited),
            },
        }
    }
}

/// `await condition.wait_for(predicate)`.
pub(crate) struct WaitForPredicate {
    condition: Own<Condition>,
    predicate: Object,
    wait: Option<OneWait>,
}

/// One `self.wait()`.
enum OneWait {
    Plain(Box<WaitCondition>),
    Named(Awaited),
}

impl WaitForPredicate {
    fn begin_wait(&self) -> Outcome<OneWait> {
        let condition = self.condition.this();
        if condition.is_plain() {
            let wait = WaitCondition::new(self.condition.clone());
            return Ok(OneWait::Plain(Box::new(wait)));
        }
        let awaitable = condition
            .object()
            .call_method(&originals().names.wait, &[])?;
        Awaited::new(&awaitable).map(OneWait::Named)
    }
}

impl Steps for WaitForPredicate {
    fn resume(&mut self, mut thrown: Option<Object>) -> Outcome<Progress> {
        loop {
            if let Some(wait) = &mut self.wait {
                let progress = match wait {
                    OneWait::Plain(wait) => wait.resume_within(thrown.take())?,
                    OneWait::Named(awaited) => awaited.resume(thrown.take())?,
                };
                if let Progress::Yielded(item) = progress {
                    return Ok(Progress::Yielded(item));
                }
            }
            let result = self.predicate.call0()?;
            if result.is_true()? {
                return Ok(Progress::Returned(result));
            }
            self.wait = Some(self.begin_wait()?);
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.own(&self.condition)?;
        visitor.object(&self.predicate)?;
        match &self.wait {
            None => Ok(()),
            Some(OneWait::Plain(wait)) => wait.visit(visitor),
            Some(OneWait::Named(awaited)) => awaited.visit(visitor),
        }
    }

    fn tell(&self, told: &mut Told) {
        match &self.wait {
            None => {}
            Some(OneWait::Plain(wait)) => wait.tell(told),
            Some(OneWait::Named(awaited)) => told.then(awaited),
        }
    }
}

/// Builds the Python type.
pub(super) fn build(module: &Object) -> Outcome<()> {
    type Self_<'a> = This<'a, Condition>;
    let table = methods(vec![
        Method::any_arguments(
            c"notify",
            |this: Self_<'_>, arguments| {
                const NOTIFY: Signature<1> = Signature {
                    function: "notify",
                    names: [c"n"],
                    positional: 1,
                    required: 0,
                };
                let [count] = NOTIFY.parse(arguments)?;
                let one = Object::from_i64(1)?;
                this.notify(count.unwrap_or(&one)).map(|()| none())
            },
            c"Wake `n` of those who wait; they go on when they have the lock.\n\n\
            Raises RuntimeError when nobody has the lock.",
        ),
        Method::no_arguments(
            c"notify_all",
            |this: Self_<'_>| {
                if this.is_plain() {
                    return this.notify_everybody().map(|()| none());
                }
                let all = Object::from_i64(i64::try_from(this.waiters.len()?).unwrap_or(i64::MAX))?;
                this.object()
                    .call_method(&originals().names.notify, &[&all])?;
                Ok(none())
            },
            c"Wake all who wait, as notify() does.",
        ),
        Method::named_argument(
            c"_notify",
            || ("_notify", c"n"),
            |this: Self_<'_>, count: &Object| this.wake(count).map(|()| none()),
            c"Wake `n` of those who wait, whoever has the lock.",
        ),
    ]);
    TypeBuilder::<Condition>::new(
        c"Tasks that wait for a notification, under a lock: asyncio.Condition, native.\n\n\
        A lock is made when none is given.",
    )
    .subclassable()
    .named_as_in_python()
    .changeable()
    .init(|this, arguments| {
        const INIT: Signature<1> = Signature {
            function: "Condition.__init__",
            names: [c"lock"],
            positional: 1,
            required: 0,
        };
        let [lock] = INIT.parse(arguments)?;
        let lock = match lock.and_then(Object::some) {
            Some(lock) => {
                for name in [
                    &originals().names.locked,
                    &originals().names.acquire,
                    &originals().names.release,
                ] {
                    lock.get_attr(name)?;
                }
                lock.clone()
            }
            None => Own::<Lock>::make()?.into_object(),
        };
        this.value().lock.set(lock);
        this.waiters.reset();
        Ok(())
    })
    .unary(sys::Py_tp_repr, |this| {
        let state = if this.is_locked()? {
            "locked"
        } else {
            "unlocked"
        };
        describe(this, &describe_waiters(state, this.waiters.len()?))
    })
    .methods(table)
    .attributes(attributes(attribute_table()))
    .build(module, None)?;
    add_functions()
}

fn attribute_table() -> Vec<GetSet> {
    type Self_<'a> = This<'a, Condition>;
    loop_bound_attributes::<Condition>([
        GetSet::read_write(
            c"locked",
            |this: Self_<'_>| this.lent_method(&this.locked, &originals().names.locked),
            |this: Self_<'_>, value: Option<&Object>| {
                this.locked.assign(value.cloned());
                Ok(())
            },
            c"The lock's locked().",
        ),
        GetSet::read_write(
            c"acquire",
            |this: Self_<'_>| this.lent_method(&this.value().acquire, &originals().names.acquire),
            |this: Self_<'_>, value: Option<&Object>| {
                this.value().acquire.assign(value.cloned());
                Ok(())
            },
            c"The lock's acquire().",
        ),
        GetSet::read_write(
            c"release",
            |this: Self_<'_>| this.lent_method(&this.value().release, &originals().names.release),
            |this: Self_<'_>, value: Option<&Object>| {
                this.value().release.assign(value.cloned());
                Ok(())
            },
            c"The lock's release().",
        ),
        GetSet::read_write(
            c"_lock",
            |this: Self_<'_>| this.lock(),
            |this: Self_<'_>, value: Option<&Object>| {
                this.value().lock.set(required(value, "_lock")?.clone());
                Ok(())
            },
            c"The lock.",
        ),
        GetSet::field(
            c"_waiters",
            |condition: &Condition| &condition.waiters,
            c"The futures of those who wait.",
        ),
    ])
}

fn add_functions() -> Outcome<()> {
    let wait = get(&originals().condition, c"wait")?;
    let wait = Function::make_method(&wait, |function, condition| {
        Coroutine::make(function, WaitCondition::new(condition))
    })?;
    TYPE.add_attribute(c"wait", &wait.into_object())?;
    let wait_for = get(&originals().condition, c"wait_for")?;
    let wait_for = Function::make(&wait_for, "ferrio", |function, arguments| {
        const WAIT_FOR: Signature<2> = Signature {
            function: "Condition.wait_for",
            names: [c"self", c"predicate"],
            positional: 2,
            required: 2,
        };
        let [this, predicate] = WAIT_FOR.parse(arguments)?;
        let plan = WaitForPredicate {
            condition: receiver(this, "Condition.wait_for")?,
            predicate: predicate.map_or_else(none, Clone::clone),
            wait: None,
        };
        Coroutine::make(function, plan)
    })?;
    TYPE.add_attribute(c"wait_for", &wait_for.into_object())?;
    add_context_manager::<Condition>()
}
