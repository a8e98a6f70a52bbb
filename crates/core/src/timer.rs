//! Timers, ordered by deadline.

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use crate::Instant;

/// Below this many cancelled nodes a compaction is not worth its walk over the heap.
const COMPACTION_MINIMUM: usize = 64;

/// An empty heap keeps the memory of up to this many timers; what a burst took beyond it is given
/// back.
const KEPT_CAPACITY: usize = 1024;

/// Names one timer of one [`TimerHeap`], for [`TimerHeap::cancel`].
///
/// A key is never given out twice, so one whose timer has fired or was cancelled names nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TimerKey {
    /// The timer's number in order of insertion. It tells this timer from others that used the
    /// same slot before or after it.
    sequence: u64,
    /// Where the timer's entry is kept.
    slot: u32,
}

/// A set of entries, each with a deadline, taken out in order of deadline; equal deadlines in
/// order of insertion.
///
/// Cancelling gives the entry back at once and leaves its heap node behind, because finding the
/// node would cost a search. Such stale nodes are thrown away when they reach the top, and all
/// together when they outnumber the live ones.
#[derive(Debug)]
pub struct TimerHeap<T> {
    /// The order. May hold stale nodes: those whose slot has another sequence by now.
    nodes: BinaryHeap<Node>,
    /// The entries, at the places that keys and nodes name.
    slots: Vec<Slot<T>>,
    /// The first slot of the list of vacant ones.
    first_vacant: Option<u32>,
    /// How many slots are occupied.
    live: usize,
    /// The sequence of the next timer.
    next_sequence: u64,
}

impl<T> Default for TimerHeap<T> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T> TimerHeap<T> {
    /// A heap without timers. It allocates nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            nodes: BinaryHeap::new(),
            slots: Vec::new(),
            first_vacant: None,
            live: 0,
            next_sequence: 0,
        }
    }

    /// How many timers there are; cancelled ones do not count.
    #[inline]
    #[must_use]
    pub const fn len(&self) -> usize {
        self.live
    }

    /// Whether there are no timers.
    #[inline]
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.live == 0
    }

    /// Adds an entry with its deadline.
    ///
    /// # Panics
    ///
    /// When there are 2³² timers.
    #[inline]
    pub fn insert(&mut self, deadline: Instant, entry: T) -> TimerKey {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        let slot = self.occupy(Slot::Occupied { sequence, entry });
        self.live += 1;
        let key = TimerKey { sequence, slot };
        self.nodes.push(Node { deadline, key });
        key
    }

    /// Takes a timer out before its time. `None` when it has fired or was cancelled before.
    #[inline]
    pub fn cancel(&mut self, key: TimerKey) -> Option<T> {
        let entry = self.vacate(key)?;
        if self.live == 0 {
            self.forget_all();
        } else if self.stale() >= COMPACTION_MINIMUM && self.stale() > self.live {
            self.compact();
        }
        Some(entry)
    }

    /// Whether the timer has neither fired nor been cancelled.
    #[must_use]
    pub fn contains(&self, key: TimerKey) -> bool {
        self.slots
            .get(key.slot as usize)
            .is_some_and(|slot| slot.is_of(key))
    }

    /// The earliest deadline.
    #[inline]
    pub fn next_deadline(&mut self) -> Option<Instant> {
        if self.live == 0 {
            return None;
        }
        self.drop_stale_top();
        self.nodes.peek().map(|node| node.deadline)
    }

    /// Takes out the earliest timer if its deadline is `now` or before.
    #[inline]
    pub fn pop_due(&mut self, now: Instant) -> Option<T> {
        if self.next_deadline()? > now {
            return None;
        }
        let node = self.nodes.pop()?;
        let entry = self.vacate(node.key);
        if self.live == 0 {
            self.forget_all();
        }
        entry
    }

    /// Takes out every entry, in no particular order.
    pub fn take_all(&mut self) -> Vec<T> {
        self.nodes = BinaryHeap::new();
        self.first_vacant = None;
        self.live = 0;
        std::mem::take(&mut self.slots)
            .into_iter()
            .filter_map(Slot::into_entry)
            .collect()
    }

    /// Shows every entry, in no particular order. Allocates nothing.
    pub fn for_each(&self, mut visit: impl FnMut(&T)) {
        for slot in &self.slots {
            if let Slot::Occupied { entry, .. } = slot {
                visit(entry);
            }
        }
    }

    /// How many heap nodes belong to cancelled timers. They cost memory until they reach the top
    /// or a compaction removes them.
    #[must_use]
    pub fn stale(&self) -> usize {
        self.nodes.len() - self.live
    }

    fn occupy(&mut self, occupied: Slot<T>) -> u32 {
        if let Some(index) = self.first_vacant {
            let slot = &mut self.slots[index as usize];
            let previous = std::mem::replace(slot, occupied);
            self.first_vacant = previous.next_vacant();
            return index;
        }
        let index = u32::try_from(self.slots.len()).expect("fewer than 2^32 timers at a time");
        self.slots.push(occupied);
        index
    }

    fn vacate(&mut self, key: TimerKey) -> Option<T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        if !slot.is_of(key) {
            return None;
        }
        let vacant = Slot::Vacant {
            next: self.first_vacant,
        };
        let entry = std::mem::replace(slot, vacant).into_entry();
        self.first_vacant = Some(key.slot);
        self.live -= 1;
        entry
    }

    fn drop_stale_top(&mut self) {
        while let Some(node) = self.nodes.peek() {
            if self.slots[node.key.slot as usize].is_of(node.key) {
                return;
            }
            self.nodes.pop();
        }
    }

    #[cold]
    fn compact(&mut self) {
        let slots = &self.slots;
        self.nodes
            .retain(|node| slots[node.key.slot as usize].is_of(node.key));
    }

    /// With no live timer every node is stale and every slot vacant.
    #[inline]
    fn forget_all(&mut self) {
        debug_assert_eq!(self.live, 0);
        self.nodes.clear();
        if self.slots.capacity() > KEPT_CAPACITY {
            self.nodes = BinaryHeap::new();
            self.slots = Vec::new();
            self.first_vacant = None;
        }
    }
}

/// A place for an entry.
#[derive(Debug)]
enum Slot<T> {
    /// Free; the next free slot, if any, follows in the list.
    Vacant { next: Option<u32> },
    /// Holds the entry of the timer with this sequence.
    Occupied { sequence: u64, entry: T },
}

impl<T> Slot<T> {
    #[inline]
    fn is_of(&self, key: TimerKey) -> bool {
        matches!(self, Self::Occupied { sequence, .. } if *sequence == key.sequence)
    }

    #[inline]
    fn into_entry(self) -> Option<T> {
        match self {
            Self::Occupied { entry, .. } => Some(entry),
            Self::Vacant { .. } => None,
        }
    }

    #[inline]
    fn next_vacant(&self) -> Option<u32> {
        match self {
            Self::Vacant { next } => *next,
            Self::Occupied { .. } => None,
        }
    }
}

/// A timer's place in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    deadline: Instant,
    key: TimerKey,
}

impl Ord for Node {
    /// Reversed, because [`BinaryHeap`] has its greatest element on top.
    #[inline]
    fn cmp(&self, other: &Self) -> Ordering {
        (other.deadline, other.key.sequence).cmp(&(self.deadline, self.key.sequence))
    }
}

impl PartialOrd for Node {
    #[inline]
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}
