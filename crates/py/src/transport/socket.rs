//! System calls on a transport's socket.
//!
//! They never wait (`MSG_DONTWAIT`), whatever somebody has set the socket to, so the interpreter
//! is not released for them. A peer that is gone is an error and no SIGPIPE.

use std::io::{self, IoSlice};
use std::os::fd::BorrowedFd;

use ferrio_core::WriteBuffer;
use rustix::net::{RecvFlags, SendAncillaryBuffer, SendFlags, Shutdown};

use super::StreamTransport;
use super::piece::Piece;

/// The most pieces that the kernel takes in one call (`IOV_MAX`).
pub(super) const MOST_PIECES: usize = 1024;

/// As many pieces as are described on the stack without thinking.
const FEW_PIECES: usize = 16;

/// Pieces that are no more than this together are copied to lie side by side: the kernel takes
/// longer over a list of pieces than a copy of so few bytes does.
const SMALL: usize = 1024;

/// What became of bytes that were offered to the kernel.
pub(super) struct Offer {
    /// How many bytes it was shown.
    pub(super) size: usize,
    /// How many of them, from the front, it has taken.
    pub(super) taken: usize,
}

impl StreamTransport {
    /// Reads into `memory`; zero bytes are the end of the stream.
    #[inline]
    pub(super) fn receive(&self, memory: &mut [u8]) -> io::Result<usize> {
        let (_, length) = rustix::net::recv(self.open_fd()?, memory, RecvFlags::DONTWAIT)?;
        Ok(length)
    }

    /// Offers the kernel what the buffer holds and, behind it, `rest`; as many pieces as fit in
    /// one call.
    #[inline]
    pub(super) fn offer(&self, rest: &[u8]) -> io::Result<Offer> {
        let fd = self.open_fd()?;
        let buffer = self.buffer.borrow();
        if buffer.is_empty() {
            return send(fd, rest);
        }
        match buffer.piece_count() + usize::from(!rest.is_empty()) {
            1 => {
                let mut slices = [IoSlice::new(&[])];
                buffer.chunks(&mut slices);
                send(fd, &slices[0])
            }
            2..=FEW_PIECES if buffer.len() + rest.len() <= SMALL => send_joined(fd, &buffer, rest),
            2..=FEW_PIECES => send_pieces::<FEW_PIECES>(fd, &buffer, rest),
            _ => send_pieces::<MOST_PIECES>(fd, &buffer, rest),
        }
    }

    /// Tells the peer that nothing more will come.
    pub(super) fn shut_down_output(&self) -> io::Result<()> {
        Ok(rustix::net::shutdown(self.open_fd()?, Shutdown::Write)?)
    }
}

const SEND_FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);

#[inline]
fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> io::Result<Offer> {
    let taken = rustix::net::send(fd, bytes, SEND_FLAGS)?;
    Ok(Offer {
        size: bytes.len(),
        taken,
    })
}

/// Sends all pieces, [`SMALL`] bytes at most, as one.
#[inline]
fn send_joined(fd: BorrowedFd<'_>, buffer: &WriteBuffer<Piece>, rest: &[u8]) -> io::Result<Offer> {
    let mut slices = [IoSlice::new(&[]); FEW_PIECES];
    let filled = buffer.chunks(&mut slices);
    let mut joined = [0; SMALL];
    let mut length = 0;
    for piece in slices[..filled].iter().map(|slice| &**slice).chain([rest]) {
        joined[length..length + piece.len()].copy_from_slice(piece);
        length += piece.len();
    }
    send(fd, &joined[..length])
}

fn send_pieces<const N: usize>(
    fd: BorrowedFd<'_>,
    buffer: &WriteBuffer<Piece>,
    rest: &[u8],
) -> io::Result<Offer> {
    let mut slices = [IoSlice::new(&[]); N];
    let mut filled = buffer.chunks(&mut slices);
    if filled == buffer.piece_count() && filled < N && !rest.is_empty() {
        slices[filled] = IoSlice::new(rest);
        filled += 1;
    }
    let slices = &slices[..filled];
    let mut no_control = SendAncillaryBuffer::default();
    let taken = rustix::net::sendmsg(fd, slices, &mut no_control, SEND_FLAGS)?;
    Ok(Offer {
        size: slices.iter().map(|slice| slice.len()).sum(),
        taken,
    })
}

/// Whether an error says only that now is not the time.
#[inline]
pub(super) fn is_not_now(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
    )
}
