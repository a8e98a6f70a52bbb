//! How much of its origin a coroutine is to remember: `sys.get_coroutine_origin_tracking_depth()`.
//!
//! The interpreter keeps the number in the thread's state and looks at it whenever a coroutine is
//! made. The function costs a third of what making one of ours costs, so the number is read out
//! of the thread's state where its place is certain.

use std::ffi::c_int;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Object, Outcome, interned, sys};

/// The number's index in the thread's state, seen as an array of ints; `UNKNOWN` while it is not
/// known for certain.
static INDEX: AtomicUsize = AtomicUsize::new(UNKNOWN);

const UNKNOWN: usize = usize::MAX;

/// How many ints of the thread's state are looked at: less than it has on every version.
const LENGTH: usize = 64;

/// Looks for the number's place, once, at import: it is the one int that is there after both of
/// two values were set.
pub(crate) fn learn_origin_depth() -> Outcome<()> {
    let system = crate::imports::module(c"sys")?;
    let set = system.get_attr(&interned(c"set_coroutine_origin_tracking_depth")?)?;
    let before = system
        .get_attr(&interned(c"get_coroutine_origin_tracking_depth")?)?
        .call0()?;
    let mut candidates: Vec<usize> = (0..LENGTH).collect();
    for probe in [0x05ee_d0c1, 0x0c0f_fee1] {
        set.call1(&Object::from_i64(probe.into())?)?;
        candidates.retain(|&index| read(index) == probe);
    }
    set.call1(&before)?;
    if let [index] = candidates[..] {
        INDEX.store(index, Ordering::Relaxed);
    }
    Ok(())
}

fn read(index: usize) -> c_int {
    // SAFETY: this thread's state, of which `LENGTH` ints are there on every version; a plain
    // read of memory that only this thread writes.
    unsafe {
        sys::PyThreadState_Get()
            .cast::<c_int>()
            .add(index)
            .read_volatile()
    }
}

/// Whether coroutines are to remember where they were made.
#[inline]
pub(crate) fn is_origin_tracked() -> bool {
    match INDEX.load(Ordering::Relaxed) {
        UNKNOWN => true,
        index => read(index) > 0,
    }
}

/// Where the caller is, as `cr_origin` has it: (file, line, function) of the innermost frames, as
/// many as the interpreter is told to keep; `None` when that is none.
#[cold]
pub(crate) fn origin() -> Outcome<Option<Object>> {
    let system = crate::imports::module(c"sys")?;
    let depth = system
        .get_attr(&interned(c"get_coroutine_origin_tracking_depth")?)?
        .call0()?
        .to_i64()?;
    if depth == 0 {
        return Ok(None);
    }
    let mut frame = system.get_attr(&interned(c"_getframe")?)?.call0()?;
    let mut origin = Vec::new();
    for _ in 0..depth {
        let code = frame.get_attr(&interned(c"f_code")?)?;
        origin.push(Object::tuple(&[
            &code.get_attr(&interned(c"co_filename")?)?,
            &frame.get_attr(&interned(c"f_lineno")?)?,
            &code.get_attr(&interned(c"co_name")?)?,
        ])?);
        frame = frame.get_attr(&interned(c"f_back")?)?;
        if frame.is_none() {
            break;
        }
    }
    Object::tuple_of(&origin).map(Some)
}
