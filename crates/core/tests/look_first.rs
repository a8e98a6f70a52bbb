//! A loop whose waits find events at once looks before it waits; one that sleeps between events does
//! not. The scripted reactor tells the timeouts.

mod support;

use std::io;
use std::time::Duration;

use ferrio_core::reactor::Script;
use ferrio_core::{Clock, Interest, Readiness, Token};
use support::{Loop, Runner, call, scripted_loop};

const LOOK: Option<Duration> = Some(Duration::ZERO);
const FOR_EVER: Option<Duration> = None;
const HOUR: Duration = Duration::from_secs(3600);

/// More turns than a loop goes without a look.
const MANY: usize = 200;

struct Program {
    script: Script,
    event_loop: Loop,
    runner: Runner,
}

impl Program {
    fn new() -> io::Result<Self> {
        let script = Script::new();
        let event_loop = scripted_loop(Clock::Monotonic, &script);
        event_loop.register(3, Token(3), Interest::READABLE)?;
        Ok(Self {
            script,
            event_loop,
            runner: Runner::on_event(|_, _| Ok(())),
        })
    }

    /// Turns `count` times with an event for every wait; returns the waits' timeouts.
    fn turns_with_events(&mut self, count: usize) -> io::Result<Vec<Option<Duration>>> {
        let before = self.script.wait_count();
        for _ in 0..count {
            self.script.ready([(3, Readiness::READABLE)]);
            self.event_loop.turn(&mut self.runner)?;
        }
        Ok(self.script.waits().split_off(before))
    }

    /// Turns `count` times without any event; returns the waits' timeouts.
    fn turns_without_events(&mut self, count: usize) -> io::Result<Vec<Option<Duration>>> {
        let before = self.script.wait_count();
        for _ in 0..count {
            self.event_loop.turn(&mut self.runner)?;
        }
        Ok(self.script.waits().split_off(before))
    }
}

#[test]
fn a_loop_that_finds_events_at_once_comes_to_look_and_stays_with_it() -> io::Result<()> {
    let mut program = Program::new()?;
    let waits = program.turns_with_events(MANY)?;
    assert_eq!(
        waits.len(),
        MANY,
        "a look that finds something is the turn's only wait"
    );
    assert_eq!(waits[0], FOR_EVER, "a new loop has no reason to look");
    let first = waits.iter().position(|&wait| wait == LOOK).expect("a look");
    assert!(waits[first..].iter().all(|&wait| wait == LOOK), "{waits:?}");
    Ok(())
}

#[test]
fn a_driver_that_would_have_to_let_go_of_something_waits() -> io::Result<()> {
    let mut program = Program::new()?;
    program.runner.may_look = false;
    let waits = program.turns_with_events(MANY)?;
    assert!(waits.iter().all(|&wait| wait == FOR_EVER), "{waits:?}");
    Ok(())
}

#[test]
fn a_look_that_finds_nothing_is_followed_by_the_wait() -> io::Result<()> {
    let mut program = Program::new()?;
    program.turns_with_events(MANY)?;
    let before = program.script.wait_count();
    program.script.nothing();
    program.script.ready([(3, Readiness::READABLE)]);
    program.event_loop.turn(&mut program.runner)?;
    assert_eq!(program.script.waits()[before..], [LOOK, FOR_EVER]);
    Ok(())
}

#[test]
fn the_wait_after_a_look_knows_the_deadline() -> io::Result<()> {
    let mut program = Program::new()?;
    program.turns_with_events(MANY)?;
    let hour = Duration::from_secs(3600);
    let deadline = program.event_loop.now().saturating_add(hour);
    program
        .event_loop
        .add_timer(deadline, support::call(|_| ()));
    let before = program.script.wait_count();
    program.event_loop.turn(&mut program.runner)?;
    let waits = program.script.waits().split_off(before);
    assert_eq!(waits.len(), 2);
    assert_eq!(waits[0], LOOK);
    let timeout = waits[1].expect("a deadline");
    assert!(timeout > Duration::ZERO && timeout <= HOUR, "{timeout:?}");
    Ok(())
}

#[test]
fn a_loop_that_sleeps_between_events_seldom_looks() -> io::Result<()> {
    let mut program = Program::new()?;
    program.turns_with_events(MANY)?;
    let deadline = program.event_loop.now().saturating_add(HOUR);
    program.event_loop.add_timer(deadline, call(|_| ()));
    program.turns_without_events(MANY)?;
    let waits = program.turns_without_events(MANY)?;
    let looks = waits.iter().filter(|&&wait| wait == LOOK).count();
    assert_eq!(waits.len(), MANY + looks);
    assert!(looks * 60 < MANY, "{looks} looks in {MANY} turns");
    assert!(looks > 0, "it must find out when that changes");
    Ok(())
}
