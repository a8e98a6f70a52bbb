//! A wait that a signal handler interrupts, and a reactor that breaks.

mod support;

use std::cell::Cell;
use std::io;
use std::rc::Rc;

use ferrio_core::reactor::Script;
use ferrio_core::{Clock, EventLoop, Instant};
use support::{Log, Runner, call, scripted_loop};

#[test]
fn the_driver_hears_of_it_and_the_turn_goes_on() -> io::Result<()> {
    let (script, log) = (Script::new(), Log::default());
    let event_loop = scripted_loop(Clock::Monotonic, &script);
    script.fails(io::ErrorKind::Interrupted);
    let interruptions = Rc::new(Cell::new(0));
    let counter = Rc::clone(&interruptions);
    let mut runner = Runner {
        on_interruption: Box::new(move || {
            counter.set(counter.get() + 1);
            Ok(())
        }),
        ..Runner::default()
    };
    event_loop.add_timer(Instant::ZERO, log.entry("timer"));
    event_loop.add_timer(Instant::ZERO, call(EventLoop::stop));
    event_loop.run(&mut runner)?;
    assert_eq!(log.take(), "timer");
    assert_eq!((interruptions.get(), runner.turns), (1, 1));
    Ok(())
}

#[test]
fn what_the_driver_makes_of_it_ends_the_run_and_loses_nothing() -> io::Result<()> {
    let (script, log) = (Script::new(), Log::default());
    let event_loop = scripted_loop(Clock::Monotonic, &script);
    script.fails(io::ErrorKind::Interrupted);
    let mut runner = Runner {
        on_interruption: Box::new(|| Err(io::Error::other("keyboard interrupt"))),
        ..Runner::default()
    };
    event_loop.push_ready(log.entry("ready"));
    let error = event_loop.run(&mut runner).expect_err("it was interrupted");
    assert_eq!(error.to_string(), "keyboard interrupt");
    assert_eq!((runner.turns, runner.failed_turns), (1, 1));

    event_loop.push_ready(call(EventLoop::stop));
    event_loop.run(&mut runner)?;
    assert_eq!(log.take(), "ready");
    Ok(())
}

/// An entry that came in from elsewhere during the wait is as safe as any other.
#[test]
fn an_injected_entry_survives_an_interruption() -> io::Result<()> {
    let script = Script::new();
    let event_loop = scripted_loop(Clock::Monotonic, &script);
    script.fails(io::ErrorKind::Interrupted);
    let log = Log::default();
    assert!(event_loop.injector().push(log.entry("injected")).is_ok());
    let mut runner = Runner {
        on_interruption: Box::new(|| Err(io::Error::other("keyboard interrupt"))),
        ..Runner::default()
    };
    event_loop.run(&mut runner).expect_err("it was interrupted");
    event_loop.turn(&mut runner)?;
    assert_eq!(log.take(), "injected");
    Ok(())
}

#[test]
fn a_broken_reactor_ends_the_run() {
    let script = Script::new();
    let event_loop = scripted_loop(Clock::Monotonic, &script);
    script.fails(io::ErrorKind::InvalidInput);
    let error = event_loop
        .run(&mut Runner::default())
        .expect_err("the reactor is broken");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}
