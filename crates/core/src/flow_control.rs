//! When to tell a protocol to slow down.

use std::fmt;

/// asyncio's default high-water mark, in bytes.
const DEFAULT_HIGH: usize = 64 * 1024;

/// How the default of one water mark follows from the other.
const HIGH_TO_LOW: usize = 4;

/// Decides when a protocol is asked to pause, by how many bytes wait to be sent.
///
/// It knows nothing of the bytes themselves: whoever holds them says how many there are.
#[derive(Clone, Copy, Debug)]
pub struct FlowControl {
    limits: Limits,
    flow: Flow,
}

impl Default for FlowControl {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            flow: Flow::Running,
        }
    }
}

impl FlowControl {
    /// The water marks.
    #[must_use]
    pub fn limits(&self) -> Limits {
        self.limits
    }

    /// Replaces the water marks. What follows from them is said by the next
    /// [`FlowControl::pressure`].
    pub fn set_limits(&mut self, limits: Limits) {
        self.limits = limits;
    }

    /// What the protocol must be told now that `len` bytes wait, if anything. Each change is said
    /// once: pause when there are more than the high-water mark, resume when it is paused and
    /// there are no more than the low one.
    #[inline]
    pub fn pressure(&mut self, len: usize) -> Option<Pressure> {
        match self.flow {
            Flow::Running if len > self.limits.high => {
                self.flow = Flow::Paused;
                Some(Pressure::Pause)
            }
            Flow::Paused if len <= self.limits.low => {
                self.flow = Flow::Running;
                Some(Pressure::Resume)
            }
            _ => None,
        }
    }

    /// Whether the protocol was told to pause, and not yet to resume.
    #[inline]
    #[must_use]
    pub fn is_paused(&self) -> bool {
        self.flow == Flow::Paused
    }
}

/// What the protocol was told last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    /// It may write.
    Running,
    /// It was asked to pause.
    Paused,
}

/// What to tell the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pressure {
    /// More than the high-water mark is waiting: `pause_writing`.
    Pause,
    /// No more than the low-water mark is waiting: `resume_writing`.
    Resume,
}

/// The water marks, in bytes; `high` is not below `low`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// A buffer longer than this pauses the protocol.
    pub high: usize,
    /// A paused protocol resumes when the buffer is no longer than this.
    pub low: usize,
}

impl Limits {
    /// Completes and checks water marks by asyncio's rules: high is 64 KiB, or four times low when
    /// only low is given; low is a quarter of high.
    ///
    /// # Errors
    ///
    /// When high is below low.
    pub fn new(high: Option<usize>, low: Option<usize>) -> Result<Self, InvalidLimits> {
        let high =
            high.unwrap_or_else(|| low.map_or(DEFAULT_HIGH, |low| low.saturating_mul(HIGH_TO_LOW)));
        let low = low.unwrap_or(high / HIGH_TO_LOW);
        if high < low {
            return Err(InvalidLimits { high, low });
        }
        Ok(Self { high, low })
    }
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            high: DEFAULT_HIGH,
            low: DEFAULT_HIGH / HIGH_TO_LOW,
        }
    }
}

/// A high-water mark below the low one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InvalidLimits {
    /// The high-water mark that was asked for, or followed from the low one.
    pub high: usize,
    /// The low-water mark that was asked for.
    pub low: usize,
}

impl fmt::Display for InvalidLimits {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { high, low } = self;
        write!(
            formatter,
            "high ({high}) must be >= low ({low}) must be >= 0"
        )
    }
}

impl std::error::Error for InvalidLimits {}
