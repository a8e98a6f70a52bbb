//! What the client sends, so that any wrong byte in an echo is noticed.

/// Bytes by which two messages may be shifted against each other within the table.
///
/// A prime, so that the multipliers in [`Messages::message`] reach every shift.
const SHIFTS: usize = 65_521;

/// How many different lines there are. A prime, for the same reason.
const LINES: usize = 509;

/// All messages of one size, cut from one table of pseudo-random bytes.
///
/// A message is a window into the table, and the window depends on the connection and on the
/// message's number. An echo that arrives on another connection, is repeated, or is cut therefore
/// differs from what is expected, and neither sending nor comparing a message copies anything.
#[derive(Debug)]
pub struct Messages {
    /// As many bytes as the windows reach over, filled once.
    table: Vec<u8>,
    /// Length of every message in bytes.
    size: usize,
    /// Bytes from the beginning of one window to that of the next.
    stride: usize,
    /// How many windows there are.
    windows: usize,
}

impl Messages {
    /// Makes the table for messages of `size` bytes.
    ///
    /// # Panics
    ///
    /// When `size` is 0: an empty message cannot be echoed.
    #[must_use]
    pub fn new(size: usize) -> Self {
        assert!(size > 0, "a message has at least one byte");
        Self {
            table: pseudo_random(size + SHIFTS),
            size,
            stride: 1,
            windows: SHIFTS,
        }
    }

    /// Makes the table for messages of `size` bytes of which the last, and no other, is a newline.
    ///
    /// # Panics
    ///
    /// When `size` is 0.
    #[must_use]
    pub fn lines(size: usize) -> Self {
        assert!(size > 0, "a line has at least its newline");
        let mut table = pseudo_random(size * LINES);
        for line in table.chunks_exact_mut(size) {
            for byte in line.iter_mut().filter(|byte| **byte == b'\n') {
                *byte = b'n';
            }
            line[size - 1] = b'\n';
        }
        Self {
            table,
            size,
            stride: size,
            windows: LINES,
        }
    }

    /// Length of every message in bytes.
    #[must_use]
    pub fn size(&self) -> usize {
        self.size
    }

    /// The message that `connection` sends as its `sequence`-th.
    #[must_use]
    pub fn message(&self, connection: usize, sequence: usize) -> &[u8] {
        let window = connection.wrapping_mul(7_919) + sequence.wrapping_mul(1_021);
        let begin = window % self.windows * self.stride;
        &self.table[begin..begin + self.size]
    }
}

/// Bytes that look random, the same every time.
fn pseudo_random(count: usize) -> Vec<u8> {
    let mut state = 0x9E37_79B9_7F4A_7C15_u64;
    (0..count)
        .map(|_| {
            // xorshift64: any generator with a long period will do.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[4]
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_differ() {
        let messages = Messages::new(64);
        for connection in 0..20 {
            for sequence in 0..20 {
                let message = messages.message(connection, sequence);
                assert_ne!(message, messages.message(connection + 1, sequence));
                assert_ne!(message, messages.message(connection, sequence + 1));
            }
        }
    }

    #[test]
    fn a_line_ends_with_its_only_newline() {
        let messages = Messages::lines(64);
        for connection in 0..20 {
            for sequence in 0..20 {
                let line = messages.message(connection, sequence);
                assert_eq!(line.iter().position(|&byte| byte == b'\n'), Some(63));
                assert_ne!(line, messages.message(connection + 1, sequence));
                assert_ne!(line, messages.message(connection, sequence + 1));
            }
        }
    }

    #[test]
    fn a_message_is_the_same_each_time_it_is_asked_for() {
        assert_eq!(
            Messages::new(1024).message(3, 9),
            Messages::new(1024).message(3, 9)
        );
    }
}
