//! What ferrio's event loops write down about themselves, and who reads it.
//!
//! A loop's thread writes to atomics ([`Heartbeat`]); a native thread reads them, whatever the
//! loop's thread does and whoever holds the interpreter. What needs the interpreter to be known is
//! collected into a [`Snapshot`] by the extension and handed over here. Nothing in this crate
//! calls Python; what it knows of CPython's memory it reads from outside.
//!
//! | module | what it holds |
//! |---|---|
//! | `clock` | the one clock of all times |
//! | `coroutines` | counters by the name of a task's coroutine |
//! | `counters` | what a loop's thread counts while it works |
//! | `heartbeat` | what a loop is doing now |
//! | `histogram` | how durations are distributed |
//! | `http` | all of it over HTTP |
//! | `kernel` | what the kernel tells of a thread |
//! | `loops` | the loops of the process |
//! | `metrics` | what was counted, as plain data |
//! | `prometheus` | metrics in Prometheus' text format |
//! | `python` | a running Python thread from outside: its frames, and why it is where it is |
//! | `reachability` | which tasks wait for what nobody who can run is able to reach |
//! | `services` | the native threads, which are stopped for a fork and at the end |
//! | `sites` | places in programs, each kept once |
//! | `snapshot` | a process's loops and tasks as plain data: what every view is made from |
//! | `socket` | the inspect socket, at both ends |
//! | `trace` | what loops do, recorded for a while |
//! | `view` | snapshots as text: `ferrio ps`, `tree`, `dump` |
//! | `source` | where views get their data from |
//! | `watchdog` | who blocks a loop, told while it does |
//! | `web` | the web page |
//! | `wait_graph` | which tasks wait for ever because of each other |

pub mod clock;
mod coroutines;
pub mod counters;
mod heartbeat;
mod histogram;
pub mod http;
pub mod kernel;
mod loops;
pub mod metrics;
pub mod prometheus;
pub mod python;
pub mod reachability;
pub mod services;
mod signals;
mod sites;
pub mod snapshot;
pub mod socket;
mod source;
pub mod trace;
pub mod view;
pub mod wait_graph;
pub mod watchdog;
mod web;

pub use coroutines::{CoroutineRecord, OTHER, coroutine_record, coroutine_records};
pub use counters::Counters;
pub use heartbeat::{Doing, Heartbeat};
pub use histogram::{Bucket, Distribution, Histogram};
pub use loops::{LoopRecord, add_loop, loops};
pub use metrics::Metrics;
pub use sites::{SiteId, intern_site, site};
pub use snapshot::Snapshot;
pub use source::Source;
