//! CPython 3.11: offsets from its headers, on 64-bit machines, in a release build.

use super::{
    BYTES, CodeLayout, CurrentFrame, FrameLayout, GcLayout, GilLayout, GilPlace, Layout,
    TextLayout, ThreadLayout,
};

pub(super) fn layout(runtime: usize, code_type: usize) -> Layout {
    Layout {
        code_type,
        thread: ThreadLayout {
            interpreter: 16,
            native_thread: 160,
            current_frame: CurrentFrame::Through {
                c_frame: 56,
                frame: 8,
            },
        },
        frame: FrameLayout {
            size: 72,
            code: 32,
            previous: 48,
            instruction: 56,
            owner: 69,
            // There are none.
            first_shim: u8::MAX,
        },
        code: CodeLayout {
            file: 112,
            qualified_name: 128,
            location_table: 136,
            first_line: 72,
            instructions: 184,
            // JUMP_BACKWARD, JUMP_BACKWARD_QUICK.
            backward_jumps: &[140, 38],
        },
        text: TextLayout {
            length: 16,
            state: 32,
            ascii: 48,
            other: 72,
        },
        bytes: BYTES,
        gil: GilLayout::at(GilPlace::Process(runtime + 360)),
        gc: GcLayout { collecting: 848 },
    }
}
