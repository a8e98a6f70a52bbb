//! Load client and echo server for the benchmarks.
//!
//! ```text
//! ferrio-load client ADDRESS CONNECTIONS SIZE [CPU]
//! ferrio-load line-client ADDRESS CONNECTIONS SIZE [CPU]
//! ferrio-load tls-client ADDRESS CONNECTIONS SIZE [CPU]
//! ferrio-load handshakes ADDRESS CONNECTIONS SIZE [CPU]
//! ferrio-load serve [CPU]
//! ferrio-load datagram-client ADDRESS SOCKETS SIZE [CPU]
//! ferrio-load serve-datagrams [CPU]
//! ```
//!
//! `ADDRESS` is `HOST:PORT` in numbers, or the absolute path of a Unix socket; the server listens on
//! a port. `CPU` is the number of the processor to stay on. The client connects, prints `ready`, and then
//! for each line `run COUNT` on its standard input sends that many messages and prints
//! `done COUNT WALL_NS CPU_NS`, the two times being its own. In `line-client`
//! every message is a line, that is, a newline is its last byte; `tls-client` does the same over TLS;
//! for `handshakes` a message is a new TLS connection, at whose beginning the server sends a byte,
//! with CONNECTIONS of them at a time. The server prints `listening ADDRESS`.
//! Both end when their standard input does; an error goes to standard error with exit status 1.

use std::io::{self, BufRead, Write};
use std::os::fd::AsFd;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Instant;

use ferrio_load::client::{Address, Client};
use ferrio_load::datagrams::{DatagramClient, DatagramServer};
use ferrio_load::handshakes::Handshakes;
use ferrio_load::server::Server;
use rustix::time::{ClockId, clock_gettime};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words.as_slice() {
        ["client", address, connections, size, cpu @ ..] if cpu.len() <= 1 => {
            stay_on(cpu.first().copied()).and_then(|()| {
                let (address, connections, size) = load::<Address>(address, connections, size)?;
                let mut client = Client::connect(address, connections, size)?;
                obey(|count| client.run(count))
            })
        }
        ["line-client", address, connections, size, cpu @ ..] if cpu.len() <= 1 => {
            stay_on(cpu.first().copied()).and_then(|()| {
                let (address, connections, size) = load::<Address>(address, connections, size)?;
                let mut client = Client::connect(address, connections, size)?.with_lines();
                obey(|count| client.run(count))
            })
        }
        ["tls-client", address, connections, size, cpu @ ..] if cpu.len() <= 1 => {
            stay_on(cpu.first().copied()).and_then(|()| {
                let (address, connections, size) = load(address, connections, size)?;
                let mut client = Client::connect_tls(address, connections, size)?;
                obey(|count| client.run(count))
            })
        }
        ["handshakes", address, connections, size, cpu @ ..] if cpu.len() <= 1 => {
            stay_on(cpu.first().copied()).and_then(|()| {
                let (address, connections, _) = load(address, connections, size)?;
                let mut handshakes = Handshakes::new(address, connections)?;
                obey(|count| handshakes.run(count))
            })
        }
        ["datagram-client", address, sockets, size, cpu @ ..] if cpu.len() <= 1 => {
            stay_on(cpu.first().copied()).and_then(|()| {
                let (address, sockets, size) = load(address, sockets, size)?;
                let mut client = DatagramClient::connect(address, sockets, size)?;
                obey(|count| client.run(count))
            })
        }
        ["serve-datagrams", cpu @ ..] if cpu.len() <= 1 => serve_datagrams(cpu.first().copied()),
        ["serve", cpu @ ..] if cpu.len() <= 1 => serve(cpu.first().copied()),
        _ => {
            eprintln!(
                "usage: ferrio-load client|line-client|tls-client|handshakes|datagram-client ADDRESS CONNECTIONS SIZE [CPU] \
                 | ferrio-load serve|serve-datagrams [CPU]"
            );
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("ferrio-load: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a client is told to do: where, on how many connections, with messages of how many bytes.
fn load<A: FromStr>(address: &str, connections: &str, size: &str) -> io::Result<(A, usize, usize)> {
    Ok((number(address)?, number(connections)?, number(size)?))
}

/// Has a client that is connected `run` as many messages as the lines of standard input say.
fn obey(mut run: impl FnMut(usize) -> io::Result<usize>) -> io::Result<()> {
    answer("ready")?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let count = line.strip_prefix("run ").ok_or_else(|| malformed(&line))?;
        let (wall, cpu) = (Instant::now(), process_cpu_ns());
        let count = run(number(count)?)?;
        let (wall_ns, cpu_ns) = (wall.elapsed().as_nanos(), process_cpu_ns() - cpu);
        answer(&format!("done {count} {wall_ns} {cpu_ns}"))?;
    }
    Ok(())
}

fn serve(cpu: Option<&str>) -> io::Result<()> {
    stay_on(cpu)?;
    let mut server = Server::bind()?;
    answer(&format!("listening {}", server.address()?))?;
    server.run(io::stdin().as_fd())
}

fn serve_datagrams(cpu: Option<&str>) -> io::Result<()> {
    stay_on(cpu)?;
    let mut server = DatagramServer::bind()?;
    answer(&format!("listening {}", server.address()?))?;
    server.run(io::stdin().as_fd())
}

/// Keeps the process on one processor, so that client and server do not share one.
fn stay_on(cpu: Option<&str>) -> io::Result<()> {
    let Some(cpu) = cpu else { return Ok(()) };
    let mut set = rustix::thread::CpuSet::new();
    set.set(number(cpu)?);
    Ok(rustix::thread::sched_setaffinity(None, &set)?)
}

/// CPU time of this process so far, all threads, user and system.
fn process_cpu_ns() -> i128 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

fn answer(line: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    writeln!(output, "{line}")?;
    output.flush()
}

fn number<T: FromStr>(text: &str) -> io::Result<T> {
    text.trim().parse().map_err(|_| malformed(text))
}

fn malformed(text: &str) -> io::Error {
    io::Error::new(
        io::ErrorKind::InvalidInput,
        format!("cannot understand {text:?}"),
    )
}
