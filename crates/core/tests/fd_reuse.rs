//! Files that are closed and numbers that come back behind the loop's back.

mod support;

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::rc::Rc;

use ferrio_core::{Interest, Readiness, Token};
use support::{Runner, call, real_loop};

/// The events that one turn with ready work reports.
fn events_of_a_turn(event_loop: &support::Loop) -> io::Result<Vec<(u64, Readiness)>> {
    let seen = Rc::new(RefCell::new(Vec::new()));
    let events = Rc::clone(&seen);
    let mut runner = Runner::on_event(move |_, event| {
        events.borrow_mut().push((event.token.0, event.readiness));
        Ok(())
    });
    event_loop.note_io();
    event_loop.push_ready(call(|_| ()));
    event_loop.turn(&mut runner)?;
    Ok(seen.take())
}

/// A readable socket and its peer.
fn readable() -> io::Result<(UnixStream, UnixStream)> {
    let (reader, mut writer) = UnixStream::pair()?;
    writer.write_all(b"x")?;
    Ok((reader, writer))
}

#[test]
fn readiness_is_reported_as_long_as_it_lasts() -> io::Result<()> {
    let event_loop = real_loop();
    let (mut reader, _writer) = readable()?;
    event_loop.register(reader.as_raw_fd(), Token(1), Interest::READABLE)?;
    for _ in 0..3 {
        assert_eq!(events_of_a_turn(&event_loop)?, [(1, Readiness::READABLE)]);
    }
    reader.read_exact(&mut [0])?;
    assert_eq!(events_of_a_turn(&event_loop)?, []);
    Ok(())
}

#[test]
fn an_edge_is_reported_once_and_again_when_something_changes() -> io::Result<()> {
    let event_loop = real_loop();
    let (mut reader, mut writer) = readable()?;
    let interest = Interest::READABLE | Interest::EDGE;
    event_loop.register(reader.as_raw_fd(), Token(1), interest)?;
    assert_eq!(events_of_a_turn(&event_loop)?, [(1, Readiness::READABLE)]);
    assert_eq!(events_of_a_turn(&event_loop)?, []);
    writer.write_all(b"y")?;
    assert_eq!(events_of_a_turn(&event_loop)?, [(1, Readiness::READABLE)]);
    // To modify is to be told of the state once more.
    event_loop.modify(reader.as_raw_fd(), Token(2), interest | Interest::WRITABLE)?;
    let both = Readiness::READABLE | Readiness::WRITABLE;
    assert_eq!(events_of_a_turn(&event_loop)?, [(2, both)]);
    writer.write_all(b"z")?;
    // What is reported was read before the turn: it is the state at the wait that counts.
    reader.read_exact(&mut [0; 3])?;
    let events = events_of_a_turn(&event_loop)?;
    assert!(
        events
            .iter()
            .all(|(_, readiness)| !readiness.contains(Readiness::READABLE))
    );
    Ok(())
}

#[test]
fn the_other_sides_end_is_a_hang_up() -> io::Result<()> {
    let event_loop = real_loop();
    let (reader, writer) = UnixStream::pair()?;
    event_loop.register(reader.as_raw_fd(), Token(1), Interest::READABLE)?;
    drop(writer);
    let events = events_of_a_turn(&event_loop)?;
    assert_eq!(events, [(1, Readiness::READABLE | Readiness::HANG_UP)]);
    assert!(events[0].1.concerns_reader() && events[0].1.concerns_writer());
    Ok(())
}

#[test]
fn a_second_registration_replaces_the_first() -> io::Result<()> {
    let event_loop = real_loop();
    let (reader, _writer) = readable()?;
    event_loop.register(reader.as_raw_fd(), Token(1), Interest::READABLE)?;
    event_loop.register(reader.as_raw_fd(), Token(2), Interest::WRITABLE)?;
    assert_eq!(events_of_a_turn(&event_loop)?, [(2, Readiness::WRITABLE)]);
    Ok(())
}

#[test]
fn a_change_registers_what_is_not_watched() -> io::Result<()> {
    let event_loop = real_loop();
    let (reader, _writer) = readable()?;
    let both = Interest::READABLE | Interest::WRITABLE;
    event_loop.modify(reader.as_raw_fd(), Token(1), both)?;
    let ready = Readiness::READABLE | Readiness::WRITABLE;
    assert_eq!(events_of_a_turn(&event_loop)?, [(1, ready)]);
    Ok(())
}

/// Closes a file and makes another that gets its number. The test binary's threads make files as
/// well, so it may take a few tries.
fn reuse_number(old: UnixStream) -> io::Result<(UnixStream, UnixStream)> {
    let number: RawFd = old.as_raw_fd();
    drop(old);
    let mut others = Vec::new();
    for _ in 0..1_000 {
        let (one, other) = readable()?;
        if one.as_raw_fd() == number {
            return Ok((one, other));
        }
        others.push((one, other));
        if others.len() > 8 {
            others.clear();
        }
    }
    panic!("the number {number} does not come back");
}

#[test]
fn a_number_that_comes_back_is_another_file() -> io::Result<()> {
    let event_loop = real_loop();
    let (first, _peer) = readable()?;
    event_loop.register(first.as_raw_fd(), Token(1), Interest::READABLE)?;
    // Closed without a word: the kernel forgets the first file by itself.
    let (second, _second_peer) = reuse_number(first)?;
    assert_eq!(events_of_a_turn(&event_loop)?, []);
    event_loop.modify(second.as_raw_fd(), Token(2), Interest::READABLE)?;
    assert_eq!(events_of_a_turn(&event_loop)?, [(2, Readiness::READABLE)]);
    Ok(())
}

#[test]
fn ending_what_is_not_watched_is_no_error() -> io::Result<()> {
    let event_loop = real_loop();
    let (reader, _writer) = readable()?;
    event_loop.deregister(reader.as_raw_fd())?;
    event_loop.register(reader.as_raw_fd(), Token(1), Interest::READABLE)?;
    event_loop.deregister(reader.as_raw_fd())?;
    event_loop.deregister(reader.as_raw_fd())?;
    event_loop.deregister(-1)?;
    assert_eq!(events_of_a_turn(&event_loop)?, []);
    Ok(())
}

#[test]
fn what_cannot_be_watched_keeps_its_errno() -> io::Result<()> {
    let event_loop = real_loop();
    let register = |fd| {
        event_loop
            .register(fd, Token(1), Interest::READABLE)
            .expect_err("it cannot be watched")
            .raw_os_error()
    };
    let file = std::fs::File::open("/proc/self/exe")?;
    let (bad_file, not_permitted) = (Some(9), Some(1));
    assert_eq!(register(-1), bad_file);
    assert_eq!(register(1_000_000), bad_file);
    assert_eq!(register(file.as_raw_fd()), not_permitted);
    Ok(())
}

/// Both fds are ready in the same wait; the first event ends the watching of the other one. Its
/// event still comes, which is why drivers tell generations apart, but it comes only once.
#[test]
fn an_fd_deregistered_by_an_earlier_event_is_not_heard_of_in_later_turns() -> io::Result<()> {
    let event_loop = real_loop();
    let (one, _one_peer) = readable()?;
    let (other, _other_peer) = readable()?;
    let fds = [one.as_raw_fd(), other.as_raw_fd()];
    for (token, &fd) in (0..).zip(&fds) {
        event_loop.register(fd, Token(token), Interest::READABLE)?;
    }
    let seen = Rc::new(RefCell::new(Vec::new()));
    let events = Rc::clone(&seen);
    let mut runner = Runner::on_event(move |event_loop, event| {
        events.borrow_mut().push(event.token.0);
        let other = usize::from(event.token.0 == 0);
        event_loop.deregister(fds[other])
    });
    event_loop.turn(&mut runner)?;
    assert!(seen.take().len() <= 2);
    assert_eq!(events_of_a_turn(&event_loop)?, []);
    Ok(())
}

#[test]
fn more_fds_are_ready_than_one_wait_reports() -> io::Result<()> {
    const COUNT: u64 = 1_500;
    let event_loop = real_loop();
    // One file that is always readable, under many numbers.
    let (reader, _writer) = readable()?;
    let mut readers = Vec::new();
    for token in 0..COUNT {
        match reader.try_clone() {
            Ok(clone) => readers.push(clone),
            Err(error) if error.raw_os_error() == Some(24) => return Ok(()), // EMFILE
            Err(error) => return Err(error),
        }
        let fd = readers[readers.len() - 1].as_raw_fd();
        event_loop.register(fd, Token(token), Interest::READABLE)?;
    }
    let mut tokens: Vec<u64> = Vec::new();
    for _ in 0..2 {
        let events = events_of_a_turn(&event_loop)?;
        tokens.extend(events.iter().map(|&(token, _)| token));
    }
    tokens.sort_unstable();
    tokens.dedup();
    assert_eq!(tokens.len(), COUNT as usize, "two waits starve none");
    Ok(())
}
