//! The watchdog under a scripted clock, with scripted eyes.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

use std::sync::Arc;
use std::time::Duration;

use super::desk::Desk;
use super::report::Report;
use super::tally::Words;
use super::{Eyes, RunTime, SeenTask, Watches};
use crate::python::{Cause, Frame};
use crate::snapshot::Site;
use crate::{Doing, LoopRecord, add_loop};

const THRESHOLD: Duration = Duration::from_millis(100);

const fn ms(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

fn site(line: u32, function: &str) -> Site {
    Site {
        file: "app.py".to_owned(),
        line,
        function: function.to_owned(),
    }
}

/// What the test has the watchdog see.
struct Script {
    now: Duration,
    own_delay: Duration,
    frames: Vec<Site>,
    cause: Cause,
    run_time: Option<RunTime>,
    runnable: bool,
    /// Looked at closely so often.
    looks: u32,
    /// The loop comes on while it is looked at.
    comes_on: Option<Arc<LoopRecord>>,
}

impl Eyes for Script {
    fn now(&mut self) -> Duration {
        self.now
    }

    fn own_delay(&mut self) -> Duration {
        self.own_delay
    }

    fn frames(&mut self, _thread: u32, _thread_state: usize) -> Vec<Site> {
        if let Some(record) = self.comes_on.take() {
            record.heartbeat.begin(Doing::Callback, 9);
        }
        self.frames.clone()
    }

    fn cause(&mut self, _thread: u32, _thread_state: usize) -> Cause {
        self.looks += 1;
        self.cause.clone()
    }

    fn task(&mut self, address: usize) -> SeenTask {
        SeenTask {
            name: Some(format!("Task-{address}")),
            ..SeenTask::default()
        }
    }

    fn run_time(&mut self, _thread: u32) -> Option<RunTime> {
        self.run_time
    }

    fn is_runnable(&mut self, _thread: u32) -> bool {
        self.runnable
    }

    fn source_line(&mut self, site: &Site) -> Option<String> {
        Some(format!("line {}", site.line))
    }
}

/// One loop, watched.
struct Scene {
    record: Arc<LoopRecord>,
    watches: Watches,
    eyes: Script,
    desk: Desk,
    /// When the watchdog wants to look again.
    wanted: Option<Duration>,
}

impl Scene {
    fn new() -> Scene {
        let record = add_loop();
        record.set_threshold(Some(THRESHOLD));
        record.heartbeat.run_by(77, 1);
        let mut scene = Scene {
            record,
            watches: Watches::default(),
            eyes: Script {
                now: ms(5000),
                own_delay: Duration::ZERO,
                frames: vec![site(3, "load"), site(10, "main")],
                cause: Cause::Python,
                run_time: None,
                runnable: false,
                looks: 0,
                comes_on: None,
            },
            desk: Desk::default(),
            wanted: None,
        };
        scene.begin(Doing::Waiting, 0);
        scene.look();
        scene
    }

    fn look(&mut self) {
        let late = self.wanted.map_or(Duration::ZERO, |wanted| {
            self.eyes.now.saturating_sub(wanted)
        });
        let loops = [Arc::clone(&self.record)];
        let next = self.watches.look(&loops, late, &mut self.eyes, &self.desk);
        self.wanted = next.map(|next| self.eyes.now + next);
    }

    /// Lets time pass, the watchdog looking when it wants to.
    fn pass(&mut self, time: Duration) {
        let end = self.eyes.now + time;
        while let Some(wanted) = self.wanted.filter(|wanted| *wanted <= end) {
            self.eyes.now = wanted;
            self.look();
        }
        self.eyes.now = end;
    }

    /// Nobody runs, the watchdog least of all.
    fn pause(&mut self, time: Duration) {
        self.eyes.now += time;
        self.look();
    }

    fn begin(&mut self, doing: Doing, object: usize) {
        self.record.heartbeat.begin(doing, object);
    }

    fn idle(&mut self) {
        self.begin(Doing::Waiting, 0);
        self.pass(ms(20));
    }

    fn reports(&mut self) -> Vec<(Arc<Report>, Words)> {
        self.desk
            .take_outgoing()
            .into_iter()
            .map(|announcement| (announcement.report, announcement.words))
            .collect()
    }

    fn block(&mut self, time: Duration) {
        self.begin(Doing::Step, 7);
        self.pass(time);
        self.idle();
    }
}

fn is_near(seconds: f64, expected: Duration) -> bool {
    (seconds - expected.as_secs_f64()).abs() < 0.012
}

#[test]
fn a_block_is_told_of_while_it_lasts() {
    let mut scene = Scene::new();
    scene.begin(Doing::Step, 7);
    scene.pass(ms(95));
    assert!(scene.reports().is_empty());
    scene.pass(ms(17));
    let (report, words) = scene.reports().pop().unwrap();
    assert_eq!(words, Words::All);
    assert_eq!(
        report.message,
        "app.py:3 in load: the loop has been blocked for 0.100 s by task Task-7 (cause: python)"
    );
    assert_eq!(
        report.text(),
        "app.py:3 in load: the loop has been blocked for 0.100 s by task Task-7 (cause: python)\n    \
         line 3\n  \
         Coroutine: main\n  \
         Stack of thread 77 (most recent call last):\n    \
         File \"app.py\", line 10, in main\n      line 10\n    \
         File \"app.py\", line 3, in load\n      line 3\n"
    );
}

#[test]
fn shorter_ones_are_not() {
    let mut scene = Scene::new();
    for _ in 0..10 {
        scene.block(ms(90));
    }
    assert!(scene.reports().is_empty());
    assert_eq!(scene.desk.counters().blocks, 0);
}

#[test]
fn waiting_is_no_block() {
    let mut scene = Scene::new();
    scene.begin(Doing::Waiting, 0);
    scene.pass(ms(1000));
    scene.record.heartbeat.run_by(0, 0);
    scene.pass(ms(1000));
    assert!(scene.wanted.is_none(), "nothing is looked at");
    assert!(scene.reports().is_empty());
}

#[test]
fn again_with_back_off_and_once_at_its_end() {
    let mut scene = Scene::new();
    scene.block(ms(1000));
    let reports = scene.reports();
    let told: Vec<_> = reports
        .iter()
        .map(|(report, _)| (report.number, report.over))
        .collect();
    assert_eq!(
        told,
        [(1, false), (2, false), (3, false), (4, false), (5, true)]
    );
    let expected = [100, 200, 400, 800, 1000];
    for ((report, _), expected) in reports.iter().zip(expected) {
        assert!(
            is_near(report.seconds, ms(expected)),
            "{} {expected}",
            report.seconds
        );
        assert_eq!(report.block, 1);
    }
    assert!(
        reports[4]
            .0
            .message
            .contains("the loop was blocked for 0.9")
    );
    assert!(is_near(scene.desk.counters().seconds, ms(1000)));
}

#[test]
fn what_came_after_the_block_is_not_named() {
    let mut scene = Scene::new();
    scene.begin(Doing::Step, 7);
    scene.pass(ms(50));
    scene.eyes.comes_on = Some(Arc::clone(&scene.record));
    scene.pass(ms(54));
    assert!(scene.eyes.comes_on.is_none());
    scene.idle();
    assert!(scene.reports().is_empty());
}

#[test]
fn a_descheduled_thread_is_counted_and_not_told_of() {
    let mut scene = Scene::new();
    scene.begin(Doing::Step, 7);
    for step in 0..20 {
        // Six of ten milliseconds others had the processor.
        scene.eyes.run_time = Some(RunTime {
            cpu: ms(step * 4),
            delay: ms(step * 6),
        });
        scene.pass(ms(10));
    }
    scene.idle();
    assert!(scene.reports().is_empty());
    let counters = scene.desk.counters();
    assert_eq!((counters.blocks, counters.descheduled), (0, 1));
}

#[test]
fn a_delay_that_is_not_over_counts_too() {
    let mut scene = Scene::new();
    scene.eyes.run_time = Some(RunTime::default());
    scene.eyes.runnable = true;
    scene.block(ms(200));
    assert!(scene.reports().is_empty());
    assert_eq!(scene.desk.counters().descheduled, 1);

    // It sleeps: that is a block.
    scene.eyes.runnable = false;
    scene.block(ms(150));
    assert_eq!(scene.reports().len(), 2);
}

/// The watchdog, too, waits for a processor, and comes `gap` later than it wanted. Meanwhile the
/// loop's thread had waited for `delay`, and run a little, and then waited again or slept.
fn comes_late(gap: Duration, delay: Duration, runnable: bool) -> Scene {
    let mut scene = Scene::new();
    scene.eyes.run_time = Some(RunTime::default());
    scene.begin(Doing::Step, 7);
    scene.pass(ms(20));
    scene.eyes.run_time = Some(RunTime { cpu: ms(1), delay });
    scene.eyes.runnable = runnable;
    scene.eyes.own_delay += gap;
    scene.pause(gap);
    scene
}

#[test]
fn a_late_watchdog_finds_a_thread_that_waits_for_a_processor_again() {
    let mut scene = comes_late(ms(900), ms(400), true);
    scene.idle();
    assert!(scene.reports().is_empty());
    assert_eq!(scene.desk.counters().descheduled, 1);
}

#[test]
fn a_late_watchdog_finds_a_thread_that_sleeps() {
    let mut scene = comes_late(ms(900), ms(400), false);
    scene.idle();
    assert_eq!(scene.reports().len(), 2);
    assert_eq!(scene.desk.counters().descheduled, 0);
}

#[test]
fn a_late_watchdog_finds_a_thread_that_runs() {
    let mut scene = Scene::new();
    scene.eyes.run_time = Some(RunTime::default());
    scene.begin(Doing::Step, 7);
    scene.pass(ms(20));
    scene.eyes.run_time = Some(RunTime {
        cpu: ms(595),
        delay: ms(300),
    });
    scene.eyes.runnable = true;
    scene.eyes.own_delay += ms(900);
    scene.pause(ms(900));
    scene.idle();
    assert_eq!(scene.reports().len(), 2);
}

#[test]
fn a_busy_machine_does_not_hide_a_block() {
    let mut scene = Scene::new();
    scene.begin(Doing::Step, 7);
    for step in 0..20 {
        scene.eyes.run_time = Some(RunTime {
            cpu: ms(step * 6),
            delay: ms(step * 4),
        });
        scene.pass(ms(10));
    }
    assert_eq!(scene.reports().len(), 1);
}

#[test]
fn time_in_which_nobody_ran_is_nobodys_fault() {
    let mut scene = Scene::new();
    scene.begin(Doing::Step, 7);
    scene.pass(ms(30));
    // The process was stopped, or the machine.
    scene.pause(ms(5000));
    scene.pass(ms(30));
    scene.idle();
    assert!(scene.reports().is_empty());
}

#[test]
fn a_watchdog_that_waits_for_a_processor_hides_no_block() {
    let mut scene = Scene::new();
    scene.begin(Doing::Step, 7);
    scene.pass(ms(30));
    scene.eyes.own_delay += ms(200);
    scene.pause(ms(200));
    let (report, _) = scene.reports().pop().unwrap();
    assert!((0.19..0.21).contains(&report.watchdog_delay));
}

#[test]
fn a_look_at_others_at_work_is_repeated() {
    let mut scene = Scene::new();
    scene.eyes.cause = Cause::Descheduled;
    scene.begin(Doing::Step, 7);
    scene.pass(ms(104));
    assert!(scene.eyes.looks > 0 && scene.reports().is_empty());
    scene.eyes.cause = Cause::CGil;
    scene.pass(ms(8));
    assert_eq!(scene.reports()[0].0.cause, Cause::CGil);
}

#[test]
fn many_short_callbacks_in_one_turn() {
    let mut scene = Scene::new();
    let frames = |function: &str| {
        let mut run_forever = site(75, "EventLoop.run_forever");
        run_forever.file = "ferrio/loop.py".to_owned();
        vec![site(3, "leaf"), site(20, function), run_forever]
    };
    for step in 0..130_usize {
        let one_of_many = step % 3 == 0;
        scene.eyes.frames = frames(if one_of_many { "rare" } else { "common" });
        scene.begin(Doing::Callback, step);
        scene.pass(ms(1));
    }
    let (report, _) = scene.reports().pop().unwrap();
    let turn = report.turn.clone().unwrap();
    assert_eq!(report.site, Some(site(20, "common")));
    assert!(
        turn.seen * 2 > turn.samples && turn.seen < turn.samples,
        "{turn:?}"
    );
    assert!(turn.callbacks > 90, "{turn:?}");
    assert!(
        report
            .message
            .starts_with("app.py:20 in common: the loop has been blocked for 0.1"),
        "{}",
        report.message
    );
    scene.record.heartbeat.begin_turn();
    scene.idle();
    assert!(scene.reports().pop().unwrap().0.over);
}

#[test]
fn turns_that_end_are_none() {
    let mut scene = Scene::new();
    for step in 0..500_usize {
        scene.begin(Doing::Callback, step);
        if step % 50 == 0 {
            scene.record.heartbeat.begin_turn();
        }
        scene.pass(ms(1));
    }
    assert!(scene.reports().is_empty());
}

#[test]
fn a_long_callback_is_not_also_a_long_turn() {
    let mut scene = Scene::new();
    scene.begin(Doing::Callback, 1);
    scene.pass(ms(20));
    scene.begin(Doing::Step, 7);
    scene.pass(ms(140));
    scene.begin(Doing::Callback, 2);
    scene.pass(ms(50));
    scene.idle();
    let reports = scene.reports();
    assert_eq!(reports.len(), 2, "{reports:?}");
    assert!(reports.iter().all(|(report, _)| report.turn.is_none()));
}

#[test]
fn no_place_floods_the_log() {
    let mut scene = Scene::new();
    let mut told = 0;
    for _ in 0..1000 {
        scene.block(ms(110));
        told += scene
            .reports()
            .iter()
            .filter(|(report, words)| !report.over && *words != Words::None)
            .count();
    }
    // 130 seconds: a hundred at first, then one in five seconds.
    assert!((50..130).contains(&told), "{told}");
    let sites = scene.desk.sites();
    assert_eq!(sites.len(), 1);
    assert_eq!((sites[0].count, scene.desk.counters().blocks), (1000, 1000));
    assert!(is_near(sites[0].longest, ms(110)));
    assert!((sites[0].total - 110.0).abs() < 15.0, "{}", sites[0].total);
    assert!(scene.desk.counters().unreported > 800);

    // Another place is not kept quiet for that.
    scene.eyes.frames = vec![site(4, "other")];
    scene.block(ms(110));
    assert_eq!(scene.reports()[0].1, Words::All);

    // And after a while it is told how many there were.
    scene.eyes.frames = vec![site(3, "load")];
    scene.pass(ms(20_000));
    scene.block(ms(110));
    let (report, words) = scene.reports().remove(0);
    assert_eq!(words, Words::Line);
    assert!(
        report.unreported > 0 && report.short_text().contains("more blocks"),
        "{report:?}"
    );
}

#[test]
fn the_place_with_most_of_the_time_is_named_at_the_end() {
    let mut scene = Scene::new();
    scene.begin(Doing::Step, 7);
    scene.pass(ms(150));
    scene.eyes.frames = vec![site(8, "save")];
    scene.pass(ms(450));
    scene.idle();
    let reports = scene.reports();
    assert_eq!(reports[0].0.site, Some(site(3, "load")));
    assert_eq!(reports.last().unwrap().0.site, Some(site(8, "save")));
    let sites = scene.desk.sites();
    assert_eq!(sites.len(), 2);
    assert_eq!(sites[0].site, Some(site(8, "save")));
}

#[test]
fn blocks_are_kept_to_be_shown() {
    let mut scene = Scene::new();
    for _ in 0..150 {
        scene.block(ms(110));
    }
    let recent = scene.desk.recent();
    assert_eq!(recent.len(), 100);
    assert_eq!(recent.last().unwrap().block, 150);
    assert!(
        recent.iter().all(|report| report.over),
        "the last word on each"
    );
}

#[test]
fn a_report_is_one_line_of_json() {
    let mut scene = Scene::new();
    scene.eyes.cause = Cause::GilWait {
        thread: 99,
        name: Some("worker".to_owned()),
        at: Some(Frame {
            code: 1,
            file: "app.py".to_owned(),
            function: "crunch".to_owned(),
            line: 50,
        }),
    };
    scene.block(ms(110));
    let (report, _) = scene.reports().remove(0);
    assert!(
        report
            .message
            .ends_with("(cause: gil-wait, held by thread 99 worker at app.py:50 in crunch)"),
        "{}",
        report.message
    );
    let line = serde_json::to_string(&*report).unwrap();
    assert!(!line.contains('\n'));
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["cause"], "gil-wait");
    assert_eq!(value["site"]["line"], 3);
    assert_eq!(value["culprit"]["name"], "Task-7");
    assert_eq!(value["holder"]["site"]["function"], "crunch");
    assert!(value["detected_at"].as_f64().unwrap() > 5.0);
}

#[test]
fn a_loop_that_is_gone_is_forgotten() {
    let mut scene = Scene::new();
    scene.begin(Doing::Step, 7);
    scene.pass(ms(110));
    assert_eq!(scene.reports().len(), 1);
    let late = Duration::ZERO;
    assert_eq!(
        scene.watches.look(&[], late, &mut scene.eyes, &scene.desk),
        None
    );
    assert!(scene.reports()[0].0.over);
}
