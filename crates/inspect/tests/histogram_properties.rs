//! The histogram against a list of the same durations.

use ferrio_inspect::{Distribution, Histogram};
use proptest::prelude::*;

/// Durations of every size, from nanoseconds to minutes.
fn durations() -> impl Strategy<Value = Vec<u64>> {
    let duration = (0_u32..40, any::<u64>()).prop_map(|(bits, random)| random >> (63 - bits));
    prop::collection::vec(duration, 0..200)
}

fn read(durations: &[u64]) -> Distribution {
    let histogram = Histogram::new();
    for &duration in durations {
        histogram.add(duration);
    }
    histogram.read()
}

fn seconds(nanos: u64) -> f64 {
    ferrio_inspect::clock::seconds(nanos)
}

proptest! {
    #[test]
    fn nothing_is_lost(durations in durations()) {
        let read = read(&durations);
        prop_assert_eq!(read.count, durations.len() as u64);
        prop_assert_eq!(read.buckets.iter().map(|bucket| bucket.count).sum::<u64>(), read.count);
        let longest = durations.iter().max().copied().unwrap_or(0);
        prop_assert_eq!(read.longest, seconds(longest));
        let sum = seconds(durations.iter().sum());
        prop_assert!((read.sum - sum).abs() <= sum * 1e-9);
    }

    #[test]
    fn each_is_in_the_bucket_that_ends_after_it(durations in durations()) {
        let read = read(&durations);
        let mut below = 0;
        for bucket in &read.buckets {
            below += bucket.count;
            let expected = match bucket.below {
                Some(bound) => durations.iter().filter(|&&each| seconds(each) < bound).count(),
                None => durations.len(),
            };
            prop_assert_eq!(below, expected as u64);
        }
    }

    #[test]
    fn buckets_are_no_wider_than_a_quarter(duration in 1_024_u64..1 << 37) {
        let read = read(&[duration]);
        let bound = read.buckets[0].below.expect("not in the last one");
        prop_assert!(bound > seconds(duration));
        prop_assert!(bound <= seconds(duration) * 1.25 + 1e-9);
    }

    #[test]
    fn quantiles_are_right_to_a_bucket(mut durations in durations()) {
        let read = read(&durations);
        durations.sort_unstable();
        for (percent, quantile) in [(50, read.p50), (90, read.p90), (99, read.p99)] {
            let rank = (durations.len() * percent).div_ceil(100);
            let Some(&exact) = rank.checked_sub(1).and_then(|index| durations.get(index)) else {
                prop_assert_eq!(quantile, 0.0);
                continue;
            };
            prop_assert!(quantile >= seconds(exact));
            let most = seconds(exact.max(1_024)) * 1.25 + 1e-9;
            prop_assert!(quantile <= most || exact >= 1 << 37);
        }
    }

    #[test]
    fn coarse_bounds_are_ends_of_buckets(durations in durations()) {
        let read = read(&durations);
        for bound in Distribution::coarse_bounds() {
            let expected = durations.iter().filter(|&&each| seconds(each) < bound).count();
            prop_assert_eq!(read.count_below(bound), expected as u64);
        }
    }

    #[test]
    fn threads_that_share_one_lose_nothing(durations in durations()) {
        let histogram = Histogram::new();
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| durations.iter().for_each(|&each| histogram.add_shared(each)));
            }
        });
        prop_assert_eq!(histogram.read().count, 2 * durations.len() as u64);
    }
}
