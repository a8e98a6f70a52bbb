//! `ferrio top`: a running process in the terminal.
//!
//! | module | what it holds |
//! |---|---|
//! | `app` | what is shown and what keys do: no terminal, no process |
//! | `columns` | the table's columns, and the order of its rows |
//! | `feed` | the thread that asks the process |
//! | `history` | the last minutes of a loop |
//! | `screen` | the picture |
//! | `terminal` | the terminal, taken and given back |

mod app;
mod columns;
mod feed;
mod history;
mod screen;
mod terminal;

use std::io;
use std::time::Duration;

pub use app::{App, Mode, Update};
use ratatui::crossterm::event::{self, Event, KeyEventKind};
pub use screen::draw;

use feed::Feed;
use terminal::{Keyboard, Screen, Signals};

/// How long a key is waited for before something new from the process is looked for.
const PATIENCE: Duration = Duration::from_millis(100);

/// Shows a process until the user quits; gives what there is to be said about the end.
///
/// Takes the terminal of standard input and output, and gives it back however it ends. Blocking:
/// a caller that holds an interpreter releases it.
///
/// # Errors
/// `NotFound` if the process cannot be inspected; `Interrupted` if a signal (SIGINT, SIGTERM, SIGHUP)
/// ended it; `BrokenPipe` if the terminal is gone; what else the terminal says.
pub fn run(process: u32) -> io::Result<Option<String>> {
    let feed = Feed::start(process)?;
    let signals = Signals::watch()?;
    let keyboard = Keyboard::open()?;
    let mut app = App::new(process);
    let mut screen = Screen::take()?;
    while !app.is_over() {
        if signals.has_come() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        while let Some(update) = feed.next() {
            app.update(update);
        }
        screen.draw(|frame| draw(frame, &mut app))?;
        keyboard.wait(PATIENCE)?;
        if !event::poll(Duration::ZERO)? {
            continue;
        }
        // A new size is seen by the next picture.
        if let Event::Key(key) = event::read()?
            && key.kind != KeyEventKind::Release
        {
            app.key(key);
        }
    }
    drop(screen);
    Ok(app.farewell())
}
