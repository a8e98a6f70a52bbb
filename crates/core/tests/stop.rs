//! A stop takes effect at the end of the turn in which it was called.

mod support;

use std::io;

use ferrio_core::reactor::Script;
use ferrio_core::{Clock, EventLoop, Interest, Readiness, Token};
use support::{Log, Runner, call, fail, real_loop, scripted_loop};

#[test]
fn the_turn_that_stops_is_finished() -> io::Result<()> {
    let (event_loop, log, mut runner) = (real_loop(), Log::default(), Runner::default());
    event_loop.push_ready(log.entry("before"));
    event_loop.push_ready(call(EventLoop::stop));
    event_loop.push_ready(log.entry("after"));
    let next = log.entry("next");
    event_loop.push_ready(call(move |event_loop| event_loop.push_ready(next)));

    event_loop.run(&mut runner)?;
    assert_eq!(log.take(), "before after");
    assert_eq!(runner.turns, 1);
    assert!(!event_loop.is_stopping());

    event_loop.push_ready(call(EventLoop::stop));
    event_loop.run(&mut runner)?;
    assert_eq!(log.take(), "next");
    Ok(())
}

#[test]
fn a_stop_before_the_run_lets_one_turn_happen_without_waiting() -> io::Result<()> {
    let (event_loop, mut runner) = (real_loop(), Runner::default());
    event_loop.stop();
    assert!(event_loop.is_stopping());
    event_loop.run(&mut runner)?;
    assert_eq!(runner.turns, 1);
    assert_eq!(runner.waits, [Some(std::time::Duration::ZERO)]);
    Ok(())
}

#[test]
fn an_error_forgets_the_stop() -> io::Result<()> {
    let (event_loop, mut runner) = (real_loop(), Runner::default());
    event_loop.push_ready(call(EventLoop::stop));
    event_loop.push_ready(fail("no"));
    event_loop.run(&mut runner).expect_err("an entry failed");
    assert!(!event_loop.is_stopping());
    Ok(())
}

/// The turn of the stop runs what a poll finds even when it had skipped its poll: behind its
/// batch, but before what the batch left for later.
#[test]
fn a_skipped_poll_is_made_up_for() -> io::Result<()> {
    let (script, log) = (Script::new(), Log::default());
    let event_loop = scripted_loop(Clock::Monotonic, &script);
    event_loop.register(3, Token(3), Interest::READABLE)?;
    script.nothing();
    script.ready([(3, Readiness::READABLE)]);

    let io_log = log.clone();
    let mut runner = Runner::on_event(move |event_loop, _| {
        event_loop.push_ready(io_log.entry("io"));
        Ok(())
    });
    let left = log.clone();
    event_loop.push_ready(call(move |event_loop| {
        event_loop.push_ready(call(move |event_loop| {
            event_loop.stop();
            event_loop.push_ready(left.entry("left"));
        }));
    }));
    event_loop.run(&mut runner)?;
    assert_eq!(log.take(), "io");
    assert_eq!(script.wait_count(), 2, "the first turn's, and the last's");

    event_loop.turn(&mut runner)?;
    assert_eq!(log.take(), "left");
    Ok(())
}
