//! How much later than asked for the kernel may wake this thread.

use std::num::NonZeroU64;

use rustix::thread::{current_timer_slack, set_current_timer_slack};

/// Nanoseconds. The kernel's own choice is 50 µs, a twentieth of a timer of 1 ms.
const SLACK: NonZeroU64 = NonZeroU64::new(1_000).expect("not zero");

/// While it lives the thread that made it is woken by its timers nearly on time.
#[derive(Debug)]
pub(crate) struct TimerSlack {
    before: Option<NonZeroU64>,
}

impl TimerSlack {
    /// Shortens this thread's slack, if it is longer and the kernel lets us.
    pub(crate) fn shorten() -> Self {
        let before = current_timer_slack()
            .ok()
            .and_then(NonZeroU64::new)
            .filter(|&slack| slack > SLACK && set_current_timer_slack(Some(SLACK)).is_ok());
        Self { before }
    }
}

impl Drop for TimerSlack {
    fn drop(&mut self) {
        if let Some(before) = self.before {
            // What could be set once can be set back; where a sandbox has closed meanwhile, timers
            // stay precise.
            let _ = set_current_timer_slack(Some(before));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_put_back() {
        let before = current_timer_slack();
        let outer = TimerSlack::shorten();
        assert!(current_timer_slack().is_ok_and(|slack| slack <= SLACK.get()));
        // A loop within a loop has nothing to do.
        drop(TimerSlack::shorten());
        assert!(current_timer_slack().is_ok_and(|slack| slack <= SLACK.get()));
        drop(outer);
        assert_eq!(current_timer_slack(), before);
    }
}
