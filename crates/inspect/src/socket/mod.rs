//! The inspect socket: how `ferrio ps`, `tree`, `dump`, `top` and `trace` ask a running process.
//!
//! A process that allows it listens on a Unix socket, `PID.sock` in a directory that only its user
//! can enter ([`Directory`]). It is served by native threads, so that it answers while a loop is
//! blocked. Both ends check that the other is the same user's; root may ask anybody.
//!
//! # Protocol
//!
//! UTF-8 text, a JSON object a line. A client sends a request and reads lines until the one that
//! ends the answer; then it may send the next one.
//!
//! | request | parts | answer |
//! |---|---|---|
//! | `{"get": "snapshot", "patience": 0.2}` | none | a [`Snapshot`](crate::Snapshot): loops and tasks. `patience` is how long the interpreter is waited for, up to 10 s; 0.2 s without it |
//! | `{"get": "metrics"}` | none | the [`Metrics`](crate::Metrics) |
//! | `{"get": "blocks"}` | none | what the watchdog has seen, if it is on: `{"sites": …, "recent": …}`, where loops were blocked ([`BlockMetrics`](crate::metrics::BlockMetrics)), and the last report of each of the last hundred blocks, one that goes on included |
//! | `{"get": "trace", "seconds": 5}` | lists of Chrome trace events | what was recorded in that time (at most 60 s), one at a time: `{"events": 312, "lost": 0, "seconds": 5.0}` |
//!
//! Each line of an answer has one key: `{"part": …}`, of which there are any number; and one at the
//! end, `{"answer": …}` or, when the request could not be met, `{"error": "why"}`.
//!
//! # Limits
//!
//! A request has at most 4,096 bytes; a longer line is refused and the connection closed. Sixteen
//! clients can be connected; the next is told so and closed. A client that sends nothing for ten
//! minutes, or that does not take anything of its answer for ten seconds, is closed. Each has a
//! thread of its own and waits for no other.

mod client;
mod connection;
mod directory;
mod peer;
mod request;
mod server;

pub use client::{Client, ask_every_process, ask_processes_of};
pub use directory::Directory;
pub use request::{BlockReport, Blocks, Request, TraceSummary};
pub use server::InspectSocket;
