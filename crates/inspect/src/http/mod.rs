//! Shows loops over HTTP: the web page, JSON and Prometheus' text.
//!
//! One native thread serves all of it and never waits for Python longer than [`PATIENCE`], so it
//! answers while a loop is blocked. It speaks as much of HTTP/1.1 as that takes: GET and HEAD,
//! without bodies, one request a connection. The head of a request is read by `httparse`.
//!
//! | path | what it answers | token |
//! |---|---|---|
//! | `/` | the web page | yes |
//! | `/style.css`, `/live.js` and so on | what the page is made of; the same for everybody | no |
//! | `/live.json` | what the page shows: snapshot and metrics | yes |
//! | `/snapshot.json` | a [`Snapshot`](crate::Snapshot) | yes |
//! | `/metrics.json` | the [`Metrics`](crate::Metrics) | yes |
//! | `/metrics` | the same for Prometheus | yes, unless told otherwise |
//!
//! Who may ask is decided in `access`.
//!
//! | module | what it holds |
//! |---|---|
//! | `access` | who may ask: the token, Host, Origin |
//! | `connection` | one client, from its request to its answer |
//! | `pages` | which path is answered with what |
//! | `request`, `response` | the two messages |
//! | `server` | the thread |

mod access;
mod connection;
mod pages;
mod request;
mod response;
mod server;

use std::time::Duration;

pub use access::{Options, random_token};
pub use server::Server;

/// How long an answer waits for the interpreter.
pub const PATIENCE: Duration = Duration::from_millis(100);
