//! The last minutes of a loop, from one look at it to the next.

use std::collections::{HashMap, VecDeque};

use ferrio_inspect::Metrics;
use ferrio_inspect::metrics::LoopMetrics;

/// How many looks are remembered: ten minutes.
const LENGTH: usize = 600;

/// What was seen of the loops of a process, by their numbers.
#[derive(Default)]
pub(crate) struct History {
    loops: HashMap<u64, LoopHistory>,
}

/// What was seen of a loop.
#[derive(Default)]
pub(crate) struct LoopHistory {
    /// Percent of the time between two looks that it was busy, the latest last.
    pub(crate) busy: VecDeque<u64>,
    /// Between the last two looks.
    pub(crate) recent: Recent,
    /// The last look.
    last: Option<Look>,
}

/// A loop between two looks.
#[derive(Clone, Copy, Default)]
pub(crate) struct Recent {
    /// From 0 to 1.
    pub(crate) busy: f64,
    /// Seconds in which it did not look for events, in 99 of 100 cases at most.
    pub(crate) lag: f64,
    pub(crate) turns_per_second: f64,
    pub(crate) received_per_second: f64,
    pub(crate) sent_per_second: f64,
}

struct Look {
    at: f64,
    metrics: LoopMetrics,
}

impl History {
    pub(crate) fn of(&self, number: u64) -> Option<&LoopHistory> {
        self.loops.get(&number)
    }

    pub(crate) fn add(&mut self, metrics: &Metrics) {
        let exists = |number: &u64| metrics.loops.iter().any(|l| l.id == *number);
        self.loops.retain(|number, _| exists(number));
        for each in &metrics.loops {
            self.loops
                .entry(each.id)
                .or_default()
                .add(metrics.taken_at, each);
        }
    }
}

impl LoopHistory {
    fn add(&mut self, at: f64, metrics: &LoopMetrics) {
        if let Some(last) = &self.last {
            self.recent = recent(last, at, metrics);
            if self.busy.len() == LENGTH {
                self.busy.pop_front();
            }
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            self.busy
                .push_back((self.recent.busy * 100.0).round() as u64);
        } else {
            self.recent.busy = metrics.busy_share;
        }
        self.last = Some(Look {
            at,
            metrics: metrics.clone(),
        });
    }
}

fn recent(last: &Look, at: f64, now: &LoopMetrics) -> Recent {
    let seconds = (at - last.at).max(1e-3);
    let before = &last.metrics;
    let busy = (now.busy - before.busy).max(0.0);
    #[allow(clippy::cast_precision_loss)]
    let rate = |from: u64, to: u64| to.saturating_sub(from) as f64 / seconds;
    Recent {
        busy: (busy / seconds).clamp(0.0, 1.0),
        lag: recent_lag(before, now).max(now.lag_now),
        turns_per_second: rate(before.turns, now.turns),
        received_per_second: rate(before.bytes_received, now.bytes_received),
        sent_per_second: rate(before.bytes_sent, now.bytes_sent),
    }
}

/// The bucket in which the longest hundredth of what came since begins.
fn recent_lag(before: &LoopMetrics, now: &LoopMetrics) -> f64 {
    let count_before = |below: Option<f64>| {
        let same = before.lag.buckets.iter().find(|b| b.below == below);
        same.map_or(0, |bucket| bucket.count)
    };
    let new: Vec<_> = now
        .lag
        .buckets
        .iter()
        .map(|bucket| {
            let count = bucket.count.saturating_sub(count_before(bucket.below));
            (bucket.below.unwrap_or(now.lag.longest), count)
        })
        .collect();
    let total: u64 = new.iter().map(|(_, count)| count).sum();
    let mut seen = 0;
    for (below, count) in new {
        seen += count;
        if count > 0 && seen * 100 >= total * 99 {
            return below;
        }
    }
    0.0
}
