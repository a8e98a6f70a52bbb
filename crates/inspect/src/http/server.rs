//! The thread that serves.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, ToSocketAddrs};
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::access::Options;
use super::connection::{Connection, Waits};
use crate::Source;

/// So many clients are served at a time; the others wait in the kernel.
const MOST_CONNECTIONS: usize = 32;

/// How long nobody is accepted when the process has no descriptor left.
const RETRY: Duration = Duration::from_millis(200);

/// A server that listens. It serves while [`Server::serve`] runs.
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
    options: Options,
    source: Arc<dyn Source>,
}

impl fmt::Debug for Server {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the options: the token is a secret.
        formatter
            .debug_struct("Server")
            .field("address", &self.address)
            .finish_non_exhaustive()
    }
}

impl Server {
    /// Listens.
    ///
    /// # Errors
    /// `InvalidInput` for an address that is not a loopback one, unless that is allowed;
    /// otherwise what the resolver and the kernel say.
    pub fn bind(options: Options, source: Arc<dyn Source>) -> io::Result<Server> {
        let addresses: Vec<_> = (options.host.as_str(), options.port)
            .to_socket_addrs()?
            .collect();
        let is_remote = |address: &SocketAddr| !address.ip().is_loopback();
        if !options.allow_remote && addresses.iter().any(is_remote) {
            return Err(io::Error::new(
                ErrorKind::InvalidInput,
                format!("{} is not a loopback address", options.host),
            ));
        }
        let listener = TcpListener::bind(&addresses[..])?;
        listener.set_nonblocking(true)?;
        Ok(Server {
            address: listener.local_addr()?,
            listener,
            options,
            source,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves until `stop` is readable. It can be called again afterwards; clients that were not
    /// answered then are gone.
    ///
    /// # Errors
    /// What the kernel says when it cannot wait for descriptors.
    pub fn serve(&self, stop: &impl AsFd) -> io::Result<()> {
        let mut connections: Vec<Connection> = Vec::new();
        let mut accepts = true;
        loop {
            let listens = accepts && connections.len() < MOST_CONNECTIONS;
            let Some(ready) = self.wait(stop.as_fd(), listens, !accepts, &connections)? else {
                return Ok(());
            };
            let mut index = 0;
            connections.retain_mut(|connection| {
                let is_ready = ready.connections[index];
                index += 1;
                if is_ready {
                    connection.go_on(&self.options, &*self.source)
                } else {
                    !connection.time_left().is_zero()
                }
            });
            accepts = true;
            if ready.listener {
                accepts = self.accept(&mut connections);
            }
        }
    }

    /// Waits until there is something to do; `None` when that is to stop.
    fn wait(
        &self,
        stop: BorrowedFd<'_>,
        listens: bool,
        retries: bool,
        connections: &[Connection],
    ) -> io::Result<Option<Ready>> {
        let mut files = vec![
            PollFd::from_borrowed_fd(stop, PollFlags::IN),
            PollFd::from_borrowed_fd(
                self.listener.as_fd(),
                if listens {
                    PollFlags::IN
                } else {
                    PollFlags::empty()
                },
            ),
        ];
        files.extend(connections.iter().map(|connection| {
            let flags = match connection.waits() {
                Waits::ToRead => PollFlags::IN,
                Waits::ToWrite => PollFlags::OUT,
            };
            PollFd::from_borrowed_fd(connection.stream().as_fd(), flags)
        }));
        let timeout = connections
            .iter()
            .map(Connection::time_left)
            .chain(retries.then_some(RETRY))
            .min();
        let timeout = timeout.and_then(|timeout| Timespec::try_from(timeout).ok());
        match poll(&mut files, timeout.as_ref()) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let is_ready = |file: &PollFd<'_>| !file.revents().is_empty();
        if is_ready(&files[0]) {
            return Ok(None);
        }
        Ok(Some(Ready {
            listener: listens && is_ready(&files[1]),
            connections: files[2..].iter().map(is_ready).collect(),
        }))
    }

    /// Accepts a client; false when the process has no descriptor for one.
    fn accept(&self, connections: &mut Vec<Connection>) -> bool {
        match self.listener.accept() {
            Ok((stream, _)) => {
                // One that cannot be made non-blocking is gone.
                connections.extend(Connection::new(stream).ok());
                true
            }
            Err(error) => matches!(
                error.kind(),
                ErrorKind::WouldBlock | ErrorKind::Interrupted | ErrorKind::ConnectionAborted
            ),
        }
    }
}

/// Who has something to do.
struct Ready {
    listener: bool,
    connections: Vec<bool>,
}
