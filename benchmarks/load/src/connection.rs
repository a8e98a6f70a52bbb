//! What the client's and the server's connections share: writing what the kernel takes.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};

/// What a non-blocking read came to.
pub(crate) enum Received {
    /// So many bytes are in the buffer.
    Bytes(usize),
    /// Nothing is there now.
    Nothing,
    /// The peer has closed its side.
    End,
}

/// Reads once, a would-block being an answer and not an error.
pub(crate) fn receive(mut stream: &File, buffer: &mut [u8]) -> io::Result<Received> {
    loop {
        return match stream.read(buffer) {
            Ok(0) => Ok(Received::End),
            Ok(count) => Ok(Received::Bytes(count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(Received::Nothing),
            Err(error) => Err(error),
        };
    }
}

/// Writes until the kernel takes no more; returns how many bytes it took.
pub(crate) fn send(mut stream: &File, bytes: &[u8]) -> io::Result<usize> {
    let mut sent = 0;
    while sent < bytes.len() {
        match stream.write(&bytes[sent..]) {
            Ok(count) => sent += count,
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => return Err(error),
        }
    }
    Ok(sent)
}
