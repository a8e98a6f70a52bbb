//! Threads for what blocks: they start on demand, end when idle, and survive their jobs.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use ferrio_core::pool::{BlockingPool, PoolOptions, PoolStats, SpawnError, Unstarted};

const PATIENCE: Duration = Duration::from_secs(30);

fn pool_of(max_threads: usize) -> BlockingPool {
    BlockingPool::new(PoolOptions {
        max_threads,
        ..PoolOptions::default()
    })
}

/// Waits until the pool is as `expected`.
fn wait_for(pool: &BlockingPool, expected: PoolStats) {
    let give_up_at = Instant::now() + PATIENCE;
    while pool.stats() != expected {
        assert!(Instant::now() < give_up_at, "it stays {:?}", pool.stats());
        thread::sleep(Duration::from_millis(1));
    }
}

/// A job that is busy until its sender is dropped.
fn busy(pool: &BlockingPool) -> mpsc::Sender<()> {
    let (sender, receiver) = mpsc::channel::<()>();
    let (started, has_started) = mpsc::channel();
    pool.spawn(move || {
        started.send(()).expect("the test listens");
        // An error says that the sender is gone, which is what is waited for.
        let _ = receiver.recv();
    })
    .expect("the pool takes it");
    has_started.recv().expect("the job runs");
    sender
}

#[test]
fn jobs_run_on_threads_with_the_pools_name() {
    let pool = pool_of(2);
    assert_eq!(pool.stats().threads, 0, "none before the first job");
    let (sender, receiver) = mpsc::channel();
    pool.spawn(move || {
        let name = thread::current().name().map(str::to_owned);
        sender.send(name).expect("the test listens");
    })
    .expect("the pool takes it");
    let name = receiver.recv_timeout(PATIENCE).expect("the job runs");
    assert_eq!(name.as_deref(), Some("ferrio-blocking"));
}

#[test]
fn one_thread_runs_jobs_in_order() {
    let pool = pool_of(1);
    let order = Arc::new(Mutex::new(Vec::new()));
    for number in 0..100 {
        let order = Arc::clone(&order);
        pool.spawn(move || order.lock().expect("no job panics").push(number))
            .expect("the pool takes it");
    }
    pool.shut_down(Unstarted::Run);
    pool.join();
    assert!(
        order
            .lock()
            .expect("no job panicked")
            .iter()
            .copied()
            .eq(0..100)
    );
}

#[test]
fn threads_start_while_none_is_idle_and_up_to_the_limit() {
    let pool = pool_of(3);
    let busy: Vec<_> = (0..3).map(|_| busy(&pool)).collect();
    assert_eq!(pool.stats().threads, 3);
    pool.spawn(|| ()).expect("the pool takes it");
    assert_eq!(
        pool.stats(),
        PoolStats {
            threads: 3,
            idle: 0,
            queued: 1
        }
    );
    drop(busy);
    wait_for(
        &pool,
        PoolStats {
            threads: 3,
            idle: 3,
            queued: 0,
        },
    );
    pool.spawn(|| ()).expect("the pool takes it");
    assert_eq!(pool.stats().threads, 3, "an idle one is used");
}

#[test]
fn jobs_that_wait_for_each_other_all_get_a_thread() {
    let pool = pool_of(8);
    let barrier = Arc::new(Barrier::new(8));
    for _ in 0..8 {
        let barrier = Arc::clone(&barrier);
        pool.spawn(move || {
            barrier.wait();
        })
        .expect("the pool takes it");
    }
    pool.shut_down(Unstarted::Run);
    assert!(pool.join_timeout(PATIENCE));
}

#[test]
fn idle_threads_end_and_new_ones_start() {
    let pool = BlockingPool::new(PoolOptions {
        idle_timeout: Duration::from_millis(5),
        ..PoolOptions::default()
    });
    let nothing = PoolStats {
        threads: 0,
        idle: 0,
        queued: 0,
    };
    for _ in 0..3 {
        drop(busy(&pool));
        wait_for(&pool, nothing);
    }
}

#[test]
fn a_panic_is_reported_and_costs_nobody_anything() {
    let (sender, receiver) = mpsc::channel();
    let sender = Mutex::new(sender);
    let pool = BlockingPool::new(PoolOptions {
        max_threads: 1,
        on_panic: Arc::new(move |payload| {
            let message = payload.downcast_ref::<&str>().map(ToString::to_string);
            let sender = sender.lock().expect("reporting does not panic");
            sender.send(message).expect("the test listens");
        }),
        ..PoolOptions::default()
    });
    pool.spawn(|| panic!("on purpose"))
        .expect("the pool takes it");
    let (ran, has_run) = mpsc::channel();
    pool.spawn(move || ran.send(()).expect("the test listens"))
        .expect("the pool takes it");
    let message = receiver.recv_timeout(PATIENCE).expect("it is reported");
    assert_eq!(message.as_deref(), Some("on purpose"));
    has_run.recv_timeout(PATIENCE).expect("the thread goes on");
    assert_eq!(pool.stats().threads, 1);
}

#[test]
fn a_reporter_that_panics_costs_nobody_anything_either() {
    let pool = BlockingPool::new(PoolOptions {
        max_threads: 1,
        on_panic: Arc::new(|_| panic!("the reporter, on purpose")),
        ..PoolOptions::default()
    });
    let runs = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let runs = Arc::clone(&runs);
        pool.spawn(move || {
            runs.fetch_add(1, Ordering::Relaxed);
            panic!("the job, on purpose");
        })
        .expect("the pool takes it");
    }
    pool.shut_down(Unstarted::Run);
    assert!(pool.join_timeout(PATIENCE));
    assert_eq!(runs.load(Ordering::Relaxed), 3);
}

#[test]
fn a_shutdown_refuses_jobs_and_runs_those_it_has() {
    let pool = pool_of(1);
    let blocker = busy(&pool);
    let runs = Arc::new(AtomicUsize::new(0));
    for _ in 0..3 {
        let runs = Arc::clone(&runs);
        pool.spawn(move || {
            runs.fetch_add(1, Ordering::Relaxed);
        })
        .expect("the pool takes it");
    }
    pool.shut_down(Unstarted::Run);
    let refused = pool.spawn(|| ()).expect_err("it is shut down");
    assert!(matches!(refused, SpawnError::ShutDown));
    assert!(!pool.join_timeout(Duration::from_millis(5)), "one is busy");
    drop(blocker);
    pool.join();
    assert_eq!(runs.load(Ordering::Relaxed), 3);
}

#[test]
fn a_shutdown_may_discard_what_has_not_begun() {
    let pool = pool_of(1);
    let blocker = busy(&pool);
    let witness = Arc::new(());
    let held = Arc::clone(&witness);
    pool.spawn(move || drop(held)).expect("the pool takes it");
    pool.shut_down(Unstarted::Discard);
    assert_eq!(Arc::strong_count(&witness), 1, "the job was dropped");
    drop(blocker);
    assert!(pool.join_timeout(PATIENCE));
}

#[test]
fn a_job_may_use_the_pool_and_so_may_its_drop() {
    struct SpawnOnDrop(Arc<BlockingPool>);
    impl Drop for SpawnOnDrop {
        fn drop(&mut self) {
            let refused = self.0.spawn(|| ()).expect_err("it is shut down");
            assert!(matches!(refused, SpawnError::ShutDown));
        }
    }
    let pool = Arc::new(pool_of(1));
    let (sender, receiver) = mpsc::channel();
    let own = Arc::clone(&pool);
    pool.spawn(move || {
        own.spawn(move || sender.send(()).expect("the test listens"))
            .expect("the pool takes it");
    })
    .expect("the pool takes it");
    receiver
        .recv_timeout(PATIENCE)
        .expect("the second job runs");

    let blocker = busy(&pool);
    let guard = SpawnOnDrop(Arc::clone(&pool));
    pool.spawn(move || drop(guard)).expect("the pool takes it");
    pool.shut_down(Unstarted::Discard);
    drop(blocker);
    pool.join();
}

#[test]
fn dropping_the_pool_lets_its_jobs_finish() {
    let (sender, receiver) = mpsc::channel();
    let pool = pool_of(1);
    for number in 0..3 {
        let sender = sender.clone();
        pool.spawn(move || sender.send(number).expect("the test listens"))
            .expect("the pool takes it");
    }
    drop((pool, sender));
    assert!(receiver.iter().eq(0..3));
}
