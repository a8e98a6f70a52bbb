//! The native threads of the process that are ours, by name.
//!
//! The life of such a thread:
//!
//! * [`Services::start`] makes it. What it runs can be called again, for it may be stopped and made
//!   anew; what has to outlive that (a listening socket, a table) its closure owns.
//! * It ends when its [`Stop`] says so, soon: whoever stops it waits.
//! * Before a fork all are stopped ([`Services::begin_fork`]): a child has none of its parent's
//!   threads, and what they have locked stays locked there. They start again when
//!   [`Services::resume`] is called, by a loop's next turn: before `os.fork()` returns would be too
//!   early, Python counts the threads of the process after the last hook. The child has none
//!   ([`Services::forget`]).
//! * At the end of the interpreter all are stopped for good ([`Services::end`]).
//!
//! All of it is called by threads that hold the interpreter, and none of it releases it. That is
//! why nobody else is ever in the middle of a call when a thread forks. What takes time is to wait
//! for threads, which may need the interpreter to end: stopping gives a [`Stopping`], to be waited
//! for without it.

use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use rustix::event::{EventfdFlags, eventfd};

use crate::signals;

/// How long a thread that was told to end is waited for. One that does not come back, because a
/// callback of the program's runs in it and never ends, is left to itself.
const PATIENCE: Duration = Duration::from_secs(5);

/// What a service's thread is told by others.
///
/// Cloned for whoever is to wake it.
#[derive(Clone, Debug)]
pub struct Stop(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    signal: Mutex<Signal>,
    changed: Condvar,
    /// Readable once `asked` is set; made when a thread first wants to wait for it.
    doorbell: OnceLock<OwnedFd>,
    /// The kernel's number of the thread, once it runs.
    thread: AtomicU32,
}

#[derive(Debug, Default)]
struct Signal {
    /// The thread is to end.
    asked: bool,
    /// The thread is to look again at what there is to do.
    nudged: bool,
    /// The thread has ended.
    ended: bool,
}

impl Stop {
    fn new() -> Stop {
        Stop(Arc::new(Shared {
            signal: Mutex::default(),
            changed: Condvar::new(),
            doorbell: OnceLock::new(),
            thread: AtomicU32::new(0),
        }))
    }

    /// Readable once the thread is to end: for threads that wait for descriptors. Not to be read
    /// from. The others have none: descriptors are the program's.
    ///
    /// # Errors
    /// What the kernel says when there can be no descriptor.
    pub fn doorbell(&self) -> io::Result<BorrowedFd<'_>> {
        if let Some(doorbell) = self.0.doorbell.get() {
            return Ok(doorbell.as_fd());
        }
        // Held until it is in its place, so that whoever asks meanwhile rings it.
        let signal = self.signal();
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let made = eventfd(u32::from(signal.asked), flags)?;
        Ok(self.0.doorbell.get_or_init(|| made).as_fd())
    }

    /// Whether the thread is to end.
    #[must_use]
    pub fn is_asked(&self) -> bool {
        self.signal().asked
    }

    /// Waits until the thread is to end (true), or is nudged, or the time is over.
    #[must_use]
    pub fn wait_timeout(&self, timeout: Duration) -> bool {
        let deadline = Instant::now().checked_add(timeout);
        self.wait_until(deadline, |signal| signal.asked || signal.nudged);
        let mut signal = self.signal();
        signal.nudged = false;
        signal.asked
    }

    /// Waits until the thread is to end (true) or is nudged.
    #[must_use]
    pub fn wait(&self) -> bool {
        self.wait_until(None, |signal| signal.asked || signal.nudged);
        let mut signal = self.signal();
        signal.nudged = false;
        signal.asked
    }

    /// Ends the thread's present wait, or its next one. From any thread.
    pub fn nudge(&self) {
        self.signal().nudged = true;
        self.0.changed.notify_all();
    }

    fn ask(&self) {
        self.signal().asked = true;
        self.0.changed.notify_all();
        if let Some(doorbell) = self.0.doorbell.get() {
            // An eventfd's counter is nowhere near its end, which is the one thing that can fail.
            let _ = rustix::io::write(doorbell, &1_u64.to_ne_bytes());
        }
    }

    fn signal(&self) -> MutexGuard<'_, Signal> {
        // A panic elsewhere leaves three flags behind, each right by itself.
        self.0.signal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for `is_over`; false when the deadline came first.
    fn wait_until(&self, deadline: Option<Instant>, is_over: impl Fn(&Signal) -> bool) -> bool {
        let mut signal = self.signal();
        while !is_over(&signal) {
            let Some(deadline) = deadline else {
                signal = self
                    .0
                    .changed
                    .wait(signal)
                    .unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            signal = self
                .0
                .changed
                .wait_timeout(signal, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
        true
    }
}

type Body = Arc<dyn Fn(Stop) + Send + Sync>;

/// The services of the process.
pub struct Services {
    /// Whether [`Services::resume`] has something to do: looked at once a turn.
    waiting: AtomicBool,
    state: Mutex<State>,
}

struct State {
    services: Vec<Service>,
    /// How many threads are about to fork.
    forks: usize,
    /// No thread is started any more.
    ended: bool,
}

struct Service {
    name: &'static str,
    body: Body,
    /// None while it is stopped for a fork, and after the end.
    thread: Option<Thread>,
}

struct Thread {
    stop: Stop,
    handle: JoinHandle<()>,
}

static SERVICES: Services = Services::new();

/// The services of this process.
#[must_use]
pub fn services() -> &'static Services {
    &SERVICES
}

impl Default for Services {
    fn default() -> Services {
        Services::new()
    }
}

impl Services {
    /// No services: what a process has of its own is [`services`].
    #[must_use]
    pub const fn new() -> Services {
        Services {
            waiting: AtomicBool::new(false),
            state: Mutex::new(State {
                services: Vec::new(),
                forks: 0,
                ended: false,
            }),
        }
    }

    /// Starts a service: `body` runs in a new thread called `name` (15 bytes of it are seen in
    /// `top`) until it returns, which it is to do when [`Stop`] says so.
    ///
    /// While the process forks the thread is made afterwards, and after the end never.
    ///
    /// # Errors
    /// `AlreadyExists` for a name that is taken; what the kernel says when there can be no thread.
    pub fn start(
        &self,
        name: &'static str,
        body: impl Fn(Stop) + Send + Sync + 'static,
    ) -> io::Result<()> {
        let mut state = self.state();
        if state.services.iter().any(|service| service.name == name) {
            return Err(io::Error::new(
                io::ErrorKind::AlreadyExists,
                format!("{name} runs already"),
            ));
        }
        let mut service = Service {
            name,
            body: Arc::new(body),
            thread: None,
        };
        if state.forks == 0 && !state.ended {
            service.start()?;
        }
        state.services.push(service);
        Ok(())
    }

    /// Whether a service of that name was started and not stopped.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.state()
            .services
            .iter()
            .any(|service| service.name == name)
    }

    /// Ends the present wait of a service's thread, or the next one.
    pub fn nudge(&self, name: &str) {
        let state = self.state();
        let threads = state
            .services
            .iter()
            .filter(|service| service.name == name)
            .filter_map(|service| service.thread.as_ref());
        for thread in threads {
            thread.stop.nudge();
        }
    }

    /// Stops a service for good.
    pub fn stop(&self, name: &str) -> Stopping {
        let mut state = self.state();
        let found = state
            .services
            .iter()
            .position(|service| service.name == name);
        Stopping::of(found.and_then(|at| state.services.remove(at).thread))
    }

    /// A thread is about to fork: nothing runs, and nothing is started, until
    /// [`Services::end_fork`] and [`Services::resume`].
    pub fn begin_fork(&self) -> Stopping {
        let mut state = self.state();
        state.forks += 1;
        Stopping::of(state.take_threads())
    }

    /// The fork of [`Services::begin_fork`] is made, or has failed, and this is the parent.
    pub fn end_fork(&self) {
        let mut state = self.state();
        state.forks = state.forks.saturating_sub(1);
        let waits = state.forks == 0 && !state.services.is_empty();
        self.waiting.store(waits, Ordering::Relaxed);
    }

    /// Whether services wait for [`Services::resume`].
    #[inline]
    #[must_use]
    pub fn is_waiting(&self) -> bool {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Starts again what was stopped for a fork.
    ///
    /// # Errors
    /// What the kernel says when there can be no thread; that service has ended then.
    pub fn resume(&self) -> io::Result<()> {
        self.waiting.store(false, Ordering::Relaxed);
        let mut state = self.state();
        if state.forks > 0 || state.ended {
            return Ok(());
        }
        let mut outcome = Ok(());
        state.services.retain_mut(|service| {
            if service.thread.is_some() {
                return true;
            }
            match service.start() {
                Ok(()) => true,
                Err(error) => {
                    outcome = Err(error);
                    false
                }
            }
        });
        outcome
    }

    /// This is the child of a fork: there are no services here.
    pub fn forget(&self) {
        let mut state = self.state();
        for service in std::mem::take(&mut state.services) {
            // A thread that would not be stopped is not here, and its handle stands for nothing.
            std::mem::forget(service.thread);
        }
        state.forks = 0;
        self.waiting.store(false, Ordering::Relaxed);
    }

    /// The interpreter ends: all services are stopped, and no thread is started any more.
    pub fn end(&self) -> Stopping {
        let mut state = self.state();
        state.ended = true;
        self.waiting.store(false, Ordering::Relaxed);
        Stopping::of(state.take_threads())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere leaves a table behind that is whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn take_threads(&mut self) -> Vec<Thread> {
        self.services
            .iter_mut()
            .filter_map(|service| service.thread.take())
            .collect()
    }
}

impl Service {
    fn start(&mut self) -> io::Result<()> {
        let stop = Stop::new();
        let (body, own) = (Arc::clone(&self.body), stop.clone());
        let handle = thread::Builder::new()
            .name(self.name.to_owned())
            .spawn(move || run(&body, own))?;
        self.thread = Some(Thread { stop, handle });
        Ok(())
    }
}

/// What a service's thread does.
fn run(body: &Body, stop: Stop) {
    struct End(Stop);
    impl Drop for End {
        fn drop(&mut self) {
            self.0.signal().ended = true;
            self.0.0.changed.notify_all();
        }
    }
    let end = End(stop);
    let number = rustix::thread::gettid().as_raw_nonzero().get();
    end.0
        .0
        .thread
        .store(number.unsigned_abs(), Ordering::Relaxed);
    // It fails for a wrong argument only.
    let _ = signals::block_all();
    body(end.0.clone());
}

/// Threads that were told to end, to be waited for with the interpreter released.
#[must_use = "the threads run until they were waited for"]
pub struct Stopping(Vec<Thread>);

impl Stopping {
    fn of(threads: impl IntoIterator<Item = Thread>) -> Stopping {
        let threads: Vec<_> = threads.into_iter().collect();
        for thread in &threads {
            thread.stop.ask();
        }
        Stopping(threads)
    }

    /// Whether there is nobody to wait for.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Waits for the threads' end, for five seconds at most; one that stops itself is not waited
    /// for. Must not be called with the interpreter held.
    pub fn wait(self) {
        let deadline = Instant::now().checked_add(PATIENCE);
        for Thread { stop, handle } in self.0 {
            let is_own = handle.thread().id() == thread::current().id();
            if !is_own && stop.wait_until(deadline, |signal| signal.ended) {
                // The panic hook has told of a panic.
                let _ = handle.join();
                wait_until_gone(stop.0.thread.load(Ordering::Relaxed));
            }
        }
    }
}

/// Waits until the kernel does not count the thread any more: a thread that was joined may be seen
/// in `/proc` for a moment longer, and Python looks there after a fork.
fn wait_until_gone(thread: u32) {
    let path = format!("/proc/self/task/{thread}");
    for _ in 0..200 {
        if fs::symlink_metadata(&path).is_err() {
            return;
        }
        thread::sleep(Duration::from_micros(50));
    }
}
