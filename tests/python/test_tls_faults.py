"""TLS servers and clients that meet with peers that misbehave."""

import asyncio
import contextlib
import ssl

import pytest

from connected import Recorder, run_until, tcp_pair
from package_support import tls_contexts
from tls_peer import HOSTNAME, Clients, TlsPeer
from turns import run_turns


class Server:
    """A TLS server that echoes, and what its protocols have been told."""

    def __init__(self, loop, **options):
        self.protocols = []
        self.clients = Clients(loop, self.make, **options)

    def make(self):
        protocol = Recorder()
        protocol.on_data = lambda data: protocol.transport.write(data)
        self.protocols.append(protocol)
        return protocol

    @property
    def made(self):
        return [protocol for protocol in self.protocols if protocol.transport is not None]

    def check(self, loop):
        """A client that behaves is served."""
        peer = self.clients.peer()
        peer.write(b"hello")
        run_until(loop, lambda: peer.read() == b"hello")
        peer.say_goodbye()
        run_until(loop, peer.say_goodbye)
        run_until(loop, lambda: all(protocol.is_lost for protocol in self.made))


@pytest.fixture
def server(loop):
    server = Server(loop)
    yield server
    server.clients.close()


def test_a_client_that_speaks_no_tls(loop, server):
    sock = server.clients.open()
    sock.sendall(b"GET / HTTP/1.1\r\n\r\n")
    sock.setblocking(False)
    received = bytearray()

    def ended():
        with contextlib.suppress(BlockingIOError, ConnectionResetError):
            data = sock.recv(1000)
            received.extend(data)
            return not data
        return False

    run_until(loop, lambda: server.protocols)
    run_until(loop, ended)
    assert not server.made
    server.check(loop)


def test_a_client_that_goes_in_the_middle_of_the_handshake(loop, server):
    sock = server.clients.open()
    peer = TlsPeer(sock, server.clients.context, server_side=False)
    peer.try_handshake()
    run_turns(loop, 10)
    sock.close()
    run_turns(loop, 10)
    assert not server.made
    server.check(loop)


def test_a_client_that_does_not_trust_the_server(loop, server):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    peer = TlsPeer(server.clients.open(), context, server_side=False)
    with pytest.raises(ssl.SSLCertVerificationError):
        run_until(loop, peer.try_handshake)
    peer.close()
    run_turns(loop, 20)
    server.check(loop)


def test_a_flood_of_handshakes(loop, server):
    """Clients that begin, in all ways in which a beginning can go wrong, all at once."""
    hello = TlsPeer(server.clients.open(), server.clients.context, server_side=False)
    with pytest.raises(ssl.SSLWantReadError):
        hello.tls.do_handshake()
    record = hello.outgoing.read()
    openings = [b"", b"\x16", record[:3], record[:50], record[:-1], record, b"\0" * 300]
    for _ in range(30):
        for opening in openings:
            sock = server.clients.open()
            sock.sendall(opening)
            sock.close()
        run_turns(loop, 3)
    run_until(loop, lambda: len(server.protocols) >= 30 * len(openings))
    run_turns(loop, 20)
    assert not server.made
    server.check(loop)


def test_a_handshake_that_never_goes_on(clocked_loop):
    server = Server(clocked_loop, ssl_handshake_timeout=5)
    peer = TlsPeer(server.clients.open(), server.clients.context, server_side=False)
    peer.try_handshake()
    run_until(clocked_loop, lambda: server.protocols)
    run_turns(clocked_loop, 5)
    clocked_loop.advance(5.1)
    run_turns(clocked_loop, 5)
    peer.receive_records()
    run_until(clocked_loop, lambda: peer.receive_records() or peer.ended)
    assert not server.made
    server.check(clocked_loop)
    server.clients.close()


def test_a_silent_server(clocked_loop):
    _, context = tls_contexts()
    sock, peer = tcp_pair()
    task = clocked_loop.create_task(
        clocked_loop.create_connection(Recorder, sock=sock, ssl=context, server_hostname=HOSTNAME)
    )
    run_turns(clocked_loop, 5)
    clocked_loop.advance(59)
    assert not task.done()
    clocked_loop.advance(2)
    run_until(clocked_loop, task.done)
    with pytest.raises(ConnectionAbortedError, match="longer than 60"):
        task.result()
    run_turns(clocked_loop, 5)
    peer.close()


def test_a_server_with_the_wrong_name(loop, server):
    async def main():
        await loop.create_connection(
            Recorder, *server.clients.address, ssl=server.clients.context, server_hostname="other"
        )

    with pytest.raises(ssl.SSLCertVerificationError, match="other"):
        loop.run_until_complete(main())
    run_turns(loop, 20)
    server.check(loop)


def test_a_handshake_failure_in_debug_mode(loop, server, reports):
    """Then the server tells of it; otherwise such clients are nobody's business."""
    loop.set_debug(True)
    test_a_client_that_goes_in_the_middle_of_the_handshake(loop, server)
    report = reports.take_one()
    assert report["message"] == "Error on transport creation for incoming connection"
    assert isinstance(report["exception"], ConnectionResetError)
    assert report["transport"].is_closing()


@pytest.mark.parametrize("turns", range(10))
def test_connecting_is_cancelled_at_every_point(loop, server, turns):
    task = loop.create_task(
        loop.create_connection(
            Recorder, *server.clients.address, ssl=server.clients.context, server_hostname=HOSTNAME
        )
    )
    run_turns(loop, turns)
    task.cancel()
    run_until(loop, task.done)
    if not task.cancelled():
        transport, protocol = task.result()
        transport.abort()
        run_until(loop, lambda: protocol.is_lost)
    run_turns(loop, 20)
    server.check(loop)


def test_many_connections_at_once(loop, server):
    async def client(number):
        reader, writer = await asyncio.open_connection(
            *server.clients.address, ssl=server.clients.context, server_hostname=HOSTNAME
        )
        for size in (1, 1000, 50_000):
            data = bytes([number]) * size
            writer.write(data)
            assert await reader.readexactly(size) == data
        writer.close()
        await writer.wait_closed()

    async def main():
        await asyncio.gather(*(client(number) for number in range(50)))

    loop.run_until_complete(asyncio.wait_for(main(), 60))
    run_until(loop, lambda: all(protocol.is_lost for protocol in server.made))


def test_a_context_that_fails_to_make_an_object(loop):
    class Failing(ssl.SSLContext):
        def wrap_bio(self, *arguments, **options):
            raise OSError("no more")

    sock, peer = tcp_pair()

    async def main():
        await loop.create_connection(
            Recorder,
            sock=sock,
            ssl=Failing(ssl.PROTOCOL_TLS_CLIENT),
            server_hostname=HOSTNAME,
        )

    with peer, sock, pytest.raises(OSError, match="no more"):
        loop.run_until_complete(main())


def test_a_name_callback_that_refuses(loop):
    context, client = tls_contexts()
    seen = []

    def choose(tls_object, name, context):
        seen.append(name)
        return ssl.ALERT_DESCRIPTION_UNRECOGNIZED_NAME

    context.sni_callback = choose
    other = Server(loop, context=context)
    peer = TlsPeer(other.clients.open(), client, server_side=False)
    peer.try_handshake()
    run_until(loop, lambda: peer.receive_records() or peer.ended)
    assert seen == [HOSTNAME]
    assert not other.made
    peer.close()
    run_turns(loop, 10)
    other.clients.close()
