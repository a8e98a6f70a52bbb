"""TLS transports whose peer is a plain socket and two memory BIOs: a test sees every record.

The peer only does what it is told to, so a test decides which bytes arrive when: half a record, a
close_notify or none, garbage.
"""

import asyncio
import socket
import ssl
from typing import Any

from connected import Recorder, run_until, tcp_pair
from package_support import tls_contexts

HOSTNAME = "localhost"


class TlsPeer:
    """The other end of a TLS connection, driven by hand."""

    def __init__(
        self,
        sock: socket.socket,
        context: ssl.SSLContext,
        *,
        server_side: bool,
        session: Any = None,
    ) -> None:
        self.sock = sock
        sock.setblocking(False)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(
            self.incoming,
            self.outgoing,
            server_side=server_side,
            server_hostname=None if server_side else HOSTNAME,
            session=session,
        )
        # What was made and the kernel had no room for.
        self.unsent = b""
        # What was decrypted, and whether there was a close_notify, an end of the stream.
        self.received = b""
        self.said_goodbye = False
        self.ended = False

    def send_records(self) -> None:
        """Send what TLS has made, as far as the kernel takes it."""
        self.unsent += self.outgoing.read()
        try:
            while self.unsent:
                self.unsent = self.unsent[self.sock.send(self.unsent) :]
        except BlockingIOError:
            pass

    def receive_records(self) -> None:
        """Take what the kernel has."""
        try:
            while data := self.sock.recv(1 << 18):
                self.incoming.write(data)
        except BlockingIOError:
            return
        except ConnectionResetError:
            pass
        self.ended = True

    def try_handshake(self) -> bool:
        """Do what can be done of the handshake; True when it is done."""
        self.receive_records()
        try:
            self.tls.do_handshake()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.send_records()
        return not self.unsent

    def write(self, data: bytes) -> None:
        """Encrypt and send."""
        self.tls.write(data)
        self.send_records()

    def encrypt(self, data: bytes) -> bytes:
        """The records of ``data``; the test sends them itself."""
        self.tls.write(data)
        return self.outgoing.read()

    def read(self) -> bytes:
        """Receive and decrypt what is there; everything that was decrypted so far."""
        self.receive_records()
        try:
            while data := self.tls.read(1 << 16):
                self.received += data
            self.said_goodbye = True
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLZeroReturnError:
            self.said_goodbye = True
        self.send_records()
        return self.received

    def say_goodbye(self) -> bool:
        """Send a close_notify, once; True when there is an answer."""
        self.receive_records()
        try:
            self.tls.unwrap()
        except ssl.SSLWantReadError:
            return False
        finally:
            self.send_records()
        return True

    def close(self) -> None:
        self.sock.close()


class TlsConnection:
    """A TLS transport with its protocol, and the peer; the handshake is done."""

    def __init__(
        self,
        loop: Any,
        protocol: Any = None,
        *,
        server_side: bool = False,
        contexts: Any = None,
        **options: Any,
    ) -> None:
        self.loop = loop
        self.protocol = protocol or Recorder()
        server_context, client_context = contexts or tls_contexts()
        ours, peers = (
            (server_context, client_context) if server_side else (client_context, server_context)
        )
        sock, peer_sock = tcp_pair()
        self.peer = TlsPeer(peer_sock, peers, server_side=not server_side)
        if server_side:
            connecting = loop.connect_accepted_socket(
                lambda: self.protocol, sock, ssl=ours, **options
            )
        else:
            connecting = loop.create_connection(
                lambda: self.protocol, sock=sock, ssl=ours, server_hostname=HOSTNAME, **options
            )
        task = loop.create_task(connecting)
        run_until(loop, lambda: self.peer.try_handshake() or task.done())
        run_until(loop, task.done)
        if task.exception() is not None:
            self.peer.close()
        self.transport, _ = task.result()

    def run_until(self, condition: Any) -> None:
        run_until(self.loop, condition)

    def receive(self, size: int) -> bytes:
        """What the peer receives, ``size`` bytes of it, while the loop runs."""
        run_until(self.loop, lambda: len(self.peer.read()) >= size or self.peer.ended)
        received, self.peer.received = self.peer.received[:size], self.peer.received[size:]
        return received

    def close(self) -> None:
        """End the connection, whatever the test has left of it."""
        self.peer.close()
        if self.loop.is_closed():
            return
        self.transport.abort()
        run_until(self.loop, lambda: self.transport._ssl_protocol is None or self.is_over)

    @property
    def is_over(self) -> bool:
        """Whether the transport below is gone and the protocol was told."""
        return self.transport._ssl_protocol._transport is None and (
            self.protocol.is_lost or "made" not in self.protocol.names
        )


class Clients:
    """A TLS server of the loop, and the test's own clients to it."""

    def __init__(
        self, loop: Any, protocol_factory: Any, *, context: Any = None, **options: Any
    ) -> None:
        self.loop = loop
        server_context, self.context = tls_contexts()
        server_context = context or server_context
        self.server = loop.run_until_complete(
            loop.create_server(protocol_factory, "127.0.0.1", 0, ssl=server_context, **options)
        )
        self.address = self.server.sockets[0].getsockname()
        self.sockets: list[socket.socket] = []

    def open(self) -> socket.socket:
        """A TCP connection on which nothing was sent yet."""
        sock = socket.create_connection(self.address)
        self.sockets.append(sock)
        return sock

    def peer(self, session: Any = None) -> TlsPeer:
        """A client whose handshake is done."""
        peer = TlsPeer(self.open(), self.context, server_side=False, session=session)
        run_until(self.loop, peer.try_handshake)
        return peer

    def close(self) -> None:
        for sock in self.sockets:
            sock.close()
        self.server.close()
        self.loop.run_until_complete(asyncio.wait_for(self.server.wait_closed(), 30))
