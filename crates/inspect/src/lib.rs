//! What ferrio's event loops write down about themselves, and who reads it.
//!
//! A loop's thread writes to atomics ([`Heartbeat`]); a native thread reads them, whatever the
//! loop's thread does and whoever holds the interpreter. What needs the interpreter to be known is
//! collected into a [`Snapshot`] by the extension and handed over here. Nothing in this crate
//! calls Python; what it knows of CPython's memory it reads from outside.
//!
//! | module | what it holds |
//! |---|---|
//! | `heartbeat` | what a loop is doing now |
//! | `loops` | the loops of the process |
//! | `snapshot` | a process's loops and tasks as plain data: what every view is made from |
//! | `view` | snapshots as text: `ferrio ps`, `tree`, `dump` |

mod heartbeat;
mod loops;
pub mod snapshot;
pub mod view;

pub use heartbeat::{Doing, Heartbeat};
pub use loops::{LoopRecord, add_loop, loops};
pub use snapshot::Snapshot;
