//! The watchdog's eyes on real threads: what the kernel tells, and Python's memory from outside.

use std::time::Duration;

use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};

use super::eyes::{Eyes, RunTime, SeenTask};
use super::source_lines::SourceLines;
use crate::kernel::{Activity, activity, times};
use crate::python::memory::{Unreadable, read_u64, read_usize};
use crate::python::{Cause, Layout, cause, frames, read_text};
use crate::snapshot::Site;

/// Frames beyond so many are left out, the outermost first.
const MOST_FRAMES: usize = 64;

/// Where a task keeps what is told of it: offsets from the start of the object.
#[derive(Clone, Copy, Debug)]
pub struct TaskLayout {
    /// The address of the name, or 0 for `Task-N` (from 3.14 on an int then).
    pub name: usize,
    /// N of `Task-N`, a `u64`.
    pub number: usize,
    /// The address of the class `str`: how a name is known.
    pub text_type: usize,
}

/// Looks at real threads.
#[derive(Debug)]
pub struct Outside {
    layout: Option<&'static Layout>,
    tasks: TaskLayout,
    sources: SourceLines,
}

impl Outside {
    /// Without a layout there are no frames, and only system calls are told from each other.
    #[must_use]
    pub fn new(layout: Option<&'static Layout>, tasks: TaskLayout) -> Outside {
        Outside {
            layout,
            tasks,
            sources: SourceLines::default(),
        }
    }

    fn name(&self, task: usize) -> Result<String, Unreadable> {
        let name = read_usize(task + self.tasks.name)?;
        // The class follows the count of references.
        if name != 0 && read_usize(name + size_of::<usize>())? == self.tasks.text_type {
            let layout = self.layout.ok_or(Unreadable::Strange)?;
            return read_text(layout, name);
        }
        let number = read_u64(task + self.tasks.number)?;
        Ok(format!("Task-{number}"))
    }
}

impl Eyes for Outside {
    fn now(&mut self) -> Duration {
        let now = clock_gettime(ClockId::Monotonic);
        Duration::new(
            now.tv_sec.unsigned_abs(),
            u32::try_from(now.tv_nsec).unwrap_or(0),
        )
    }

    fn own_delay(&mut self) -> Duration {
        let own = gettid().as_raw_nonzero().get().unsigned_abs();
        times(own).map_or(Duration::ZERO, |times| times.delayed)
    }

    fn frames(&mut self, _thread: u32, thread_state: usize) -> Vec<Site> {
        let Some(layout) = self.layout else {
            return Vec::new();
        };
        match frames(layout, thread_state, MOST_FRAMES) {
            Ok(frames) => frames.iter().map(Site::from).collect(),
            // It calls and returns faster than can be read: what is seen is nothing.
            Err(_changed) => Vec::new(),
        }
    }

    fn cause(&mut self, thread: u32, thread_state: usize) -> Cause {
        cause(self.layout, thread, thread_state)
    }

    fn task(&mut self, address: usize) -> SeenTask {
        SeenTask {
            // A task that has just been freed has none.
            name: self.name(address).ok(),
            ..SeenTask::default()
        }
    }

    fn run_time(&mut self, thread: u32) -> Option<RunTime> {
        let times = times(thread)?;
        Some(RunTime {
            cpu: times.ran,
            delay: times.delayed,
        })
    }

    fn is_runnable(&mut self, thread: u32) -> bool {
        activity(thread) == Some(Activity::Runnable)
    }

    fn source_line(&mut self, site: &Site) -> Option<String> {
        self.sources.line(site)
    }
}
