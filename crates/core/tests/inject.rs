//! Other threads hand entries in.

mod support;

use std::io;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use ferrio_core::{Driver, Event, EventLoop, InjectQueue, Options};

/// A loop of numbers, which writes them down and stops after a given one.
struct Collect {
    numbers: Vec<u32>,
    last: u32,
}

impl Driver<u32> for Collect {
    type Error = io::Error;

    fn event(&mut self, _: &EventLoop<u32>, event: Event) -> io::Result<()> {
        panic!("nobody expects {event:?}")
    }

    fn run(&mut self, event_loop: &EventLoop<u32>, number: u32) -> io::Result<()> {
        self.numbers.push(number);
        if number == self.last {
            event_loop.stop();
        }
        Ok(())
    }
}

#[test]
fn entries_of_one_thread_keep_their_order_and_wake_the_loop() -> io::Result<()> {
    const COUNT: u32 = 2_000;
    let event_loop = EventLoop::new(Options::new()?)?;
    let injector = event_loop.injector();
    let pusher = thread::spawn(move || {
        for number in 0..COUNT {
            if number % 100 == 0 {
                // Time for the loop to fall asleep.
                thread::sleep(Duration::from_micros(200));
            }
            injector.push(number).expect("the loop is open");
        }
    });
    let mut collect = Collect {
        numbers: Vec::new(),
        last: COUNT - 1,
    };
    event_loop.run(&mut collect)?;
    pusher.join().expect("the thread did not panic");
    assert!(collect.numbers.into_iter().eq(0..COUNT));
    Ok(())
}

/// The loop and a thread answer each other, so every push meets a loop that waits or is about to.
#[test]
fn no_wake_is_lost_between_a_look_and_a_wait() -> io::Result<()> {
    struct Echo(mpsc::Sender<u32>);
    impl Driver<u32> for Echo {
        type Error = io::Error;

        fn event(&mut self, _: &EventLoop<u32>, _: Event) -> io::Result<()> {
            Ok(())
        }

        fn run(&mut self, event_loop: &EventLoop<u32>, number: u32) -> io::Result<()> {
            if number == 0 {
                event_loop.stop();
            }
            self.0.send(number).map_err(io::Error::other)
        }
    }

    let event_loop = EventLoop::new(Options::new()?)?;
    let injector = event_loop.injector();
    let (sender, receiver) = mpsc::channel();
    let asker = thread::spawn(move || {
        for number in (0..5_000).rev() {
            injector.push(number).expect("the loop is open");
            assert_eq!(receiver.recv(), Ok(number));
        }
    });
    event_loop.run(&mut Echo(sender))?;
    asker.join().expect("the thread did not panic");
    Ok(())
}

#[test]
fn a_pending_entry_prevents_the_wait() -> io::Result<()> {
    let event_loop = EventLoop::new(Options::new()?)?;
    let injector = event_loop.injector();
    assert!(!injector.is_pending());
    assert_eq!(injector.push(7), Ok(()));
    assert!(injector.is_pending());
    let mut collect = Collect {
        numbers: Vec::new(),
        last: 7,
    };
    event_loop.turn(&mut collect)?;
    assert_eq!(collect.numbers, [7]);
    assert!(!injector.is_pending());
    Ok(())
}

#[test]
fn a_wake_without_an_entry_ends_the_wait() -> io::Result<()> {
    let event_loop = EventLoop::<u32>::new(Options::new()?)?;
    event_loop.injector().wake();
    let mut collect = Collect {
        numbers: Vec::new(),
        last: 0,
    };
    event_loop.turn(&mut collect)?;
    assert_eq!(collect.numbers, []);
    Ok(())
}

#[test]
fn a_closed_loop_gives_entries_back() -> io::Result<()> {
    let event_loop = EventLoop::new(Options::new()?)?;
    let injector = event_loop.injector();
    assert_eq!(injector.push(1), Ok(()));
    assert_eq!(event_loop.close(), [1]);
    assert!(injector.is_closed());
    assert_eq!(injector.push(2), Err(2));
    injector.wake();
    drop(event_loop);
    assert_eq!(injector.push(3), Err(3));
    Ok(())
}

#[test]
fn dropping_the_loop_closes_the_way_in() -> io::Result<()> {
    let event_loop = EventLoop::new(Options::new()?)?;
    let injector = event_loop.injector();
    drop(event_loop);
    assert_eq!(injector.push(1), Err(1));
    Ok(())
}

/// What may be shared between threads depends on the entries, and on nothing else.
#[test]
fn the_queue_is_sync_where_its_entries_are_send() {
    fn assert_sync<T: Send + Sync>() {}
    assert_sync::<InjectQueue<Box<dyn FnOnce() + Send>>>();
}
