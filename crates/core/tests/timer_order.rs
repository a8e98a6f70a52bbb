//! Timers run by deadline, after I/O, and never early.

mod support;

use std::io;
use std::time::Duration;

use ferrio_core::reactor::Script;
use ferrio_core::{Clock, EventLoop, Instant, Interest, Readiness, Token, VirtualClock};
use support::{Log, Runner, at_millis, call, real_loop, scripted_loop, virtual_loop};

#[test]
fn deadlines_decide_and_then_the_order_of_insertion() -> io::Result<()> {
    let ((event_loop, _clock), log) = (virtual_loop(), Log::default());
    for (millis, name) in [(20, "c"), (10, "a"), (20, "d"), (10, "b"), (30, "e")] {
        event_loop.add_timer(at_millis(millis), log.entry(name));
    }
    event_loop.add_timer(at_millis(40), call(EventLoop::stop));
    event_loop.run(&mut Runner::default())?;
    assert_eq!(log.take(), "a b c d e");
    Ok(())
}

#[test]
fn deadlines_in_the_past_keep_their_order() -> io::Result<()> {
    let ((event_loop, _clock), log) = (virtual_loop(), Log::default());
    event_loop.add_timer(at_millis(0), log.entry("zero"));
    event_loop.add_timer(at_millis(-1), log.entry("-1"));
    event_loop.add_timer(at_millis(-2), log.entry("-2"));
    event_loop.turn(&mut Runner::default())?;
    assert_eq!(log.take(), "-2 -1 zero");
    Ok(())
}

#[test]
fn a_timer_is_due_from_one_nanosecond_before_its_deadline() -> io::Result<()> {
    let ((event_loop, clock), log) = (virtual_loop(), Log::default());
    event_loop.add_timer(Instant::from_nanos(100), log.entry("fired"));
    // Ready work, so that the idle loop does not move its clock.
    let turn = || {
        event_loop.push_ready(call(|_| ()));
        event_loop.turn(&mut Runner::default())
    };
    clock.advance(Duration::from_nanos(98));
    turn()?;
    assert_eq!(log.take(), "");
    clock.advance(Duration::from_nanos(1));
    turn()?;
    assert_eq!(log.take(), "fired");
    Ok(())
}

#[test]
fn io_comes_before_timers_and_ready_work_before_both() -> io::Result<()> {
    let (script, log) = (Script::new(), Log::default());
    let event_loop = scripted_loop(Clock::Virtual(VirtualClock::new()), &script);
    event_loop.register(3, Token(3), Interest::READABLE)?;
    script.ready([(3, Readiness::READABLE)]);
    event_loop.add_timer(Instant::ZERO, log.entry("timer"));
    event_loop.push_ready(log.entry("ready"));
    let io_log = log.clone();
    let mut runner = Runner::on_event(move |event_loop, _| {
        event_loop.push_ready(io_log.entry("io"));
        Ok(())
    });
    event_loop.turn(&mut runner)?;
    assert_eq!(log.take(), "ready io timer");
    Ok(())
}

#[test]
fn a_timer_never_fires_early_on_the_real_clock() -> io::Result<()> {
    let event_loop = real_loop();
    for micros in [1, 30, 250, 1_700] {
        let deadline = event_loop
            .now()
            .saturating_add(Duration::from_micros(micros));
        event_loop.add_timer(
            deadline,
            call(move |event_loop| {
                // It may be early by the clock's resolution.
                let resolution = Duration::from_nanos(1);
                assert!(event_loop.now().saturating_add(resolution) >= deadline);
                event_loop.stop();
            }),
        );
        event_loop.run(&mut Runner::default())?;
    }
    Ok(())
}

#[test]
fn timers_keep_running_while_there_is_always_ready_work() -> io::Result<()> {
    fn busy(event_loop: &support::Loop) {
        event_loop.push_ready(call(busy));
    }
    let event_loop = real_loop();
    event_loop.push_ready(call(busy));
    let deadline = event_loop.now().saturating_add(Duration::from_millis(2));
    event_loop.add_timer(deadline, call(EventLoop::stop));
    event_loop.run(&mut Runner::default())
}

#[test]
fn the_wait_is_as_long_as_the_next_deadline_and_a_day_at_most() -> io::Result<()> {
    let script = Script::new();
    let event_loop = scripted_loop(Clock::Monotonic, &script);
    let key = event_loop.add_timer(Instant::MAX, call(|_| ()));
    event_loop.turn(&mut Runner::default())?;
    event_loop.cancel_timer(key);
    let deadline = event_loop.now().saturating_add(Duration::from_secs(60));
    event_loop.add_timer(deadline, call(|_| ()));
    event_loop.turn(&mut Runner::default())?;

    let waits = script.waits();
    assert_eq!(waits[0], Some(Duration::from_secs(24 * 60 * 60)));
    let second = waits[1].expect("a deadline gives a timeout");
    assert!(second <= Duration::from_secs(60) && second > Duration::from_secs(50));
    Ok(())
}
