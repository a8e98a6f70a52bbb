//! Closing gives everything back and works once and for all.

mod support;

use std::io;
use std::rc::Rc;

use ferrio_core::{EventLoop, Instant, Interest, Token};
use support::{Log, Runner, at_millis, call, real_loop};

#[test]
fn every_entry_comes_back() -> io::Result<()> {
    let (event_loop, log) = (real_loop(), Log::default());
    event_loop.push_ready(log.entry("ready"));
    event_loop.add_timer(at_millis(1), log.entry("timer"));
    let cancelled = event_loop.add_timer(at_millis(2), log.entry("cancelled"));
    drop(event_loop.cancel_timer(cancelled));
    assert!(event_loop.injector().push(log.entry("injected")).is_ok());
    assert_eq!(event_loop.close().len(), 3);
    assert_eq!(event_loop.close().len(), 0);
    assert_eq!((event_loop.ready_len(), event_loop.timer_count()), (0, 0));
    assert_eq!(log.take(), "");
    Ok(())
}

#[test]
fn a_closed_loop_watches_and_runs_nothing() -> io::Result<()> {
    let event_loop = real_loop();
    event_loop.signal_fd()?;
    drop(event_loop.close());
    let bad_file = Some(9);
    let errno = |result: io::Result<()>| result.expect_err("it is closed").raw_os_error();
    assert_eq!(
        errno(event_loop.register(0, Token(1), Interest::READABLE)),
        bad_file
    );
    assert_eq!(
        errno(event_loop.modify(0, Token(1), Interest::READABLE)),
        bad_file
    );
    assert_eq!(errno(event_loop.signal_fd().map(drop)), bad_file);
    assert_eq!(errno(event_loop.run(&mut Runner::default())), bad_file);
    event_loop.deregister(0)
}

/// An entry that is dropped may use the loop that it comes from.
#[test]
fn entries_may_use_the_loop_while_they_are_dropped() {
    struct UseOnDrop(Rc<support::Loop>);
    impl Drop for UseOnDrop {
        fn drop(&mut self) {
            self.0.push_ready(call(EventLoop::stop));
            let key = self.0.add_timer(Instant::MAX, call(|_| ()));
            self.0.cancel_timer(key);
        }
    }
    let event_loop = Rc::new(real_loop());
    for _ in 0..3 {
        let guard = UseOnDrop(Rc::clone(&event_loop));
        event_loop.push_ready(call(move |_| drop(guard)));
    }
    drop(event_loop.close());
    assert_eq!(event_loop.ready_len(), 3);
}
