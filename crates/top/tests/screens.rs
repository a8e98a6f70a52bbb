//! Pictures of the terminal program, as text.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

#[path = "../../inspect/tests/shop/mod.rs"]
mod shop;

use ferrio_inspect::metrics::{BlockMetrics, LoopMetrics};
use ferrio_inspect::snapshot::{Running, Snapshot, WaitKind};
use ferrio_inspect::socket::{BlockReport, Blocks};
use ferrio_inspect::{Metrics, add_loop};
use ferrio_top::{App, Mode, Update, draw};
use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::crossterm::event::{KeyCode, KeyEvent, KeyModifiers};
use shop::{shop, task, wait};

fn metrics() -> Metrics {
    let mut of_loop = LoopMetrics::of(&add_loop());
    of_loop.id = 1;
    Metrics {
        taken_at: 100.0,
        loops: vec![of_loop],
        ..Metrics::of_loops()
    }
}

fn seen(snapshot: Snapshot) -> Update {
    Update::Seen(Box::new(snapshot), Box::new(metrics()), Blocks::default())
}

fn app(snapshot: Snapshot) -> App {
    let mut app = App::new(4711);
    app.update(seen(snapshot));
    app
}

fn press(app: &mut App, keys: &str) {
    for key in keys.chars() {
        let code = match key {
            '\n' => KeyCode::Enter,
            '\x1b' => KeyCode::Esc,
            '↓' => KeyCode::Down,
            '↑' => KeyCode::Up,
            '⇥' => KeyCode::Tab,
            letter => KeyCode::Char(letter),
        };
        app.key(KeyEvent::new(code, KeyModifiers::NONE));
    }
}

/// What a terminal of that size shows, line by line.
fn picture(app: &mut App, width: u16, height: u16) -> Vec<String> {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| draw(frame, app)).unwrap();
    let buffer = terminal.backend().buffer();
    (0..height)
        .map(|y| {
            let cells = (0..width).map(|x| buffer[(x, y)].symbol());
            cells.collect::<String>().trim_end().to_owned()
        })
        .collect()
}

fn text(app: &mut App) -> String {
    picture(app, 120, 24).join("\n")
}

/// The tasks' numbers in the order in which the table has them.
fn order(app: &mut App) -> Vec<String> {
    picture(app, 120, 24)
        .iter()
        .filter_map(|line| line.split_whitespace().next())
        .filter(|word| word.starts_with('#'))
        .map(str::to_owned)
        .collect()
}

#[test]
fn everything_has_its_place() {
    let mut app = app(shop());
    let lines = picture(&mut app, 120, 24);
    assert!(
        lines[0].starts_with(" ferrio top   process 4711  python app.py"),
        "{}",
        lines[0]
    );
    assert!(
        lines[0].ends_with("Python 3.13.0 · ferrio 0.1.0"),
        "{}",
        lines[0]
    );
    assert!(lines[1].contains("loop 1"), "{}", lines[1]);
    assert!(lines[1].contains("busy"), "{}", lines[1]);
    assert!(
        lines[1].contains("running #3 report for 350ms"),
        "{}",
        lines[1]
    );
    assert!(lines[4].starts_with(" 4 tasks ──"), "{}", lines[4]);
    assert!(lines[5].starts_with("TASK▼ NAME"), "{}", lines[5]);
    for word in ["STATE", "SINCE", "WAITS FOR", "AT", "STEPS", "CPU"] {
        assert!(lines[5].contains(word), "{}", lines[5]);
    }
    assert!(lines[7].contains("worker") && lines[7].contains("queue get orders, 0 of 10"));
    assert!(
        lines[7].contains("12,345") && lines[7].contains("750ms"),
        "{}",
        lines[7]
    );
    assert!(lines[9].contains("cancelling"), "{}", lines[9]);
    assert!(lines[23].starts_with(" q quit  ? keys"), "{}", lines[23]);
}

#[test]
fn columns_that_say_least_give_way_on_narrow_terminals() {
    let mut app = app(shop());
    let lines = picture(&mut app, 60, 16);
    assert!(lines.iter().any(|line| line.contains("WAITS FOR")));
    assert!(!lines.iter().any(|line| line.contains("COROUTINE")));
    assert!(lines.iter().any(|line| line.contains("queue get")));
}

#[test]
fn what_the_loop_is_at_is_the_last_to_give_way() {
    let mut app = app(shop());
    let lines = picture(&mut app, 80, 16);
    assert!(
        lines[1].ends_with("· running #3 report for 350ms"),
        "{}",
        lines[1]
    );
    let lines = picture(&mut app, 44, 16);
    assert_eq!(lines[0], " ferrio top   process 4711  python app.py");
}

#[test]
fn no_size_is_too_small() {
    let mut app = app(shop());
    press(&mut app, "↓\n");
    for (width, height) in [(1, 1), (2, 3), (10, 4), (40, 7), (300, 90), (0, 0)] {
        picture(&mut app, width, height);
        press(&mut app, "?");
        picture(&mut app, width, height);
        press(&mut app, "x");
    }
}

#[test]
fn keys_sort() {
    let mut app = app(shop());
    assert_eq!(order(&mut app), ["#1", "#2", "#3", "#9"]);
    for (keys, expected) in [
        ("i", ["#9", "#3", "#2", "#1"]),
        ("n", ["#1", "#9", "#3", "#2"]),
        // Running first.
        ("s", ["#3", "#1", "#2", "#9"]),
        // The longest first; again, the other way round.
        ("t", ["#1", "#2", "#9", "#3"]),
        ("t", ["#3", "#2", "#9", "#1"]),
        // Tasks that wait for nothing are last either way.
        ("w", ["#2", "#9", "#1", "#3"]),
        ("w", ["#1", "#9", "#2", "#3"]),
        ("x", ["#2", "#1", "#3", "#9"]),
        ("c", ["#2", "#1", "#3", "#9"]),
        ("r", ["#2", "#1", "#3", "#9"]),
    ] {
        press(&mut app, keys);
        assert_eq!(order(&mut app), expected, "after {keys}");
    }
}

#[test]
fn a_filter_shows_what_has_the_text() {
    let mut app = app(shop());
    press(&mut app, "/QUEUE");
    assert_eq!(app.mode(), Mode::Filter);
    assert_eq!(order(&mut app), ["#2"]);
    assert!(text(&mut app).contains("filter: QUEUE"));
    press(&mut app, "\n");
    assert!(
        text(&mut app).contains("1 of 4 tasks with “QUEUE”"),
        "{}",
        text(&mut app)
    );
    press(&mut app, "\x1b");
    assert_eq!(order(&mut app).len(), 4);
}

#[test]
fn letters_of_a_filter_are_no_commands() {
    let mut app = app(shop());
    press(&mut app, "/q?p");
    assert!(!app.is_over());
    assert_eq!(order(&mut app), [""; 0]);
}

#[test]
fn details_show_the_stack_and_where_it_comes_from() {
    let mut app = app(shop());
    press(&mut app, "\n");
    let shown = text(&mut app);
    assert!(shown.contains("task #1 Task-1  main"), "{shown}");
    assert!(
        shown.contains("created  1m00s ago at /srv/shop/app.py:80 in main"),
        "{shown}"
    );
    assert!(shown.contains("/srv/shop/app.py:84 in main"), "{shown}");
    press(&mut app, "↓");
    assert!(text(&mut app).contains("task #2 worker  Worker.run"));
    press(&mut app, "\x1b");
    assert!(!text(&mut app).contains("task #2 worker"));
}

#[test]
fn the_selected_task_stays_selected_wherever_it_goes() {
    let mut app = app(shop());
    press(&mut app, "↓↓\n");
    assert!(text(&mut app).contains("task #2 worker"));
    let mut later = shop();
    later.loops[0].tasks.insert(0, task(0, "first", "first"));
    app.update(seen(later));
    press(&mut app, "i");
    assert!(text(&mut app).contains("task #2 worker"));
    // When it is gone, its place.
    let mut later = shop();
    later.loops[0].tasks.remove(1);
    app.update(seen(later));
    assert!(text(&mut app).contains("task #"), "{}", text(&mut app));
}

#[test]
fn a_pause_keeps_the_picture() {
    let mut app = app(shop());
    press(&mut app, "p");
    app.update(seen(Snapshot {
        loops: vec![],
        ..shop()
    }));
    assert!(text(&mut app).contains("PAUSED"));
    assert_eq!(order(&mut app).len(), 4);
    press(&mut app, "p");
    app.update(seen(Snapshot {
        loops: vec![],
        ..shop()
    }));
    assert!(text(&mut app).contains("no event loop"));
}

#[test]
fn a_blocked_loop_names_the_culprit() {
    let mut snapshot = shop();
    snapshot.loops[0].running = Running::Step {
        task: 3,
        since: Some(96.8),
    };
    let mut app = app(snapshot);
    let shown = text(&mut app);
    assert!(
        shown.contains("Loop 1 is blocked: running #3 report for 3.2s at shop/app.py:55 report"),
        "{shown}"
    );
}

#[test]
fn what_the_watchdog_says_of_it_comes_first() {
    let mut snapshot = shop();
    snapshot.loops[0].running = Running::Step {
        task: 3,
        since: Some(96.8),
    };
    let report = |over, message: &str| BlockReport {
        message: message.to_owned(),
        event_loop: 1,
        over,
    };
    let mut app = App::new(4711);
    let recent = vec![
        report(true, "an earlier one"),
        report(false, "re.match, c-gil"),
    ];
    app.update(Update::Seen(
        Box::new(snapshot),
        Box::new(metrics()),
        Blocks { recent },
    ));
    let shown = text(&mut app);
    assert!(shown.contains("re.match, c-gil"), "{shown}");
    assert!(!shown.contains("an earlier one"), "{shown}");
}

#[test]
fn counted_blocks_are_in_the_header() {
    let mut metrics = metrics();
    metrics.blocks = vec![BlockMetrics {
        site: None,
        cause: "python".to_owned(),
        count: 3,
        total: 1.0,
        longest: 0.42,
    }];
    let mut app = App::new(4711);
    app.update(Update::Seen(
        Box::new(shop()),
        Box::new(metrics),
        Blocks::default(),
    ));
    assert!(picture(&mut app, 200, 24)[1].contains("blocks 3 (longest 420ms)"));
}

#[test]
fn a_process_that_has_ended_is_said_to_have_ended() {
    let mut app = app(shop());
    app.update(Update::Ended);
    let shown = text(&mut app);
    assert!(shown.contains("Process 4711 has ended."), "{shown}");
    // What was seen last is still there.
    assert_eq!(order(&mut app).len(), 4);
    assert_eq!(app.farewell().as_deref(), Some("Process 4711 has ended."));
}

#[test]
fn a_process_that_does_not_answer_is_said_to_be_silent() {
    let mut app = app(shop());
    app.update(Update::Silent("the process does not answer".to_owned()));
    assert!(text(&mut app).contains("No answer for "));
    app.update(seen(shop()));
    assert!(!text(&mut app).contains("No answer"));
}

#[test]
fn before_the_first_answer_there_is_something_to_look_at() {
    let mut app = App::new(4711);
    press(&mut app, "↓\n/x\n⇥tjkG");
    assert!(text(&mut app).contains("waiting for the first answer"));
    assert_eq!(app.farewell(), None);
}

#[test]
fn tab_shows_the_next_loop() {
    let mut snapshot = shop();
    let mut second = snapshot.loops[0].clone();
    second.id = 2;
    second.tasks = vec![task(50, "elsewhere", "elsewhere")];
    snapshot.loops.push(second);
    let mut app = app(snapshot);
    assert_eq!(order(&mut app).len(), 4);
    press(&mut app, "⇥");
    assert_eq!(order(&mut app), ["#50"]);
    assert!(text(&mut app).contains("▶loop 2"));
    press(&mut app, "⇥");
    assert_eq!(order(&mut app).len(), 4);
}

#[test]
fn help_lists_the_keys_and_any_key_closes_it() {
    let mut app = app(shop());
    press(&mut app, "?");
    let shown = picture(&mut app, 120, 40).join("\n");
    for words in [
        "sort by NAME",
        "sort by CPU",
        "Ctrl-C",
        "scroll the details",
    ] {
        assert!(shown.contains(words), "{shown}");
    }
    press(&mut app, "q");
    assert!(!app.is_over());
    assert_eq!(app.mode(), Mode::Normal);
}

#[test]
fn q_and_control_c_quit() {
    let mut one = app(shop());
    press(&mut one, "q");
    assert!(one.is_over());
    let mut other = app(shop());
    press(&mut other, "/abc");
    other.key(KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL));
    assert!(other.is_over());
}

#[test]
fn a_hundred_thousand_tasks_scroll() {
    let mut snapshot = shop();
    snapshot.loops[0].tasks = (1..=100_000)
        .map(|id| {
            let mut one = task(id, "one", "of_many");
            one.wait = Some(wait(WaitKind::Event, "start"));
            one
        })
        .collect();
    let mut app = app(snapshot);
    press(&mut app, "G");
    assert_eq!(order(&mut app).last().map(String::as_str), Some("#100000"));
    press(&mut app, "g");
    assert_eq!(order(&mut app).first().map(String::as_str), Some("#1"));
    press(&mut app, "↓↓↓↓↓↓↓↓↓↓↓↓↓↓↓↓↓↓↓↓");
    assert!(order(&mut app).contains(&"#21".to_owned()));
}

#[test]
fn steps_per_second_come_from_two_looks() {
    let mut app = app(shop());
    let mut later = shop();
    later.taken_at = 102.0;
    later.tasks_at = 102.0;
    later.loops[0].tasks[1].steps = Some(12_345 + 500);
    app.update(seen(later));
    let lines = picture(&mut app, 140, 24);
    let worker = lines.iter().find(|line| line.contains("worker")).unwrap();
    assert!(worker.contains("250"), "{worker}");
}
