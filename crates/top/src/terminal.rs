//! The terminal: taken for a while, and given back whatever happens.

use std::fs::File;
use std::io::{self, IsTerminal, Stdout, stdin, stdout};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::cursor::Show;
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::{
    EnterAlternateScreen, LeaveAlternateScreen, disable_raw_mode, enable_raw_mode,
};
use ratatui::{Frame, Terminal};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
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

/// Where keys come from.
pub(crate) struct Keyboard(File);

impl Keyboard {
    /// Standard input, or the terminal that controls the process if that is none.
    ///
    /// # Errors
    /// What the kernel says where there is no terminal.
    pub(crate) fn open() -> io::Result<Keyboard> {
        let input = stdin();
        if input.is_terminal() {
            return Ok(Keyboard(input.as_fd().try_clone_to_owned()?.into()));
        }
        File::open("/dev/tty").map(Keyboard)
    }

    /// Waits for a key for `patience` at most.
    ///
    /// crossterm would read a terminal that is gone again and again, and never return. So it is
    /// asked only when this has seen that the terminal is there.
    ///
    /// # Errors
    /// `BrokenPipe` if the terminal is gone.
    pub(crate) fn wait(&self, patience: Duration) -> io::Result<()> {
        let mut watched = [PollFd::new(&self.0, PollFlags::IN)];
        let timeout = Timespec::try_from(patience).ok();
        match poll(&mut watched, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let ready = watched[0].revents();
        if ready.intersects(PollFlags::HUP | PollFlags::ERR | PollFlags::NVAL) {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        Ok(())
    }
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
