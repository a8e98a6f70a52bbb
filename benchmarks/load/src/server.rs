//! An echo server with nothing but the system calls in it: the floor of the echo benchmarks.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::buffer::spare_capacity;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use crate::connection::{self, Received};

/// Bytes read from a connection at once.
const READ_SIZE: usize = 256 * 1024;

/// Alignment of the memory that is read into.
const PAGE: usize = 4096;

/// Events taken from one wait.
const EVENTS: usize = 1024;

/// Token of the listening socket; connections are numbered from [`FIRST_CONNECTION`].
const LISTENER: u64 = 0;
/// Token of the descriptor whose readability ends the server.
const STOP: u64 = 1;
/// Token of the first connection.
const FIRST_CONNECTION: u64 = 2;

/// An echo server on the loopback interface.
pub struct Server {
    epoll: OwnedFd,
    listener: TcpListener,
    connections: HashMap<u64, Connection>,
    next_token: u64,
    /// One buffer for all connections: what is read is written before the next read.
    buffer: Vec<u8>,
}

impl Server {
    /// Listens on a free port of the loopback interface.
    ///
    /// # Errors
    ///
    /// What the bind, the listen or the registration failed with.
    pub fn bind() -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        // The standard library listens with a backlog of 128; 1,000 clients arrive at once here.
        rustix::net::listen(&listener, 4096)?;
        listener.set_nonblocking(true)?;
        let epoll = epoll::create(CreateFlags::CLOEXEC)?;
        epoll::add(
            &epoll,
            &listener,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )?;
        Ok(Self {
            epoll,
            listener,
            connections: HashMap::new(),
            next_token: FIRST_CONNECTION,
            buffer: vec![0; READ_SIZE + PAGE],
        })
    }

    /// Where the server listens.
    ///
    /// # Errors
    ///
    /// What asking the kernel failed with.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }

    /// Echoes until `stop` becomes readable or reaches its end.
    ///
    /// # Errors
    ///
    /// What a wait or an accept failed with. An error on one connection closes that one only.
    pub fn run(&mut self, stop: BorrowedFd<'_>) -> io::Result<()> {
        epoll::add(&self.epoll, stop, EventData::new_u64(STOP), EventFlags::IN)?;
        let mut events: Vec<Event> = Vec::with_capacity(EVENTS);
        loop {
            match epoll::wait(&self.epoll, spare_capacity(&mut events), None) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
            for event in events.drain(..) {
                match event.data.u64() {
                    LISTENER => self.accept_all()?,
                    STOP => return Ok(()),
                    token => self.serve(token, event.flags)?,
                }
            }
        }
    }

    fn accept_all(&mut self) -> io::Result<()> {
        loop {
            let stream = match self.listener.accept() {
                Ok((stream, _)) => stream,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            };
            stream.set_nodelay(true)?;
            stream.set_nonblocking(true)?;
            let token = self.next_token;
            self.next_token += 1;
            epoll::add(
                &self.epoll,
                &stream,
                EventData::new_u64(token),
                EventFlags::IN,
            )?;
            self.connections.insert(
                token,
                Connection {
                    stream: OwnedFd::from(stream).into(),
                    unsent: Vec::new(),
                },
            );
        }
    }

    fn serve(&mut self, token: u64, flags: EventFlags) -> io::Result<()> {
        let Some(connection) = self.connections.get_mut(&token) else {
            return Ok(());
        };
        let was_blocked = connection.is_blocked();
        let goes_on = if flags.contains(EventFlags::OUT) {
            connection.flush()
        } else {
            connection.echo(aligned(&mut self.buffer))
        };
        if !matches!(goes_on, Ok(true)) {
            // The end, or an error that concerns this connection only: dropping it closes it.
            self.connections.remove(&token);
            return Ok(());
        }
        let is_blocked = connection.is_blocked();
        if is_blocked != was_blocked {
            let interest = if is_blocked {
                EventFlags::OUT
            } else {
                EventFlags::IN
            };
            let stream = connection.stream.as_fd();
            epoll::modify(&self.epoll, stream, EventData::new_u64(token), interest)?;
        }
        Ok(())
    }
}

/// The part of the buffer that begins at a page.
///
/// The kernel's copy runs at half its speed on some processors when source and destination lie
/// unfavourably within their pages, which memory from an allocator, 16 bytes into a page, does.
fn aligned(buffer: &mut [u8]) -> &mut [u8] {
    let start = buffer.as_ptr().align_offset(PAGE);
    &mut buffer[start..start + READ_SIZE]
}

/// One client of the server.
struct Connection {
    stream: File,
    /// What the kernel did not take. While there is any, nothing is read.
    unsent: Vec<u8>,
}

impl Connection {
    fn is_blocked(&self) -> bool {
        !self.unsent.is_empty()
    }

    /// Reads once and writes back what came; false at the end of the stream.
    fn echo(&mut self, buffer: &mut [u8]) -> io::Result<bool> {
        match connection::receive(&self.stream, buffer)? {
            Received::Bytes(count) => {
                let sent = connection::send(&self.stream, &buffer[..count])?;
                self.unsent.extend_from_slice(&buffer[sent..count]);
                Ok(true)
            }
            Received::Nothing => Ok(true),
            Received::End => Ok(false),
        }
    }

    /// Writes what an earlier write left over.
    fn flush(&mut self) -> io::Result<bool> {
        let sent = connection::send(&self.stream, &self.unsent)?;
        self.unsent.drain(..sent);
        Ok(true)
    }
}
