//! What `ferrio ps` and its like ask of other processes. Nothing of Python is needed for it, so
//! each of these functions releases the interpreter for all of its time.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::time::Duration;

use ferrio_inspect::Snapshot;
use ferrio_inspect::socket::{Client, TraceSummary, ask_every_process};
use ferrio_inspect::view;

use super::json;
use crate::ffi::{Method, Object, Outcome, Raised, released, text};

/// How long another process's interpreter is waited for.
const PATIENCE: Duration = Duration::from_millis(500);

/// The functions of the module.
pub(super) fn functions() -> Vec<Method> {
    vec![
        Method::function(
            c"_list_processes",
            |arguments| match arguments.positional() {
                [columns] => {
                    let columns = width(columns)?;
                    let found = released(ask_every_process)?;
                    text(&view::processes(&found, columns))
                }
                _ => Err(Raised::type_error("one argument is expected: columns")),
            },
            c"Return a line for each of the user's processes that can be inspected.",
        ),
        Method::function(
            c"_view_process",
            |arguments| match arguments.positional() {
                [process, view, columns] => {
                    let (process, columns) = (number(process)?, width(columns)?);
                    let view = View::named(&view.to_text()?)?;
                    text(&released(|| view.of_process(process, columns))?)
                }
                _ => Err(Raised::type_error(
                    "three arguments are expected: process, view, columns",
                )),
            },
            c"Return a process's loops and tasks as text: \"ps\", \"tree\", \"dump\" or \"json\".",
        ),
        Method::function(
            c"_view_snapshot",
            |arguments| match arguments.positional() {
                [snapshot, view] => {
                    let view = View::named(&view.to_text()?)?;
                    text(&view.of(&parsed(snapshot)?, None)?)
                }
                _ => Err(Raised::type_error(
                    "two arguments are expected: snapshot, view",
                )),
            },
            c"Return the same of a snapshot of this process, as `_snapshot` gives it.",
        ),
        Method::function(
            c"_tasks_above",
            |arguments| match arguments.positional() {
                [snapshot] => json(&view::tasks_above(&parsed(snapshot)?)),
                _ => Err(Raised::type_error("one argument is expected: snapshot")),
            },
            c"Return which task each stands below in the tree, as JSON: pairs of ids.",
        ),
        Method::function(
            c"_trace_process",
            |arguments| match arguments.positional() {
                [process, seconds, path] => {
                    let (process, seconds) = (number(process)?, seconds.to_f64()?);
                    let path = path.to_text()?;
                    let summary = released(|| trace(process, seconds, Path::new(&path)))?;
                    summary_object(&summary)
                }
                _ => Err(Raised::type_error(
                    "three arguments are expected: process, seconds, path",
                )),
            },
            c"Have a process record for some seconds and write the trace to a file; return how many \
            events were recorded, how many of them were lost, and for how many seconds it was.",
        ),
        Method::function(
            c"_top",
            |arguments| match arguments.positional() {
                [process] => {
                    let process = number(process)?;
                    let ended = released(|| ferrio_top::run(process))?;
                    text(&ended.unwrap_or_default())
                }
                _ => Err(Raised::type_error("one argument is expected: process")),
            },
            c"Show a process in the terminal until the user quits; return what there is to be said \
            about the end, or an empty text.",
        ),
    ]
}

/// What `_snapshot` gave.
fn parsed(snapshot: &Object) -> Outcome<Snapshot> {
    serde_json::from_str(&snapshot.to_text()?)
        .map_err(|error| Raised::value_error(&error.to_string()))
}

/// What can be made of a snapshot.
#[derive(Clone, Copy)]
enum View {
    Ps,
    Tree,
    Dump,
    Json,
}

impl View {
    fn named(name: &str) -> Outcome<View> {
        match name {
            "ps" => Ok(View::Ps),
            "tree" => Ok(View::Tree),
            "dump" => Ok(View::Dump),
            "json" => Ok(View::Json),
            _ => Err(Raised::value_error("there is no such view")),
        }
    }

    fn of_process(self, process: u32, columns: Option<usize>) -> io::Result<String> {
        let snapshot = Client::connect(process)?.snapshot(PATIENCE)?;
        self.of(&snapshot, columns)
    }

    fn of(self, snapshot: &Snapshot, columns: Option<usize>) -> io::Result<String> {
        Ok(match self {
            View::Ps => view::ps(snapshot, columns),
            View::Tree => view::tree(snapshot, columns),
            View::Dump => view::dump(snapshot),
            View::Json => serde_json::to_string_pretty(snapshot)? + "\n",
        })
    }
}

/// Writes the file once something has come: a recording that fails leaves nothing behind.
fn trace(process: u32, seconds: f64, path: &Path) -> io::Result<TraceSummary> {
    let mut client = Client::connect(process)?;
    let mut file = None;
    let summary = client.trace(seconds, |event| {
        let file = match &mut file {
            Some(file) => {
                let file: &mut BufWriter<File> = file;
                file.write_all(b",\n")?;
                file
            }
            None => {
                let file = file.insert(BufWriter::new(File::create(path)?));
                file.write_all(b"{\"displayTimeUnit\": \"ns\", \"traceEvents\": [\n")?;
                file
            }
        };
        Ok(serde_json::to_writer(file, &event)?)
    })?;
    // There is an event that names the process at least.
    let mut file = file.ok_or(io::ErrorKind::UnexpectedEof)?;
    file.write_all(b"\n]}\n")?;
    file.flush()?;
    Ok(summary)
}

fn summary_object(summary: &TraceSummary) -> Outcome<Object> {
    let number = |count: u64| Object::from_i64(i64::try_from(count).unwrap_or(i64::MAX));
    Object::tuple(&[
        &number(summary.events)?,
        &number(summary.lost)?,
        &Object::from_f64(summary.seconds)?,
    ])
}

fn number(process: &Object) -> Outcome<u32> {
    u32::try_from(process.to_i64()?)
        .map_err(|_| Raised::value_error("a process's number is positive and not so large"))
}

/// None for lines as long as they are.
fn width(columns: &Object) -> Outcome<Option<usize>> {
    match columns.some() {
        Some(columns) => Ok(Some(usize::try_from(columns.to_i64()?).unwrap_or(0))),
        None => Ok(None),
    }
}
