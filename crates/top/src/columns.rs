//! The table's columns, and the order of its rows.

use std::cmp::Ordering;

use ferrio_inspect::Snapshot;
use ferrio_inspect::snapshot::{Loop, Task, TaskState};
use ferrio_inspect::view::words;

/// A column that rows can be sorted by.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Column {
    /// The task's number.
    Task,
    /// Its name.
    Name,
    /// Its coroutine's name.
    Coroutine,
    /// Running, ready or waiting.
    State,
    /// How long it has been at it.
    Since,
    /// What it waits for.
    Wait,
    /// The line that it is at.
    Site,
    /// Steps so far.
    Steps,
    /// Steps in the last second.
    Rate,
    /// CPU in its steps.
    Cpu,
}

impl Column {
    pub(crate) const ALL: [Column; 10] = [
        Column::Task,
        Column::Name,
        Column::Coroutine,
        Column::State,
        Column::Since,
        Column::Wait,
        Column::Site,
        Column::Steps,
        Column::Rate,
        Column::Cpu,
    ];

    pub(crate) fn title(self) -> &'static str {
        match self {
            Column::Task => "TASK",
            Column::Name => "NAME",
            Column::Coroutine => "COROUTINE",
            Column::State => "STATE",
            Column::Since => "SINCE",
            Column::Wait => "WAITS FOR",
            Column::Site => "AT",
            Column::Steps => "STEPS",
            Column::Rate => "STEPS/S",
            Column::Cpu => "CPU",
        }
    }

    /// The key that sorts by it.
    pub(crate) fn key(self) -> char {
        match self {
            Column::Task => 'i',
            Column::Name => 'n',
            Column::Coroutine => 'o',
            Column::State => 's',
            Column::Since => 't',
            Column::Wait => 'w',
            Column::Site => 'a',
            Column::Steps => 'x',
            Column::Rate => 'v',
            Column::Cpu => 'c',
        }
    }

    /// Whether the largest come first unless that is reversed: for amounts.
    fn is_amount(self) -> bool {
        matches!(
            self,
            Column::Since | Column::Steps | Column::Rate | Column::Cpu
        )
    }

    pub(crate) fn is_number(self) -> bool {
        self.is_amount() || self == Column::Task
    }
}

/// A task as a row.
pub(crate) struct Row<'a> {
    pub(crate) task: &'a Task,
    pub(crate) since: Option<f64>,
    /// None until it was seen twice.
    pub(crate) rate: Option<f64>,
}

impl<'a> Row<'a> {
    pub(crate) fn new(
        task: &'a Task,
        its_loop: &Loop,
        snapshot: &Snapshot,
        rate: Option<f64>,
    ) -> Row<'a> {
        Row {
            task,
            since: words::task_age(task, its_loop, snapshot),
            rate,
        }
    }

    pub(crate) fn cell(&self, column: Column, snapshot: &Snapshot) -> String {
        let task = self.task;
        match column {
            Column::Task => format!("#{}", task.id),
            Column::Name => words::plain(&task.name).into_owned(),
            Column::Coroutine => words::plain(&task.coroutine).into_owned(),
            Column::State if task.cancelling > 0 => "cancelling".to_owned(),
            Column::State => words::state(task.state).to_owned(),
            Column::Since => self.since.map_or_else(String::new, words::duration),
            Column::Wait => task
                .wait
                .as_ref()
                .map_or_else(String::new, |wait| words::wait(wait, snapshot)),
            Column::Site => words::task_site(task).map_or_else(String::new, words::site),
            Column::Steps => task.steps.map_or_else(String::new, words::count),
            Column::Rate => self
                .rate
                .map_or_else(String::new, |rate| words::count(whole(rate))),
            Column::Cpu => task.cpu.map_or_else(String::new, words::duration),
        }
    }

    /// Whether it has the text, in whatever case, in what the table shows of it.
    pub(crate) fn has(&self, text: &str, snapshot: &Snapshot) -> bool {
        let text = text.to_lowercase();
        [
            Column::Task,
            Column::Name,
            Column::Coroutine,
            Column::State,
            Column::Wait,
            Column::Site,
        ]
        .into_iter()
        .any(|column| self.cell(column, snapshot).to_lowercase().contains(&text))
    }
}

/// A cell in its place: what does not fit is left out where it says least.
pub(crate) fn fitted(text: String, column: Column, width: u16) -> String {
    let width = usize::from(width);
    match column {
        Column::Site => words::cut_start(&text, width).into_owned(),
        Column::Name | Column::Coroutine | Column::Wait => {
            words::cut_end(&text, width).into_owned()
        }
        _ => text,
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // A count of steps.
fn whole(rate: f64) -> u64 {
    rate.round() as u64
}

/// Puts rows in order. Equal ones stand as they were created; what is unknown comes last.
pub(crate) fn sort(rows: &mut [Row<'_>], column: Column, reversed: bool, snapshot: &Snapshot) {
    let descending = column.is_amount() != reversed;
    rows.sort_by(|one, other| {
        let order = compare(one, other, column, snapshot);
        let order = match (order, descending) {
            (Compared::Known(order), true) => order.reverse(),
            (Compared::Known(order) | Compared::Missing(order), _) => order,
        };
        order.then(one.task.id.cmp(&other.task.id))
    });
}

enum Compared {
    Known(Ordering),
    /// One has nothing to compare, which is no matter of the direction.
    Missing(Ordering),
}

fn compare(one: &Row<'_>, other: &Row<'_>, column: Column, snapshot: &Snapshot) -> Compared {
    let texts = |of: fn(&Task) -> &str| Compared::Known(of(one.task).cmp(of(other.task)));
    match column {
        Column::Task => Compared::Known(one.task.id.cmp(&other.task.id)),
        Column::Name => texts(|task| &task.name),
        Column::Coroutine => texts(|task| &task.coroutine),
        Column::State => Compared::Known(rank(one.task).cmp(&rank(other.task))),
        Column::Since => numbers(one.since, other.since),
        Column::Rate => numbers(one.rate, other.rate),
        Column::Cpu => numbers(one.task.cpu, other.task.cpu),
        #[allow(clippy::cast_precision_loss)]
        Column::Steps => numbers(
            one.task.steps.map(|steps| steps as f64),
            other.task.steps.map(|steps| steps as f64),
        ),
        Column::Wait | Column::Site => {
            let (one, other) = (one.cell(column, snapshot), other.cell(column, snapshot));
            match (one.is_empty(), other.is_empty()) {
                (false, false) => Compared::Known(one.cmp(&other)),
                (one, other) => Compared::Missing(one.cmp(&other)),
            }
        }
    }
}

/// What runs comes first.
fn rank(task: &Task) -> u8 {
    match task.state {
        TaskState::Running => 0,
        TaskState::Ready => 1,
        TaskState::Waiting => 2,
    }
}

fn numbers(one: Option<f64>, other: Option<f64>) -> Compared {
    match (one, other) {
        (Some(one), Some(other)) => Compared::Known(one.total_cmp(&other)),
        (one, other) => Compared::Missing(one.is_none().cmp(&other.is_none())),
    }
}
