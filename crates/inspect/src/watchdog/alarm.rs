//! What is said of one block: first, again and again later, and once when it is over.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use super::desk::Desk;
use super::eyes::{Culprit, Eyes};
use super::report::{Holder, Report, TurnSeen};
use super::span::Span;
use super::tally::Words;
use crate::python::Cause;
use crate::snapshot::Site;

/// From a span's beginning to its end.
#[derive(Debug)]
pub(super) struct Alarm {
    /// The age at which the next thing is said: the threshold, twice that, four times …
    due: Duration,
    /// The watchdog's own delay when the span began.
    own_delay: Duration,
    was_descheduled: bool,
    block: Option<Block>,
}

/// A block that something was said of.
#[derive(Debug)]
struct Block {
    words: Words,
    last: Arc<Report>,
    /// The age up to which its time was counted.
    counted: Duration,
    /// Where its time was spent.
    portions: Vec<Portion>,
}

#[derive(Debug)]
struct Portion {
    site: Option<Site>,
    time: Duration,
}

/// What became of a span.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    /// It was short.
    Quiet,
    /// It would have been a block, but others had the processors.
    Descheduled,
    /// It was a block, and that it is over was said.
    Told,
}

/// What was seen of a block.
#[derive(Debug)]
pub(super) struct Finding {
    /// The place that is named.
    pub(super) site: Option<Site>,
    /// The innermost first.
    pub(super) frames: Vec<Site>,
    pub(super) cause: Cause,
    pub(super) culprit: Culprit,
    pub(super) turn: Option<TurnSeen>,
}

/// Where it was seen.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) event_loop: u64,
    pub(super) thread: u32,
    pub(super) threshold: Duration,
}

impl Alarm {
    pub(super) fn new(threshold: Duration, own_delay: Duration) -> Alarm {
        Alarm {
            due: threshold,
            own_delay,
            was_descheduled: false,
            block: None,
        }
    }

    /// Whether something was said.
    pub(super) fn is_raised(&self) -> bool {
        self.block.is_some()
    }

    /// The time until something is to be said.
    pub(super) fn due_in(&self, span: &Span) -> Duration {
        self.due.saturating_sub(span.net())
    }

    /// Whether something is to be said within `lead`.
    pub(super) fn is_due(
        &mut self,
        span: &Span,
        lead: Duration,
        thread: u32,
        eyes: &mut dyn Eyes,
    ) -> bool {
        if span.net() + lead < self.due {
            return false;
        }
        let is_descheduled = span.is_descheduled(thread, eyes);
        self.was_descheduled |= is_descheduled;
        !is_descheduled
    }

    /// Says what was seen.
    pub(super) fn raise(
        &mut self,
        span: &Span,
        finding: Finding,
        place: Place,
        eyes: &mut dyn Eyes,
        desk: &Desk,
    ) {
        let now = eyes.now();
        let age = now.saturating_sub(span.began);
        while self.due <= span.net() {
            self.due *= 2;
        }
        let Finding {
            site,
            frames: mut stack,
            cause,
            culprit,
            turn,
        } = finding;
        let (id, number, words, unreported) = match &self.block {
            Some(block) => (block.last.block, block.last.number + 1, block.words, 0),
            None => {
                let (id, words, unreported) = desk.open(site.as_ref(), &cause, now);
                (id, 1, words, unreported)
            }
        };
        stack.reverse();
        let mut report = Report {
            message: String::new(),
            process: std::process::id(),
            block: id,
            number,
            over: false,
            event_loop: place.event_loop,
            thread: place.thread,
            seconds: age.as_secs_f64(),
            threshold: place.threshold.as_secs_f64(),
            holder: Holder::of(&cause),
            cause,
            source: site.as_ref().and_then(|site| eyes.source_line(site)),
            site,
            culprit,
            turn,
            stack_source: stack.iter().map(|site| eyes.source_line(site)).collect(),
            stack,
            began_at: span.began.as_secs_f64(),
            detected_at: now.as_secs_f64(),
            time: unix_time(),
            watchdog_delay: self.missed(eyes),
            unreported,
        };
        report.message = report.first_line();
        let last = desk.file(report, words);
        let block = self.block.get_or_insert_with(|| Block {
            words,
            last: Arc::clone(&last),
            counted: Duration::ZERO,
            portions: Vec::new(),
        });
        block.last = last;
        block.count(age, now, desk);
    }

    /// The span has come to its end.
    pub(super) fn end(&mut self, span: &Span, eyes: &mut dyn Eyes, desk: &Desk) -> End {
        let Some(mut block) = self.block.take() else {
            return if self.was_descheduled {
                End::Descheduled
            } else {
                End::Quiet
            };
        };
        let now = eyes.now();
        block.count(span.elapsed(), now, desk);
        let most = block.portions.iter().max_by_key(|portion| portion.time);
        let mut report = Report::clone(&block.last);
        report.site = most.and_then(|portion| portion.site.clone());
        report.source = report.site.as_ref().and_then(|site| eyes.source_line(site));
        report.number += 1;
        report.over = true;
        report.seconds = block.counted.as_secs_f64();
        report.detected_at = now.as_secs_f64();
        report.time = unix_time();
        report.watchdog_delay = self.missed(eyes);
        report.unreported = 0;
        report.message = report.first_line();
        desk.file(report, block.words);
        End::Told
    }

    /// How many seconds the watchdog could have run and did not.
    fn missed(&self, eyes: &mut dyn Eyes) -> f64 {
        eyes.own_delay()
            .saturating_sub(self.own_delay)
            .as_secs_f64()
    }
}

impl Block {
    /// Counts its time up to an age, for the place of its last report.
    fn count(&mut self, age: Duration, now: Duration, desk: &Desk) {
        let more = age.saturating_sub(self.counted);
        self.counted = self.counted.max(age);
        let (site, cause) = (&self.last.site, &self.last.cause);
        let known = self
            .portions
            .iter_mut()
            .find(|portion| portion.site == *site);
        if let Some(portion) = known {
            desk.add(site.as_ref(), cause, now, Some(portion.time), more);
            portion.time += more;
        } else {
            desk.add(site.as_ref(), cause, now, None, more);
            self.portions.push(Portion {
                site: site.clone(),
                time: more,
            });
        }
    }
}

/// `time.time()`.
fn unix_time() -> f64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs_f64()
}
