//! Counting references.
//!
//! CPython 3.12 and 3.13 raise a count by storing 32 bits and lower it by loading 64. A load that
//! comes soon after a smaller store to its place has to wait until the store is in the cache, some
//! twelve cycles, and borrowing something for a moment is just that: raise, look, lower. Here 32 bits
//! are loaded, which any store before can answer, and 64 are stored, which answers any load. The
//! upper half of a count is zero on these versions, whatever the object: immortal ones have all
//! bits of the lower half. Where it is like that says the build script, by
//! `cfg(narrow_reference_counts)`.

use super::sys;

/// Takes one more reference.
///
/// # Safety
/// * `object` is alive.
#[inline]
pub(super) unsafe fn raise(object: *mut sys::PyObject) {
    #[cfg(narrow_reference_counts)]
    // SAFETY: a live object, whose count is these 64 bits.
    unsafe {
        let place = &raw mut (*object).ob_refcnt;
        let raised = place.cast::<u32>().read().wrapping_add(1);
        if raised != 0 {
            place.cast::<u64>().write(raised.into());
        }
    }
    #[cfg(not(narrow_reference_counts))]
    // SAFETY: by the caller's word.
    unsafe {
        sys::Py_INCREF(object);
    }
}

/// Gives a reference back; the last one ends the object, which may run code.
///
/// # Safety
/// * The reference is the caller's, who does not use it any more.
#[inline]
pub(super) unsafe fn lower(object: *mut sys::PyObject) {
    #[cfg(narrow_reference_counts)]
    // SAFETY: a live object, whose count is these 64 bits; without references it is freed.
    unsafe {
        unsafe extern "C" {
            fn _Py_Dealloc(object: *mut sys::PyObject);
        }
        let place = &raw mut (*object).ob_refcnt;
        let count = place.cast::<u32>().read();
        if count.cast_signed() < 0 {
            return; // Immortal.
        }
        let lowered = count.wrapping_sub(1);
        place.cast::<u64>().write(lowered.into());
        if lowered == 0 {
            _Py_Dealloc(object);
        }
    }
    #[cfg(not(narrow_reference_counts))]
    // SAFETY: by the caller's word.
    unsafe {
        sys::Py_DECREF(object);
    }
}
