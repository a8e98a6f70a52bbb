//! Which turns of a busy loop ask for I/O. The scripted reactor counts.
//!
//! A turn that may skip its poll must not do so for longer than 40 µs, and this machine may hold a
//! test up for longer between two turns. So a scenario is tried until it was not held up; what a
//! scenario must do in any case it asserts by itself.

mod support;

use std::io;
use std::time::{Duration, Instant};

use ferrio_core::reactor::{Script, Scripted};
use ferrio_core::{Clock, EventLoop, Interest, Options, Reactor, Readiness, Token};
use support::{Loop, Runner, call, scripted_loop};

const TRIES: usize = 1_000;

/// A loop with one watched fd that has just had its first turn, and so its first poll.
struct Busy {
    script: Script,
    event_loop: Loop,
    runner: Runner,
    since: Instant,
}

impl Busy {
    fn new() -> io::Result<Self> {
        let script = Script::new();
        let event_loop = scripted_loop(Clock::Monotonic, &script);
        event_loop.register(3, Token(3), Interest::READABLE)?;
        let runner = Runner::on_event(|_, _| Ok(()));
        let since = Instant::now();
        let mut busy = Self {
            script,
            event_loop,
            runner,
            since,
        };
        assert_eq!(busy.turns(1)?, 1, "a turn after a registration polls");
        busy.since = Instant::now();
        Ok(busy)
    }

    /// Turns so often with ready work. Returns how many of the turns polled.
    fn turns(&mut self, count: usize) -> io::Result<usize> {
        let before = self.script.wait_count();
        for _ in 0..count {
            self.event_loop.push_ready(call(|_| ()));
            self.event_loop.turn(&mut self.runner)?;
        }
        Ok(self.script.wait_count() - before)
    }

    /// Whether everything since the first turn went so fast that skips were allowed throughout.
    fn was_not_held_up(&self) -> bool {
        self.since.elapsed() < Duration::from_micros(36)
    }
}

/// Tries `scenario` until it says that it was not held up.
fn eventually(mut scenario: impl FnMut() -> io::Result<bool>) -> io::Result<()> {
    for _ in 0..TRIES {
        if scenario()? {
            return Ok(());
        }
    }
    panic!("the machine is too busy for this test");
}

#[test]
fn busy_turns_skip_polls() -> io::Result<()> {
    eventually(|| {
        let mut busy = Busy::new()?;
        let polls = busy.turns(3)?;
        let fast = busy.was_not_held_up();
        assert!(polls == 0 || !fast);
        Ok(fast)
    })
}

#[test]
fn no_poll_is_skipped_for_longer_than_forty_microseconds() -> io::Result<()> {
    let mut busy = Busy::new()?;
    std::thread::sleep(Duration::from_micros(60));
    assert_eq!(busy.turns(1)?, 1);
    Ok(())
}

#[test]
fn a_turn_polls_when_the_next_one_would_be_too_late() -> io::Result<()> {
    let mut busy = Busy::new()?;
    // One turn of 25 µs may pass without a poll, but not two.
    while busy.since.elapsed() < Duration::from_micros(25) {
        std::hint::spin_loop();
    }
    assert_eq!(busy.turns(1)?, 1);
    Ok(())
}

#[test]
fn sixteen_turns_after_an_event_poll() -> io::Result<()> {
    eventually(|| {
        let mut busy = Busy::new()?;
        busy.script.ready([(3, Readiness::READABLE)]);
        busy.event_loop.note_io();
        assert_eq!(busy.turns(1)?, 1, "this one finds the event");
        assert_eq!(busy.turns(16)?, 16);
        let since = Instant::now();
        let polls = busy.turns(1)?;
        let fast = since.elapsed() < Duration::from_micros(36);
        assert!(polls == 0 || !fast);
        Ok(fast)
    })
}

#[test]
fn the_turn_after_a_write_or_registration_polls() -> io::Result<()> {
    let mut busy = Busy::new()?;
    busy.event_loop.note_io();
    assert_eq!(busy.turns(1)?, 1);
    busy.event_loop.register(4, Token(4), Interest::WRITABLE)?;
    assert_eq!(busy.turns(1)?, 1);
    busy.event_loop.modify(4, Token(4), Interest::READABLE)?;
    assert_eq!(busy.turns(1)?, 1);
    Ok(())
}

#[test]
fn a_pending_wake_polls() -> io::Result<()> {
    let mut busy = Busy::new()?;
    busy.event_loop.injector().wake();
    assert_eq!(busy.turns(1)?, 1);
    Ok(())
}

#[test]
fn the_first_turn_of_a_run_and_the_turn_of_a_stop_poll() -> io::Result<()> {
    let busy = Busy::new()?;
    let Busy {
        script,
        event_loop,
        mut runner,
        ..
    } = busy;
    let before = script.wait_count();
    event_loop.push_ready(call(EventLoop::stop));
    event_loop.run(&mut runner)?;
    assert_eq!(
        script.wait_count() - before,
        1,
        "one turn is first and last"
    );

    event_loop.push_ready(call(|event_loop| {
        event_loop.push_ready(call(EventLoop::stop));
    }));
    event_loop.run(&mut runner)?;
    assert_eq!(script.wait_count() - before, 3, "the first and the last");
    assert!(
        runner
            .waits
            .iter()
            .all(|wait| *wait == Some(Duration::ZERO))
    );
    Ok(())
}

#[test]
fn an_option_polls_every_turn() -> io::Result<()> {
    let script = Script::new();
    let event_loop = EventLoop::new(Options {
        clock: Clock::Monotonic,
        reactor: Reactor::Scripted(Scripted::new(&script)),
        poll_every_turn: true,
    })?;
    for _ in 0..100 {
        event_loop.push_ready(call(|_| ()));
        event_loop.turn(&mut Runner::default())?;
    }
    assert_eq!(script.wait_count(), 100);
    Ok(())
}
