//! `wait(futures, *, timeout=None, return_when=ALL_COMPLETED)`.

use std::cell::{Cell, OnceCell};
use std::ffi::{CStr, c_int};

use super::any_future::{End, add_done_callback, end_of, is_done, remove_done_callback};
use super::sleep::deadline_of;
use crate::awaitable::{Awaited, Coroutine, Steps, is_exact_coroutine};
use crate::ffi::{
    Context, Function, Native, Object, ObjectCell, Outcome, Own, Progress, Raised, Signature, This,
    TypeBuilder, TypeObject, Visitor, none, sys, text,
};
use crate::future::{Watcher, add_awaiter, discard_awaiter, exactly_ours};
use crate::imports::imports;
use crate::inspect::Told;
use crate::originals::originals;
use crate::sync::{create_future, wake};
use ferrio_inspect::snapshot::WaitKind;

/// When the wait is over.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Until {
    AllAreDone,
    OneIsDone,
    OneHasFailed,
}

/// What the futures and the coroutine share.
pub(crate) struct Waiting {
    futures: OnceCell<Box<[Object]>>,
    /// Done when the wait is over.
    waiter: ObjectCell,
    /// The timer of the timeout.
    timer: ObjectCell,
    remaining: Cell<usize>,
    until: Cell<Until>,
    /// The task that waits, where that is noted: from 3.14.
    task: ObjectCell,
}

static TYPE: TypeObject = TypeObject::new();

// SAFETY: `TYPE` is built for `Waiting` in `build`.
unsafe impl Native for Waiting {
    const NAME: &'static CStr = c"ferrio._ferrio._Waiting";

    fn type_object() -> &'static TypeObject {
        &TYPE
    }

    fn create() -> Outcome<Waiting> {
        Ok(Waiting {
            futures: OnceCell::new(),
            waiter: ObjectCell::new(),
            timer: ObjectCell::new(),
            remaining: Cell::new(0),
            until: Cell::new(Until::AllAreDone),
            task: ObjectCell::new(),
        })
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        self.waiter.visit(visitor)?;
        self.timer.visit(visitor)?;
        self.task.visit(visitor)?;
        self.futures()
            .iter()
            .try_for_each(|future| visitor.object(future))
    }

    /// The futures stay, as the items of a tuple do.
    fn clear(&self) {
        self.waiter.clear();
        self.timer.clear();
        self.task.clear();
    }
}

impl Waiting {
    fn futures(&self) -> &[Object] {
        self.futures.get().map(|all| &**all).unwrap_or_default()
    }

    fn cancel_timer(&self) -> Outcome<()> {
        match self.timer.get() {
            Some(timer) => timer.call_method(&imports().names.cancel, &[]).map(drop),
            None => Ok(()),
        }
    }

    fn forget_task_of(&self, future: &Object) -> Outcome<()> {
        match self.task.get() {
            Some(task) => discard_awaiter(future, &task),
            None => Ok(()),
        }
    }

    /// A future is done.
    fn one_is_done(&self, future: &Object) -> Outcome<()> {
        let remaining = self.remaining.get().saturating_sub(1);
        self.remaining.set(remaining);
        let over = remaining == 0
            || match self.until.get() {
                Until::AllAreDone => false,
                Until::OneIsDone => true,
                Until::OneHasFailed => matches!(end_of(future)?, End::Exception(_)),
            };
        if over {
            self.cancel_timer()?;
            if let Some(waiter) = self.waiter.get() {
                wake(&waiter, &none())?;
            }
        }
        self.forget_task_of(future)
    }

    /// The wait is over, however it has ended.
    fn leave(&self, watcher: &Object) -> Outcome<()> {
        self.cancel_timer()?;
        for future in self.futures() {
            remove_done_callback(future, watcher)?;
            self.forget_task_of(future)?;
        }
        Ok(())
    }

    /// `(done, pending)`.
    fn sets(&self) -> Outcome<Object> {
        let (done, pending) = (Object::set()?, Object::set()?);
        for future in self.futures() {
            if is_done(future)? { &done } else { &pending }.set_add(future)?;
        }
        Object::tuple(&[&done, &pending])
    }
}

/// The body of `wait`.
pub(crate) enum Wait {
    Created {
        futures: Object,
        timeout: Option<Object>,
        /// ALL_COMPLETED if none.
        return_when: Option<Object>,
    },
    Waiting {
        waiting: Own<Waiting>,
        watcher: Object,
        awaited: Awaited,
    },
}

impl Steps for Wait {
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        if let Wait::Created {
            futures,
            timeout,
            return_when,
        } = self
        {
            let (waiting, watcher) = begin(futures, timeout.as_ref(), return_when.as_ref())?;
            let awaited = Awaited::new(&waiting.waiter.get().unwrap_or_else(none))?;
            *self = Wait::Waiting {
                waiting,
                watcher,
                awaited,
            };
        }
        let Wait::Waiting {
            waiting,
            watcher,
            awaited,
        } = self
        else {
            return Err(Raised::runtime_error("the wait has not begun"));
        };
        match awaited.resume(thrown) {
            Ok(Progress::Yielded(item)) => Ok(Progress::Yielded(item)),
            Ok(Progress::Returned(_)) => {
                waiting.leave(watcher)?;
                waiting.sets().map(Progress::Returned)
            }
            Err(raised) => {
                // No call may be made with an exception set.
                let exception = raised.take();
                waiting.leave(watcher)?;
                Err(Raised::exception(&exception))
            }
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        match self {
            Wait::Created {
                futures,
                timeout,
                return_when,
            } => {
                visitor.object(futures)?;
                [timeout, return_when]
                    .into_iter()
                    .flatten()
                    .try_for_each(|object| visitor.object(object))
            }
            Wait::Waiting {
                waiting,
                watcher,
                awaited,
            } => {
                visitor.own(waiting)?;
                visitor.object(watcher)?;
                awaited.visit(visitor)
            }
        }
    }

    fn tell(&self, told: &mut Told) {
        if let Wait::Waiting { waiting, .. } = self {
            let any = waiting.until.get() != Until::AllAreDone;
            told.waits_for_futures(WaitKind::Tasks, waiting.futures(), any);
            told.until(waiting.timer.get().as_ref().and_then(deadline_of));
        }
    }
}

/// Looks at the arguments and has the futures tell when they are done.
fn begin(
    futures: &Object,
    timeout: Option<&Object>,
    return_when: Option<&Object>,
) -> Outcome<(Own<Waiting>, Object)> {
    if is_one_awaitable(futures)? {
        let name = futures.type_name()?.to_text()?;
        return Err(Raised::type_error(&format!(
            "expect a list of futures, not {name}"
        )));
    }
    if !futures.is_true()? {
        return Err(Raised::value_error("Set of Tasks/Futures is empty."));
    }
    let until = return_when.map_or(Ok(Until::AllAreDone), until)?;
    let futures = different(futures)?;
    for future in &futures {
        if is_coroutine(future)? {
            return Err(Raised::type_error(
                "Passing coroutines is forbidden, use tasks explicitly.",
            ));
        }
    }
    let event_loop = originals().required_running_loop.call0()?;
    if futures.is_empty() {
        // SAFETY: a built-in class.
        return Err(unsafe {
            Raised::builtin(sys::PyExc_AssertionError, "Set of Futures is empty.")
        });
    }
    let waiting = Own::new(Waiting::create()?)?;
    waiting.until.set(until);
    waiting.remaining.set(futures.len());
    let waiter = create_future(&event_loop)?;
    waiting.waiter.set(waiter.clone());
    if let Some(timeout) = timeout {
        waiting.timer.set(event_loop.call_method(
            &originals().names.call_later,
            &[timeout, &originals().release_waiter, &waiter],
        )?);
    }
    if cfg!(Py_3_14) {
        let task = originals().current_task.call0()?;
        waiting.task.assign(task.some().cloned());
    }
    let watcher = Watcher::make(
        waiting.clone().into_object(),
        "_wait.<locals>._on_completion",
        |waiting, future| match This::<Waiting>::from_exact(waiting) {
            Some(waiting) => waiting.one_is_done(future),
            None => Err(Raised::type_error("a wait was expected")),
        },
    )?;
    let context = Context::copy_current()?;
    for future in &futures {
        add_done_callback(future, &watcher, &context)?;
        if let Some(task) = waiting.task.get() {
            add_awaiter(future, &task)?;
        }
    }
    waiting.futures.get_or_init(|| futures.into_boxed_slice());
    Ok((waiting, watcher))
}

/// A future or a coroutine where many are expected.
pub(super) fn is_one_awaitable(object: &Object) -> Outcome<bool> {
    // SAFETY: questions about a live object's type.
    let known = unsafe {
        sys::PyList_CheckExact(object.as_ptr()) != 0
            || sys::PyTuple_CheckExact(object.as_ptr()) != 0
            || sys::PyAnySet_CheckExact(object.as_ptr()) != 0
    };
    if known {
        return Ok(false);
    }
    Ok(originals().is_future.call1(object)?.is_true()? || is_coroutine(object)?)
}

fn is_coroutine(object: &Object) -> Outcome<bool> {
    if is_exact_coroutine(object) {
        return Ok(true);
    }
    if exactly_ours(object).is_some() {
        return Ok(false);
    }
    imports().is_coroutine.call1(object)?.is_true()
}

/// The items of `set(objects)`, in its order.
pub(super) fn different(objects: &Object) -> Outcome<Vec<Object>> {
    Ok(objects.to_set()?.to_tuple()?.tuple_items().to_vec())
}

fn until(return_when: &Object) -> Outcome<Until> {
    for (text, until) in [
        ("FIRST_COMPLETED", Until::OneIsDone),
        ("FIRST_EXCEPTION", Until::OneHasFailed),
        ("ALL_COMPLETED", Until::AllAreDone),
    ] {
        if return_when.equals(&crate::ffi::text(text)?)? {
            return Ok(until);
        }
    }
    let given = return_when.to_text()?;
    Err(Raised::value_error(&format!(
        "Invalid return_when value: {given}"
    )))
}

/// Builds the type and adds the function to the module.
pub(super) fn build(module: &Object) -> Outcome<()> {
    const WAIT: Signature<3> = Signature {
        function: "wait",
        names: [c"fs", c"timeout", c"return_when"],
        positional: 1,
        required: 1,
    };
    TypeBuilder::<Waiting>::new(c"What wait() and its futures share.")
        .only_from_rust()
        .build(module, None)?;
    let wait = Function::make(&originals().wait, "ferrio", |function, arguments| {
        let [futures, timeout, return_when] = WAIT.parse(arguments)?;
        let plan = Wait::Created {
            futures: futures.map_or_else(none, Clone::clone),
            timeout: timeout.and_then(Object::some).cloned(),
            return_when: return_when.cloned(),
        };
        Coroutine::make(function, plan)
    })?;
    module.set_attr(&text("wait")?, &wait.into_object())
}
