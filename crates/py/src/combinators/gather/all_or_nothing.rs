//! `gather(..., cancel_on_error=True)`: either all awaitables return, or none is left running.
//!
//! The first child that fails has every other cancelled, once. The future ends when all have
//! ended: with that child's exception, in which what the others raised is noted; KeyboardInterrupt
//! and SystemExit go before it.

use super::GatheringFuture;
use crate::combinators::any_future::{End, cancel, end_of, is_done, make_cancelled_error};
use crate::ffi::{Object, Outcome, Raised, This, sys, text};
use crate::future::Future;
use crate::originals::originals;

impl This<'_, GatheringFuture> {
    pub(super) fn child_of_all_is_done(self, child: &Object) -> Outcome<()> {
        let failed = !matches!(end_of(child)?, End::Result);
        if failed && !self.first_failed.is_some() {
            self.first_failed.set(child.clone());
            if !self.cancel_requested.get() {
                self.cancel_unfinished(None)?;
            }
        }
        if !self.all_are_done() || self.upcast::<Future>().is_done() {
            return Ok(());
        }
        match self.first_failed.take() {
            Some(first) => self.fail(&first),
            None => self.finish(),
        }
    }

    /// `cancel(msg=None)`. The children are cancelled once: one that is being cleaned up is left
    /// in peace. After a failure the end is settled, so that a task that waits for it and is
    /// cancelled has to be told by its own CancelledError.
    pub(super) fn cancel_all(self, message: Option<&Object>) -> Outcome<bool> {
        if self.first_failed.is_some() {
            return Ok(self.cancel_requested.get());
        }
        if self.cancel_requested.get() {
            return Ok(true);
        }
        // Before: a child may end while the next is being cancelled.
        self.cancel_requested.set(true);
        let cancelled = self.cancel_unfinished(message);
        if !matches!(cancelled, Ok(true)) {
            self.cancel_requested.set(false);
        }
        cancelled
    }

    /// Cancels every child that is not done, once each; whether there was one. One that cannot be
    /// cancelled does not spare the others.
    fn cancel_unfinished(self, message: Option<&Object>) -> Outcome<bool> {
        let mut cancelled = false;
        let mut failure = None;
        for child in self.different_children() {
            let answer = is_done(child).and_then(|done| Ok(!done && cancel(child, message)?));
            match answer {
                Ok(answer) => cancelled |= answer,
                Err(raised) => failure = failure.or(Some(raised.take())),
            }
        }
        match failure {
            Some(exception) => Err(Raised::exception(&exception)),
            None => Ok(cancelled),
        }
    }

    /// All are done, and `first` was the first to fail.
    fn fail(self, first: &Object) -> Outcome<()> {
        let mut exceptions = Vec::new();
        let mut cancelled = None;
        for child in self.different_children() {
            match end_of(child)? {
                End::Exception(exception) => exceptions.push(exception),
                End::Cancelled => cancelled = cancelled.or(Some(child)),
                End::Result => {}
            }
        }
        let mut raised = None;
        for exception in &exceptions {
            if stops_everything(exception)? {
                raised = Some(exception.clone());
                break;
            }
        }
        let raised = match (raised, end_of(first)?) {
            (Some(raised), _) => raised,
            // The cancellation was there before what a child has raised because of it.
            (None, End::Exception(raised)) if !self.cancel_requested.get() => raised,
            (None, _) => make_cancelled_error(cancelled.unwrap_or(first))?,
        };
        for exception in exceptions {
            if !exception.is(&raised) {
                note(&raised, &exception);
            }
        }
        self.upcast::<Future>().set_exception(&raised)
    }

    /// The children without repetitions, in their order.
    fn different_children(&self) -> Vec<&Object> {
        let mut seen = std::collections::HashSet::new();
        self.value()
            .children()
            .iter()
            .filter(|child| seen.insert(child.as_ptr()))
            .collect()
    }
}

/// Notes in `raised` what another awaitable has raised. Where an exception cannot be noted, for
/// its `__repr__` raises, say, that is reported: the future has to end all the same.
fn note(raised: &Object, exception: &Object) {
    let noted = exception.repr_text().and_then(|shown| {
        let note = text(&format!("Another awaitable of the gather raised {shown}"))?;
        raised.call_method(&originals().names.add_note, &[&note])
    });
    if let Err(failure) = noted {
        failure.report_unraisable(exception);
    }
}

/// KeyboardInterrupt and SystemExit.
fn stops_everything(exception: &Object) -> Outcome<bool> {
    // SAFETY: two built-in classes.
    let (interrupt, exit) = unsafe { (sys::PyExc_KeyboardInterrupt, sys::PyExc_SystemExit) };
    Ok(exception.is_instance(interrupt)? || exception.is_instance(exit)?)
}
