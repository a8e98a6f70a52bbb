//! The watchdog's eyes on real threads: what the kernel tells, and Python's memory from outside.

use std::time::Duration;

use rustix::thread::gettid;
use rustix::time::{ClockId, clock_gettime};

use super::eyes::{Eyes, RunTime, SeenTask};
use super::source_lines::SourceLines;
use crate::kernel::{Activity, activity, times};
use crate::python::memory::{Unreadable, read_bytes, read_u64, read_usize};
use crate::python::{Cause, Layout, cause, frames, read_text};
use crate::snapshot::Site;
use crate::{SiteId, coroutine_records, site};

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
    /// What the registry keeps, where it is on.
    pub registry: Option<RegistryLayout>,
}

/// Where a task keeps what the registry remembers.
#[derive(Clone, Copy, Debug)]
pub struct RegistryLayout {
    /// The id, a `u64`; 0 for none.
    pub id: usize,
    /// A `u64` with the number of the site that created it in the lowest bits.
    pub site: usize,
    /// The address of its [`CoroutineRecord`](crate::CoroutineRecord), or 0.
    pub coroutine: usize,
    /// The id of the task that answers for it, a `u64`; 0 for none.
    pub owner_task: usize,
    /// Who made it, a byte.
    pub maker: usize,
    /// What the byte means in words, where that says more than the site.
    pub maker_name: fn(u8) -> Option<&'static str>,
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

    /// Adds what the registry knows.
    fn look_up(
        task: usize,
        registry: RegistryLayout,
        seen: &mut SeenTask,
    ) -> Result<(), Unreadable> {
        let id = read_u64(task + registry.id)?;
        seen.id = (id != 0).then_some(id);
        let low_bits = read_u64(task + registry.site)? % u64::from(SiteId::BOUND);
        let number = u32::try_from(low_bits).unwrap_or(0);
        seen.created = site(SiteId::from_number(number));
        // Only compared: what is at a task's address may be no task any more.
        let record = read_usize(task + registry.coroutine)?;
        seen.coroutine = coroutine_records()
            .into_iter()
            .find(|known| (&raw const **known).addr() == record)
            .map(|known| known.name().to_owned());
        let [maker] = read_bytes::<1>(task + registry.maker)?;
        let owner_task = read_u64(task + registry.owner_task)?;
        seen.owner = (registry.maker_name)(maker).map(|name| match owner_task {
            0 => name.to_owned(),
            task => format!("{name} of task {task}"),
        });
        Ok(())
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
        let mut seen = SeenTask {
            // A task that has just been freed has none.
            name: self.name(address).ok(),
            ..SeenTask::default()
        };
        if let Some(registry) = self.tasks.registry
            && Outside::look_up(address, registry, &mut seen).is_err()
        {
            seen = SeenTask::default();
        }
        seen
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
