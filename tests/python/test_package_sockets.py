"""The ``sock_*`` coroutines, on asyncio's loop and on ferrio's."""

import asyncio
import socket
import ssl

import pytest


@pytest.fixture
def pair():
    one, other = socket.socketpair()
    with one, other:
        one.setblocking(False)
        other.setblocking(False)
        yield one, other


@pytest.fixture
def datagrams():
    with (
        socket.socket(type=socket.SOCK_DGRAM) as one,
        socket.socket(type=socket.SOCK_DGRAM) as other,
    ):
        for sock in (one, other):
            sock.setblocking(False)
            sock.bind(("127.0.0.1", 0))
        yield one, other


def test_receive_what_is_there_and_what_comes_later(loop, pair):
    one, other = pair

    async def main():
        other.send(b"there")
        assert await loop.sock_recv(one, 100) == b"there"
        receiving = asyncio.ensure_future(loop.sock_recv(one, 3))
        await asyncio.sleep(0.01)
        assert not receiving.done()
        other.send(b"later")
        assert await receiving == b"lat"
        buffer = bytearray(4)
        assert await loop.sock_recv_into(one, buffer) == 2
        receiving = asyncio.ensure_future(loop.sock_recv_into(one, buffer))
        await asyncio.sleep(0)
        other.send(b"four")
        assert await receiving == 4
        assert buffer == b"four"
        other.shutdown(socket.SHUT_WR)
        assert await loop.sock_recv(one, 100) == b""

    loop.run_until_complete(main())


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_send_more_than_the_kernel_takes(loop, pair, kind):
    one, other = pair
    data = bytes(range(256)) * 8192

    async def receive():
        received = bytearray()
        while len(received) < len(data):
            received += await loop.sock_recv(other, 65536)
        return received

    async def main():
        receiving = asyncio.ensure_future(receive())
        assert await loop.sock_sendall(one, kind(data)) is None
        assert await receiving == data
        await loop.sock_sendall(one, b"")

    loop.run_until_complete(main())


def test_datagrams(loop, datagrams):
    one, other = datagrams

    async def main():
        receiving = asyncio.ensure_future(loop.sock_recvfrom(other, 100))
        await asyncio.sleep(0)
        assert await loop.sock_sendto(one, b"one", other.getsockname()) == 3
        assert await receiving == (b"one", one.getsockname())
        buffer = bytearray(10)
        receiving = asyncio.ensure_future(loop.sock_recvfrom_into(other, buffer, 2))
        await asyncio.sleep(0)
        await loop.sock_sendto(one, b"two", other.getsockname())
        assert await receiving == (2, one.getsockname())
        await loop.sock_sendto(one, b"three", other.getsockname())
        assert await loop.sock_recvfrom_into(other, buffer) == (5, one.getsockname())
        assert buffer[:5] == b"three"

    loop.run_until_complete(main())


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_connect_and_accept(loop, host):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listening, socket.socket() as client:
            listening.setblocking(False)
            client.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listening))
            await asyncio.sleep(0)
            await loop.sock_connect(client, (host, listening.getsockname()[1]))
            accepted, address = await accepting
            with accepted:
                assert address == client.getsockname()
                assert not accepted.getblocking()

    loop.run_until_complete(main())


def test_connect_to_nobody(loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listening:
            address = listening.getsockname()
        with socket.socket() as client:
            client.setblocking(False)
            with pytest.raises(ConnectionRefusedError, match="Connect call failed"):
                await loop.sock_connect(client, address)

    loop.run_until_complete(main())


def test_errors_of_the_kernel(loop, pair):
    one, other = pair

    async def main():
        other.close()
        with pytest.raises(BrokenPipeError):
            await loop.sock_sendall(one, b"x")
        one.close()
        with pytest.raises(OSError, match="Bad file descriptor"):
            await loop.sock_recv(one, 1)

    loop.run_until_complete(main())


def test_cancelled_the_socket_is_watched_no_more(loop, pair):
    one, other = pair

    async def main():
        for _ in range(3):
            receiving = asyncio.ensure_future(loop.sock_recv(one, 100))
            await asyncio.sleep(0)
            receiving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await receiving
            assert not loop.remove_reader(one)
        other.send(b"kept")
        assert await loop.sock_recv(one, 100) == b"kept"

    loop.run_until_complete(main())


def test_a_later_watch_is_not_ended_by_an_earlier_one(loop, pair):
    one, other = pair

    async def main():
        first = asyncio.ensure_future(loop.sock_recv(one, 100))
        await asyncio.sleep(0)
        second = asyncio.ensure_future(loop.sock_recv(one, 100))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        other.send(b"for the second")
        assert await second == b"for the second"
        with pytest.raises(asyncio.CancelledError):
            await first

    loop.run_until_complete(main())


def operations(loop, sock):
    yield loop.sock_recv(sock, 1)
    yield loop.sock_recv_into(sock, bytearray(1))
    yield loop.sock_recvfrom(sock, 1)
    yield loop.sock_recvfrom_into(sock, bytearray(1))
    yield loop.sock_sendall(sock, b"x")
    yield loop.sock_sendto(sock, b"x", ("127.0.0.1", 9))
    yield loop.sock_accept(sock)
    yield loop.sock_connect(sock, ("127.0.0.1", 9))


def test_debug_mode_refuses_blocking_sockets(loop):
    async def main():
        with socket.socket() as sock:
            for operation in operations(loop, sock):
                with pytest.raises(ValueError, match="the socket must be non-blocking"):
                    await operation

    loop.set_debug(True)
    loop.run_until_complete(main())


def test_tls_sockets_are_refused(loop, pair):
    async def main():
        context = ssl.create_default_context()
        wrapped = context.wrap_socket(
            pair[0], server_hostname="localhost", do_handshake_on_connect=False
        )
        with wrapped:
            wrapped.setblocking(False)
            for operation in operations(loop, wrapped):
                with pytest.raises(TypeError, match="Socket cannot be of type SSLSocket"):
                    await operation

    loop.run_until_complete(main())


def test_sockets_of_transports_are_refused(loop, pair):
    one, other = pair

    async def main():
        transport, _ = await loop.create_connection(asyncio.Protocol, sock=one)
        with pytest.raises(RuntimeError, match="File descriptor .* is used by transport"):
            await loop.sock_recv(one, 1)
        transport.abort()
        await asyncio.sleep(0)

    loop.run_until_complete(main())
