//! CPython 3.12: offsets from its headers, on 64-bit machines, in a release build.

use super::{
    BYTES, CodeLayout, CurrentFrame, FrameLayout, GcLayout, GilLayout, GilPlace, Layout,
    TextLayout, ThreadLayout,
};

pub(super) fn layout(code_type: usize) -> Layout {
    Layout {
        code_type,
        thread: ThreadLayout {
            interpreter: 16,
            native_thread: 144,
            current_frame: CurrentFrame::Through {
                c_frame: 56,
                frame: 0,
            },
        },
        frame: FrameLayout {
            size: 72,
            code: 0,
            previous: 8,
            instruction: 56,
            owner: 70,
            // Owned by the C stack.
            first_shim: 3,
        },
        code: CodeLayout {
            file: 112,
            qualified_name: 128,
            location_table: 136,
            first_line: 68,
            instructions: 192,
            // JUMP_BACKWARD, INSTRUMENTED_JUMP_BACKWARD.
            backward_jumps: &[140, 246],
        },
        text: TextLayout {
            length: 16,
            state: 32,
            ascii: 40,
            other: 56,
        },
        bytes: BYTES,
        gil: GilLayout::at(GilPlace::Interpreter(384)),
        gc: GcLayout { collecting: 312 },
    }
}
