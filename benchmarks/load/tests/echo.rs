//! The client against the server, and against servers that echo wrongly.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use ferrio_load::client::Client;
use ferrio_load::server::Server;

/// Runs `body` with the address of a running echo server.
fn with_server(body: impl FnOnce(SocketAddr)) {
    let mut server = Server::bind().expect("loopback is there");
    let address = server.address().expect("the server is bound");
    let (stop, stopped) = UnixStream::pair().expect("a pair of sockets");
    thread::scope(|scope| {
        scope.spawn(move || {
            server
                .run(stopped.as_fd())
                .expect("the server runs to its end")
        });
        body(address);
        drop(stop);
    });
}

/// A server for one connection that does `alter` to the first 64 bytes that arrive.
fn altering_server(alter: fn(&mut Vec<u8>)) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("loopback is there");
    let address = listener.local_addr().expect("the listener is bound");
    thread::spawn(move || {
        let (mut stream, _): (TcpStream, _) = listener.accept().expect("the client connects");
        let mut message = vec![0; 64];
        stream.read_exact(&mut message).expect("the client sends");
        alter(&mut message);
        stream.write_all(&message).expect("the client reads");
    });
    address
}

fn error_kind_of_an_altered_echo(alter: fn(&mut Vec<u8>)) -> ErrorKind {
    let mut client = Client::connect(altering_server(alter), 1, 64).expect("the server listens");
    client.run(1).expect_err("the echo is wrong").kind()
}

#[test]
fn every_message_comes_back() {
    with_server(|address| {
        let mut client = Client::connect(address, 10, 1024).expect("the server listens");
        assert_eq!(client.run(1_000).expect("right echoes"), 1_000);
        assert_eq!(client.run(1_000).expect("right echoes"), 1_000);
    });
}

#[test]
fn messages_larger_than_the_socket_buffers_come_back() {
    with_server(|address| {
        let mut client = Client::connect(address, 3, 20_000_000).expect("the server listens");
        assert_eq!(client.run(6).expect("right echoes"), 6);
    });
}

#[test]
fn each_connection_sends_at_least_one_message() {
    with_server(|address| {
        let mut client = Client::connect(address, 7, 10).expect("the server listens");
        assert_eq!(client.run(1).expect("right echoes"), 7);
    });
}

#[test]
fn a_changed_byte_is_noticed() {
    let kind = error_kind_of_an_altered_echo(|message| message[63] ^= 1);
    assert_eq!(kind, ErrorKind::InvalidData);
}

#[test]
fn a_byte_too_many_is_noticed() {
    let kind = error_kind_of_an_altered_echo(|message| message.push(0));
    assert_eq!(kind, ErrorKind::InvalidData);
}

#[test]
fn a_cut_echo_is_noticed() {
    let kind = error_kind_of_an_altered_echo(|message| message.truncate(63));
    assert_eq!(kind, ErrorKind::UnexpectedEof);
}
