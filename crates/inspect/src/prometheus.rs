//! Metrics in Prometheus' text format.
//!
//! The format is a few rules about lines, and everything here is read at once from data that is
//! plain already; so it is written out, and a test has Prometheus' own parser read it.

use std::fmt::{Display, Write};

use crate::metrics::{
    CallMetrics, CoroutineMetrics, LoopMetrics, Metrics, QueueMetrics, StepTimes,
};
use crate::snapshot::Site;
use crate::{Bucket, Distribution};

/// What HTTP calls it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Writes metrics out.
#[must_use]
pub fn render(metrics: &Metrics) -> String {
    let mut text = Text::default();
    let loops = Loops(&metrics.loops);
    loops.write_time(&mut text);
    loops.write_queues(&mut text);
    loops.write_traffic(&mut text);
    loops.write_calls(
        &mut text,
        "ferrio_executor",
        "calls in the default executor's threads",
        |each| &each.executor,
    );
    loops.write_calls(&mut text, "ferrio_lookup", "name lookups", |each| {
        &each.lookups
    });
    write_tasks(&mut text, metrics);
    write_blocks(&mut text, metrics);
    text.0
}

/// What a family of samples is.
#[derive(Clone, Copy)]
enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        }
    }
}

/// The text so far.
#[derive(Default)]
struct Text(String);

impl Text {
    fn family(&mut self, name: &str, kind: Kind, help: &str) {
        self.line(format_args!("# HELP {name} {help}"));
        self.line(format_args!("# TYPE {name} {}", kind.name()));
    }

    fn sample(&mut self, name: &str, labels: &[(&str, &dyn Display)], value: impl Display) {
        let labels: Vec<_> = labels
            .iter()
            .map(|(label, value)| format!("{label}=\"{}\"", escape(&value.to_string())))
            .collect();
        if labels.is_empty() {
            self.line(format_args!("{name} {value}"));
        } else {
            self.line(format_args!("{name}{{{}}} {value}", labels.join(",")));
        }
    }

    fn histogram(&mut self, name: &str, id: u64, distribution: &Distribution) {
        let bucket = format!("{name}_bucket");
        for bound in Distribution::coarse_bounds() {
            let count = distribution.count_below(bound);
            self.sample(&bucket, &[("loop", &id), ("le", &bound)], count);
        }
        let total: u64 = distribution
            .buckets
            .iter()
            .map(|Bucket { count, .. }| count)
            .sum();
        self.sample(&bucket, &[("loop", &id), ("le", &"+Inf")], total);
        self.sample(&format!("{name}_sum"), &[("loop", &id)], distribution.sum);
        self.sample(&format!("{name}_count"), &[("loop", &id)], total);
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        writeln!(self.0, "{line}").expect("a String takes everything");
    }
}

fn escape(value: &str) -> String {
    value
        .replace('\\', "\\\\")
        .replace('"', "\\\"")
        .replace('\n', "\\n")
}

struct Loops<'a>(&'a [LoopMetrics]);

impl Loops<'_> {
    /// One sample for each loop.
    fn write<'b, V: Display>(
        &'b self,
        text: &mut Text,
        (name, kind, help): (&str, Kind, &str),
        value: impl Fn(&'b LoopMetrics) -> V,
    ) {
        text.family(name, kind, help);
        for each in self.0 {
            text.sample(name, &[("loop", &each.id)], value(each));
        }
    }

    fn write_histogram<'b>(
        &'b self,
        text: &mut Text,
        name: &str,
        help: &str,
        distribution: impl Fn(&'b LoopMetrics) -> &'b Distribution,
    ) {
        text.family(name, Kind::Histogram, help);
        for each in self.0 {
            text.histogram(name, each.id, distribution(each));
        }
    }

    fn write_time(&self, text: &mut Text) {
        use Kind::{Counter, Gauge};
        self.write(
            text,
            ("ferrio_loop_running", Gauge, "1 while the loop runs."),
            |each| u8::from(each.running),
        );
        self.write(
            text,
            ("ferrio_loop_turns_total", Counter, "Turns."),
            |each| each.turns,
        );
        self.write(
            text,
            (
                "ferrio_loop_busy_seconds_total",
                Counter,
                "Time spent in turns.",
            ),
            |each| each.busy,
        );
        self.write(
            text,
            (
                "ferrio_loop_waiting_seconds_total",
                Counter,
                "Time spent in waiting for events, and for the interpreter after it.",
            ),
            |each| each.waiting,
        );
        self.write(
            text,
            (
                "ferrio_loop_busy_ratio",
                Gauge,
                "Share of the last second or two that was spent in turns.",
            ),
            |each| each.busy_share,
        );
        self.write(
            text,
            (
                "ferrio_loop_current_lag_seconds",
                Gauge,
                "How long the loop has not looked for events, up to now.",
            ),
            |each| each.lag_now,
        );
        self.write_histogram(
            text,
            "ferrio_loop_lag_seconds",
            "How long the loop did not look for events, each time.",
            |each| &each.lag,
        );
        self.write_histogram(
            text,
            "ferrio_loop_timer_lateness_seconds",
            "How late the first due timer of a turn was.",
            |each| &each.timer_lateness,
        );
    }

    fn write_queues(&self, text: &mut Text) {
        use Kind::Gauge;
        self.write(
            text,
            (
                "ferrio_loop_ready",
                Gauge,
                "Entries in the batch of the turn that goes on.",
            ),
            |each| each.ready,
        );
        self.write(
            text,
            ("ferrio_loop_timers", Gauge, "Timers that wait."),
            |each| each.timers,
        );
    }

    fn write_traffic(&self, text: &mut Text) {
        use Kind::{Counter, Gauge};
        for (name, kind, help) in [
            ("ferrio_transports", Gauge, "Transports that are open."),
            (
                "ferrio_transports_opened_total",
                Counter,
                "Transports that were opened.",
            ),
        ] {
            text.family(name, kind, help);
            for each in self.0 {
                for transports in &each.transports {
                    let labels: [(&str, &dyn Display); 2] =
                        [("loop", &each.id), ("kind", &transports.kind)];
                    let value = match kind {
                        Counter => transports.opened,
                        _ => transports.open,
                    };
                    text.sample(name, &labels, value);
                }
            }
        }
        self.write(
            text,
            (
                "ferrio_received_bytes_total",
                Counter,
                "Bytes that the kernel gave.",
            ),
            |each| each.bytes_received,
        );
        self.write(
            text,
            (
                "ferrio_sent_bytes_total",
                Counter,
                "Bytes that the kernel took.",
            ),
            |each| each.bytes_sent,
        );
        self.write(
            text,
            (
                "ferrio_transfers_total",
                Counter,
                "System calls that gave or took bytes.",
            ),
            |each| each.transfers,
        );
        self.write(
            text,
            (
                "ferrio_write_buffer_bytes",
                Gauge,
                "Bytes that wait in transports for the kernel.",
            ),
            |each| each.write_buffer,
        );
        self.write(
            text,
            (
                "ferrio_accepts_total",
                Counter,
                "Connections that servers accepted.",
            ),
            |each| each.accepts,
        );
        self.write(
            text,
            (
                "ferrio_accept_failures_total",
                Counter,
                "Calls of accept() that failed.",
            ),
            |each| each.accept_failures,
        );
    }

    fn write_calls<'b>(
        &'b self,
        text: &mut Text,
        name: &str,
        what: &str,
        calls: impl Fn(&'b LoopMetrics) -> &'b CallMetrics,
    ) {
        self.write(
            text,
            (
                &format!("{name}_submitted_total"),
                Kind::Counter,
                &format!("How many {what} were asked for."),
            ),
            |each| calls(each).submitted,
        );
        self.write(
            text,
            (
                &format!("{name}_failures_total"),
                Kind::Counter,
                &format!("How many {what} raised."),
            ),
            |each| calls(each).failed,
        );
        self.write_histogram(
            text,
            &format!("{name}_wait_seconds"),
            &format!("How long {what} waited for a thread."),
            |each| &calls(each).wait,
        );
        self.write_histogram(
            text,
            &format!("{name}_run_seconds"),
            &format!("How long {what} took in the thread."),
            |each| &calls(each).run,
        );
    }
}

fn write_tasks(text: &mut Text, metrics: &Metrics) {
    if let Some(coroutines) = &metrics.coroutines {
        text.family(
            "ferrio_tasks",
            Kind::Gauge,
            "Tasks that are not done, by coroutine.",
        );
        for each in coroutines {
            text.sample(
                "ferrio_tasks",
                &[("coroutine", &each.coroutine)],
                each.alive,
            );
        }
        text.family(
            "ferrio_tasks_created_total",
            Kind::Counter,
            "Tasks that were made, by coroutine.",
        );
        for each in coroutines {
            let labels: [(&str, &dyn Display); 1] = [("coroutine", &each.coroutine)];
            text.sample("ferrio_tasks_created_total", &labels, each.created);
        }
        write_steps(text, coroutines);
    }
    if let Some(known) = &metrics.interpreter {
        text.family(
            "ferrio_tasks_by_state",
            Kind::Gauge,
            "Tasks that are not done, as they were when the interpreter could last be had.",
        );
        for (state, count) in [
            ("running", known.running),
            ("ready", known.ready),
            ("waiting", known.waiting),
        ] {
            text.sample("ferrio_tasks_by_state", &[("state", &state)], count);
        }
        text.family(
            "ferrio_waiting_tasks",
            Kind::Gauge,
            "Tasks that wait, by what for, by its name and at which line, likewise.",
        );
        for wait in &known.waits {
            let (file, line, function) = place(wait.site.as_ref());
            let labels: [(&str, &dyn Display); 5] = [
                ("for", &wait.kind.name()),
                ("file", &file),
                ("line", &line),
                ("function", &function),
                ("name", &wait.name.as_deref().unwrap_or("")),
            ];
            text.sample("ferrio_waiting_tasks", &labels, wait.tasks);
        }
        write_queues(text, &known.queues);
    }
}

/// The steps of tasks, and what they have taken where that is measured.
fn write_steps(text: &mut Text, coroutines: &[CoroutineMetrics]) {
    text.family(
        "ferrio_task_steps_total",
        Kind::Counter,
        "Steps that tasks have made, by coroutine.",
    );
    for each in coroutines {
        let labels: [(&str, &dyn Display); 1] = [("coroutine", &each.coroutine)];
        text.sample("ferrio_task_steps_total", &labels, each.steps);
    }
    type Value = fn(&StepTimes) -> f64;
    let families: [(&str, &str, Value); 2] = [
        (
            "ferrio_task_cpu_seconds_total",
            "CPU time of the steps that were measured, by coroutine.",
            |times| times.cpu,
        ),
        (
            "ferrio_task_delay_seconds_total",
            "How long tasks were ready before the steps that were measured, by coroutine.",
            |times| times.delay,
        ),
    ];
    for (name, help, value) in families {
        text.family(name, Kind::Counter, help);
        for each in coroutines {
            if let Some(times) = &each.times {
                text.sample(name, &[("coroutine", &each.coroutine)], value(times));
            }
        }
    }
}

/// What is in queues, by the line that made them.
fn write_queues(text: &mut Text, queues: &[QueueMetrics]) {
    type Value = fn(&QueueMetrics) -> u64;
    let families: [(&str, &str, Value); 3] = [
        (
            "ferrio_queues",
            "Queues, by the line that made them.",
            |each| each.queues,
        ),
        (
            "ferrio_queue_items",
            "Items in the queues that one line has made.",
            |each| each.items,
        ),
        (
            "ferrio_queue_unfinished",
            "Items in and from them for which task_done() was not called yet.",
            |each| each.unfinished,
        ),
    ];
    for (name, help, value) in families {
        text.family(name, Kind::Gauge, help);
        for each in queues {
            let (file, line, function) = place(each.site.as_ref());
            let labels: [(&str, &dyn Display); 4] = [
                ("file", &file),
                ("line", &line),
                ("function", &function),
                ("name", &each.name.as_deref().unwrap_or("")),
            ];
            text.sample(name, &labels, value(each));
        }
    }
}

/// A place as labels; empty ones for none.
fn place(site: Option<&Site>) -> (&str, u32, &str) {
    site.map_or(("", 0, ""), |site| (&site.file, site.line, &site.function))
}

fn write_blocks(text: &mut Text, metrics: &Metrics) {
    for (name, help) in [
        (
            "ferrio_blocks_total",
            "Times that a loop was blocked, by place.",
        ),
        (
            "ferrio_blocked_seconds_total",
            "How long loops were blocked, by place.",
        ),
    ] {
        text.family(name, Kind::Counter, help);
        for block in &metrics.blocks {
            let (file, line, function) = place(block.site.as_ref());
            let labels: [(&str, &dyn Display); 4] = [
                ("cause", &block.cause),
                ("file", &file),
                ("line", &line),
                ("function", &function),
            ];
            if name == "ferrio_blocks_total" {
                text.sample(name, &labels, block.count);
            } else {
                text.sample(name, &labels, block.total);
            }
        }
    }
    text.family(
        "ferrio_descheduled_total",
        Kind::Counter,
        "Times that a loop would have been blocked, had others not had the processors.",
    );
    text.sample("ferrio_descheduled_total", &[], metrics.descheduled);
}
