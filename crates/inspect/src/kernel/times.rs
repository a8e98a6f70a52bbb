//! How long a thread ran, and how long it waited for a processor.

use std::time::Duration;

use super::read_file;

/// A thread's times since it began.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Times {
    /// On a processor. Written when the thread is switched, and at ticks: see [`cpu_time`].
    pub ran: Duration,
    /// Ready to run, without a processor. Written when it gets one.
    pub delayed: Duration,
}

/// The times that the kernel keeps for the scheduler; `None` when the thread has ended, or the
/// kernel does not say.
#[must_use]
pub fn times(thread: u32) -> Option<Times> {
    parse_schedstat(&read_file(thread, "schedstat").ok()?)
}

/// How long a thread of this process was on a processor, up to this moment; `None` when it has
/// ended.
#[must_use]
pub fn cpu_time(thread: u32) -> Option<Duration> {
    // A thread's clock is numbered by the complement of its number; the lowest bits say that it is
    // a thread's, and that it counts what the scheduler counts.
    let clock = (!thread.cast_signed() << 3) | 0b110;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: the kernel writes the time, or refuses a number that is none.
    let status = unsafe { libc::clock_gettime(clock, &raw mut time) };
    let seconds = u64::try_from(time.tv_sec).ok()?;
    let nanoseconds = u32::try_from(time.tv_nsec).ok()?;
    (status == 0).then(|| Duration::new(seconds, nanoseconds))
}

/// Nanoseconds run, nanoseconds waited, and how often.
fn parse_schedstat(text: &str) -> Option<Times> {
    let mut words = text.split_ascii_whitespace();
    let mut next = || Some(Duration::from_nanos(words.next()?.parse().ok()?));
    Some(Times {
        ran: next()?,
        delayed: next()?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schedstat_file() {
        assert_eq!(
            parse_schedstat("5000000 300 12\n"),
            Some(Times {
                ran: Duration::from_millis(5),
                delayed: Duration::from_nanos(300),
            })
        );
        for text in ["", "1\n", "a b c\n", "-1 2 3\n"] {
            assert_eq!(parse_schedstat(text), None, "{text:?}");
        }
    }

    #[test]
    fn the_clock_of_a_thread_goes_on_while_it_runs() {
        // SAFETY: asks for a number.
        let thread = unsafe { libc::gettid() }.unsigned_abs();
        let before = cpu_time(thread).expect("this thread has not ended");
        while cpu_time(thread).expect("it goes on") < before + Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        assert_eq!(cpu_time(u32::MAX >> 4), None);
    }
}
