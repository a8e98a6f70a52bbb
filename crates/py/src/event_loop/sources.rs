//! Who wants to know about which file descriptor.
//!
//! An event names its source by fd and generation: a descriptor that is closed
//! and opened again behind an event that still waits to be told is another
//! source, and the old event is not its.

use std::ffi::c_int;
use std::os::fd::RawFd;

use ferrio_core::{Event, Interest, Token};

use super::file_watch::{FileWatch, Waiter};
use super::socket_calls::SocketCall;
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
    /// `add_reader` and `add_writer`, and the `sock_*` calls that wait.
    File(FileWatch),
    /// A transport of ours.
    Transport(AnyTransport),
}

/// Which half of a descriptor.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Side {
    Reader,
    Writer,
}

impl Sources {
    pub(super) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        for source in &self.by_fd {
            match &source.watcher {
                Watcher::Nobody => {}
                Watcher::File(watch) => watch.visit(visitor)?,
                Watcher::Transport(transport) => transport.visit(visitor)?,
            }
        }
        Ok(())
    }

    /// Whether no descriptor is watched for anybody.
    pub(super) fn is_empty(&self) -> bool {
        let mut watchers = self.by_fd.iter().map(|source| &source.watcher);
        watchers.all(|watcher| match watcher {
            Watcher::Nobody => true,
            Watcher::File(watch) => watch.reader.is_none() && watch.writer.is_none(),
            Watcher::Transport(_) => false,
        })
    }

    /// The callbacks of `add_reader` and `add_writer`: the descriptor, whether it is to be read,
    /// and the handle.
    pub(super) fn callbacks(&self) -> Vec<(RawFd, bool, Own<Handle>)> {
        let mut found = Vec::new();
        for (fd, source) in (0..).zip(&self.by_fd) {
            if let Watcher::File(watch) = &source.watcher {
                for (reads, waiter) in [(true, &watch.reader), (false, &watch.writer)] {
                    if let Some(Waiter::Handle(handle)) = waiter {
                        found.push((fd, reads, handle.clone()));
                    }
                }
            }
        }
        found
    }

    pub(super) fn transport(&self, fd: RawFd) -> Option<AnyTransport> {
        match &self.by_fd.get(usize::try_from(fd).ok()?)?.watcher {
            Watcher::Transport(transport) => Some(transport.clone()),
            Watcher::Nobody | Watcher::File(_) => None,
        }
    }

    fn watcher(&self, fd: RawFd) -> Option<&Watcher> {
        Some(&self.by_fd.get(usize::try_from(fd).ok()?)?.watcher)
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
        let Some((fd, watcher)) = sources.of_event(event.token) else {
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
            Watcher::File(watch) => {
                let reader = watch.reader.as_ref();
                let writer = watch.writer.as_ref();
                let told = [
                    reader.filter(|_| readiness.concerns_reader()),
                    writer.filter(|_| readiness.concerns_writer()),
                ];
                for waiter in told.into_iter().flatten() {
                    core.push_ready(waiter.entry());
                }
                if !watch.note_event(told.iter().any(Option::is_some)) {
                    drop(sources);
                    return self.forget_file(fd);
                }
            }
        }
        Ok(())
    }

    /// `add_reader` and `add_writer`.
    pub(crate) fn watch_handle(self, fd: RawFd, side: Side, handle: Own<Handle>) -> Outcome<()> {
        let replaced = self.add_waiter(fd, Waiter::Handle(handle), side, None)?;
        match replaced {
            // What a handle of the user's replaces is cancelled; a call waits on, as in asyncio.
            Some(Waiter::Handle(replaced)) => replaced.this().cancel(),
            Some(Waiter::Call(_)) | None => Ok(()),
        }
    }

    /// Has a call tried again when its socket is ready.
    pub(super) fn watch_call(self, call: &Own<SocketCall>) -> Outcome<()> {
        let socket = call.socket();
        let waiter = Waiter::Call(call.clone());
        match self.add_waiter(call.fd(), waiter, call.side(), socket.as_ref())? {
            Some(Waiter::Handle(replaced)) => replaced.this().cancel(),
            Some(Waiter::Call(_)) | None => Ok(()),
        }
    }

    /// Puts a waiter into the table and brings the registration in line; whom it replaces.
    fn add_waiter(
        self,
        fd: RawFd,
        waiter: Waiter,
        side: Side,
        socket: Option<&Object>,
    ) -> Outcome<Option<Waiter>> {
        // May run Python code (a weak reference is asked), so before anything is borrowed.
        let known = match (self.file_socket(fd), socket) {
            (Some(known), Some(socket)) => known.call0()?.is(socket),
            (Some(_) | None, _) => false,
        };
        let new_socket = match socket {
            Some(socket) if !known => Some(imports().weak_reference.call1(socket)?),
            Some(_) | None => None,
        };
        let mut sources = self.sources.borrow_mut();
        let source = sources.at(fd);
        match &source.watcher {
            // Nobody waits: the number may be another file's by now.
            Watcher::File(watch) if watch.is_idle() && !known => {
                source.generation = source.generation.wrapping_add(1);
                source.watcher = Watcher::File(FileWatch::default());
            }
            Watcher::File(_) => {}
            Watcher::Nobody => {
                source.generation = source.generation.wrapping_add(1);
                source.watcher = Watcher::File(FileWatch::default());
            }
            Watcher::Transport(_) => {
                return Err(Raised::runtime_error(
                    "the descriptor is watched by a transport",
                ));
            }
        }
        let Watcher::File(watch) = &mut source.watcher else {
            return Ok(None); // It is one by now.
        };
        // A handle is watched anew even where nothing seems to change: the number may be another
        // file's since it was last registered.
        let anew = matches!(waiter, Waiter::Handle(_));
        let forgotten = new_socket.and_then(|socket| watch.register_anew_for(socket));
        let replaced = watch.side(side).replace(waiter);
        drop(sources);
        drop(forgotten);
        if let Err(raised) = self.update_file(fd, anew) {
            let exception = raised.take();
            let taken = self.take_waiter(fd, side);
            drop((taken, replaced));
            self.forget_file_if_idle(fd)?;
            return Err(Raised::exception(&exception));
        }
        Ok(replaced)
    }

    /// `remove_reader` and `remove_writer`: whether there was one.
    pub(crate) fn unwatch_handle(self, fd: RawFd, side: Side) -> Outcome<bool> {
        let Some(removed) = self.take_waiter(fd, side) else {
            return Ok(false);
        };
        self.update_file(fd, false)?;
        match removed {
            Waiter::Handle(handle) => handle.this().cancel()?,
            Waiter::Call(call) => drop(call),
        }
        Ok(true)
    }

    /// Whether the table still holds this call.
    #[inline]
    pub(super) fn awaits(self, call: This<'_, SocketCall>) -> bool {
        let sources = self.sources.borrow();
        let Some(Watcher::File(watch)) = sources.watcher(call.fd()) else {
            return false;
        };
        watch.holds(call)
    }

    /// Takes a call out of the table, if it is still there. Its socket stays registered.
    pub(super) fn end_call(self, call: This<'_, SocketCall>) -> Outcome<()> {
        if !self.awaits(call) {
            return Ok(());
        }
        drop(self.take_waiter(call.fd(), call.side()));
        self.update_file(call.fd(), false)
    }

    /// Brings what the kernel reports of a descriptor in line with who waits; `anew` tells it
    /// even what it was told before.
    #[inline]
    fn update_file(self, fd: RawFd, anew: bool) -> Outcome<()> {
        let mut sources = self.sources.borrow_mut();
        let token = sources.token(fd);
        let Watcher::File(watch) = &mut sources.at(fd).watcher else {
            return Ok(());
        };
        let (registered, wanted) = (watch.registered, watch.wanted());
        if registered == wanted && !anew {
            return Ok(());
        }
        watch.registered = wanted;
        drop(sources);
        if wanted.is_empty() {
            return self.forget_file(fd);
        }
        let outcome = if registered.is_empty() {
            self.core.register(fd, token, wanted)
        } else {
            self.core.modify(fd, token, wanted)
        };
        if let Err(error) = outcome {
            if let Watcher::File(watch) = &mut self.sources.borrow_mut().at(fd).watcher {
                watch.registered = registered;
            }
            return Err(error.into());
        }
        Ok(())
    }

    /// The weak reference to the socket for whose calls a descriptor is registered.
    fn file_socket(self, fd: RawFd) -> Option<Object> {
        match self.sources.borrow().watcher(fd)? {
            Watcher::File(watch) => watch.socket.clone(),
            Watcher::Nobody | Watcher::Transport(_) => None,
        }
    }

    /// Nothing of a descriptor is of interest any more.
    fn forget_file(self, fd: RawFd) -> Outcome<()> {
        drop(self.take_watcher(fd));
        Ok(self.core.deregister(fd)?)
    }

    /// After a registration that failed.
    fn forget_file_if_idle(self, fd: RawFd) -> Outcome<()> {
        let idle = match self.sources.borrow().watcher(fd) {
            Some(Watcher::File(watch)) => watch.is_idle(),
            Some(Watcher::Nobody | Watcher::Transport(_)) | None => false,
        };
        if idle { self.forget_file(fd) } else { Ok(()) }
    }

    fn take_waiter(self, fd: RawFd, side: Side) -> Option<Waiter> {
        let mut sources = self.sources.borrow_mut();
        let source = sources.by_fd.get_mut(usize::try_from(fd).ok()?)?;
        match &mut source.watcher {
            Watcher::File(watch) => watch.side(side).take(),
            Watcher::Nobody | Watcher::Transport(_) => None,
        }
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
