//! Opens TLS connections to a server, many at a time, and counts them.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use rustix::buffer::spare_capacity;
use rustix::event::Timespec;
use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};
use rustls::ClientConfig;

use crate::connection::Received;
use crate::tls::TlsStream;

/// The client gives up when no handshake makes progress for so long.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens TLS connections to one server, of which each lasts until the server's first byte.
pub struct Handshakes {
    epoll: OwnedFd,
    address: SocketAddr,
    config: Arc<ClientConfig>,
    at_once: usize,
}

impl Handshakes {
    /// Prepares for handshakes with the server at `address`, `at_once` at a time.
    ///
    /// # Errors
    ///
    /// What the preparation failed with.
    pub fn new(address: SocketAddr, at_once: usize) -> io::Result<Self> {
        Ok(Self {
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            address,
            config: crate::tls::configuration()?,
            at_once: at_once.max(1),
        })
    }

    /// Makes `count` handshakes and returns when the server has answered each with a byte.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::UnexpectedEof`] when the server closed a connection without a byte,
    /// [`io::ErrorKind::TimedOut`] when nothing moved for 20 seconds, or what a call failed with.
    pub fn run(&mut self, count: usize) -> io::Result<usize> {
        let mut streams = HashMap::new();
        let mut begun = 0;
        let mut finished = 0;
        let mut events: Vec<Event> = Vec::with_capacity(self.at_once);
        let mut buffer = [0; 16];
        while finished < count {
            while begun < count && begun - finished < self.at_once {
                let stream = TlsStream::begin(self.address, &self.config)?;
                let token = begun as u64;
                let data = EventData::new_u64(token);
                epoll::add(&self.epoll, stream.socket(), data, EventFlags::IN)?;
                streams.insert(token, stream);
                begun += 1;
            }
            self.wait(&mut events)?;
            for event in events.drain(..) {
                let token = event.data.u64();
                let Some(stream) = streams.get_mut(&token) else {
                    continue;
                };
                match stream.receive(&mut buffer)? {
                    Received::Nothing => {}
                    Received::Bytes(_) => {
                        // Closing the socket takes it out of the epoll set.
                        streams.remove(&token);
                        finished += 1;
                    }
                    Received::End => {
                        return Err(io::Error::new(
                            io::ErrorKind::UnexpectedEof,
                            format!("connection {token}: closed by the server without a byte"),
                        ));
                    }
                }
            }
        }
        Ok(count)
    }

    fn wait(&self, events: &mut Vec<Event>) -> io::Result<()> {
        let timeout = Timespec::try_from(PATIENCE).expect("20 seconds fit into a timespec");
        match epoll::wait(&self.epoll, spare_capacity(events), Some(&timeout)) {
            Ok(0) => Err(io::Error::new(
                io::ErrorKind::TimedOut,
                format!("no handshake went on for {PATIENCE:?}"),
            )),
            Ok(_) | Err(rustix::io::Errno::INTR) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
