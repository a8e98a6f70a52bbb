//! The objects that `add_reader` and `add_writer` were called with.
//!
//! An object that has been closed no longer says which descriptor it was. asyncio's selectors find
//! it by its identity then, and libraries count on that: they close a socket first and remove its
//! reader from a callback that comes later.

use std::ffi::c_int;
use std::os::fd::RawFd;

use super::sources::Side;
use crate::ffi::{Object, Visitor};

/// The objects, by number. What was watched by its number alone has none.
#[derive(Default)]
pub(super) struct WatchedFiles {
    by_fd: Vec<Option<WatchedFile>>,
}

/// An object, and in which directions it is watched.
struct WatchedFile {
    object: Object,
    reader: bool,
    writer: bool,
}

impl WatchedFile {
    fn side(&mut self, side: Side) -> &mut bool {
        match side {
            Side::Reader => &mut self.reader,
            Side::Writer => &mut self.writer,
        }
    }
}

impl WatchedFiles {
    /// Notes what a descriptor is watched as. Of several objects with one number the last counts.
    #[must_use = "the object before is the caller's to drop"]
    pub(super) fn add(&mut self, fd: RawFd, side: Side, object: &Object) -> Option<Object> {
        let index = usize::try_from(fd).ok()?;
        if index >= self.by_fd.len() {
            self.by_fd.resize_with(index + 1, || None);
        }
        let before = match &mut self.by_fd[index] {
            Some(file) if file.object.is(object) => None,
            entry => entry.replace(WatchedFile {
                object: object.clone(),
                reader: false,
                writer: false,
            }),
        };
        if let Some(file) = &mut self.by_fd[index] {
            *file.side(side) = true;
        }
        before.map(|file| file.object)
    }

    /// One direction is watched no longer; the object when that was the last.
    #[must_use = "the object is the caller's to drop"]
    pub(super) fn remove(&mut self, fd: RawFd, side: Side) -> Option<Object> {
        let entry = self.by_fd.get_mut(usize::try_from(fd).ok()?)?;
        let file = entry.as_mut()?;
        *file.side(side) = false;
        if file.reader || file.writer {
            return None;
        }
        entry.take().map(|file| file.object)
    }

    /// The number that an object was watched with.
    pub(super) fn find(&self, object: &Object) -> Option<RawFd> {
        let index = self
            .by_fd
            .iter()
            .position(|entry| entry.as_ref().is_some_and(|file| file.object.is(object)))?;
        RawFd::try_from(index).ok()
    }

    pub(super) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        for file in self.by_fd.iter().flatten() {
            visitor.object(&file.object)?;
        }
        Ok(())
    }
}
