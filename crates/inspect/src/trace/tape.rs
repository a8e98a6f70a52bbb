//! A loop's own record of what it does: a ring of events, and the names for them.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::now_ns;

/// Events that a tape holds (16 bytes each).
const LENGTH: usize = 1 << 18;

/// Texts that a tape holds; further ones are all "…".
const MOST_TEXTS: usize = 1 << 14;

/// Tasks that a tape has names for; further ones share a lane.
const MOST_LANES: usize = 1 << 16;

/// The lane of a task, which is its number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Lane(u32);

impl Lane {
    /// Tasks for which there are too many.
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
    pub(super) coroutine: &'static str,
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
}

/// Written by the thread that runs the loop, read by another when the recording is over.
#[derive(Debug)]
pub struct Tape {
    /// The loop's.
    number: u64,
    /// The moment that times are counted from.
    started: u64,
    /// Two words an event: moment and kind, operand.
    words: Box<[AtomicU64]>,
    /// Events written so far.
    written: AtomicU64,
    names: Mutex<Names>,
}

#[derive(Debug, Default)]
struct Names {
    texts: Vec<Arc<str>>,
    lanes: HashMap<Lane, LaneName, BuildHasherDefault<Neighbours>>,
    /// Lanes whose tasks have ended, with the number of the event that says so.
    ended: VecDeque<(u64, Lane)>,
}

/// Hashes numbers that are given one after the other so that neighbours stay neighbours: a table of
/// them is walked through then, and not leapt about in, where each leap would miss the cache.
#[derive(Debug, Default)]
struct Neighbours(u64);

impl Hasher for Neighbours {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u32(u32::from(*byte));
        }
    }

    /// The table takes the place from the lowest bits, and tells by the highest seven what may be in
    /// one group of places.
    fn write_u32(&mut self, number: u32) {
        const HIGHEST: u64 = 0x7f << 57;
        let mixed = (self.0 ^ u64::from(number)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = (mixed & HIGHEST) | (u64::from(number) & !HIGHEST);
    }
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

    /// The loop begins to wait for events.
    #[inline]
    pub fn poll(&self) {
        self.push(self.moment(), 0, 0);
    }

    /// The wait is over, or a turn has come to its end.
    #[inline]
    pub fn turn(&self) {
        self.push(self.moment(), 1, 0);
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
    pub fn ended(&self, lane: Lane) {
        let number = self.written.load(Ordering::Relaxed);
        self.push(0, 6, 0);
        self.names().ended.push_back((number, lane));
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

    /// Whether the task has a lane already.
    #[must_use]
    pub fn has_lane(&self, task: u64) -> bool {
        self.names().lanes.contains_key(&Lane::of(task))
    }

    /// The lane for a task that is met for the first time.
    #[must_use]
    pub fn lane(&self, task: u64, name: TaskName, coroutine: &'static str) -> Lane {
        let first = self.written().saturating_sub(LENGTH as u64);
        let mut names = self.names();
        while names.lanes.len() >= MOST_LANES {
            // A task that has left no trace needs no name.
            match names.ended.front() {
                Some(&(number, lane)) if number < first => {
                    names.ended.pop_front();
                    names.lanes.remove(&lane);
                }
                _ => return Lane::OTHERS,
            }
        }
        let lane = Lane::of(task);
        names.lanes.insert(lane, LaneName { name, coroutine });
        lane
    }

    #[inline]
    fn moment(&self) -> u64 {
        now_ns() - self.started
    }

    /// The times of a minute fit into the upper 56 bits.
    #[inline]
    #[allow(clippy::cast_possible_truncation)] // Taken modulo the length anyway.
    fn push(&self, at: u64, code: u64, operand: u32) {
        let number = self.written.load(Ordering::Relaxed);
        let place = 2 * (number as usize % LENGTH);
        self.words[place].store(at << 8 | code, Ordering::Relaxed);
        self.words[place + 1].store(operand.into(), Ordering::Relaxed);
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
                let operand = self.words[place + 1].load(Ordering::Relaxed) as u32;
                Event {
                    at: word >> 8,
                    kind: kind(word & 0xff, operand),
                }
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

    pub(super) fn lane_name(&self, lane: Lane) -> Option<LaneName> {
        self.names().lanes.get(&lane).cloned()
    }

    fn names(&self) -> MutexGuard<'_, Names> {
        // A panic elsewhere leaves a table behind that is whole.
        self.names.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn kind(code: u64, operand: u32) -> Kind {
    match code {
        0 => Kind::Poll,
        1 => Kind::Turn,
        2 => Kind::Stop,
        3 => Kind::Step(Lane(operand)),
        4 => Kind::Call(Reason(operand)),
        5 => Kind::Waits(Reason(operand)),
        6 => Kind::Ended,
        _ => Kind::Woke(Lane(operand)),
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
        let lane = tape.lane(7, TaskName::Given("seven".into()), "work");
        let lock = tape.text("lock");
        tape.turn();
        tape.step(lane);
        tape.waits(lock);
        tape.woke(Lane::of(8));
        tape.poll();
        tape.ended(lane);
        tape.stop();
        let kinds: Vec<_> = tape.events().iter().map(|event| event.kind).collect();
        assert_eq!(
            kinds,
            [
                Kind::Turn,
                Kind::Step(lane),
                Kind::Waits(lock),
                Kind::Woke(Lane::of(8)),
                Kind::Poll,
                Kind::Ended,
                Kind::Stop
            ]
        );
        assert_eq!(&*tape.text_of(lock), "lock");
        assert_eq!(
            tape.lane_name(lane).map(|name| name.name),
            Some(TaskName::Given("seven".into()))
        );
        let timed: Vec<_> = tape
            .events()
            .iter()
            .map(|event| event.at)
            .filter(|at| *at > 0)
            .collect();
        assert!(timed.is_sorted());
    }

    #[test]
    fn neighbours_are_told_apart_by_the_highest_bits() {
        let hash = |number: u32| {
            let mut hasher = Neighbours::default();
            hasher.write_u32(number);
            hasher.finish()
        };
        let low = |number| hash(number) & 0xffff_ffff;
        assert!((0..1000).all(|number| low(number) == u64::from(number)));
        let tags: std::collections::HashSet<_> =
            (0..1000).map(|number| hash(number) >> 57).collect();
        assert!(tags.len() > 100, "{}", tags.len());
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
    fn names_are_given_up_with_the_events_that_need_them() {
        let tape = tape();
        for task in 1..=MOST_LANES as u64 {
            let lane = tape.lane(task, TaskName::Number(task), "f");
            assert_eq!(lane, Lane::of(task));
            tape.ended(lane);
        }
        assert_eq!(tape.lane(70_000, TaskName::Number(1), "f"), Lane::OTHERS);
        for _ in 0..LENGTH {
            tape.woke(Lane::of(1));
        }
        assert_eq!(
            tape.lane(70_001, TaskName::Number(1), "f"),
            Lane::of(70_001)
        );
        assert_eq!(tape.lane_name(Lane::of(1)), None);
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
