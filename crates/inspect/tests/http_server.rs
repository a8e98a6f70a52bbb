//! The HTTP server, asked over real sockets about a picture that does not change.

mod support;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use ferrio_inspect::Snapshot;
use ferrio_inspect::http::{Options, Server};
use support::Fixed;

const TOKEN: &str = "the-token";

struct Served {
    address: SocketAddr,
    /// Ends the thread when it is dropped.
    stop: Option<OwnedFd>,
    thread: Option<JoinHandle<()>>,
}

impl Served {
    fn new(change: impl FnOnce(&mut Options)) -> Served {
        let mut options = options();
        change(&mut options);
        let server = Server::bind(options, Arc::new(Fixed)).expect("a server");
        let address = server.address();
        let (reader, writer) = std::io::pipe().expect("a pipe");
        Served {
            address,
            stop: Some(writer.into()),
            thread: Some(thread::spawn(move || {
                server.serve(&reader).expect("it served")
            })),
        }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        let timeout = Some(Duration::from_secs(60));
        stream.set_read_timeout(timeout).expect("a timeout");
        stream
    }

    /// Sends bytes and returns all that is answered.
    fn send(&self, bytes: &[u8]) -> String {
        let mut stream = self.connect();
        stream.write_all(bytes).expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn get(&self, path: &str, headers: &str) -> String {
        let host = self.address;
        self.send(format!("GET {path} HTTP/1.1\r\nHost: {host}\r\n{headers}\r\n").as_bytes())
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().expect("the thread ends");
        }
    }
}

fn options() -> Options {
    Options {
        host: "127.0.0.1".to_owned(),
        port: 0,
        token: TOKEN.to_owned(),
        allow_remote: false,
        public_metrics: false,
    }
}

fn status(answer: &str) -> &str {
    answer.split(' ').nth(1).unwrap_or_default()
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").map_or("", |(_, body)| body)
}

#[test]
fn the_token_may_be_in_the_url_or_in_a_header() {
    let served = Served::new(|_| {});
    for (path, headers) in [
        ("/snapshot.json?token=the-token", ""),
        ("/snapshot.json", "Authorization: Bearer the-token\r\n"),
    ] {
        let answer = served.get(path, headers);
        assert_eq!(status(&answer), "200", "{answer}");
        let snapshot: Snapshot = serde_json::from_str(body(&answer)).expect("a snapshot");
        assert_eq!(snapshot.process, 42);
    }
}

#[test]
fn without_the_token_nothing_is_told() {
    let served = Served::new(|_| {});
    let paths = [
        "/",
        "/live.json",
        "/snapshot.json",
        "/metrics.json",
        "/metrics",
        "/nothing",
    ];
    for path in paths {
        for (query, headers) in [
            ("", ""),
            ("?token=", ""),
            ("?token=the-tokem", ""),
            ("?token=the-token-and-more", ""),
            ("?token=the-token", "Authorization: Bearer another\r\n"),
        ] {
            let answer = served.get(&format!("{path}{query}"), headers);
            assert_eq!(status(&answer), "401", "{path}{query}");
            assert!(!answer.contains("chat.py"));
        }
    }
}

#[test]
fn what_the_page_is_made_of_is_no_secret() {
    let served = Served::new(|_| {});
    let page = served.get("/?token=the-token", "");
    assert!(body(&page).starts_with("<!doctype html>"));
    for (path, content_type) in [("/style.css", "text/css"), ("/live.js", "text/javascript")] {
        let answer = served.get(path, "");
        assert_eq!(status(&answer), "200");
        assert!(answer.contains(&format!("Content-Type: {content_type}")));
    }
}

#[test]
fn everything_that_the_page_names_is_served() {
    let served = Served::new(|_| {});
    let mut waiting = vec!["/?token=the-token".to_owned()];
    let mut seen = Vec::new();
    while let Some(path) = waiting.pop() {
        let answer = served.get(&path, "");
        assert_eq!(status(&answer), "200", "{path}");
        let text = body(&answer);
        assert!(
            !text.contains("http://") || text.contains("www.w3.org/2000/svg"),
            "{path}"
        );
        assert!(!text.contains("https://"), "{path}");
        seen.push(path);
        for part in text.split('"') {
            let name = part.trim_start_matches("./");
            let is_file = name.ends_with(".js") || name.ends_with(".css");
            let path = format!("/{name}");
            if is_file && !seen.contains(&path) && !waiting.contains(&path) {
                waiting.push(path);
            }
        }
    }
    assert!(seen.len() >= 9, "{seen:?}");
}

#[test]
fn foreign_hosts_and_origins_are_refused_everywhere() {
    let served = Served::new(|options| options.public_metrics = true);
    for path in [
        "/?token=the-token",
        "/live.json?token=the-token",
        "/style.css",
        "/metrics",
    ] {
        let request = format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n\r\n");
        assert_eq!(status(&served.send(request.as_bytes())), "403", "{path}");
        let answer = served.get(path, "Origin: http://evil.example\r\n");
        assert_eq!(status(&answer), "403", "{path}");
    }
}

#[test]
fn prometheus_may_be_let_in_without_the_token() {
    let served = Served::new(|options| options.public_metrics = true);
    let answer = served.get("/metrics", "");
    assert!(answer.contains("Content-Type: text/plain; version=0.0.4"));
    assert!(body(&answer).contains("\nferrio_loop_turns_total{loop=\"1\"} 10\n"));
    assert_eq!(status(&served.get("/metrics.json", "")), "401");
}

#[test]
fn nothing_is_kept_framed_or_taken_from_elsewhere() {
    let served = Served::new(|_| {});
    let answer = served.get("/live.json?token=the-token", "");
    for header in [
        "Cache-Control: no-store\r\n",
        "Content-Security-Policy: default-src 'none'; script-src 'self'; style-src 'self'; ",
        "frame-ancestors 'none'\r\n",
        "Referrer-Policy: no-referrer\r\n",
        "X-Content-Type-Options: nosniff\r\n",
    ] {
        assert!(answer.contains(header), "{header} is not in {answer}");
    }
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let served = Served::new(|_| {});
    let mut stream = served.connect();
    for byte in b"GET /metrics?token=the-token HTTP/1.1\r\nHost: localhost\r\n\r\n" {
        stream.write_all(&[*byte]).expect("sent");
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    assert_eq!(status(&answer), "200");
}

#[test]
fn other_methods_and_no_http_and_too_much_are_refused() {
    let served = Served::new(|_| {});
    let post = b"POST / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    assert_eq!(status(&served.send(post)), "405");
    assert_eq!(status(&served.send(b"\x16\x03\x01\x00\n\n")), "400");
    let long = format!(
        "GET /{} HTTP/1.1\r\nHost: localhost\r\n",
        "x".repeat(20_000)
    );
    assert_eq!(status(&served.send(long.as_bytes())), "400");
    let unknown = served.get("/elsewhere?token=the-token", "");
    assert_eq!(status(&unknown), "404");
}

#[test]
fn head_has_no_body() {
    let served = Served::new(|_| {});
    let answer = served.send(b"HEAD /?token=the-token HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(status(&answer), "200");
    assert_eq!(body(&answer), "");
}

#[test]
fn who_says_nothing_keeps_nobody_waiting() {
    let served = Served::new(|_| {});
    // More than are served at a time: the idle ones are given up, and then it is this one's turn.
    let idle: Vec<_> = (0..40).map(|_| served.connect()).collect();
    let answer = served.get("/metrics?token=the-token", "");
    assert_eq!(status(&answer), "200");
    drop(idle);
}

#[test]
fn addresses_that_others_reach_have_to_be_allowed() {
    let bind = |allow_remote| {
        let options = Options {
            host: "0.0.0.0".to_owned(),
            allow_remote,
            ..options()
        };
        Server::bind(options, Arc::new(Fixed)).map(|server| server.address().ip())
    };
    assert_eq!(
        bind(false).map_err(|error| error.kind()),
        Err(std::io::ErrorKind::InvalidInput)
    );
    assert!(bind(true).expect("it is allowed").is_unspecified());
}
