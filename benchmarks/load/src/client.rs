//! The load client: many connections, one message in flight on each, every byte compared.

use std::fs::File;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::connection::{self, Received};
use crate::messages::Messages;
use crate::tls::TlsStream;

/// The client gives up when no connection makes progress for so long.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Bytes read from a connection at once.
const READ_SIZE: usize = 256 * 1024;

/// Where an echo server listens.
#[derive(Clone, Debug)]
pub enum Address {
    /// TCP, written as `127.0.0.1:8080`.
    Tcp(SocketAddr),
    /// A Unix socket, written as its absolute path.
    Unix(PathBuf),
}

impl FromStr for Address {
    type Err = std::net::AddrParseError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.starts_with('/') {
            return Ok(Self::Unix(text.into()));
        }
        text.parse().map(Self::Tcp)
    }
}

impl From<SocketAddr> for Address {
    fn from(address: SocketAddr) -> Self {
        Self::Tcp(address)
    }
}

impl Address {
    /// A connected, non-blocking stream.
    fn connect(&self) -> io::Result<File> {
        let stream: OwnedFd = match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address)?;
                stream.set_nodelay(true)?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_nonblocking(true)?;
                stream.into()
            }
        };
        Ok(stream.into())
    }
}

/// Many connections to one echo server.
pub struct Client {
    epoll: OwnedFd,
    connections: Vec<Connection>,
    messages: Messages,
    /// One buffer for all connections: what is read is compared at once.
    buffer: Vec<u8>,
    events: Vec<Event>,
}

impl Client {
    /// Opens `connections` connections to `address`, on which messages of `size` bytes will go.
    ///
    /// # Errors
    ///
    /// What the connect or the registration of a connection failed with.
    pub fn connect(
        address: impl Into<Address>,
        connections: usize,
        size: usize,
    ) -> io::Result<Self> {
        let address = address.into();
        Self::open(connections, size, || Ok(Stream::Plain(address.connect()?)))
    }

    /// Has every message be a line: its last byte, and no other, is a newline.
    #[must_use]
    pub fn with_lines(self) -> Self {
        Self {
            messages: Messages::lines(self.messages.size()),
            ..self
        }
    }

    /// [`Client::connect`] with TLS on every connection; their handshakes are done when this
    /// returns. The server's certificate may be anybody's.
    ///
    /// # Errors
    ///
    /// What the connect, the handshake or the registration of a connection failed with.
    pub fn connect_tls(address: SocketAddr, connections: usize, size: usize) -> io::Result<Self> {
        let config = crate::tls::configuration()?;
        Self::open(connections, size, || {
            Ok(Stream::Tls(Box::new(TlsStream::open(address, &config)?)))
        })
    }

    fn open(
        connections: usize,
        size: usize,
        stream: impl Fn() -> io::Result<Stream>,
    ) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let connections = (0..connections)
            .map(|index| Connection::open(stream()?, index, &epoll))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            epoll,
            events: Vec::with_capacity(connections.len().max(1)),
            connections,
            messages: Messages::new(size),
            buffer: vec![0; READ_SIZE],
        })
    }

    /// Sends `count` messages in all and returns when each has been echoed.
    ///
    /// A connection whose message has come back sends the next one of the `count`, so that every
    /// connection is busy until the end. `count` is raised to the number of connections when it
    /// is smaller; the number really sent is returned.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] when a byte came back wrong,
    /// [`io::ErrorKind::UnexpectedEof`] when the server closed a connection,
    /// [`io::ErrorKind::TimedOut`] when nothing moved for 20 seconds, or what a call failed with.
    pub fn run(&mut self, count: usize) -> io::Result<usize> {
        let count = count.max(self.connections.len());
        let mut unsent = count - self.connections.len();
        let mut unfinished = count;
        for connection in &mut self.connections {
            connection.start_message(&self.messages, &self.epoll)?;
        }
        while unfinished > 0 {
            self.wait()?;
            for event in self.events.drain(..) {
                let index = usize::try_from(event.data.u64()).expect("we stored an index");
                let connection = &mut self.connections[index];
                let flags = event.flags;
                if flags.contains(EventFlags::OUT) {
                    connection.continue_sending(&self.messages, &self.epoll)?;
                }
                if connection.receive(&self.messages, &mut self.buffer)? {
                    unfinished -= 1;
                    if unsent > 0 {
                        unsent -= 1;
                        connection.start_message(&self.messages, &self.epoll)?;
                    }
                }
            }
        }
        Ok(count)
    }

    /// Waits until at least one connection is ready.
    fn wait(&mut self) -> io::Result<()> {
        let timeout = Timespec::try_from(PATIENCE).expect("20 seconds fit into a timespec");
        loop {
            match epoll::wait(
                &self.epoll,
                spare_capacity(&mut self.events),
                Some(&timeout),
            ) {
                Ok(0) => {
                    return Err(io::Error::new(
                        io::ErrorKind::TimedOut,
                        format!("no echo arrived for {PATIENCE:?}"),
                    ));
                }
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

/// What carries the bytes.
enum Stream {
    Plain(File),
    Tls(Box<TlsStream>),
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Plain(stream) => stream.as_fd(),
            Self::Tls(stream) => stream.socket().as_fd(),
        }
    }
}

impl Stream {
    fn send(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(stream) => connection::send(stream, bytes),
            Self::Tls(stream) => stream.send(bytes),
        }
    }

    fn receive(&mut self, buffer: &mut [u8]) -> io::Result<Received> {
        match self {
            Self::Plain(stream) => connection::receive(stream, buffer),
            Self::Tls(stream) => stream.receive(buffer),
        }
    }

    /// Whether what was sent waits for the kernel.
    fn has_unsent(&self) -> bool {
        match self {
            Self::Plain(_) => false,
            Self::Tls(stream) => stream.has_unsent(),
        }
    }
}

/// One connection with at most one message in flight.
struct Connection {
    stream: Stream,
    /// Its number, which chooses its messages.
    index: usize,
    /// Number of the message in flight, or of the next one when none is.
    sequence: usize,
    /// How much of the message in flight the kernel has taken.
    sent: usize,
    /// How much of the message in flight has come back.
    received: usize,
    /// Whether epoll is asked for writability, because the kernel took only a part.
    awaits_room: bool,
}

impl Connection {
    fn open(stream: Stream, index: usize, epoll: &OwnedFd) -> io::Result<Self> {
        epoll::add(
            epoll,
            &stream,
            EventData::new_u64(index as u64),
            EventFlags::IN,
        )?;
        Ok(Self {
            stream,
            index,
            sequence: 0,
            sent: 0,
            received: 0,
            awaits_room: false,
        })
    }

    fn start_message(&mut self, messages: &Messages, epoll: &OwnedFd) -> io::Result<()> {
        self.sent = 0;
        self.received = 0;
        self.continue_sending(messages, epoll)
    }

    fn continue_sending(&mut self, messages: &Messages, epoll: &OwnedFd) -> io::Result<()> {
        let message = messages.message(self.index, self.sequence);
        self.sent += self.stream.send(&message[self.sent..])?;
        let awaits_room = self.sent < message.len() || self.stream.has_unsent();
        if awaits_room != self.awaits_room {
            self.awaits_room = awaits_room;
            let mut flags = EventFlags::IN;
            flags.set(EventFlags::OUT, awaits_room);
            epoll::modify(
                epoll,
                &self.stream,
                EventData::new_u64(self.index as u64),
                flags,
            )?;
        }
        Ok(())
    }

    /// Reads once and compares; true when the message in flight is complete.
    fn receive(&mut self, messages: &Messages, buffer: &mut [u8]) -> io::Result<bool> {
        let count = match self.stream.receive(buffer)? {
            Received::Bytes(count) => count,
            Received::Nothing => return Ok(false),
            Received::End => return Err(self.closed_early()),
        };
        let expected = &messages.message(self.index, self.sequence)[self.received..];
        if expected.get(..count) != Some(&buffer[..count]) {
            return Err(self.wrong_echo(expected, &buffer[..count]));
        }
        self.received += count;
        if self.received < messages.size() {
            return Ok(false);
        }
        self.sequence += 1;
        Ok(true)
    }

    fn closed_early(&self) -> io::Error {
        io::Error::new(
            io::ErrorKind::UnexpectedEof,
            format!(
                "connection {}: closed by the server after {} bytes of message {}",
                self.index, self.received, self.sequence
            ),
        )
    }

    fn wrong_echo(&self, expected: &[u8], received: &[u8]) -> io::Error {
        let same = expected
            .iter()
            .zip(received)
            .take_while(|(left, right)| left == right)
            .count();
        let what = if same == expected.len() {
            format!("{} bytes more than were sent", received.len() - same)
        } else {
            format!("byte {} is wrong", self.received + same)
        };
        io::Error::new(
            io::ErrorKind::InvalidData,
            format!(
                "connection {}: wrong echo of message {}: {what}",
                self.index, self.sequence
            ),
        )
    }
}
