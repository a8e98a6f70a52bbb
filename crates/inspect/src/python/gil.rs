//! Who holds the lock of the interpreter.

use super::layout::{GilPlace, Layout};
use super::memory::{Copied, Unreadable, read_u64, read_usize};

/// A thread's interpreter lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Gil<'a> {
    layout: &'a Layout,
    address: usize,
}

impl Gil<'_> {
    /// The one that the thread with that `PyThreadState` needs.
    pub(crate) fn of(layout: &Layout, thread_state: usize) -> Result<Gil<'_>, Unreadable> {
        let address = match layout.gil.place {
            GilPlace::Process(address) => address,
            GilPlace::Interpreter(offset) => {
                read_usize(interpreter(layout, thread_state)? + offset)?
            }
        };
        Ok(Gil { layout, address })
    }

    /// The `PyThreadState` of the thread that holds it, if any does.
    pub(crate) fn holder(self) -> Result<Option<usize>, Unreadable> {
        let places = &self.layout.gil;
        let memory = Copied::of(self.address, places.holder.max(places.locked) + 8)?;
        // Uninitialised is -1.
        let is_locked = memory.u32_at(places.locked)? == 1;
        Ok(is_locked
            .then_some(memory.usize_at(places.holder)?)
            .filter(|holder| *holder != 0))
    }

    /// Whether a thread that waits at that address waits for the lock.
    pub(crate) fn is_waited_for_at(self, address: usize) -> bool {
        (self.address..self.address + self.layout.gil.size).contains(&address)
    }
}

/// The kernel's number of the thread with that `PyThreadState`.
pub(crate) fn native_thread(layout: &Layout, thread_state: usize) -> Result<u32, Unreadable> {
    let number = read_u64(thread_state + layout.thread.native_thread)?;
    u32::try_from(number).map_err(|_too_large| Unreadable::Changed)
}

/// Whether the collector of the thread's interpreter is at work.
pub(crate) fn is_collecting(layout: &Layout, thread_state: usize) -> Result<bool, Unreadable> {
    let flag = interpreter(layout, thread_state)? + layout.gc.collecting;
    Ok(super::memory::read_u32(flag)? != 0)
}

fn interpreter(layout: &Layout, thread_state: usize) -> Result<usize, Unreadable> {
    read_usize(thread_state + layout.thread.interpreter)
}
