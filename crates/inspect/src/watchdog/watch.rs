//! The watch that is kept on one loop: when a block begins, what is said of it, when it is over.
//!
//! It looks at the heartbeat every few milliseconds. The same beat twice means that the loop was at
//! one thing in between, the same turn twice that it came on but not to its events. Neither the
//! beginning nor the end of a block is seen, only that it goes on: what is said of its length is a
//! lower bound, short of the truth by two looks at most.

use std::time::Duration;

use super::alarm::{Alarm, End, Finding, Place};
use super::desk::Desk;
use super::eyes::{Culprit, Eyes};
use super::report::TurnSeen;
use super::span::Span;
use crate::python::Cause;
use crate::snapshot::Site;
use crate::{Doing, Heartbeat, LoopRecord};

/// Looked at so often again when others had the processor at the moment of a report.
const SECOND_LOOKS: u32 = 5;

/// How long it takes to see why a thread does not come on: a look begins so much before something
/// is to be said, where that is a small part of the time.
const LEAD: Duration = Duration::from_millis(7);
const SHORTEST_WITH_LEAD: Duration = Duration::from_millis(30);

/// The watch on one loop.
#[derive(Debug)]
pub(super) struct Watch {
    event_loop: u64,
    stretch: Option<Stretch>,
    turn: Option<Turn>,
    /// The watchdog's own delay at the look before.
    own_delay: Duration,
}

/// The loop is at one thing.
#[derive(Debug)]
struct Stretch {
    beat: u64,
    span: Span,
    alarm: Alarm,
    /// What was seen, before it was time to say it.
    finding: Option<Finding>,
    second_looks: u32,
}

/// The loop is in one turn.
#[derive(Debug)]
struct Turn {
    turns: u64,
    first_beat: u64,
    span: Span,
    alarm: Alarm,
    samples: Vec<Sample>,
    count: u32,
}

/// What was seen to run in a turn, by origin.
#[derive(Debug)]
struct Sample {
    origin: Site,
    times: u32,
    /// The innermost first.
    frames: Vec<Site>,
    culprit: Culprit,
}

/// The heartbeat at one moment.
#[derive(Clone, Copy)]
struct Seen {
    beat: u64,
    doing: Doing,
    object: usize,
    turns: u64,
    thread: u32,
    thread_state: usize,
}

impl Seen {
    /// None if nobody runs the loop, or it waits.
    fn of(heartbeat: &Heartbeat) -> Option<Seen> {
        let mut beat = heartbeat.beat();
        // Many short things may be begun meanwhile; which of them is named does not matter.
        for _ in 0..10 {
            let (doing, object) = heartbeat.doing();
            let turns = heartbeat.turns();
            let thread = heartbeat.thread();
            let after = heartbeat.beat();
            if after != beat {
                beat = after;
                continue;
            }
            if matches!(doing, Doing::Nothing | Doing::Waiting) {
                return None;
            }
            let (thread, thread_state) = thread?;
            return Some(Seen {
                beat,
                doing,
                object,
                turns,
                thread,
                thread_state,
            });
        }
        let (thread, thread_state) = heartbeat.thread()?;
        Some(Seen {
            beat,
            doing: Doing::Other,
            object: 0,
            turns: heartbeat.turns(),
            thread,
            thread_state,
        })
    }
}

/// The time between looks.
pub(super) fn period(threshold: Duration) -> Duration {
    (threshold / 10).clamp(Duration::from_millis(1), Duration::from_millis(10))
}

impl Watch {
    pub(super) fn new(record: &LoopRecord) -> Watch {
        Watch {
            event_loop: record.id(),
            stretch: None,
            turn: None,
            own_delay: Duration::MAX,
        }
    }

    /// Looks at the loop; gives when to look again. The watchdog comes later than it wanted by
    /// `late`.
    pub(super) fn look(
        &mut self,
        record: &LoopRecord,
        threshold: Duration,
        late: Duration,
        eyes: &mut dyn Eyes,
        desk: &Desk,
    ) -> Duration {
        let own_delay = eyes.own_delay();
        let delay_before = std::mem::replace(&mut self.own_delay, own_delay).min(own_delay);
        let heartbeat = &record.heartbeat;
        let now = eyes.now();
        // What it waited for a processor is the watchdog's own matter, and a little late is everybody
        // now and then. More, and nobody was able to run: the process was stopped, or the machine.
        let late = late.saturating_sub(own_delay - delay_before);
        let late = if late > 2 * period(threshold) {
            late
        } else {
            Duration::ZERO
        };
        let Some(seen) = Seen::of(heartbeat) else {
            self.end(eyes, desk);
            return period(threshold);
        };
        let run_time = eyes.run_time(seen.thread);
        let begin_alarm = || Alarm::new(threshold, delay_before);

        match &mut self.stretch {
            Some(stretch) if stretch.beat == seen.beat => stretch.span.go_on(now, late, run_time),
            _ => {
                self.end_stretch(eyes, desk);
                self.stretch = Some(Stretch {
                    beat: seen.beat,
                    span: Span::begin(now, run_time),
                    alarm: begin_alarm(),
                    finding: None,
                    second_looks: 0,
                });
            }
        }
        match &mut self.turn {
            Some(turn) if turn.turns == seen.turns => turn.span.go_on(now, late, run_time),
            _ => {
                self.end_turn(eyes, desk);
                self.turn = Some(Turn {
                    turns: seen.turns,
                    first_beat: seen.beat,
                    span: Span::begin(now, run_time),
                    alarm: begin_alarm(),
                    samples: Vec::new(),
                    count: 0,
                });
            }
        }

        let place = Place {
            event_loop: self.event_loop,
            thread: seen.thread,
            threshold,
        };
        let mut next = period(threshold);
        if let Some(stretch) = &mut self.stretch {
            next = next.min(stretch.look(heartbeat, seen, place, eyes, desk));
            if stretch.alarm.is_raised() {
                self.end_turn(eyes, desk);
            } else if stretch.span.net() * 2 < threshold
                && let Some(turn) = &mut self.turn
                && turn.first_beat != seen.beat
            {
                next = next.min(turn.look(heartbeat, seen, place, eyes, desk));
            }
        }
        next.max(Duration::from_micros(500))
    }

    /// The loop has come on, or nobody watches it any more.
    pub(super) fn end(&mut self, eyes: &mut dyn Eyes, desk: &Desk) {
        self.end_stretch(eyes, desk);
        self.end_turn(eyes, desk);
    }

    fn end_stretch(&mut self, eyes: &mut dyn Eyes, desk: &Desk) {
        let Some(mut stretch) = self.stretch.take() else {
            return;
        };
        match stretch.alarm.end(&stretch.span, eyes, desk) {
            End::Quiet => {}
            End::Descheduled => {
                desk.count_descheduled();
                self.turn = None;
            }
            // What was said of the callback is not said again of its turn.
            End::Told => self.turn = None,
        }
    }

    fn end_turn(&mut self, eyes: &mut dyn Eyes, desk: &Desk) {
        if let Some(mut turn) = self.turn.take()
            && turn.alarm.end(&turn.span, eyes, desk) == End::Descheduled
        {
            desk.count_descheduled();
        }
    }
}

impl Stretch {
    fn look(
        &mut self,
        heartbeat: &Heartbeat,
        seen: Seen,
        place: Place,
        eyes: &mut dyn Eyes,
        desk: &Desk,
    ) -> Duration {
        let lead = if place.threshold < SHORTEST_WITH_LEAD {
            Duration::ZERO
        } else {
            LEAD.min(place.threshold / 10)
        };
        if self.finding.is_none() {
            if !self.alarm.is_due(&self.span, lead, seen.thread, eyes) {
                return self.alarm.due_in(&self.span).saturating_sub(lead);
            }
            let frames = eyes.frames(seen.thread, seen.thread_state);
            let culprit = culprit(seen, &frames, eyes);
            if heartbeat.beat() != seen.beat {
                // It has just ended: what was seen may be what came after it.
                return Duration::ZERO;
            }
            let mut cause = eyes.cause(seen.thread, seen.thread_state);
            if heartbeat.beat() != seen.beat {
                if self.alarm.due_in(&self.span) > Duration::ZERO {
                    return Duration::ZERO;
                }
                // It has lasted long enough, but not until it was seen why.
                cause = Cause::Unknown;
            } else if cause == Cause::Descheduled && self.second_looks < SECOND_LOOKS {
                // It is not what the time was lost with, and hides that.
                self.second_looks += 1;
                return Duration::ZERO;
            }
            self.second_looks = 0;
            self.finding = Some(Finding {
                site: frames.first().cloned(),
                frames,
                cause,
                culprit,
                turn: None,
            });
            if heartbeat.beat() == seen.beat {
                // Looking takes its time.
                self.span
                    .go_on(eyes.now(), Duration::ZERO, eyes.run_time(seen.thread));
            }
        }
        if self
            .alarm
            .is_due(&self.span, Duration::ZERO, seen.thread, eyes)
            && let Some(finding) = self.finding.take()
        {
            self.alarm.raise(&self.span, finding, place, eyes, desk);
        }
        match self.finding {
            Some(_) => self.alarm.due_in(&self.span),
            None => self.alarm.due_in(&self.span).saturating_sub(lead),
        }
    }
}

impl Turn {
    fn look(
        &mut self,
        heartbeat: &Heartbeat,
        seen: Seen,
        place: Place,
        eyes: &mut dyn Eyes,
        desk: &Desk,
    ) -> Duration {
        let often = (period(place.threshold) / 5).max(Duration::from_millis(1));
        if self.span.net() * 2 < place.threshold {
            return Duration::MAX;
        }
        self.sample(heartbeat, seen, eyes);
        if !self
            .alarm
            .is_due(&self.span, Duration::ZERO, seen.thread, eyes)
        {
            return often;
        }
        // Of all that runs meanwhile: the turn's.
        let cause = eyes.cause(seen.thread, seen.thread_state);
        if heartbeat.turns() != self.turns {
            return often;
        }
        let Some(most) = self.samples.iter().max_by_key(|sample| sample.times) else {
            return often;
        };
        let finding = Finding {
            site: Some(most.origin.clone()),
            frames: most.frames.clone(),
            cause,
            culprit: most.culprit.clone(),
            turn: Some(TurnSeen {
                callbacks: seen.beat.wrapping_sub(self.first_beat),
                samples: self.count,
                seen: most.times,
            }),
        };
        self.alarm.raise(&self.span, finding, place, eyes, desk);
        often
    }

    /// Looks at what runs now.
    fn sample(&mut self, heartbeat: &Heartbeat, seen: Seen, eyes: &mut dyn Eyes) {
        let frames = eyes.frames(seen.thread, seen.thread_state);
        let culprit = culprit(seen, &frames, eyes);
        if heartbeat.beat() != seen.beat {
            return;
        }
        self.count += 1;
        let Some(origin) = origin(&frames).cloned() else {
            return;
        };
        let known = self.samples.iter_mut().find(|sample| {
            sample.origin.function == origin.function && sample.origin.file == origin.file
        });
        if let Some(sample) = known {
            *sample = Sample {
                times: sample.times + 1,
                origin,
                frames,
                culprit,
            };
        } else {
            self.samples.push(Sample {
                times: 1,
                origin,
                frames,
                culprit,
            });
        }
    }
}

/// Whose work it is.
fn culprit(seen: Seen, frames: &[Site], eyes: &mut dyn Eyes) -> Culprit {
    let function = origin(frames).map(|site| site.function.clone());
    match seen.doing {
        Doing::Step => {
            let mut task = eyes.task(seen.object);
            if task.coroutine.is_none() {
                task.coroutine = function;
            }
            Culprit::Task(task)
        }
        Doing::Callback => Culprit::Callback { function },
        Doing::Other => Culprit::Event { function },
        Doing::Nothing | Doing::Waiting | Doing::Turn => Culprit::Loop,
    }
}

/// The outermost frame of what the loop runs: the one that it called.
fn origin(frames: &[Site]) -> Option<&Site> {
    let is_loop =
        |site: &Site| site.function.ends_with("run_forever") && site.file.ends_with("loop.py");
    match frames.iter().position(is_loop) {
        Some(position) => position.checked_sub(1).and_then(|index| frames.get(index)),
        None => frames.last(),
    }
}
