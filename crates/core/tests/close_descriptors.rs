//! Closing frees the file descriptors, though others still hold the loop and its injector. One
//! test in this file, because it counts all descriptors of its process.

use std::fs;
use std::io;

use ferrio_core::{EventLoop, Options};

fn open_descriptors() -> usize {
    fs::read_dir("/proc/self/fd").expect("Linux has it").count()
}

#[test]
fn a_closed_loop_holds_no_descriptors() -> io::Result<()> {
    let before = open_descriptors();
    let event_loop = EventLoop::<()>::new(Options::new()?)?;
    let injector = event_loop.injector();
    event_loop.signal_fd()?;
    assert_eq!(open_descriptors(), before + 4, "epoll, eventfd and a pipe");
    drop(event_loop.close());
    assert_eq!(open_descriptors(), before);
    assert_eq!(injector.push(()), Err(()));
    Ok(())
}
