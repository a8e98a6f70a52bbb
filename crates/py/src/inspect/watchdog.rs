//! The watchdog's ends in Python: which loops it watches, and where its reports go.

use std::path::PathBuf;
use std::sync::Arc;

use ferrio_inspect::watchdog::{self, Outside, Report, Sinks, set_sinks};
use serde::Serialize;

use super::{interpreter_thread, layout};
use crate::event_loop::EventLoop;
use crate::ffi::{Arguments, Method, Object, Outcome, Raised, This, none, text};
use crate::imports::module;

/// The module's functions, for `ferrio.watchdog`.
pub(super) fn functions() -> Vec<Method> {
    vec![
        Method::function(
            c"_set_watchdog_sinks",
            set_watchdog_sinks,
            c"Have reports written to standard error, and appended to a file, or not.",
        ),
        Method::function(
            c"_call_and_report",
            call_and_report,
            c"Call `callback(argument)`; give what it raises to sys.unraisablehook.",
        ),
        Method::function(
            c"_recent_blocks",
            recent_blocks,
            c"Return the last report of each of the last blocks, as JSON.",
        ),
        Method::function(
            c"_blocks_by_site",
            |_arguments| json(&watchdog::blocks_by_site()),
            c"Return the blocks by place, as JSON.",
        ),
        Method::function(
            c"_watchdog_counters",
            |_arguments| json(&watchdog::counters()),
            c"Return what the watchdog has counted, as JSON.",
        ),
    ]
}

impl This<'_, EventLoop> {
    /// The loop begins to run: is watched, if it is to be. What stands in the way is reported, and
    /// the loop runs without.
    #[inline]
    pub(crate) fn be_watched(self) {
        if self.record.threshold().is_some()
            && let Err(raised) = attend()
        {
            raised.report_unraisable(&self.object());
        }
    }
}

#[cold]
fn attend() -> Outcome<()> {
    let layout = layout::layout()?;
    let tasks = crate::task::layout_for_watchdog();
    interpreter_thread::start()?;
    watchdog::attend(
        move || Outside::new(layout, tasks),
        Arc::new(|report, log_text| hand_on(Arc::clone(report), log_text)),
    )?;
    Ok(())
}

/// A report as `ferrio.watchdog` reads it.
#[derive(Serialize)]
struct Told<'a> {
    #[serde(flatten)]
    report: &'a Report,
    text: String,
}

impl<'a> Told<'a> {
    fn of(report: &'a Report) -> Told<'a> {
        Told {
            report,
            text: report.text(),
        }
    }
}

/// Gives a report to Python as soon as the interpreter can be had. If too many wait already, it is
/// still among the recent blocks.
fn hand_on(report: Arc<Report>, log_text: Option<String>) {
    interpreter_thread::with_interpreter(move || {
        if let Err(raised) = deliver(&report, log_text.as_deref()) {
            raised.report_unraisable(&none());
        }
    });
}

fn deliver(report: &Report, log_text: Option<&str>) -> Outcome<()> {
    let log_text = match log_text {
        Some(log_text) => text(log_text.trim_end())?,
        None => none(),
    };
    module(c"ferrio.watchdog")?
        .call_method(&text("_deliver")?, &[&json(&Told::of(report))?, &log_text])
        .map(drop)
}

fn recent_blocks(_arguments: Arguments<'_>) -> Outcome<Object> {
    let blocks = watchdog::recent_blocks();
    json(
        &blocks
            .iter()
            .map(|block| Told::of(block))
            .collect::<Vec<_>>(),
    )
}

/// What a callback of the program's raises in a thread of ours is nobody's but the hook's.
fn call_and_report(arguments: Arguments<'_>) -> Outcome<Object> {
    let [callback, argument] = arguments.positional() else {
        return Err(Raised::type_error("a callable and its argument are needed"));
    };
    if let Err(raised) = callback.call1(argument) {
        raised.report_unraisable(callback);
    }
    Ok(none())
}

fn set_watchdog_sinks(arguments: Arguments<'_>) -> Outcome<Object> {
    let [standard_error, file] = arguments.positional() else {
        return Err(Raised::type_error("a bool and a path or None are needed"));
    };
    set_sinks(Sinks {
        standard_error: standard_error.is_true()?,
        file: match file.some() {
            Some(path) => Some(PathBuf::from(path.to_text()?)),
            None => None,
        },
    });
    Ok(none())
}

fn json(value: &impl Serialize) -> Outcome<Object> {
    match serde_json::to_string(value) {
        Ok(json) => text(&json),
        Err(error) => Err(Raised::runtime_error(&error.to_string())),
    }
}
