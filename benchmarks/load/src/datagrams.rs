//! The datagram side: the same load and the same floor as for streams, over UDP.
//!
//! A datagram arrives whole or not at all. On the loopback interface it only gets lost when a
//! socket's receive buffer is full, so with one message in flight on each of few sockets none
//! does; if one did, the client would give up and say so.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::client::PATIENCE;
use crate::messages::Messages;

/// No datagram is longer.
const LONGEST: usize = 64 * 1024;

/// Datagrams echoed between two waits.
const MOST_AT_ONCE: usize = 64;

/// Many sockets that send to one echo server.
pub struct DatagramClient {
    epoll: OwnedFd,
    sockets: Vec<Socket>,
    messages: Messages,
    buffer: Vec<u8>,
    events: Vec<Event>,
}

/// A socket with at most one message in flight.
struct Socket {
    socket: UdpSocket,
    /// Number of the message in flight, or of the next one when none is.
    sequence: usize,
}

impl DatagramClient {
    /// Opens `sockets` sockets, from which messages of `size` bytes will go to `address`.
    ///
    /// # Errors
    ///
    /// What opening, connecting or registering a socket failed with.
    pub fn connect(address: SocketAddr, sockets: usize, size: usize) -> io::Result<Self> {
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let sockets = (0..sockets)
            .map(|index| Socket::open(address, index, &epoll))
            .collect::<io::Result<Vec<_>>>()?;
        Ok(Self {
            epoll,
            events: Vec::with_capacity(sockets.len().max(1)),
            sockets,
            messages: Messages::new(size),
            buffer: vec![0; LONGEST],
        })
    }

    /// Sends `count` messages in all and returns when each has been echoed; `count` is raised to
    /// the number of sockets when it is smaller, and the number really sent is returned.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::InvalidData`] when a message came back wrong,
    /// [`io::ErrorKind::TimedOut`] when nothing came back for 20 seconds, or what a call failed
    /// with.
    pub fn run(&mut self, count: usize) -> io::Result<usize> {
        let count = count.max(self.sockets.len());
        let mut unsent = count - self.sockets.len();
        let mut unfinished = count;
        for index in 0..self.sockets.len() {
            self.send(index)?;
        }
        while unfinished > 0 {
            self.wait()?;
            let mut events = std::mem::take(&mut self.events);
            for event in events.drain(..) {
                let index = usize::try_from(event.data.u64()).expect("we stored an index");
                if !self.receive(index)? {
                    continue;
                }
                unfinished -= 1;
                if unsent > 0 {
                    unsent -= 1;
                    self.send(index)?;
                }
            }
            self.events = events;
        }
        Ok(count)
    }

    fn send(&self, index: usize) -> io::Result<()> {
        let Socket { socket, sequence } = &self.sockets[index];
        socket.send(self.messages.message(index, *sequence))?;
        Ok(())
    }

    /// Takes an echo and compares it; false when there is none after all.
    fn receive(&mut self, index: usize) -> io::Result<bool> {
        let Socket { socket, sequence } = &mut self.sockets[index];
        let length = match socket.recv(&mut self.buffer) {
            Ok(length) => length,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(false),
            Err(error) => return Err(error),
        };
        if self.messages.message(index, *sequence) != &self.buffer[..length] {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                format!("socket {index}: wrong echo of message {sequence}"),
            ));
        }
        *sequence += 1;
        Ok(true)
    }

    /// Waits until at least one echo has come.
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

impl Socket {
    fn open(address: SocketAddr, index: usize, epoll: &OwnedFd) -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.connect(address)?;
        socket.set_nonblocking(true)?;
        let index = EventData::new_u64(index as u64);
        epoll::add(epoll, &socket, index, EventFlags::IN)?;
        Ok(Self {
            socket,
            sequence: 0,
        })
    }
}

/// A datagram echo server with nothing but the system calls in it.
pub struct DatagramServer {
    socket: UdpSocket,
}

impl DatagramServer {
    /// Takes a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// What the bind failed with.
    pub fn bind() -> io::Result<Self> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0))?;
        socket.set_nonblocking(true)?;
        Ok(Self { socket })
    }

    /// Where the server listens.
    ///
    /// # Errors
    ///
    /// What asking the kernel failed with.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.socket.local_addr()
    }

    /// Echoes until `stop` becomes readable or reaches its end.
    ///
    /// # Errors
    ///
    /// What a call failed with.
    pub fn run(&mut self, stop: BorrowedFd<'_>) -> io::Result<()> {
        const SOCKET: u64 = 0;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        let mut buffer = vec![0; LONGEST];
        let mut events: Vec<Event> = Vec::with_capacity(2);
        epoll::add(&epoll, stop, EventData::new_u64(SOCKET + 1), EventFlags::IN)?;
        let socket = self.socket.as_fd();
        epoll::add(&epoll, socket, EventData::new_u64(SOCKET), EventFlags::IN)?;
        loop {
            match epoll::wait(&epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                if event.data.u64() != SOCKET {
                    return Ok(());
                }
                self.echo_some(&mut buffer)?;
            }
        }
    }

    /// Sends back what has arrived, for a while.
    fn echo_some(&self, buffer: &mut [u8]) -> io::Result<()> {
        for _ in 0..MOST_AT_ONCE {
            let (length, sender) = match self.socket.recv_from(buffer) {
                Ok(received) => received,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            self.socket.send_to(&buffer[..length], sender)?;
        }
        Ok(())
    }
}
