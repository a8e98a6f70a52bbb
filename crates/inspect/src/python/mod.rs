//! Running Python threads as they look from outside: no lock of the interpreter, no signal.
//!
//! | module | what it holds |
//! |---|---|
//! | `memory` | reading what may be gone |
//! | `layout` | where CPython keeps what is looked at, for each version |
//! | `text`, `location_table` | the content of a `str`, the lines of a function |
//! | `frames` | the stack of a thread |
//! | `gil` | who holds the interpreter, whether it collects garbage |
//! | `moment` | what a thread is at, at one moment |
//! | `cause` | what follows from several moments: why a thread is where it is |

mod cause;
mod frames;
mod gil;
mod layout;
pub mod location_table;
pub mod memory;
mod moment;
mod text;

pub use cause::{Cause, cause, cause_when_run};
pub use frames::{Frame, frames};
pub use layout::Layout;
pub use memory::Unreadable;
pub use text::{read_bytes_object, read_text};
