//! The watchdog: one native thread that says who blocks a loop, while it does.
//!
//! It never waits for the interpreter. Every few milliseconds it looks at the heartbeat of each loop
//! that it is to watch ([`LoopRecord::set_threshold`](crate::LoopRecord::set_threshold)); a loop that
//! is at one thing for longer than the threshold is looked at closely, from outside, and what was
//! found goes at once to the native sinks, and to a listener that hands it on to Python.
//!
//! | module | what it holds |
//! |---|---|
//! | `watch` | what is kept in mind of one loop from look to look |
//! | `span` | how long something has been going on, and how much of that counts |
//! | `alarm` | what is said of one block: first, with back-off, at its end |
//! | `report` | what was found, as data and in words |
//! | `tally` | blocks by place, and how much is still said of each |
//! | `desk` | the process's blocks: counted, kept, handed out |
//! | `sinks` | standard error and the file |
//! | `eyes` | what it looks with: a trait, so that tests script what is seen |
//! | `outside`, `source_lines` | its eyes on real threads, and on files |

mod alarm;
mod desk;
mod eyes;
mod outside;
mod report;
mod sinks;
mod source_lines;
mod span;
mod tally;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

pub use desk::Counters;
use desk::Desk;
pub use eyes::{Culprit, Eyes, RunTime, SeenTask};
pub use outside::{Outside, RegistryLayout, TaskLayout};
pub use report::{Holder, Report, TurnSeen};
pub use sinks::{Sinks, set_sinks};
pub use tally::SiteBlocks;
use watch::Watch;

use crate::services::{Stop, services};
use crate::{LoopRecord, loops};

/// The name of its service.
pub const NAME: &str = "ferrio-watchdog";

static DESK: Desk = Desk::new();

/// Is told of each report, and what of it is to be written into a log: nothing if enough was
/// written of its place.
pub type Listener = Arc<dyn Fn(&Arc<Report>, Option<String>) + Send + Sync>;

/// A loop that is to be watched begins to run: starts the thread, or wakes it. The caller holds the
/// interpreter.
///
/// # Errors
/// What the kernel says when there can be no thread.
pub fn attend<E: Eyes + 'static>(
    eyes: impl Fn() -> E + Send + Sync + 'static,
    listener: Listener,
) -> io::Result<()> {
    if services().has(NAME) {
        services().nudge(NAME);
        return Ok(());
    }
    services().start(NAME, move |stop| run(&stop, &mut eyes(), &listener))
}

/// The last report of each of the last hundred blocks, oldest first.
#[must_use]
pub fn recent_blocks() -> Vec<Arc<Report>> {
    DESK.recent()
}

/// The blocks so far by place, those with the most time first.
#[must_use]
pub fn blocks_by_site() -> Vec<SiteBlocks> {
    DESK.sites()
}

/// What was noticed so far.
#[must_use]
pub fn counters() -> Counters {
    DESK.counters()
}

/// This is the child of a fork: what was noticed was the parent's.
pub fn forget() {
    DESK.clear();
}

/// The thread's life.
fn run(stop: &Stop, eyes: &mut dyn Eyes, listener: &Listener) {
    let mut watches = Watches::default();
    let mut wanted = None;
    loop {
        let now = eyes.now();
        let late = wanted.map_or(Duration::ZERO, |wanted| now.saturating_sub(wanted));
        let next = watches.look(&loops(), late, eyes, &DESK);
        send_out(listener);
        let is_over = match next {
            Some(next) => {
                wanted = Some(eyes.now() + next);
                stop.wait_timeout(next)
            }
            None => {
                wanted = None;
                stop.wait()
            }
        };
        if is_over {
            // A block may have come to its end with the program.
            watches.look(&loops(), Duration::ZERO, eyes, &DESK);
            send_out(listener);
            return;
        }
    }
}

fn send_out(listener: &Listener) {
    for announcement in DESK.take_outgoing() {
        sinks::write(&announcement);
        listener(&announcement.report, announcement.text());
    }
}

/// The watches on all loops.
#[derive(Debug, Default)]
struct Watches(HashMap<u64, Watch>);

impl Watches {
    /// Looks at every loop; gives when to look again, if any of them runs.
    fn look(
        &mut self,
        loops: &[Arc<LoopRecord>],
        late: Duration,
        eyes: &mut dyn Eyes,
        desk: &Desk,
    ) -> Option<Duration> {
        let mut next: Option<Duration> = None;
        let mut kept = HashMap::with_capacity(self.0.len());
        for record in loops {
            let (Some(threshold), Some(_)) = (record.threshold(), record.heartbeat.thread()) else {
                continue;
            };
            let mut watch = self
                .0
                .remove(&record.id())
                .unwrap_or_else(|| Watch::new(record));
            let again = watch.look(record, threshold, late, eyes, desk);
            next = Some(next.map_or(again, |next| next.min(again)));
            kept.insert(record.id(), watch);
        }
        for watch in self.0.values_mut() {
            watch.end(eyes, desk);
        }
        self.0 = kept;
        next
    }
}
