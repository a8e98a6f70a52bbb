//! The programs without Python that ferrio's echo benchmarks need.
//!
//! * [`client::Client`] drives an echo server over many connections and compares every byte that
//!   comes back. It is one thread around one epoll, so that its cost per message stays below that
//!   of any Python server and the server is what is measured.
//! * [`handshakes::Handshakes`] opens TLS connections to a server, one after the other, many at a
//!   time.
//! * [`server::Server`] is an echo server with nothing but the system calls in it: the floor that
//!   no event loop for Python can go under.
//! * [`datagrams`] has both for UDP.
//!
//! All are commanded over standard input, so that the harness knows when a measured window begins
//! and ends: see `main.rs` for the lines that are exchanged.

pub mod client;
mod connection;
pub mod datagrams;
pub mod handshakes;
pub mod messages;
pub mod server;
mod tls;
