//! Wakes are system calls only where they must be. One test in this file, because it looks at all
//! eventfds of its process.

use std::fs;
use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ferrio_core::{Driver, Event, EventLoop, Options};

/// Runs numbers; zero stops the loop. Says when a wait that can last begins and ends.
struct Sleeper {
    asleep: mpsc::Sender<()>,
    /// How long the loop is kept from going on after a wait, as by an interpreter's lock.
    held_up: mpsc::Receiver<()>,
}

impl Driver<u32> for Sleeper {
    type Error = io::Error;

    fn wait<R: Send>(&mut self, timeout: Option<Duration>, wait: impl FnOnce() -> R + Send) -> R {
        let result = wait();
        if timeout.is_none() {
            self.asleep.send(()).expect("the test listens");
            self.held_up.recv().expect("the test answers");
        }
        result
    }

    fn event(&mut self, _: &EventLoop<u32>, event: Event) -> io::Result<()> {
        panic!("nobody expects {event:?}")
    }

    fn run(&mut self, event_loop: &EventLoop<u32>, number: u32) -> io::Result<()> {
        if number == 0 {
            event_loop.stop();
        }
        Ok(())
    }
}

/// How often the process's only eventfd was written to: nobody reads it, so its counter is that.
fn rings() -> u64 {
    let mut counts = Vec::new();
    for entry in fs::read_dir("/proc/self/fdinfo").expect("Linux has it") {
        let path = entry.expect("the directory can be read").path();
        // One of them is the directory itself, closed by now.
        let Ok(info) = fs::read_to_string(&path) else {
            continue;
        };
        let count = info
            .lines()
            .find_map(|line| line.strip_prefix("eventfd-count:"));
        // The kernel prints the counter in hexadecimal.
        counts.extend(
            count.map(|hex| {
                u64::from_str_radix(hex.trim(), 16).expect("the kernel prints a number")
            }),
        );
    }
    assert_eq!(counts.len(), 1, "this process has one loop");
    counts[0]
}

#[test]
fn many_pushes_ring_once_and_those_to_a_busy_loop_never() -> io::Result<()> {
    let event_loop = EventLoop::new(Options::new()?)?;
    let injector = event_loop.injector();

    for number in 1..1_000 {
        assert_eq!(injector.push(number), Ok(()));
    }
    assert_eq!(rings(), 0, "the loop does not wait");

    let (asleep, was_asleep) = mpsc::channel();
    let (go_on, held_up) = mpsc::channel();
    let pusher = thread::spawn(move || {
        // A push that comes while the loop is not asleep yet does not ring, and the loop takes it
        // without a wait; then another one has to wake it.
        while was_asleep.recv_timeout(Duration::from_millis(20)).is_err() {
            assert_eq!(injector.push(1), Ok(()));
        }
        let after_first = rings();
        for number in 2..1_000 {
            assert_eq!(injector.push(number), Ok(()));
        }
        assert_eq!(injector.push(0), Ok(()));
        let after_all = rings();
        go_on.send(()).expect("the loop runs");
        (after_first, after_all)
    });
    event_loop.run(&mut Sleeper { asleep, held_up })?;
    let (after_first, after_all) = pusher.join().expect("the thread did not panic");
    assert_eq!((after_first, after_all), (1, 1));
    Ok(())
}
