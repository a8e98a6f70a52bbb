//! A tape as Chrome trace events, the format that Perfetto and chrome://tracing read.
//!
//! Lanes are threads to the format. Each loop has one for itself (waits for events, callbacks), and
//! each task one: its steps, and between them why it waits or that it is ready. A step that puts a
//! task into the ready queue is joined by an arrow (a flow) to the step that it led to. That happened
//! at some moment of the step: the arrow begins in its middle.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use serde::Serialize;

use super::tape::{Kind, Lane, LaneName, Reason, Tape};
use crate::clock::seconds;
use crate::snapshot::{Loop, Snapshot};
use crate::view::words;
use crate::watchdog::Report;

/// A step that takes longer is marked as a block.
const BLOCK: u64 = 100_000_000;

/// What a loop does between two turns is shown if it takes longer.
const LONG_TURN: u64 = 10_000;

/// Lane numbers of loops begin here, above those of tasks. (The format has 32 bits, some readers 31.)
const LOOPS: u64 = 1 << 30;

/// One event of the file.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct TraceEvent {
    /// What it is called.
    pub name: Cow<'static, str>,
    /// "step", "call", "turn", "poll", "wait", "ready", "wake", "block", "watchdog".
    #[serde(skip_serializing_if = "str::is_empty")]
    pub cat: &'static str,
    /// Its kind: "X" a slice, "s" and "f" a flow's ends, "i" an instant, "M" a name.
    pub ph: &'static str,
    /// Microseconds since the recording's start.
    pub ts: f64,
    /// Microseconds that it lasted.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dur: Option<f64>,
    /// The process.
    pub pid: u32,
    /// The lane.
    pub tid: u64,
    /// Which flow.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<u64>,
    /// "e": a flow ends at the slice around it, not at the next one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bp: Option<&'static str>,
    /// How far an instant is seen: "p", in the whole process.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub s: Option<&'static str>,
    /// More about it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub args: BTreeMap<&'static str, serde_json::Value>,
}

/// The event that names the process.
pub(super) fn write_process<E>(
    snapshot: &Snapshot,
    take: &mut impl FnMut(TraceEvent) -> Result<(), E>,
) -> Result<(), E> {
    let name = words::command(&snapshot.command);
    take(named("process_name", snapshot.process, 0, name.into()))
}

/// The events of a loop. `snapshot` is of the recording's end and has its loop, if that still
/// exists.
pub(super) fn write_loop<E>(
    tape: &Tape,
    its_loop: Option<&Loop>,
    snapshot: &Snapshot,
    duration: u64,
    take: &mut impl FnMut(TraceEvent) -> Result<(), E>,
) -> Result<(), E> {
    let events = tape.events();
    let mut writer = Writer {
        tape,
        names: tape.lane_names(&events),
        process: snapshot.process,
        loop_lane: LOOPS + tape.number(),
        begun: None,
        lanes: BTreeMap::new(),
        flows: tape.number() << 32,
        take,
    };
    writer.name_loop(its_loop)?;
    let mut last = 0;
    for event in events {
        // What came after the end was begun before it was known.
        last = event.at.clamp(last, duration.max(last));
        writer.event(last, event.kind)?;
    }
    writer.finish(duration.max(last), its_loop, snapshot)
}

/// What was begun last and goes on.
struct Begun {
    at: u64,
    what: What,
    /// The tasks that it has put into the ready queue.
    woken: Vec<Lane>,
    /// How its task goes on, for a step.
    next: Next,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum What {
    Poll,
    Turn,
    Step(Lane),
    Call(Reason),
}

#[derive(Clone, Copy)]
enum Next {
    Ready,
    Waits(Reason),
    Ended,
}

/// What a task is at between two steps.
enum State {
    /// It stands in the ready queue; with the flow that ends at its step.
    Ready {
        since: u64,
        flow: Option<u64>,
    },
    Waits {
        since: u64,
        reason: Reason,
    },
    /// Its step is being made, or it has ended.
    Busy,
}

struct Writer<'a, F> {
    tape: &'a Tape,
    names: HashMap<Lane, LaneName>,
    process: u32,
    loop_lane: u64,
    begun: Option<Begun>,
    /// The tasks that were met.
    lanes: BTreeMap<Lane, State>,
    /// Number of the last flow.
    flows: u64,
    take: &'a mut F,
}

impl<E, F: FnMut(TraceEvent) -> Result<(), E>> Writer<'_, F> {
    fn event(&mut self, at: u64, kind: Kind) -> Result<(), E> {
        match kind {
            Kind::Poll => self.begin(at, Some(What::Poll)),
            Kind::Turn => self.begin(at, Some(What::Turn)),
            Kind::Stop => self.begin(at, None),
            Kind::Step(lane) => self.begin(at, Some(What::Step(lane))),
            Kind::Call(name) => self.begin(at, Some(What::Call(name))),
            Kind::Waits(reason) => {
                self.note(|begun| begun.next = Next::Waits(reason));
                Ok(())
            }
            Kind::Ended => {
                self.note(|begun| begun.next = Next::Ended);
                Ok(())
            }
            Kind::Woke(lane) => {
                self.note(|begun| begun.woken.push(lane));
                Ok(())
            }
            Kind::Numbered(..) | Kind::Given(..) => Ok(()),
        }
    }

    /// The first events of a tape may belong to what was begun before.
    fn note(&mut self, change: impl FnOnce(&mut Begun)) {
        if let Some(begun) = &mut self.begun {
            change(begun);
        }
    }

    fn begin(&mut self, at: u64, what: Option<What>) -> Result<(), E> {
        if let Some(begun) = self.begun.take() {
            self.end(begun, at)?;
        }
        if let Some(What::Step(lane)) = what {
            self.begin_step(lane, at)?;
        }
        self.begun = what.map(|what| Begun {
            at,
            what,
            woken: Vec::new(),
            next: Next::Ready,
        });
        Ok(())
    }

    /// What the task was at until its step began.
    fn begin_step(&mut self, lane: Lane, at: u64) -> Result<(), E> {
        let Some(state) = self.lanes.insert(lane, State::Busy) else {
            return self.name_lane(lane);
        };
        match state {
            State::Ready { since, flow } => {
                self.between(lane, "ready", "ready".into(), since, at)?;
                match flow {
                    Some(flow) => self.flow(flow, "f", u64::from(lane.number()), at),
                    None => Ok(()),
                }
            }
            State::Waits { since, reason } => self.wait(lane, reason, since, at),
            State::Busy => Ok(()),
        }
    }

    /// What was begun has come to its end.
    fn end(&mut self, begun: Begun, at: u64) -> Result<(), E> {
        let lane = match begun.what {
            What::Step(lane) => u64::from(lane.number()),
            _ => self.loop_lane,
        };
        let (cat, name): (_, Cow<'static, str>) = match begun.what {
            What::Poll => ("poll", "waits for events".into()),
            What::Turn => ("turn", "turn".into()),
            What::Call(name) => ("call", shared(&self.tape.text_of(name))),
            What::Step(_) => ("step", "step".into()),
        };
        let took = at - begun.at;
        if took >= BLOCK && begun.what != What::Poll {
            let name = format!("blocked for {}", words::duration(seconds(took)));
            let mut block = self.plain("block", "i", name.into(), lane, begun.at);
            block.s = Some("p");
            (self.take)(block)?;
        }
        // What is done between turns is worth a slice only if it takes long or wakes somebody.
        if begun.what != What::Turn || took > LONG_TURN || !begun.woken.is_empty() {
            self.slice(cat, name, lane, begun.at, at)?;
        }
        // What it waited for was there already: it stands in the queue.
        let has_woken_itself = |step: Lane| begun.woken.contains(&step);
        if let What::Step(step) = begun.what {
            let next = match begun.next {
                Next::Waits(_) if has_woken_itself(step) => Next::Ready,
                next => next,
            };
            self.go_on(step, next, at);
        }
        for woken in begun.woken {
            self.wake(woken, lane, begun.at.midpoint(at), at)?;
        }
        Ok(())
    }

    fn go_on(&mut self, lane: Lane, next: Next, at: u64) {
        let state = match next {
            // Lanes that tasks share show steps alone.
            _ if lane == Lane::OTHERS => State::Busy,
            Next::Ended => State::Busy,
            Next::Waits(reason) => State::Waits { since: at, reason },
            Next::Ready => State::Ready {
                since: at,
                flow: None,
            },
        };
        self.lanes.insert(lane, state);
    }

    /// The arrow's beginning, and the end of the wait.
    fn wake(&mut self, woken: Lane, by: u64, moment: u64, at: u64) -> Result<(), E> {
        if woken == Lane::OTHERS || u64::from(woken.number()) == by {
            return Ok(());
        }
        self.flows += 1;
        let flow = self.flows;
        let ready = State::Ready {
            since: at,
            flow: Some(flow),
        };
        match self.lanes.insert(woken, ready) {
            Some(State::Waits { since, reason }) => self.wait(woken, reason, since, at)?,
            // Its step failed to begin, or the event that says why it waited is lost.
            Some(State::Ready { .. } | State::Busy) => {}
            None => self.name_lane(woken)?,
        }
        self.flow(flow, "s", by, moment)
    }

    /// Ends what goes on, and says of every task that waits why it does.
    fn finish(&mut self, at: u64, its_loop: Option<&Loop>, snapshot: &Snapshot) -> Result<(), E> {
        self.begin(at, None)?;
        for (lane, state) in std::mem::take(&mut self.lanes) {
            match state {
                State::Ready { since, .. } => {
                    self.between(lane, "ready", "ready".into(), since, at)?
                }
                State::Waits { since, reason } => self.wait(lane, reason, since, at)?,
                State::Busy => continue,
            }
            self.lanes.insert(lane, State::Busy);
        }
        for task in its_loop.map_or(&[][..], |l| &l.tasks) {
            let lane = Lane::of(task.id);
            // Those that were met have said it.
            if let Some(wait) = task
                .wait
                .as_ref()
                .filter(|_| !self.lanes.contains_key(&lane))
            {
                let name = format!("{}: {}", words::plain(&task.name), task.coroutine);
                self.name(u64::from(lane.number()), name)?;
                let text = words::wait(wait, snapshot);
                self.between(lane, "wait", text.into(), 0, at)?;
            }
        }
        Ok(())
    }

    fn wait(&mut self, lane: Lane, reason: Reason, since: u64, at: u64) -> Result<(), E> {
        let text = shared(&self.tape.text_of(reason));
        self.between(lane, "wait", text, since, at)
    }

    fn between(
        &mut self,
        lane: Lane,
        cat: &'static str,
        name: Cow<'static, str>,
        since: u64,
        at: u64,
    ) -> Result<(), E> {
        if at <= since {
            return Ok(());
        }
        self.slice(cat, name, lane.number().into(), since, at)
    }

    fn slice(
        &mut self,
        cat: &'static str,
        name: Cow<'static, str>,
        lane: u64,
        since: u64,
        at: u64,
    ) -> Result<(), E> {
        let mut slice = self.plain(cat, "X", name, lane, since);
        slice.dur = Some(microseconds(at - since));
        (self.take)(slice)
    }

    fn flow(&mut self, flow: u64, end: &'static str, lane: u64, at: u64) -> Result<(), E> {
        let mut event = self.plain("wake", end, "wake".into(), lane, at);
        event.id = Some(flow);
        event.bp = (end == "f").then_some("e");
        (self.take)(event)
    }

    fn plain(
        &self,
        cat: &'static str,
        ph: &'static str,
        name: Cow<'static, str>,
        lane: u64,
        at: u64,
    ) -> TraceEvent {
        TraceEvent {
            name,
            cat,
            ph,
            ts: microseconds(at),
            dur: None,
            pid: self.process,
            tid: lane,
            id: None,
            bp: None,
            s: None,
            args: BTreeMap::new(),
        }
    }

    fn name_loop(&mut self, its_loop: Option<&Loop>) -> Result<(), E> {
        let mut name = format!("loop {}", self.tape.number());
        if let Some(thread) = its_loop.and_then(|l| l.thread) {
            name = format!("{name} (thread {thread})");
        }
        self.name(self.loop_lane, name)?;
        // Above the tasks.
        let mut order = named("thread_sort_index", self.process, self.loop_lane, 0.into());
        order.args = BTreeMap::from([("sort_index", (-1).into())]);
        (self.take)(order)
    }

    fn name_lane(&mut self, lane: Lane) -> Result<(), E> {
        let text = match self.names.get(&lane) {
            _ if lane == Lane::OTHERS => "more tasks".to_owned(),
            Some(name) => {
                let of = name.name.to_string();
                format!("{}: {}", words::plain(&of), name.coroutine)
            }
            None => format!("task {}", lane.number()),
        };
        self.name(lane.number().into(), text)
    }

    fn name(&mut self, lane: u64, name: String) -> Result<(), E> {
        (self.take)(named("thread_name", self.process, lane, name.into()))
    }
}

/// What the watchdog says of a block, on the loop's lane. `since` is when it began to be one, in
/// seconds since the recording's start.
pub(super) fn block(report: &Report, snapshot: &Snapshot, since: f64) -> TraceEvent {
    TraceEvent {
        name: Cow::Owned(words::plain(&report.message).into_owned()),
        cat: "watchdog",
        ph: "i",
        ts: since.max(0.0) * 1e6,
        dur: None,
        pid: snapshot.process,
        tid: LOOPS + report.event_loop,
        id: None,
        bp: None,
        s: Some("p"),
        args: BTreeMap::new(),
    }
}

fn named(what: &'static str, process: u32, lane: u64, name: serde_json::Value) -> TraceEvent {
    TraceEvent {
        name: what.into(),
        cat: "",
        ph: "M",
        ts: 0.0,
        dur: None,
        pid: process,
        tid: lane,
        id: None,
        bp: None,
        s: None,
        args: BTreeMap::from([("name", name)]),
    }
}

fn shared(text: &Arc<str>) -> Cow<'static, str> {
    Cow::Owned(words::plain(text).into_owned())
}

#[allow(clippy::cast_precision_loss)] // Of a minute.
fn microseconds(nanos: u64) -> f64 {
    nanos as f64 / 1e3
}
