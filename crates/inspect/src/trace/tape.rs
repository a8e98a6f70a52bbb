//! A loop's own record of what it does: a ring of events, and the names for them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::now_ns;

/// Events that a tape holds (16 bytes each).
const LENGTH: usize = 1 << 18;

/// Texts that a tape holds; further ones are all "…".
const MOST_TEXTS: usize = 1 << 14;

/// After so many events the names that lie before them may soon be lost: see [`Tape::epoch`].
const EPOCH: u64 = 1 << 15;

/// The lane of a task, which is its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Lane(u32);

impl Lane {
    /// Tasks without a number.
    pub const OTHERS: Lane = Lane(0);

    /// Of the task with this id. A process does not make a thousand million tasks within the minute
    /// that a recording lasts.
    #[inline]
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub fn of(task: u64) -> Lane {
        Lane(task as u32 & ((1 << 30) - 1))
    }

    pub(super) fn number(self) -> u32 {
        self.0
    }
}

/// Why a task waits: a text that the tape holds.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Reason(u32);

/// What a task is called.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum TaskName {
    /// Nobody has given it a name: `Task-N`.
    Number(u64),
    /// As the program has it.
    Given(Box<str>),
}

impl fmt::Display for TaskName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            TaskName::Number(number) => write!(formatter, "Task-{number}"),
            TaskName::Given(name) => formatter.write_str(name),
        }
    }
}

/// What a lane shows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct LaneName {
    pub(super) name: TaskName,
    /// Its coroutine's.
    pub(super) coroutine: Arc<str>,
}

/// One event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Event {
    /// Nanoseconds since the recording's start; of those that begin something.
    pub(super) at: u64,
    pub(super) kind: Kind,
}

/// What an event says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    /// The loop begins to wait for events.
    Poll,
    /// The wait is over; what belongs to no entry.
    Turn,
    /// The loop does not run any more.
    Stop,
    /// A task's step begins.
    Step(Lane),
    /// Something else is called.
    Call(Reason),
    /// The task of the step that was begun last waits from its end on.
    Waits(Reason),
    /// The task of the step that was begun last has ended.
    Ended,
    /// What was begun last has put the task into the ready queue.
    Woke(Lane),
    /// What a task is called: the N of `Task-N`, and its coroutine.
    Numbered(Lane, u64, Reason),
    /// Likewise: which of the names that programs have given.
    Given(Lane, u64, Reason),
}

/// Written by the thread that runs the loop, read by another when the recording is over.
#[derive(Debug)]
pub struct Tape {
    /// The loop's.
    number: u64,
    /// The moment that times are counted from.
    started: u64,
    /// Two words an event: moment or name and kind, operands.
    words: Box<[AtomicU64]>,
    /// Events written so far.
    written: AtomicU64,
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    texts: Vec<Arc<str>>,
    /// Names that the program has given to tasks, each with the number of the event that has it.
    given: VecDeque<(u64, Box<str>)>,
    /// How many were given up again, with their events.
    given_up: u64,
}

impl Tape {
    pub(super) fn new(number: u64, started: u64) -> Tape {
        Tape {
            number,
            started,
            words: (0..2 * LENGTH).map(|_| AtomicU64::new(0)).collect(),
            written: AtomicU64::new(0),
            names: Mutex::new(Names {
                texts: vec!["…".into()],
                ..Names::default()
            }),
        }
    }

    /// The number of the loop.
    #[must_use]
    pub fn number(&self) -> u64 {
        self.number
    }

    /// The loop begins to wait for events; `now` on the monotonic clock, in nanoseconds.
    #[inline]
    pub fn poll(&self, now: u64) {
        self.push(now.saturating_sub(self.started), 0, 0);
    }

    /// The wait is over, `now`, or what belongs to no entry begins.
    #[inline]
    pub fn turn(&self, now: u64) {
        self.push(now.saturating_sub(self.started), 1, 0);
    }

    /// The loop does not run any more.
    pub fn stop(&self) {
        self.push(self.moment(), 2, 0);
    }

    /// A step begins.
    #[inline]
    pub fn step(&self, lane: Lane) {
        self.push(self.moment(), 3, lane.0);
    }

    /// Something else is called.
    #[inline]
    pub fn call(&self, name: Reason) {
        self.push(self.moment(), 4, name.0);
    }

    /// The task whose step was begun last waits.
    #[inline]
    pub fn waits(&self, reason: Reason) {
        self.push(0, 5, reason.0);
    }

    /// The task whose step was begun last has ended.
    #[inline]
    pub fn ended(&self) {
        self.push(0, 6, 0);
    }

    /// What was begun last has put a task into the ready queue.
    #[inline]
    pub fn woke(&self, lane: Lane) {
        self.push(0, 7, lane.0);
    }

    /// Keeps a text. Whoever calls it remembers what it gives.
    #[must_use]
    pub fn text(&self, text: &str) -> Reason {
        let mut names = self.names();
        let index = names.texts.len();
        if index >= MOST_TEXTS {
            return Reason(0);
        }
        names.texts.push(text.into());
        Reason(u32::try_from(index).unwrap_or(0))
    }

    /// Which part of the recording goes on. Of later parts only the names are certain to be there in
    /// the end that were written in them: each task is to be named once in each part.
    #[inline]
    #[must_use]
    pub fn epoch(&self) -> u64 {
        self.written.load(Ordering::Relaxed) / EPOCH
    }

    /// Writes down what a task is called.
    #[inline]
    pub fn name(&self, lane: Lane, name: TaskName, coroutine: Reason) {
        let (number, code) = match name {
            TaskName::Number(number) => (number, 8),
            TaskName::Given(name) => (self.give(name), 9),
        };
        let operands = u64::from(lane.0) | u64::from(coroutine.0) << 32;
        self.push_words(number << 8 | code, operands);
    }

    /// Keeps a name for the next event; gives how many there were before it.
    fn give(&self, name: Box<str>) -> u64 {
        let next = self.written();
        let mut names = self.names();
        while let Some(&(event, _)) = names.given.front()
            && event + (LENGTH as u64) < next
        {
            names.given.pop_front();
            names.given_up += 1;
        }
        names.given.push_back((next, name));
        names.given_up + names.given.len() as u64 - 1
    }

    #[inline]
    fn moment(&self) -> u64 {
        now_ns() - self.started
    }

    /// The times of a minute fit into the upper 56 bits.
    #[inline]
    fn push(&self, at: u64, code: u64, operand: u32) {
        self.push_words(at << 8 | code, operand.into());
    }

    #[inline]
    #[allow(clippy::cast_possible_truncation)] // Taken modulo the length anyway.
    fn push_words(&self, first: u64, second: u64) {
        let number = self.written.load(Ordering::Relaxed);
        let place = 2 * (number as usize % LENGTH);
        self.words[place].store(first, Ordering::Relaxed);
        self.words[place + 1].store(second, Ordering::Relaxed);
        self.written.store(number + 1, Ordering::Release);
    }

    /// Events so far.
    pub(super) fn written(&self) -> u64 {
        self.written.load(Ordering::Acquire)
    }

    /// Events whose places were taken by later ones.
    pub(super) fn lost(&self) -> u64 {
        self.written().saturating_sub(LENGTH as u64)
    }

    /// What is on the tape, in order.
    ///
    /// The loop's thread may still write what it was about to when the recording ended: what it may
    /// have overwritten meanwhile is left out.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn events(&self) -> Vec<Event> {
        let end = self.written();
        let begin = end.saturating_sub(LENGTH as u64);
        let events: Vec<_> = (begin..end)
            .map(|number| {
                let place = 2 * (number as usize % LENGTH);
                let word = self.words[place].load(Ordering::Relaxed);
                let kind = kind(word, self.words[place + 1].load(Ordering::Relaxed));
                let at = match kind {
                    Kind::Numbered(..) | Kind::Given(..) => 0,
                    _ => word >> 8,
                };
                Event { at, kind }
            })
            .collect();
        // One more than were written: the next may be half done.
        let overwritten = (self.written() + 1).saturating_sub(LENGTH as u64);
        let lost = overwritten.saturating_sub(begin).min(events.len() as u64);
        let mut events = events;
        events.drain(..lost as usize);
        events
    }

    pub(super) fn text_of(&self, text: Reason) -> Arc<str> {
        let names = self.names();
        let found = names.texts.get(text.0 as usize);
        Arc::clone(found.unwrap_or(&names.texts[0]))
    }

    /// What the lanes of these events are called.
    pub(super) fn lane_names(&self, events: &[Event]) -> HashMap<Lane, LaneName> {
        let mut lanes = HashMap::new();
        for event in events {
            let (lane, name, coroutine) = match event.kind {
                Kind::Numbered(lane, number, coroutine) => {
                    (lane, TaskName::Number(number), coroutine)
                }
                Kind::Given(lane, index, coroutine) => match self.given_name(index) {
                    Some(name) => (lane, TaskName::Given(name), coroutine),
                    None => continue,
                },
                _ => continue,
            };
            let coroutine = self.text_of(coroutine);
            lanes.insert(lane, LaneName { name, coroutine });
        }
        lanes
    }

    fn given_name(&self, index: u64) -> Option<Box<str>> {
        let names = self.names();
        let place = usize::try_from(index.checked_sub(names.given_up)?).ok()?;
        names.given.get(place).map(|(_, name)| name.clone())
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        // A panic elsewhere leaves a table behind that is whole.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[allow(clippy::cast_possible_truncation)] // The lower half is wanted.
fn kind(first: u64, second: u64) -> Kind {
    let operand = second as u32;
    let coroutine = Reason((second >> 32) as u32);
    match first & 0xff {
        0 => Kind::Poll,
        1 => Kind::Turn,
        2 => Kind::Stop,
        3 => Kind::Step(Lane(operand)),
        4 => Kind::Call(Reason(operand)),
        5 => Kind::Waits(Reason(operand)),
        6 => Kind::Ended,
        7 => Kind::Woke(Lane(operand)),
        8 => Kind::Numbered(Lane(operand), first >> 8, coroutine),
        _ => Kind::Given(Lane(operand), first >> 8, coroutine),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tape() -> Tape {
        Tape::new(1, now_ns())
    }

    #[test]
    fn what_was_written_is_read_in_order() {
        let tape = tape();
        let lane = Lane::of(7);
        let (lock, work) = (tape.text("lock"), tape.text("work"));
        tape.turn(now_ns());
        tape.name(lane, TaskName::Given("seven".into()), work);
        tape.name(Lane::of(8), TaskName::Number(108), work);
        tape.step(lane);
        tape.waits(lock);
        tape.woke(Lane::of(8));
        tape.poll(now_ns());
        tape.ended();
        tape.stop();
        let kinds: Vec<_> = tape.events().iter().map(|event| event.kind).collect();
        assert_eq!(
            kinds,
            [
                Kind::Turn,
                Kind::Given(lane, 0, work),
                Kind::Numbered(Lane::of(8), 108, work),
                Kind::Step(lane),
                Kind::Waits(lock),
                Kind::Woke(Lane::of(8)),
                Kind::Poll,
                Kind::Ended,
                Kind::Stop
            ]
        );
        assert_eq!(&*tape.text_of(lock), "lock");
        let names = tape.lane_names(&tape.events());
        let named = |name| LaneName {
            name,
            coroutine: "work".into(),
        };
        assert_eq!(names[&lane], named(TaskName::Given("seven".into())));
        assert_eq!(names[&Lane::of(8)], named(TaskName::Number(108)));
        let timed: Vec<_> = tape
            .events()
            .iter()
            .map(|event| event.at)
            .filter(|at| *at > 0)
            .collect();
        assert!(timed.is_sorted());
    }

    #[test]
    fn the_earliest_events_make_room() {
        let tape = tape();
        for number in 0..LENGTH as u64 + 10 {
            tape.woke(Lane::of(number));
        }
        let events = tape.events();
        // One place may be just being written, as far as a reader knows.
        assert_eq!(events.len(), LENGTH - 1);
        assert_eq!(events[0].kind, Kind::Woke(Lane::of(11)));
        assert_eq!(tape.lost(), 10);
    }

    #[test]
    fn names_are_given_up_with_their_events() {
        let tape = tape();
        let work = tape.text("work");
        for task in 0..2 * LENGTH as u64 {
            tape.name(
                Lane::of(task),
                TaskName::Given(task.to_string().into()),
                work,
            );
        }
        assert!(tape.names().given.len() <= LENGTH + 1);
        let events = tape.events();
        let names = tape.lane_names(&events);
        assert_eq!(names.len(), events.len());
        let last = Lane::of(2 * LENGTH as u64 - 1);
        let name = (2 * LENGTH - 1).to_string();
        assert_eq!(names[&last].name, TaskName::Given(name.into()));
        assert!(!names.contains_key(&Lane::of(1)));
    }

    #[test]
    fn epochs_are_shorter_than_the_tape() {
        let tape = tape();
        assert_eq!(tape.epoch(), 0);
        for _ in 0..LENGTH {
            tape.woke(Lane::of(1));
        }
        assert_eq!(tape.epoch(), LENGTH as u64 / EPOCH);
    }

    #[test]
    fn there_is_an_end_to_texts() {
        let tape = tape();
        let last = (0..MOST_TEXTS)
            .map(|number| tape.text(&number.to_string()))
            .last();
        assert_eq!(last.map(|text| tape.text_of(text)).as_deref(), Some("…"));
    }
}
