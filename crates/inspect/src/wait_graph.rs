//! Who waits for whom, and which of them wait for ever.
//!
//! A task waits for other tasks, for all of them or for one. It can go on if what it waits for can
//! come to its end; a task that waits for nothing of the kind is taken to. What is left when all
//! that can end has ended waits for ever, and in it there is a cycle at least: these are found.

use std::collections::{HashMap, HashSet};

use crate::snapshot::{Snapshot, Task};

/// A task's wait for others.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Edge {
    /// Who waits.
    pub task: u64,
    /// For whom.
    pub holders: Vec<u64>,
    /// Whether all of them have to end, or one is enough.
    pub needs: Needs,
    /// Whether nobody but they can end the wait.
    pub certain: bool,
}

/// How many of those that a task waits for have to end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Needs {
    /// Each of them.
    All,
    /// Any of them.
    One,
}

/// Tasks that wait for each other, each for the next and the last for the first.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Cycle {
    /// The one with the lowest number comes first.
    pub tasks: Vec<u64>,
    /// Whether nobody else can end any of the waits.
    pub certain: bool,
}

impl Edge {
    /// What a task of a snapshot waits for; `None` for one that does not wait for tasks, or not
    /// for ever.
    #[must_use]
    pub fn of(task: &Task) -> Option<Edge> {
        let wait = task.wait.as_ref()?;
        if wait.tasks.is_empty() || wait.until.is_some() {
            return None;
        }
        Some(Edge {
            task: task.id,
            holders: wait.tasks.clone(),
            needs: if wait.all { Needs::All } else { Needs::One },
            certain: wait.certain,
        })
    }
}

/// The waits of all tasks of a snapshot.
#[must_use]
pub fn edges_of(snapshot: &Snapshot) -> Vec<Edge> {
    let tasks = snapshot.loops.iter().flat_map(|each| &each.tasks);
    tasks.filter_map(Edge::of).collect()
}

/// The tasks that wait for ever because of each other.
#[must_use]
pub fn stuck_tasks(edges: &[Edge]) -> HashSet<u64> {
    let mut stuck: HashSet<u64> = edges.iter().map(|edge| edge.task).collect();
    let mut waiters: HashMap<u64, Vec<&Edge>> = HashMap::new();
    // How many of those an edge needs are still missing.
    let mut missing: HashMap<u64, usize> = HashMap::new();
    for edge in edges {
        let holders: HashSet<u64> = edge.holders.iter().copied().collect();
        missing.insert(
            edge.task,
            match edge.needs {
                Needs::All => holders.len(),
                Needs::One => holders.len().min(1),
            },
        );
        for holder in holders {
            waiters.entry(holder).or_default().push(edge);
        }
    }
    let free: HashSet<u64> = edges
        .iter()
        .flat_map(|edge| edge.holders.iter().copied())
        .filter(|holder| !stuck.contains(holder))
        .collect();
    let mut ended: Vec<u64> = free.into_iter().collect();
    ended.extend(edges.iter().filter_map(|edge| {
        let needs_nobody = missing.get(&edge.task) == Some(&0);
        (needs_nobody && stuck.remove(&edge.task)).then_some(edge.task)
    }));
    while let Some(task) = ended.pop() {
        for edge in waiters.get(&task).into_iter().flatten() {
            if let Some(count) = missing.get_mut(&edge.task)
                && *count > 0
            {
                *count -= 1;
                if *count == 0 && stuck.remove(&edge.task) {
                    ended.push(edge.task);
                }
            }
        }
    }
    stuck
}

/// The cycles in which tasks wait for ever. A task is in one at most: of those that it is in, the
/// one that is found first, along the waits that nobody else can end.
#[must_use]
pub fn find_cycles(edges: &[Edge]) -> Vec<Cycle> {
    let stuck = stuck_tasks(edges);
    let by_task: HashMap<u64, &Edge> = edges.iter().map(|edge| (edge.task, edge)).collect();
    let mut next: HashMap<u64, (u64, bool)> = HashMap::new();
    for edge in edges.iter().filter(|edge| stuck.contains(&edge.task)) {
        let mut holders: Vec<u64> = edge.holders.clone();
        holders.retain(|holder| stuck.contains(holder));
        holders.sort_unstable();
        // Where there is a choice, one that leads back to the task itself.
        let back = holders
            .iter()
            .copied()
            .find(|&holder| leads_to(&by_task, &stuck, holder, edge.task));
        if let Some(holder) = back.or_else(|| holders.first().copied()) {
            next.insert(edge.task, (holder, edge.certain));
        }
    }
    let mut cycles = Vec::new();
    let mut seen = HashSet::new();
    let mut starts: Vec<u64> = next.keys().copied().collect();
    starts.sort_unstable();
    for start in starts {
        let mut path = Vec::new();
        let mut task = start;
        while seen.insert(task) {
            path.push(task);
            match next.get(&task) {
                Some(&(holder, _)) => task = holder,
                None => break,
            }
        }
        if let Some(position) = path.iter().position(|&other| other == task)
            && next.contains_key(&task)
        {
            cycles.push(cycle(&path[position..], &next));
        }
    }
    cycles
}

/// The cycle with its lowest number first.
fn cycle(tasks: &[u64], next: &HashMap<u64, (u64, bool)>) -> Cycle {
    let mut tasks = tasks.to_vec();
    let lowest = (0..tasks.len()).min_by_key(|&index| tasks[index]);
    tasks.rotate_left(lowest.unwrap_or(0));
    let certain = tasks
        .iter()
        .all(|task| next.get(task).is_some_and(|&(_, certain)| certain));
    Cycle { tasks, certain }
}

/// Whether `to` can be reached from `from` along waits of stuck tasks.
fn leads_to(by_task: &HashMap<u64, &Edge>, stuck: &HashSet<u64>, from: u64, to: u64) -> bool {
    let mut seen = HashSet::new();
    let mut ahead = vec![from];
    while let Some(task) = ahead.pop() {
        if task == to {
            return true;
        }
        if !stuck.contains(&task) || !seen.insert(task) {
            continue;
        }
        if let Some(edge) = by_task.get(&task) {
            ahead.extend(edge.holders.iter().copied());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn edge(task: u64, holders: &[u64]) -> Edge {
        Edge {
            task,
            holders: holders.to_vec(),
            needs: Needs::All,
            certain: true,
        }
    }

    fn cycle_of(tasks: &[u64], certain: bool) -> Cycle {
        Cycle {
            tasks: tasks.to_vec(),
            certain,
        }
    }

    #[test]
    fn a_chain_is_no_cycle() {
        assert_eq!(find_cycles(&[edge(1, &[2]), edge(2, &[3])]), []);
    }

    #[test]
    fn a_task_that_waits_for_itself() {
        assert_eq!(find_cycles(&[edge(7, &[7])]), [cycle_of(&[7], true)]);
    }

    #[test]
    fn each_waits_for_the_next() {
        let edges = [edge(3, &[1]), edge(2, &[3]), edge(1, &[2])];
        assert_eq!(find_cycles(&edges), [cycle_of(&[1, 2, 3], true)]);
    }

    #[test]
    fn who_waits_for_a_cycle_is_stuck_but_not_in_it() {
        let edges = [edge(1, &[2]), edge(2, &[1]), edge(5, &[1])];
        assert_eq!(find_cycles(&edges), [cycle_of(&[1, 2], true)]);
        assert_eq!(stuck_tasks(&edges), HashSet::from([1, 2, 5]));
    }

    #[test]
    fn one_uncertain_wait_makes_the_cycle_uncertain() {
        let mut edges = [edge(1, &[2]), edge(2, &[1])];
        edges[1].certain = false;
        assert_eq!(find_cycles(&edges), [cycle_of(&[1, 2], false)]);
    }

    #[test]
    fn one_of_several_that_ends_is_enough_where_one_is_needed() {
        let mut edges = [edge(1, &[2, 3]), edge(2, &[1])];
        edges[0].needs = Needs::One;
        assert_eq!(find_cycles(&edges), []);
        edges[0].needs = Needs::All;
        assert_eq!(find_cycles(&edges), [cycle_of(&[1, 2], true)]);
    }

    #[test]
    fn a_group_waits_for_all_of_its_tasks() {
        let edges = [edge(1, &[2, 3, 4]), edge(3, &[1])];
        assert_eq!(find_cycles(&edges), [cycle_of(&[1, 3], true)]);
    }
}
