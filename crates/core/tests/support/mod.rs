//! What the tests drive a loop with: entries that are closures, and a driver that writes down what
//! it was asked for.

// Every test file is a crate of its own and uses a part of this.
#![allow(dead_code, unreachable_pub)]

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use ferrio_core::reactor::{Script, Scripted};
use ferrio_core::{Clock, Driver, Event, EventLoop, Instant, Options, Reactor, VirtualClock};

/// A loop of closures.
pub type Loop = EventLoop<Call>;

type Function = dyn FnOnce(&Loop) -> io::Result<()>;

/// An entry.
pub struct Call(Box<Function>);

/// An entry that runs `function`.
pub fn call(function: impl FnOnce(&Loop) + 'static) -> Call {
    Call(Box::new(|event_loop| {
        function(event_loop);
        Ok(())
    }))
}

/// An entry that fails.
pub fn fail(message: &'static str) -> Call {
    Call(Box::new(move |_| Err(io::Error::other(message))))
}

/// A loop as programs have it.
pub fn real_loop() -> Loop {
    let options = Options::new().expect("a reactor can be made");
    EventLoop::new(options).expect("a loop can be made")
}

/// A loop on the given clock whose reactor follows a script.
pub fn scripted_loop(clock: Clock, script: &Script) -> Loop {
    let options = Options {
        clock,
        reactor: Reactor::Scripted(Scripted::new(script)),
        poll_every_turn: false,
    };
    EventLoop::new(options).expect("a loop can be made")
}

/// A loop on a virtual clock, with the kernel's reactor.
pub fn virtual_loop() -> (Loop, VirtualClock) {
    let virtual_clock = VirtualClock::new();
    let options = Options {
        clock: Clock::Virtual(virtual_clock.clone()),
        ..Options::new().expect("a reactor can be made")
    };
    let event_loop = EventLoop::new(options).expect("a loop can be made");
    (event_loop, virtual_clock)
}

/// The point `millis` milliseconds after the clock's zero.
pub fn at_millis(millis: i64) -> Instant {
    Instant::from_nanos(millis * 1_000_000)
}

/// What happened, in order. Clones share it.
#[derive(Clone, Default)]
pub struct Log(Rc<RefCell<Vec<String>>>);

impl Log {
    pub fn add(&self, line: impl Into<String>) {
        self.0.borrow_mut().push(line.into());
    }

    /// An entry that adds a line.
    pub fn entry(&self, line: impl Into<String>) -> Call {
        let (log, line) = (self.clone(), line.into());
        call(move |_| log.add(line))
    }

    /// Takes the lines so far, joined by blanks.
    pub fn take(&self) -> String {
        std::mem::take(&mut *self.0.borrow_mut()).join(" ")
    }
}

type OnEvent = Box<dyn FnMut(&Loop, Event) -> io::Result<()>>;
type OnSignal = Box<dyn FnMut(&Loop, u8) -> io::Result<()>>;

/// Runs [`Call`]s. What it does with events and signals is up to the test; it counts the rest.
pub struct Runner {
    pub on_event: OnEvent,
    pub on_signal: OnSignal,
    /// What an interruption leads to.
    pub on_interruption: Box<dyn FnMut() -> io::Result<()>>,
    /// Whether a look before a wait is as good as free.
    pub may_look: bool,
    /// The timeouts of all waits.
    pub waits: Vec<Option<Duration>>,
    /// How many turns ended, and how many of them badly.
    pub turns: usize,
    pub failed_turns: usize,
}

impl Default for Runner {
    fn default() -> Self {
        Self {
            on_event: Box::new(|_, event| panic!("nobody expects {event:?}")),
            on_signal: Box::new(|_, number| panic!("nobody expects signal {number}")),
            on_interruption: Box::new(|| panic!("nobody expects an interruption")),
            may_look: true,
            waits: Vec::new(),
            turns: 0,
            failed_turns: 0,
        }
    }
}

impl Runner {
    pub fn on_event(on_event: impl FnMut(&Loop, Event) -> io::Result<()> + 'static) -> Self {
        Self {
            on_event: Box::new(on_event),
            ..Self::default()
        }
    }

    pub fn on_signal(on_signal: impl FnMut(&Loop, u8) -> io::Result<()> + 'static) -> Self {
        Self {
            on_signal: Box::new(on_signal),
            ..Self::default()
        }
    }
}

impl Driver<Call> for Runner {
    type Error = io::Error;

    fn wait<R: Send>(&mut self, timeout: Option<Duration>, wait: impl FnOnce() -> R + Send) -> R {
        self.waits.push(timeout);
        wait()
    }

    fn may_look(&mut self) -> bool {
        self.may_look
    }

    fn interrupted(&mut self) -> io::Result<()> {
        (self.on_interruption)()
    }

    fn event(&mut self, event_loop: &Loop, event: Event) -> io::Result<()> {
        (self.on_event)(event_loop, event)
    }

    fn signal(&mut self, event_loop: &Loop, number: u8) -> io::Result<()> {
        (self.on_signal)(event_loop, number)
    }

    fn run(&mut self, event_loop: &Loop, entry: Call) -> io::Result<()> {
        (entry.0)(event_loop)
    }

    fn end_of_turn(&mut self, _: &Loop, outcome: io::Result<()>) -> io::Result<()> {
        self.turns += 1;
        self.failed_turns += usize::from(outcome.is_err());
        outcome
    }
}
