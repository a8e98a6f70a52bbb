//! Finding bytes in bytes, by the C library's own functions: they use the processor's widest
//! registers, and nothing has to be added to what ferrio depends on.

use std::ffi::{c_int, c_void};

unsafe extern "C" {
    fn memchr(start: *const c_void, byte: c_int, length: usize) -> *mut c_void;
    fn memmem(
        start: *const c_void,
        length: usize,
        needle: *const c_void,
        needle_length: usize,
    ) -> *mut c_void;
}

/// Where `needle` first begins in `bytes`, as in `bytes.find(needle)`.
#[inline]
pub(crate) fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let start = bytes.as_ptr();
    // SAFETY: pointers to as many readable bytes as are said; nothing is written.
    let found = unsafe {
        match needle {
            [byte] => memchr(start.cast(), c_int::from(*byte), bytes.len()),
            _ => memmem(
                start.cast(),
                bytes.len(),
                needle.as_ptr().cast(),
                needle.len(),
            ),
        }
    };
    (!found.is_null()).then(|| found.addr() - start.addr())
}
