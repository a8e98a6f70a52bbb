//! The write buffer behaves as one string of bytes does, whatever is done with it.

#![cfg(not(loom))]

use std::io::IoSlice;

use ferrio_core::WriteBuffer;
use ferrio_core::write_buffer::{Limits, Pressure};
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Operation {
    Push(Vec<u8>),
    /// A write that takes so many bytes of at most so many pieces.
    Write {
        bytes: usize,
        pieces: usize,
    },
    SetLimits {
        high: usize,
        low: usize,
    },
    Pressure,
    GiveUp,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        6 => prop::collection::vec(any::<u8>(), 0..12).prop_map(Operation::Push),
        6 => (0_usize..40, 0_usize..6)
            .prop_map(|(bytes, pieces)| Operation::Write { bytes, pieces }),
        1 => (0_usize..20, 0_usize..20).prop_map(|(one, other)| Operation::SetLimits {
            high: one.max(other),
            low: one.min(other),
        }),
        4 => Just(Operation::Pressure),
        1 => Just(Operation::GiveUp),
    ]
}

/// All bytes in one string.
struct Model {
    bytes: Vec<u8>,
    limits: Limits,
    paused: bool,
}

impl Model {
    fn pressure(&mut self) -> Option<Pressure> {
        if !self.paused && self.bytes.len() > self.limits.high {
            self.paused = true;
            Some(Pressure::Pause)
        } else if self.paused && self.bytes.len() <= self.limits.low {
            self.paused = false;
            Some(Pressure::Resume)
        } else {
            None
        }
    }
}

fn check(operations: Vec<Operation>) -> Result<(), TestCaseError> {
    let mut buffer = WriteBuffer::new();
    let mut model = Model {
        bytes: Vec::new(),
        limits: Limits::default(),
        paused: false,
    };
    let mut held = 0;
    for operation in operations {
        match operation {
            Operation::Push(piece) => {
                model.bytes.extend(&piece);
                buffer.push(piece);
                held += 1;
            }
            Operation::Write { bytes, pieces } => {
                let mut slices = vec![IoSlice::new(&[]); pieces];
                let filled = buffer.chunks(&mut slices);
                prop_assert_eq!(filled, pieces.min(buffer.piece_count()));
                let offered: Vec<u8> = slices.iter().flat_map(|slice| slice.to_vec()).collect();
                prop_assert!(model.bytes.starts_with(&offered));
                let taken = bytes.min(offered.len());
                model.bytes.drain(..taken);
                buffer.advance(taken, |_| held -= 1);
            }
            Operation::SetLimits { high, low } => {
                model.limits = Limits { high, low };
                buffer.set_limits(model.limits);
            }
            Operation::Pressure => prop_assert_eq!(buffer.pressure(), model.pressure()),
            Operation::GiveUp => {
                held -= buffer.take_all().len();
                model.bytes.clear();
            }
        }
        prop_assert_eq!(buffer.len(), model.bytes.len());
        prop_assert_eq!(buffer.is_empty(), model.bytes.is_empty());
        prop_assert_eq!(buffer.is_paused(), model.paused);
        prop_assert_eq!(buffer.piece_count(), held);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn behaves_as_one_string(operations in prop::collection::vec(operation(), 0..200)) {
        check(operations)?;
    }
}
