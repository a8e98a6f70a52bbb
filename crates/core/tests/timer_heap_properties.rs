//! The timer heap behaves as a sorted list does, whatever is done with it.

#![cfg(not(loom))]

use ferrio_core::{Instant, TimerHeap, TimerKey};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Operation {
    Insert(i64),
    /// Cancels the timer that was inserted as number so many, modulo how many there were.
    Cancel(usize),
    PopDue(i64),
    NextDeadline,
}

fn operation() -> impl Strategy<Value = Operation> {
    // Few deadlines, so that many are equal.
    prop_oneof![
        4 => (-20_i64..20).prop_map(Operation::Insert),
        3 => any::<usize>().prop_map(Operation::Cancel),
        1 => (-25_i64..25).prop_map(Operation::PopDue),
        1 => Just(Operation::NextDeadline),
    ]
}

/// A list in order of insertion, searched from one end to the other.
#[derive(Default)]
struct Model {
    timers: Vec<(i64, usize)>,
}

impl Model {
    fn first(&self) -> Option<(i64, usize)> {
        // `min_by_key` returns the first of equal ones.
        self.timers
            .iter()
            .copied()
            .min_by_key(|&(deadline, _)| deadline)
    }

    fn remove(&mut self, number: usize) -> Option<usize> {
        let index = self.timers.iter().position(|&(_, other)| other == number)?;
        Some(self.timers.remove(index).1)
    }

    fn pop_due(&mut self, now: i64) -> Option<usize> {
        let (deadline, number) = self.first()?;
        if deadline > now {
            return None;
        }
        self.remove(number)
    }
}

fn check(operations: Vec<Operation>) -> Result<(), TestCaseError> {
    let mut heap = TimerHeap::new();
    let mut model = Model::default();
    let mut keys: Vec<TimerKey> = Vec::new();
    for operation in operations {
        match operation {
            Operation::Insert(deadline) => {
                let number = keys.len();
                keys.push(heap.insert(Instant::from_nanos(deadline), number));
                model.timers.push((deadline, number));
            }
            Operation::Cancel(_) if keys.is_empty() => {}
            Operation::Cancel(choice) => {
                let number = choice % keys.len();
                prop_assert_eq!(heap.cancel(keys[number]), model.remove(number));
                // Only cancelling leaves stale nodes. That timers which fire leave the live ones
                // outnumbered for a while costs nothing more.
                prop_assert!(heap.stale() <= model.timers.len().max(64));
            }
            Operation::PopDue(now) => {
                prop_assert_eq!(heap.pop_due(Instant::from_nanos(now)), model.pop_due(now));
            }
            Operation::NextDeadline => {
                let expected = model
                    .first()
                    .map(|(deadline, _)| Instant::from_nanos(deadline));
                prop_assert_eq!(heap.next_deadline(), expected);
            }
        }
        prop_assert_eq!(heap.len(), model.timers.len());
        let mut shown = Vec::new();
        heap.for_each(|&number| shown.push(number));
        shown.sort_unstable();
        let mut expected: Vec<_> = model.timers.iter().map(|&(_, number)| number).collect();
        expected.sort_unstable();
        prop_assert_eq!(shown, expected);
    }
    while let Some(expected) = model.pop_due(i64::MAX) {
        prop_assert_eq!(heap.pop_due(Instant::MAX), Some(expected));
    }
    prop_assert_eq!(heap.pop_due(Instant::MAX), None);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_a_sorted_list(operations in prop::collection::vec(operation(), 0..400)) {
        check(operations)?;
    }
}
