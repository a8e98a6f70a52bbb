//! What is said of a block.

use std::fmt::Write;

use serde::{Serialize, Serializer};

use super::eyes::Culprit;
use crate::python::Cause;
use crate::snapshot::Site;

/// A block of a loop, as it was at one moment.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct Report {
    /// The first line of [`Report::text`].
    pub message: String,
    /// The process's number.
    pub process: u32,
    /// Counts the process's blocks, from 1: all reports of a block have the same.
    pub block: u64,
    /// Counts the block's reports, from 1.
    pub number: u32,
    /// Whether the loop has come on: the block's last report.
    pub over: bool,
    /// Counts the process's loops, from 1.
    #[serde(rename = "loop")]
    pub event_loop: u64,
    /// The kernel's number of the loop's thread.
    pub thread: u32,
    /// How long the block had been going on, in seconds; at least.
    pub seconds: f64,
    /// From how many seconds on it is one.
    pub threshold: f64,
    /// Why the loop did not come on.
    #[serde(serialize_with = "in_words")]
    pub cause: Cause,
    /// Who has the interpreter, when it is waited for.
    pub holder: Option<Holder>,
    /// The innermost Python frame of the loop's thread. Of the last report: the one in which most
    /// of the time was spent.
    pub site: Option<Site>,
    /// That line of the file.
    pub source: Option<String>,
    /// Whose work it was.
    pub culprit: Culprit,
    /// A turn of many short callbacks, instead of one long one.
    pub turn: Option<TurnSeen>,
    /// The Python frames of the loop's thread, the outermost first.
    pub stack: Vec<Site>,
    /// Source lines of the frames, where they could be read.
    pub stack_source: Vec<Option<String>>,
    /// When the block was first noticed: seconds of the monotonic clock, as `time.monotonic()`.
    pub began_at: f64,
    /// When this report was made, likewise.
    pub detected_at: f64,
    /// The same moment as `time.time()` has it.
    pub time: f64,
    /// How many seconds of the block the watchdog's thread could have run and did not.
    pub watchdog_delay: f64,
    /// Blocks of the same place that were not written about since the last one that was.
    pub unreported: u64,
}

/// The thread that holds the interpreter.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Holder {
    /// The kernel's number.
    pub thread: u32,
    /// The thread's name, if it was given one.
    pub name: Option<String>,
    /// Its innermost Python frame.
    pub site: Option<Site>,
}

impl Holder {
    pub(super) fn of(cause: &Cause) -> Option<Holder> {
        match cause {
            Cause::GilWait { thread, name, at } => Some(Holder {
                thread: *thread,
                name: name.clone(),
                site: at.as_ref().map(Site::from),
            }),
            _ => None,
        }
    }
}

/// A turn of many short callbacks.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct TurnSeen {
    /// How many callbacks and steps were begun in it since it was noticed.
    pub callbacks: u64,
    /// How often it was looked at what runs.
    pub samples: u32,
    /// How often that was the origin that the report names.
    pub seen: u32,
}

impl Report {
    /// The first line: place, how long, whose work, and why.
    pub(super) fn first_line(&self) -> String {
        let mut line = String::new();
        match &self.site {
            Some(site) => push(&mut line, format_args!("{}", at(site))),
            None => line.push_str("(no Python frame could be read)"),
        }
        let blocked = if self.over { "was" } else { "has been" };
        push(
            &mut line,
            format_args!(": the loop {blocked} blocked for {:.3} s by ", self.seconds),
        );
        match &self.turn {
            Some(turn) => push(
                &mut line,
                format_args!(
                    "{} callbacks in one turn, this one in {} of {} samples, in {}",
                    turn.callbacks,
                    turn.seen,
                    turn.samples,
                    self.culprit.name()
                ),
            ),
            None => line.push_str(&self.culprit.name()),
        }
        push(&mut line, format_args!(" (cause: {}", self.cause));
        if let Some(holder) = &self.holder {
            push(
                &mut line,
                format_args!(", held by thread {}", holder.thread),
            );
            if let Some(name) = &holder.name {
                push(&mut line, format_args!(" {name}"));
            }
            if let Some(site) = &holder.site {
                push(&mut line, format_args!(" at {}", at(site)));
            }
        }
        line.push(')');
        line
    }

    /// All that a person wants to read, line by line, with a line's end at the end.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = self.short_text();
        if self.over {
            return text;
        }
        if let Some(source) = &self.source {
            push(&mut text, format_args!("    {source}\n"));
        }
        if let Culprit::Task(task) = &self.culprit {
            if let Some(coroutine) = &task.coroutine {
                push(&mut text, format_args!("  Coroutine: {coroutine}\n"));
            }
            if let Some(created) = &task.created {
                push(&mut text, format_args!("  Created at: {}\n", at(created)));
            }
            if let Some(owner) = &task.owner {
                push(&mut text, format_args!("  Owner: {owner}\n"));
            }
        }
        if !self.stack.is_empty() {
            push(
                &mut text,
                format_args!(
                    "  Stack of thread {} (most recent call last):\n",
                    self.thread
                ),
            );
        }
        for (index, site) in self.stack.iter().enumerate() {
            push(
                &mut text,
                format_args!(
                    "    File \"{}\", line {}, in {}\n",
                    site.file, site.line, site.function
                ),
            );
            if let Some(Some(source)) = self.stack_source.get(index) {
                push(&mut text, format_args!("      {source}\n"));
            }
        }
        text
    }

    /// The first line, and how many blocks nothing was said of, with a line's end at the end.
    #[must_use]
    pub fn short_text(&self) -> String {
        let mut text = format!("{}\n", self.message);
        if self.unreported > 0 {
            push(
                &mut text,
                format_args!(
                    "  ({} more blocks here since the last line)\n",
                    self.unreported
                ),
            );
        }
        text
    }
}

impl Culprit {
    fn name(&self) -> String {
        match self {
            Culprit::Task(task) => match &task.name {
                Some(name) => format!("task {name}"),
                None => "a task".to_owned(),
            },
            Culprit::Callback { function } => match function {
                Some(function) => format!("callback {function}"),
                None => "a callback".to_owned(),
            },
            Culprit::Event { function } => match function {
                Some(function) => format!("event callback {function}"),
                None => "the callback of an event".to_owned(),
            },
            Culprit::Loop => "the loop itself".to_owned(),
        }
    }
}

/// "FILE:LINE in FUNCTION".
fn at(site: &Site) -> String {
    format!("{}:{} in {}", site.file, site.line, site.function)
}

fn push(text: &mut String, words: std::fmt::Arguments<'_>) {
    // A String takes everything.
    let _ = text.write_fmt(words);
}

/// The cause as its words.
pub(super) fn in_words<S: Serializer>(cause: &Cause, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(cause)
}
