//! The interpreter's frames, seen without making frame objects of them.
//!
//! A frame object that is made for a running function stays with it and is freed with it: an
//! allocation for each call. What is wanted of a frame here is only where it is: its code object and the
//! instruction that it is at. Both are words of the interpreter's own frame, whose layout each
//! minor version keeps; where the current frame stands in the thread's state is looked up once, at
//! import, and all of it compared with what CPython's functions say of the same frame.

use std::ffi::{CStr, c_int};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{Object, Outcome, sys};

/// Offsets within a frame of the interpreter.
mod places {
    /// The code object; from 3.12 None, or another code object, in frames that are not a
    /// function's; from 3.14 with a tag in the lowest bits.
    pub(super) const CODE: usize = if cfg!(Py_3_12) { 0 } else { 32 };
    pub(super) const PREVIOUS: usize = if cfg!(Py_3_12) { 8 } else { 48 };
    /// The address of the instruction, or up to 3.12 of one before the next.
    pub(super) const INSTRUCTION: usize = 56;
    pub(super) const OWNER: usize = if cfg!(Py_3_14) {
        74
    } else if cfg!(Py_3_12) {
        70
    } else {
        69
    };
    /// Owners from this on are the interpreter's and not a function.
    pub(super) const NOT_A_FUNCTION: u8 = 3;
    /// The frame within a coroutine or generator.
    pub(super) const IN_GENERATOR: usize = if cfg!(Py_3_12) { 72 } else { 80 };
    /// The frame within a frame object.
    pub(super) const IN_FRAME_OBJECT: usize = 24;
    /// The current frame in the thread's state; up to 3.12 in a structure that it points to.
    pub(super) const CONTROL: usize = 56;
    pub(super) const IN_CONTROL: usize = if cfg!(Py_3_12) { 0 } else { 8 };
}

const TAGS: usize = 3;

/// Where in the thread's state the current frame is, from 3.13 on; `UNKNOWN` while it is not
/// certain that frames can be read.
static CURRENT: AtomicUsize = AtomicUsize::new(UNKNOWN);

/// Where in a code object its instructions begin.
static INSTRUCTIONS: AtomicUsize = AtomicUsize::new(UNKNOWN);

const UNKNOWN: usize = usize::MAX;

/// How many words of the thread's state are looked at: less than it has on every version.
const LENGTH: usize = 32;

/// A frame of the interpreter that belongs to a function: one of those that called us. It may be
/// looked at until we return to it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame(*const u8);

impl Frame {
    /// The frame at that address, or the first of those that called it that is a function's.
    ///
    /// # Safety
    /// * `address` is null or a live frame's.
    #[inline]
    unsafe fn at(mut address: *const u8) -> Option<Frame> {
        while !address.is_null() {
            // SAFETY: a live frame; those that called it live as long.
            unsafe {
                if *address.add(places::OWNER) < places::NOT_A_FUNCTION {
                    return Some(Frame(address));
                }
                address = *address.add(places::PREVIOUS).cast::<*const u8>();
            }
        }
        None
    }

    /// The innermost frame of this thread; `None` also when frames cannot be read.
    #[inline]
    pub(crate) fn current() -> Option<Frame> {
        let offset = CURRENT.load(Ordering::Relaxed);
        if offset == UNKNOWN {
            return None;
        }
        // SAFETY: the running thread has a state, in which the frame was found there.
        unsafe { Frame::at(current_of(sys::PyThreadState_Get().cast(), offset)) }
    }

    /// The innermost frame of another thread.
    ///
    /// # Safety
    /// * `state` is the address of the state of a thread that has not ended.
    unsafe fn current_of(state: usize) -> Option<Frame> {
        let offset = CURRENT.load(Ordering::Relaxed);
        if offset == UNKNOWN || state == 0 {
            return None;
        }
        // SAFETY: by the caller's word; that thread does not have the interpreter, so its frames
        // stay.
        unsafe { Frame::at(current_of(state as *const u8, offset)) }
    }

    /// The frame that called this one.
    #[inline]
    pub(crate) fn caller(self) -> Option<Frame> {
        // SAFETY: a live frame's field.
        unsafe { Frame::at(*self.0.add(places::PREVIOUS).cast::<*const u8>()) }
    }

    /// The address of the instruction that it is at: one for each place in a program.
    #[inline]
    pub(crate) fn instruction(self) -> usize {
        // SAFETY: a live frame's field.
        unsafe { *self.0.add(places::INSTRUCTION).cast::<usize>() }
    }

    /// Its code object.
    pub(crate) fn code(self) -> Option<Object> {
        // SAFETY: a live frame's field: a code object, or None.
        unsafe {
            let word = *self.0.add(places::CODE).cast::<usize>();
            let pointer = (word & !TAGS) as *mut sys::PyObject;
            if pointer.is_null() || sys::PyCode_Check(pointer) == 0 {
                return None;
            }
            Some(Object::from_borrowed(pointer))
        }
    }

    /// Whether it is the frame within this coroutine or generator.
    pub(crate) fn is_of(self, generator: &Object) -> bool {
        self.0.addr() == generator.as_ptr().addr() + places::IN_GENERATOR
    }
}

/// # Safety
/// * `state` is a thread's state, `offset` where its current frame was found.
#[inline]
unsafe fn current_of(state: *const u8, offset: usize) -> *const u8 {
    // SAFETY: by the caller's word. Up to 3.12 the structure stands on the thread's stack for as
    // long as the thread runs anything.
    unsafe {
        let field = *state.add(offset).cast::<*const u8>();
        if cfg!(Py_3_13) || field.is_null() {
            field
        } else {
            *field.add(places::IN_CONTROL).cast::<*const u8>()
        }
    }
}

/// A place in a program: a code object, and an instruction's address in it.
pub(crate) struct Spot {
    pub(crate) code: Object,
    pub(crate) instruction: usize,
}

impl Frame {
    fn spot(self) -> Option<Spot> {
        Some(Spot {
            code: self.code()?,
            instruction: self.instruction(),
        })
    }
}

/// Where another thread is, the innermost frame first, up to the frame of `outermost` (without it
/// nothing is given) and that one too.
///
/// # Safety
/// * `state` is the address of the state of a thread that has not ended, or 0.
unsafe fn spots_of(state: usize, outermost: &Object) -> Vec<Spot> {
    // SAFETY: by the caller's word. No Python code runs in this loop, so no frame ends.
    let mut frame = unsafe { Frame::current_of(state) };
    let mut spots = Vec::new();
    while let Some(at) = frame {
        spots.extend(at.spot());
        if at.is_of(outermost) {
            return spots;
        }
        frame = at.caller();
    }
    Vec::new()
}

/// Where a coroutine is that a thread is running, the innermost frame first.
///
/// `state` is what [`super::thread_state_address`] said in the thread that runs the loop and has
/// not left it yet.
pub(crate) fn running_spots(state: usize, coroutine: &Object) -> Vec<Spot> {
    // SAFETY: a thread that is within a call of ours has not ended.
    unsafe { spots_of(state, coroutine) }
}

/// Where a thread is, the innermost frame first; at most so many frames.
///
/// `state` as for [`running_spots`].
pub(crate) fn spots_of_thread(state: usize, most: usize) -> Vec<Spot> {
    let mut spots = Vec::new();
    // SAFETY: as for `running_spots`. No Python code runs in this loop, so no frame ends.
    let mut frame = unsafe { Frame::current_of(state) };
    while let Some(at) = frame
        && spots.len() < most
    {
        spots.extend(at.spot());
        frame = at.caller();
    }
    spots
}

/// Where a coroutine or generator of Python's own types waits, or has not begun; `None` for
/// everything else, and when frames cannot be read.
pub(crate) fn suspended_spot(generator: &Object) -> Option<Spot> {
    if CURRENT.load(Ordering::Relaxed) == UNKNOWN || !is_generator(generator) {
        return None;
    }
    // SAFETY: a live object of a type that has its frame there. Its state stands in front: what
    // is negative is suspended or has not begun, on every version.
    unsafe {
        let start = generator.as_ptr().cast::<u8>();
        let state = *start.add(places::IN_GENERATOR - 5).cast::<i8>();
        if state >= 0 {
            return None;
        }
        Frame::at(start.add(places::IN_GENERATOR))?.spot()
    }
}

/// Whether it is a coroutine, a generator or an asynchronous generator of Python's own type.
pub(crate) fn is_generator(object: &Object) -> bool {
    // SAFETY: questions about a live object's type.
    unsafe {
        sys::PyCoro_CheckExact(object.as_ptr()) != 0
            || sys::PyGen_CheckExact(object.as_ptr()) != 0
            || sys::PyAsyncGen_CheckExact(object.as_ptr()) != 0
    }
}

/// What a coroutine, a generator or an asynchronous generator of Python's own type awaits now: what
/// `cr_await` and its like say, without the lookup of a name.
pub(crate) fn awaited_in(generator: &Object) -> Option<Object> {
    type Getters = [Option<sys::getter>; 3];
    static GETTERS: OnceLock<Getters> = OnceLock::new();
    // SAFETY: types that live as long as the interpreter, whose tables do as well.
    let getters = GETTERS.get_or_init(|| unsafe {
        [
            getter_of(&raw mut sys::PyCoro_Type, c"cr_await"),
            getter_of(&raw mut sys::PyGen_Type, c"gi_yieldfrom"),
            getter_of(&raw mut sys::PyAsyncGen_Type, c"ag_await"),
        ]
    });
    // SAFETY: questions about a live object's type.
    let which = unsafe {
        let object = generator.as_ptr();
        if sys::PyCoro_CheckExact(object) != 0 {
            0
        } else if sys::PyGen_CheckExact(object) != 0 {
            1
        } else if sys::PyAsyncGen_CheckExact(object) != 0 {
            2
        } else {
            return None;
        }
    };
    let getter = getters[which]?;
    // SAFETY: the getter of the live object's own type, which needs no closure; a new reference, or
    // null with an exception.
    let awaited = unsafe { Object::from_new(getter(generator.as_ptr(), std::ptr::null_mut())) };
    match awaited {
        Ok(awaited) => Some(awaited).filter(|awaited| !awaited.is_none()),
        Err(raised) => {
            raised.discard(); // Without memory for it nothing is known.
            None
        }
    }
}

/// The C function behind an attribute that a type of CPython's computes.
///
/// # Safety
/// The type is there.
unsafe fn getter_of(class: *mut sys::PyTypeObject, name: &CStr) -> Option<sys::getter> {
    // SAFETY: the table, if there is one, ends with an entry without a name.
    unsafe {
        let mut entry = (*class).tp_getset;
        while !entry.is_null() && !(*entry).name.is_null() {
            if CStr::from_ptr((*entry).name) == name {
                return (*entry).get;
            }
            entry = entry.add(1);
        }
    }
    None
}

/// The address of the code object of a coroutine of Python's own type that has not ended, or null.
#[inline]
pub(crate) fn code_address(coroutine: &Object) -> usize {
    // SAFETY: the type is asked first; such an object has its frame there, with the code object.
    unsafe {
        if CURRENT.load(Ordering::Relaxed) == UNKNOWN
            || sys::PyCoro_CheckExact(coroutine.as_ptr()) == 0
        {
            return 0;
        }
        let frame = coroutine.as_ptr().cast::<u8>().add(places::IN_GENERATOR);
        *frame.add(places::CODE).cast::<usize>() & !TAGS
    }
}

/// The code object that [`code_address`] gives the address of.
pub(crate) fn code_of(coroutine: &Object) -> Option<Object> {
    let pointer = code_address(coroutine) as *mut sys::PyObject;
    // SAFETY: what the coroutine's frame refers to lives.
    unsafe {
        (!pointer.is_null() && sys::PyCode_Check(pointer) != 0)
            .then(|| Object::from_borrowed(pointer))
    }
}

/// The line of an instruction of a code object; 0 when it has none.
pub(crate) fn line_of(code: &Object, instruction: usize) -> u32 {
    let start = code.as_ptr().addr() + INSTRUCTIONS.load(Ordering::Relaxed);
    let Ok(offset) = c_int::try_from(instruction.cast_signed() - start.cast_signed()) else {
        return 0;
    };
    // SAFETY: a code object; CPython answers -1 for what is not one of its instructions.
    let line = unsafe { sys::PyCode_Addr2Line(code.as_ptr().cast(), offset) };
    u32::try_from(line).unwrap_or(0)
}

/// Looks for the current frame, once, at import, which Python code calls for; compares what is
/// read there with what CPython says.
pub(crate) fn learn_frames() -> Outcome<()> {
    // SAFETY: the running frame, borrowed, or null.
    let object = unsafe { sys::PyEval_GetFrame() };
    if object.is_null() {
        return Ok(());
    }
    // SAFETY: a live frame object, which has its frame's address there on every version; new
    // references are taken over.
    let (address, code, last) = unsafe {
        (
            *object
                .cast::<u8>()
                .add(places::IN_FRAME_OBJECT)
                .cast::<*const u8>(),
            Object::from_new(sys::PyFrame_GetCode(object).cast())?,
            sys::PyFrame_GetLasti(object),
        )
    };
    let candidates: Vec<usize> = if cfg!(Py_3_13) {
        (0..LENGTH)
            .map(|index| index * size_of::<usize>())
            .collect()
    } else {
        vec![places::CONTROL]
    };
    let found: Vec<usize> = candidates
        .into_iter()
        // SAFETY: the running thread's state, of which `LENGTH` words are there on every version;
        // up to 3.12 the one candidate is the structure that the current frame is in.
        .filter(|&offset| unsafe { current_of(sys::PyThreadState_Get().cast(), offset) == address })
        .collect();
    let [offset] = found[..] else {
        return Ok(());
    };
    let frame = Frame(address);
    // SAFETY: the address of a live frame, by CPython's word.
    let word = unsafe { *address.add(places::CODE).cast::<usize>() } & !TAGS;
    let Ok(last) = usize::try_from(last) else {
        return Ok(());
    };
    let start = frame
        .instruction()
        .wrapping_sub(last)
        .wrapping_sub(code.as_ptr().addr());
    if word == code.as_ptr().addr() && start < FARTHEST && frame.caller().is_some() {
        INSTRUCTIONS.store(start, Ordering::Relaxed);
        CURRENT.store(offset, Ordering::Relaxed);
    }
    Ok(())
}

/// A code object's instructions begin within so many bytes.
const FARTHEST: usize = 1 << 10;
