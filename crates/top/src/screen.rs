//! The picture.
//!
//! Colours are the terminal's own sixteen on its own background, so that they read on dark and on
//! light; whatever they say is said in words too. (`NO_COLOR` is honoured by crossterm.)

use ferrio_inspect::metrics::LoopMetrics;
use ferrio_inspect::snapshot::{Loop, Running, Snapshot, TaskState};
use ferrio_inspect::view::words;
use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style, Stylize};
use ratatui::text::{Line, Span, Text};
use ratatui::widgets::{
    Block, BorderType, Borders, Cell, Clear, Paragraph, Row as TableRow, Scrollbar,
    ScrollbarOrientation, ScrollbarState, Sparkline, Table, Wrap,
};

use crate::app::{App, Mode};
use crate::columns::{Column, Row, fitted};

/// Loops that have a line in the header.
const MOST_LOOPS: usize = 4;

/// The width of the bar of the busy share; half of it on a screen that is not wide.
const BAR: usize = 20;

/// Columns of a wide screen.
const WIDE: u16 = 110;

/// The share, in percent, that has the lowest mark of the chart. What is less has it too, so that
/// an idle loop is a line and not nothing.
const LOWEST_MARK: u64 = 7;

/// Draws everything.
pub fn draw(frame: &mut Frame<'_>, app: &mut App) {
    let loops = app.snapshot.as_ref().map_or(0, |s| s.loops.len());
    let alarm = app.alarm();
    let details = if app.shows_details {
        app.details()
    } else {
        None
    };
    let [head, about, chart, warning, body, below, foot] = Layout::vertical([
        Constraint::Length(1),
        Constraint::Length(u16::try_from(loops.clamp(1, MOST_LOOPS)).unwrap_or(1)),
        Constraint::Length(if frame.area().height >= 20 { 2 } else { 0 }),
        Constraint::Length(u16::from(alarm.is_some())),
        Constraint::Min(3),
        Constraint::Length(details_height(details.as_deref(), frame.area().height)),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    draw_head(frame, app, head);
    draw_loops(frame, app, about);
    draw_chart(frame, app, chart);
    if let Some(alarm) = alarm {
        let room = usize::from(warning.width.saturating_sub(2));
        let line = Line::from(format!(" {} ", words::cut_end(&alarm, room))).style(alarm_style());
        frame.render_widget(Paragraph::new(line).style(alarm_style()), warning);
    }
    draw_table(frame, app, body);
    if let Some(lines) = details {
        draw_details(frame, app, lines, below);
    }
    draw_foot(frame, app, foot);
    if app.mode == Mode::Help {
        draw_help(frame);
    }
}

fn alarm_style() -> Style {
    Style::new()
        .fg(Color::Red)
        .add_modifier(Modifier::BOLD | Modifier::REVERSED)
}

fn dim(text: impl Into<String>) -> Span<'static> {
    Span::from(text.into()).add_modifier(Modifier::DIM)
}

fn details_height(lines: Option<&[String]>, screen: u16) -> u16 {
    let Some(lines) = lines else {
        return 0;
    };
    let needed = u16::try_from(lines.len() + 2).unwrap_or(u16::MAX);
    needed.min(screen.saturating_sub(8) / 2 + 2)
}

fn draw_head(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let mut left = Line::from(vec![
        Span::from(" ferrio top ").add_modifier(Modifier::REVERSED | Modifier::BOLD),
        Span::from(format!("  process {}", app.process())).bold(),
    ]);
    let mut right = Vec::new();
    if let Some(snapshot) = &app.snapshot {
        let versions = format!(
            "Python {} · ferrio {} ",
            words::plain(&snapshot.python),
            words::plain(&snapshot.ferrio)
        );
        if left.width() + words::width(&versions) + 2 <= usize::from(area.width) {
            right.push(dim(versions));
        }
    }
    if app.is_paused {
        right.insert(0, Span::from(" PAUSED ").reversed());
        right.insert(1, Span::from(" "));
    }
    let right = Line::from(right);
    let width = u16::try_from(right.width()).unwrap_or(0);
    let [for_left, for_right] =
        Layout::horizontal([Constraint::Min(0), Constraint::Length(width)]).areas(area);
    if let Some(snapshot) = &app.snapshot {
        let gaps = if width == 0 { 2 } else { 4 };
        let room = usize::from(for_left.width).saturating_sub(left.width() + gaps);
        let command = words::command(&snapshot.command);
        left.push_span(Span::from(format!("  {}", words::cut_end(&command, room))));
    }
    frame.render_widget(left, for_left);
    frame.render_widget(right, for_right);
}

fn draw_loops(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let Some(snapshot) = &app.snapshot else {
        frame.render_widget(dim(" waiting for the first answer …"), area);
        return;
    };
    if snapshot.loops.is_empty() {
        frame.render_widget(dim(" no event loop of ferrio's exists"), area);
        return;
    }
    let shown = app.shown_loop().map(|l| l.id);
    let metrics = |number| app.metrics.as_ref()?.loops.iter().find(|l| l.id == number);
    let lines: Vec<Line<'_>> = snapshot
        .loops
        .iter()
        .take(MOST_LOOPS)
        .map(|l| {
            let is_shown = Some(l.id) == shown;
            loop_line(app, l, metrics(l.id), snapshot, is_shown, area.width)
        })
        .collect();
    frame.render_widget(Text::from(lines), area);
}

fn loop_line(
    app: &App,
    its_loop: &Loop,
    metrics: Option<&LoopMetrics>,
    snapshot: &Snapshot,
    is_shown: bool,
    width: u16,
) -> Line<'static> {
    let several = snapshot.loops.len() > 1;
    let mark = if several && is_shown { "▶" } else { " " };
    let mut first = vec![Span::from(format!("{mark}loop {} ", its_loop.id)).bold()];
    // Each with how gladly it is given up where there is no room for all.
    let mut parts = Vec::new();
    if let Some(history) = app.history.of(its_loop.id) {
        let room = if width < WIDE { BAR / 2 } else { BAR };
        first.extend(bar(history.recent.busy, room));
        let lag = history.recent.lag;
        let shown = Span::from(words::duration(lag)).style(lag_style(lag));
        parts.push((1, "lag", shown));
        let turns = rounded(history.recent.turns_per_second);
        parts.push((5, "turns/s", Span::from(words::count(turns))));
        let (received, sent) = (
            rounded(history.recent.received_per_second),
            rounded(history.recent.sent_per_second),
        );
        if received + sent > 0 {
            parts.push((3, "in/s", Span::from(words::bytes(received))));
            parts.push((3, "out/s", Span::from(words::bytes(sent))));
        }
    }
    for (gladly, name, number) in [
        // The one that is shown has this at its table.
        (if is_shown { 6 } else { 2 }, "tasks", its_loop.tasks.len()),
        (2, "ready", its_loop.ready),
        (4, "timers", its_loop.timers),
    ] {
        parts.push((gladly, name, Span::from(words::count(number as u64))));
    }
    if let Some(blocks) = metrics.and_then(|_| blocks(app, width >= WIDE)) {
        parts.push((1, "blocks", Span::from(blocks).fg(Color::Red)));
    }
    let now = match its_loop.running {
        Running::Step { .. } | Running::Callback { .. } => Style::new().fg(Color::Green),
        Running::Stopped | Running::Waiting => Style::new(),
    };
    let last = [
        dim(" · "),
        Span::from(words::running(its_loop, snapshot)).style(now),
    ];
    let ends: usize = first.iter().chain(&last).map(Span::width).sum();
    while ends + parts.iter().map(part_width).sum::<usize>() > usize::from(width)
        && let Some(most) = parts
            .iter()
            .map(|part| part.0)
            .max()
            .filter(|most| *most > 1)
    {
        parts.retain(|part| part.0 != most);
    }
    let mut spans = first;
    for (_, name, shown) in parts {
        spans.extend([dim(format!("  {name} ")), shown]);
    }
    spans.extend(last);
    Line::from(spans)
}

fn part_width((_, name, shown): &(u8, &str, Span<'_>)) -> usize {
    words::width(name) + shown.width() + 3
}

/// How many blocks the watchdog has counted, and how long the longest was, if there is room.
fn blocks(app: &App, is_wide: bool) -> Option<String> {
    let blocks = &app.metrics.as_ref()?.blocks;
    let count: u64 = blocks.iter().map(|block| block.count).sum();
    let longest = blocks.iter().map(|block| block.longest).fold(0.0, f64::max);
    let shown = words::count(count);
    match (count, is_wide) {
        (0, _) => None,
        (_, false) => Some(shown),
        (_, true) => Some(format!("{shown} (longest {})", words::duration(longest))),
    }
}

fn bar(share: f64, room: usize) -> [Span<'static>; 3] {
    #[allow(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        clippy::cast_precision_loss
    )]
    let full = ((share * room as f64).round() as usize).min(room);
    let color = match share {
        s if s >= 0.9 => Color::Red,
        s if s >= 0.7 => Color::Magenta,
        _ => Color::Green,
    };
    [
        Span::from("━".repeat(full)).fg(color).bold(),
        dim("─".repeat(room - full)),
        Span::from(format!(" {:>3.0}% busy", share * 100.0)),
    ]
}

fn lag_style(lag: f64) -> Style {
    match lag {
        s if s >= 0.1 => Style::new().fg(Color::Red).bold(),
        s if s >= 0.02 => Style::new().fg(Color::Magenta),
        _ => Style::new(),
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)] // Of something counted.
fn rounded(number: f64) -> u64 {
    number.round() as u64
}

/// The busy share over the last minutes, the latest at the right.
fn draw_chart(frame: &mut Frame<'_>, app: &App, area: Rect) {
    let Some(history) = app.shown_loop().and_then(|l| app.history.of(l.id)) else {
        return;
    };
    let [label, chart] =
        Layout::horizontal([Constraint::Length(8), Constraint::Min(0)]).areas(area);
    frame.render_widget(
        Text::from(vec![Line::from(dim(" busy")), Line::from(dim(" history"))]),
        label,
    );
    let wanted = usize::from(chart.width);
    let from = history.busy.len().saturating_sub(wanted);
    let mut data = vec![None; wanted - (history.busy.len() - from)];
    data.extend(
        history
            .busy
            .iter()
            .skip(from)
            .map(|percent| Some((*percent).max(LOWEST_MARK))),
    );
    let sparkline = Sparkline::default()
        .max(100)
        .data(data)
        .style(Style::new().fg(Color::Green));
    frame.render_widget(sparkline, chart);
}

fn draw_table(frame: &mut Frame<'_>, app: &mut App, area: Rect) {
    // The header, and the line at the top.
    app.page = usize::from(area.height.saturating_sub(2)).max(1);
    let title = table_title(app);
    let mut state = app.table;
    let rows = app.rows();
    let count = rows.len();
    let Some(snapshot) = &app.snapshot else {
        return;
    };
    let (columns, widths) = layout(&rows, snapshot, area.width);
    let header = TableRow::new(columns.iter().map(|column| heading(app, *column)))
        .style(Style::new().bold());
    // Only what can be seen is made into rows: there may be a hundred thousand of them.
    let first = first_row(state.offset(), state.selected(), app.page, count);
    let shown = rows.iter().skip(first).take(app.page);
    let body = shown.map(|row| table_row(row, &columns, &widths, snapshot));
    let block = Block::new()
        .borders(Borders::TOP)
        .border_style(Style::new().add_modifier(Modifier::DIM))
        .title(title);
    let table = Table::new(body, widths.iter().copied().map(Constraint::Length))
        .header(header)
        .block(block)
        .row_highlight_style(Style::new().reversed());
    *state.offset_mut() = first;
    let mut visible = state;
    *visible.offset_mut() = 0;
    visible.select(state.selected().and_then(|at| at.checked_sub(first)));
    frame.render_stateful_widget(table, area, &mut visible);
    if count > app.page {
        let mut bar = ScrollbarState::new(count.saturating_sub(app.page)).position(first);
        let scrollbar = Scrollbar::new(ScrollbarOrientation::VerticalRight)
            .begin_symbol(None)
            .end_symbol(None)
            .track_symbol(Some(" "));
        let rows = Rect {
            y: area.y + 2,
            height: area.height.saturating_sub(2),
            ..area
        };
        frame.render_stateful_widget(scrollbar, rows, &mut bar);
    }
    app.table = state;
}

/// The first row on the screen, so that the selected one is on it.
fn first_row(offset: usize, selected: Option<usize>, page: usize, count: usize) -> usize {
    let offset = offset.min(count.saturating_sub(page));
    match selected {
        Some(at) if at < offset => at,
        Some(at) if at >= offset + page => at + 1 - page,
        _ => offset,
    }
}

fn table_title(app: &App) -> Line<'static> {
    let Some(its_loop) = app.shown_loop() else {
        return Line::default();
    };
    let shown = app.rows().len();
    let mut spans = vec![if shown == its_loop.tasks.len() {
        Span::from(format!(" {} ", words::plural(shown, "task")))
    } else {
        Span::from(format!(
            " {shown} of {} ",
            words::plural(its_loop.tasks.len(), "task")
        ))
    }];
    if !app.filter.is_empty() && app.mode != Mode::Filter {
        spans.push(Span::from(format!("with “{}” ", app.filter)));
    }
    if let Some(old) = app.snapshot.as_ref().and_then(words::outdated) {
        spans.push(Span::from(format!("{old} ")).fg(Color::Red));
    }
    Line::from(spans)
}

fn heading(app: &App, column: Column) -> Cell<'static> {
    let mut title = column.title().to_owned();
    if column == app.sorted_by {
        title.push(if app.reversed { '▲' } else { '▼' });
    }
    aligned(Span::from(title), column)
}

fn table_row(
    row: &Row<'_>,
    columns: &[Column],
    widths: &[u16],
    snapshot: &Snapshot,
) -> TableRow<'static> {
    let style = match (row.task.state, row.task.cancelling) {
        (_, 1..) => Style::new().fg(Color::Red),
        (TaskState::Running, _) => Style::new().fg(Color::Green).bold(),
        (TaskState::Ready, _) => Style::new().fg(Color::Green),
        (TaskState::Waiting, _) => Style::new(),
    };
    TableRow::new(columns.iter().zip(widths).map(|(column, width)| {
        let text = fitted(row.cell(*column, snapshot), *column, *width);
        let span = Span::from(text);
        let span = match column {
            Column::State => span.style(style),
            Column::Coroutine | Column::Site => span.add_modifier(Modifier::DIM),
            _ => span,
        };
        aligned(span, *column)
    }))
}

fn aligned(span: Span<'static>, column: Column) -> Cell<'static> {
    let alignment = if column.is_number() {
        Alignment::Right
    } else {
        Alignment::Left
    };
    Cell::from(Line::from(span).alignment(alignment))
}

/// The columns that find room, and how much each has. What says least goes first.
fn layout(rows: &[Row<'_>], snapshot: &Snapshot, width: u16) -> (Vec<Column>, Vec<u16>) {
    let has_cpu = rows.iter().any(|row| row.task.cpu.is_some());
    let has_steps = rows.iter().any(|row| row.task.steps.is_some());
    let mut columns: Vec<_> = Column::ALL
        .into_iter()
        .filter(|column| match column {
            Column::Cpu => has_cpu,
            Column::Steps | Column::Rate => has_steps,
            _ => true,
        })
        .collect();
    for (dropped, needed) in [
        (Column::Steps, WIDE),
        (Column::Coroutine, 96),
        (Column::Rate, 80),
        (Column::Site, 64),
        (Column::Cpu, 56),
    ] {
        if width < needed {
            columns.retain(|column| *column != dropped);
        }
    }
    let widest = |column: Column, most: usize| {
        let cells = rows
            .iter()
            .take(200)
            .map(|row| words::width(&row.cell(column, snapshot)));
        // The mark of the order has its place.
        let title = words::width(column.title()) + 1;
        u16::try_from(cells.max().unwrap_or(0).min(most).max(title)).unwrap_or(u16::MAX)
    };
    let fifth = usize::from(width / 5).max(8);
    let mut widths: Vec<u16> = columns
        .iter()
        .map(|column| match column {
            Column::Task => numbers(rows),
            Column::Name | Column::Coroutine => widest(*column, fifth),
            Column::State => 10,
            Column::Since | Column::Cpu => 7,
            Column::Steps => widest(*column, 14),
            Column::Rate => 9,
            // These share what is left.
            Column::Wait | Column::Site => 0,
        })
        .collect();
    let gaps = u16::try_from(columns.len().saturating_sub(1)).unwrap_or(0);
    // Two more for the scrollbar, which stands apart.
    let used = widths.iter().sum::<u16>() + gaps + 2;
    let mut rest = width.saturating_sub(used);
    if let Some(at) = columns.iter().position(|column| *column == Column::Site) {
        let wanted = widest(Column::Site, 60);
        let unwanted = rest.saturating_sub(widest(Column::Wait, 200));
        widths[at] = wanted.min(unwanted.max(rest * 2 / 5));
        rest -= widths[at];
    }
    if let Some(at) = columns.iter().position(|column| *column == Column::Wait) {
        widths[at] = rest;
    }
    (columns, widths)
}

/// As wide as the highest number, wherever it stands.
fn numbers(rows: &[Row<'_>]) -> u16 {
    let highest = rows.iter().map(|row| row.task.id).max().unwrap_or(0);
    let digits = u16::try_from(highest.to_string().len()).unwrap_or(u16::MAX);
    (digits + 1).max(5)
}

fn draw_details(frame: &mut Frame<'_>, app: &App, lines: Vec<String>, area: Rect) {
    let mut lines = lines.into_iter();
    let title = lines.next().unwrap_or_default();
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .border_style(Style::new().add_modifier(Modifier::DIM))
        .title(Span::from(format!(" {title} ")).bold());
    let room = usize::from(area.width.saturating_sub(3));
    let text: Vec<Line<'_>> = lines
        .map(|line| Line::from(words::cut_end(&line, room).into_owned()))
        .collect();
    frame.render_widget(
        Paragraph::new(text)
            .block(block)
            .scroll((app.details_scroll, 0)),
        area,
    );
}

fn draw_foot(frame: &mut Frame<'_>, app: &App, area: Rect) {
    if app.mode == Mode::Filter {
        let line = Line::from(vec![
            Span::from(" filter: ").bold(),
            Span::from(app.filter.clone()),
            Span::from("▏"),
            dim("  Enter keeps it, Esc clears it"),
        ]);
        frame.render_widget(line, area);
        return;
    }
    let mut spans = vec![Span::from(" ")];
    for (key, what) in [
        ("q", "quit"),
        ("?", "keys"),
        ("↑↓", "select"),
        ("Enter", "details"),
        ("/", "filter"),
        ("←→", "sort"),
        ("r", "reverse"),
        ("p", "pause"),
        ("Tab", "loop"),
    ] {
        if key == "Tab" && app.snapshot.as_ref().is_none_or(|s| s.loops.len() < 2) {
            continue;
        }
        spans.push(Span::from(key).bold());
        spans.push(dim(format!(" {what}  ")));
    }
    frame.render_widget(Line::from(spans), area);
}

fn draw_help(frame: &mut Frame<'_>) {
    let mut lines = vec![Line::from("")];
    let mut add = |key: &str, what: &str| {
        lines.push(Line::from(vec![
            Span::from(format!("  {key:<16}")).bold(),
            Span::from(what.to_owned()),
        ]));
    };
    add("↑ ↓  j k", "select a task; PgUp PgDn Home End too");
    add("Enter  d", "details of it, with its stack");
    add("[ ]", "scroll the details");
    add("/", "show only tasks with some text");
    add("Esc", "close the details, or clear the filter");
    add("← →", "sort by the column beside");
    for column in Column::ALL {
        add(
            &column.key().to_string(),
            &format!("sort by {}", column.title()),
        );
    }
    add("r", "reverse the order");
    add("p  Space", "pause");
    add("Tab", "the next loop");
    add("q  Ctrl-C", "quit");
    let area = centred(
        frame.area(),
        58,
        u16::try_from(lines.len() + 3).unwrap_or(20),
    );
    let block = Block::bordered()
        .border_type(BorderType::Rounded)
        .title(" keys ")
        .title_bottom(" any key closes this ");
    frame.render_widget(Clear, area);
    frame.render_widget(
        Paragraph::new(lines)
            .block(block)
            .wrap(Wrap { trim: false }),
        area,
    );
}

fn centred(area: Rect, width: u16, height: u16) -> Rect {
    let (width, height) = (width.min(area.width), height.min(area.height));
    Rect {
        x: area.x + (area.width - width) / 2,
        y: area.y + (area.height - height) / 2,
        width,
        height,
    }
}
