//! `sleep(delay, result=None)`.

use std::ffi::c_int;

use crate::awaitable::{Awaited, Coroutine, Steps};
use crate::ffi::{
    Function, Object, Outcome, Progress, Raised, Signature, This, Visitor, none, sys,
};
use crate::future::Future;
use crate::handle::TimerHandle;
use crate::imports::imports;
use crate::inspect::Told;
use crate::originals::originals;
use crate::sync::{create_future, is_future_cancelled};
use ferrio_inspect::snapshot::WaitKind;

/// The body of `sleep`.
pub(crate) struct Sleep {
    delay: Object,
    result: Option<Object>,
    state: State,
}

enum State {
    Created,
    /// For one turn.
    Yielded,
    /// For a timer to end the future.
    Waiting {
        awaited: Awaited,
        timer: Object,
    },
}

impl Sleep {
    #[cold]
    fn begin_waiting(&mut self) -> Outcome<Progress> {
        if cfg!(Py_3_13) && is_nan(&self.delay)? {
            return Err(Raised::value_error("Invalid delay: NaN (not a number)"));
        }
        let event_loop = originals().required_running_loop.call0()?;
        let future = create_future(&event_loop)?;
        let result = self.result.clone().unwrap_or_else(none);
        let timer = event_loop.call_method(
            &originals().names.call_later,
            &[
                &self.delay,
                &originals().set_result_unless_cancelled(),
                &future,
                &result,
            ],
        )?;
        let awaited = Awaited::new(&future)?;
        let progress = awaited.resume(None);
        self.state = State::Waiting { awaited, timer };
        self.checked(progress)
    }

    /// The timer goes whenever the wait is over.
    fn checked(&self, progress: Outcome<Progress>) -> Outcome<Progress> {
        if let (State::Waiting { timer, .. }, Ok(Progress::Returned(_)) | Err(_)) =
            (&self.state, &progress)
        {
            let outcome = progress.map_err(Raised::take);
            timer.call_method(&imports().names.cancel, &[])?;
            return outcome.map_err(|exception| Raised::exception(&exception));
        }
        progress
    }
}

impl Steps for Sleep {
    #[inline]
    fn resume(&mut self, thrown: Option<Object>) -> Outcome<Progress> {
        match &self.state {
            State::Created => {
                if !is_at_most_zero(&self.delay)? {
                    return self.begin_waiting();
                }
                self.state = State::Yielded;
                Ok(Progress::Yielded(none()))
            }
            State::Yielded => match thrown {
                Some(exception) => Err(Raised::exception(&exception)),
                None => Ok(Progress::Returned(self.result.take().unwrap_or_else(none))),
            },
            State::Waiting { awaited, .. } => {
                let progress = awaited.resume(thrown);
                self.checked(progress)
            }
        }
    }

    fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.object(&self.delay)?;
        if let Some(result) = &self.result {
            visitor.object(result)?;
        }
        match &self.state {
            State::Created | State::Yielded => Ok(()),
            State::Waiting { awaited, timer } => {
                awaited.visit(visitor)?;
                visitor.object(timer)
            }
        }
    }

    fn tell(&self, told: &mut Told) {
        told.waits(WaitKind::Sleep);
        if let State::Waiting { timer, .. } = &self.state {
            told.until(deadline_of(timer));
        }
    }
}

/// When a timer of ours is due, in seconds of loop time.
pub(super) fn deadline_of(timer: &Object) -> Option<f64> {
    This::<TimerHandle>::from_object(timer).and_then(This::<TimerHandle>::deadline)
}

/// `delay <= 0`.
#[inline]
pub(super) fn is_at_most_zero(delay: &Object) -> Outcome<bool> {
    // SAFETY: questions about a live object, by its exact type.
    unsafe {
        if sys::PyLong_CheckExact(delay.as_ptr()) != 0 {
            let mut overflow: c_int = 0;
            let value = sys::PyLong_AsLongAndOverflow(delay.as_ptr(), &raw mut overflow);
            return Ok(overflow < 0 || (overflow == 0 && value <= 0));
        }
        if sys::PyFloat_CheckExact(delay.as_ptr()) != 0 {
            return Ok(sys::PyFloat_AsDouble(delay.as_ptr()) <= 0.0);
        }
        let zero = Object::from_i64(0)?;
        match sys::PyObject_RichCompareBool(delay.as_ptr(), zero.as_ptr(), sys::Py_LE) {
            -1 => Err(Raised::NOW),
            truth => Ok(truth == 1),
        }
    }
}

fn is_nan(delay: &Object) -> Outcome<bool> {
    Ok(delay.to_f64()?.is_nan())
}

/// What the timer calls: `future.set_result(result)`, unless it was cancelled.
fn set_result_unless_cancelled(future: &Object, result: &Object) -> Outcome<()> {
    if is_future_cancelled(future)? {
        return Ok(());
    }
    match This::<Future>::from_exact(future) {
        Some(native) => native.set_result(result.clone()),
        None => future
            .call_method(&imports().names.set_result, &[result])
            .map(drop),
    }
}

/// Adds the function to the module.
pub(super) fn build(module: &Object) -> Outcome<()> {
    const SLEEP: Signature<2> = Signature {
        function: "sleep",
        names: [c"delay", c"result"],
        positional: 2,
        required: 1,
    };
    const SET_RESULT: Signature<2> = Signature {
        function: "_set_result_unless_cancelled",
        names: [c"fut", c"result"],
        positional: 2,
        required: 2,
    };
    let sleep = Function::make(&originals().sleep, "ferrio", |function, arguments| {
        let [delay, result] = SLEEP.parse(arguments)?;
        let plan = Sleep {
            delay: delay.map_or_else(none, Clone::clone),
            result: result.and_then(Object::some).cloned(),
            state: State::Created,
        };
        Coroutine::make(function, plan)
    })?;
    module.set_attr(&crate::ffi::text("sleep")?, &sleep.into_object())?;
    let stands_for = &originals().python_set_result_unless_cancelled;
    let set_result = Function::make(stands_for, "ferrio._ferrio", |_, arguments| {
        if let [Some(future), Some(result)] = SET_RESULT.parse(arguments)? {
            set_result_unless_cancelled(future, result)?;
        }
        Ok(none())
    })?
    .into_object();
    originals().set_result_unless_cancelled.set(set_result);
    Ok(())
}
