//! A program on the virtual clock runs to its end without ever sleeping.

mod support;

use std::io;
use std::time::{Duration, Instant as RealInstant};

use ferrio_core::{EventLoop, Instant};
use support::{Log, Loop, Runner, at_millis, call, virtual_loop};

/// Writes the time down every `period`, so often, and stops the loop in the end.
fn tick(event_loop: &Loop, period: Duration, left: u32, log: Log) {
    if left == 0 {
        return event_loop.stop();
    }
    let next = event_loop.now().saturating_add(period);
    event_loop.add_timer(
        next,
        call(move |event_loop| {
            log.add(format!("{}", event_loop.now().as_secs_f64()));
            tick(event_loop, period, left - 1, log);
        }),
    );
}

#[test]
fn hours_pass_at_once_and_each_deadline_is_met_exactly() -> io::Result<()> {
    let ((event_loop, clock), log) = (virtual_loop(), Log::default());
    let started = RealInstant::now();
    let ticks = log.clone();
    event_loop.push_ready(call(move |event_loop| {
        tick(event_loop, Duration::from_secs(3_600), 5, ticks);
    }));
    let mut runner = Runner::default();
    event_loop.run(&mut runner)?;

    assert_eq!(log.take(), "3600 7200 10800 14400 18000");
    assert_eq!(clock.now(), Instant::from_secs_f64(18_000.0));
    assert!(
        runner
            .waits
            .iter()
            .all(|wait| *wait == Some(Duration::ZERO))
    );
    assert!(started.elapsed() < Duration::from_secs(60));
    Ok(())
}

#[test]
fn time_stands_still_while_there_is_ready_work() -> io::Result<()> {
    let ((event_loop, clock), log) = (virtual_loop(), Log::default());
    event_loop.add_timer(at_millis(5), log.entry("timer"));
    for _ in 0..10 {
        event_loop.push_ready(log.entry("work"));
        event_loop.turn(&mut Runner::default())?;
        assert_eq!(log.take(), "work");
    }
    assert_eq!(clock.now(), Instant::ZERO);
    event_loop.turn(&mut Runner::default())?;
    assert_eq!(log.take(), "timer");
    assert_eq!(clock.now(), at_millis(5));
    Ok(())
}

#[test]
fn a_stopping_loop_does_not_move_its_clock() -> io::Result<()> {
    let (event_loop, clock) = virtual_loop();
    event_loop.add_timer(at_millis(5), call(EventLoop::stop));
    event_loop.stop();
    event_loop.run(&mut Runner::default())?;
    assert_eq!(clock.now(), Instant::ZERO);
    Ok(())
}

#[test]
fn a_test_may_move_the_clock_but_only_forward() {
    let (event_loop, clock) = virtual_loop();
    clock.advance(Duration::from_millis(7));
    clock.advance_to(at_millis(3));
    assert_eq!(event_loop.now(), at_millis(7));
}

/// I/O that is there comes before the jump to the next deadline.
#[test]
fn io_is_asked_for_before_time_moves() -> io::Result<()> {
    use std::io::Write;
    use std::os::fd::AsRawFd;
    use std::os::unix::net::UnixStream;

    use ferrio_core::{Interest, Token};

    let ((event_loop, clock), log) = (virtual_loop(), Log::default());
    let (reader, mut writer) = UnixStream::pair()?;
    writer.write_all(b"x")?;
    event_loop.register(reader.as_raw_fd(), Token(1), Interest::READABLE)?;
    event_loop.add_timer(at_millis(5), call(EventLoop::stop));
    let (events, seen_at) = (log.clone(), clock.clone());
    let mut runner = Runner::on_event(move |event_loop, event| {
        assert_eq!((event.token, seen_at.now()), (Token(1), Instant::ZERO));
        event_loop.deregister(reader.as_raw_fd())?;
        events.add("io");
        Ok(())
    });
    event_loop.run(&mut runner)?;
    assert_eq!(log.take(), "io");
    assert_eq!(clock.now(), at_millis(5));
    Ok(())
}
