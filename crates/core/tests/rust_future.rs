//! A ready entry that is a Rust future: polled by the loop, woken on it, from any thread.

mod support;

use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::mpsc;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Context, Poll, Wake, Waker};
use std::thread;
use std::time::Duration;

use ferrio_core::{Driver, Event, EventLoop, InjectQueue, Instant, Options};

type BoxedFuture = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What the loop runs: futures, and timers that wake them.
enum Entry {
    Task(Arc<Task>),
    Wake(Waker),
    Stop,
}

/// A future and the way back to its loop. Waking it queues it.
struct Task {
    future: Mutex<Option<BoxedFuture>>,
    /// Weak: the queue may hold the task.
    injector: Weak<InjectQueue<Entry>>,
}

impl Wake for Task {
    fn wake(self: Arc<Self>) {
        if let Some(injector) = self.injector.upgrade() {
            // A loop that is closed has no use for the task any more.
            drop(injector.push(Entry::Task(self)));
        }
    }
}

/// Polls futures. Timers that they ask for come in over a channel, because a future that may be
/// moved between threads cannot hold the loop.
struct Executor {
    timers: mpsc::Receiver<(Duration, Waker)>,
    polls: usize,
}

impl Driver<Entry> for Executor {
    type Error = io::Error;

    fn event(&mut self, _: &EventLoop<Entry>, event: Event) -> io::Result<()> {
        panic!("nobody expects {event:?}")
    }

    fn run(&mut self, event_loop: &EventLoop<Entry>, entry: Entry) -> io::Result<()> {
        match entry {
            Entry::Task(task) => self.poll(event_loop, task),
            Entry::Wake(waker) => waker.wake(),
            Entry::Stop => event_loop.stop(),
        }
        Ok(())
    }
}

impl Executor {
    fn poll(&mut self, event_loop: &EventLoop<Entry>, task: Arc<Task>) {
        self.polls += 1;
        let waker = Waker::from(Arc::clone(&task));
        let mut slot = task.future.lock().expect("no poll panicked");
        if let Some(future) = slot.as_mut()
            && future
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_ready()
        {
            *slot = None;
        }
        for (delay, waker) in self.timers.try_iter() {
            let deadline = event_loop.now().saturating_add(delay);
            event_loop.add_timer(deadline, Entry::Wake(waker));
        }
    }
}

fn spawn(event_loop: &EventLoop<Entry>, future: impl Future<Output = ()> + Send + 'static) {
    event_loop.push_ready(Entry::Task(Arc::new(Task {
        future: Mutex::new(Some(Box::pin(future))),
        injector: Arc::downgrade(&event_loop.injector()),
    })));
}

/// Runs until a future has pushed [`Entry::Stop`]. Returns how many polls it took.
fn run(
    event_loop: &EventLoop<Entry>,
    timers: mpsc::Receiver<(Duration, Waker)>,
) -> io::Result<usize> {
    let mut executor = Executor { timers, polls: 0 };
    event_loop.run(&mut executor)?;
    Ok(executor.polls)
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

#[test]
fn futures_take_turns_on_the_loop() -> io::Result<()> {
    let event_loop = EventLoop::new(Options::new()?)?;
    let order = Arc::new(Mutex::new(Vec::new()));
    let injector = event_loop.injector();
    for name in ["a", "b"] {
        let (order, injector) = (Arc::clone(&order), Arc::clone(&injector));
        spawn(&event_loop, async move {
            for step in 0..3 {
                order.lock().expect("no poll panicked").push((name, step));
                yield_now().await;
            }
            if name == "b" {
                assert!(injector.push(Entry::Stop).is_ok());
            }
        });
    }
    let (_sender, timers) = mpsc::channel();
    assert_eq!(run(&event_loop, timers)?, 8);
    let order = order.lock().expect("no poll panicked");
    assert_eq!(
        *order,
        [("a", 0), ("b", 0), ("a", 1), ("b", 1), ("a", 2), ("b", 2)]
    );
    Ok(())
}

#[test]
fn a_future_is_woken_from_another_thread_while_the_loop_waits() -> io::Result<()> {
    let event_loop = EventLoop::new(Options::new()?)?;
    let injector = event_loop.injector();
    let owner = thread::current().id();
    spawn(&event_loop, async move {
        let result: Arc<Mutex<Option<u32>>> = Arc::default();
        let mut helper = None;
        let value = poll_fn(|context| {
            assert_eq!(thread::current().id(), owner, "only the owner polls");
            if let Some(value) = result.lock().expect("nobody panicked").take() {
                return Poll::Ready(value);
            }
            helper.get_or_insert_with(|| {
                let (waker, result) = (context.waker().clone(), Arc::clone(&result));
                thread::spawn(move || {
                    thread::sleep(Duration::from_millis(10));
                    *result.lock().expect("nobody panicked") = Some(42);
                    waker.wake();
                })
            });
            Poll::Pending
        })
        .await;
        assert_eq!(value, 42);
        assert!(injector.push(Entry::Stop).is_ok());
    });
    let (_sender, timers) = mpsc::channel();
    assert_eq!(run(&event_loop, timers)?, 2);
    Ok(())
}

#[test]
fn a_future_sleeps_by_the_loops_timers() -> io::Result<()> {
    let event_loop = EventLoop::new(Options::new()?)?;
    let injector = event_loop.injector();
    let (timer_sender, timers) = mpsc::channel();
    spawn(&event_loop, async move {
        let mut asked = false;
        poll_fn(|context| {
            if std::mem::replace(&mut asked, true) {
                return Poll::Ready(());
            }
            let request = (Duration::from_millis(2), context.waker().clone());
            timer_sender.send(request).expect("the executor listens");
            Poll::Pending
        })
        .await;
        assert!(injector.push(Entry::Stop).is_ok());
    });
    let started = event_loop.now();
    run(&event_loop, timers)?;
    assert!(event_loop.now().saturating_since(started) >= Duration::from_millis(2));
    Ok(())
}

#[test]
fn a_future_that_is_woken_after_the_loop_is_gone_is_dropped() -> io::Result<()> {
    let event_loop = EventLoop::new(Options::new()?)?;
    let kept: Arc<Mutex<Option<Waker>>> = Arc::default();
    let (slot, alive) = (Arc::clone(&kept), Arc::new(()));
    let seen = Arc::downgrade(&alive);
    spawn(&event_loop, async move {
        poll_fn(|context| {
            *slot.lock().expect("no poll panicked") = Some(context.waker().clone());
            Poll::<()>::Pending
        })
        .await;
        drop(alive);
    });
    event_loop.add_timer(Instant::ZERO, Entry::Stop);
    let (_sender, timers) = mpsc::channel();
    run(&event_loop, timers)?;
    drop(event_loop);
    assert!(seen.upgrade().is_some(), "its waker keeps it");
    let waker = kept.lock().expect("no poll panicked").take();
    waker.expect("the future was polled").wake();
    assert!(seen.upgrade().is_none());
    Ok(())
}
