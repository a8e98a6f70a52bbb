//! The write buffer: what is offered, what is finished, and when the protocol hears of it.

use std::io::IoSlice;

use ferrio_core::WriteBuffer;
use ferrio_core::write_buffer::{InvalidLimits, Limits, Pressure};

fn buffer_of(pieces: &[&'static str]) -> WriteBuffer<&'static str> {
    let mut buffer = WriteBuffer::new();
    for piece in pieces {
        buffer.push(*piece);
    }
    buffer
}

fn offered<B: AsRef<[u8]>>(buffer: &WriteBuffer<B>, room: usize) -> Vec<String> {
    let mut slices = vec![IoSlice::new(&[]); room];
    let filled = buffer.chunks(&mut slices);
    slices[..filled]
        .iter()
        .map(|slice| String::from_utf8_lossy(slice).into_owned())
        .collect()
}

#[test]
fn pieces_are_offered_in_order_as_far_as_there_is_room() {
    let buffer = buffer_of(&["ab", "cde", "f"]);
    assert_eq!(offered(&buffer, 8), ["ab", "cde", "f"]);
    assert_eq!(offered(&buffer, 2), ["ab", "cde"]);
    assert_eq!(offered(&buffer, 0), [""; 0]);
    assert_eq!(buffer.len(), 6);
}

#[test]
fn a_partial_write_is_continued_inside_a_piece() {
    let mut buffer = buffer_of(&["ab", "cde", "f"]);
    let mut finished = Vec::new();
    buffer.advance(3, |piece| finished.push(piece));
    assert_eq!(finished, ["ab"]);
    assert_eq!(offered(&buffer, 8), ["de", "f"]);
    buffer.advance(1, |piece| finished.push(piece));
    assert_eq!(finished, ["ab"]);
    assert_eq!(offered(&buffer, 8), ["e", "f"]);
    buffer.advance(2, |piece| finished.push(piece));
    assert_eq!(finished, ["ab", "cde", "f"]);
    assert!(buffer.is_empty() && buffer.piece_count() == 0);
}

#[test]
fn an_empty_piece_leaves_with_the_next_progress() {
    let mut buffer = buffer_of(&["", "a", "", "b"]);
    buffer.advance(1, drop);
    assert_eq!(offered(&buffer, 8), ["b"]);
}

#[test]
#[should_panic(expected = "no more is written than was offered")]
fn more_than_there_is_cannot_have_been_written() {
    buffer_of(&["ab"]).advance(3, drop);
}

#[test]
fn giving_up_returns_the_pieces() {
    let mut buffer = buffer_of(&["ab", "cd"]);
    buffer.advance(1, drop);
    assert_eq!(buffer.take_all(), ["ab", "cd"]);
    assert_eq!((buffer.len(), buffer.piece_count()), (0, 0));
    buffer.push("ef");
    assert_eq!(offered(&buffer, 8), ["ef"]);
}

#[test]
fn each_change_of_pressure_is_said_once() {
    let mut buffer = buffer_of(&[]);
    buffer.set_limits(Limits { high: 4, low: 1 });
    buffer.push("abcd");
    assert_eq!(buffer.pressure(), None, "at the mark is not above it");
    buffer.push("e");
    assert_eq!(buffer.pressure(), Some(Pressure::Pause));
    assert_eq!(buffer.pressure(), None);
    buffer.advance(3, drop);
    assert_eq!(buffer.pressure(), None);
    assert!(buffer.is_paused());
    buffer.advance(1, drop);
    assert_eq!(buffer.pressure(), Some(Pressure::Resume));
    assert_eq!(buffer.pressure(), None);
    assert!(!buffer.is_paused());
}

#[test]
fn marks_of_zero_pause_on_anything_and_resume_on_nothing() {
    let mut buffer = buffer_of(&["a"]);
    buffer.set_limits(Limits { high: 0, low: 0 });
    assert_eq!(buffer.pressure(), Some(Pressure::Pause));
    buffer.advance(1, drop);
    assert_eq!(buffer.pressure(), Some(Pressure::Resume));
}

#[test]
fn water_marks_follow_from_each_other() {
    let marks = |high, low| Limits::new(high, low).map(|limits| (limits.high, limits.low));
    assert_eq!(marks(None, None), Ok((65_536, 16_384)));
    assert_eq!(marks(Some(100), None), Ok((100, 25)));
    assert_eq!(marks(None, Some(100)), Ok((400, 100)));
    assert_eq!(marks(Some(7), Some(7)), Ok((7, 7)));
    assert_eq!(
        marks(Some(1), Some(2)),
        Err(InvalidLimits { high: 1, low: 2 })
    );
    let error = InvalidLimits { high: 1, low: 2 };
    assert_eq!(
        error.to_string(),
        "high (1) must be >= low (2) must be >= 0"
    );
}
