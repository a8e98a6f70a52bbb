//! What a socket call tries.

use std::cell::Cell;
use std::ffi::c_int;
use std::io;
use std::os::fd::{BorrowedFd, RawFd};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use crate::event_loop::EventLoop;
use crate::ffi::{Buffer, Object, ObjectCell, Outcome, Raised, This, Visitor, none, sys};

/// How many times a call is served in one turn before others have theirs: a peer that takes
/// everything at once would otherwise keep the loop for as long as there is something to send.
const SENDS_PER_TURN: usize = 16;

/// One kind of call.
pub(super) enum Operation {
    /// `sock_recv`: so many bytes at most, and no more than the loop's receive buffer holds.
    Receive { most: usize },
    /// `sock_recv_into`.
    ReceiveInto { memory: ObjectCell },
    /// `sock_sendall`.
    SendAll(Unsent),
    /// Any other: a callable that raises BlockingIOError when it is too early.
    Call { function: ObjectCell },
}

/// How a try went.
pub(super) enum Attempt {
    /// The kernel would have it wait.
    NotNow,
    /// The kernel might take more at once, but others are to have their turn.
    Unfinished,
    Done(Object),
}

/// Bytes that are to be sent, and how many of them were.
pub(super) struct Unsent {
    /// Out of the cell only while the kernel reads.
    data: Cell<Option<Lent>>,
    sent: Cell<usize>,
}

/// Whose bytes these are. A buffer's exporter is not shown to the garbage collector: what lends
/// its memory (a bytearray, an array, a memoryview of one) refers to nothing that refers back.
enum Lent {
    Bytes(Object),
    Buffer(Buffer),
}

impl Lent {
    #[inline]
    fn as_slice(&self) -> &[u8] {
        match self {
            Lent::Bytes(object) => object.as_bytes().unwrap_or_default(),
            Lent::Buffer(buffer) => buffer.as_slice(),
        }
    }
}

impl Unsent {
    /// Takes the bytes of a bytes-like object.
    ///
    /// # Errors
    /// TypeError and BufferError when it lends none.
    pub(super) fn of(data: &Object) -> Outcome<Unsent> {
        let lent = if data.as_bytes().is_some() {
            Lent::Bytes(data.clone())
        } else {
            Lent::Buffer(Buffer::to_read(data)?)
        };
        Ok(Unsent {
            data: Cell::new(Some(lent)),
            sent: Cell::new(0),
        })
    }
}

impl Operation {
    /// Tries the call once.
    ///
    /// # Errors
    /// What the system call says, as OSError, and whatever a callable raises.
    #[inline]
    pub(super) fn attempt(&self, event_loop: This<'_, EventLoop>, fd: RawFd) -> Outcome<Attempt> {
        match self {
            Operation::Receive { most } => receive(event_loop, fd, *most),
            Operation::ReceiveInto { memory } => match memory.get() {
                Some(memory) => receive_into(event_loop, fd, &memory),
                None => Ok(Attempt::NotNow),
            },
            Operation::SendAll(unsent) => send_all(event_loop, fd, unsent),
            Operation::Call { function } => match function.get() {
                Some(function) => call(event_loop, &function),
                None => Ok(Attempt::NotNow),
            },
        }
    }

    pub(super) fn visit(&self, visitor: Visitor<'_>) -> Result<(), c_int> {
        match self {
            Operation::Receive { .. } | Operation::SendAll(_) => Ok(()),
            Operation::ReceiveInto { memory } => memory.visit(visitor),
            Operation::Call { function } => function.visit(visitor),
        }
    }

    pub(super) fn clear(&self) {
        match self {
            Operation::Receive { .. } => {}
            Operation::SendAll(unsent) => drop(unsent.data.take()),
            Operation::ReceiveInto { memory } => memory.clear(),
            Operation::Call { function } => function.clear(),
        }
    }
}

/// What the kernel says, and whether it would have the call wait.
///
/// An interrupted call is made again at once: the socket is registered for changes, and there
/// may be none to come.
#[inline]
fn unless_too_early<T>(
    mut call: impl FnMut() -> rustix::io::Result<T>,
) -> Result<Option<T>, io::Error> {
    loop {
        return match call() {
            Ok(value) => Ok(Some(value)),
            Err(Errno::AGAIN) => Ok(None),
            Err(Errno::INTR) => continue,
            Err(error) => Err(error.into()),
        };
    }
}

#[inline]
fn borrow<'fd>(fd: RawFd) -> BorrowedFd<'fd> {
    debug_assert!(fd >= 0);
    // SAFETY: not -1. The callers have just seen that it is the open socket's number, and no
    // Python code runs before the system call.
    unsafe { BorrowedFd::borrow_raw(fd) }
}

#[inline]
fn receive(event_loop: This<'_, EventLoop>, fd: RawFd, most: usize) -> Outcome<Attempt> {
    let mut buffer = event_loop.gathering.take_receive_buffer();
    let memory = buffer.as_mut_slice();
    let most = most.min(memory.len());
    let memory = &mut memory[..most];
    let received =
        unless_too_early(|| rustix::net::recv(borrow(fd), &mut *memory, RecvFlags::DONTWAIT));
    let result = match received {
        Ok(Some((_, length))) => {
            event_loop.traffic().received(length);
            Object::from_bytes(&memory[..length]).map(Attempt::Done)
        }
        Ok(None) => Ok(Attempt::NotNow),
        Err(error) => Err(error.into()),
    };
    event_loop.gathering.put_receive_buffer(buffer);
    result
}

fn receive_into(event_loop: This<'_, EventLoop>, fd: RawFd, memory: &Object) -> Outcome<Attempt> {
    let mut buffer = Buffer::to_write(memory)?;
    let slice = buffer.as_mut_slice();
    let received =
        unless_too_early(|| rustix::net::recv(borrow(fd), &mut *slice, RecvFlags::DONTWAIT))?;
    let Some((_, length)) = received else {
        return Ok(Attempt::NotNow);
    };
    event_loop.traffic().received(length);
    Object::from_i64(i64::try_from(length).unwrap_or(i64::MAX)).map(Attempt::Done)
}

#[inline]
fn send_all(event_loop: This<'_, EventLoop>, fd: RawFd, unsent: &Unsent) -> Outcome<Attempt> {
    let Some(lent) = unsent.data.take() else {
        return Ok(Attempt::NotNow);
    };
    let attempt = send_some(event_loop, fd, lent.as_slice(), &unsent.sent);
    unsent.data.set(Some(lent));
    Ok(attempt?)
}

#[inline]
fn send_some(
    event_loop: This<'_, EventLoop>,
    fd: RawFd,
    data: &[u8],
    sent: &Cell<usize>,
) -> io::Result<Attempt> {
    const FLAGS: SendFlags = SendFlags::DONTWAIT.union(SendFlags::NOSIGNAL);
    for _ in 0..SENDS_PER_TURN {
        let rest = data.get(sent.get()..).unwrap_or_default();
        let Some(taken) = unless_too_early(|| rustix::net::send(borrow(fd), rest, FLAGS))? else {
            return Ok(Attempt::NotNow);
        };
        event_loop.traffic().sent(taken);
        sent.set(sent.get() + taken);
        if sent.get() >= data.len() {
            return Ok(Attempt::Done(none()));
        }
    }
    Ok(Attempt::Unfinished)
}

fn call(event_loop: This<'_, EventLoop>, function: &Object) -> Outcome<Attempt> {
    event_loop.leave_task()?;
    match function.call0() {
        Ok(result) => Ok(Attempt::Done(result)),
        Err(raised) if is_too_early(&raised) => {
            raised.discard(); // It says no more than that.
            Ok(Attempt::NotNow)
        }
        Err(raised) => Err(raised),
    }
}

fn is_too_early(raised: &Raised) -> bool {
    // SAFETY: built-in classes live as long as the interpreter.
    unsafe {
        raised.matches(sys::PyExc_BlockingIOError) || raised.matches(sys::PyExc_InterruptedError)
    }
}
