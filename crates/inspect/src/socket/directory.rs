//! Where the sockets are.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::process::getuid;

/// A directory of sockets, `$XDG_RUNTIME_DIR/ferrio` or `/tmp/ferrio-UID`, that nobody else can
/// enter: a directory and no symbolic link, the user's own, with mode 0700.
///
/// `/tmp` does not let others rename or remove it, so what was checked once stays true.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Directory(PathBuf);

impl Directory {
    /// The one in which this process opens its socket. It is made if need be.
    ///
    /// # Errors
    /// As for [`Directory::at`].
    pub fn to_listen() -> io::Result<Directory> {
        Directory::at(candidates().swap_remove(0))
    }

    /// A directory that is made if need be, and is then as it should be.
    ///
    /// # Errors
    /// `PermissionDenied` if it is somebody else's or can be entered by others; what the kernel says.
    pub fn at(path: PathBuf) -> io::Result<Directory> {
        match fs::DirBuilder::new().mode(0o700).create(&path) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
            Err(error) => return Err(about(&path, &error)),
        }
        Directory::checked(path)
    }

    /// Those in which processes of this user may have opened theirs. A service that the system has
    /// started knows of no runtime directory, while its user's shell does; so both are looked at.
    ///
    /// # Errors
    /// As for [`Directory::at`], but none for one that is not there.
    pub fn to_look_at() -> io::Result<Vec<Directory>> {
        candidates()
            .into_iter()
            .map(Directory::checked)
            .filter(|checked| !matches!(checked, Err(e) if e.kind() == io::ErrorKind::NotFound))
            .collect()
    }

    fn checked(path: PathBuf) -> io::Result<Directory> {
        let found = fs::symlink_metadata(&path).map_err(|error| about(&path, &error))?;
        let refused = |why: &str| {
            let message = format!("{} {why}", path.display());
            Err(io::Error::new(io::ErrorKind::PermissionDenied, message))
        };
        if !found.is_dir() {
            return refused("is not a directory");
        }
        if found.uid() != getuid().as_raw() {
            return refused("belongs to another user");
        }
        if found.mode() & 0o077 != 0 {
            return refused("can be entered by others; it must have mode 0700");
        }
        Ok(Directory(path))
    }

    /// Where the socket of a process is.
    #[must_use]
    pub fn socket_of(&self, process: u32) -> PathBuf {
        self.0.join(format!("{process}.sock"))
    }

    /// The processes that have a socket here, in order; some may be gone.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn processes(&self) -> io::Result<Vec<u32>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.0)? {
            found.extend(process_of(&entry?.file_name()));
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// The first that can be used is the one to listen in.
fn candidates() -> Vec<PathBuf> {
    let user = getuid().as_raw();
    let runtime = std::env::var_os("XDG_RUNTIME_DIR")
        .map(PathBuf::from)
        .filter(|path| is_own_directory(path))
        .map(|path| path.join("ferrio"));
    let shared = PathBuf::from(format!("/tmp/ferrio-{user}"));
    runtime.into_iter().chain([shared]).collect()
}

/// A runtime directory that is another user's (after `su`) or not there is as good as none.
fn is_own_directory(path: &Path) -> bool {
    path.is_absolute()
        && fs::metadata(path).is_ok_and(|found| found.is_dir() && found.uid() == getuid().as_raw())
}

fn process_of(name: &OsStr) -> Option<u32> {
    name.to_str()?.strip_suffix(".sock")?.parse().ok()
}

fn about(path: &Path, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{}: {error}", path.display()))
}
