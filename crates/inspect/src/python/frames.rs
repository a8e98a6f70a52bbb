//! The Python frames of a thread that runs on meanwhile.
//!
//! The chain of frames is read twice, and what was there both times counts: the same frame at the
//! same address, running the same code, and, but for the innermost, at the same call. Names and
//! lines are read after that, each code object with what was read before compared with what is
//! there afterwards, because the function may have returned and be gone.

use super::layout::{CurrentFrame, Layout, TYPE};
use super::location_table::line_at;
use super::memory::{Copied, Unreadable, read_usize};
use super::text::{read_bytes_object, read_text};
use crate::snapshot::Site;

impl From<&Frame> for Site {
    fn from(frame: &Frame) -> Site {
        Site {
            file: frame.file.clone(),
            line: frame.line,
            function: frame.function.clone(),
        }
    }
}

/// How often the chain is read again if it has changed in between, before the outer part that
/// stays has to do.
const TRIES: usize = 8;

/// One Python frame.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Frame {
    /// The address of its code object.
    pub code: usize,
    /// The file's path as the code object has it.
    pub file: String,
    /// The function's qualified name.
    pub function: String,
    /// The line that runs, from 1; 0 where the compiler has given the instruction none.
    pub line: u32,
}

/// The frames of the thread with that `PyThreadState`, innermost first, at most `most`.
///
/// May be called from any thread, with or without the interpreter. For a thread that calls and
/// returns all the while the answer is the part of the stack that stays: it begins with the
/// function that makes the calls.
///
/// # Errors
/// When what was read changed each time it was looked at, or cannot be read.
pub fn frames(layout: &Layout, thread_state: usize, most: usize) -> Result<Vec<Frame>, Unreadable> {
    settled(layout, thread_state, most)?
        .into_iter()
        .map(|raw| resolve(layout, raw))
        .collect()
}

/// The innermost frame as it is at this moment, if there is any.
pub(crate) fn innermost(layout: &Layout, thread_state: usize) -> Result<Option<Raw>, Unreadable> {
    chain(layout, thread_state, 1).map(|mut chain| chain.pop())
}

/// A frame as it is in memory.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Raw {
    pub(crate) address: usize,
    pub(crate) code: usize,
    pub(crate) instruction: usize,
}

impl Raw {
    fn is_same_call(&self, other: &Raw) -> bool {
        self.address == other.address && self.code == other.code
    }

    /// The instruction that it stands at, the lowest byte of a code unit.
    pub(crate) fn operation(&self) -> Result<u8, Unreadable> {
        super::memory::read_bytes::<1>(self.instruction).map(u8::from_ne_bytes)
    }
}

/// The frames that were there both times the chain was read.
fn settled(layout: &Layout, thread_state: usize, most: usize) -> Result<Vec<Raw>, Unreadable> {
    let mut best = Vec::new();
    let mut before = chain(layout, thread_state, most);
    for _try in 0..TRIES {
        let after = chain(layout, thread_state, most);
        if let (Ok(first), Ok(second)) = (&before, &after) {
            let both = common_part(first, second);
            if both.len() == first.len() && first.len() == second.len() {
                return Ok(both.to_vec());
            }
            if best.len() < both.len() {
                best = both.to_vec();
            }
        }
        before = after;
    }
    match before {
        _ if !best.is_empty() => Ok(best),
        Ok(_changed) => Err(Unreadable::Changed),
        Err(error) => Err(error),
    }
}

/// The outer part of `first` that is in `second` as well.
fn common_part<'a>(first: &'a [Raw], second: &[Raw]) -> &'a [Raw] {
    let agrees_from = |index: usize| {
        let outer = &first[index..];
        (second.iter().position(|raw| raw.is_same_call(&outer[0]))).is_some_and(|position| {
            let same = &second[position..];
            // Either list may end at `most`; a chain that ended by itself ends for both.
            outer
                .iter()
                .zip(same)
                .skip(1)
                .all(|(one, other)| one == other)
        })
    };
    (0..first.len())
        .find(|index| agrees_from(*index))
        .map_or(&[], |index| &first[index..])
}

/// The chain of frames as it is found on one walk.
fn chain(layout: &Layout, thread_state: usize, most: usize) -> Result<Vec<Raw>, Unreadable> {
    let mut found = Vec::new();
    let mut address = current_frame(layout, thread_state)?;
    // Between two frames of Python code there is at most one that is not; a chain that is
    // written to while it is walked may be a circle.
    for _step in 0..2 * most + 2 {
        if address == 0 || found.len() == most {
            break;
        }
        let memory = Copied::of(address, layout.frame.size)?;
        if memory.u8_at(layout.frame.owner)? < layout.frame.first_shim {
            // The lowest bits are a tag in 3.14, and clear before.
            let code = memory.usize_at(layout.frame.code)? & !7;
            if read_usize(code + TYPE)? != layout.code_type {
                return Err(Unreadable::Changed);
            }
            found.push(Raw {
                address,
                code,
                instruction: memory.usize_at(layout.frame.instruction)?,
            });
        }
        address = memory.usize_at(layout.frame.previous)?;
    }
    Ok(found)
}

fn current_frame(layout: &Layout, thread_state: usize) -> Result<usize, Unreadable> {
    match layout.thread.current_frame {
        CurrentFrame::Direct(offset) => read_usize(thread_state + offset),
        CurrentFrame::Through { c_frame, frame } => {
            let c_frame = read_usize(thread_state + c_frame)?;
            read_usize(c_frame + frame)
        }
    }
}

/// A code object's fields, as far as they are read.
#[derive(PartialEq, Eq)]
struct Code {
    kind: usize,
    file: usize,
    qualified_name: usize,
    location_table: usize,
    first_line: u32,
}

impl Code {
    fn read(layout: &Layout, address: usize) -> Result<Code, Unreadable> {
        let places = &layout.code;
        let memory = Copied::of(address, places.instructions)?;
        Ok(Code {
            kind: memory.usize_at(TYPE)?,
            file: memory.usize_at(places.file)?,
            qualified_name: memory.usize_at(places.qualified_name)?,
            location_table: memory.usize_at(places.location_table)?,
            first_line: memory.u32_at(places.first_line)?,
        })
    }
}

/// Names and line of a frame.
fn resolve(layout: &Layout, raw: Raw) -> Result<Frame, Unreadable> {
    let code = Code::read(layout, raw.code)?;
    if code.kind != layout.code_type {
        return Err(Unreadable::Changed);
    }
    let file = read_text(layout, code.file)?;
    let function = read_text(layout, code.qualified_name)?;
    let table = read_bytes_object(layout, code.location_table)?;
    if Code::read(layout, raw.code)? != code {
        return Err(Unreadable::Changed);
    }
    let line = match raw
        .instruction
        .checked_sub(raw.code + layout.code.instructions)
    {
        Some(offset) => line_at(&table, code.first_line, offset).unwrap_or(0),
        // Before 3.13 a frame that has not begun stands one unit before its first instruction.
        None => code.first_line,
    };
    Ok(Frame {
        code: raw.code,
        file,
        function,
        line,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(address: usize, instruction: usize) -> Raw {
        Raw {
            address,
            code: address + 1,
            instruction,
        }
    }

    #[test]
    fn a_chain_that_stays_is_common() {
        let chain = [raw(3, 30), raw(2, 20), raw(1, 10)];
        assert_eq!(common_part(&chain, &chain), &chain);
    }

    #[test]
    fn the_innermost_may_go_on() {
        let first = [raw(3, 30), raw(2, 20)];
        let second = [raw(3, 32), raw(2, 20)];
        assert_eq!(common_part(&first, &second), &first);
    }

    #[test]
    fn a_callee_that_returned_is_left_out() {
        let first = [raw(3, 30), raw(2, 20), raw(1, 10)];
        let second = [raw(2, 22), raw(1, 10)];
        assert_eq!(common_part(&first, &second), &first[1..]);
        assert_eq!(common_part(&second, &first), &second[..]);
    }

    #[test]
    fn a_caller_at_another_call_is_another_stack() {
        let first = [raw(3, 30), raw(2, 20), raw(1, 10)];
        let second = [raw(3, 30), raw(2, 22), raw(1, 10)];
        assert_eq!(common_part(&first, &second), &first[1..]);
        let third = [raw(5, 30), raw(4, 22)];
        assert!(common_part(&first, &third).is_empty());
    }
}
