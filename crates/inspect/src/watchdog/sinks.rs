//! Where reports are written without Python: standard error, and a file of JSON lines.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::desk::Announcement;
use super::tally::Words;

/// A pipe that is writable takes at least so much at once.
const PIECE: usize = 4096;

/// Where reports are written.
#[derive(Clone, Debug, Default)]
pub struct Sinks {
    /// Whether they go to standard error.
    pub standard_error: bool,
    /// The file to which they are appended, a line of JSON each.
    pub file: Option<PathBuf>,
}

static SINKS: Mutex<Sinks> = Mutex::new(Sinks {
    standard_error: false,
    file: None,
});

fn sinks() -> MutexGuard<'static, Sinks> {
    // A panic elsewhere leaves one choice or the other behind.
    SINKS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Has reports written there from now on.
pub fn set_sinks(new: Sinks) {
    *sinks() = new;
}

/// Writes what is to be written of a report.
pub(super) fn write(announcement: &Announcement) {
    let sinks = sinks().clone();
    if let Some(path) = &sinks.file
        && announcement.words != Words::None
        && let Err(error) = append(path, announcement)
    {
        to_standard_error(&format!(
            "ferrio.watchdog: {} cannot be written: {error}\n",
            path.display()
        ));
    }
    if sinks.standard_error
        && let Some(text) = announcement.text()
    {
        to_standard_error(&text);
    }
}

fn append(path: &PathBuf, announcement: &Announcement) -> io::Result<()> {
    let mut line = serde_json::to_vec(&*announcement.report)?;
    line.push(b'\n');
    // A FIFO without a reader is an error, and not a reason to wait.
    let mut file = OpenOptions::new()
        .append(true)
        .create(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(path)?;
    file.write_all(&line)
}

/// Writes as far as nobody has to be waited for: a reader that does not read must not keep the
/// watchdog from looking.
fn to_standard_error(text: &str) {
    let stderr = io::stderr();
    let soon = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        let mut watched = [PollFd::from_borrowed_fd(stderr.as_fd(), PollFlags::OUT)];
        if !matches!(poll(&mut watched, Some(&soon)), Ok(1)) {
            return;
        }
        let piece = rest.get(..PIECE).unwrap_or(rest);
        match rustix::io::write(stderr.as_fd(), piece) {
            Ok(written) => rest = rest.get(written..).unwrap_or_default(),
            Err(rustix::io::Errno::INTR) => {}
            // There is nowhere to say that nothing can be said.
            Err(_gone) => return,
        }
    }
}
