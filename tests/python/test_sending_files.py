"""``sendfile`` and ``sock_sendfile``: the kernel's way and the way around it."""

import asyncio
import contextlib
import io
import os
import random
import socket
import sys

import pytest

from package_support import Recorder, close, tls_contexts

DATA = random.Random(7).randbytes(1_500_000)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(DATA)
    with path.open("rb") as file:
        yield file


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


@pytest.fixture
def kernel_refuses(monkeypatch):
    def refuse(*arguments):
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(os, "sendfile", refuse)
    monkeypatch.setattr("ferrio.sending_files._send_file", refuse)


class Peer(Recorder):
    """Receives and counts; may be slow."""

    def __init__(self):
        super().__init__()
        self.ended = asyncio.get_running_loop().create_future()

    def eof_received(self):
        if not self.ended.done():
            self.ended.set_result(None)

    def connection_lost(self, exc):
        super().connection_lost(exc)
        self.eof_received()


async def receive(loop, sock, size):
    received = bytearray()
    while len(received) < size:
        data = await loop.sock_recv(sock, 65536)
        assert data
        received += data
    return bytes(received)


@contextlib.asynccontextmanager
async def connected(loop, ssl=None):
    """A transport with its protocol, and the protocol at the other side."""
    peers = []

    def make_peer():
        peers.append(Peer())
        return peers[-1]

    contexts = tls_contexts() if ssl else (None, None)
    # The kernel is not to take a whole file while nobody reads it.
    listening = socket.socket()
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32_768)
    listening.bind(("127.0.0.1", 0))
    server = await loop.create_server(make_peer, sock=listening, ssl=contexts[0])
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 32_768)
    client.setblocking(False)
    await loop.sock_connect(client, listening.getsockname())
    transport, protocol = await loop.create_connection(
        Recorder,
        sock=client,
        ssl=contexts[1],
        server_hostname="localhost" if ssl else None,
    )
    while not peers or peers[0].transport is None:
        await asyncio.sleep(0)
    try:
        yield transport, protocol, peers[0]
    finally:
        await close(protocol, peers[0])
        server.close()
        await server.wait_closed()


RANGES = [
    (0, None),
    (0, 1),
    (0, 700_000),
    (1234, None),
    (1234, 4321),
    (1_499_999, None),
    (0, 2_000_000),
    (1_500_000, None),
]


@pytest.mark.parametrize(("offset", "count"), RANGES)
@pytest.mark.parametrize("way", ["kernel", "pieces"])
def test_sock_sendfile_sends_a_range(loop, pair, file, request, way, offset, count):
    if way == "pieces":
        request.getfixturevalue("kernel_refuses")
    expected = DATA[offset:][:count]

    async def main():
        receiving = asyncio.ensure_future(receive(loop, pair[1], len(expected)))
        assert await loop.sock_sendfile(pair[0], file, offset, count) == len(expected)
        assert await receiving == expected
        # At the end of what was sent, unless that is nothing; then the two ways differ.
        if expected:
            assert file.tell() == offset + len(expected)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


@pytest.mark.parametrize(("offset", "count"), RANGES)
@pytest.mark.parametrize("way", ["kernel", "pieces", "tls"])
def test_sendfile_sends_a_range_after_what_was_written(loop, file, request, way, offset, count):
    if way == "pieces":
        request.getfixturevalue("kernel_refuses")
    expected = DATA[offset:][:count]

    async def main():
        async with connected(loop, ssl=way == "tls") as (transport, _, peer):
            transport.write(b"head:")
            assert await loop.sendfile(transport, file, offset, count) == len(expected)
            transport.write(b":tail")
            while len(peer.received) < len(expected) + 10:
                await asyncio.sleep(0.001)
            assert peer.received == b"head:" + expected + b":tail"
            if expected:
                assert file.tell() == offset + len(expected)

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_an_empty_file(loop, pair, tmp_path):
    path = tmp_path / "empty"
    path.touch()

    async def main():
        with path.open("rb") as file:
            assert await loop.sock_sendfile(pair[0], file) == 0
            async with connected(loop) as (transport, _, _peer):
                assert await loop.sendfile(transport, file) == 0

    loop.run_until_complete(main())


def test_what_is_no_file_of_the_kernels_is_read(loop, pair):
    async def main():
        with pytest.raises(asyncio.SendfileNotAvailableError):
            await loop.sock_sendfile(pair[0], io.BytesIO(b"data"), fallback=False)
        memory = io.BytesIO(b"some data")
        assert await loop.sock_sendfile(pair[0], memory, 5, 3) == 3
        assert memory.tell() == 8
        assert await loop.sock_recv(pair[1], 100) == b"dat"
        async with connected(loop) as (transport, _, peer):
            with pytest.raises(asyncio.SendfileNotAvailableError):
                await loop.sendfile(transport, memory, fallback=False)
            # Up to 3.13 an offset of 0 leaves the position where it is.
            rest = b"some data" if sys.version_info >= (3, 14) else b"a"
            assert await loop.sendfile(transport, memory, 0) == len(rest)
            while len(peer.received) < len(rest):
                await asyncio.sleep(0)
            assert peer.received == rest

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"count": 0}, ValueError, "count must be a positive integer"),
        ({"count": -1}, ValueError, "count must be a positive integer"),
        ({"count": "1"}, TypeError, "count must be a positive integer"),
        ({"offset": -1}, ValueError, "offset must be a non-negative integer"),
        ({"offset": "1"}, TypeError, "offset must be a non-negative integer"),
    ],
)
def test_numbers_that_are_none(loop, pair, file, arguments, error, message):
    async def main():
        with pytest.raises(error, match=message):
            await loop.sock_sendfile(pair[0], file, **arguments)
        async with connected(loop) as (transport, _, _peer):
            with pytest.raises(error, match=message):
                await loop.sendfile(transport, file, **arguments)
            # The transport is as it was.
            assert transport.is_reading()
            transport.write(b"x")

    loop.run_until_complete(main())


def test_files_and_sockets_that_are_refused(loop, pair, file, tmp_path):
    async def main():
        with (tmp_path / "data").open("r") as text:
            with pytest.raises(ValueError, match="file should be opened in binary mode"):
                await loop.sock_sendfile(pair[0], text)
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            datagrams.setblocking(False)
            with pytest.raises(ValueError, match="only SOCK_STREAM type sockets are supported"):
                await loop.sock_sendfile(datagrams, file)

    loop.run_until_complete(main())


def test_debug_mode_refuses_blocking_sockets(loop, pair, file):
    loop.set_debug(True)
    pair[0].setblocking(True)

    async def main():
        with pytest.raises(ValueError, match="the socket must be non-blocking"):
            await loop.sock_sendfile(pair[0], file)

    loop.run_until_complete(main())


def test_transports_that_are_refused(loop, file):
    class Unable:
        def is_closing(self):
            return False

    class Closing:
        def is_closing(self):
            return True

    async def main():
        with pytest.raises(RuntimeError, match="sendfile is not supported for transport"):
            await loop.sendfile(Unable(), file)
        with pytest.raises(RuntimeError, match="Transport is closing"):
            await loop.sendfile(Closing(), file)

    loop.run_until_complete(main())


def test_without_a_fallback_a_tls_transport_is_refused(loop, file):
    async def main():
        async with connected(loop, ssl=True) as (transport, _, _peer):
            with pytest.raises(RuntimeError, match="fallback is disabled"):
                await loop.sendfile(transport, file, fallback=False)

    loop.run_until_complete(main())


def test_nobody_writes_while_a_file_is_sent(implementation, loop, file):
    async def main():
        async with connected(loop) as (transport, _, peer):
            peer.transport.pause_reading()
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            await asyncio.sleep(0.01)
            assert not sending.done()
            assert not transport.is_reading()
            with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
                transport.write(b"x")
            with pytest.raises(RuntimeError, match="sendfile is in progress"):
                transport.writelines([b"x"])
            if implementation.is_ferrio:
                # asyncio raises a KeyError.
                with pytest.raises(RuntimeError):
                    await loop.sendfile(transport, file)
                assert not transport.is_reading()
            peer.transport.resume_reading()
            assert await sending == len(DATA)
            assert transport.is_reading()
            transport.write(b"tail")
            while len(peer.received) < len(DATA) + 4:
                await asyncio.sleep(0.001)
            assert peer.received == DATA + b"tail"

    loop.run_until_complete(main())


def test_what_the_peer_sends_meanwhile_comes_afterwards(loop, file):
    async def main():
        async with connected(loop) as (transport, protocol, peer):
            peer.transport.pause_reading()
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            await asyncio.sleep(0.01)
            peer.transport.write(b"an early answer")
            await asyncio.sleep(0.01)
            assert protocol.received == b""
            peer.transport.resume_reading()
            await sending
            while not protocol.received:
                await asyncio.sleep(0)
            assert protocol.received == b"an early answer"

    loop.run_until_complete(main())


def test_cancelled_the_transport_can_be_used_again(loop, file):
    async def main():
        async with connected(loop) as (transport, protocol, peer):
            peer.transport.pause_reading()
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            await asyncio.sleep(0.01)
            sending.cancel()
            with pytest.raises(asyncio.CancelledError):
                await sending
            assert transport.is_reading()
            transport.write(b"the end")
            peer.transport.resume_reading()
            while not peer.received.endswith(b"the end"):
                await asyncio.sleep(0.001)
            sent = len(peer.received) - len(b"the end")
            assert 0 < sent < len(DATA)
            assert peer.received[:sent] == DATA[:sent]

    loop.run_until_complete(main())


def test_cancelled_the_socket_is_the_callers(loop, pair, file):
    async def main():
        sending = asyncio.ensure_future(loop.sock_sendfile(pair[0], file))
        await asyncio.sleep(0.01)
        assert not sending.done()
        sending.cancel()
        with pytest.raises(asyncio.CancelledError):
            await sending
        assert not loop.remove_writer(pair[0])

    loop.run_until_complete(main())


def test_the_peer_goes_away_meanwhile(loop, file):
    async def main():
        async with connected(loop) as (transport, _, peer):
            peer.transport.pause_reading()
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            await asyncio.sleep(0.01)
            peer.transport.abort()
            with pytest.raises(ConnectionError):
                await sending
            # Behind what was sent.
            assert 0 < file.tell() < len(DATA)

    loop.run_until_complete(main())


def test_the_peer_of_a_socket_goes_away_meanwhile(loop, pair, file):
    async def main():
        sending = asyncio.ensure_future(loop.sock_sendfile(pair[0], file))
        await asyncio.sleep(0.01)
        pair[1].close()
        with pytest.raises(ConnectionError):
            await sending
        assert 0 < file.tell() < len(DATA)

    loop.run_until_complete(main())


def test_the_transport_is_aborted_meanwhile(implementation, loop, file):
    if not implementation.is_ferrio:
        pytest.skip("asyncio waits for ever")

    async def main():
        async with connected(loop) as (transport, protocol, peer):
            peer.transport.pause_reading()
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            await asyncio.sleep(0.01)
            transport.abort()
            with pytest.raises(ConnectionError, match="Connection is closed by peer"):
                await sending
            assert await protocol.lost is None

    loop.run_until_complete(main())


def test_a_transport_that_has_much_to_write_first(loop, file):
    async def main():
        async with connected(loop) as (transport, _, peer):
            peer.transport.pause_reading()
            before = bytes(8_000_000)
            transport.write(before)
            sending = asyncio.ensure_future(loop.sendfile(transport, file, 0, 1000))
            await asyncio.sleep(0.01)
            assert not sending.done()
            peer.transport.resume_reading()
            assert await sending == 1000
            while len(peer.received) < len(before) + 1000:
                await asyncio.sleep(0.001)
            assert peer.received == before + DATA[:1000]

    loop.run_until_complete(main())


def test_flow_control_holds_while_a_file_is_written_in_pieces(
    implementation, loop, file, kernel_refuses
):
    """A peer that does not read: the file waits in the file, not in memory."""
    if not implementation.is_ferrio:
        pytest.skip("asyncio reads the next piece over one that its transport still has")

    async def main():
        async with connected(loop) as (transport, _, peer):
            transport.set_write_buffer_limits(high=10_000)
            peer.transport.pause_reading()
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            while not transport._protocol_paused:
                await asyncio.sleep(0.001)
            await asyncio.sleep(0.05)
            assert transport.get_write_buffer_size() < 100_000
            assert not sending.done()
            peer.transport.resume_reading()
            assert await sending == len(DATA)
            while len(peer.received) < len(DATA):
                await asyncio.sleep(0.001)
            assert peer.received == DATA

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


@pytest.mark.parametrize("gone", ["close", "abort"])
def test_the_transport_goes_away_while_a_file_is_written_in_pieces(
    loop, file, kernel_refuses, gone
):
    async def main():
        async with connected(loop) as (transport, _, peer):
            peer.transport.pause_reading()
            sending = asyncio.ensure_future(loop.sendfile(transport, file))
            while not transport._protocol_paused:
                await asyncio.sleep(0.001)
            getattr(transport, gone)()
            if gone == "close":
                peer.transport.abort()
            with pytest.raises(ConnectionError):
                await sending

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_who_forbids_blocking_calls_lets_files_be_sent(
    loop, implementation, file, pair, monkeypatch
):
    """blockbuster wraps the functions of ``os`` and refuses them where a loop runs."""
    if not implementation.is_ferrio:
        pytest.skip("asyncio's own calls are known to such tools by file and function")

    def refuse(*arguments):
        raise AssertionError("a call that blocks")

    async def main():
        sock, other = pair
        sending = asyncio.ensure_future(loop.sock_sendfile(sock, file, fallback=False))
        assert await receive(loop, other, len(DATA)) == DATA
        assert await sending == len(DATA)
        async with connected(loop) as (transport, _, peer):
            file.seek(0)
            assert await loop.sendfile(transport, file, fallback=False) == len(DATA)
            transport.close()
            await peer.ended
            assert peer.received == DATA

    monkeypatch.setattr(os, "sendfile", refuse)
    loop.run_until_complete(main())
