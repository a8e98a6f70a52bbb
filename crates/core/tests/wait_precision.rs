//! Waits last as long as they were asked to, to the nanosecond where the kernel can, and are as
//! precise where it cannot.

mod support;

use std::io::{self, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use ferrio_core::reactor::{Epoll, Precision};
use ferrio_core::{Event, Interest, Readiness, Token};

const BOTH: [Precision; 2] = [Precision::Native, Precision::Polled];

fn wait(epoll: &Epoll, timeout: Option<Duration>) -> io::Result<Vec<Event>> {
    let mut events = Vec::new();
    epoll.wait(&mut events, timeout)?;
    Ok(events)
}

#[test]
fn short_waits_are_never_too_short_and_not_rounded_to_milliseconds() -> io::Result<()> {
    let timeout = Duration::from_micros(150);
    for precision in BOTH {
        let epoll = Epoll::with_precision(precision)?;
        let mut best = Duration::MAX;
        for _ in 0..200 {
            let started = Instant::now();
            assert_eq!(wait(&epoll, Some(timeout))?, []);
            let waited = started.elapsed();
            assert!(waited >= timeout, "{precision:?} waited {waited:?}");
            best = best.min(waited);
        }
        assert!(best < Duration::from_millis(1), "{precision:?}: {best:?}");
    }
    Ok(())
}

#[test]
fn whole_milliseconds_and_zero_are_waited_for() -> io::Result<()> {
    for precision in BOTH {
        let epoll = Epoll::with_precision(precision)?;
        let started = Instant::now();
        assert_eq!(wait(&epoll, Some(Duration::ZERO))?, []);
        assert_eq!(wait(&epoll, Some(Duration::from_millis(2)))?, []);
        assert!(started.elapsed() >= Duration::from_millis(2));
    }
    Ok(())
}

#[test]
fn an_event_ends_a_short_wait_and_leaves_nothing_behind() -> io::Result<()> {
    let short = Some(Duration::from_nanos(1_500_001));
    for precision in BOTH {
        let epoll = Epoll::with_precision(precision)?;
        let (reader, mut writer) = UnixStream::pair()?;
        epoll.register(reader.as_raw_fd(), Token(1), Interest::READABLE)?;
        writer.write_all(b"x")?;
        let event = Event {
            token: Token(1),
            readiness: Readiness::READABLE,
        };
        assert_eq!(wait(&epoll, short)?, [event]);
        epoll.deregister(reader.as_raw_fd())?;
        assert_eq!(wait(&epoll, short)?, []);
        let started = Instant::now();
        assert_eq!(wait(&epoll, Some(Duration::from_millis(10)))?, []);
        assert!(started.elapsed() >= Duration::from_millis(10));
    }
    Ok(())
}
