//! asyncio's streams: `StreamReader`, `StreamWriter`, `StreamReaderProtocol`.
//!
//! | file | what it holds |
//! |---|---|
//! | `received` | what has arrived and nobody has read |
//! | `reader`, `reader_python` | the reader: what the protocol tells it; as Python sees it |
//! | `reading` | the coroutines that read |
//! | `flow_control` | whether one may write |
//! | `protocol` | from a transport to a reader |
//! | `connected` | the task of a server's callback |
//! | `writer`, `writing` | the writer, and its coroutines |
//! | `originals` | asyncio's own, and what they do for the native ones |
//!
//! # The way of a packet
//!
//! A stream transport whose protocol is a plain `StreamReaderProtocol` with a plain reader copies
//! from the loop's receive buffer to what the reader keeps, and ends the future for which a
//! `read()` waits: no Python code runs, and no method is looked up. Where any of them is a
//! subclass, or something else altogether, `data_received()` and `feed_data()` are called as in
//! asyncio. TLS and pipes call them always; they are native methods.

mod connected;
mod flow_control;
mod originals;
mod protocol;
mod reader;
mod reader_python;
mod reading;
mod received;
mod writer;
mod writing;

pub(crate) use protocol::{StreamReaderProtocol, is_untouched};
pub(crate) use reading::ReadStream;
pub(crate) use writing::{Drain, DrainHelper, WaitClosed};

use crate::ffi::{Object, Outcome};

/// Builds the types.
pub(crate) fn build(module: &Object) -> Outcome<()> {
    originals::load()?;
    reader_python::build(module)?;
    flow_control::build(module)?;
    connected::build(module)?;
    protocol::build(module)?;
    writer::build(module)
}
