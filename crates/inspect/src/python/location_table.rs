//! `co_linetable`: which line an instruction belongs to (3.11 and later).
//!
//! The table is a row of entries, each for one to eight code units. An entry begins with a byte
//! whose highest bit is set, and which no other byte of it has: four bits of kind, three of how
//! many units, less one. What follows depends on the kind; only the line's step is of interest
//! here, and of the columns only that they can be skipped.

/// The bytes of a code unit.
const UNIT: usize = 2;

/// A run of instructions with the line that they belong to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Run {
    /// The offset of the first in bytes.
    pub start: usize,
    /// The offset behind the last.
    pub end: usize,
    /// The line; `None` for what the compiler added.
    pub line: Option<u32>,
}

/// The runs of a table, for a function that begins at `first_line`. It ends where the table is not
/// one.
pub fn runs(table: &[u8], first_line: u32) -> impl Iterator<Item = Run> {
    Runs {
        rest: table,
        offset: 0,
        line: i64::from(first_line),
    }
}

/// The line of the instruction at the offset, in bytes from the first one.
#[must_use]
pub fn line_at(table: &[u8], first_line: u32, offset: usize) -> Option<u32> {
    runs(table, first_line)
        .find(|run| offset < run.end)
        .and_then(|run| run.line)
}

struct Runs<'a> {
    rest: &'a [u8],
    offset: usize,
    line: i64,
}

impl Iterator for Runs<'_> {
    type Item = Run;

    fn next(&mut self) -> Option<Run> {
        let (first, rest) = self.rest.split_first()?;
        let length = (rest.iter())
            .position(|byte| byte & 0x80 != 0)
            .unwrap_or(rest.len());
        let (detail, rest) = rest.split_at(length);
        self.rest = rest;
        let start = self.offset;
        self.offset += (usize::from(first & 7) + 1) * UNIT;
        let line = match first >> 3 & 15 {
            15 => None,
            13 | 14 => {
                self.line += signed(detail)?;
                Some(self.line)
            }
            kind @ 10..=12 => {
                self.line += i64::from(kind) - 10;
                Some(self.line)
            }
            _ => Some(self.line),
        };
        Some(Run {
            start,
            end: self.offset,
            line: match line {
                None => None,
                // No line is negative; what says so is no table.
                Some(line) => Some(u32::try_from(line).ok()?),
            },
        })
    }
}

/// The first number of `bytes`: six bits a byte, the lowest first, while the next bit is set; the
/// lowest of all is the sign.
fn signed(bytes: &[u8]) -> Option<i64> {
    let mut number = 0_u64;
    for (index, byte) in bytes.iter().take(6).enumerate() {
        number |= u64::from(byte & 0x3f) << (6 * index);
        if byte & 0x40 == 0 {
            let size = i64::try_from(number >> 1).ok()?;
            return Some(if number & 1 == 1 { -size } else { size });
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// What an entry may say, as the compiler thinks of it.
    #[derive(Clone, Debug)]
    enum Entry {
        NoLine,
        Long {
            step: i32,
            columns: Option<(u32, u32)>,
        },
        OneLine {
            step: u8,
        },
        Short {
            kind: u8,
        },
    }

    fn entries() -> impl Strategy<Value = Vec<(Entry, u8)>> {
        let entry = prop_oneof![
            Just(Entry::NoLine),
            (
                -3000..3000_i32,
                proptest::option::of((0..500_u32, 0..500_u32))
            )
                .prop_map(|(step, columns)| Entry::Long { step, columns }),
            (0..3_u8).prop_map(|step| Entry::OneLine { step }),
            (0..10_u8).prop_map(|kind| Entry::Short { kind }),
        ];
        proptest::collection::vec((entry, 1..=8_u8), 0..40)
    }

    fn put_number(table: &mut Vec<u8>, mut number: u32) {
        while number >= 64 {
            table.push((number & 0x3f) as u8 | 0x40);
            number >>= 6;
        }
        table.push(number as u8);
    }

    fn put_signed(table: &mut Vec<u8>, number: i32) {
        put_number(table, number.unsigned_abs() << 1 | u32::from(number < 0));
    }

    fn encode(entries: &[(Entry, u8)]) -> Vec<u8> {
        let mut table = Vec::new();
        for (entry, units) in entries {
            let mut begin = |kind: u8| table.push(0x80 | kind << 3 | (units - 1));
            match entry {
                Entry::NoLine => begin(15),
                Entry::Long {
                    step,
                    columns: None,
                } => {
                    begin(13);
                    put_signed(&mut table, *step);
                }
                Entry::Long {
                    step,
                    columns: Some((start, end)),
                } => {
                    begin(14);
                    put_signed(&mut table, *step);
                    put_number(&mut table, 0);
                    put_number(&mut table, start + 1);
                    put_number(&mut table, end + 1);
                }
                Entry::OneLine { step } => {
                    begin(10 + step);
                    table.extend([40, 50]);
                }
                Entry::Short { kind } => {
                    begin(*kind);
                    table.push(0x35);
                }
            }
        }
        table
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(entries in entries()) {
            let first = 200_000;
            let mut line = i64::from(first);
            let mut offset = 0;
            let mut expected = Vec::new();
            for (entry, units) in &entries {
                let start = offset;
                offset += usize::from(*units) * 2;
                line += match entry {
                    Entry::Long { step, .. } => i64::from(*step),
                    Entry::OneLine { step } => i64::from(*step),
                    Entry::NoLine | Entry::Short { .. } => 0,
                };
                let line = (!matches!(entry, Entry::NoLine)).then_some(line as u32);
                expected.push(Run { start, end: offset, line });
            }
            let table = encode(&entries);
            prop_assert_eq!(runs(&table, first).collect::<Vec<_>>(), expected.clone());
            for run in expected {
                prop_assert_eq!(line_at(&table, first, run.start), run.line);
                prop_assert_eq!(line_at(&table, first, run.end - 2), run.line);
            }
            prop_assert_eq!(line_at(&table, first, offset), None);
        }

        #[test]
        fn no_bytes_are_too_strange(table: Vec<u8>, first: u32, offset: u16) {
            let runs = runs(&table, first).count();
            prop_assert!(runs <= table.len());
            let _line = line_at(&table, first, offset.into());
        }
    }

    #[test]
    fn a_table_of_cpython_is_read() {
        // 3.13: def f():\n    x = 1\n    return x
        let table = [128, 0, 216, 8, 9, 128, 65, 216, 11, 12, 128, 72];
        let lines: Vec<_> = runs(&table, 1).map(|run| run.line).collect();
        assert_eq!(lines, [1, 2, 2, 3, 3].map(Some));
    }
}
