//! The terminal: taken for a while, and given back whatever happens.

use std::io::{self, Stdout, stdout};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

/// The terminal in raw mode on its other screen; dropped, it is as before. A panic unwinds through
/// here too.
pub(crate) struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
}

impl Screen {
    pub(crate) fn take() -> io::Result<Screen> {
        /// Gives back what was taken when the rest fails.
        struct Taken(bool);
        impl Drop for Taken {
            fn drop(&mut self) {
                if self.0 {
                    give_back();
                }
            }
        }
        enable_raw_mode()?;
        let mut taken = Taken(true);
        execute!(stdout(), EnterAlternateScreen)?;
        let terminal = Terminal::new(CrosstermBackend::new(stdout()))?;
        taken.0 = false;
        Ok(Screen { terminal })
    }

    pub(crate) fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        self.terminal.draw(picture).map(drop)
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn give_back() {
    // A terminal that is gone needs nothing.
    let _ = disable_raw_mode();
    let _ = execute!(stdout(), LeaveAlternateScreen, Show);
}

/// The signals that end it: noted, so that the terminal is given back before anything else.
pub(crate) struct Signals {
    has_come: Arc<AtomicBool>,
    registered: Vec<SigId>,
}

impl Signals {
    /// From now on these signals are noted, beside what was done about them before.
    pub(crate) fn watch() -> io::Result<Signals> {
        let mut signals = Signals {
            has_come: Arc::default(),
            registered: Vec::new(),
        };
        for signal in [SIGINT, SIGTERM, SIGHUP] {
            let flag = Arc::clone(&signals.has_come);
            signals
                .registered
                .push(signal_hook::flag::register(signal, flag)?);
        }
        Ok(signals)
    }

    pub(crate) fn has_come(&self) -> bool {
        self.has_come.load(Ordering::Relaxed)
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for id in self.registered.drain(..) {
            signal_hook::low_level::unregister(id);
        }
    }
}
