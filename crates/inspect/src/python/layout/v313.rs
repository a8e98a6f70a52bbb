//! CPython 3.13: the table of offsets, counted in words from the start of `_PyRuntime`
//! (`_Py_DebugOffsets` in pycore_runtime.h).

use super::Layout;
use super::published::{self, Words};
use crate::python::memory::Unreadable;

const WORDS: Words = Words {
    count: 73,
    interpreter_gc: 10,
    interpreter_gil_pointer: 14,
    interpreter_gil: 15,
    interpreter_gil_locked: 17,
    interpreter_gil_holder: 18,
    thread_interpreter: 22,
    thread_current_frame: 23,
    thread_native_thread: 25,
    frame_previous: 29,
    frame_code: 30,
    frame_instruction: 31,
    frame_owner: 33,
    code_file: 35,
    code_qualified_name: 37,
    code_location_table: 38,
    code_first_line: 39,
    code_instructions: 43,
    bytes_length: 65,
    bytes_content: 66,
    text_state: 68,
    text_length: 69,
    text_ascii: 70,
    gc_collecting: 72,
    // Owned by the C stack.
    first_shim: 3,
    // JUMP_BACKWARD, INSTRUMENTED_JUMP_BACKWARD.
    backward_jumps: &[77, 249],
};

pub(super) fn layout(version: u32, runtime: usize, code_type: usize) -> Result<Layout, Unreadable> {
    published::layout(&WORDS, version, runtime, code_type)
}
