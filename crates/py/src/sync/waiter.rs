//! One who waits: a future in one of the lists, being awaited.

use std::ffi::c_int;

use super::{BoundLoop, Deque};
use crate::awaitable::{Awaited, resume_future};
use crate::ffi::{Object, Outcome, Own, Progress, Raised, Ref, Visitor};
use crate::future::{Future, Purpose};

/// A future in a list of waiters.
pub(crate) enum Waiter {
    Native(Own<Future>),
    /// What another loop makes, and what awaiting it iterates over.
    Foreign {
        future: Object,
        awaited: Awaited,
    },
}

impl Waiter {
    /// A new future of the running loop, at the end of the list. `owner` is whose list it is.
    ///
    /// # Errors
    /// RuntimeError when the owner is bound to another loop.
    #[inline]
    pub(crate) fn join(bound_loop: &BoundLoop, owner: &Object, waiters: &Deque) -> Outcome<Waiter> {
        Waiter::join_with(bound_loop.create_future(owner)?, waiters)
    }

    /// [`Waiter::join`] with a future that was made before.
    #[inline]
    pub(crate) fn join_with(future: Object, waiters: &Deque) -> Outcome<Waiter> {
        waiters.push_back(&future)?;
        match Own::from_exact(future) {
            Ok(native) => Ok(Waiter::Native(native)),
            Err(future) => Ok(Waiter::Foreign {
                awaited: Awaited::new(&future)?,
                future,
            }),
        }
    }

    #[inline]
    pub(crate) fn future(&self) -> Ref<'_> {
        match self {
            Waiter::Native(future) => future.this().object(),
            Waiter::Foreign { future, .. } => future.lend(),
        }
    }

    /// What the first step of waiting yields, if that is certain; nothing has happened otherwise.
    #[inline]
    pub(crate) fn begin(&self) -> Option<Object> {
        match self {
            Waiter::Native(future) if !future.is_done() && !future.blocking.replace(true) => {
                Some(future.clone().into_object())
            }
            Waiter::Native(_) | Waiter::Foreign { .. } => None,
        }
    }

    /// Says what it waits for.
    #[inline]
    pub(crate) fn serves(&self, purpose: Purpose) {
        if let Waiter::Native(future) = self {
            future.purpose.set(purpose);
        }
    }

    /// One step of waiting.
    ///
    /// # Errors
    /// What the future ends with, or `thrown`.
    #[inline]
    pub(crate) fn resume(&self, thrown: Option<Object>) -> Outcome<Progress> {
        match self {
            Waiter::Native(future) => resume_future(future.this(), thrown),
            Waiter::Foreign { awaited, .. } => awaited.resume(thrown),
        }
    }

    /// One step of waiting after which, when it was the last, the future leaves its list: what it
    /// yields, or that it is over.
    ///
    /// # Errors
    /// What the future ends with, or `thrown`; ValueError when it is not in the list any more.
    #[inline]
    pub(crate) fn resume_and_leave(
        &self,
        waiters: &Deque,
        thrown: Option<Object>,
    ) -> Outcome<Option<Object>> {
        match self.resume(thrown) {
            Ok(Progress::Yielded(item)) => Ok(Some(item)),
            Ok(Progress::Returned(_)) => {
                self.leave(waiters)?;
                Ok(None)
            }
            Err(raised) => {
                // No call may be made with an exception set.
                let exception = raised.take();
                self.leave(waiters)?;
                Err(Raised::exception(&exception))
            }
        }
    }

    fn leave(&self, waiters: &Deque) -> Outcome<()> {
        if waiters.remove(&self.future())? {
            Ok(())
        } else {
            Err(not_in_deque())
        }
    }

    pub(crate) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        match self {
            Waiter::Native(future) => visitor.own(future),
            Waiter::Foreign { future, awaited } => {
                visitor.object(future)?;
                awaited.visit(visitor)
            }
        }
    }
}

/// [`Waiter::visit`], if there is one.
pub(crate) fn visit_waiter(waiter: Option<&Waiter>, visitor: Visitor<'_>) -> Result<(), c_int> {
    waiter.map_or(Ok(()), |waiter| waiter.visit(visitor))
}

#[cold]
fn not_in_deque() -> Raised {
    Raised::value_error("deque.remove(x): x not in deque")
}
