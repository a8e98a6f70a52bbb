//! A turn runs exactly the entries that were ready when it began to run them.

mod support;

use std::io;

use support::{Log, Runner, call, fail, real_loop};

#[test]
fn entries_run_in_the_order_they_were_pushed() -> io::Result<()> {
    let (event_loop, log) = (real_loop(), Log::default());
    for number in 0..5 {
        event_loop.push_ready(log.entry(number.to_string()));
    }
    event_loop.turn(&mut Runner::default())?;
    assert_eq!(log.take(), "0 1 2 3 4");
    assert_eq!(event_loop.ready_len(), 0);
    Ok(())
}

#[test]
fn what_a_batch_pushes_waits_for_the_next_turn() -> io::Result<()> {
    let (event_loop, log) = (real_loop(), Log::default());
    let later = log.entry("later");
    event_loop.push_ready(call(move |event_loop| event_loop.push_ready(later)));
    event_loop.push_ready(log.entry("now"));

    event_loop.turn(&mut Runner::default())?;
    assert_eq!(log.take(), "now");
    event_loop.turn(&mut Runner::default())?;
    assert_eq!(log.take(), "later");
    Ok(())
}

#[test]
fn an_error_leaves_the_rest_of_the_batch_queued_in_order() -> io::Result<()> {
    let (event_loop, log, mut runner) = (real_loop(), Log::default(), Runner::default());
    event_loop.push_ready(log.entry("first"));
    let pushed_by_second = log.entry("fourth");
    event_loop.push_ready(call(move |event_loop| {
        event_loop.push_ready(pushed_by_second);
    }));
    event_loop.push_ready(fail("no"));
    event_loop.push_ready(log.entry("third"));

    let error = event_loop.run(&mut runner).expect_err("an entry failed");
    assert_eq!(error.to_string(), "no");
    assert_eq!(log.take(), "first");
    assert_eq!((runner.turns, runner.failed_turns), (1, 1));

    event_loop.push_ready(call(ferrio_core::EventLoop::stop));
    event_loop.run(&mut runner)?;
    assert_eq!(log.take(), "third fourth");
    assert_eq!((runner.turns, runner.failed_turns), (2, 1));
    Ok(())
}

#[test]
fn an_entry_may_turn_the_loop_itself() -> io::Result<()> {
    let (event_loop, log) = (real_loop(), Log::default());
    event_loop.push_ready(log.entry("before"));
    event_loop.push_ready(call(|event_loop| {
        event_loop
            .turn(&mut Runner::default())
            .expect("a turn inside a turn works");
    }));
    event_loop.push_ready(log.entry("inside"));
    event_loop.turn(&mut Runner::default())?;
    assert_eq!(log.take(), "before inside");
    Ok(())
}

#[test]
fn a_collector_sees_every_entry_that_waits() {
    let (event_loop, log) = (real_loop(), Log::default());
    for _ in 0..3 {
        event_loop.push_ready(log.entry("ready"));
        event_loop.add_timer(ferrio_core::Instant::MAX, log.entry("timer"));
    }
    let (mut ready, mut timers) = (0, 0);
    event_loop.for_each_ready(|_| ready += 1);
    event_loop.for_each_timer(|_| timers += 1);
    assert_eq!((ready, timers), (3, 3));
}
