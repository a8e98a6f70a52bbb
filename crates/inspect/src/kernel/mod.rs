//! What the kernel tells of the threads of this process.
//!
//! | module | what it holds |
//! |---|---|
//! | `activity` | whether a thread runs, or in which system call it sleeps |
//! | `times` | how long it ran, and how long it waited for a processor |
//! | `syscall_names` | system calls by number |
//! | `thread_name` | what a thread is called |

mod activity;
mod syscall_names;
mod thread_name;
mod times;

pub use activity::{Activity, activity};
pub(crate) use syscall_names::is_futex;
pub use syscall_names::syscall_name;
pub use thread_name::thread_name;
pub use times::{Times, cpu_time, times};

use std::fs;
use std::io;

/// The text of a file in `/proc` about a thread of this process.
fn read_file(thread: u32, name: &str) -> io::Result<String> {
    fs::read_to_string(format!("/proc/self/task/{thread}/{name}"))
}
