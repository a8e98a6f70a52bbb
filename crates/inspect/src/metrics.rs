//! What a process's loops have counted, as plain data: what `ferrio.metrics()`, Prometheus, JSON
//! and OpenTelemetry are made from. Times are seconds.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::{Deserialize, Serialize};

use crate::clock::{now_ns, seconds};
use crate::counters::{Calls, TransportKind};
use crate::snapshot::{Queue, Site, Snapshot, TaskState, WaitKind};
use crate::watchdog::{self, SiteBlocks, blocks_by_site};
use crate::{CoroutineRecord, Distribution, LoopRecord};

/// The numbers of a process.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct Metrics {
    /// The process's number.
    pub process: u32,
    /// Monotonic seconds.
    pub taken_at: f64,
    /// The loops that exist.
    pub loops: Vec<LoopMetrics>,
    /// Tasks of all loops, by their coroutines' names; `None` without the task registry.
    pub coroutines: Option<Vec<CoroutineMetrics>>,
    /// Where loops were blocked, as far as the watchdog was on.
    pub blocks: Vec<BlockMetrics>,
    /// How often the watchdog saw a loop come no further for as long as a block, while others had
    /// the processors: none of them is a block.
    #[serde(default)]
    pub descheduled: u64,
    /// What needs the interpreter to be known.
    pub interpreter: Option<InterpreterMetrics>,
}

/// The numbers of a loop.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct LoopMetrics {
    /// Counts the process's loops, from 1.
    pub id: u64,
    /// Whether it runs.
    pub running: bool,
    /// Turns so far.
    pub turns: u64,
    /// Entries in the batch of the turn that goes on; 0 while the loop waits.
    pub ready: u64,
    /// Timers that wait, as the turn began.
    pub timers: u64,
    /// Seconds spent in turns, what goes on included.
    pub busy: f64,
    /// Seconds spent in waiting for events, and for the interpreter after it.
    pub waiting: f64,
    /// The busy share of the last second or two, from 0 to 1.
    pub busy_share: f64,
    /// How long the loop has not looked for events, up to now; 0 while it waits.
    pub lag_now: f64,
    /// How long it did not: each time from one poll to the next.
    pub lag: Distribution,
    /// For each turn with timers that were due: how late the first of them was.
    pub timer_lateness: Distribution,
    /// Transports by kind.
    pub transports: Vec<TransportMetrics>,
    /// Bytes that transports and `sock_*` calls were given by the kernel.
    pub bytes_received: u64,
    /// Bytes that the kernel took from transports.
    pub bytes_sent: u64,
    /// System calls that did either.
    pub transfers: u64,
    /// Bytes that wait in transports because the kernel did not take them.
    pub write_buffer: u64,
    /// Connections that servers accepted.
    pub accepts: u64,
    /// Calls of `accept()` that failed.
    pub accept_failures: u64,
    /// Calls made by the default executor's threads.
    pub executor: CallMetrics,
    /// Name lookups.
    pub lookups: CallMetrics,
}

/// Transports of one kind.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TransportMetrics {
    /// "stream", "tls", "datagram", "pipe".
    pub kind: String,
    /// Those that are open.
    pub open: u64,
    /// All so far.
    pub opened: u64,
}

/// Calls in threads.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CallMetrics {
    /// Calls that were handed over.
    pub submitted: u64,
    /// Calls that raised.
    pub failed: u64,
    /// From being handed over to being begun.
    pub wait: Distribution,
    /// From there to the end.
    pub run: Distribution,
}

/// Tasks whose coroutines have one name.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct CoroutineMetrics {
    /// The coroutine's qualified name.
    pub coroutine: String,
    /// Tasks that are not done.
    pub alive: u64,
    /// Tasks that were made.
    pub created: u64,
    /// Steps that they have made.
    #[serde(default)]
    pub steps: u64,
    /// What the steps that were measured have taken.
    #[serde(default)]
    pub times: Option<StepTimes>,
}

/// What measured steps have taken.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct StepTimes {
    /// How many were measured.
    pub steps: u64,
    /// Seconds of CPU time.
    pub cpu: f64,
    /// Seconds from being ready to the step.
    pub delay: f64,
}

impl CoroutineMetrics {
    /// What is counted by one name.
    #[must_use]
    pub fn of(record: &CoroutineRecord) -> CoroutineMetrics {
        CoroutineMetrics {
            coroutine: record.name().to_owned(),
            alive: record.created().saturating_sub(record.done()),
            created: record.created(),
            steps: record.steps(),
            times: record.times().map(|times| StepTimes {
                steps: times.steps,
                cpu: seconds(times.cpu),
                delay: seconds(times.delay),
            }),
        }
    }
}

/// Blocks at one place.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct BlockMetrics {
    /// The innermost Python frame, if one was seen.
    pub site: Option<Site>,
    /// The watchdog's word for the cause.
    pub cause: String,
    /// How many there were.
    pub count: u64,
    /// Seconds, all together.
    pub total: f64,
    /// Seconds of the longest.
    pub longest: f64,
}

/// What could be learned only with the interpreter.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct InterpreterMetrics {
    /// Monotonic seconds of the moment it was true.
    pub at: f64,
    /// Tasks whose step is being made.
    pub running: u64,
    /// Tasks that stand in the ready queue.
    pub ready: u64,
    /// Tasks that wait.
    pub waiting: u64,
    /// Tasks that wait, by what for and where.
    pub waits: Vec<WaitMetrics>,
    /// Queues, by the line that made them.
    #[serde(default)]
    pub queues: Vec<QueueMetrics>,
}

/// Queues that were made at one line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct QueueMetrics {
    /// The line.
    pub site: Option<Site>,
    /// What a task that waits for one of them calls it.
    #[serde(default)]
    pub name: Option<String>,
    /// How many queues there are.
    pub queues: u64,
    /// What is in all of them.
    pub items: u64,
    /// What is in the fullest.
    pub most: u64,
    /// Tasks that wait for an item of one.
    pub getters: u64,
    /// Tasks that wait for room in one.
    pub putters: u64,
    /// Items for which `task_done()` was not called yet.
    pub unfinished: u64,
}

impl QueueMetrics {
    fn by_site(queues: &[Queue], names: &HashMap<u64, &str>) -> Vec<QueueMetrics> {
        let mut sites: Vec<QueueMetrics> = Vec::new();
        let mut known: HashMap<Option<&Site>, usize> = HashMap::new();
        for queue in queues {
            let place = *known.entry(queue.created.as_ref()).or_insert(sites.len());
            if place == sites.len() {
                sites.push(QueueMetrics {
                    site: queue.created.clone(),
                    name: None,
                    queues: 0,
                    items: 0,
                    most: 0,
                    getters: 0,
                    putters: 0,
                    unfinished: 0,
                });
            }
            let site = &mut sites[place];
            if site.name.is_none() {
                site.name = names.get(&queue.object).map(|&name| name.to_owned());
            }
            site.queues += 1;
            site.items += queue.items;
            site.most = site.most.max(queue.items);
            site.getters += queue.getters;
            site.putters += queue.putters;
            site.unfinished += queue.unfinished;
        }
        sites.sort_by(|one, other| {
            let order = |site: &QueueMetrics| Reverse(site.items);
            order(one)
                .cmp(&order(other))
                .then_with(|| one.site.cmp(&other.site))
        });
        sites
    }
}

/// Tasks that wait for the same kind of thing by the same name at the same line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct WaitMetrics {
    /// "lock", "queue-get" and so on, as in a snapshot.
    pub kind: WaitKind,
    /// What the program calls the thing, where that is known.
    #[serde(default)]
    pub name: Option<String>,
    /// The line that waits.
    pub site: Option<Site>,
    /// Tasks that wait.
    pub tasks: u64,
    /// Seconds that the one has waited that has waited longest.
    pub longest: f64,
}

impl InterpreterMetrics {
    /// Counts what a snapshot shows.
    #[must_use]
    pub fn of(snapshot: &Snapshot) -> InterpreterMetrics {
        let tasks = || snapshot.loops.iter().flat_map(|each| &each.tasks);
        let count = |state| tasks().filter(|task| task.state == state).count() as u64;
        let mut names: HashMap<u64, &str> = HashMap::new();
        for wait in tasks().filter_map(|task| task.wait.as_ref()) {
            if let Some(name) = &wait.name {
                names.insert(wait.object, name);
            }
        }
        let mut waits: HashMap<_, (u64, f64)> = HashMap::new();
        for wait in tasks().filter_map(|task| task.wait.as_ref()) {
            let (tasks, longest) = waits
                .entry((wait.kind, wait.name.clone(), wait.site.clone()))
                .or_default();
            *tasks += 1;
            let waited = wait.since.map_or(0.0, |since| snapshot.tasks_at - since);
            *longest = longest.max(waited);
        }
        let mut waits: Vec<_> = waits
            .into_iter()
            .map(|((kind, name, site), (tasks, longest))| WaitMetrics {
                kind,
                name,
                site,
                tasks,
                longest,
            })
            .collect();
        waits.sort_by_key(|wait| (Reverse(wait.tasks), place(wait)));
        InterpreterMetrics {
            at: snapshot.tasks_at,
            running: count(TaskState::Running),
            ready: count(TaskState::Ready),
            waiting: count(TaskState::Waiting),
            waits,
            queues: QueueMetrics::by_site(&snapshot.queues, &names),
        }
    }
}

impl LoopMetrics {
    /// The numbers of a loop, now. For any thread, whatever the loop's is at.
    #[must_use]
    pub fn of(record: &LoopRecord) -> LoopMetrics {
        let counters = &record.counters;
        let spent = counters.spent(now_ns());
        let (bytes_received, bytes_sent, transfers, write_buffer) = counters.traffic.bytes();
        let read = |number: &AtomicU64| number.load(Ordering::Relaxed);
        LoopMetrics {
            id: record.id(),
            running: spent.runs,
            turns: record.heartbeat.turns(),
            ready: read(&counters.ready),
            timers: read(&counters.timers),
            busy: seconds(spent.busy),
            waiting: seconds(spent.waiting),
            busy_share: share(spent.recent),
            lag_now: seconds(spent.lag),
            lag: counters.lag.read(),
            timer_lateness: counters.timer_lateness.read(),
            transports: TransportKind::ALL
                .map(|kind| {
                    let (open, opened) = counters.traffic.transports(kind);
                    TransportMetrics {
                        kind: kind.name().to_owned(),
                        open,
                        opened,
                    }
                })
                .into(),
            bytes_received,
            bytes_sent,
            transfers,
            write_buffer,
            accepts: read(&counters.accepts.accepted),
            accept_failures: read(&counters.accepts.failed),
            executor: CallMetrics::of(&counters.executor),
            lookups: CallMetrics::of(&counters.lookups),
        }
    }
}

impl From<SiteBlocks> for BlockMetrics {
    fn from(blocks: SiteBlocks) -> BlockMetrics {
        BlockMetrics {
            site: blocks.site,
            cause: blocks.cause.to_string(),
            count: blocks.count,
            total: blocks.total,
            longest: blocks.longest,
        }
    }
}

impl CallMetrics {
    fn of(calls: &Calls) -> CallMetrics {
        CallMetrics {
            submitted: calls.submitted.load(Ordering::Relaxed),
            failed: calls.failed.load(Ordering::Relaxed),
            wait: calls.wait.read(),
            run: calls.run.read(),
        }
    }
}

impl Metrics {
    /// The numbers that need nobody's help: those of the loops, and of their blocks.
    #[must_use]
    pub fn of_loops() -> Metrics {
        Metrics {
            process: std::process::id(),
            taken_at: crate::clock::now(),
            loops: crate::loops()
                .iter()
                .map(|record| LoopMetrics::of(record))
                .collect(),
            coroutines: None,
            blocks: blocks_by_site()
                .into_iter()
                .map(BlockMetrics::from)
                .collect(),
            descheduled: watchdog::counters().descheduled,
            interpreter: None,
        }
    }
}

/// What orders waits of as many tasks.
fn place(wait: &WaitMetrics) -> (Option<(String, u32)>, Option<String>) {
    let line = wait
        .site
        .as_ref()
        .map(|site| (site.file.clone(), site.line));
    (line, wait.name.clone())
}

fn share((whole, part): (u64, u64)) -> f64 {
    if whole == 0 {
        0.0
    } else {
        (seconds(part) / seconds(whole)).clamp(0.0, 1.0)
    }
}
