//! The content of a `str` and of a `bytes` object, read from outside.

use super::layout::Layout;
use super::memory::{Copied, Unreadable, read_vec};

/// Longer texts and tables are not read: a name of that length is none.
const LONGEST: usize = 1 << 20;

/// The text of the `str` at `address`; what is no character of its own (a lone surrogate) is
/// replaced.
///
/// # Errors
/// When it cannot be read, or is not laid out as the `str` that Python makes of a source text.
pub fn read_text(layout: &Layout, address: usize) -> Result<String, Unreadable> {
    let head = Copied::of(address, layout.text.ascii)?;
    let length = head.usize_at(layout.text.length)?;
    let state = head.u32_at(layout.text.state)?;
    // Two bits for interning, three for the width of a character, `compact`, `ascii`.
    let (width, is_compact, is_ascii) = (state >> 2 & 7, state >> 5 & 1 == 1, state >> 6 & 1 == 1);
    if !is_compact || length > LONGEST {
        return Err(Unreadable::Strange);
    }
    let start = address
        + if is_ascii {
            layout.text.ascii
        } else {
            layout.text.other
        };
    let characters = |width| read_vec(start, length * width, LONGEST * 4);
    match (width, is_ascii) {
        (1, true) => String::from_utf8(characters(1)?).map_err(|_not_ascii| Unreadable::Strange),
        (1, false) => Ok(characters(1)?.into_iter().map(char::from).collect()),
        (2, false) => Ok(char::decode_utf16(
            (characters(2)?.as_chunks().0.iter()).map(|pair| u16::from_ne_bytes(*pair)),
        )
        .map(|character| character.unwrap_or(char::REPLACEMENT_CHARACTER))
        .collect()),
        (4, false) => Ok((characters(4)?.as_chunks().0.iter())
            .map(|four| {
                char::from_u32(u32::from_ne_bytes(*four)).unwrap_or(char::REPLACEMENT_CHARACTER)
            })
            .collect()),
        _ => Err(Unreadable::Strange),
    }
}

/// The content of the `bytes` object at `address`.
///
/// # Errors
/// When it cannot be read, or is longer than what belongs to a function.
pub fn read_bytes_object(layout: &Layout, address: usize) -> Result<Vec<u8>, Unreadable> {
    let length = Copied::of(address, layout.bytes.length + 8)?.usize_at(layout.bytes.length)?;
    read_vec(address + layout.bytes.content, length, LONGEST)
}
