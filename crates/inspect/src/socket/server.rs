//! The end that answers.

use std::fs;
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use rustix::event::{PollFd, PollFlags, poll};

use super::connection::{self, Connection};
use super::directory::Directory;
use super::peer;
use crate::services::Stop;
use crate::source::Source;

/// How many clients can be connected.
const MOST_CLIENTS: usize = 16;

/// A socket that answers; removed when it is closed.
///
/// [`InspectSocket::serve`] is a service's body: it can end and be called again, with whoever
/// connects meanwhile waiting.
pub struct InspectSocket {
    path: PathBuf,
    /// The file's device and number, so that it is not another process's socket that is removed.
    identity: (u64, u64),
    /// None once it is closed.
    listener: Mutex<Option<Arc<UnixListener>>>,
    clients: AtomicUsize,
}

impl InspectSocket {
    /// Opens the socket of this process. What was there is removed: its process was one that had our
    /// number.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn open(directory: &Directory) -> io::Result<InspectSocket> {
        let path = directory.socket_of(std::process::id());
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let listener = UnixListener::bind(&path)?;
        // Until then only the directory keeps others out, which is enough.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600))?;
        listener.set_nonblocking(true)?;
        let file = fs::symlink_metadata(&path)?;
        Ok(InspectSocket {
            path,
            identity: (file.dev(), file.ino()),
            listener: Mutex::new(Some(Arc::new(listener))),
            clients: AtomicUsize::new(0),
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Answers whoever connects, until `stop` says so. Blocking; a thread for each client.
    pub fn serve(&self, source: &dyn Source, stop: &Stop) {
        let listener = self
            .listener
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let Some(listener) = listener else {
            return;
        };
        // The threads end with `stop`, as this one does.
        thread::scope(|scope| {
            while let Some(stream) = next_client(&listener, stop) {
                if peer::check(&stream).is_err() {
                    continue;
                }
                let Some(place) = Place::take(&self.clients) else {
                    connection::refuse(stream);
                    continue;
                };
                let answer = move || {
                    let _place = place;
                    // The client has gone, or must go.
                    let _ = Connection::new(stream, stop, source).and_then(Connection::answer_all);
                };
                let started = thread::Builder::new()
                    .name("ferrio-inspect".to_owned())
                    .spawn_scoped(scope, answer);
                // No thread to be had: the client sees that it is closed, and may come again.
                drop(started);
            }
        });
    }

    /// Stops listening and removes the file. After [`InspectSocket::serve`] has ended.
    pub fn close(&self) {
        self.forget();
        let is_ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|file| (file.dev(), file.ino()) == self.identity);
        if is_ours {
            // Somebody was faster: it is gone.
            let _ = fs::remove_file(&self.path);
        }
    }

    /// In the child of a fork: lets go of the parent's socket. If it stayed open here, connecting
    /// to it would work when the parent is gone.
    pub fn forget(&self) {
        // In a child nobody unlocks it any more, if a thread was left that would not be stopped.
        if let Ok(mut listener) = self.listener.try_lock() {
            listener.take();
        }
    }
}

/// Waits for a client. None: stopped, or the socket is of no use any more.
fn next_client(listener: &UnixListener, stop: &Stop) -> Option<UnixStream> {
    // Without a descriptor to wait for there can be no answer either.
    let doorbell = stop.doorbell().ok()?;
    loop {
        let mut wanted = [
            PollFd::new(listener, PollFlags::IN),
            PollFd::from_borrowed_fd(doorbell, PollFlags::IN),
        ];
        match poll(&mut wanted, None) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(_) => return None,
        }
        if stop.is_asked() {
            return None;
        }
        match listener.accept() {
            Ok((stream, _)) => return Some(stream),
            Err(error) if is_passing(&error) => {}
            // Most likely there are too many open files; a pause, for the listener stays readable.
            Err(_) => {
                if stop.wait_timeout(std::time::Duration::from_millis(200)) {
                    return None;
                }
            }
        }
    }
}

fn is_passing(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted | io::ErrorKind::ConnectionAborted
    )
}

/// One client's place among those that can be connected, given back when it is dropped.
struct Place<'a>(&'a AtomicUsize);

impl Place<'_> {
    fn take(clients: &AtomicUsize) -> Option<Place<'_>> {
        clients
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |count| {
                (count < MOST_CLIENTS).then_some(count + 1)
            })
            .is_ok()
            .then_some(Place(clients))
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
