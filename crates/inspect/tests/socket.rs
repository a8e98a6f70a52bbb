//! The inspect socket, from both ends.

#![allow(clippy::unwrap_used, reason = "a test ends where it fails")]

mod shop;

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use ferrio_inspect::services::Services;
use ferrio_inspect::snapshot::Snapshot;
use ferrio_inspect::socket::{Client, Directory, InspectSocket, ask_processes_of};
use ferrio_inspect::{Metrics, Source};
use serde_json::{Value, json};
use shop::{shop, task};

/// A directory of the test's own, removed at its end.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Scratch {
        static LAST: AtomicUsize = AtomicUsize::new(0);
        let number = LAST.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ferrio-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        Scratch(path)
    }

    fn sockets(&self) -> Directory {
        Directory::at(self.0.join("sockets")).unwrap()
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).unwrap();
    }
}

/// A process that is always at the same thing, with as many tasks as it is told.
struct Fixed {
    tasks: u64,
}

impl Source for Fixed {
    fn snapshot(&self, _patience: Duration) -> Snapshot {
        let mut snapshot = shop();
        if self.tasks > 0 {
            snapshot.loops[0].tasks = (1..=self.tasks)
                .map(|id| task(id, "one", "of_many"))
                .collect();
        }
        snapshot
    }

    fn metrics(&self) -> Metrics {
        Metrics::of_loops()
    }
}

/// A socket that is being served.
struct Served {
    services: Services,
    socket: Arc<InspectSocket>,
    scratch: Scratch,
}

impl Served {
    fn start(source: Fixed) -> Served {
        let scratch = Scratch::new();
        let socket = Arc::new(InspectSocket::open(&scratch.sockets()).unwrap());
        let services = Services::new();
        let served = Arc::clone(&socket);
        services
            .start("inspect", move |stop| served.serve(&source, &stop))
            .unwrap();
        Served {
            services,
            socket,
            scratch,
        }
    }

    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.socket.path()).unwrap();
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .unwrap();
        stream
    }

    /// Sends a line; gives the lines until the answer's last.
    fn ask(&self, line: &str) -> Vec<Value> {
        ask(&mut BufReader::new(self.connect()), line)
    }

    fn error_for(&self, line: &str) -> String {
        let answer = self.ask(line).remove(0);
        answer["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{answer}"))
            .to_owned()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.services.end().wait();
        self.socket.close();
        assert!(!self.socket.path().exists());
    }
}

fn ask(client: &mut BufReader<UnixStream>, line: &str) -> Vec<Value> {
    client
        .get_mut()
        .write_all(format!("{line}\n").as_bytes())
        .unwrap();
    let mut answer: Vec<Value> = Vec::new();
    while answer.last().is_none_or(|line| line.get("part").is_some()) {
        let mut line = String::new();
        assert_ne!(
            client.read_line(&mut line).unwrap(),
            0,
            "closed after {answer:?}"
        );
        answer.push(serde_json::from_str(&line).unwrap());
    }
    answer
}

#[test]
fn each_request_has_its_answer() {
    let served = Served::start(Fixed { tasks: 0 });
    let mut client = BufReader::new(served.connect());
    let answer = ask(&mut client, r#"{"get": "snapshot"}"#);
    let snapshot: Snapshot = serde_json::from_value(answer[0]["answer"].clone()).unwrap();
    assert_eq!(snapshot, shop());
    let answer = ask(&mut client, r#"{"get": "metrics"}"#);
    assert_eq!(answer[0]["answer"]["process"], std::process::id());
    assert_eq!(
        ask(&mut client, r#"{"get": "blocks"}"#),
        [json!({"answer": {"sites": [], "recent": []}})]
    );
}

#[test]
fn a_client_asks_for_what_views_need() {
    let served = Served::start(Fixed { tasks: 0 });
    let mut client = Client::connect_to(served.socket.path()).unwrap();
    assert_eq!(client.snapshot(Duration::ZERO).unwrap(), shop());
    assert_eq!(client.metrics().unwrap().process, std::process::id());
}

#[test]
fn what_is_no_request_is_answered_with_the_reason() {
    let served = Served::start(Fixed { tasks: 0 });
    for (line, words) in [
        ("", "not a request"),
        ("snapshot", "not a request"),
        ("{}", "missing field `get`"),
        (r#"{"get": "secrets"}"#, "unknown variant `secrets`"),
        (r#"{"get": "snapshot", "patience": "long"}"#, "invalid type"),
        (r#"{"get": "snapshot", "patience": -1}"#, "from 0 to 10"),
        (r#"{"get": "snapshot", "patience": 1e300}"#, "from 0 to 10"),
        (
            r#"{"get": "snapshot", "tasks": 1}"#,
            "unknown field `tasks`",
        ),
        (r#"{"get": "trace"}"#, "missing field `seconds`"),
        (r#"{"get": "trace", "seconds": 0}"#, "from 0.001 to 60"),
        (r#"{"get": "trace", "seconds": 61}"#, "from 0.001 to 60"),
        ("\u{1F980}", "not a request"),
    ] {
        let error = served.error_for(line);
        assert!(error.contains(words), "{line}: {error}");
    }
    // The connection is as good as before.
    let mut client = BufReader::new(served.connect());
    assert!(ask(&mut client, "nonsense")[0].get("error").is_some());
    assert!(
        ask(&mut client, r#"{"get": "snapshot"}"#)[0]
            .get("answer")
            .is_some()
    );
}

#[test]
fn bytes_that_are_no_text_are_no_request() {
    let served = Served::start(Fixed { tasks: 0 });
    let mut client = served.connect();
    client.write_all(b"\xff\xfe\x00\n").unwrap();
    let mut line = String::new();
    BufReader::new(client).read_line(&mut line).unwrap();
    assert!(line.contains("not a request"), "{line}");
}

#[test]
fn a_request_without_end_is_cut_off() {
    let served = Served::start(Fixed { tasks: 0 });
    let mut client = served.connect();
    // Closed before all of it is taken, perhaps.
    let _ = client.write_all(&[b' '; 100_000]);
    let mut answer = String::new();
    // What was not taken makes the kernel say "reset" after the answer.
    let _ = client.read_to_string(&mut answer);
    assert!(answer.contains("at most 4096 bytes"), "{answer}");
}

#[test]
fn a_client_that_takes_nothing_holds_up_nobody() {
    let served = Served::start(Fixed { tasks: 50_000 });
    let mut slow = served.connect();
    slow.write_all(b"{\"get\": \"snapshot\"}\n").unwrap();
    let mut first = [0];
    slow.read_exact(&mut first).unwrap();
    // Some 20 MB are on their way to the slow one.
    let answer = served.ask(r#"{"get": "metrics"}"#);
    assert!(answer[0].get("answer").is_some());
    // And the end does not wait for it either: see `Drop`.
}

#[test]
fn there_is_an_end_to_clients_and_a_place_is_given_back() {
    let served = Served::start(Fixed { tasks: 0 });
    let mut clients: Vec<_> = (0..16)
        .map(|_| {
            let mut client = BufReader::new(served.connect());
            ask(&mut client, r#"{"get": "blocks"}"#);
            client
        })
        .collect();
    let mut refused = String::new();
    served.connect().read_to_string(&mut refused).unwrap();
    assert!(refused.contains("too many clients"), "{refused}");
    let gone = clients.pop().unwrap().into_inner();
    gone.shutdown(Shutdown::Write).unwrap();
    // Its end tells that its thread is about to give the place back.
    (&gone).read_to_end(&mut Vec::new()).unwrap();
    let answered = (0..1000).any(|_| {
        let mut client = served.connect();
        // A refused client may find its socket closed.
        let _ = client.write_all(b"{\"get\": \"blocks\"}\n");
        let mut line = String::new();
        let _ = BufReader::new(client).read_line(&mut line);
        line.contains("answer")
    });
    assert!(answered);
}

#[test]
fn the_socket_is_for_its_user_alone() {
    let served = Served::start(Fixed { tasks: 0 });
    let mode = |path: &std::path::Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(served.socket.path()), 0o600);
    assert_eq!(mode(served.socket.path().parent().unwrap()), 0o700);
}

#[test]
fn a_directory_that_others_could_have_made_is_refused() {
    let scratch = Scratch::new();
    let refused = |name: &str| {
        let error = Directory::at(scratch.0.join(name)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::PermissionDenied);
        error.to_string()
    };
    fs::create_dir(scratch.0.join("open")).unwrap();
    fs::set_permissions(scratch.0.join("open"), fs::Permissions::from_mode(0o750)).unwrap();
    assert!(refused("open").contains("entered by others"));
    scratch.sockets();
    symlink(scratch.0.join("sockets"), scratch.0.join("link")).unwrap();
    assert!(refused("link").contains("not a directory"));
    fs::write(scratch.0.join("file"), "").unwrap();
    assert!(refused("file").contains("not a directory"));
    assert!(
        Directory::at(scratch.0.join("none").join("at-all"))
            .unwrap_err()
            .to_string()
            .contains("at-all")
    );
}

#[test]
fn sockets_of_processes_that_are_gone_are_removed() {
    let served = Served::start(Fixed { tasks: 0 });
    let directory = served.scratch.sockets();
    let stale = directory.socket_of(u32::MAX);
    drop(UnixListener::bind(&stale).unwrap());
    fs::write(served.scratch.0.join("sockets").join("notes.txt"), "").unwrap();
    let found = ask_processes_of(&directory).unwrap();
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].process, std::process::id());
    assert_eq!(found[0].answer, Ok(shop()));
    assert!(!stale.exists());
}

#[test]
fn a_process_that_does_not_speak_the_protocol_is_an_error() {
    let scratch = Scratch::new();
    let path = scratch.0.join("strange.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let speaks = std::thread::spawn(move || {
        for answer in [
            "HTTP/1.1 400 Bad Request\n",
            "{\"answer\": 7}\n",
            "{\"answer\": {",
        ] {
            let (mut stream, _) = listener.accept().unwrap();
            stream.read_exact(&mut [0; 10]).unwrap();
            stream.write_all(answer.as_bytes()).unwrap();
        }
    });
    for kind in [
        ErrorKind::InvalidData,
        ErrorKind::InvalidData,
        ErrorKind::UnexpectedEof,
    ] {
        let error = Client::connect_to(&path)
            .unwrap()
            .snapshot(Duration::ZERO)
            .unwrap_err();
        assert_eq!(error.kind(), kind, "{error}");
    }
    speaks.join().unwrap();
}

#[test]
fn a_new_socket_takes_the_place_of_one_that_was_left_and_leaves_anothers_alone() {
    let scratch = Scratch::new();
    let directory = scratch.sockets();
    drop(UnixListener::bind(directory.socket_of(std::process::id())).unwrap());
    let first = InspectSocket::open(&directory).unwrap();
    let second = InspectSocket::open(&directory).unwrap();
    first.close();
    assert!(second.path().exists());
    second.close();
    assert!(!second.path().exists());
}

#[test]
fn in_a_child_of_a_fork_the_parents_socket_is_let_go_of_and_left_in_place() {
    let scratch = Scratch::new();
    let socket = InspectSocket::open(&scratch.sockets()).unwrap();
    socket.forget();
    assert!(socket.path().exists());
    let error = UnixStream::connect(socket.path()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
}
