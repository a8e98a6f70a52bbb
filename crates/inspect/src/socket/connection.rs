//! One client, in a thread of its own.

use std::io::{self, BufWriter, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use serde::Serialize;

use super::request::{Line, Request};
use crate::metrics::BlockMetrics;
use crate::services::Stop;
use crate::source::Source;
use crate::trace;
use crate::watchdog::{Report, recent_blocks};

/// The longest request.
const LONGEST_LINE: usize = 4096;

/// How long a client may be connected without a word.
const IDLE: Duration = Duration::from_secs(10 * 60);

/// How long a client may leave its answer lying.
const SLOWEST: Duration = Duration::from_secs(10);

/// Events of a trace in one line.
const PART: usize = 256;

/// The answer to `blocks`.
#[derive(Serialize)]
struct BlocksSeen {
    sites: Vec<BlockMetrics>,
    recent: Vec<Report>,
}

/// A client that was let in.
pub(super) struct Connection<'a> {
    stream: Stream<'a>,
    source: &'a dyn Source,
    /// What has come of the next request.
    received: Vec<u8>,
}

/// Tells a client that there are too many.
pub(super) fn refuse(mut stream: UnixStream) {
    let line = line(&Line::<()>::Error(
        "too many clients are connected".to_owned(),
    ));
    // It has its own way of noticing that it is closed.
    let _ = stream
        .set_nonblocking(true)
        .and_then(|()| stream.write_all(&line));
}

impl<'a> Connection<'a> {
    pub(super) fn new(
        stream: UnixStream,
        stop: &'a Stop,
        source: &'a dyn Source,
    ) -> io::Result<Connection<'a>> {
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream: Stream { stream, stop },
            source,
            received: Vec::new(),
        })
    }

    /// Answers request after request.
    ///
    /// # Errors
    /// What ends the connection before the client does.
    pub(super) fn answer_all(mut self) -> io::Result<()> {
        while let Some(line) = self.next_line()? {
            match Request::parse(&line) {
                Ok(request) => self.answer(&request)?,
                Err(reason) => self.send(&Line::<()>::Error(reason))?,
            }
        }
        Ok(())
    }

    /// The next request; `None` when the client has ended.
    fn next_line(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(end) = self.received.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.received.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if self.received.len() > LONGEST_LINE {
                let reason = format!("a request has at most {LONGEST_LINE} bytes");
                self.send(&Line::<()>::Error(reason))?;
                return Ok(None);
            }
            let mut piece = [0; 1024];
            match self.stream.read(&mut piece)? {
                0 => return Ok(None),
                length => self.received.extend_from_slice(&piece[..length]),
            }
        }
    }

    fn answer(&mut self, request: &Request) -> io::Result<()> {
        match *request {
            Request::Snapshot { patience } => {
                let patience = Duration::try_from_secs_f64(patience).unwrap_or_default();
                let snapshot = self.source.snapshot(patience);
                self.send(&Line::Answer(snapshot))
            }
            Request::Metrics {} => self.send(&Line::Answer(self.source.metrics())),
            Request::Blocks {} => self.send(&Line::Answer(BlocksSeen {
                sites: self.source.metrics().blocks,
                recent: recent_blocks()
                    .iter()
                    .map(|report| (**report).clone())
                    .collect(),
            })),
            Request::Trace { seconds } => self.trace(seconds),
        }
    }

    fn trace(&mut self, seconds: f64) -> io::Result<()> {
        let Some(recording) = trace::start() else {
            let reason = "a trace is being recorded already".to_owned();
            return self.send(&Line::<()>::Error(reason));
        };
        let duration = Duration::try_from_secs_f64(seconds).unwrap_or_default();
        if self.stream.is_over_within(duration) {
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        let recorded = recording.stop(self.source);
        let mut part = Vec::with_capacity(PART);
        recorded.write(|event| {
            part.push(event);
            if part.len() < PART {
                return Ok(());
            }
            self.send(&Line::Part(std::mem::replace(
                &mut part,
                Vec::with_capacity(PART),
            )))
        })?;
        self.send(&Line::Part(part))?;
        self.send(&Line::Answer(recorded.summary()))
    }

    fn send<A: Serialize>(&mut self, line: &Line<A>) -> io::Result<()> {
        let mut writer = BufWriter::with_capacity(32 * 1024, &mut self.stream);
        serde_json::to_writer(&mut writer, line)?;
        writer.write_all(b"\n")?;
        writer.flush()
    }
}

fn line<A: Serialize>(line: &Line<A>) -> Vec<u8> {
    // Plain data of ours has no key that is no text, which is what could fail.
    let mut text = serde_json::to_vec(line).unwrap_or_default();
    text.push(b'\n');
    text
}

/// A client's socket, whose waits end with the service and with the client's time.
struct Stream<'a> {
    stream: UnixStream,
    stop: &'a Stop,
}

impl Stream<'_> {
    /// Waits until the socket is ready.
    fn wait(&self, flags: PollFlags, longest: Duration) -> io::Result<()> {
        if self.is_ready_within(flags, longest)? {
            return Ok(());
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// Waits until the client has hung up (true) or the time is over. An error is as good as the
    /// first.
    fn is_over_within(&self, time: Duration) -> bool {
        // Without a flag only the end of both directions is told of.
        self.is_ready_within(PollFlags::RDHUP, time).unwrap_or(true)
    }

    fn is_ready_within(&self, flags: PollFlags, time: Duration) -> io::Result<bool> {
        let deadline = Instant::now() + time;
        let doorbell = self.stop.doorbell()?;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let mut wanted = [
                PollFd::new(&self.stream, flags),
                PollFd::from_borrowed_fd(doorbell, PollFlags::IN),
            ];
            let timeout = Timespec::try_from(left).unwrap_or_default();
            let ready = match poll(&mut wanted, Some(&timeout)) {
                Err(rustix::io::Errno::INTR) => continue,
                ready => ready?,
            };
            if self.stop.is_asked() {
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            if ready > 0 || left.is_zero() {
                return Ok(ready > 0);
            }
        }
    }
}

impl Read for Stream<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.stream.read(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::IN, IDLE)?;
                }
                outcome => return outcome,
            }
        }
    }
}

impl Write for Stream<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        loop {
            match self.stream.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    self.wait(PollFlags::OUT, SLOWEST)?;
                }
                outcome => return outcome,
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
