//! The end that asks.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::directory::Directory;
use super::peer;
use super::request::{Blocks, Line, Request, TraceSummary};
use crate::metrics::Metrics;
use crate::snapshot::Snapshot;
use crate::view::ProcessLine;

/// How long a process may take beyond what it was given: it may be stopped, or the machine busy.
const PATIENCE: Duration = Duration::from_secs(5);

/// The longest line that is taken from a process: some hundred thousand tasks.
const LONGEST_LINE: u64 = 1 << 30;

/// A connection to a process that can be inspected. Not for a thread that holds an interpreter: it
/// blocks.
pub struct Client {
    reader: BufReader<UnixStream>,
}

impl Client {
    /// Connects to a process by its number.
    ///
    /// # Errors
    /// `NotFound` in words if it has no socket or is gone; otherwise as for [`Client::connect_to`].
    pub fn connect(process: u32) -> io::Result<Client> {
        for directory in Directory::to_look_at()? {
            match Client::connect_to(&directory.socket_of(process)) {
                Err(error) if is_gone(&error) => {}
                outcome => return outcome,
            }
        }
        let reason = format!(
            "process {process} cannot be inspected: it is gone, another user's, \
             or was not started with --inspect or FERRIO_INSPECT=1"
        );
        Err(io::Error::new(io::ErrorKind::NotFound, reason))
    }

    /// Connects to a socket. One whose process is gone is removed.
    ///
    /// # Errors
    /// What the kernel says; `PermissionDenied` if another user listens there.
    pub fn connect_to(path: &Path) -> io::Result<Client> {
        let stream = match UnixStream::connect(path) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                // Nobody listens: the process ended without a farewell. Somebody else may have
                // removed it by now.
                let _ = std::fs::remove_file(path);
                return Err(error);
            }
            outcome => outcome?,
        };
        peer::check(&stream)?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client {
            reader: BufReader::new(stream),
        })
    }

    /// The process's loops and tasks; it waits for its interpreter for `patience`.
    ///
    /// # Errors
    /// `UnexpectedEof` if the process has ended, `TimedOut` if it does not answer.
    pub fn snapshot(&mut self, patience: Duration) -> io::Result<Snapshot> {
        let request = Request::Snapshot {
            patience: patience.as_secs_f64(),
        };
        let mut snapshot: Snapshot = self.ask(&request, patience, |_part| Ok(()))?;
        if snapshot.command.is_empty() {
            // The process's interpreter could not be had yet; the kernel knows it too.
            snapshot.command = command_of(snapshot.process);
        }
        Ok(snapshot)
    }

    /// The numbers of the process's loops.
    ///
    /// # Errors
    /// As for [`Client::snapshot`].
    pub fn metrics(&mut self) -> io::Result<Metrics> {
        self.ask(&Request::Metrics {}, Duration::ZERO, |_part| Ok(()))
    }

    /// What the process's watchdog has seen.
    ///
    /// # Errors
    /// As for [`Client::snapshot`].
    pub fn blocks(&mut self) -> io::Result<Blocks> {
        self.ask(&Request::Blocks {}, Duration::ZERO, |_part| Ok(()))
    }

    /// Has the process record for a while; `take` is given the Chrome trace events one by one.
    ///
    /// # Errors
    /// As for [`Client::snapshot`], and what `take` says.
    pub fn trace(
        &mut self,
        seconds: f64,
        mut take: impl FnMut(Value) -> io::Result<()>,
    ) -> io::Result<TraceSummary> {
        let duration = Duration::try_from_secs_f64(seconds)
            .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        self.ask(&Request::Trace { seconds }, duration, |part| match part {
            Value::Array(events) => events.into_iter().try_for_each(&mut take),
            event => take(event),
        })
    }

    fn ask<A: DeserializeOwned>(
        &mut self,
        request: &Request,
        time: Duration,
        mut take: impl FnMut(Value) -> io::Result<()>,
    ) -> io::Result<A> {
        let mut line = serde_json::to_vec(request)?;
        line.push(b'\n');
        let stream = self.reader.get_mut();
        stream.set_read_timeout(Some(PATIENCE + time))?;
        match stream.write_all(&line) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Err(ended()),
            outcome => outcome?,
        }
        loop {
            match self.next_line()? {
                Line::Part(part) => take(part)?,
                Line::Answer(answer) => return Ok(serde_json::from_value(answer)?),
                Line::Error(reason) => return Err(io::Error::other(reason)),
            }
        }
    }

    fn next_line(&mut self) -> io::Result<Line> {
        let mut line = Vec::new();
        let mut limited = (&mut self.reader).take(LONGEST_LINE);
        let length = match limited.read_until(b'\n', &mut line) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let reason = "the process does not answer";
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason));
            }
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            outcome => outcome?,
        };
        if length == 0 || line.last() != Some(&b'\n') {
            return Err(ended());
        }
        Ok(serde_json::from_slice(&line)?)
    }
}

/// Asks every process of this user that can be inspected what it is at; sockets whose processes
/// are gone are removed.
///
/// # Errors
/// As for [`Directory::to_look_at`].
pub fn ask_every_process() -> io::Result<Vec<ProcessLine>> {
    let mut found = Vec::new();
    for directory in Directory::to_look_at()? {
        found.extend(ask_processes_of(&directory)?);
    }
    Ok(found)
}

/// Asks those of one directory.
///
/// # Errors
/// What the kernel says of the directory.
pub fn ask_processes_of(directory: &Directory) -> io::Result<Vec<ProcessLine>> {
    let mut found = Vec::new();
    for process in directory.processes()? {
        let answer = Client::connect_to(&directory.socket_of(process))
            .and_then(|mut client| client.snapshot(Duration::from_millis(200)));
        match answer {
            Err(error) if is_gone(&error) => {}
            answer => found.push(ProcessLine {
                process,
                answer: answer.map_err(|error| error.to_string()),
            }),
        }
    }
    Ok(found)
}

fn command_of(process: u32) -> Vec<String> {
    let words = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
    words
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(|word| String::from_utf8_lossy(word).into_owned())
        .collect()
}

fn ended() -> io::Error {
    io::Error::new(io::ErrorKind::UnexpectedEof, "the process has ended")
}

fn is_gone(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused
    )
}
