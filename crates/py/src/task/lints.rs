//! Habits in the life of tasks that are nearly always mistakes: seen here, put into words by
//! `ferrio.lints`.

use std::cell::Cell;
use std::sync::OnceLock;

use super::Task;
use super::origin::site_in_python;
use crate::event_loop::EventLoop;
use crate::ffi::{Guarded, Object, ObjectCell, Outcome, Raised, This, interned, none, sys, text};
use crate::imports::module;

/// So many cancellations that a task went on after are told of.
const MANY_CANCELLATIONS: u8 = 5;

/// Whether somebody wants to hear of them: unless `FERRIO_LINTS=0` is in the environment.
#[inline]
pub(crate) fn are_lints_on() -> bool {
    static ON: OnceLock<bool> = OnceLock::new();
    *ON.get_or_init(|| std::env::var_os("FERRIO_LINTS").is_none_or(|value| value != "0"))
}

/// How many cancellations were thrown into a task's coroutine, since the last that was taken back.
#[derive(Default)]
pub(super) struct Cancellations(Cell<u8>);

impl Cancellations {
    pub(super) fn reset(&self) {
        self.0.set(0);
    }

    fn add(&self) -> u8 {
        let count = self.0.get().saturating_add(1);
        self.0.set(count);
        count
    }
}

impl This<'_, Task> {
    /// A cancellation that was asked for is thrown into the coroutine.
    #[cold]
    pub(super) fn note_cancellation(self) {
        if self.value().cancel_requests.get() == 0 {
            return;
        }
        if self.cancellations.add() == MANY_CANCELLATIONS && are_lints_on() {
            let words = format!(
                "was cancelled {MANY_CANCELLATIONS} times and still goes on: it catches CancelledError"
            );
            self.tell_unraisable("cancelled-in-vain", &words);
        }
    }

    /// The coroutine has returned.
    ///
    /// # Errors
    /// The warning, where it is to be an error, and what has to leave the loop.
    #[inline]
    pub(super) fn check_swallowed(self) -> Outcome<()> {
        if self.cancellations.0.get() == 0 {
            return Ok(());
        }
        self.tell_swallowed()
    }

    #[cold]
    fn tell_swallowed(self) -> Outcome<()> {
        if self.value().cancel_requests.get() == 0 || !are_lints_on() {
            return Ok(());
        }
        let told = tell(
            "swallowed-cancellation",
            &self.object(),
            "was cancelled, caught CancelledError and returned as if nothing were; \
            raise it again, or call uncancel()",
        );
        match told {
            // A handler of the log that fails, or a name that cannot be had: its result is the task's
            // all the same. An interrupt goes where it goes out of any other code.
            Err(raised) if is_failure(&raised) => {
                raised.report_unraisable(&self.object());
                Ok(())
            }
            told => told,
        }
    }

    /// Nobody will ever retrieve its exception.
    pub(crate) fn tell_unretrieved(self, exception: &Object) {
        if !are_lints_on() {
            return;
        }
        match exception.repr_text() {
            Ok(exception) => self.tell_unraisable(
                "exception-never-retrieved",
                &format!("ended with {exception}, which nobody has retrieved or will"),
            ),
            Err(raised) => raised.report_unraisable(&self.object()),
        }
    }

    /// It goes on after another child of its `gather` has failed.
    pub(crate) fn tell_left_by_gather(self) {
        if are_lints_on() {
            self.tell_unraisable(
                "gather-child-left",
                "goes on after another child of its gather() has failed; \
                a TaskGroup would have cancelled it",
            );
        }
    }

    /// It was stepped in each of so many turns.
    #[cold]
    pub(crate) fn tell_hot_spin(self, turns: u32, seconds: f64) {
        let words = format!(
            "was resumed in each of {turns} turns within {seconds:.3} s, without any I/O: \
            it waits in a loop of sleep(0)"
        );
        self.tell_unraisable("hot-spin", &words);
    }

    fn tell_unraisable(self, kind: &str, words: &str) {
        if let Err(raised) = tell(kind, &self.object(), words) {
            raised.report_unraisable(&self.object());
        }
    }

    /// Where it comes from: (id, (file, line, function) or None, owner, name of the combinator or
    /// None, id of the owner's task or None).
    pub(crate) fn origin_in_python(self) -> Outcome<Object> {
        use ferrio_inspect::snapshot::Owner;
        let origin = &self.value().origin;
        let site = site_in_python(origin.site())?;
        let (kind, name, task) = match self.owner() {
            Owner::User => ("user", None, None),
            Owner::Runner => ("runner", None, None),
            Owner::Server => ("server", None, None),
            Owner::TaskGroup { task } => ("task-group", None, task),
            Owner::Combinator { name, task } => ("combinator", Some(name), task),
        };
        let name = name.map_or_else(|| Ok(none()), |name| text(&name))?;
        let task = task.map_or_else(|| Ok(none()), |task| Object::from_i64(task.cast_signed()))?;
        let id = Object::from_i64(origin.id().cast_signed())?;
        Object::tuple(&[&id, &site, &text(kind)?, &name, &task])
    }
}

/// Whether telling has failed, and is neither an error by a filter's wish nor to leave the loop.
fn is_failure(raised: &Raised) -> bool {
    // SAFETY: built-in classes.
    unsafe { raised.matches(sys::PyExc_Exception) && !raised.matches(sys::PyExc_Warning) }
}

/// What CPython warns of a coroutine with that was never awaited, before anybody replaced it.
static WARN_UNAWAITED: Guarded<ObjectCell> = Guarded::new(ObjectCell::new());

/// `_hear_of_unawaited()`: has [`warn_unawaited`] called for each coroutine that is dropped before it
/// began.
pub(crate) fn hear_of_unawaited() -> Outcome<Object> {
    let name = interned(c"_warn_unawaited_coroutine")?;
    let warnings = module(c"warnings")?;
    let own = module(c"ferrio._ferrio")?.get_attr(&interned(c"_warn_unawaited")?)?;
    let current = warnings.get_attr(&name)?;
    if !current.is(&own) {
        WARN_UNAWAITED.get().set(current);
        warnings.set_attr(&name, &own)?;
    }
    Ok(none())
}

/// Warns as CPython does, and then tells `ferrio.lints`. It is native because CPython's function
/// names the line that called it, and must not see a frame of ours there.
pub(crate) fn warn_unawaited(coroutine: &Object) -> Outcome<Object> {
    let warned = match WARN_UNAWAITED.get().get() {
        Some(warn) => warn.call1(coroutine).map_err(Raised::take),
        None => Ok(none()),
    };
    let told = tell_of_unawaited(coroutine);
    match warned {
        Ok(_) => told.map(|()| none()),
        Err(exception) => {
            if let Err(second) = told {
                second.report_unraisable(coroutine);
            }
            Err(Raised::exception(&exception))
        }
    }
}

/// `ferrio.lints._tell_of_unawaited(loop, coroutine)`, while a loop of ours runs.
fn tell_of_unawaited(coroutine: &Object) -> Outcome<()> {
    let event_loop = crate::originals::originals().running_loop.call0()?;
    if This::<EventLoop>::from_object(&event_loop).is_none() {
        return Ok(());
    }
    module(c"ferrio.lints")?
        .get_attr(&interned(c"_tell_of_unawaited")?)?
        .call(&[&event_loop, coroutine], None)
        .map(drop)
}

/// `ferrio.lints._tell(kind, task, words)`.
fn tell(kind: &str, task: &Object, words: &str) -> Outcome<()> {
    module(c"ferrio.lints")?
        .get_attr(&interned(c"_tell")?)?
        .call(&[&text(kind)?, task, &text(words)?], None)
        .map(drop)
}
