//! One step of a task: the coroutine runs until it waits or ends.
//!
//! 1. A pending cancellation becomes the exception to throw.
//! 2. The task becomes the current one, its context is entered.
//! 3. The coroutine is sent None, or the exception is thrown into it.
//! 4. What it yields says what it waits for; what it returns or raises ends
//!    the task.

use super::origin::{StepClock, are_steps_measured};
use super::{Task, cancel_awaited, current};
use crate::combinators::GatheringFuture;
use crate::event_loop::EventLoop;
use crate::ffi::{Context, Object, Outcome, Raised, Stepped, This, sys};
use crate::future::{Callback, Extra, Future, Held, State};
use crate::imports::imports;
use crate::inspect::begin_wait_for_future;

/// How the coroutine came back from a step.
enum Paused {
    Yielded(Object),
    Returned(Object),
    Raised(Object),
}

/// What a step leaves to be done.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// The coroutine yielded nothing: the task is to be pushed to the ready queue again.
    Step,
    /// The task waits for something, or is done.
    Nothing,
}

impl This<'_, Task> {
    /// A step in a turn of our own loop, scheduled without any callback object.
    ///
    /// # Errors
    /// KeyboardInterrupt and SystemExit from the coroutine; whatever stops the step itself.
    #[inline]
    pub(crate) fn step_in_turn(self, event_loop: This<'_, EventLoop>) -> Outcome<Next> {
        let context = self.context()?;
        let _entered = Context::enter(&context)?;
        let thrown = self.prepare(None)?;
        self.run_in_turn(event_loop, thrown)
    }

    /// The step after the awaited future of ours is done.
    ///
    /// # Errors
    /// As [`This::step_in_turn`].
    #[inline]
    pub(crate) fn wake_in_turn(self, event_loop: This<'_, EventLoop>) -> Outcome<Next> {
        let context = self.context()?;
        let _entered = Context::enter(&context)?;
        let failure = match self.waits_for.get() {
            Some(awaited) => match This::<Future>::from_object(&awaited) {
                Some(future) => {
                    future.discard_awaiter(&self.object())?;
                    failure_of(future)?
                }
                None => None,
            },
            None => None,
        };
        let thrown = self.prepare(failure)?;
        self.run_in_turn(event_loop, thrown)
    }

    #[inline]
    fn run_in_turn(self, event_loop: This<'_, EventLoop>, thrown: Option<Object>) -> Outcome<Next> {
        event_loop.enter_task(self)?;
        match self.run_coroutine(&event_loop.value().stepped, thrown)? {
            Next::Step if self.is_stepped_by(event_loop) => Ok(Next::Step),
            Next::Step => {
                self.schedule_step()?;
                Ok(Next::Nothing)
            }
            Next::Nothing => {
                self.leave_when_done(event_loop)?;
                Ok(Next::Nothing)
            }
        }
    }

    /// A task that has ended is not the current one when its last reference goes: what its
    /// finalizer reports is nobody's step.
    ///
    /// Somebody who waits for it, or keeps it, has a reference of his own and lets go of it later,
    /// in a step or a callback, which takes the current task back or replaces it first.
    #[inline]
    fn leave_when_done(self, event_loop: This<'_, EventLoop>) -> Outcome<()> {
        /// The ready queue's and that of `asyncio.tasks._current_tasks`.
        const OURS: isize = 2;
        if self.future().is_done() && self.object().reference_count() <= OURS {
            event_loop.leave_task()
        } else {
            Ok(())
        }
    }

    /// A step that a loop makes through a callback: the context is entered already.
    pub(super) fn step_as_callback(self, thrown: Option<Object>) -> Outcome<()> {
        let thrown = self.prepare(thrown)?;
        let event_loop = self.future().event_loop()?;
        let task = self.object();
        let _entered = current::enter(&event_loop, &task)?;
        self.run_coroutine_here(thrown)
    }

    /// The done-callback of the awaited future, foreign or ours.
    pub(super) fn wakeup_as_callback(self, awaited: &Object) -> Outcome<()> {
        let failure = if let Some(future) = This::<Future>::from_exact(awaited) {
            future.discard_awaiter(&self.object())?;
            failure_of(future)?
        } else if let Some(task) = This::<Task>::from_exact(awaited) {
            task.upcast::<Future>().discard_awaiter(&self.object())?;
            failure_of(task.upcast())?
        } else {
            if let Some(future) = This::<Future>::from_object(awaited) {
                future.discard_awaiter(&self.object())?;
            }
            awaited
                .call_method(&imports().names.result, &[])
                .err()
                .map(Raised::take)
        };
        self.step_as_callback(failure)
    }

    /// Settles what the step throws, and forgets what the task waited for.
    #[inline]
    fn prepare(self, thrown: Option<Object>) -> Outcome<Option<Object>> {
        if self.future().is_done() {
            return Err(self.already_done(thrown.as_ref()));
        }
        let thrown = if self.must_cancel.get() {
            self.must_cancel.set(false);
            match thrown {
                Some(exception) if is_cancelled_error(&exception)? => Some(exception),
                _ => Some(self.upcast::<Future>().make_cancelled_error()?),
            }
        } else {
            thrown
        };
        if self.waits_for.is_some() {
            self.waits_for.clear();
        }
        Ok(thrown)
    }

    #[cold]
    fn already_done(self, thrown: Option<&Object>) -> Raised {
        let describe = || {
            let task = self.object().repr_text()?;
            let thrown = thrown.map_or_else(|| Ok("None".to_owned()), Object::repr_text)?;
            Ok(format!("_step(): already done: {task} {thrown}"))
        };
        match describe() {
            Ok(message) => Raised::new(&imports().invalid_state_error, &message),
            Err(raised) => raised,
        }
    }

    /// Runs the coroutine where it is not known that a turn of ours does so.
    pub(super) fn run_coroutine_here(self, thrown: Option<Object>) -> Outcome<()> {
        let place = Stepped::new();
        let _here = place.here();
        match self.run_coroutine(&place, thrown)? {
            Next::Step => self.schedule_step(),
            Next::Nothing => Ok(()),
        }
    }

    /// Runs the coroutine until it yields or ends, and acts on that.
    #[inline]
    fn run_coroutine(self, place: &Stepped, thrown: Option<Object>) -> Outcome<Next> {
        let Some(coroutine) = self.coroutine.get() else {
            return Err(Raised::runtime_error("uninitialized Task object"));
        };
        self.origin.count_step();
        let stepping = place.step(self);
        let paused = if are_steps_measured() {
            self.resume_measured(&coroutine, thrown)
        } else {
            self.resume(&coroutine, thrown)
        };
        drop(stepping);
        match paused? {
            Paused::Yielded(item) if item.is_none() => return Ok(Next::Step),
            Paused::Yielded(item) => self.wait_for(&item)?,
            Paused::Returned(value) => self.finish(value)?,
            Paused::Raised(exception) => self.fail(exception)?,
        }
        Ok(Next::Nothing)
    }

    /// Runs the coroutine until it yields or ends.
    #[inline]
    fn resume(self, coroutine: &Object, thrown: Option<Object>) -> Outcome<Paused> {
        match thrown {
            None => send(coroutine),
            Some(exception) => {
                if is_cancelled_error(&exception)? {
                    self.note_cancellation();
                }
                throw(coroutine, &exception)
            }
        }
    }

    /// The same with a look at the clocks before and after.
    #[cold]
    fn resume_measured(self, coroutine: &Object, thrown: Option<Object>) -> Outcome<Paused> {
        let clock = StepClock::start();
        let paused = self.resume(coroutine, thrown);
        clock.stop(&self.origin);
        paused
    }

    /// The coroutine returned.
    #[inline]
    fn finish(self, value: Object) -> Outcome<()> {
        self.withdraw();
        self.origin.end();
        let future = self.upcast::<Future>();
        if self.must_cancel.replace(false) {
            // Cancelled right before it came to its end.
            let message = self.future().extras.get(Extra::CancelMessage);
            return future.cancel_future(message).map(drop);
        }
        if let Err(raised) = self.check_swallowed() {
            return future.set_raised(raised.take());
        }
        future.set_result(value)
    }

    /// The coroutine raised.
    fn fail(self, exception: Object) -> Outcome<()> {
        self.withdraw();
        self.origin.end();
        let future = self.upcast::<Future>();
        if is_cancelled_error(&exception)? {
            let extras = &self.future().extras;
            extras.assign(Extra::CancelledError, Some(exception));
            return future.cancel_future(None).map(drop);
        }
        future.set_raised(exception.clone())?;
        // SAFETY: two built-in classes.
        let (interrupt, exit) = unsafe { (sys::PyExc_KeyboardInterrupt, sys::PyExc_SystemExit) };
        if exception.is_instance(interrupt)? || exception.is_instance(exit)? {
            return Err(Raised::exception(&exception));
        }
        Ok(())
    }

    /// The coroutine yielded `item`: a future, or something that cannot be awaited.
    #[inline]
    fn wait_for(self, item: &Object) -> Outcome<()> {
        if let Some(future) = This::<Future>::from_exact(item) {
            return self.wait_for_ours(future, item);
        }
        if let Some(task) = This::<Task>::from_exact(item) {
            return self.wait_for_ours(task.upcast(), item);
        }
        if let Some(gather) = This::<GatheringFuture>::from_exact(item) {
            return self.wait_for_ours(gather.upcast(), item);
        }
        self.wait_for_foreign(item)
    }

    /// Waits for a future of our own types.
    #[inline]
    fn wait_for_ours(self, awaited: This<'_, Future>, item: &Object) -> Outcome<()> {
        if awaited.event_loop_address() != self.future().event_loop_address() {
            return self.reject(item, |task, item| {
                format!("Task {task} got Future {item} attached to a different loop")
            });
        }
        if !awaited.blocking.replace(false) {
            return self.reject_plain_yield(item);
        }
        if awaited.as_ptr() == self.as_ptr() {
            return self.reject(item, |task, _| {
                format!("Task cannot await on itself: {task}")
            });
        }
        if This::<Future>::from_exact(item).is_none()
            && let Err(raised) = begin_wait_for_future(self, item)
        {
            return self.schedule_throw(raised.take());
        }
        let native = self.future().native_loop();
        let plain = native.as_ref().is_some_and(|native| native.is_plain());
        if let Some(native) = &native {
            self.origin.waits_from(native.moment());
        }
        if plain && !awaited.is_done() {
            awaited.callbacks().add(Callback::Waiter(self.own()));
        } else {
            let wakeup = super::TaskCallback::wakeup(self.own())?.into_object();
            awaited.add_done_callback(&wakeup, Some(&self.context()?))?;
        }
        awaited.add_awaiter(&self.object())?;
        self.waits_for.set(item.clone());
        self.cancel_what_was_taken_up()
    }

    /// Waits for whatever speaks the protocol of futures: `_asyncio_future_blocking`.
    fn wait_for_foreign(self, item: &Object) -> Outcome<()> {
        if let Some(native) = self.future().native_loop() {
            self.origin.waits_from(native.moment());
        }
        let imports = imports();
        let names = &imports.names;
        let blocking = item.find_attr(&names.asyncio_future_blocking)?;
        let Some(blocking) = blocking.as_ref().and_then(Object::some) else {
            return self.reject_not_awaitable(item);
        };
        let awaited_loop = match item.find_attr(&names.get_loop)? {
            Some(get_loop) => get_loop.call0()?,
            None => item.get_attr(&names.loop_attribute)?,
        };
        if awaited_loop.as_ptr() != self.future().event_loop_address() {
            return self.reject(item, |task, item| {
                format!("Task {task} got Future {item} attached to a different loop")
            });
        }
        if !blocking.is_true()? {
            return self.reject_plain_yield(item);
        }
        if item.as_ptr() == self.as_ptr() {
            return self.reject(item, |task, _| {
                format!("Task cannot await on itself: {task}")
            });
        }
        item.set_attr(&names.asyncio_future_blocking, &Object::from_bool(false))?;
        let wakeup = super::TaskCallback::wakeup(self.own())?.into_object();
        item.call_method_with(
            &names.add_done_callback,
            &[&wakeup, &self.context()?],
            Some(&imports.context_keyword),
        )?;
        if let Some(future) = This::<Future>::from_object(item) {
            // A subclass's.
            future.add_awaiter(&self.object())?;
        }
        self.waits_for.set(item.clone());
        self.cancel_what_was_taken_up()
    }

    /// A cancellation that came during the step goes to what the step took up.
    #[inline]
    fn cancel_what_was_taken_up(self) -> Outcome<()> {
        if !self.must_cancel.get() {
            return Ok(());
        }
        let Some(awaited) = self.waits_for.get() else {
            return Ok(());
        };
        let message = self.future().extras.get(Extra::CancelMessage);
        if cancel_awaited(&awaited, message.as_ref())? {
            self.must_cancel.set(false);
        }
        Ok(())
    }

    #[cold]
    fn reject_plain_yield(self, item: &Object) -> Outcome<()> {
        self.reject(item, |task, item| {
            format!("yield was used instead of yield from in task {task} with {item}")
        })
    }

    #[cold]
    fn reject_not_awaitable(self, item: &Object) -> Outcome<()> {
        // SAFETY: a type comparison on a live object.
        let generator = unsafe { sys::PyGen_CheckExact(item.as_ptr()) } != 0;
        self.reject(item, move |task, item| {
            if generator {
                format!(
                    "yield was used instead of yield from for generator in task {task} with {item}"
                )
            } else {
                format!("Task got bad yield: {item}")
            }
        })
    }

    /// The next step raises RuntimeError in the coroutine, at the line that yielded `item`.
    #[cold]
    fn reject(self, item: &Object, message: impl FnOnce(&str, &str) -> String) -> Outcome<()> {
        let message = message(&self.object().repr_text()?, &item.repr_text()?);
        self.schedule_throw(Raised::runtime_error(&message).take())
    }
}

/// What waiting for a done future raises, if anything.
#[inline]
fn failure_of(future: This<'_, Future>) -> Outcome<Option<Object>> {
    if future.state.get() == State::Cancelled {
        return future.make_cancelled_error().map(Some);
    }
    Ok(match future.held()? {
        Held::Result(_) => None,
        Held::Exception(exception) => Some(exception),
    })
}

fn is_cancelled_error(exception: &Object) -> Outcome<bool> {
    exception.is_instance(imports().cancelled_error.as_ptr())
}

/// `coroutine.send(None)`.
#[inline]
fn send(coroutine: &Object) -> Outcome<Paused> {
    let mut value = std::ptr::null_mut();
    // SAFETY: a live object, None, and a place for the result, which is a new reference
    // unless the call failed.
    unsafe {
        match sys::PyIter_Send(coroutine.as_ptr(), sys::Py_None(), &raw mut value) {
            sys::PySendResult::PYGEN_NEXT => Ok(Paused::Yielded(Object::from_owned(value))),
            sys::PySendResult::PYGEN_RETURN => Ok(Paused::Returned(Object::from_owned(value))),
            sys::PySendResult::PYGEN_ERROR => ended_by_exception(Raised::NOW),
        }
    }
}

/// `coroutine.throw(exception)`.
fn throw(coroutine: &Object, exception: &Object) -> Outcome<Paused> {
    match coroutine.call_method(&imports().names.throw, &[exception]) {
        Ok(item) => Ok(Paused::Yielded(item)),
        Err(raised) => ended_by_exception(raised),
    }
}

/// StopIteration is a return, everything else an exception.
fn ended_by_exception(raised: Raised) -> Outcome<Paused> {
    // SAFETY: a built-in class.
    let stopped = raised.matches(unsafe { sys::PyExc_StopIteration });
    let exception = raised.take();
    if stopped {
        let value = exception.get_attr(&crate::ffi::text("value")?)?;
        return Ok(Paused::Returned(value));
    }
    Ok(Paused::Raised(exception))
}
