//! Where reports are made out, counted and kept.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::Serialize;

use super::report::Report;
use super::tally::{SiteBlocks, Tally, Words};
use crate::python::Cause;
use crate::snapshot::Site;

/// How many blocks are kept to be shown.
const KEPT: usize = 100;

/// What has been noticed so far.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Counters {
    /// Blocks.
    pub blocks: u64,
    /// Their time together, in seconds.
    pub seconds: f64,
    /// Stretches that were long enough to be blocks, in which others had the processors.
    pub descheduled: u64,
    /// Blocks of which nothing was written, for there were too many of one place.
    pub unreported: u64,
}

/// A report on its way out.
#[derive(Clone, Debug)]
pub(super) struct Announcement {
    pub(super) report: Arc<Report>,
    pub(super) words: Words,
}

impl Announcement {
    /// What is to be written for people to read, if anything.
    pub(super) fn text(&self) -> Option<String> {
        match self.words {
            Words::All => Some(self.report.text()),
            Words::Line => Some(self.report.short_text()),
            Words::None => None,
        }
    }
}

/// The process's blocks. Its lock is held for the moment of a change, by the watchdog or by a thread
/// that holds the interpreter.
#[derive(Debug, Default)]
pub(super) struct Desk(Mutex<Papers>);

#[derive(Debug, Default)]
struct Papers {
    tally: Tally,
    counters: Counters,
    /// The last report of each of the last blocks.
    recent: VecDeque<Arc<Report>>,
    outgoing: Vec<Announcement>,
}

impl Desk {
    pub(super) const fn new() -> Desk {
        Desk(Mutex::new(Papers {
            tally: Tally::new(),
            counters: Counters {
                blocks: 0,
                seconds: 0.0,
                descheduled: 0,
                unreported: 0,
            },
            recent: VecDeque::new(),
            outgoing: Vec::new(),
        }))
    }

    fn papers(&self) -> MutexGuard<'_, Papers> {
        // A panic elsewhere leaves counts behind, each right by itself.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A block was noticed: its number, how much is to be said of it, and how many of its place
    /// were passed over.
    pub(super) fn open(
        &self,
        site: Option<&Site>,
        cause: &Cause,
        now: Duration,
    ) -> (u64, Words, u64) {
        let mut papers = self.papers();
        papers.counters.blocks += 1;
        let (words, unreported) = papers.tally.begin(site, cause, now);
        papers.counters.unreported += u64::from(words == Words::None);
        (papers.counters.blocks, words, unreported)
    }

    /// See [`Tally::add`].
    pub(super) fn add(
        &self,
        site: Option<&Site>,
        cause: &Cause,
        now: Duration,
        before: Option<Duration>,
        more: Duration,
    ) {
        let mut papers = self.papers();
        papers.counters.seconds += more.as_secs_f64();
        papers.tally.add(site, cause, now, before, more);
    }

    /// A stretch was long, and its thread mostly kept from running.
    pub(super) fn count_descheduled(&self) {
        self.papers().counters.descheduled += 1;
    }

    /// Keeps a report, and has it sent out.
    pub(super) fn file(&self, report: Report, words: Words) -> Arc<Report> {
        let report = Arc::new(report);
        let mut papers = self.papers();
        let same = papers
            .recent
            .iter_mut()
            .rev()
            .find(|kept| kept.block == report.block);
        if let Some(kept) = same {
            *kept = Arc::clone(&report);
        } else {
            if papers.recent.len() >= KEPT {
                papers.recent.pop_front();
            }
            papers.recent.push_back(Arc::clone(&report));
        }
        papers.outgoing.push(Announcement {
            report: Arc::clone(&report),
            words,
        });
        report
    }

    /// What is to be sent out.
    pub(super) fn take_outgoing(&self) -> Vec<Announcement> {
        std::mem::take(&mut self.papers().outgoing)
    }

    pub(super) fn recent(&self) -> Vec<Arc<Report>> {
        self.papers().recent.iter().cloned().collect()
    }

    pub(super) fn sites(&self) -> Vec<SiteBlocks> {
        self.papers().tally.sites()
    }

    pub(super) fn counters(&self) -> Counters {
        self.papers().counters
    }

    /// This is the child of a fork: what was noticed was the parent's.
    pub(super) fn clear(&self) {
        *self.papers() = Papers::default();
    }
}
