//! The runtime of ferrio's event loop, without Python.

mod clock;
mod driver;
mod event_loop;
mod inject;
mod instant;
mod poll_policy;
pub mod reactor;
mod ready;
mod signal;
mod sync;
mod timer;

pub use clock::{Clock, VirtualClock};
pub use driver::Driver;
pub use event_loop::{EventLoop, Options};
pub use inject::InjectQueue;
pub use instant::Instant;
pub use reactor::{Event, Interest, Reactor, Readiness, Token, Waker};
pub use signal::SignalPipe;
pub use timer::{TimerHeap, TimerKey};
