//! The datagram client against the datagram server, and against one that echoes wrongly.

use std::io::ErrorKind;
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::thread;

use ferrio_load::datagrams::{DatagramClient, DatagramServer};

#[test]
fn every_message_comes_back() {
    let mut server = DatagramServer::bind().expect("loopback is there");
    let address = server.address().expect("the server is bound");
    let (stop, stopped) = UnixStream::pair().expect("a pair of sockets");
    thread::scope(|scope| {
        scope.spawn(move || {
            server
                .run(stopped.as_fd())
                .expect("the server runs to its end")
        });
        let mut client = DatagramClient::connect(address, 10, 1024).expect("sockets are there");
        assert_eq!(client.run(1_000).expect("right echoes"), 1_000);
        assert_eq!(client.run(1).expect("right echoes"), 10);
        drop(stop);
    });
}

#[test]
fn a_wrong_byte_is_noticed() {
    let server = UdpSocket::bind("127.0.0.1:0").expect("loopback is there");
    let address = server.local_addr().expect("the server is bound");
    let mut client = DatagramClient::connect(address, 1, 64).expect("sockets are there");
    thread::spawn(move || {
        let mut message = [0; 64];
        let (_, sender) = server.recv_from(&mut message).expect("the client sends");
        message[63] ^= 1;
        server
            .send_to(&message, sender)
            .expect("the client is there");
    });
    let error = client.run(1).expect_err("the echo is wrong");
    assert_eq!(error.kind(), ErrorKind::InvalidData);
}
