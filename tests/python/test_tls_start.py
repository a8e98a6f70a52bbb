"""Connections that become TLS: ``start_tls`` on both sides, streams, TLS within TLS."""

import asyncio
import socket
import ssl
import sys

import pytest

from connected import Connection, Recorder, run_until, tcp_pair
from package_support import tls_contexts
from tls_peer import HOSTNAME, TlsPeer
from turns import run_turn, run_turns


class Upgrade:
    """A plain connection whose transport is about to become TLS, and its peer."""

    def __init__(self, loop, *, server_side=False):
        server_context, client_context = tls_contexts()
        self.loop = loop
        self.server_side = server_side
        self.context, peers = (
            (server_context, client_context) if server_side else (client_context, server_context)
        )
        sock, peer_sock = tcp_pair()
        self.protocol = Recorder()
        self.connection = Connection(loop, self.protocol, sock, peer_sock)
        self.plain = self.connection.transport
        self.peer = TlsPeer(peer_sock, peers, server_side=not server_side)

    def start(self, **options):
        """The task of ``start_tls``."""
        return self.loop.create_task(
            self.loop.start_tls(
                self.plain,
                self.protocol,
                self.context,
                server_side=self.server_side,
                server_hostname=None if self.server_side else HOSTNAME,
                **options,
            )
        )

    def finish(self, task):
        run_until(self.loop, lambda: self.peer.try_handshake() or task.done())
        run_until(self.loop, task.done)
        return task.result()

    def close(self, transport=None):
        self.peer.close()
        (transport or self.plain).abort()
        run_until(self.loop, lambda: self.plain._protocol is None or self.plain._sock is None)
        run_turns(self.loop, 3)


@pytest.fixture
def upgrade(loop):
    made = []

    def make(**options):
        made.append(Upgrade(loop, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()
    made.clear()


@pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])
def test_both_sides(loop, upgrade, server_side):
    up = upgrade(server_side=server_side)
    up.plain.write(b"plain")
    assert up.connection.receive(5) == b"plain"
    up.peer.sock.setblocking(False)
    transport = up.finish(up.start())
    assert transport is not up.plain
    assert transport.get_protocol() is up.protocol
    assert transport.get_extra_info("ssl_object").version()
    # connection_made() was called long ago.
    assert up.protocol.events == ["made"]
    transport.write(b"secret")
    run_until(loop, lambda: up.peer.read() == b"secret")
    up.peer.write(b"answer")
    run_until(loop, lambda: up.protocol.received == b"answer")
    transport.close()
    run_until(loop, up.peer.say_goodbye)
    run_until(loop, lambda: up.protocol.is_lost)
    assert up.protocol.names == ["made", "data", "eof", "lost"]


def test_the_first_record_right_behind_the_words_that_ask_for_it(loop, upgrade):
    """What the peer has sent before start_tls() was called, and nobody has read."""
    up = upgrade(server_side=True)
    up.plain.pause_reading()
    up.peer.try_handshake()
    run_turns(loop, 20)
    assert up.protocol.received == b""
    transport = up.finish(up.start())
    up.peer.write(b"secret")
    run_until(loop, lambda: up.protocol.received == b"secret")
    up.close(transport)


def test_streams(loop):
    server_context, client_context = tls_contexts()

    async def serve(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"go ahead\n")
        await writer.drain()
        await writer.start_tls(server_context)
        writer.write(b"secret: " + await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        plain = writer.transport
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"go ahead\n"
        await writer.start_tls(client_context, server_hostname=HOSTNAME)
        assert writer.transport is not plain
        assert writer.get_extra_info("ssl_object") is not None
        writer.write(b"word\n")
        assert await reader.readline() == b"secret: word\n"
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_a_stream_reader_that_has_the_first_record_already(loop, implementation):
    """The peer's first record has come with the words that ask for TLS, in one segment."""
    if not implementation.is_ferrio and sys.version_info < (3, 15):
        pytest.skip("asyncio loses it but in its newest versions")
    server_context, client_context = tls_contexts()
    ended = loop.create_future()

    async def serve(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        assert reader._buffer
        await writer.start_tls(server_context)
        # Nothing of what came encrypted; the peer may have spoken already.
        assert bytes(reader._buffer) in (b"", b"word\n")
        writer.write(b"secret: " + await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        ended.set_result(None)

    async def main():
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        sock = socket.create_connection(server.sockets[0].getsockname())
        peer = TlsPeer(sock, client_context, server_side=False)
        with pytest.raises(ssl.SSLWantReadError):
            peer.tls.do_handshake()
        sock.sendall(b"STARTTLS\n" + peer.outgoing.read())
        while not peer.try_handshake():
            await asyncio.sleep(0)
        peer.write(b"word\n")
        while not peer.read():
            await asyncio.sleep(0)
        assert peer.received == b"secret: word\n"
        while not peer.say_goodbye():
            await asyncio.sleep(0)
        await ended
        peer.close()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(asyncio.wait_for(main(), 30))


def test_tls_within_tls(loop, upgrade):
    """As a client does that reaches a TLS server through a TLS proxy."""
    up = upgrade()
    outer = up.finish(up.start())
    server_context, client_context = tls_contexts()
    peer = up.peer
    inner_in, inner_out = ssl.MemoryBIO(), ssl.MemoryBIO()
    inner = server_context.wrap_bio(inner_in, inner_out, server_side=True)

    def exchange(step):
        peer.read()
        inner_in.write(peer.received)
        peer.received = b""
        try:
            return step()
        except ssl.SSLWantReadError:
            return None
        finally:
            if inner_out.pending:
                peer.write(inner_out.read())

    task = loop.create_task(
        loop.start_tls(outer, up.protocol, client_context, server_hostname=HOSTNAME)
    )
    run_until(loop, lambda: exchange(inner.do_handshake) is not None or task.done())
    run_until(loop, task.done)
    transport = task.result()
    assert transport.get_extra_info("ssl_object") is not outer.get_extra_info("ssl_object")
    data = bytes(range(256)) * 400
    transport.write(data)
    received = b""

    def whole():
        nonlocal received
        received += exchange(lambda: inner.read(1 << 20)) or b""
        return received == data

    run_until(loop, whole)
    inner.write(data)
    exchange(lambda: True)
    run_until(loop, lambda: peer.send_records() or up.protocol.received == data)
    transport.abort()
    run_until(loop, lambda: up.protocol.is_lost)
    up.close(outer)


def test_a_handshake_that_fails(loop, upgrade):
    up = upgrade()
    task = up.start()
    run_turn(loop)
    up.peer.sock.sendall(b"plain words instead of a record")
    run_until(loop, task.done)
    with pytest.raises(ssl.SSLError):
        task.result()
    assert up.plain.is_closing()


def test_a_peer_that_is_gone(loop, upgrade):
    up = upgrade()
    task = up.start()
    run_turn(loop)
    up.peer.close()
    run_until(loop, task.done)
    with pytest.raises(ConnectionResetError):
        task.result()


@pytest.mark.parametrize("server_side", [False, True], ids=["client", "server"])
@pytest.mark.parametrize("turns", range(8))
def test_cancelled_at_every_point(loop, upgrade, turns, server_side):
    up = upgrade(server_side=server_side)
    task = up.start()
    for _ in range(turns):
        run_turn(loop)
        up.peer.try_handshake()
    task.cancel()
    run_until(loop, task.done)
    if task.cancelled():
        # Before its first step it has done nothing.
        assert up.plain.is_closing() == (turns > 0)
    else:
        # It was done already.
        transport = task.result()
        transport.abort()


def test_a_handshake_that_takes_too_long(clocked_loop):
    up = Upgrade(clocked_loop)
    task = up.start(ssl_handshake_timeout=5)
    run_turns(clocked_loop, 3)
    clocked_loop.advance(4.9)
    run_turn(clocked_loop)
    assert not task.done()
    clocked_loop.advance(0.2)
    run_until(clocked_loop, task.done)
    with pytest.raises(
        ConnectionAbortedError,
        match="SSL handshake is taking longer than 5 seconds: aborting the connection",
    ):
        task.result()
    up.close()


@pytest.mark.parametrize("name", ["ssl_handshake_timeout", "ssl_shutdown_timeout"])
@pytest.mark.parametrize("value", [0, -1, -0.5])
def test_timeouts_that_are_not_positive(loop, upgrade, name, value):
    up = upgrade()
    task = up.start(**{name: value})
    run_until(loop, task.done)
    with pytest.raises(ValueError, match=f"{name} should be a positive number, got {value}"):
        task.result()


def test_a_server_without_a_context(loop, upgrade):
    up = upgrade(server_side=True)
    up.context = None
    task = up.start()
    run_until(loop, task.done)
    with pytest.raises(TypeError, match="sslcontext is expected to be an instance of"):
        task.result()
