//! The thread that asks the process, once a second, so that keys never wait for an answer.

use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use ferrio_inspect::socket::Client;

use crate::app::Update;

/// How often the process is asked.
const EVERY: Duration = Duration::from_secs(1);

/// How long its interpreter is waited for.
const PATIENCE: Duration = Duration::from_millis(300);

/// What the process says. The thread ends when this is dropped, after the answer that it waits for.
pub(crate) struct Feed {
    updates: Receiver<Update>,
    /// Dropped, it ends the thread's pause.
    _alive: Sender<()>,
}

impl Feed {
    /// Connects, so that a process that cannot be inspected is known before the screen is taken.
    pub(crate) fn start(process: u32) -> io::Result<Feed> {
        let client = Client::connect(process)?;
        let (sender, updates) = channel();
        let (alive, is_over) = channel();
        thread::Builder::new()
            .name("ferrio-top".to_owned())
            .spawn(move || ask_on(process, client, &sender, &is_over))?;
        Ok(Feed {
            updates,
            _alive: alive,
        })
    }

    /// What has come, if something has.
    pub(crate) fn next(&self) -> Option<Update> {
        self.updates.try_recv().ok()
    }
}

fn ask_on(process: u32, client: Client, sender: &Sender<Update>, is_over: &Receiver<()>) {
    let mut client = Some(client);
    loop {
        let asked = Instant::now();
        let update = ask(process, &mut client);
        let is_last = matches!(update, Update::Ended);
        // Nobody listens any more: the pause will say so.
        let _ = sender.send(update);
        let pause = EVERY.saturating_sub(asked.elapsed());
        if is_last || is_over.recv_timeout(pause) != Err(RecvTimeoutError::Timeout) {
            return;
        }
    }
}

/// Asks; a connection that has failed is made anew.
fn ask(process: u32, client: &mut Option<Client>) -> Update {
    let mut connected = match client.take().map_or_else(|| Client::connect(process), Ok) {
        Ok(connected) => connected,
        Err(error) => return failed(&error),
    };
    let answer = connected
        .snapshot(PATIENCE)
        .and_then(|snapshot| Ok((snapshot, connected.metrics()?, connected.blocks()?)));
    match answer {
        Ok((snapshot, metrics, blocks)) => {
            *client = Some(connected);
            Update::Seen(Box::new(snapshot), Box::new(metrics), blocks)
        }
        Err(error) => failed(&error),
    }
}

fn failed(error: &io::Error) -> Update {
    match error.kind() {
        io::ErrorKind::NotFound
        | io::ErrorKind::UnexpectedEof
        | io::ErrorKind::ConnectionRefused => Update::Ended,
        _ => Update::Silent(error.to_string()),
    }
}
