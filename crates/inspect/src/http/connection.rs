//! One client, from its request to its answer.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::{Duration, Instant};

use super::access::Options;
use super::pages::answer;
use super::request::{LONGEST_HEAD, Request};
use super::response::{Response, Status};
use crate::Source;

/// A client that has not got its answer after so long is given up.
const LONGEST: Duration = Duration::from_secs(5);

/// A client. Neither reading nor writing waits.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    deadline: Instant,
    state: State,
}

#[derive(Debug)]
enum State {
    /// The request has arrived up to here.
    Reading(Vec<u8>),
    /// So much of the answer was sent.
    Writing { answer: Vec<u8>, sent: usize },
    /// The answer was sent; what the client still says is thrown away, so that the kernel does not
    /// reset the connection under the answer.
    Ending,
}

/// What a connection waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Waits {
    /// The client's bytes.
    ToRead,
    /// Room for ours.
    ToWrite,
}

impl Connection {
    /// # Errors
    /// What the kernel says of making it non-blocking.
    pub(super) fn new(stream: TcpStream) -> io::Result<Connection> {
        stream.set_nonblocking(true)?;
        Ok(Connection {
            stream,
            deadline: Instant::now() + LONGEST,
            state: State::Reading(Vec::new()),
        })
    }

    pub(super) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    pub(super) fn waits(&self) -> Waits {
        match self.state {
            State::Reading(_) | State::Ending => Waits::ToRead,
            State::Writing { .. } => Waits::ToWrite,
        }
    }

    /// How long it may still take.
    pub(super) fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// What it waited for has come: goes on. False when it is over.
    pub(super) fn go_on(&mut self, options: &Options, source: &dyn Source) -> bool {
        match self.step(options, source) {
            Ok(goes_on) => goes_on,
            Err(error) => matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted),
        }
    }

    fn step(&mut self, options: &Options, source: &dyn Source) -> io::Result<bool> {
        match &mut self.state {
            State::Reading(head) => {
                let mut buffer = [0; 4096];
                let length = self.stream.read(&mut buffer)?;
                if length == 0 {
                    return Ok(false);
                }
                head.extend_from_slice(&buffer[..length]);
                let Some(answer) = respond(head, options, source) else {
                    return Ok(true);
                };
                self.state = State::Writing { answer, sent: 0 };
                self.step(options, source)
            }
            State::Writing { answer, sent } => {
                while *sent < answer.len() {
                    *sent += self.stream.write(&answer[*sent..])?;
                }
                self.stream.shutdown(Shutdown::Write)?;
                self.state = State::Ending;
                Ok(true)
            }
            State::Ending => {
                let mut buffer = [0; 4096];
                Ok(self.stream.read(&mut buffer)? > 0)
            }
        }
    }
}

/// The answer to what has arrived, once that is a request.
fn respond(head: &[u8], options: &Options, source: &dyn Source) -> Option<Vec<u8>> {
    let refused = |status, words| Some(Response::refused(status, words).into_bytes(false));
    match Request::parse(head) {
        None if head.len() > LONGEST_HEAD => {
            refused(Status::BadRequest, "The request is too long.")
        }
        None => None,
        Some(Err(_)) => refused(Status::BadRequest, "This is not HTTP/1.1."),
        Some(Ok(request)) => match request.is_head() {
            Some(is_head) => Some(answer(&request, options, source).into_bytes(is_head)),
            None => refused(Status::MethodNotAllowed, "Only GET and HEAD are served."),
        },
    }
}
