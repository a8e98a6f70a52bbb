//! What can be asked.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A request, as it stands in its line.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(tag = "get", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// Loops and tasks.
    Snapshot {
        /// Seconds for which the interpreter is waited for.
        #[serde(default = "patience")]
        patience: f64,
    },
    /// The numbers of the loops.
    Metrics {},
    /// Where loops were blocked.
    Blocks {},
    /// What happens from now on.
    Trace {
        /// For how long it is recorded.
        seconds: f64,
    },
}

fn patience() -> f64 {
    0.2
}

/// The longest that the interpreter is waited for.
const LONGEST_PATIENCE: Duration = Duration::from_secs(10);

/// The longest recording.
const LONGEST_TRACE: Duration = Duration::from_secs(60);

impl Request {
    /// Reads a line.
    ///
    /// # Errors
    /// Why it is no request, in words for whoever wrote it.
    pub(super) fn parse(line: &[u8]) -> Result<Request, String> {
        let request = serde_json::from_slice(line).map_err(|error| {
            // Lines and columns say nothing about a request, which is one line.
            let text = error.to_string();
            let reason = text.split(" at line ").next().unwrap_or(&text);
            format!("not a request: {reason}")
        })?;
        match request {
            Request::Snapshot { patience } => {
                within("patience", patience, Duration::ZERO, LONGEST_PATIENCE)?;
            }
            Request::Trace { seconds } => {
                within("seconds", seconds, Duration::from_millis(1), LONGEST_TRACE)?;
            }
            Request::Metrics {} | Request::Blocks {} => {}
        }
        Ok(request)
    }
}

fn within(name: &str, seconds: f64, least: Duration, most: Duration) -> Result<(), String> {
    let (least, most) = (least.as_secs_f64(), most.as_secs_f64());
    if (least..=most).contains(&seconds) {
        return Ok(());
    }
    Err(format!("{name} must be from {least} to {most}"))
}

/// A line of an answer.
#[derive(Serialize, Deserialize, Debug)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Line<A = Value> {
    /// More will follow.
    Part(A),
    /// The last one.
    Answer(A),
    /// The last one: why there is no answer.
    Error(String),
}

/// The answer to `blocks`, as far as our own views read it.
#[derive(Clone, PartialEq, Debug, Default, Deserialize)]
pub struct Blocks {
    /// The last report of each of the last blocks, the oldest first.
    pub recent: Vec<BlockReport>,
}

/// What is read of a watchdog's report.
#[derive(Clone, PartialEq, Debug, Deserialize)]
pub struct BlockReport {
    /// All of it in a line.
    pub message: String,
    /// The number of the loop.
    #[serde(rename = "loop")]
    pub event_loop: u64,
    /// Whether the loop has come on.
    pub over: bool,
}

/// What ends the answer to `trace`.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub struct TraceSummary {
    /// Events of loops that were recorded.
    pub events: u64,
    /// Those of them that were overwritten by later ones, because there were too many.
    pub lost: u64,
    /// For how long it was recorded.
    pub seconds: f64,
}
