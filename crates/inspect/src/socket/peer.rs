//! Who is at the other end.

use std::io;
use std::os::unix::net::UnixStream;

use rustix::net::sockopt::socket_peercred;
use rustix::process::getuid;

/// Whether the process at the other end is the same user's, or root's.
///
/// # Errors
/// `PermissionDenied` if it is not; what the kernel says.
pub(super) fn check(stream: &UnixStream) -> io::Result<()> {
    let peer = socket_peercred(stream)?.uid;
    if peer == getuid() || peer.is_root() {
        return Ok(());
    }
    Err(io::Error::new(
        io::ErrorKind::PermissionDenied,
        "the other end of the socket is another user's process",
    ))
}
