//! The life of services: started, stopped for a fork, started again, ended.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use ferrio_inspect::services::{Services, Stop};

/// A body that tells when it begins and when it ends, and waits in between.
fn telling() -> (
    impl Fn(Stop) + Send + Sync + 'static,
    Receiver<&'static str>,
) {
    let (sender, receiver) = channel();
    let body = move |stop: Stop| {
        sender.send("began").unwrap();
        while !stop.wait() {
            sender.send("nudged").unwrap();
        }
        sender.send("ended").unwrap();
    };
    (body, receiver)
}

fn waits(stop: Stop) {
    assert!(stop.wait());
}

#[test]
fn a_stopped_service_has_ended() {
    let services = Services::new();
    let (body, told) = telling();
    services.start("one", body).unwrap();
    assert_eq!(told.recv().unwrap(), "began");
    assert!(services.has("one"));
    services.nudge("one");
    assert_eq!(told.recv().unwrap(), "nudged");
    services.stop("one").wait();
    assert_eq!(told.try_recv().unwrap(), "ended");
    assert!(!services.has("one"));
    assert!(services.stop("one").is_empty());
}

#[test]
fn a_name_is_taken_once() {
    let services = Services::new();
    services.start("one", waits).unwrap();
    let error = services.start("one", waits).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
    services.end().wait();
}

#[test]
fn no_thread_is_there_while_the_process_forks() {
    let services = Services::new();
    let (body, told) = telling();
    services.start("one", body).unwrap();
    assert_eq!(told.recv().unwrap(), "began");

    services.begin_fork().wait();
    assert_eq!(told.try_recv().unwrap(), "ended");
    let (late, late_told) = telling();
    services.start("late", late).unwrap();
    // Another thread forks at the same time.
    assert!(services.begin_fork().is_empty());
    services.end_fork();
    services.resume().unwrap();
    assert!(!services.is_waiting() && told.try_recv().is_err());

    services.end_fork();
    assert!(services.is_waiting() && late_told.try_recv().is_err());
    services.resume().unwrap();
    assert_eq!(told.recv().unwrap(), "began");
    assert_eq!(late_told.recv().unwrap(), "began");
    services.end().wait();
    assert_eq!(late_told.try_recv().unwrap(), "ended");
}

#[test]
fn nothing_starts_after_the_end() {
    let services = Services::new();
    services.end().wait();
    let runs = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&runs);
    services
        .start("one", move |_| {
            counted.fetch_add(1, Ordering::Relaxed);
        })
        .unwrap();
    services.resume().unwrap();
    assert!(services.end().is_empty());
    assert_eq!(runs.load(Ordering::Relaxed), 0);
}

#[test]
fn the_child_of_a_fork_has_none() {
    let services = Services::new();
    let (body, told) = telling();
    services.start("one", body).unwrap();
    services.begin_fork().wait();
    services.forget();
    services.resume().unwrap();
    assert!(!services.has("one") && !services.is_waiting());
    assert_eq!(told.iter().collect::<Vec<_>>(), ["began", "ended"]);
    // And can have its own.
    let (body, told) = telling();
    services.start("one", body).unwrap();
    assert_eq!(told.recv().unwrap(), "began");
    services.end().wait();
}

#[test]
fn a_thread_that_waits_for_descriptors_is_woken_too() {
    use rustix::event::{PollFd, PollFlags, poll};

    let services = Services::new();
    services
        .start("one", |stop| {
            let mut watched = [PollFd::from_borrowed_fd(
                stop.doorbell().unwrap(),
                PollFlags::IN,
            )];
            while poll(&mut watched, None) != Ok(1) {}
            assert!(stop.is_asked() && stop.wait_timeout(Duration::from_secs(60)));
        })
        .unwrap();
    services.stop("one").wait();
}

#[test]
fn a_service_may_stop_itself() {
    static SERVICES: Services = Services::new();
    let (sender, receiver) = channel();
    SERVICES
        .start("one", move |stop| {
            SERVICES.stop("one").wait();
            sender.send(stop.is_asked()).unwrap();
        })
        .unwrap();
    assert!(receiver.recv().unwrap());
}

#[test]
fn a_panic_ends_a_service_and_nothing_else() {
    let services = Services::new();
    services
        .start("one", |_| panic!("a test's, to be seen here"))
        .unwrap();
    let (body, told) = telling();
    services.start("other", body).unwrap();
    assert_eq!(told.recv().unwrap(), "began");
    services.stop("one").wait();
    services.end().wait();
    assert_eq!(told.recv().unwrap(), "ended");
}
