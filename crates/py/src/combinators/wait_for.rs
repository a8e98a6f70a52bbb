//! `wait_for(fut, timeout)`.
//!
//! From 3.12 on it is an await under a timeout. Before, it makes a task of what it is given and
//! waits for a future that either the task's end or a timer sets.

use std::ffi::c_int;

use super::current::running_loop;
use super::sleep::{deadline_of, is_at_most_zero};
use super::timeout::{Timeout, timed_out};
use crate::awaitable::{Awaited, Coroutine, Steps};
use crate::ffi::{
    Function, Object, Outcome, Own, Progress, Raised, Signature, Visitor, handling, none, text,
};
use crate::imports::imports;
use crate::inspect::Told;
use crate::originals::originals;
use crate::sync::{create_future, is_cancelled_error, is_future_done};
use crate::task::{Maker, Making};
use ferrio_inspect::snapshot::WaitKind;

/// The body of `wait_for`.
pub(crate) enum WaitFor {
    /// It has not begun.
    Created { awaitable: Object, timeout: Object },
    /// For what was given, under the timeout.
    Under {
        timeout: Own<Timeout>,
        awaited: Awaited,
    },
    /// For what was given, without a timeout; or asyncio's own, for a time that is up already.
    Plainly(Awaited),
    /// For whichever comes first (before 3.12).
    ForFirst(First),
}

impl WaitFor {
    fn begin(&mut self, awaitable: &Object, delay: &Object) -> Outcome<Progress> {
        let by_tasks = originals().wait_for_makes_task;
        if by_tasks {
            // Asked for before anything else.
            running_loop()?;
        }
        if by_tasks && delay.is_none() {
            *self = WaitFor::Plainly(Awaited::new(awaitable)?);
        } else if !delay.is_none() && is_at_most_zero(delay)? {
            let late = originals().wait_for.call(&[awaitable, delay], None)?;
            *self = WaitFor::Plainly(Awaited::new(&late)?);
        } else if by_tasks {
            *self = WaitFor::ForFirst(First::begin(awaitable, delay)?);
        } else {
            let timeout = Own::<Timeout>::after(delay)?;
            timeout.this().enter()?;
            let awaited = Awaited::new(awaitable).map_err(|raised| leave(&timeout, raised))?;
            *self = WaitFor::Under { timeout, awaited };
        }
        self.resume(None)
    }
}

/// Leaves the timeout with an exception, which it may replace.
#[cold]
fn leave(timeout: &Own<Timeout>, raised: Raised) -> Raised {
    let exception = raised.take();
    let class = exception.type_object();
    match timeout.this().exit(Some(&class), Some(&exception)) {
        Ok(()) => Raised::with_its_context(exception),
        Err(raised) => raised,
    }
}

impl Steps for WaitFor {
    #[inline]
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        match self {
            WaitFor::Created { awaitable, timeout } => {
                let (awaitable, timeout) = (awaitable.clone(), timeout.clone());
                self.begin(&awaitable, &timeout)
            }
            WaitFor::Plainly(awaited) => awaited.resume(thrown),
            WaitFor::Under { timeout, awaited } => match awaited.resume(thrown) {
                Ok(Progress::Yielded(item)) => Ok(Progress::Yielded(item)),
                Ok(Progress::Returned(result)) => {
                    timeout.this().exit(None, None)?;
                    Ok(Progress::Returned(result))
                }
                Err(raised) => Err(leave(timeout, raised)),
            },
            WaitFor::ForFirst(first) => first.resume(thrown),
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        match self {
            WaitFor::Created { awaitable, timeout } => {
                visitor.object(awaitable)?;
                visitor.object(timeout)
            }
            WaitFor::Under { timeout, awaited } => {
                visitor.own(timeout)?;
                awaited.visit(visitor)
            }
            WaitFor::Plainly(awaited) => awaited.visit(visitor),
            WaitFor::ForFirst(first) => first.visit(visitor),
        }
    }

    fn tell(&self, told: &mut Told) {
        match self {
            WaitFor::Created { .. } => {}
            WaitFor::Under { timeout, awaited } => {
                told.waits(WaitKind::Timeout);
                told.until(timeout.this().deadline());
                told.then(awaited);
            }
            WaitFor::Plainly(awaited) => told.then(awaited),
            WaitFor::ForFirst(first) => {
                told.waits_for_futures(
                    WaitKind::Timeout,
                    std::slice::from_ref(&first.future),
                    false,
                );
                told.until(deadline_of(&first.timer));
            }
        }
    }
}

/// A wait for a task's end or for a timer, whichever comes first.
pub(crate) struct First {
    event_loop: Object,
    /// What was given, as a future.
    future: Object,
    /// What the future calls when it is done, and the timer when its time has come.
    release: Object,
    timer: Object,
    stage: Stage,
}

enum Stage {
    /// For either.
    Waiting(Awaited),
    /// For the future, which was cancelled: to the end, whatever it does.
    Ending {
        awaited: Awaited,
        /// The cancellation that is to be raised after it; the time was up if there is none.
        cancelled: Option<Object>,
    },
}

impl First {
    fn begin(awaitable: &Object, delay: &Object) -> Outcome<First> {
        let (originals, names) = (originals(), &imports().names);
        let event_loop = running_loop()?;
        let waiter = create_future(&event_loop)?;
        let releases = &originals.release_waiter;
        let timer =
            event_loop.call_method(&originals.names.call_later, &[delay, releases, &waiter])?;
        let release = originals.partial.call(&[releases, &waiter], None)?;
        let _making = Making::by(Maker::WaitFor, 0);
        let future = originals
            .ensure_future
            .call(&[awaitable, &event_loop], Some(&originals.loop_keyword))?;
        future.call_method(&names.add_done_callback, &[&release])?;
        Ok(First {
            event_loop,
            future,
            release,
            timer,
            stage: Stage::Waiting(Awaited::new(&waiter)?),
        })
    }

    fn advance(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        match &self.stage {
            Stage::Waiting(awaited) => match awaited.resume(thrown) {
                Ok(Progress::Yielded(item)) => Ok(Progress::Yielded(item)),
                Ok(Progress::Returned(_)) => self.end(None),
                Err(raised) if is_cancelled_error(&raised) => self.end(Some(raised.take())),
                Err(raised) => Err(raised),
            },
            Stage::Ending { awaited, cancelled } => {
                let progress = match (cancelled, thrown) {
                    // Thrown into an `except` block, as it were.
                    (Some(cancelled), Some(thrown)) => handling(cancelled, || {
                        let thrown = Raised::exception(&thrown).take();
                        awaited.resume(Some(thrown))
                    }),
                    (Some(cancelled), None) => handling(cancelled, || awaited.resume(None)),
                    (None, thrown) => awaited.resume(thrown),
                };
                if let Progress::Yielded(item) = progress? {
                    return Ok(Progress::Yielded(item));
                }
                match cancelled {
                    Some(cancelled) => Err(Raised::exception(cancelled)),
                    None => self.result_or_timeout(),
                }
            }
        }
    }

    /// The future is done, or it is time to end it.
    fn end(&mut self, cancelled: Option<Object>) -> Outcome<Progress> {
        if is_future_done(&self.future)? {
            return match &cancelled {
                Some(cancelled) => handling(cancelled, || self.result()),
                None => self.result(),
            };
        }
        let originals = originals();
        let name = &originals.names.remove_done_callback;
        self.future.call_method(name, &[&self.release])?;
        let ending = originals.cancel_and_wait.call(
            &[&self.future, &self.event_loop],
            Some(&originals.loop_keyword),
        )?;
        self.stage = Stage::Ending {
            awaited: Awaited::new(&ending)?,
            cancelled,
        };
        self.advance(None)
    }

    fn result(&self) -> Outcome<Progress> {
        let result = &imports().names.result;
        self.future.call_method(result, &[]).map(Progress::Returned)
    }

    /// The time was up: the cancellation that the future ends with is ours.
    fn result_or_timeout(&self) -> Outcome<Progress> {
        match self.result() {
            Err(raised) if is_cancelled_error(&raised) => Err(timed_out(Some(&raised.take()))),
            outcome => outcome,
        }
    }

    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        match self.advance(thrown) {
            Ok(Progress::Yielded(item)) => Ok(Progress::Yielded(item)),
            Ok(Progress::Returned(result)) => {
                self.cancel_timer()?;
                Ok(Progress::Returned(result))
            }
            Err(raised) => {
                let exception = raised.take();
                self.cancel_timer()?;
                Err(Raised::with_its_context(exception))
            }
        }
    }

    fn cancel_timer(&self) -> Outcome<()> {
        self.timer
            .call_method(&imports().names.cancel, &[])
            .map(drop)
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        for object in [&self.event_loop, &self.future, &self.release, &self.timer] {
            visitor.object(object)?;
        }
        match &self.stage {
            Stage::Waiting(awaited) => awaited.visit(visitor),
            Stage::Ending { awaited, cancelled } => {
                awaited.visit(visitor)?;
                cancelled
                    .as_ref()
                    .map_or(Ok(()), |exception| visitor.object(exception))
            }
        }
    }
}

/// Adds the function to the module.
pub(super) fn build(module: &Object) -> Outcome<()> {
    let wait_for = Function::make(&originals().wait_for, "ferrio", |function, arguments| {
        const WAIT_FOR: Signature<2> = Signature {
            function: "wait_for",
            names: [c"fut", c"timeout"],
            positional: 2,
            required: 2,
        };
        let [awaitable, timeout] = WAIT_FOR.parse(arguments)?;
        let plan = WaitFor::Created {
            awaitable: awaitable.map_or_else(none, Clone::clone),
            timeout: timeout.map_or_else(none, Clone::clone),
        };
        Coroutine::make(function, plan)
    })?;
    module.set_attr(&text("wait_for")?, &wait_for.into_object())
}
