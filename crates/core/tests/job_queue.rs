//! Jobs and the threads that do them: nothing is lost, whenever it is announced.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use ferrio_core::job_queue::{Announcement, JobQueue, Pushed, Ticket, WARM};

const PATIENCE: Duration = Duration::from_secs(20);

/// Waits until so many threads are idle.
fn wait_for_idle<J>(queue: &JobQueue<J>, count: usize) {
    while queue.stats().idle != count {
        thread::yield_now();
    }
}

/// Pushes a job for which there is no thread yet.
fn push_for_a_thread<J>(queue: &JobQueue<J>, job: J) -> Ticket {
    match queue.push(job, Announcement::Now) {
        Ok(Pushed::WantsThread(ticket)) => ticket,
        Ok(pushed) => panic!("no thread was wanted: {pushed:?}"),
        Err(_) => panic!("the queue is shut down"),
    }
}

#[test]
fn threads_are_wanted_up_to_the_limit() {
    let queue = JobQueue::new(2);
    push_for_a_thread(&queue, 1);
    push_for_a_thread(&queue, 2);
    assert_eq!(queue.push(3, Announcement::Now), Ok(Pushed::Taken));
    assert_eq!(queue.stats().queued, 3);
}

#[test]
fn a_thread_that_could_not_be_started_gives_the_only_job_back() {
    let queue = JobQueue::new(2);
    let first = push_for_a_thread(&queue, 1);
    assert_eq!(queue.thread_failed(first), Some(1));
    push_for_a_thread(&queue, 2);
    queue.thread_began();
    let third = push_for_a_thread(&queue, 3);
    // The thread that has begun will come to both.
    assert_eq!(queue.thread_failed(third), None);
    assert_eq!(queue.stats().queued, 2);
}

#[test]
fn of_two_threads_that_could_not_be_started_each_gives_its_own_job_back() {
    for backwards in [false, true] {
        let queue = JobQueue::new(2);
        let mut tickets = [1, 2].map(|job| (push_for_a_thread(&queue, job), job));
        if backwards {
            tickets.reverse();
        }
        for (ticket, job) in tickets {
            assert_eq!(queue.thread_failed(ticket), Some(job));
        }
        assert_eq!(queue.stats().queued, 0);
        assert_eq!(queue.stats().threads, 0);
    }
}

#[test]
fn after_a_shutdown_what_is_queued_is_done_and_nothing_is_taken() {
    let queue = JobQueue::new(1);
    push_for_a_thread(&queue, 1);
    queue.shut_down();
    assert_eq!(queue.push(2, Announcement::Now), Err(2));
    queue.thread_began();
    assert_eq!(queue.next(|| {}), Some(1));
    assert_eq!(queue.next(|| {}), None);
    assert_eq!(queue.stats().threads, 0);
}

#[test]
fn what_has_not_begun_can_be_taken_out() {
    let queue = JobQueue::new(1);
    for job in 0..3 {
        assert!(queue.push(job, Announcement::MayWait).is_ok());
    }
    assert_eq!(queue.take_waiting(), [0, 1, 2]);
    queue.shut_down();
    queue.thread_began();
    assert_eq!(queue.next(|| {}), None);
}

#[test]
fn a_shutdown_ends_threads_that_wait() {
    let queue = Arc::new(JobQueue::<u32>::new(3));
    for _ in 0..3 {
        push_for_a_thread(&queue, 0);
    }
    let threads = [(); 3].map(|()| {
        let queue = Arc::clone(&queue);
        thread::spawn(move || {
            queue.thread_began();
            while queue.next(|| {}).is_some() {}
        })
    });
    wait_for_idle(&queue, 3);
    queue.shut_down();
    for thread in threads {
        thread.join().expect("it does not panic");
    }
}

#[test]
fn a_thread_is_idle_when_it_says_that_a_job_is_done() {
    let queue = Arc::new(JobQueue::new(4));
    let (done, is_done) = channel();
    let worker = Arc::clone(&queue);
    push_for_a_thread(&queue, 0);
    let thread = thread::spawn(move || {
        let mut last = None;
        worker.thread_began();
        while let Some(job) = worker.next(|| {
            if let Some(job) = last {
                done.send(job).expect("somebody listens");
            }
        }) {
            last = Some(job);
        }
    });
    for job in 1..2_000 {
        assert_eq!(is_done.recv_timeout(PATIENCE), Ok(job - 1));
        let announcement = if job % 2 == 0 {
            Announcement::Now
        } else {
            Announcement::MayWait
        };
        // Never one more thread.
        match queue.push(job, announcement) {
            Ok(Pushed::Taken) => {}
            Ok(Pushed::Unannounced) => queue.announce(),
            other => panic!("{other:?}"),
        }
    }
    queue.shut_down();
    thread.join().expect("it does not panic");
}

#[test]
fn a_job_that_is_never_announced_is_done_all_the_same() {
    let queue = Arc::new(JobQueue::new(1));
    let (done, is_done) = channel();
    let worker = Arc::clone(&queue);
    push_for_a_thread(&queue, 0);
    let thread = thread::spawn(move || {
        worker.thread_began();
        while let Some(job) = worker.next(|| {}) {
            done.send(job).expect("somebody listens");
        }
    });
    let mut deferred = 0;
    for job in 1..200 {
        assert_eq!(is_done.recv_timeout(PATIENCE), Ok(job - 1));
        wait_for_idle(&queue, 1);
        deferred += usize::from(queue.push(job, Announcement::MayWait) == Ok(Pushed::Unannounced));
    }
    assert_eq!(is_done.recv_timeout(PATIENCE), Ok(199));
    assert!(deferred > 0);
    queue.shut_down();
    thread.join().expect("it does not panic");
}

#[test]
fn a_thread_that_has_been_idle_for_long_is_woken_at_once() {
    let queue = Arc::new(JobQueue::new(1));
    push_for_a_thread(&queue, 0);
    let worker = Arc::clone(&queue);
    let thread = thread::spawn(move || {
        worker.thread_began();
        while worker.next(|| {}).is_some() {}
    });
    wait_for_idle(&queue, 1);
    loop {
        thread::sleep(2 * WARM);
        match queue.push(0, Announcement::MayWait) {
            Ok(Pushed::Taken) => break,
            // The machine was slow: the thread had not gone cold yet.
            Ok(Pushed::Unannounced) => wait_for_idle(&queue, 1),
            other => panic!("{other:?}"),
        }
    }
    queue.shut_down();
    thread.join().expect("it does not panic");
}

#[test]
fn many_jobs_by_many_threads_are_done_once_each() {
    let queue = Arc::new(JobQueue::new(8));
    let (done, is_done) = channel();
    let mut threads = Vec::new();
    for job in 0..5_000_usize {
        let announcement = if job % 3 == 0 {
            Announcement::Now
        } else {
            Announcement::MayWait
        };
        if queue
            .push(job, announcement)
            .is_ok_and(|pushed| matches!(pushed, Pushed::WantsThread(_)))
        {
            let (queue, done) = (Arc::clone(&queue), done.clone());
            threads.push(thread::spawn(move || {
                queue.thread_began();
                while let Some(job) = queue.next(|| {}) {
                    done.send(job).expect("somebody listens");
                }
            }));
        }
        if job % 100 == 0 {
            queue.announce();
        }
    }
    assert!(threads.len() <= 8);
    let mut all: Vec<usize> = (0..5_000)
        .map(|_| is_done.recv_timeout(PATIENCE).expect("every job is done"))
        .collect();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..5_000));
    queue.shut_down();
    for thread in threads {
        thread.join().expect("it does not panic");
    }
}

#[test]
fn a_deferred_job_does_not_rely_on_a_thread_that_was_woken_for_another() {
    let queue = Arc::new(JobQueue::new(2));
    let (done, is_done) = channel();
    let gate = Arc::new(std::sync::Barrier::new(2));
    // Both are wanted before either looks.
    for _ in 0..2 {
        push_for_a_thread(&queue, 0);
    }
    let threads = [(); 2].map(|()| {
        let (queue, done, gate) = (Arc::clone(&queue), done.clone(), Arc::clone(&gate));
        thread::spawn(move || {
            queue.thread_began();
            while let Some(job) = queue.next(|| {}) {
                if job == 1 {
                    gate.wait();
                }
                done.send(job).expect("somebody listens");
            }
        })
    });
    for _ in 0..2 {
        assert_eq!(is_done.recv_timeout(PATIENCE), Ok(0));
    }
    for _ in 0..200 {
        // One thread goes cold after the other has begun to wait, so that the warm one is woken
        // first.
        for _ in 0..2 {
            wait_for_idle(&queue, 2);
            assert_eq!(queue.push(0, Announcement::Now), Ok(Pushed::Taken));
            assert_eq!(is_done.recv_timeout(PATIENCE), Ok(0));
            thread::sleep(WARM * 3 / 5);
        }
        wait_for_idle(&queue, 2);
        // This one blocks its thread until the next job is done.
        assert_eq!(queue.push(1, Announcement::Now), Ok(Pushed::Taken));
        assert!(queue.push(2, Announcement::MayWait).is_ok());
        assert_eq!(is_done.recv_timeout(PATIENCE), Ok(2));
        gate.wait();
        assert_eq!(is_done.recv_timeout(PATIENCE), Ok(1));
    }
    queue.shut_down();
    for thread in threads {
        thread.join().expect("it does not panic");
    }
}
