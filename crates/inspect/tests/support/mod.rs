//! A picture that does not change.

// Every test file is a crate of its own and uses a part of this.
#![allow(dead_code, unreachable_pub)]

use std::time::Duration;

use ferrio_inspect::counters::TransportKind;
use ferrio_inspect::metrics::{
    BlockMetrics, CallMetrics, CoroutineMetrics, InterpreterMetrics, LoopMetrics, Metrics,
    QueueMetrics, StepTimes, TransportMetrics, WaitMetrics,
};
use ferrio_inspect::snapshot::{Loop, Running, Site, Snapshot, WaitKind};
use ferrio_inspect::{Distribution, Histogram, Source};

pub struct Fixed;

impl Source for Fixed {
    fn snapshot(&self, _patience: Duration) -> Snapshot {
        Snapshot {
            process: 42,
            command: vec!["python".to_owned(), "chat.py".to_owned()],
            python: "3.13.0".to_owned(),
            ferrio: "0.1.0".to_owned(),
            taken_at: 100.0,
            tasks_at: 99.5,
            queues: Vec::new(),
            loops: vec![Loop {
                id: 1,
                thread: Some(43),
                running: Running::Waiting,
                turns: 10,
                ready: 0,
                timers: 2,
                tasks: Vec::new(),
                resources: Vec::new(),
            }],
        }
    }

    fn metrics(&self) -> Metrics {
        metrics()
    }
}

fn distribution(durations: &[u64]) -> Distribution {
    let histogram = Histogram::new();
    for &duration in durations {
        histogram.add(duration);
    }
    histogram.read()
}

fn calls(submitted: u64, wait: &[u64], run: &[u64]) -> CallMetrics {
    CallMetrics {
        submitted,
        failed: 1,
        wait: distribution(wait),
        run: distribution(run),
    }
}

fn site(file: &str, line: u32, function: &str) -> Option<Site> {
    Some(Site {
        file: file.to_owned(),
        line,
        function: function.to_owned(),
    })
}

pub fn metrics() -> Metrics {
    Metrics {
        process: 42,
        taken_at: 100.0,
        loops: vec![LoopMetrics {
            id: 1,
            running: true,
            turns: 10,
            ready: 3,
            timers: 2,
            busy: 0.25,
            waiting: 0.75,
            busy_share: 0.25,
            lag_now: 0.0,
            lag: distribution(&[2_000, 3_000_000, 1_000_000_000]),
            timer_lateness: distribution(&[]),
            transports: vec![TransportMetrics {
                kind: TransportKind::Stream.name().to_owned(),
                open: 2,
                opened: 5,
            }],
            bytes_received: 1000,
            bytes_sent: 2000,
            transfers: 7,
            write_buffer: 12,
            accepts: 5,
            accept_failures: 1,
            executor: calls(2, &[1_000], &[5_000_000]),
            lookups: calls(0, &[], &[]),
        }],
        coroutines: Some(vec![CoroutineMetrics {
            coroutine: "Room.<locals>.handle\"\\\n".to_owned(),
            alive: 2,
            created: 9,
            steps: 31,
            times: Some(StepTimes {
                steps: 20,
                cpu: 0.5,
                delay: 0.25,
            }),
        }]),
        descheduled: 3,
        blocks: vec![BlockMetrics {
            site: site("/srv/app.py", 42, "compute"),
            cause: "python".to_owned(),
            count: 3,
            total: 1.5,
            longest: 0.75,
        }],
        interpreter: Some(InterpreterMetrics {
            at: 99.5,
            running: 0,
            ready: 1,
            waiting: 2,
            waits: vec![WaitMetrics {
                kind: WaitKind::QueueGet,
                name: Some("Shop.orders".to_owned()),
                site: site("/srv/app.py", 7, "consume"),
                tasks: 2,
                longest: 1.0,
            }],
            queues: vec![QueueMetrics {
                site: site("/srv/app.py", 5, "main"),
                name: Some("Shop.orders".to_owned()),
                queues: 2,
                items: 12,
                most: 10,
                getters: 2,
                putters: 0,
                unfinished: 14,
            }],
        }),
    }
}
