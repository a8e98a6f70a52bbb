//! CPython 3.14: the table of offsets, counted in words from the start of `_PyRuntime`
//! (`_Py_DebugOffsets` in pycore_debug_offsets.h).

use super::Layout;
use super::published::{self, Words};
use crate::python::memory::Unreadable;

const WORDS: Words = Words {
    count: 95,
    interpreter_gc: 11,
    interpreter_gil_pointer: 15,
    interpreter_gil: 16,
    interpreter_gil_locked: 18,
    interpreter_gil_holder: 19,
    thread_interpreter: 25,
    thread_current_frame: 26,
    thread_native_thread: 28,
    frame_previous: 32,
    frame_code: 33,
    frame_instruction: 34,
    frame_owner: 36,
    code_file: 40,
    code_qualified_name: 42,
    code_location_table: 43,
    code_first_line: 44,
    code_instructions: 48,
    bytes_length: 75,
    bytes_content: 76,
    text_state: 78,
    text_length: 79,
    text_ascii: 80,
    gc_collecting: 82,
    // Owned by the interpreter, or by the C stack.
    first_shim: 3,
    // JUMP_BACKWARD, with _JIT, _NO_JIT, INSTRUMENTED_.
    backward_jumps: &[75, 175, 176, 253],
};

pub(super) fn layout(version: u32, runtime: usize, code_type: usize) -> Result<Layout, Unreadable> {
    published::layout(&WORDS, version, runtime, code_type)
}
