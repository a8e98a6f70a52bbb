//! What ferrio's event loops write down about themselves, and who reads it.
//!
//! A loop's thread writes to atomics ([`Heartbeat`]); a native thread reads them, whatever the
//! loop's thread does and whoever holds the interpreter. What needs the interpreter to be known is
//! collected into a [`Snapshot`] by the extension and handed over here. Nothing in this crate
//! calls Python; what it knows of CPython's memory it reads from outside.
//!
//! | module | what it holds |
//! |---|---|
//! | `coroutines` | counters by the name of a task's coroutine |
//! | `heartbeat` | what a loop is doing now |
//! | `loops` | the loops of the process |
//! | `sites` | places in programs, each kept once |
//! | `snapshot` | a process's loops and tasks as plain data: what every view is made from |
//! | `wait_graph` | which tasks wait for ever because of each other |

mod coroutines;
mod heartbeat;
mod loops;
mod sites;
pub mod snapshot;
pub mod wait_graph;

pub use coroutines::{CoroutineRecord, OTHER, coroutine_record, coroutine_records};
pub use heartbeat::{Doing, Heartbeat};
pub use loops::{LoopRecord, add_loop, loops};
pub use sites::{SiteId, intern_site, site};
pub use snapshot::Snapshot;
