//! Signals come in as bytes on a pipe and are not lost.

mod support;

use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};

use ferrio_core::SignalPipe;
use support::{Log, Loop, Runner, call, fail, real_loop};

/// Writes as a signal handler does.
fn deliver(event_loop: &Loop, numbers: &[u8]) -> io::Result<()> {
    let fd = event_loop.signal_fd()?;
    // SAFETY: the loop keeps it open, and is borrowed here.
    let handler_side = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    File::from(handler_side).write_all(numbers)
}

fn logging(log: &Log) -> Runner {
    let log = log.clone();
    Runner::on_signal(move |_, number| {
        log.add(number.to_string());
        Ok(())
    })
}

#[test]
fn a_signal_that_comes_before_the_loop_runs_is_told() -> io::Result<()> {
    let (event_loop, log) = (real_loop(), Log::default());
    deliver(&event_loop, &[15, 2, 2])?;
    event_loop.turn(&mut logging(&log))?;
    assert_eq!(log.take(), "15 2 2");
    Ok(())
}

#[test]
fn a_signal_ends_the_wait() -> io::Result<()> {
    let (event_loop, log) = (real_loop(), Log::default());
    let fd = event_loop.signal_fd()?;
    assert_eq!(event_loop.signal_fd()?, fd, "it is made once");
    // SAFETY: the loop outlives the thread, which is joined below.
    let handler_side = unsafe { BorrowedFd::borrow_raw(fd) }.try_clone_to_owned()?;
    let handler = std::thread::spawn(move || {
        std::thread::sleep(std::time::Duration::from_millis(10));
        File::from(handler_side).write_all(&[10])
    });
    let signals = log.clone();
    let mut runner = Runner::on_signal(move |event_loop, number| {
        signals.add(number.to_string());
        event_loop.stop();
        Ok(())
    });
    event_loop.run(&mut runner)?;
    handler.join().expect("the thread did not panic")?;
    assert_eq!(log.take(), "10");
    Ok(())
}

#[test]
fn signals_that_a_failing_driver_did_not_hear_of_come_again() -> io::Result<()> {
    let (event_loop, log) = (real_loop(), Log::default());
    deliver(&event_loop, &[1, 2, 3])?;
    let signals = log.clone();
    let mut runner = Runner::on_signal(move |_, number| {
        signals.add(number.to_string());
        match number {
            1 => Err(io::Error::other("no")),
            _ => Ok(()),
        }
    });
    event_loop.run(&mut runner).expect_err("the driver failed");
    assert_eq!(log.take(), "1");
    event_loop.push_ready(call(Loop::stop));
    event_loop.run(&mut runner)?;
    assert_eq!(log.take(), "2 3");
    Ok(())
}

#[test]
fn an_entry_that_fails_leaves_the_signals_for_the_next_run() -> io::Result<()> {
    let (event_loop, log) = (real_loop(), Log::default());
    event_loop.push_ready(fail("no"));
    let mut runner = logging(&log);
    event_loop.run(&mut runner).expect_err("an entry failed");
    deliver(&event_loop, &[12])?;
    event_loop.push_ready(call(Loop::stop));
    event_loop.run(&mut runner)?;
    assert_eq!(log.take(), "12");
    Ok(())
}

#[test]
fn many_signals_are_read_in_order() -> io::Result<()> {
    let pipe = SignalPipe::new()?;
    let numbers: Vec<u8> = (0..1_000_u32).map(|n| (n % 64) as u8).collect();
    // SAFETY: the pipe keeps it open.
    let writer = unsafe { BorrowedFd::borrow_raw(pipe.write_fd()) };
    File::from(writer.as_fd().try_clone_to_owned()?).write_all(&numbers)?;
    let mut read = Vec::new();
    pipe.drain(|number| read.push(number));
    assert_eq!(read, numbers);
    assert_eq!(pipe.take(), None);
    Ok(())
}

#[test]
fn a_full_pipe_does_not_block_the_handler() -> io::Result<()> {
    let pipe = SignalPipe::new()?;
    // SAFETY: the pipe keeps it open.
    let writer = unsafe { BorrowedFd::borrow_raw(pipe.write_fd()) };
    let mut writer = File::from(writer.try_clone_to_owned()?);
    let error = writer
        .write_all(&[1; 1 << 20])
        .expect_err("a pipe holds less");
    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
    let mut count = 0;
    pipe.drain(|_| count += 1);
    assert!(count >= 4_096);
    Ok(())
}
