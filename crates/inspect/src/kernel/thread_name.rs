//! What a thread is called.

use super::read_file;

/// The name that the kernel has for a thread of this process, up to 15 bytes; `None` when it was
/// given none and is called as the process is (Python gives names since 3.14). The main thread has
/// the name that Python has for it.
#[must_use]
pub fn thread_name(thread: u32) -> Option<String> {
    if thread == std::process::id() {
        return Some("MainThread".to_owned());
    }
    let name = read_file(thread, "comm").ok()?;
    let process = read_file(std::process::id(), "comm").ok()?;
    (name != process).then(|| name.trim_end().to_owned())
}
