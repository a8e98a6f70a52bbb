//! What the loop writes on a tape while `ferrio trace` records: see `ferrio_inspect::trace`.
//!
//! An entry is written down as it begins; when it has run, what it has put into the ready queue,
//! and why its task waits. What a name or a reason is called is found out once, and known again by
//! the code object that it belongs to, of which a reference is kept so that its address goes on to
//! mean the same.

use std::sync::Arc;

use ferrio_inspect::CoroutineRecord;
use ferrio_inspect::snapshot::WaitKind;
use ferrio_inspect::trace::{Lane, Reason, Tape, TaskName, TraceSwitch};
use foldhash::{HashMap, HashMapExt, HashSet, HashSetExt};

use super::{Entry, EventLoop};
use crate::ffi::{
    Object, Outcome, Own, Spot, This, awaited_in, code_of_function, is_generator, suspended_spot,
};
use crate::imports::imports;
use crate::inspect::{reason_to_wait, told_kind};
use crate::task::Task;

/// Names and reasons that are remembered; what there is beyond is looked up each time.
const MOST: usize = 4096;

/// Tasks that are known by one look: those of which it was the last with its lowest bits to be met.
const NEAR: usize = 1 << 12;

/// Longer chains of awaits are not followed to their end.
const LONGEST: usize = 1000;

/// By what a reason is known again: the addresses of the code object and the instruction that waits,
/// and of the class of what it awaits; what that says of itself.
#[derive(PartialEq, Eq, Hash)]
struct Waiting {
    code: usize,
    instruction: usize,
    class: usize,
    kind: Option<WaitKind>,
}

/// The loop's side of a recording.
pub(super) struct Recorder {
    tape: Arc<Tape>,
    /// Which recording it is: see [`TraceSwitch::recording`].
    recording: u64,
    /// Numbers of living tasks that have a name on the tape, each at the place that its lowest bits
    /// say.
    near: Box<[u64; NEAR]>,
    /// The part of the recording that they have it in.
    epoch: u64,
    /// What coroutines are called, by the addresses of their records.
    coroutines: HashMap<usize, Reason>,
    /// Tasks that an entry has put into the ready queue and that have no name on the tape yet. Empty
    /// between entries.
    unnamed: Vec<Own<Task>>,
    reasons: HashMap<Waiting, Reason>,
    /// By the address of a function's code object.
    functions: HashMap<usize, Reason>,
    /// By the name itself.
    names: HashMap<String, Reason>,
    /// What the addresses above belong to.
    kept: Vec<Object>,
    /// The addresses of what is kept.
    is_kept: HashSet<usize>,
}

impl Recorder {
    /// For the recording that goes on.
    pub(super) fn new(switch: &TraceSwitch) -> Option<Recorder> {
        let recording = switch.recording();
        Some(Recorder {
            tape: switch.tape()?,
            recording,
            near: Box::new([0; NEAR]),
            epoch: 0,
            coroutines: HashMap::new(),
            unnamed: Vec::new(),
            reasons: HashMap::new(),
            functions: HashMap::new(),
            names: HashMap::new(),
            kept: Vec::new(),
            is_kept: HashSet::new(),
        })
    }

    pub(super) fn is_of(&self, recording: u64) -> bool {
        self.recording == recording
    }

    pub(super) fn tape(&self) -> &Tape {
        &self.tape
    }

    /// An entry begins. Gives its task, if it is one's step.
    pub(super) fn begin(&mut self, entry: &Entry) -> Option<Own<Task>> {
        let epoch = self.tape.epoch();
        if self.epoch != epoch {
            self.epoch = epoch;
            self.near.fill(0);
        }
        let task = match entry {
            Entry::Step(task) | Entry::Wake(task) => Some(task.clone()),
            Entry::Handle(handle) => handle
                .this()
                .task()
                .and_then(|task| This::<Task>::from_object(&task).map(This::own)),
            _ => None,
        };
        if let Some(task) = task {
            let lane = self.lane_of(&task);
            self.tape.step(lane);
            return Some(task);
        }
        let name = match entry {
            Entry::Handle(handle) => match handle.this().called() {
                Some(function) => self.name_of(&function),
                None => self.named("cancelled callback"),
            },
            Entry::Done { function, .. } => self.name_of(function),
            Entry::Io { .. } => self.named("transport"),
            Entry::SocketCall(_) => self.named("socket call"),
            Entry::Offloaded(_) => self.named("result of a thread"),
            Entry::Step(_) | Entry::Wake(_) => self.named("step"),
        };
        self.tape.call(name);
        None
    }

    /// An entry has run. `queued` was the length of the ready queue before.
    pub(super) fn end(&mut self, event_loop: &EventLoop, task: Option<&Own<Task>>, queued: usize) {
        // Who stands in the queue again by itself is ready, and waits for nothing.
        let mut is_ready = false;
        event_loop.core.for_each_ready_from(queued, |entry| {
            let (Entry::Step(other) | Entry::Wake(other)) = entry else {
                return;
            };
            let number = other.origin.id();
            if task.is_some_and(|task| task.address() == other.address()) {
                is_ready = true;
            } else if self.near[place(number)] == number {
                self.tape.woke(Lane::of(number));
            } else {
                // Python may have to be asked for a name, which must find the queue free.
                self.unnamed.push(other.clone());
            }
        });
        if !self.unnamed.is_empty() {
            let mut unnamed = std::mem::take(&mut self.unnamed);
            for other in unnamed.drain(..) {
                let lane = self.lane_of(&other);
                self.tape.woke(lane);
            }
            // For its memory.
            self.unnamed = unnamed;
        }
        let Some(task) = task else {
            return;
        };
        if task.this().future().is_done() {
            self.tape.ended();
        } else if !is_ready && let Some(awaited) = task.awaited() {
            let reason = self.reason_of(task, &awaited);
            self.tape.waits(reason);
        }
    }

    #[inline]
    fn lane_of(&mut self, task: &Own<Task>) -> Lane {
        let number = task.origin.id();
        if self.near[place(number)] == number {
            // Without the registry tasks have no numbers: this is the one of all others then.
            return Lane::of(number);
        }
        self.name_lane(task, number)
    }

    /// The lane of a task that has no name on the tape, as far as is known.
    fn name_lane(&mut self, task: &Own<Task>, number: u64) -> Lane {
        let name = match task.this().number_as_name() {
            Some(number) => TaskName::Number(number),
            None => {
                let name = task.this().name().and_then(|name| name.to_text());
                TaskName::Given(name.unwrap_or_else(unreadable).into())
            }
        };
        let coroutine = match task.origin.coroutine() {
            Some(record) => self.name_of_coroutine(record),
            None => self.named("?"),
        };
        let lane = Lane::of(number);
        self.tape.name(lane, name, coroutine);
        self.near[place(number)] = number;
        lane
    }

    fn name_of_coroutine(&mut self, record: &'static CoroutineRecord) -> Reason {
        let address = std::ptr::from_ref(record).addr();
        if let Some(name) = self.coroutines.get(&address) {
            return *name;
        }
        let name = self.named(record.name());
        self.coroutines.insert(address, name);
        name
    }

    /// Why a task waits: looked for in its chain of awaits when the line that waits is met for the
    /// first time.
    fn reason_of(&mut self, task: &Own<Task>, awaited: &Object) -> Reason {
        let coroutine = task.coroutine.get();
        let (spot, link) = coroutine.as_ref().map_or((None, None), innermost);
        let key = spot.as_ref().map(|spot| Waiting {
            code: spot.code.as_ptr().addr(),
            instruction: spot.instruction,
            class: link.as_ref().unwrap_or(awaited).type_ptr().addr(),
            kind: link.as_ref().and_then(told_kind),
        });
        if let Some(reason) = key.as_ref().and_then(|key| self.reasons.get(key)) {
            return *reason;
        }
        let reason = self.named(&reason_to_wait(coroutine.as_ref(), awaited));
        if let (Some(key), Some(spot)) = (key, spot)
            && self.keep(&spot.code)
        {
            self.reasons.insert(key, reason);
        }
        reason
    }

    /// What a callback is called.
    fn name_of(&mut self, callback: &Object) -> Reason {
        let code = code_of_function(callback);
        let address = code.as_ref().map(|code| code.as_ptr().addr());
        if let Some(name) = address.and_then(|address| self.functions.get(&address)) {
            return *name;
        }
        let name = self.named(&qualified_name(callback).unwrap_or_else(unreadable));
        if let Some(code) = code
            && self.keep(&code)
        {
            self.functions.insert(code.as_ptr().addr(), name);
        }
        name
    }

    fn named(&mut self, name: &str) -> Reason {
        if let Some(known) = self.names.get(name) {
            return *known;
        }
        let text = self.tape.text(name);
        if self.names.len() < MOST {
            self.names.insert(name.to_owned(), text);
        }
        text
    }

    /// Keeps an object so that its address goes on to mean it; false when there are too many.
    fn keep(&mut self, object: &Object) -> bool {
        let address = object.as_ptr().addr();
        if self.is_kept.contains(&address) {
            return true;
        }
        if self.kept.len() >= MOST {
            return false;
        }
        self.is_kept.insert(address);
        self.kept.push(object.clone());
        true
    }
}

/// Where a task's number stands among those that are near.
#[inline]
#[allow(
    clippy::cast_possible_truncation,
    reason = "the lowest bits are wanted"
)]
fn place(number: u64) -> usize {
    number as usize % NEAR
}

/// Where the innermost Python coroutine of a chain of awaits is, and what that one awaits.
fn innermost(coroutine: &Object) -> (Option<Spot>, Option<Object>) {
    let mut spot = None;
    let mut link = coroutine.clone();
    for _ in 0..LONGEST {
        if !is_generator(&link) {
            return (spot, Some(link));
        }
        spot = suspended_spot(&link).or(spot);
        match awaited_in(&link) {
            Some(next) => link = next,
            None => return (spot, None),
        }
    }
    (spot, None)
}

fn qualified_name(callback: &Object) -> Outcome<String> {
    match callback.find_attr(&imports().names.qualname)? {
        Some(name) if !name.is_none() => name.to_text(),
        _ => callback.type_name()?.to_text(),
    }
}

/// A name that cannot be read is left out of the picture; what went wrong there is nobody's.
fn unreadable<T: Default>(raised: crate::ffi::Raised) -> T {
    raised.discard();
    T::default()
}
