//! What the parts of the loop that are Python add to its counters.

use std::sync::atomic::Ordering;

use super::EventLoop;
use crate::ffi::{Arguments, Method, Object, Outcome, Raised, This, none};

type Self_<'a> = This<'a, EventLoop>;

/// The methods for it, none of them public.
pub(super) fn methods() -> Vec<Method> {
    vec![
        Method::no_arguments(
            c"_count_lookup",
            |this: Self_<'_>| {
                this.record.counters.lookups.submit();
                Ok(none())
            },
            c"Count a name lookup that was asked for. From any thread.",
        ),
        Method::any_arguments(
            c"_count_lookup_made",
            |this: Self_<'_>, arguments: Arguments<'_>| this.count_lookup_made(arguments),
            c"Count a lookup that has waited and run for so many nanoseconds, and whether it failed.\n\
            From any thread.",
        ),
        Method::one_argument(
            c"_count_accept",
            |this: Self_<'_>, accepted: &Object| {
                let accepts = &this.record.counters.accepts;
                let number = if accepted.is_true()? {
                    &accepts.accepted
                } else {
                    &accepts.failed
                };
                number.fetch_add(1, Ordering::Relaxed);
                Ok(none())
            },
            c"Count a connection that was accepted, or with False an accept() that failed.",
        ),
    ]
}

impl This<'_, EventLoop> {
    fn count_lookup_made(self, arguments: Arguments<'_>) -> Outcome<Object> {
        let [waited, ran, failed] = arguments.positional() else {
            return Err(Raised::type_error("three arguments are expected"));
        };
        let nanos = |number: &Object| {
            number
                .to_i64()
                .map(|nanos| u64::try_from(nanos).unwrap_or(0))
        };
        self.record
            .counters
            .lookups
            .made(nanos(waited)?, nanos(ran)?, failed.is_true()?);
        Ok(none())
    }
}
