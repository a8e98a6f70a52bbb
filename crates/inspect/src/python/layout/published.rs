//! The table of offsets that `_PyRuntime` begins with from 3.13 on: 64-bit words, whose order is
//! the version's.

use super::{
    BytesLayout, CodeLayout, CurrentFrame, FrameLayout, GcLayout, GilLayout, GilPlace, Layout,
    TextLayout, ThreadLayout,
};
use crate::python::memory::{Unreadable, read_vec};

/// At which word of the table an offset is, and what the table does not say.
pub(super) struct Words {
    /// How long the table is.
    pub(super) count: usize,
    pub(super) interpreter_gc: usize,
    pub(super) interpreter_gil_pointer: usize,
    pub(super) interpreter_gil: usize,
    pub(super) interpreter_gil_locked: usize,
    pub(super) interpreter_gil_holder: usize,
    pub(super) thread_interpreter: usize,
    pub(super) thread_current_frame: usize,
    pub(super) thread_native_thread: usize,
    pub(super) frame_previous: usize,
    pub(super) frame_code: usize,
    pub(super) frame_instruction: usize,
    pub(super) frame_owner: usize,
    pub(super) code_file: usize,
    pub(super) code_qualified_name: usize,
    pub(super) code_location_table: usize,
    pub(super) code_first_line: usize,
    pub(super) code_instructions: usize,
    pub(super) bytes_length: usize,
    pub(super) bytes_content: usize,
    pub(super) text_state: usize,
    pub(super) text_length: usize,
    pub(super) text_ascii: usize,
    pub(super) gc_collecting: usize,
    /// See [`FrameLayout::first_shim`].
    pub(super) first_shim: u8,
    /// See [`CodeLayout::backward_jumps`].
    pub(super) backward_jumps: &'static [u8],
}

/// The layout that the table at `runtime` gives.
///
/// # Errors
/// When there is no such table, or that of another version or of a free-threaded build.
pub(super) fn layout(
    words: &Words,
    version: u32,
    runtime: usize,
    code_type: usize,
) -> Result<Layout, Unreadable> {
    let table = Table(read_vec(runtime, words.count * 8, 4096)?);
    let is_free_threaded = table.word(2)? != 0;
    if !table.0.starts_with(b"xdebugpy") || table.word(1)? != version as usize || is_free_threaded {
        return Err(Unreadable::Strange);
    }
    let at = |index| table.offset(index);
    let owner = at(words.frame_owner)?;
    let instruction = at(words.frame_instruction)?;
    let text_ascii = at(words.text_ascii)?;
    let gil = at(words.interpreter_gil)?;
    let within_gil =
        |index| at(index).and_then(|place| place.checked_sub(gil).ok_or(Unreadable::Strange));
    Ok(Layout {
        code_type,
        thread: ThreadLayout {
            interpreter: at(words.thread_interpreter)?,
            native_thread: at(words.thread_native_thread)?,
            current_frame: CurrentFrame::Direct(at(words.thread_current_frame)?),
        },
        frame: FrameLayout {
            size: instruction.max(owner) + 8,
            code: at(words.frame_code)?,
            previous: at(words.frame_previous)?,
            instruction,
            owner,
            first_shim: words.first_shim,
        },
        code: CodeLayout {
            file: at(words.code_file)?,
            qualified_name: at(words.code_qualified_name)?,
            location_table: at(words.code_location_table)?,
            first_line: at(words.code_first_line)?,
            instructions: at(words.code_instructions)?,
            backward_jumps: words.backward_jumps,
        },
        text: TextLayout {
            length: at(words.text_length)?,
            state: at(words.text_state)?,
            ascii: text_ascii,
            // A text that is not ASCII has its UTF-8 form's length and address first.
            other: text_ascii + 16,
        },
        bytes: BytesLayout {
            length: at(words.bytes_length)?,
            content: at(words.bytes_content)?,
        },
        gil: GilLayout {
            holder: within_gil(words.interpreter_gil_holder)?,
            locked: within_gil(words.interpreter_gil_locked)?,
            ..GilLayout::at(GilPlace::Interpreter(at(words.interpreter_gil_pointer)?))
        },
        gc: GcLayout {
            collecting: at(words.interpreter_gc)? + at(words.gc_collecting)?,
        },
    })
}

struct Table(Vec<u8>);

impl Table {
    fn word(&self, index: usize) -> Result<usize, Unreadable> {
        self.0
            .get(index * 8..)
            .and_then(|rest| rest.first_chunk())
            .map(|word| usize::from_ne_bytes(*word))
            .ok_or(Unreadable::Strange)
    }

    /// An offset, which is none if it is larger than any structure.
    fn offset(&self, index: usize) -> Result<usize, Unreadable> {
        self.word(index).and_then(|offset| {
            (offset < 1 << 24)
                .then_some(offset)
                .ok_or(Unreadable::Strange)
        })
    }
}
