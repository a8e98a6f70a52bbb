//! How durations are distributed, counted at the price of a few instructions.
//!
//! Buckets are log-linear: each power of two of nanoseconds is cut into four equal parts, from
//! 1.024 µs to 137 s, so a bucket is never wider than a quarter of its lower bound. What is shorter
//! is in the first bucket, what is longer in the last.

use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::clock::seconds;

/// Parts of each power of two, as a power of two.
const PART_BITS: u32 = 2;
const PARTS: usize = 1 << PART_BITS;
/// Durations below 2^10 ns are not told apart.
const FIRST_POWER: u32 = 10;
/// Nor are those from 2^37 ns on.
const LAST_POWER: u32 = 37;
const BUCKETS: usize = 2 + (LAST_POWER - FIRST_POWER) as usize * PARTS;

/// A histogram of durations that one thread at a time adds to, and any thread reads.
#[derive(Debug)]
pub struct Histogram {
    buckets: [AtomicU64; BUCKETS],
    /// Nanoseconds.
    sum: AtomicU64,
    /// Nanoseconds.
    longest: AtomicU64,
}

/// What a [`Histogram`] held at one moment, in seconds.
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub struct Distribution {
    /// How many durations were added.
    pub count: u64,
    /// All of them together.
    pub sum: f64,
    /// The longest one.
    pub longest: f64,
    /// No more than this, in half of the cases; to a bucket's precision, as the next two.
    pub p50: f64,
    /// No more than this, in 90 of 100 cases.
    pub p90: f64,
    /// No more than this, in 99 of 100 cases.
    pub p99: f64,
    /// The buckets that hold something, the shortest durations first.
    pub buckets: Vec<Bucket>,
}

/// A range of durations, and how many fell into it.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Bucket {
    /// Where it ends, itself not included: seconds. `None` for the last one, which has no end.
    pub below: Option<f64>,
    /// How many durations fell into it, and into none before.
    pub count: u64,
}

impl Histogram {
    /// An empty one.
    #[must_use]
    pub fn new() -> Histogram {
        Histogram {
            buckets: [const { AtomicU64::new(0) }; BUCKETS],
            sum: AtomicU64::new(0),
            longest: AtomicU64::new(0),
        }
    }

    /// Counts a duration. Two threads must not do so at once: one of the two would be lost.
    #[inline]
    pub fn add(&self, nanos: u64) {
        add(&self.buckets[index(nanos)], 1);
        add(&self.sum, nanos);
        if nanos > self.longest.load(Ordering::Relaxed) {
            self.longest.store(nanos, Ordering::Relaxed);
        }
    }

    /// Counts a duration; for histograms that several threads add to.
    pub fn add_shared(&self, nanos: u64) {
        self.buckets[index(nanos)].fetch_add(1, Ordering::Relaxed);
        self.sum.fetch_add(nanos, Ordering::Relaxed);
        self.longest.fetch_max(nanos, Ordering::Relaxed);
    }

    /// What it holds now. What is added meanwhile may be in one number and not yet in another.
    #[must_use]
    pub fn read(&self) -> Distribution {
        let counts: [u64; BUCKETS] =
            std::array::from_fn(|index| self.buckets[index].load(Ordering::Relaxed));
        let longest = self.longest.load(Ordering::Relaxed);
        let quantile = |percent| seconds(quantile(&counts, percent).min(longest));
        Distribution {
            count: counts.iter().sum(),
            sum: seconds(self.sum.load(Ordering::Relaxed)),
            longest: seconds(longest),
            p50: quantile(50),
            p90: quantile(90),
            p99: quantile(99),
            buckets: counts
                .iter()
                .enumerate()
                .filter(|&(_, &count)| count > 0)
                .map(|(index, &count)| Bucket {
                    below: end(index).map(seconds),
                    count,
                })
                .collect(),
        }
    }
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram::new()
    }
}

impl Distribution {
    /// The bounds that Prometheus is told of, in seconds: each second power of two, about one
    /// for each factor of four.
    pub fn coarse_bounds() -> impl Iterator<Item = f64> {
        (FIRST_POWER..=LAST_POWER)
            .step_by(2)
            .map(|power| seconds(1 << power))
    }

    /// How many of the durations were shorter than `bound` seconds, which is the end of a bucket.
    #[must_use]
    pub fn count_below(&self, bound: f64) -> u64 {
        self.buckets
            .iter()
            .filter(|bucket| bucket.below.is_some_and(|below| below <= bound))
            .map(|bucket| bucket.count)
            .sum()
    }
}

/// Adds to a number that only this thread changes: cheaper than an atomic addition.
#[inline]
pub(crate) fn add(number: &AtomicU64, amount: u64) {
    let sum = number.load(Ordering::Relaxed).wrapping_add(amount);
    number.store(sum, Ordering::Relaxed);
}

/// The bucket of a duration.
#[inline]
fn index(nanos: u64) -> usize {
    if nanos < 1 << FIRST_POWER {
        return 0;
    }
    let power = nanos.ilog2();
    if power >= LAST_POWER {
        return BUCKETS - 1;
    }
    let part = (nanos >> (power - PART_BITS)) as usize & (PARTS - 1);
    1 + (power - FIRST_POWER) as usize * PARTS + part
}

/// Where a bucket ends, in nanoseconds, itself not included.
fn end(index: usize) -> Option<u64> {
    match index {
        0 => Some(1 << FIRST_POWER),
        index if index == BUCKETS - 1 => None,
        index => {
            let power = FIRST_POWER as usize + (index - 1) / PARTS;
            let part = (index - 1) % PARTS;
            Some(((PARTS + part + 1) as u64) << (power - PART_BITS as usize))
        }
    }
}

/// The end of the bucket in which the duration at `percent` of all is; 0 for none.
fn quantile(counts: &[u64], percent: u64) -> u64 {
    let total: u64 = counts.iter().sum();
    let rank = (u128::from(total) * u128::from(percent)).div_ceil(100);
    let mut seen = 0;
    for (index, &count) in counts.iter().enumerate() {
        seen += u128::from(count);
        if count > 0 && seen >= rank {
            return end(index).unwrap_or(u64::MAX);
        }
    }
    0
}
