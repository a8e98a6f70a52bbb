//! `ferrio tree` and `ferrio.task_tree()`: who answers for whom.

use std::collections::{HashMap, HashSet};

use super::words;
use crate::snapshot::{Loop, Owner, Snapshot, Task, TaskState};

/// For each loop the tree of its tasks: a task stands below the one that answers for it (whose
/// task group or `gather` it is in), or else below the one that created it.
#[must_use]
pub fn tree(snapshot: &Snapshot, columns: Option<usize>) -> String {
    let mut lines = Vec::new();
    lines.extend(words::outdated(snapshot));
    for its_loop in &snapshot.loops {
        lines.push(words::event_loop(its_loop, snapshot));
        Branches::of(its_loop, snapshot).write(&mut lines);
    }
    lines
        .iter()
        .map(|line| super::ps::fitted(line, columns) + "\n")
        .collect()
}

/// Which task each stands below in the tree, by their ids: those that stand below one.
#[must_use]
pub fn tasks_above(snapshot: &Snapshot) -> Vec<(u64, u64)> {
    let loops = snapshot.loops.iter();
    let mut pairs: Vec<_> = loops
        .flat_map(|its_loop| parents(&its_loop.tasks))
        .collect();
    pairs.sort_unstable();
    pairs
}

/// Columns of indentation beyond which a tree does not grow to the right.
const DEEPEST: usize = 240;

/// The tasks of a loop by the task above them.
struct Branches<'a> {
    its_loop: &'a Loop,
    snapshot: &'a Snapshot,
    roots: Vec<&'a Task>,
    children: HashMap<u64, Vec<&'a Task>>,
}

impl<'a> Branches<'a> {
    fn of(its_loop: &'a Loop, snapshot: &'a Snapshot) -> Branches<'a> {
        let parents = parents(&its_loop.tasks);
        let mut branches = Branches {
            its_loop,
            snapshot,
            roots: Vec::new(),
            children: HashMap::new(),
        };
        for task in &its_loop.tasks {
            match parents.get(&task.id) {
                Some(parent) => branches.children.entry(*parent).or_default().push(task),
                None => branches.roots.push(task),
            }
        }
        branches
    }

    /// Trees can be as deep as programs are: no recursion.
    fn write(&self, lines: &mut Vec<String>) {
        let mut stack: Vec<(&Task, String, bool)> = Vec::new();
        push_all(&mut stack, &self.roots, "");
        while let Some((task, indent, is_last)) = stack.pop() {
            let branch = if is_last { "└─ " } else { "├─ " };
            lines.push(format!("{indent}{branch}{}", self.label(task)));
            if let Some(children) = self.children.get(&task.id) {
                let below = if is_last { "   " } else { "│  " };
                // Deeper ones stand below each other: no terminal is that wide.
                let indent = if indent.chars().count() < DEEPEST {
                    format!("{indent}{below}")
                } else {
                    indent
                };
                push_all(&mut stack, children, &indent);
            }
        }
    }

    fn label(&self, task: &Task) -> String {
        let mut text = format!(
            "#{} {}  {}",
            task.id,
            words::plain(&task.name),
            words::plain(&task.coroutine)
        );
        text.push_str(&self.doing(task));
        if let Some(site) = words::task_site(task) {
            text.push_str("  at ");
            text.push_str(&words::site(site));
        }
        if task.cancelling > 0 {
            text.push_str("  [cancelling]");
        }
        text.push_str(&self.left_by(task));
        text
    }

    fn doing(&self, task: &Task) -> String {
        let age = words::task_age(task, self.its_loop, self.snapshot)
            .map_or_else(String::new, |age| format!(" {}", words::duration(age)));
        match (&task.wait, task.state) {
            (_, TaskState::Running) => format!("  running{age}"),
            (Some(wait), TaskState::Waiting) => {
                format!("  waits{age}: {}", words::wait(wait, self.snapshot))
            }
            (_, state) => format!("  {}{age}", words::state(state)),
        }
    }

    /// For a task on top that some task answers for: that one is gone.
    fn left_by(&self, task: &Task) -> String {
        let is_known = |id: u64| self.its_loop.tasks.iter().any(|other| other.id == id);
        match above(task) {
            Some(id) if !is_known(id) => format!("  [left behind by #{id}, which is gone]"),
            _ => String::new(),
        }
    }
}

/// The task that answers for this one, or else has created it.
fn above(task: &Task) -> Option<u64> {
    let owner = match &task.owner {
        Owner::TaskGroup { task } | Owner::Combinator { task, .. } => *task,
        Owner::User | Owner::Runner | Owner::Server => None,
    };
    owner.or(task.parent).filter(|id| *id != task.id)
}

/// For each task the one that it stands below, without circles: of tasks that answer for each
/// other one has to be on top.
fn parents(tasks: &[Task]) -> HashMap<u64, u64> {
    let ids: HashSet<u64> = tasks.iter().map(|task| task.id).collect();
    let mut parents: HashMap<u64, u64> = tasks
        .iter()
        .filter_map(|task| Some((task.id, above(task).filter(|id| ids.contains(id))?)))
        .collect();
    // The tasks from which the way up is known to end.
    let mut ending = HashSet::new();
    for task in tasks {
        let mut way = HashSet::new();
        let mut at = task.id;
        while !ending.contains(&at) && way.insert(at) {
            match parents.get(&at) {
                Some(parent) if way.contains(parent) => parents.remove(&at),
                Some(parent) => {
                    at = *parent;
                    continue;
                }
                None => None,
            };
        }
        ending.extend(way);
    }
    parents
}

fn push_all<'a>(stack: &mut Vec<(&'a Task, String, bool)>, tasks: &[&'a Task], indent: &str) {
    for (index, task) in tasks.iter().enumerate().rev() {
        stack.push((task, indent.to_owned(), index + 1 == tasks.len()));
    }
}
