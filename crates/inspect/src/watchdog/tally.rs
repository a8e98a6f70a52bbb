//! Blocks by place: how many, how long, and how much is still to be said of each.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

use super::report::in_words;
use crate::python::Cause;
use crate::snapshot::Site;

/// Places beyond so many are counted together.
const MOST_SITES: usize = 1000;

/// Blocks of one place that are written about, at first.
const BURST: f64 = 100.0;
/// And how many become allowed in a second afterwards.
const REFILL: f64 = 0.2;
/// However few there were, not more than so many in a second.
const MOST_A_SECOND: f64 = 4.0;
/// Blocks of one place that are shown with their stack before a line each is enough.
const SHOWN_WHOLE: u64 = 5;

/// The blocks of one place.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct SiteBlocks {
    /// The innermost Python frame; `None` for blocks whose frames could not be read, and for those
    /// beyond the thousandth place.
    pub site: Option<Site>,
    /// How many blocks were seen there.
    pub count: u64,
    /// Their time together, in seconds.
    pub total: f64,
    /// The longest of them, in seconds.
    pub longest: f64,
    /// The cause that the last of them had.
    #[serde(serialize_with = "in_words")]
    pub cause: Cause,
}

/// How much is to be said of a block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Words {
    /// Everything.
    All,
    /// The first line.
    Line,
    /// Nothing: others have said it before.
    None,
}

#[derive(Debug)]
struct Entry {
    blocks: SiteBlocks,
    allowance: Allowance,
    unreported: u64,
}

/// A count of blocks that may be written about, which fills up with time.
#[derive(Debug)]
struct Allowance {
    left: f64,
    counted_at: Duration,
    last: Option<Duration>,
}

impl Allowance {
    fn new(now: Duration) -> Allowance {
        Allowance {
            left: BURST,
            counted_at: now,
            last: None,
        }
    }

    fn take(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.counted_at).as_secs_f64();
        self.left = BURST.min(self.left + passed * REFILL);
        self.counted_at = now;
        let is_soon = self
            .last
            .is_some_and(|last| now.saturating_sub(last).as_secs_f64() * MOST_A_SECOND < 1.0);
        if is_soon || self.left < 1.0 {
            return false;
        }
        self.left -= 1.0;
        self.last = Some(now);
        true
    }
}

/// All places.
#[derive(Debug, Default)]
pub(super) struct Tally {
    sites: BTreeMap<Option<Site>, Entry>,
}

impl Tally {
    pub(super) const fn new() -> Tally {
        Tally {
            sites: BTreeMap::new(),
        }
    }

    /// A block was noticed: how much is to be said of it, and how many were passed over before.
    pub(super) fn begin(
        &mut self,
        site: Option<&Site>,
        cause: &Cause,
        now: Duration,
    ) -> (Words, u64) {
        let entry = self.entry(site, cause, now);
        if !entry.allowance.take(now) {
            entry.unreported += 1;
            return (Words::None, 0);
        }
        let unreported = std::mem::take(&mut entry.unreported);
        if entry.blocks.count < SHOWN_WHOLE {
            (Words::All, unreported)
        } else {
            (Words::Line, unreported)
        }
    }

    /// A block that had spent `before` in a place has spent `more` there; nothing before is a new
    /// block.
    pub(super) fn add(
        &mut self,
        site: Option<&Site>,
        cause: &Cause,
        now: Duration,
        before: Option<Duration>,
        more: Duration,
    ) {
        let blocks = &mut self.entry(site, cause, now).blocks;
        blocks.count += u64::from(before.is_none());
        blocks.total += more.as_secs_f64();
        let so_far = before.unwrap_or_default() + more;
        blocks.longest = blocks.longest.max(so_far.as_secs_f64());
        blocks.cause = cause.clone();
    }

    /// The places, those with the most time first.
    pub(super) fn sites(&self) -> Vec<SiteBlocks> {
        let mut all: Vec<_> = self
            .sites
            .values()
            .map(|entry| entry.blocks.clone())
            .collect();
        all.sort_by(|one, other| other.total.total_cmp(&one.total));
        all
    }

    fn entry(&mut self, site: Option<&Site>, cause: &Cause, now: Duration) -> &mut Entry {
        let mut key = site.cloned();
        if self.sites.len() >= MOST_SITES && !self.sites.contains_key(&key) {
            key = None;
        }
        self.sites.entry(key).or_insert_with_key(|site| Entry {
            blocks: SiteBlocks {
                site: site.clone(),
                count: 0,
                total: 0.0,
                longest: 0.0,
                cause: cause.clone(),
            },
            allowance: Allowance::new(now),
            unreported: 0,
        })
    }
}
