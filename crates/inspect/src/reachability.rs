//! Which tasks wait for something that nobody who can still run is able to reach.
//!
//! An event is set by whoever has it, and nobody says beforehand who that will be. But who *cannot*
//! set it can be found out: a task that waits itself, as long as it waits. So an event (a queue, a
//! semaphore, a condition) that only such tasks refer to, through whatever objects, stays as it is,
//! and so do they. This is what a garbage collector does, with tasks that can run as its roots:
//! everything that is referred to from outside of the objects that were looked at counts as
//! reachable by them, so what was not looked at makes the answer smaller and never wrong.

use std::collections::{HashMap, HashSet};

use crate::wait_graph::{Edge, Needs};

/// An object that was looked at.
#[derive(Clone, Default, Debug)]
pub struct Node {
    /// Whether somebody refers to it who was not looked at.
    pub held_from_outside: bool,
    /// To which objects it refers.
    pub refers_to: Vec<u32>,
}

/// A task that waits with no time set to it.
#[derive(Clone, Debug)]
pub struct Waiting {
    /// Its number.
    pub task: u64,
    /// The objects that it refers to.
    pub refers_to: Vec<u32>,
    /// The object that somebody has to change for it to go on, if there is one.
    pub object: Option<u32>,
    /// Whether the task itself was the one to do that, so that its own wait is a mistake. (A task
    /// that waits for an event which nobody else knows may just mean to wait until it is
    /// cancelled.)
    pub by_itself: bool,
    /// The tasks of which the end, or that of a section, ends the wait as well.
    pub tasks: Vec<u64>,
    /// How many of them.
    pub needs: Needs,
    /// Whether nobody but they can.
    pub certain: bool,
}

/// Of so many tasks that wait for ever it is found out which of them know of what the others wait
/// for: the ones that were made first.
const MOST_TOLD: usize = 100;

/// The tasks that wait for ever, as edges to those that they would need.
#[must_use]
pub fn edges_of_stuck(nodes: &[Node], waiting: &[Waiting]) -> Vec<Edge> {
    let found = Search::new(nodes, waiting).run();
    let mut stuck: Vec<&Waiting> = waiting
        .iter()
        .filter(|each| found.contains(&each.task))
        .collect();
    stuck.sort_unstable_by_key(|each| each.task);
    stuck.truncate(MOST_TOLD);
    let reached: HashMap<u64, HashSet<u32>> = stuck
        .iter()
        .map(|each| (each.task, reached_from(nodes, &each.refers_to)))
        .collect();
    stuck
        .into_iter()
        .filter_map(|each| {
            let mut holders = each.tasks.clone();
            let mut needs = each.needs;
            if let Some(object) = each.object {
                needs = Needs::One;
                holders.extend(reached.iter().filter_map(|(&task, objects)| {
                    (task != each.task && objects.contains(&object)).then_some(task)
                }));
                if holders.is_empty() && each.by_itself {
                    holders.push(each.task);
                }
                holders.sort_unstable();
                holders.dedup();
            }
            (!holders.is_empty()).then_some(Edge {
                task: each.task,
                holders,
                needs,
                certain: each.certain,
            })
        })
        .collect()
}

/// The objects that can be reached from these.
fn reached_from(nodes: &[Node], start: &[u32]) -> HashSet<u32> {
    let mut reached = HashSet::new();
    let mut ahead = start.to_vec();
    while let Some(index) = ahead.pop() {
        if reached.insert(index)
            && let Some(node) = nodes.get(index as usize)
        {
            ahead.extend(&node.refers_to);
        }
    }
    reached
}

/// The search for what those who can run may reach.
struct Search<'a> {
    nodes: &'a [Node],
    waiting: &'a [Waiting],
    live: Vec<bool>,
    stuck: HashSet<u64>,
    /// Who waits for an object to be changed.
    by_object: HashMap<u32, Vec<usize>>,
    /// Who waits for a task.
    by_task: HashMap<u64, Vec<usize>>,
    /// How many tasks each still waits for.
    missing: Vec<usize>,
    /// Objects to be gone through.
    ahead: Vec<u32>,
}

impl<'a> Search<'a> {
    fn new(nodes: &'a [Node], waiting: &'a [Waiting]) -> Search<'a> {
        let mut by_object: HashMap<u32, Vec<usize>> = HashMap::new();
        let mut by_task: HashMap<u64, Vec<usize>> = HashMap::new();
        let mut missing = Vec::new();
        for (index, each) in waiting.iter().enumerate() {
            if let Some(object) = each.object {
                by_object.entry(object).or_default().push(index);
            }
            let tasks: HashSet<u64> = each.tasks.iter().copied().collect();
            missing.push(match each.needs {
                Needs::All => tasks.len(),
                Needs::One => tasks.len().min(1),
            });
            for task in tasks {
                by_task.entry(task).or_default().push(index);
            }
        }
        Search {
            nodes,
            waiting,
            live: vec![false; nodes.len()],
            stuck: waiting.iter().map(|each| each.task).collect(),
            by_object,
            by_task,
            missing,
            ahead: Vec::new(),
        }
    }

    fn run(mut self) -> HashSet<u64> {
        for (index, node) in self.nodes.iter().enumerate() {
            if node.held_from_outside
                && let Ok(index) = u32::try_from(index)
            {
                self.ahead.push(index);
            }
        }
        // Who waits for nothing that is known, and whoever is waited for and does not wait itself.
        let mut freed: Vec<usize> = (0..self.waiting.len())
            .filter(|&index| {
                let each = &self.waiting[index];
                each.object.is_none() && each.tasks.is_empty()
            })
            .collect();
        let elsewhere: Vec<u64> = self
            .by_task
            .keys()
            .copied()
            .filter(|task| !self.stuck.contains(task))
            .collect();
        for task in elsewhere {
            self.task_goes_on(task, &mut freed);
        }
        loop {
            if let Some(index) = freed.pop() {
                let each = &self.waiting[index];
                if self.stuck.remove(&each.task) {
                    self.ahead.extend(&each.refers_to);
                    self.task_goes_on(each.task, &mut freed);
                }
            } else if let Some(object) = self.ahead.pop() {
                self.reach(object, &mut freed);
            } else {
                return self.stuck;
            }
        }
    }

    fn task_goes_on(&mut self, task: u64, freed: &mut Vec<usize>) {
        for &index in self.by_task.get(&task).into_iter().flatten() {
            if self.missing[index] > 0 {
                self.missing[index] -= 1;
                if self.missing[index] == 0 {
                    freed.push(index);
                }
            }
        }
    }

    fn reach(&mut self, object: u32, freed: &mut Vec<usize>) {
        let Some(node) = self.nodes.get(object as usize) else {
            return;
        };
        if std::mem::replace(&mut self.live[object as usize], true) {
            return;
        }
        self.ahead.extend(&node.refers_to);
        freed.extend(self.by_object.get(&object).into_iter().flatten());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nodes(held: &[bool], references: &[(usize, u32)]) -> Vec<Node> {
        let mut nodes: Vec<Node> = held
            .iter()
            .map(|&held_from_outside| Node {
                held_from_outside,
                refers_to: Vec::new(),
            })
            .collect();
        for &(from, to) in references {
            nodes[from].refers_to.push(to);
        }
        nodes
    }

    fn on_object(task: u64, object: u32, refers_to: &[u32]) -> Waiting {
        Waiting {
            task,
            refers_to: refers_to.to_vec(),
            object: Some(object),
            by_itself: false,
            tasks: Vec::new(),
            needs: Needs::One,
            certain: false,
        }
    }

    fn on_tasks(task: u64, tasks: &[u64], refers_to: &[u32]) -> Waiting {
        Waiting {
            object: None,
            tasks: tasks.to_vec(),
            needs: Needs::All,
            ..on_object(task, 0, refers_to)
        }
    }

    fn holders(edges: &[Edge]) -> Vec<(u64, Vec<u64>)> {
        edges
            .iter()
            .map(|edge| (edge.task, edge.holders.clone()))
            .collect()
    }

    #[test]
    fn two_that_wait_for_what_only_the_other_one_has() {
        let waiting = [on_object(1, 0, &[0, 1]), on_object(2, 1, &[0, 1])];
        let edges = edges_of_stuck(&nodes(&[false, false], &[]), &waiting);
        assert_eq!(holders(&edges), [(1, vec![2]), (2, vec![1])]);
    }

    #[test]
    fn somebody_outside_has_one_of_them() {
        let waiting = [on_object(1, 0, &[0, 1]), on_object(2, 1, &[0, 1])];
        let edges = edges_of_stuck(&nodes(&[true, false], &[]), &waiting);
        // Task 1 may go on, and then task 2.
        assert_eq!(edges, []);
    }

    #[test]
    fn something_outside_leads_to_it() {
        let found = nodes(&[false, false, true], &[(2, 0)]);
        let waiting = [on_object(1, 0, &[0, 1, 2]), on_object(2, 1, &[0, 1])];
        assert_eq!(edges_of_stuck(&found, &waiting), []);
    }

    #[test]
    fn a_join_of_one_that_is_stuck() {
        let waiting = [on_tasks(1, &[2], &[0]), on_object(2, 0, &[0])];
        let edges = edges_of_stuck(&nodes(&[false], &[]), &waiting);
        assert_eq!(holders(&edges), [(1, vec![2]), (2, vec![1])]);
    }

    #[test]
    fn a_join_of_one_that_goes_on() {
        let waiting = [on_tasks(1, &[3], &[0]), on_object(2, 0, &[0])];
        assert_eq!(edges_of_stuck(&nodes(&[false], &[]), &waiting), []);
    }

    #[test]
    fn a_group_waits_for_the_stuck_one_of_its_tasks() {
        let waiting = [on_tasks(1, &[2, 3], &[0]), on_object(2, 0, &[0])];
        let edges = edges_of_stuck(&nodes(&[false], &[]), &waiting);
        assert_eq!(holders(&edges), [(1, vec![2, 3]), (2, vec![1])]);
    }

    #[test]
    fn alone_with_its_event_it_may_mean_to_wait() {
        let mut waiting = [on_object(1, 0, &[0])];
        assert_eq!(edges_of_stuck(&nodes(&[false], &[]), &waiting), []);
        waiting[0].by_itself = true;
        let edges = edges_of_stuck(&nodes(&[false], &[]), &waiting);
        assert_eq!(holders(&edges), [(1, vec![1])]);
    }

    #[test]
    fn who_waits_for_nothing_that_is_known_goes_on() {
        let waiting = [on_tasks(1, &[], &[0]), on_object(2, 0, &[0])];
        assert_eq!(edges_of_stuck(&nodes(&[false], &[]), &waiting), []);
    }
}
