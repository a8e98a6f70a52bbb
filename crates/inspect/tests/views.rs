//! What the text views print.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod shop;

use ferrio_inspect::Snapshot;
use ferrio_inspect::snapshot::Owner;
use ferrio_inspect::view::{ProcessLine, dump, processes, ps, tree, words};
use shop::{shop, task};

fn assert_text(shown: &str, expected: &str) {
    assert_eq!(
        shown, expected,
        "\n--- shown:\n{shown}\n--- expected:\n{expected}"
    );
}

#[test]
fn ps_has_a_line_for_each_task() {
    assert_text(
        &ps(&shop(), None),
        "\
process 4711  python app.py  (Python 3.13.0, ferrio 0.1.0)

loop 1 · thread 4712 · running #3 report for 350ms · 4 tasks · 2 ready · 1 timer · 1,234,567 turns
TASK  NAME     COROUTINE   STATE                SINCE  WAITS FOR                  AT                          STEPS    CPU
  #1  Task-1   main        waiting              1m00s  task group #2 #3           shop/app.py:84 main             3
  #2  worker   Worker.run  waiting               2.5s  queue get orders, 0 of 10  shop/app.py:31 Worker.run  12,345  750ms
  #3  report   report      running              350ms                             shop/app.py:55 report           3
  #9  cleanup  cleanup     waiting, cancelling   2.5s  sleep, 30.0s left          shop/app.py:61 cleanup          3
",
    );
}

#[test]
fn ps_fits_a_terminal() {
    let text = ps(&shop(), Some(100));
    assert!(text.lines().all(|line| words::width(line) <= 100), "{text}");
    assert!(text.contains("350ms"), "{text}");
    assert!(text.contains('…'), "{text}");
}

#[test]
fn a_tree_hangs_tasks_below_those_that_answer_for_them() {
    assert_text(
        &tree(&shop(), None),
        "\
loop 1 · thread 4712 · running #3 report for 350ms · 4 tasks · 2 ready · 1 timer · 1,234,567 turns
├─ #1 Task-1  main  waits 1m00s: task group #2 #3  at shop/app.py:84 main
│  ├─ #2 worker  Worker.run  waits 2.5s: queue get orders, 0 of 10  at shop/app.py:31 Worker.run
│  └─ #3 report  report  running 350ms  at shop/app.py:55 report
└─ #9 cleanup  cleanup  waits 2.5s: sleep, 30.0s left  at shop/app.py:61 cleanup  [cancelling]  [left behind by #7, which is gone]
",
    );
}

/// A parent's id says nothing about its age: two tasks may each be in the other's group.
#[test]
fn a_tree_of_tasks_that_answer_for_each_other_shows_each_once() {
    let mut snapshot = shop();
    let mut tasks = vec![task(1, "a", "a"), task(2, "b", "b"), task(3, "c", "c")];
    tasks[0].owner = Owner::TaskGroup { task: Some(2) };
    tasks[1].owner = Owner::TaskGroup { task: Some(1) };
    tasks[2].owner = Owner::TaskGroup { task: Some(3) };
    snapshot.loops[0].tasks = tasks;
    let text = tree(&snapshot, None);
    for name in ["─ #1 a", "─ #2 b", "─ #3 c"] {
        assert_eq!(text.matches(name).count(), 1, "{text}");
    }
}

#[test]
fn a_deep_tree_is_shown_to_its_end() {
    let mut snapshot = shop();
    snapshot.loops[0].tasks = (1..=30_000)
        .map(|id| {
            let mut task = task(id, "link", "link");
            task.parent = id.checked_sub(1).filter(|parent| *parent > 0);
            task
        })
        .collect();
    let text = tree(&snapshot, Some(120));
    assert_eq!(text.lines().count(), 30_001);
}

#[test]
fn a_dump_has_everything() {
    assert_text(
        &dump(&shop()),
        "\
process 4711  python app.py  (Python 3.13.0, ferrio 0.1.0)

loop 1 · thread 4712 · running #3 report for 350ms · 4 tasks · 2 ready · 1 timer · 1,234,567 turns

task #1 Task-1  main
  state    waiting for 1m00s
  waits    task group #2 #3
  owner    run
  created  1m00s ago at /srv/shop/app.py:80 in main
  work     3 steps
  stack, the innermost call last
    /srv/shop/app.py:90 in start
    /srv/shop/app.py:84 in main

task #2 worker  Worker.run
  state    waiting for 2.5s
  waits    queue get orders, 0 of 10
  owner    task group of #1
  created  1m00s ago by #1 at /srv/shop/app.py:80 in main
  work     12,345 steps, 750ms CPU

task #3 report  report
  state    running for 350ms
  owner    task group of #1
  created  1m00s ago by #1 at /srv/shop/app.py:80 in main
  work     3 steps
  stack, the innermost call last
    /srv/shop/app.py:55 in report

task #9 cleanup  cleanup
  state    waiting for 2.5s, cancelling
  waits    sleep, 30.0s left
  owner    create_task
  created  1m00s ago by #7 at /srv/shop/app.py:80 in main
  work     3 steps

open:
  server     127.0.0.1:8000  1.5 KiB received, 312 B sent  99 B wait to be sent
",
    );
}

#[test]
fn a_long_representation_is_cut_but_in_a_dump() {
    let mut snapshot = shop();
    let wait = snapshot.loops[0].tasks[1].wait.as_mut().unwrap();
    wait.what = format!("<Queue {}>", "x".repeat(200));
    assert!(!tree(&snapshot, None).contains(&"x".repeat(80)));
    assert!(dump(&snapshot).contains(&"x".repeat(200)));
}

#[test]
fn what_was_left_is_said_as_of_now() {
    let mut snapshot = shop();
    let wait = snapshot.loops[0].tasks[3].wait.as_mut().unwrap();
    wait.what = "31.000 s left".to_owned();
    let text = tree(&snapshot, None);
    assert!(text.contains("sleep, 30.0s left  at"), "{text}");
}

#[test]
fn old_tasks_are_said_to_be_old() {
    let mut snapshot = shop();
    snapshot.tasks_at = 98.8;
    for text in [ps(&snapshot, None), tree(&snapshot, None), dump(&snapshot)] {
        assert!(text.contains("tasks are as they were 1.2s ago"), "{text}");
    }
}

#[test]
fn names_of_the_program_do_not_steer_the_terminal() {
    let mut snapshot = shop();
    snapshot.loops[0].tasks[1].name = "\x1b[2J\nworker".to_owned();
    for text in [ps(&snapshot, None), tree(&snapshot, None), dump(&snapshot)] {
        assert!(!text.contains('\x1b'), "{text}");
        assert!(text.contains("␛[2J␊worker"), "{text}");
    }
}

#[test]
fn processes_have_a_line_each() {
    let silent = ProcessLine {
        process: 99,
        answer: Err("does not answer".to_owned()),
    };
    let answered = ProcessLine {
        process: 4711,
        answer: Ok(shop()),
    };
    assert_text(
        &processes(&[silent, answered], None),
        " PID  PYTHON  LOOPS  TASKS  NOW                          COMMAND
  99                        does not answer
4711  3.13.0      1      4  running #3 report for 350ms  python app.py
",
    );
    assert!(processes(&[], None).contains("FERRIO_INSPECT=1"));
}

#[test]
fn a_snapshot_survives_its_json() {
    let json = serde_json::to_string(&shop()).expect("plain data");
    let read: Snapshot = serde_json::from_str(&json).expect("what was written");
    assert_eq!(read, shop());
}

#[test]
fn a_message_about_a_place_is_shortened_at_its_beginning() {
    assert_eq!(
        words::short_message("/srv/some/where/shop/app.py:55 in report: blocked"),
        "shop/app.py:55 in report: blocked"
    );
    for whole in ["app.py:55 in report", "no place", "the loop: blocked", ""] {
        assert_eq!(words::short_message(whole), whole);
    }
}

#[test]
fn each_task_stands_below_one_of_its_own_loop() {
    let snapshot = shop();
    let above = ferrio_inspect::view::tasks_above(&snapshot);
    let ids: Vec<u64> = snapshot.loops[0].tasks.iter().map(|task| task.id).collect();
    assert!(!above.is_empty());
    for (task, parent) in above {
        assert!(ids.contains(&task) && ids.contains(&parent) && task != parent);
    }
}
