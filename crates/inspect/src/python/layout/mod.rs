//! Where CPython keeps what is looked at, for each version.
//!
//! From 3.13 on the interpreter says it itself: `_PyRuntime` begins with a table of offsets that
//! is meant for debuggers. Before that the offsets are constants of the version, read off its
//! headers with `offsetof`. Neither is believed before [`Layout::verify`] has read the frames of
//! the thread that asks from outside and found what Python says of them.

mod published;
mod v311;
mod v312;
mod v313;
mod v314;

use super::frames::{Frame, frames};
use super::gil;
use super::memory::{Unreadable, read_u64, read_usize};

/// Where CPython keeps what is looked at, in the running interpreter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Layout {
    /// The address of `PyCode_Type`: how a code object is known.
    pub(crate) code_type: usize,
    pub(crate) thread: ThreadLayout,
    pub(crate) frame: FrameLayout,
    pub(crate) code: CodeLayout,
    pub(crate) text: TextLayout,
    pub(crate) bytes: BytesLayout,
    pub(crate) gil: GilLayout,
    pub(crate) gc: GcLayout,
}

/// Offsets in a `PyThreadState`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct ThreadLayout {
    /// The interpreter that it belongs to.
    pub(crate) interpreter: usize,
    /// The kernel's number of the thread.
    pub(crate) native_thread: usize,
    /// The innermost frame.
    pub(crate) current_frame: CurrentFrame,
}

/// How a thread's state leads to the innermost frame.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum CurrentFrame {
    /// Its address is in the state (from 3.13).
    Direct(usize),
    /// The state has the address of a structure on the C stack that has the frame's.
    Through { c_frame: usize, frame: usize },
}

/// Offsets in an `_PyInterpreterFrame`, and what its `owner` means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct FrameLayout {
    /// How much of it is read.
    pub(crate) size: usize,
    /// The code object; from 3.14 with a tag in the lowest bits.
    pub(crate) code: usize,
    pub(crate) previous: usize,
    /// The address of the instruction being executed.
    pub(crate) instruction: usize,
    pub(crate) owner: usize,
    /// Owners from this one on are no Python code: they link C code into the chain.
    pub(crate) first_shim: u8,
}

/// Offsets in a `PyCodeObject`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct CodeLayout {
    pub(crate) file: usize,
    pub(crate) qualified_name: usize,
    pub(crate) location_table: usize,
    pub(crate) first_line: usize,
    /// Where the instructions begin; the last of these in the object.
    pub(crate) instructions: usize,
    /// The instructions that jump backward without running anything: what stands still there
    /// loops in Python.
    pub(crate) backward_jumps: &'static [u8],
}

/// Offsets in a `str`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct TextLayout {
    pub(crate) length: usize,
    pub(crate) state: usize,
    /// Where the characters of one that is ASCII begin.
    pub(crate) ascii: usize,
    /// Where those of any other begin.
    pub(crate) other: usize,
}

/// Offsets in a `bytes` object.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct BytesLayout {
    pub(crate) length: usize,
    pub(crate) content: usize,
}

/// Where the lock of the interpreter is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GilLayout {
    pub(crate) place: GilPlace,
    /// Offsets in a `_gil_runtime_state`.
    pub(crate) holder: usize,
    pub(crate) locked: usize,
    /// What of it threads may wait on.
    pub(crate) size: usize,
}

/// Whose the lock of the interpreter is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum GilPlace {
    /// The process's, at this address (3.11).
    Process(usize),
    /// The interpreter's, which has its address at this offset.
    Interpreter(usize),
}

/// Offsets in a `PyInterpreterState`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct GcLayout {
    /// Not zero during a collection. `gc.garbage` and `gc.callbacks` follow.
    pub(crate) collecting: usize,
}

/// The same in all versions, on all 64-bit machines: `ob_type`.
pub(crate) const TYPE: usize = 8;

const BYTES: BytesLayout = BytesLayout {
    length: 16,
    content: 32,
};

impl GilLayout {
    fn at(place: GilPlace) -> GilLayout {
        GilLayout {
            place,
            holder: 8,
            locked: 16,
            // Four words, and twice a condition and a mutex.
            size: 32 + 2 * (size_of::<libc::pthread_cond_t>() + size_of::<libc::pthread_mutex_t>()),
        }
    }
}

impl Layout {
    /// Learns it in the running interpreter.
    ///
    /// `version` is `Py_Version`, `runtime` the address of `_PyRuntime` and `code_type` that of
    /// `PyCode_Type`. `None` for a version or a build that is not known.
    #[must_use]
    pub fn learn(version: u32, runtime: usize, code_type: usize) -> Option<Layout> {
        if size_of::<usize>() != 8 {
            return None;
        }
        let learned = match version >> 16 {
            0x030b => Ok(v311::layout(runtime, code_type)),
            0x030c => Ok(v312::layout(code_type)),
            0x030d => v313::layout(version, runtime, code_type),
            0x030e => v314::layout(version, runtime, code_type),
            _ => return None,
        };
        // What cannot be read is not known.
        learned.ok()
    }

    /// Whether what is read of the calling thread is what Python says of it.
    ///
    /// The thread holds the interpreter; `frames` are those of its stack, innermost first,
    /// as far as they are compared; `collector_lists` the addresses of `gc.garbage` and
    /// `gc.callbacks`.
    #[must_use]
    pub fn verify(
        &self,
        thread: u32,
        thread_state: usize,
        expected: &[Frame],
        collector_lists: (usize, usize),
    ) -> bool {
        let same_frames =
            || frames(self, thread_state, expected.len()).is_ok_and(|found| found == expected);
        let same_thread = || {
            read_u64(thread_state + self.thread.native_thread)
                .is_ok_and(|number| number == u64::from(thread))
        };
        let holds_the_interpreter = || {
            gil::Gil::of(self, thread_state)
                .and_then(|gil| gil.holder())
                .is_ok_and(|holder| holder == Some(thread_state))
        };
        let same_collector =
            || matches!(self.collector_lists(thread_state), Ok(lists) if lists == collector_lists);
        !expected.is_empty()
            && same_frames()
            && same_thread()
            && holds_the_interpreter()
            && same_collector()
    }

    fn collector_lists(&self, thread_state: usize) -> Result<(usize, usize), Unreadable> {
        let interpreter = read_usize(thread_state + self.thread.interpreter)?;
        let collecting = interpreter + self.gc.collecting;
        Ok((read_usize(collecting + 8)?, read_usize(collecting + 16)?))
    }
}
