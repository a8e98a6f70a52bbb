//! `ferrio ps`: a line for each task, or for each process.

use super::table::{Align, Column, Cut, Table};
use super::words;
use crate::snapshot::{Loop, Snapshot, Task};

const fn column(title: &'static str, align: Align, cut: Cut) -> Column {
    Column { title, align, cut }
}

/// The process, and for each of its loops a table of the tasks.
#[must_use]
pub fn ps(snapshot: &Snapshot, columns: Option<usize>) -> String {
    let mut lines = vec![words::process(snapshot)];
    lines.extend(words::outdated(snapshot));
    let mut text: String = lines
        .iter()
        .map(|line| fitted(line, columns) + "\n")
        .collect();
    for its_loop in &snapshot.loops {
        text.push('\n');
        text.push_str(&fitted(&words::event_loop(its_loop, snapshot), columns));
        text.push('\n');
        if !its_loop.tasks.is_empty() {
            text.push_str(&tasks(its_loop, snapshot).render(columns));
        }
    }
    text
}

pub(super) fn fitted(line: &str, columns: Option<usize>) -> String {
    columns.map_or_else(
        || line.to_owned(),
        |columns| words::cut_end(line, columns).into_owned(),
    )
}

fn tasks(its_loop: &Loop, snapshot: &Snapshot) -> Table {
    let mut table = Table::new(vec![
        column("TASK", Align::Right, Cut::Never),
        column("NAME", Align::Left, Cut::End),
        column("COROUTINE", Align::Left, Cut::End),
        column("STATE", Align::Left, Cut::Never),
        column("SINCE", Align::Right, Cut::Never),
        column("WAITS FOR", Align::Left, Cut::End),
        column("AT", Align::Left, Cut::Start),
        column("STEPS", Align::Right, Cut::Never),
        column("CPU", Align::Right, Cut::Never),
    ]);
    for task in &its_loop.tasks {
        table.push(row(task, its_loop, snapshot));
    }
    table
}

fn row(task: &Task, its_loop: &Loop, snapshot: &Snapshot) -> Vec<String> {
    let age = words::task_age(task, its_loop, snapshot);
    vec![
        format!("#{}", task.id),
        words::plain(&task.name).into_owned(),
        words::plain(&task.coroutine).into_owned(),
        state(task),
        age.map_or_else(String::new, words::duration),
        task.wait
            .as_ref()
            .map_or_else(String::new, |wait| words::wait(wait, snapshot)),
        words::task_site(task).map_or_else(String::new, words::site),
        task.steps.map_or_else(String::new, words::count),
        task.cpu.map_or_else(String::new, words::duration),
    ]
}

fn state(task: &Task) -> String {
    let state = words::state(task.state);
    if task.cancelling > 0 {
        format!("{state}, cancelling")
    } else {
        state.to_owned()
    }
}

/// What `ferrio ps` says of a process.
#[derive(Clone, PartialEq, Debug)]
pub struct ProcessLine {
    /// Its number.
    pub process: u32,
    /// What it answered, or why it did not.
    pub answer: Result<Snapshot, String>,
}

/// A line for each process that can be inspected.
#[must_use]
pub fn processes(found: &[ProcessLine], columns: Option<usize>) -> String {
    if found.is_empty() {
        return "No process of yours can be inspected. \
                Start one with --inspect or FERRIO_INSPECT=1.\n"
            .to_owned();
    }
    let mut table = Table::new(vec![
        column("PID", Align::Right, Cut::Never),
        column("PYTHON", Align::Left, Cut::Never),
        column("LOOPS", Align::Right, Cut::Never),
        column("TASKS", Align::Right, Cut::Never),
        column("NOW", Align::Left, Cut::End),
        column("COMMAND", Align::Left, Cut::End),
    ]);
    for line in found {
        table.push(process_row(line));
    }
    table.render(columns)
}

fn process_row(line: &ProcessLine) -> Vec<String> {
    let process = line.process.to_string();
    match &line.answer {
        Ok(snapshot) => {
            let tasks = snapshot.loops.iter().map(|l| l.tasks.len() as u64).sum();
            let now = snapshot.loops.first();
            vec![
                process,
                words::plain(&snapshot.python).into_owned(),
                snapshot.loops.len().to_string(),
                words::count(tasks),
                now.map_or_else(String::new, |l| words::running(l, snapshot)),
                words::command(&snapshot.command),
            ]
        }
        Err(error) => {
            let mut row = vec![String::new(); 6];
            row[0] = process;
            row[4] = words::plain(error).into_owned();
            row
        }
    }
}
