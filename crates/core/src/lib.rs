//! The runtime of ferrio's event loop, without Python.
//!
//! An [`EventLoop`] runs *entries* of a type `T` that it knows nothing about. Whoever runs the loop
//! brings a [`Driver`], which gives entries, I/O events and signals their meaning. The Python
//! extension is one driver; the tests of this crate are others.
//!
//! ```text
//!  one turn
//!    prepare   don't wait if entries are ready, else until the next deadline
//!    wait      Reactor::wait, inside Driver::wait
//!    collect   injected entries, signals, I/O events, due timers become ready entries
//!    drain     Driver::run for exactly the entries that are ready now
//! ```
//!
//! | part | what it is |
//! |---|---|
//! | [`EventLoop`], [`Driver`] | one thread's dispatcher, and what it asks of its user |
//! | [`TimerHeap`], [`Instant`], [`Clock`] | deadlines in nanoseconds, on the monotonic clock or a virtual one |
//! | [`InjectQueue`], [`Waker`] | the one way in from other threads |
//! | [`Reactor`] | readiness of file descriptors: epoll, or a test's script |
//! | [`SignalPipe`] | from a signal handler to the loop |
//! | [`WriteBuffer`], [`DatagramBuffer`] | what a transport has to send, and its flow control |
//! | [`RecordStream`] | whether a whole TLS record has arrived |
//! | [`BlockingPool`] | threads for what blocks |
//!
//! Only [`InjectQueue`], [`Waker`], [`BlockingPool`] and [`VirtualClock`] may be used by several
//! threads; everything else belongs to the loop's owner.
//!
//! # Example
//!
//! Entries that are closures, on a virtual clock: an hour passes at once.
//!
//! ```
//! use std::io;
//! use std::time::Duration;
//!
//! use ferrio_core::{Clock, Driver, Event, EventLoop, Instant, Options, VirtualClock};
//!
//! struct Call(Box<dyn FnOnce(&EventLoop<Call>)>);
//!
//! struct CallEach;
//!
//! impl Driver<Call> for CallEach {
//!     type Error = io::Error;
//!
//!     fn event(&mut self, _: &EventLoop<Call>, _: Event) -> io::Result<()> {
//!         Ok(()) // Nothing is registered here.
//!     }
//!
//!     fn run(&mut self, event_loop: &EventLoop<Call>, entry: Call) -> io::Result<()> {
//!         (entry.0)(event_loop);
//!         Ok(())
//!     }
//! }
//!
//! fn main() -> io::Result<()> {
//!     let clock = Clock::Virtual(VirtualClock::new());
//!     let event_loop = EventLoop::new(Options { clock, ..Options::new()? })?;
//!
//!     event_loop.push_ready(Call(Box::new(|event_loop| {
//!         let in_an_hour = event_loop.now().saturating_add(Duration::from_secs(3600));
//!         event_loop.add_timer(in_an_hour, Call(Box::new(EventLoop::stop)));
//!     })));
//!     event_loop.run(&mut CallEach)?;
//!
//!     assert_eq!(event_loop.now(), Instant::from_secs_f64(3600.0));
//!     Ok(())
//! }
//! ```

#[cfg(not(target_os = "linux"))]
compile_error!(
    "ferrio has a reactor for Linux only; DESIGN.md says what macOS and Windows would take"
);

mod clock;
mod datagram_buffer;
mod driver;
mod event_loop;
pub mod flow_control;
mod inject;
mod instant;
pub mod job_queue;
mod poll_policy;
pub mod pool;
pub mod reactor;
mod ready;
mod signal;
mod sync;
mod timer;
mod timer_slack;
mod tls_records;
pub mod write_buffer;

pub use clock::{Clock, VirtualClock, monotonic_now};
pub use datagram_buffer::DatagramBuffer;
pub use driver::Driver;
pub use event_loop::{EventLoop, Options};
pub use inject::InjectQueue;
pub use instant::Instant;
pub use job_queue::JobQueue;
pub use pool::BlockingPool;
pub use reactor::{Event, Interest, Reactor, Readiness, Token, Waker};
pub use signal::SignalPipe;
pub use timer::{TimerHeap, TimerKey};
pub use tls_records::RecordStream;
pub use write_buffer::WriteBuffer;
