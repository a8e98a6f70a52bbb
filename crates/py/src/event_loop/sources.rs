//! Who wants to know about which file descriptor.
//!
//! An event names its source by fd and generation: a descriptor that is closed
//! and opened again behind an event that still waits to be told is another
//! source, and the old event is not its.

use std::ffi::c_int;
use std::os::fd::RawFd;

use ferrio_core::{Event, Interest, Token};

use super::{Entry, EventLoop};
use crate::ffi::{Object, Outcome, Own, Raised, This, Visitor, sys, text};
use crate::handle::Handle;
use crate::imports::imports;
use crate::transport::AnyTransport;

/// All watched descriptors, by number.
#[derive(Default)]
pub(super) struct Sources {
    by_fd: Vec<Source>,
}

/// One descriptor.
#[derive(Default)]
struct Source {
    /// Grows with every new use of the number.
    generation: u32,
    watcher: Watcher,
}

/// Who watches.
#[derive(Default)]
enum Watcher {
    #[default]
    Nobody,
    /// `add_reader` and `add_writer`.
    Handles {
        reader: Option<Own<Handle>>,
        writer: Option<Own<Handle>>,
    },
    /// A transport of ours.
    Transport(AnyTransport),
}

/// Which half of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Reader,
    Writer,
}

impl Watcher {
    fn interest(&self) -> Interest {
        match self {
            Watcher::Handles { reader, writer } => {
                let mut interest = Interest::empty();
                interest.set(Interest::READABLE, reader.is_some());
                interest.set(Interest::WRITABLE, writer.is_some());
                interest
            }
            Watcher::Nobody | Watcher::Transport(_) => Interest::empty(),
        }
    }
}

impl Sources {
    pub(super) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        for source in &self.by_fd {
            match &source.watcher {
                Watcher::Nobody => {}
                Watcher::Handles { reader, writer } => {
                    for handle in [reader, writer].into_iter().flatten() {
                        visitor.own(handle)?;
                    }
                }
                Watcher::Transport(transport) => transport.visit(visitor)?,
            }
        }
        Ok(())
    }

    pub(super) fn transport(&self, fd: RawFd) -> Option<AnyTransport> {
        match &self.by_fd.get(usize::try_from(fd).ok()?)?.watcher {
            Watcher::Transport(transport) => Some(transport.clone()),
            Watcher::Nobody | Watcher::Handles { .. } => None,
        }
    }

    fn at(&mut self, fd: RawFd) -> &mut Source {
        let index = usize::try_from(fd).unwrap_or(0);
        if index >= self.by_fd.len() {
            self.by_fd.resize_with(index + 1, Source::default);
        }
        &mut self.by_fd[index]
    }

    fn token(&self, fd: RawFd) -> Token {
        let index = usize::try_from(fd).unwrap_or(0);
        let generation = self.by_fd.get(index).map_or(0, |source| source.generation);
        Token(u64::from(generation) << 32 | index as u64)
    }

    /// The source that an event is about, unless the number has changed hands.
    fn of_event(&self, token: Token) -> Option<(RawFd, &Watcher)> {
        let index = usize::try_from(token.0 & u64::from(u32::MAX)).ok()?;
        let source = self.by_fd.get(index)?;
        let same = u64::from(source.generation) == token.0 >> 32;
        same.then_some((RawFd::try_from(index).ok()?, &source.watcher))
    }
}

impl This<'_, EventLoop> {
    /// Turns an event into entries, a reader's first.
    #[inline]
    pub(super) fn dispatch(
        self,
        core: &ferrio_core::EventLoop<Entry>,
        event: Event,
    ) -> Outcome<()> {
        let readiness = event.readiness;
        let sources = self.sources.borrow();
        let Some((_, watcher)) = sources.of_event(event.token) else {
            return Ok(());
        };
        match watcher {
            Watcher::Nobody => {}
            Watcher::Transport(transport) => {
                core.push_ready(Entry::Io {
                    transport: transport.clone(),
                    readiness,
                });
            }
            Watcher::Handles { reader, writer } => {
                let reader = reader.as_ref().filter(|_| readiness.concerns_reader());
                let writer = writer.as_ref().filter(|_| readiness.concerns_writer());
                for handle in [reader, writer].into_iter().flatten() {
                    core.push_ready(Entry::Handle(handle.clone()));
                }
            }
        }
        Ok(())
    }

    /// `add_reader` and `add_writer`.
    pub(super) fn watch_handle(self, fd: RawFd, side: Side, handle: Own<Handle>) -> Outcome<()> {
        let mut sources = self.sources.borrow_mut();
        let source = sources.at(fd);
        let fresh = matches!(source.watcher, Watcher::Nobody);
        if fresh {
            source.generation = source.generation.wrapping_add(1);
            source.watcher = Watcher::Handles {
                reader: None,
                writer: None,
            };
        }
        let Watcher::Handles { reader, writer } = &mut source.watcher else {
            return Err(Raised::runtime_error(
                "the descriptor is watched by a transport",
            ));
        };
        let replaced = match side {
            Side::Reader => reader.replace(handle),
            Side::Writer => writer.replace(handle),
        };
        let interest = source.watcher.interest();
        let token = sources.token(fd);
        drop(sources);
        let registered = if fresh {
            self.core.register(fd, token, interest)
        } else {
            self.core.modify(fd, token, interest)
        };
        if let Err(error) = registered {
            let removed = self.take_handle(fd, side);
            drop(removed);
            return Err(error.into());
        }
        match replaced {
            Some(replaced) => replaced.this().cancel(),
            None => Ok(()),
        }
    }

    /// `remove_reader` and `remove_writer`: whether there was one.
    pub(super) fn unwatch_handle(self, fd: RawFd, side: Side) -> Outcome<bool> {
        let Some((removed, remaining)) = self.take_handle(fd, side) else {
            return Ok(false);
        };
        if remaining.is_empty() {
            self.core.deregister(fd)?;
        } else {
            let token = self.sources.borrow().token(fd);
            self.core.modify(fd, token, remaining)?;
        }
        removed.this().cancel()?;
        Ok(true)
    }

    /// Takes one handle out of the table; what the descriptor is still watched for.
    fn take_handle(self, fd: RawFd, side: Side) -> Option<(Own<Handle>, Interest)> {
        let mut sources = self.sources.borrow_mut();
        let source = sources.by_fd.get_mut(usize::try_from(fd).ok()?)?;
        let Watcher::Handles { reader, writer } = &mut source.watcher else {
            return None;
        };
        let removed = match side {
            Side::Reader => reader.take(),
            Side::Writer => writer.take(),
        }?;
        let remaining = source.watcher.interest();
        if remaining.is_empty() {
            source.watcher = Watcher::Nobody;
        }
        Some((removed, remaining))
    }

    /// Watches a transport's socket.
    pub(crate) fn watch_transport(
        self,
        fd: RawFd,
        transport: AnyTransport,
        interest: Interest,
    ) -> Outcome<()> {
        let (token, old) = {
            let mut sources = self.sources.borrow_mut();
            let source = sources.at(fd);
            source.generation = source.generation.wrapping_add(1);
            let old = std::mem::replace(&mut source.watcher, Watcher::Transport(transport));
            (sources.token(fd), old)
        };
        // A watcher of an earlier file with this number, which was closed without a word.
        drop(old);
        if let Err(error) = self.core.register(fd, token, interest) {
            drop(self.take_watcher(fd));
            return Err(error.into());
        }
        Ok(())
    }

    /// Changes what a transport's socket is watched for; an empty interest keeps it registered
    /// for errors and hang-ups alone.
    pub(crate) fn rewatch_transport(self, fd: RawFd, interest: Interest) -> Outcome<()> {
        let token = self.sources.borrow().token(fd);
        Ok(self.core.modify(fd, token, interest)?)
    }

    /// Stops watching a transport's socket. Events that wait to be told are forgotten.
    pub(crate) fn unwatch_transport(self, fd: RawFd) -> Outcome<()> {
        if self.is_closed() {
            return Ok(());
        }
        drop(self.take_watcher(fd));
        Ok(self.core.deregister(fd)?)
    }

    fn take_watcher(self, fd: RawFd) -> Watcher {
        let mut sources = self.sources.borrow_mut();
        let source = sources.at(fd);
        source.generation = source.generation.wrapping_add(1);
        std::mem::take(&mut source.watcher)
    }

    /// The descriptor behind a user's argument, an int or an object with `fileno()`, that no
    /// transport owns.
    ///
    /// # Errors
    /// ValueError for anything else, RuntimeError when a transport owns it.
    pub(super) fn descriptor(self, file: &Object) -> Outcome<RawFd> {
        self.without_transport(file, file_descriptor(file)?)
    }

    /// The descriptor, unless a transport owns it.
    pub(super) fn without_transport(self, file: &Object, fd: RawFd) -> Outcome<RawFd> {
        if let Some(transport) = self.transport_of(fd)?
            && !transport.is_closing()
        {
            let (file, owner) = (file.repr_text()?, transport.into_object().repr_text()?);
            return Err(Raised::runtime_error(&format!(
                "File descriptor {file} is used by transport {owner}"
            )));
        }
        Ok(fd)
    }
}

pub(super) fn file_descriptor(file: &Object) -> Outcome<RawFd> {
    let number = file_number(file)?;
    match RawFd::try_from(number) {
        Ok(fd) if fd >= 0 => Ok(fd),
        _ => Err(invalid_descriptor(number)),
    }
}

pub(super) fn invalid_descriptor(number: i64) -> Raised {
    Raised::value_error(&format!("Invalid file descriptor: {number}"))
}

/// What an int is, or an object's `fileno()` says: negative for a file that has been closed.
pub(super) fn file_number(file: &Object) -> Outcome<i64> {
    let number = if file.is_int() {
        file.to_i64()
    } else {
        file.call_method(&text("fileno")?, &[])
            .and_then(|number| imports().int.call1(&number)?.to_i64())
    };
    let invalid = |what: &str| -> Outcome<i64> {
        Err(Raised::value_error(&format!(
            "{what}: {}",
            file.repr_text()?
        )))
    };
    match number {
        Ok(number) => Ok(number),
        Err(raised) => {
            // SAFETY: built-in classes.
            let expected = unsafe {
                raised.matches(sys::PyExc_AttributeError)
                    || raised.matches(sys::PyExc_TypeError)
                    || raised.matches(sys::PyExc_ValueError)
            };
            if !expected {
                return Err(raised);
            }
            raised.discard(); // Said again, in terms of what the user passed.
            invalid("Invalid file object")
        }
    }
}
