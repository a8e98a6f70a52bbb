//! A second backend, one that follows a script, drives the same loop.

mod support;

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ferrio_core::reactor::Script;
use ferrio_core::{Clock, Event, EventLoop, Interest, Readiness, Token, VirtualClock};
use support::{Log, Runner, at_millis, call, scripted_loop};

/// A server in miniature: fd 3 accepts, fds from 10 are connections that are read until they hang
/// up. No kernel takes part.
#[test]
fn a_program_of_io_and_timers_runs_by_the_script() -> io::Result<()> {
    const LISTENER: Token = Token(1);
    let (script, log) = (Script::new(), Log::default());
    let event_loop = scripted_loop(Clock::Virtual(VirtualClock::new()), &script);
    event_loop.register(3, LISTENER, Interest::READABLE)?;

    script.ready([(3, Readiness::READABLE)]);
    script.ready([(3, Readiness::READABLE), (10, Readiness::READABLE)]);
    script.nothing(); // Nothing to do: time moves to the deadline.
    script.ready([
        (10, Readiness::READABLE | Readiness::HANG_UP),
        (11, Readiness::READABLE),
    ]);
    script.ready([(10, Readiness::READABLE)]); // It is gone, and must not be heard of.

    let events = log.clone();
    let mut next_fd = 10;
    let mut runner = Runner::on_event(move |event_loop, Event { token, readiness }| {
        if token == LISTENER {
            let fd = next_fd;
            next_fd += 1;
            events.add(format!("accept({fd})"));
            return event_loop.register(fd, Token(100), Interest::READABLE);
        }
        if readiness.contains(Readiness::HANG_UP) {
            event_loop.deregister(10)?;
            event_loop.push_ready(events.entry("closed"));
        } else {
            event_loop.push_ready(events.entry("data"));
        }
        Ok(())
    });
    event_loop.add_timer(at_millis(500), log.entry("timer"));
    event_loop.add_timer(at_millis(900), call(EventLoop::stop));

    event_loop.run(&mut runner)?;
    assert_eq!(log.take(), "accept(10) accept(11) data timer closed data");
    assert_eq!(script.interest(10), None);
    assert_eq!(script.interest(11), Some(Interest::READABLE));
    Ok(())
}

#[test]
fn a_loop_that_would_hang_fails_instead() {
    let event_loop = scripted_loop(Clock::Monotonic, &Script::new());
    let error = event_loop
        .run(&mut Runner::default())
        .expect_err("nothing can ever happen");
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
}

#[test]
fn only_what_is_watched_for_is_reported() -> io::Result<()> {
    let script = Script::new();
    let event_loop = scripted_loop(Clock::Monotonic, &script);
    event_loop.register(5, Token(5), Interest::WRITABLE)?;
    script.ready([(5, Readiness::READABLE), (6, Readiness::WRITABLE)]);
    script.ready([(5, Readiness::READABLE | Readiness::WRITABLE)]);
    script.ready([(5, Readiness::ERROR)]);

    let seen = Rc::new(RefCell::new(Vec::new()));
    let events = Rc::clone(&seen);
    let mut runner = Runner::on_event(move |_, event| {
        events.borrow_mut().push(event.readiness);
        Ok(())
    });
    for _ in 0..3 {
        event_loop.turn(&mut runner)?;
    }
    assert_eq!(*seen.borrow(), [Readiness::WRITABLE, Readiness::ERROR]);
    Ok(())
}

/// What the driver fails with while events are told leaves the loop fit for use.
#[test]
fn a_failing_event_ends_the_run_and_the_next_one_works() -> io::Result<()> {
    let (script, log) = (Script::new(), Log::default());
    let event_loop = scripted_loop(Clock::Monotonic, &script);
    event_loop.register(5, Token(5), Interest::READABLE)?;
    script.ready([(5, Readiness::READABLE)]);
    script.ready([(5, Readiness::READABLE)]);
    let events = log.clone();
    let mut failed = false;
    let mut runner = Runner::on_event(move |event_loop, _| {
        events.add("event");
        if !std::mem::replace(&mut failed, true) {
            return Err(io::Error::other("no"));
        }
        event_loop.stop();
        Ok(())
    });
    event_loop.push_ready(log.entry("ready"));
    event_loop.run(&mut runner).expect_err("the driver failed");
    assert_eq!(log.take(), "event");
    event_loop.run(&mut runner)?;
    assert_eq!(log.take(), "event ready");
    Ok(())
}

#[test]
fn an_idle_loop_waits_for_its_deadline() -> io::Result<()> {
    let script = Script::new();
    let event_loop = scripted_loop(Clock::Monotonic, &script);
    let deadline = event_loop.now().saturating_add(Duration::from_secs(100));
    event_loop.add_timer(deadline, call(EventLoop::stop));
    event_loop.turn(&mut Runner::default())?;
    let wait = script.waits()[0].expect("there is a deadline");
    assert!(wait > Duration::ZERO && wait <= Duration::from_secs(100));
    Ok(())
}
