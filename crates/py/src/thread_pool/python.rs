//! `ferrio._ferrio.ThreadPool` as Python sees it.

use ferrio_core::job_queue::Ticket;
use ferrio_inspect::clock::now_ns;

use super::{Job, ThreadPool};
use crate::event_loop::EventLoop;
use crate::ffi::{Method, Object, Outcome, Raised, Signature, This, TypeBuilder, methods, none};

type Self_<'a> = This<'a, ThreadPool>;

/// Builds the type.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    const INIT: Signature<2> = Signature {
        function: "ThreadPool",
        names: [c"loop", c"max_threads"],
        positional: 2,
        required: 2,
    };
    TypeBuilder::<ThreadPool>::new(
        c"The jobs of an event loop's default executor.\n\n\
        It starts no threads: it says when one is wanted, which is to call work().",
    )
    .init(|this, arguments| {
        let [event_loop, max_threads] = INIT.parse(arguments)?;
        let event_loop = event_loop
            .and_then(This::<EventLoop>::from_object)
            .ok_or_else(|| Raised::type_error("a loop of ferrio was expected"))?;
        let max_threads = max_threads.map_or(Ok(1), Object::to_i64)?;
        this.initialise(event_loop, usize::try_from(max_threads).unwrap_or(1))
    })
    .methods(methods(vec![
        Method::one_argument(
            c"submit",
            |this: Self_<'_>, function: &Object| {
                let job = Job {
                    function: function.clone(),
                    arguments: Object::tuple(&[])?,
                    keywords: None,
                    context: None,
                    future: None,
                    submitted: now_ns(),
                };
                ticket_object(this.submit(job, None)?)
            },
            c"Have `function()` called in a thread; return a ticket if one more is to be started.\n\n\
            RuntimeError after shut_down().",
        ),
        Method::one_argument(
            c"thread_failed",
            |this: Self_<'_>, ticket: &Object| {
                let ticket = u64::try_from(ticket.to_i64()?).map_err(|_| no_ticket())?;
                this.thread_failed(Ticket(ticket)).map(Object::from_bool)
            },
            c"Say that the wanted thread could not be started; return True if there is no other,\n\
            and the ticket's job was therefore taken back.",
        ),
        Method::no_arguments(
            c"work",
            |this: Self_<'_>| {
                this.work()?;
                Ok(none())
            },
            c"Do jobs until the pool is shut down and there are none left: a thread's whole life.",
        ),
        Method::no_arguments(
            c"shut_down",
            |this: Self_<'_>| {
                this.shut_down()?;
                Ok(none())
            },
            c"Refuse jobs from now on, and let the threads end when they have done the others.",
        ),
        Method::no_arguments(
            c"abandon",
            |this: Self_<'_>| {
                this.abandoned.set(true);
                Ok(none())
            },
            c"Never touch the queue again: the process has forked, and this is the child.",
        ),
        Method::no_arguments(
            c"discard",
            |this: Self_<'_>| this.discard(),
            c"Take the jobs out that have not begun; return the future of each, or its function.",
        ),
        Method::no_arguments(
            c"waiting",
            |this: Self_<'_>| {
                let waiting = this.shared()?.jobs.stats().queued;
                Object::from_i64(i64::try_from(waiting).unwrap_or(i64::MAX))
            },
            c"Return how many jobs have not begun.",
        ),
    ]))
    .build(module, None)
}

/// A ticket as Python sees it: an int, or None for none.
pub(crate) fn ticket_object(ticket: Option<Ticket>) -> Outcome<Object> {
    match ticket {
        Some(Ticket(number)) => Object::from_i64(i64::try_from(number).unwrap_or(i64::MAX)),
        None => Ok(none()),
    }
}

#[cold]
fn no_ticket() -> Raised {
    Raised::value_error("a ticket is not negative")
}
