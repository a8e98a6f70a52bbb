//! How views word what they show: durations, places, states.

use std::borrow::Cow;

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

use crate::snapshot::{Loop, Owner, Running, Site, Snapshot, Task, TaskState, Wait, WaitKind};

/// A duration in seconds, in at most seven characters: "850ns", "12ms", "3.2s", "5m07s", "2h15m",
/// "3d04h".
#[must_use]
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "0s".to_owned();
    }
    if seconds < 59.95 {
        return short_duration(seconds);
    }
    // A count of seconds that no process lives to see is cut, not wrapped.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = seconds.round() as u64;
    let (minutes, hours, days) = (whole / 60, whole / 3600, whole / 86_400);
    if hours == 0 {
        format!("{minutes}m{:02}s", whole % 60)
    } else if days == 0 {
        format!("{hours}h{:02}m", minutes % 60)
    } else {
        format!("{days}d{:02}h", hours % 24)
    }
}

fn short_duration(seconds: f64) -> String {
    match seconds {
        0.0 => "0s".to_owned(),
        s if s < 999.5e-9 => format!("{:.0}ns", s * 1e9),
        s if s < 999.5e-6 => format!("{:.0}µs", s * 1e6),
        s if s < 9.95e-3 => format!("{:.1}ms", s * 1e3),
        s if s < 0.9995 => format!("{:.0}ms", s * 1e3),
        s => format!("{s:.1}s"),
    }
}

/// A number with its thousands set apart: "12,345".
#[must_use]
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Bytes in a unit of 1,024: "312 B", "1.5 KiB".
#[must_use]
pub fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["KiB", "MiB", "GiB", "TiB", "PiB"];
    if number < 1024 {
        return format!("{number} B");
    }
    #[allow(clippy::cast_precision_loss)]
    let mut amount = number as f64 / 1024.0;
    let mut unit = 0;
    while amount >= 1023.95 && unit + 1 < UNITS.len() {
        amount /= 1024.0;
        unit += 1;
    }
    format!("{amount:.1} {}", UNITS[unit])
}

/// "1 task", "2 tasks".
#[must_use]
pub fn plural(number: usize, thing: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {thing}{ending}", count(number as u64))
}

/// Text of the program's without what steers a terminal: control characters are shown as their
/// pictures (␛), direction marks are left out.
#[must_use]
pub fn plain(text: &str) -> Cow<'_, str> {
    let is_harmless = |c: char| !c.is_control() && !is_direction(c);
    if text.chars().all(is_harmless) {
        return Cow::Borrowed(text);
    }
    let shown = text.chars().filter(|c| !is_direction(*c)).map(|c| match c {
        '\0'..='\x1f' => char::from_u32(0x2400 + c as u32).unwrap_or('�'),
        '\x7f' => '␡',
        c if c.is_control() => '�',
        c => c,
    });
    Cow::Owned(shown.collect())
}

fn is_direction(c: char) -> bool {
    matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// How many columns a terminal takes for it.
#[must_use]
pub fn width(text: &str) -> usize {
    text.width()
}

/// The text in at most `columns` columns, its end left out for "…".
#[must_use]
pub fn cut_end(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let kept = fitting(text.chars(), columns.saturating_sub(1));
    Cow::Owned(kept.into_iter().chain("…".chars().take(columns)).collect())
}

/// The text in at most `columns` columns, its beginning left out for "…": for paths, whose end
/// says more.
#[must_use]
pub fn cut_start(text: &str, columns: usize) -> Cow<'_, str> {
    if width(text) <= columns {
        return Cow::Borrowed(text);
    }
    let kept = fitting(text.chars().rev(), columns.saturating_sub(1));
    let dots = "…".chars().take(columns);
    Cow::Owned(dots.chain(kept.into_iter().rev()).collect())
}

/// As many of the characters as fit.
fn fitting(characters: impl Iterator<Item = char>, columns: usize) -> Vec<char> {
    let mut used = 0;
    characters
        .take_while(|c| {
            used += c.width().unwrap_or(0);
            used <= columns
        })
        .collect()
}

/// "app.py:12 worker": the file's last two parts, so that it can be told apart and fits.
#[must_use]
pub fn site(site: &Site) -> String {
    format!(
        "{}:{} {}",
        plain(short_path(&site.file)),
        site.line,
        plain(&site.function)
    )
}

/// "/srv/app.py:12 in worker", whole: to be found by editors.
#[must_use]
pub fn whole_site(site: &Site) -> String {
    format!(
        "{}:{} in {}",
        plain(&site.file),
        site.line,
        plain(&site.function)
    )
}

/// The file's name with the directory that it is in, if it has one.
fn short_path(path: &str) -> &str {
    let mut separators = path.rmatch_indices('/').map(|(index, _)| index);
    separators.next();
    match separators.next() {
        Some(index) => &path[index + 1..],
        None => path,
    }
}

/// A message that begins with a place, with that place's file as [`site`] has it: what matters
/// stands behind it.
#[must_use]
pub fn short_message(message: &str) -> &str {
    match message.find(':') {
        Some(end) => &message[end - short_path(&message[..end]).len()..],
        None => message,
    }
}

/// "running", "ready", "waiting".
#[must_use]
pub fn state(state: TaskState) -> &'static str {
    match state {
        TaskState::Running => "running",
        TaskState::Ready => "ready",
        TaskState::Waiting => "waiting",
    }
}

/// A kind of wait in words.
#[must_use]
pub fn wait_kind(kind: WaitKind) -> &'static str {
    match kind {
        WaitKind::Lock => "lock",
        WaitKind::Semaphore => "semaphore",
        WaitKind::Condition => "condition",
        WaitKind::Event => "event",
        WaitKind::Barrier => "barrier",
        WaitKind::QueueGet => "queue get",
        WaitKind::QueuePut => "queue put",
        WaitKind::QueueJoin => "queue join",
        WaitKind::Sleep => "sleep",
        WaitKind::Timeout => "timeout",
        WaitKind::Task => "task",
        WaitKind::Tasks => "tasks",
        WaitKind::TaskGroup => "task group",
        WaitKind::Read => "read",
        WaitKind::Write => "write",
        WaitKind::Connection => "connection",
        WaitKind::Lookup => "name lookup",
        WaitKind::Executor => "thread",
        WaitKind::Subprocess => "subprocess",
        WaitKind::Future => "future",
    }
}

/// What a task waits for, in a line: its kind, what it is, which tasks are involved, how much longer
/// it lasts at most.
#[must_use]
pub fn wait(wait: &Wait, snapshot: &Snapshot) -> String {
    wait_in(wait, &brief(&wait.what), snapshot, 60)
}

/// The same with up to ten lines' worth of what it is: queues show all that is in them.
#[must_use]
pub fn whole_wait(wait: &Wait, snapshot: &Snapshot) -> String {
    wait_in(wait, &wait.what, snapshot, 1000)
}

/// "<asyncio.locks.Lock object at 0x7f914d9b8040 [locked]>" as "…8040 [locked]": that it is a lock is
/// said already, and the address's end tells one from the other.
fn brief(what: &str) -> Cow<'_, str> {
    let parts = what
        .strip_prefix('<')
        .and_then(|inner| inner.strip_suffix('>'))
        .and_then(|inner| inner.split_once(" at 0x"));
    let Some((_, rest)) = parts else {
        return Cow::Borrowed(what);
    };
    let end = rest
        .find(|c: char| !c.is_ascii_hexdigit())
        .unwrap_or(rest.len());
    let (address, rest) = rest.split_at(end);
    Cow::Owned(format!("…{}{rest}", &address[end.saturating_sub(4)..]))
}

fn wait_in(wait: &Wait, what: &str, snapshot: &Snapshot, columns: usize) -> String {
    let mut text = wait_kind(wait.kind).to_owned();
    // How much was left when the tasks were looked at is said below, as of now.
    let is_rest = wait.until.is_some() && wait.what.ends_with(" left");
    if !what.is_empty() && !is_rest {
        text.push(' ');
        text.push_str(&cut_end(&plain(what), columns));
    }
    if !wait.tasks.is_empty() {
        text.push(' ');
        text.push_str(&task_numbers(&wait.tasks));
    }
    if let Some(until) = wait.until {
        text.push_str(", ");
        text.push_str(&duration((until - snapshot.taken_at).max(0.0)));
        text.push_str(" left");
    }
    text
}

/// "#3", "#3 #4", "#3 #4 #5 and 17 more".
fn task_numbers(tasks: &[u64]) -> String {
    const SHOWN: usize = 3;
    let shown: Vec<_> = tasks
        .iter()
        .take(SHOWN)
        .map(|task| format!("#{task}"))
        .collect();
    match tasks.len().saturating_sub(SHOWN) {
        0 => shown.join(" "),
        more => format!("{} and {} more", shown.join(" "), count(more as u64)),
    }
}

/// How long the task has been at what it is at, as far as that is known.
#[must_use]
pub fn task_age(task: &Task, its_loop: &Loop, snapshot: &Snapshot) -> Option<f64> {
    let since = match (task.state, &its_loop.running) {
        (TaskState::Running, Running::Step { since, .. }) => *since,
        _ => task.wait.as_ref().and_then(|wait| wait.since),
    };
    since.map(|since| (snapshot.taken_at - since).max(0.0))
}

/// The line that the task is at: where it waits, or else its innermost frame.
#[must_use]
pub fn task_site(task: &Task) -> Option<&Site> {
    let waits = task.wait.as_ref().and_then(|wait| wait.site.as_ref());
    waits.or(task.stack.last())
}

/// Who answers for the task: "user", "task group of #1", "gather of #1".
#[must_use]
pub fn owner(owner: &Owner) -> String {
    let of = |what: &str, task: &Option<u64>| match task {
        Some(task) => format!("{what} of #{task}"),
        None => what.to_owned(),
    };
    match owner {
        Owner::User => "create_task".to_owned(),
        Owner::Runner => "run".to_owned(),
        Owner::TaskGroup { task } => of("task group", task),
        Owner::Combinator { name, task } => of(&plain(name), task),
        Owner::Server => "server".to_owned(),
    }
}

/// What the loop is at.
#[must_use]
pub fn running(its_loop: &Loop, snapshot: &Snapshot) -> String {
    let for_long = |since: &Option<f64>| match since {
        Some(since) => format!(" for {}", duration((snapshot.taken_at - since).max(0.0))),
        None => String::new(),
    };
    match &its_loop.running {
        Running::Stopped => "stopped".to_owned(),
        Running::Waiting => "waiting for events".to_owned(),
        Running::Step { task, since } => {
            let name = its_loop
                .tasks
                .iter()
                .find(|other| other.id == *task)
                .map_or_else(String::new, |task| format!(" {}", plain(&task.name)));
            format!("running #{task}{name}{}", for_long(since))
        }
        Running::Callback { name, since } => {
            let name = name.as_deref().unwrap_or("a callback");
            format!("running {}{}", plain(name), for_long(since))
        }
    }
}

/// The line about a process: number, command, versions.
#[must_use]
pub fn process(snapshot: &Snapshot) -> String {
    format!(
        "process {}  {}  (Python {}, ferrio {})",
        snapshot.process,
        command(&snapshot.command),
        plain(&snapshot.python),
        plain(&snapshot.ferrio),
    )
}

/// A command line in one line.
#[must_use]
pub fn command(words: &[String]) -> String {
    plain(&words.join(" ")).into_owned()
}

/// The line about a loop: what it is at and how much it has.
#[must_use]
pub fn event_loop(its_loop: &Loop, snapshot: &Snapshot) -> String {
    let mut parts = vec![format!("loop {}", its_loop.id)];
    if let Some(thread) = its_loop.thread {
        parts.push(format!("thread {thread}"));
    }
    parts.push(running(its_loop, snapshot));
    parts.push(plural(its_loop.tasks.len(), "task"));
    parts.push(format!("{} ready", count(its_loop.ready as u64)));
    parts.push(plural(its_loop.timers, "timer"));
    parts.push(format!("{} turns", count(its_loop.turns)));
    parts.join(" · ")
}

/// Seconds. What is not as new as the rest by less than that was only slow to be collected.
const OUTDATED: f64 = 0.3;

/// A warning if what needs the interpreter is not as new as the rest.
#[must_use]
pub fn outdated(snapshot: &Snapshot) -> Option<String> {
    let age = snapshot.taken_at - snapshot.tasks_at;
    (age > OUTDATED).then(|| {
        format!(
            "The interpreter could not be had: tasks are as they were {} ago.",
            duration(age)
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_stay_short() {
        let shown = |seconds| duration(seconds);
        assert_eq!(shown(0.0), "0s");
        assert_eq!(shown(850e-9), "850ns");
        assert_eq!(shown(0.012), "12ms");
        assert_eq!(shown(0.0012), "1.2ms");
        assert_eq!(shown(0.9999), "1.0s");
        assert_eq!(shown(3.21), "3.2s");
        assert_eq!(shown(59.96), "1m00s");
        assert_eq!(shown(307.0), "5m07s");
        assert_eq!(shown(8100.0), "2h15m");
        assert_eq!(shown(273_600.0), "3d04h");
        assert_eq!(shown(f64::NAN), "0s");
        assert_eq!(shown(-1.0), "0s");
    }

    #[test]
    fn numbers_have_their_thousands_apart() {
        assert_eq!(count(7), "7");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(12_345_678), "12,345,678");
        assert_eq!(bytes(1023), "1023 B");
        assert_eq!(bytes(1536), "1.5 KiB");
        assert_eq!(bytes(1 << 30), "1.0 GiB");
        assert_eq!(plural(1, "task"), "1 task");
        assert_eq!(plural(2000, "task"), "2,000 tasks");
    }

    #[test]
    fn what_steers_a_terminal_is_shown_and_not_obeyed() {
        assert_eq!(plain("fine ✓"), "fine ✓");
        assert_eq!(plain("a\x1b[2Jb\n"), "a␛[2Jb␊");
        assert_eq!(plain("\u{202e}live\u{9b}"), "live�");
    }

    #[test]
    fn texts_are_cut_by_columns_and_not_by_bytes() {
        assert_eq!(cut_end("worker", 6), "worker");
        assert_eq!(cut_end("workers", 6), "worke…");
        assert_eq!(cut_start("src/app.py:3", 9), "…app.py:3");
        assert_eq!(cut_end("日本語", 5), "日本…");
        assert_eq!(cut_end("日本語", 4), "日…");
        assert_eq!(cut_end("abc", 0), "");
    }

    #[test]
    fn representations_are_shortened_to_what_is_not_known_yet() {
        assert_eq!(
            brief("<asyncio.locks.Lock object at 0x7f914d9b8040 [locked, waiters:2]>"),
            "…8040 [locked, waiters:2]"
        );
        assert_eq!(brief("<Queue at 0x7f91 maxsize=10>"), "…7f91 maxsize=10");
        assert_eq!(brief("<Event at 0x7>"), "…7");
        assert_eq!(brief("<Thing at 0x>"), "…");
        for other in ["", "127.0.0.1:80", "<TaskGroup tasks=3>", "at 0x7f", "<"] {
            assert_eq!(brief(other), other);
        }
    }

    #[test]
    fn paths_keep_the_directory_that_tells_them_apart() {
        assert_eq!(short_path("/srv/shop/orders/views.py"), "orders/views.py");
        assert_eq!(short_path("/app.py"), "/app.py");
        assert_eq!(short_path("app.py"), "app.py");
        assert_eq!(short_path("<stdin>"), "<stdin>");
    }
}
