//! Snapshots as text, for terminals.
//!
//! A view takes a width in columns, or `None` where lines may be as long as they are (a pipe, a
//! file), and gives lines that each end with a newline. Names and sites come from the program: what
//! would steer a terminal is shown and not obeyed ([`words::plain`]).

mod dump;
mod ps;
mod table;
mod tree;
pub mod words;

pub use dump::{describe, dump};
pub use ps::{ProcessLine, processes, ps};
pub use tree::{tasks_above, tree};
