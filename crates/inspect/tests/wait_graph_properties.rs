//! The wait graph agrees with tasks that are let end one after the other until none can.

use std::collections::{HashMap, HashSet};

use ferrio_inspect::wait_graph::{Edge, Needs, find_cycles, stuck_tasks};
use proptest::prelude::*;

const TASKS: u64 = 8;

fn edges() -> impl Strategy<Value = Vec<Edge>> {
    let edge = (
        proptest::collection::vec(0..TASKS, 0..4),
        any::<bool>(),
        any::<bool>(),
    );
    proptest::collection::vec(proptest::option::of(edge), 1..=8).prop_map(|waits| {
        waits
            .into_iter()
            .zip(0..)
            .filter_map(|(wait, task)| {
                let (holders, all, certain) = wait?;
                Some(Edge {
                    task,
                    holders,
                    needs: if all { Needs::All } else { Needs::One },
                    certain,
                })
            })
            .collect()
    })
}

/// Lets tasks end, in no clever order, until nothing changes.
fn those_left(edges: &[Edge]) -> HashSet<u64> {
    let mut left: HashSet<u64> = (0..TASKS).collect();
    loop {
        let can_end = |task: &u64| match edges.iter().find(|edge| edge.task == *task) {
            None => true,
            Some(edge) if edge.holders.is_empty() => true,
            Some(edge) => match edge.needs {
                Needs::All => edge.holders.iter().all(|holder| !left.contains(holder)),
                Needs::One => edge.holders.iter().any(|holder| !left.contains(holder)),
            },
        };
        let Some(ended) = left.iter().copied().find(can_end) else {
            return left;
        };
        left.remove(&ended);
    }
}

proptest! {
    #[test]
    fn whoever_cannot_end_is_stuck(edges in edges()) {
        prop_assert_eq!(stuck_tasks(&edges), those_left(&edges));
    }

    #[test]
    fn cycles_are_cycles_of_stuck_tasks(edges in edges()) {
        let stuck = those_left(&edges);
        let by_task: HashMap<u64, &Edge> = edges.iter().map(|edge| (edge.task, edge)).collect();
        let cycles = find_cycles(&edges);
        prop_assert_eq!(cycles.is_empty(), stuck.is_empty());
        let mut seen = HashSet::new();
        for cycle in &cycles {
            let following = cycle.tasks.iter().cycle().skip(1);
            for (task, next) in cycle.tasks.iter().zip(following) {
                prop_assert!(stuck.contains(task));
                prop_assert!(seen.insert(*task), "a task is in two cycles");
                prop_assert!(by_task[task].holders.contains(next));
            }
            let certain = cycle.tasks.iter().all(|task| by_task[task].certain);
            prop_assert_eq!(cycle.certain, certain);
        }
    }
}
