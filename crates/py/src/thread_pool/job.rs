//! One call to be made in a thread, and what came of it.

use std::ffi::c_int;

use ferrio_inspect::clock::now_ns;
use ferrio_inspect::counters::Calls;

use crate::ffi::{Context, Object, Outcome, Raised, This, Visitor, sys};
use crate::future::Future;
use crate::imports::imports;
use crate::originals::originals;

/// A call that waits for a thread, or is being made by one.
pub(crate) struct Job {
    pub(crate) function: Object,
    /// A tuple.
    pub(crate) arguments: Object,
    /// A dict.
    pub(crate) keywords: Option<Object>,
    /// Where it is called; the thread's own context without.
    pub(crate) context: Option<Object>,
    /// A future of the loop, for the outcome. Without one the function sees to everything itself.
    pub(crate) future: Option<Object>,
    /// When it was made, in nanoseconds on the monotonic clock.
    pub(crate) submitted: u64,
}

// SAFETY: a job crosses threads by the job queue, whose two ends hold the interpreter when they
// touch what is in it: `submit` and `work`.
unsafe impl Send for Job {}

/// What a call came to, on its way to the loop.
pub(crate) struct Offloaded {
    future: Object,
    /// The result, or the exception when `failed`.
    value: Object,
    failed: bool,
}

impl Job {
    /// Makes the call; what the loop is to be told, if anything.
    ///
    /// One whose future was cancelled before is not made.
    pub(super) fn run(self, calls: &Calls) -> Option<Offloaded> {
        if let Some(future) = &self.future {
            match is_done(future) {
                Ok(true) => return None,
                Ok(false) => {}
                Err(raised) => raised.report_unraisable(future),
            }
        }
        let begun = now_ns();
        let called = self.call();
        let wait = begun.saturating_sub(self.submitted);
        calls.made(wait, now_ns().saturating_sub(begun), called.is_err());
        let future = self.into_future();
        let (value, failed) = match called {
            Ok(value) => (value, false),
            Err(raised) => (raised.take(), true),
        };
        match future {
            Some(future) => Some(Offloaded {
                future,
                value,
                failed,
            }),
            None => {
                if failed {
                    Raised::exception(&value).report_unraisable(&value);
                }
                None
            }
        }
    }

    fn call(&self) -> Outcome<Object> {
        match &self.context {
            Some(context) => Context::enter(context).and_then(|_entered| self.call_here()),
            None => self.call_here(),
        }
    }

    fn call_here(&self) -> Outcome<Object> {
        let keywords = self
            .keywords
            .as_ref()
            .map_or(std::ptr::null_mut(), Object::as_ptr);
        // SAFETY: a callable, a tuple and a dict or null; a new reference or null.
        unsafe {
            Object::from_new(sys::PyObject_Call(
                self.function.as_ptr(),
                self.arguments.as_ptr(),
                keywords,
            ))
        }
    }

    /// Lets go of everything else: whoever learns of the outcome finds nothing of the call kept.
    fn into_future(self) -> Option<Object> {
        self.future
    }

    /// Who is to learn that it will not be made: the future, or else the function itself.
    pub(super) fn into_who_waits(self) -> Object {
        self.future.unwrap_or(self.function)
    }
}

impl Offloaded {
    /// For `tp_traverse`.
    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        visitor.object(&self.future)?;
        visitor.object(&self.value)
    }

    pub(crate) fn future(&self) -> &Object {
        &self.future
    }

    pub(crate) fn value(&self) -> &Object {
        &self.value
    }

    /// The method of the future that takes the outcome, for messages about its failure.
    pub(crate) fn setter(&self) -> Outcome<Object> {
        let names = &imports().names;
        self.future.get_attr(if self.failed {
            &names.set_exception
        } else {
            &names.set_result
        })
    }

    /// Gives the future its outcome, unless it was cancelled.
    ///
    /// # Errors
    /// What the future refuses it with: a StopIteration, on some versions.
    pub(crate) fn settle(&self) -> Outcome<()> {
        if is_done(&self.future)? {
            return Ok(());
        }
        let names = &imports().names;
        if self.failed {
            let exception = convert(&self.value)?;
            return match This::<Future>::from_exact(&self.future) {
                Some(native) => native.set_exception(&exception),
                None => self
                    .future
                    .call_method(&names.set_exception, &[&exception])
                    .map(drop),
            };
        }
        match This::<Future>::from_exact(&self.future) {
            Some(native) => native.set_result(self.value.clone()),
            None => self
                .future
                .call_method(&names.set_result, &[&self.value])
                .map(drop),
        }
    }
}

/// `future.done()`, of a future that may be anybody's.
fn is_done(future: &Object) -> Outcome<bool> {
    match This::<Future>::from_exact(future) {
        Some(native) => Ok(native.is_done()),
        None => future.call_method(&originals().names.done, &[])?.is_true(),
    }
}

/// The exceptions of `concurrent.futures` become asyncio's, as asyncio does it.
fn convert(exception: &Object) -> Outcome<Object> {
    match &originals().convert_future_exception {
        Some(function) => function.call1(exception),
        None => Ok(exception.clone()),
    }
}
