//! What is shown, and what keys do.

use std::collections::HashMap;
use std::time::Instant;

use ferrio_inspect::snapshot::{Loop, Running};
use ferrio_inspect::socket::{BlockReport, Blocks};
use ferrio_inspect::view::words;
use ferrio_inspect::{Metrics, Snapshot};
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use ratatui::widgets::TableState;

use crate::columns::{Column, Row, sort};
use crate::history::History;

/// A loop that has been at one thing for so long (seconds) is shown as blocked.
const BLOCKED: f64 = 0.5;

/// What the feed has to say.
#[derive(Debug)]
pub enum Update {
    /// The process as it is now.
    Seen(Box<Snapshot>, Box<Metrics>, Blocks),
    /// It does not answer, in words.
    Silent(String),
    /// It has ended.
    Ended,
}

/// What keys mean.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Mode {
    /// Commands.
    Normal,
    /// The text of the filter.
    Filter,
    /// The list of keys is shown; any key closes it.
    Help,
}

/// How it stands with the process.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Contact {
    /// It has not answered yet.
    None,
    /// It answers.
    Live,
    /// It does not, since that moment.
    Silent { since: Instant, reason: String },
    /// It has ended.
    Ended,
}

/// The program's state.
pub struct App {
    process: u32,
    pub(crate) contact: Contact,
    pub(crate) snapshot: Option<Snapshot>,
    pub(crate) metrics: Option<Metrics>,
    /// What its watchdog has seen.
    blocks: Blocks,
    pub(crate) history: History,
    /// Steps per second of tasks that were seen twice.
    rates: HashMap<u64, f64>,
    pub(crate) mode: Mode,
    pub(crate) filter: String,
    pub(crate) sorted_by: Column,
    pub(crate) reversed: bool,
    pub(crate) is_paused: bool,
    pub(crate) shows_details: bool,
    pub(crate) details_scroll: u16,
    /// The number of the loop whose tasks are shown.
    shown_loop: Option<u64>,
    /// The number of the task that is selected, and where it stands.
    selected: Option<u64>,
    pub(crate) table: TableState,
    /// Rows on the screen, for the keys that go by pages; set by the picture.
    pub(crate) page: usize,
    is_over: bool,
}

impl App {
    /// Before anything was seen.
    #[must_use]
    pub fn new(process: u32) -> App {
        App {
            process,
            contact: Contact::None,
            snapshot: None,
            metrics: None,
            blocks: Blocks::default(),
            history: History::default(),
            rates: HashMap::new(),
            mode: Mode::Normal,
            filter: String::new(),
            sorted_by: Column::Task,
            reversed: false,
            is_paused: false,
            shows_details: false,
            details_scroll: 0,
            shown_loop: None,
            selected: None,
            table: TableState::new(),
            page: 10,
            is_over: false,
        }
    }

    /// The process's number.
    #[must_use]
    pub fn process(&self) -> u32 {
        self.process
    }

    /// Whether the user has quit.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.is_over
    }

    /// What keys mean now.
    #[must_use]
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What is to be said when the terminal is as before.
    #[must_use]
    pub fn farewell(&self) -> Option<String> {
        (self.contact == Contact::Ended).then(|| format!("Process {} has ended.", self.process))
    }

    /// Takes in what the feed says. While the picture is paused only the end is noticed.
    pub fn update(&mut self, update: Update) {
        match update {
            Update::Seen(snapshot, metrics, blocks) => {
                self.contact = Contact::Live;
                // The history goes on, so that it has no gap.
                self.history.add(&metrics);
                if !self.is_paused {
                    self.blocks = blocks;
                    self.see(*snapshot, *metrics);
                }
            }
            Update::Silent(reason) => {
                let since = match self.contact {
                    Contact::Silent { since, .. } => since,
                    _ => Instant::now(),
                };
                self.contact = Contact::Silent { since, reason };
            }
            Update::Ended => self.contact = Contact::Ended,
        }
    }

    fn see(&mut self, snapshot: Snapshot, metrics: Metrics) {
        if let Some(before) = &self.snapshot {
            self.rates = rates(before, &snapshot);
        }
        let exists = |number: &u64| snapshot.loops.iter().any(|l| l.id == *number);
        self.shown_loop = self
            .shown_loop
            .filter(exists)
            .or_else(|| snapshot.loops.first().map(|l| l.id));
        self.snapshot = Some(snapshot);
        self.metrics = Some(metrics);
        self.settle_selection();
    }

    /// The loop whose tasks are shown.
    pub(crate) fn shown_loop(&self) -> Option<&Loop> {
        let loops = &self.snapshot.as_ref()?.loops;
        loops.iter().find(|l| Some(l.id) == self.shown_loop)
    }

    /// The tasks that are shown, in order.
    pub(crate) fn rows(&self) -> Vec<Row<'_>> {
        let (Some(snapshot), Some(its_loop)) = (&self.snapshot, self.shown_loop()) else {
            return Vec::new();
        };
        let mut rows: Vec<_> = its_loop
            .tasks
            .iter()
            .map(|task| Row::new(task, its_loop, snapshot, self.rates.get(&task.id).copied()))
            .filter(|row| self.filter.is_empty() || row.has(&self.filter, snapshot))
            .collect();
        sort(&mut rows, self.sorted_by, self.reversed, snapshot);
        rows
    }

    /// Why the process needs to be looked at, if it does: it is blocked, silent, or has ended.
    pub(crate) fn alarm(&self) -> Option<String> {
        match &self.contact {
            Contact::Ended => Some(format!("Process {} has ended. q quits.", self.process)),
            Contact::Silent { since, reason } => Some(format!(
                "No answer for {}: {reason}",
                words::duration(since.elapsed().as_secs_f64())
            )),
            Contact::None | Contact::Live => self.block(),
        }
    }

    /// The first loop that has been at one thing for too long, with the culprit.
    fn block(&self) -> Option<String> {
        let snapshot = self.snapshot.as_ref()?;
        snapshot.loops.iter().find_map(|its_loop| {
            let (Running::Step { since, .. } | Running::Callback { since, .. }) = &its_loop.running
            else {
                return None;
            };
            let long = snapshot.taken_at - (*since)?;
            (long >= BLOCKED).then(|| self.blocked(its_loop, snapshot))
        })
    }

    /// What the watchdog says of it, which has seen the line even if nobody can ask the interpreter;
    /// without a watchdog what is known of the task.
    fn blocked(&self, its_loop: &Loop, snapshot: &Snapshot) -> String {
        let of_loop = |report: &&BlockReport| report.event_loop == its_loop.id && !report.over;
        match self.blocks.recent.iter().rev().find(of_loop) {
            Some(report) => words::short_message(&words::plain(&report.message)).to_owned(),
            None => blocked(its_loop, snapshot),
        }
    }

    /// Does what a key says.
    pub fn key(&mut self, key: KeyEvent) {
        if key.modifiers.contains(KeyModifiers::CONTROL) {
            match key.code {
                KeyCode::Char('c') => self.is_over = true,
                KeyCode::Char('d') => self.move_by(self.half_page()),
                KeyCode::Char('u') => self.move_by(-self.half_page()),
                _ => {}
            }
            return;
        }
        match self.mode {
            Mode::Normal => self.command(key.code),
            Mode::Filter => self.edit_filter(key.code),
            Mode::Help => self.mode = Mode::Normal,
        }
    }

    fn command(&mut self, code: KeyCode) {
        match code {
            KeyCode::Char('q') => self.is_over = true,
            KeyCode::Char('?' | 'h') => self.mode = Mode::Help,
            KeyCode::Char('/') => self.mode = Mode::Filter,
            KeyCode::Char('p' | ' ') => self.is_paused = !self.is_paused,
            KeyCode::Char('r') => self.reversed = !self.reversed,
            KeyCode::Enter | KeyCode::Char('d') => self.toggle_details(),
            KeyCode::Esc => self.close(),
            KeyCode::Tab => self.show_next_loop(),
            KeyCode::Down | KeyCode::Char('j') => self.move_by(1),
            KeyCode::Up | KeyCode::Char('k') => self.move_by(-1),
            KeyCode::PageDown => self.move_by(self.full_page()),
            KeyCode::PageUp => self.move_by(-self.full_page()),
            KeyCode::Home | KeyCode::Char('g') => self.move_by(isize::MIN),
            KeyCode::End | KeyCode::Char('G') => self.move_by(isize::MAX),
            KeyCode::Char(']') => self.details_scroll = self.details_scroll.saturating_add(1),
            KeyCode::Char('[') => self.details_scroll = self.details_scroll.saturating_sub(1),
            KeyCode::Right | KeyCode::Char('>') => self.sort_by_neighbour(1),
            KeyCode::Left | KeyCode::Char('<') => {
                self.sort_by_neighbour(Column::ALL.len() - 1);
            }
            KeyCode::Char(letter) => self.sort_by_key(letter),
            _ => {}
        }
    }

    fn edit_filter(&mut self, code: KeyCode) {
        match code {
            KeyCode::Enter => self.mode = Mode::Normal,
            KeyCode::Esc => {
                self.filter.clear();
                self.mode = Mode::Normal;
            }
            KeyCode::Backspace => {
                self.filter.pop();
            }
            KeyCode::Char(letter) => self.filter.push(letter),
            KeyCode::Down => self.move_by(1),
            KeyCode::Up => self.move_by(-1),
            _ => {}
        }
        self.settle_selection();
    }

    /// Escape: closes what was opened last.
    fn close(&mut self) {
        if self.shows_details {
            self.shows_details = false;
        } else {
            self.filter.clear();
            self.settle_selection();
        }
    }

    fn toggle_details(&mut self) {
        self.shows_details = !self.shows_details;
        self.details_scroll = 0;
        if self.selected.is_none() {
            self.move_by(0);
        }
    }

    fn show_next_loop(&mut self) {
        let Some(snapshot) = &self.snapshot else {
            return;
        };
        let numbers: Vec<_> = snapshot.loops.iter().map(|l| l.id).collect();
        let at = numbers.iter().position(|id| Some(*id) == self.shown_loop);
        self.shown_loop = at.map(|at| numbers[(at + 1) % numbers.len()]);
        self.selected = None;
        self.settle_selection();
    }

    /// Sorts by the column; again, the other way round.
    fn sort_by_key(&mut self, letter: char) {
        let Some(column) = Column::ALL.into_iter().find(|c| c.key() == letter) else {
            return;
        };
        self.reversed = column == self.sorted_by && !self.reversed;
        self.sorted_by = column;
        self.settle_selection();
    }

    fn sort_by_neighbour(&mut self, distance: usize) {
        let at = Column::ALL.iter().position(|c| *c == self.sorted_by);
        self.sorted_by = Column::ALL[(at.unwrap_or(0) + distance) % Column::ALL.len()];
        self.reversed = false;
        self.settle_selection();
    }

    fn full_page(&self) -> isize {
        isize::try_from(self.page).unwrap_or(1)
    }

    fn half_page(&self) -> isize {
        self.full_page() / 2
    }

    fn move_by(&mut self, distance: isize) {
        let rows = self.rows();
        let last = rows.len().saturating_sub(1);
        let at = match self.table.selected() {
            Some(at) => at.saturating_add_signed(distance).min(last),
            None if distance == isize::MAX => last,
            None => 0,
        };
        let selected = rows.get(at).map(|row| row.task.id);
        if selected != self.selected {
            self.details_scroll = 0;
        }
        self.selected = selected;
        self.table.select(selected.map(|_| at));
    }

    /// Finds the selected task where it stands now; when it is gone, the one in its place.
    fn settle_selection(&mut self) {
        let Some(selected) = self.selected else {
            self.table.select(None);
            return;
        };
        let rows = self.rows();
        let found = rows.iter().position(|row| row.task.id == selected);
        let place = || {
            let last = rows.len().checked_sub(1)?;
            Some(self.table.selected().unwrap_or(0).min(last))
        };
        let at = found.or_else(place);
        let selected = at.map(|at| rows[at].task.id);
        self.table.select(at);
        self.selected = selected;
    }

    /// The lines about the selected task.
    pub(crate) fn details(&self) -> Option<Vec<String>> {
        let (snapshot, its_loop) = (self.snapshot.as_ref()?, self.shown_loop()?);
        let task = its_loop
            .tasks
            .iter()
            .find(|task| Some(task.id) == self.selected)?;
        let mut lines = Vec::new();
        ferrio_inspect::view::describe(task, its_loop, snapshot, &mut lines);
        Some(lines)
    }
}

/// "Loop 1 is blocked for 3.2s by #3 report at app.py:55 report".
fn blocked(its_loop: &Loop, snapshot: &Snapshot) -> String {
    let running = words::running(its_loop, snapshot);
    let site = match its_loop.running {
        Running::Step { task, .. } => its_loop
            .tasks
            .iter()
            .find(|other| other.id == task)
            .and_then(words::task_site),
        _ => None,
    };
    let site = site.map_or_else(String::new, |site| format!(" at {}", words::site(site)));
    format!("Loop {} is blocked: {running}{site}", its_loop.id)
}

fn rates(before: &Snapshot, now: &Snapshot) -> HashMap<u64, f64> {
    let seconds = now.tasks_at - before.tasks_at;
    let steps: HashMap<u64, u64> = before
        .loops
        .iter()
        .flat_map(|l| &l.tasks)
        .filter_map(|task| Some((task.id, task.steps?)))
        .collect();
    #[allow(clippy::cast_precision_loss)]
    now.loops
        .iter()
        .flat_map(|l| &l.tasks)
        .filter(|_| seconds > 0.0)
        .filter_map(|task| {
            let made = task.steps?.saturating_sub(*steps.get(&task.id)?);
            Some((task.id, made as f64 / seconds))
        })
        .collect()
}
