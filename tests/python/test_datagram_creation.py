"""create_datagram_endpoint: its arguments, what it opens, and what it leaves when it fails."""

import asyncio
import contextlib
import logging
import os
import socket
import stat
import sys

import pytest

from connected import run_until
from datagram_endpoints import DatagramRecorder, protocol_of

pytest_plugins = ["datagram_fixtures"]


def create(loop, *arguments, **options):
    """Run ``create_datagram_endpoint``, which is expected to fail."""
    loop.run_until_complete(loop.create_datagram_endpoint(DatagramRecorder, *arguments, **options))


# Addresses


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "localhost"])
def test_a_local_address(loop, endpoints, host):
    transport = endpoints.create(local_addr=(host, 0))
    assert transport.get_extra_info("sockname")[1] > 0
    assert transport.get_extra_info("peername") is None
    protocol = protocol_of(transport)
    assert protocol.transport is transport
    assert protocol.events == ["made"]


@pytest.mark.parametrize("kind", ["ipv4", "ipv6"])
def test_a_remote_address(loop, endpoints, kind):
    peer = endpoints.open(kind)
    transport = endpoints.create(remote_addr=peer.getsockname()[:2])
    assert transport.get_extra_info("peername") == peer.getsockname()
    transport.sendto(b"x")
    assert peer.recvfrom(10) == (b"x", transport.get_extra_info("sockname"))
    # Nobody else gets through.
    endpoints.open(kind).sendto(b"stranger", transport.get_extra_info("sockname"))
    peer.sendto(b"friend", transport.get_extra_info("sockname"))
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.datagrams)
    assert protocol.data == [b"friend"]


def test_both_addresses(loop, endpoints):
    peer = endpoints.open()
    transport = endpoints.create(local_addr=("127.0.0.1", 0), remote_addr=peer.getsockname())
    assert transport.get_extra_info("sockname")[0] == "127.0.0.1"
    assert transport.get_extra_info("peername") == peer.getsockname()


def test_positional_addresses(loop, endpoints):
    peer = endpoints.open()
    transport, _ = loop.run_until_complete(
        loop.create_datagram_endpoint(DatagramRecorder, ("127.0.0.1", 0), peer.getsockname())
    )
    endpoints._transports.append(transport)
    assert transport.get_extra_info("peername") == peer.getsockname()


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_family_alone(loop, endpoints, family):
    transport = endpoints.create(family=family)
    assert transport.get_extra_info("socket").family == family
    assert transport.get_extra_info("sockname")[1] == 0


def test_broadcast_sockets_are_not_connected(loop, endpoints):
    peer = endpoints.open()
    transport = endpoints.create(remote_addr=peer.getsockname(), allow_broadcast=True)
    sock = transport.get_extra_info("socket")
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST)
    assert transport.get_extra_info("peername") is None
    transport.sendto(b"the only address")
    transport.sendto(b"the same", peer.getsockname())
    with pytest.raises(ValueError, match="Invalid address"):
        transport.sendto(b"x", ("127.0.0.1", 9))
    assert [peer.recv(100), peer.recv(100)] == [b"the only address", b"the same"]
    # Whoever answers is heard.
    endpoints.open().sendto(b"anybody", ("127.0.0.1", sock.getsockname()[1]))
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.datagrams)


def test_reuse_port(loop, endpoints):
    first = endpoints.create(local_addr=("127.0.0.1", 0), reuse_port=True)
    address = first.get_extra_info("sockname")
    second = endpoints.create(local_addr=address, reuse_port=True)
    assert second.get_extra_info("sockname") == address
    for transport in (first, second):
        sock = transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)
        assert not sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)


def test_reuse_port_that_is_not_supported(loop, monkeypatch):
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    with pytest.raises(ValueError, match="reuse_port not supported by socket module"):
        create(loop, local_addr=("127.0.0.1", 0), reuse_port=True)


# Unix sockets


def test_unix_paths(loop, endpoints, tmp_path):
    server_path, client_path = str(tmp_path / "server"), str(tmp_path / "client")
    server = endpoints.create(family=socket.AF_UNIX, local_addr=server_path)
    client = endpoints.create(
        family=socket.AF_UNIX, local_addr=client_path, remote_addr=server_path
    )
    client.sendto(b"hello")
    protocol = protocol_of(server)
    run_until(loop, lambda: protocol.datagrams)
    assert protocol.datagrams == [(b"hello", client_path)]
    server.sendto(b"back", client_path)
    protocol = protocol_of(client)
    run_until(loop, lambda: protocol.datagrams)
    assert protocol.datagrams == [(b"back", server_path)]
    server.close()
    run_until(loop, lambda: protocol_of(server) is None)
    # As asyncio does, the path is left.
    assert stat.S_ISSOCK(os.stat(server_path).st_mode)


def test_a_stale_path_is_replaced(loop, endpoints, tmp_path):
    path = str(tmp_path / "stale")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as dead:
        dead.bind(path)
    transport = endpoints.create(family=socket.AF_UNIX, local_addr=path)
    endpoints.open("path").sendto(b"x", path)
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.datagrams)


def test_a_file_is_not_replaced(loop, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(b"precious")
    with pytest.raises(OSError, match="Address already in use"):
        create(loop, family=socket.AF_UNIX, local_addr=str(path))
    assert path.read_bytes() == b"precious"


def test_abstract_names(loop, endpoints, tmp_path):
    name = f"\0{tmp_path}"
    transport = endpoints.create(family=socket.AF_UNIX, local_addr=name)
    endpoints.open("path").sendto(b"x", name)
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.datagrams)
    assert transport.get_extra_info("sockname") == name.encode()


@pytest.mark.parametrize("option", ["local_addr", "remote_addr"])
def test_unix_addresses_are_text(loop, option):
    with pytest.raises(TypeError, match="string is expected"):
        create(loop, family=socket.AF_UNIX, **{option: ("127.0.0.1", 0)})


# A socket of the user's


def test_a_socket_of_the_users_stays_what_it_is(loop, endpoints):
    sock = endpoints.open()
    transport = endpoints.create(sock=sock)
    assert transport.get_extra_info("socket").fileno() == sock.fileno()
    assert sock.gettimeout() == 0
    assert transport.get_extra_info("sockname") == sock.getsockname()


def test_a_stream_socket_is_refused(loop):
    if (3, 11, 8) <= sys.version_info < (3, 12) or sys.version_info >= (3, 12, 2):
        words = "A datagram socket was expected, got"
    else:
        words = "A UDP Socket was expected, got"
    with socket.socket() as sock, pytest.raises(ValueError, match=words):
        create(loop, sock=sock)


@pytest.mark.parametrize(
    "options",
    [
        {"local_addr": ("127.0.0.1", 0)},
        {"remote_addr": ("127.0.0.1", 9)},
        {"family": 1},
        {"proto": 1},
        {"flags": 1},
        {"reuse_port": True},
        {"allow_broadcast": True},
    ],
    ids=str,
)
def test_a_socket_and_more(loop, options):
    ((name, value),) = options.items()
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock,
        pytest.raises(ValueError) as failure,
    ):
        create(loop, sock=sock, **options)
    assert str(failure.value) == (
        "socket modifier keyword arguments can not be used when sock is specified. "
        f"({name}={value})"
    )


# Errors


@pytest.mark.parametrize("address", [("127.0.0.1",), ("127.0.0.1", 0, 0), "127.0.0.1", ["h", 0]])
@pytest.mark.parametrize("option", ["local_addr", "remote_addr"])
def test_what_is_no_address(loop, address, option):
    with pytest.raises(TypeError, match="2-tuple is expected"):
        create(loop, **{option: address})


def test_no_address_and_no_family(loop):
    with pytest.raises(ValueError, match="unexpected address family"):
        create(loop)


def test_addresses_of_two_families(loop):
    with pytest.raises(ValueError, match="can not get address information"):
        create(loop, local_addr=("127.0.0.1", 0), remote_addr=("::1", 9))


def test_no_addresses_at_all(loop, monkeypatch):
    async def nothing(*_, **__):
        return []

    monkeypatch.setattr(loop, "getaddrinfo", nothing)
    with pytest.raises(OSError, match=r"getaddrinfo\(\) returned empty list"):
        create(loop, local_addr=("name", 0))


def test_an_address_in_use(loop, endpoints):
    taken = endpoints.open()
    with pytest.raises(OSError, match="Address already in use"):
        create(loop, local_addr=taken.getsockname())


def test_the_first_error_is_the_one_that_is_raised(loop, endpoints, monkeypatch):
    async def two(*_, **__):
        return [
            (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("2001:db8::1", 0)),
            (socket.AF_INET, socket.SOCK_DGRAM, 17, "", endpoints.open().getsockname()),
        ]

    monkeypatch.setattr(loop, "getaddrinfo", two)
    with pytest.raises(OSError, match="Cannot assign requested address"):
        create(loop, local_addr=("name", 0))


def test_a_later_address_that_works(loop, endpoints, monkeypatch):
    async def two(*_, **__):
        return [
            (socket.AF_INET6, socket.SOCK_DGRAM, 17, "", ("2001:db8::1", 0)),
            (socket.AF_INET, socket.SOCK_DGRAM, 17, "", ("127.0.0.1", 0)),
        ]

    monkeypatch.setattr(loop, "getaddrinfo", two)
    transport = endpoints.create(local_addr=("name", 0))
    assert transport.get_extra_info("sockname")[0] == "127.0.0.1"


def test_a_factory_that_raises(loop, implementation):
    if not implementation.is_ferrio:
        pytest.skip("asyncio forgets the socket")

    def fail():
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        loop.run_until_complete(loop.create_datagram_endpoint(fail, local_addr=("127.0.0.1", 0)))


def test_a_factory_that_raises_leaves_the_users_socket(loop, endpoints):
    sock = endpoints.open()

    def fail():
        raise LookupError("on purpose")

    with pytest.raises(LookupError):
        loop.run_until_complete(loop.create_datagram_endpoint(fail, sock=sock))
    assert sock.fileno() >= 0


def test_cancelled_while_it_resolves(loop, monkeypatch):
    async def never(*_, **__):
        await asyncio.Event().wait()

    monkeypatch.setattr(loop, "getaddrinfo", never)
    task = loop.create_task(loop.create_datagram_endpoint(DatagramRecorder, local_addr=("name", 0)))
    loop.call_soon(loop.call_soon, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_cancelled_before_connection_made_was_called(loop):
    """The transport exists, and is closed."""
    protocol = DatagramRecorder()
    task = None

    def factory():
        loop.call_soon(task.cancel)
        return protocol

    async def start():
        nonlocal task
        task = asyncio.ensure_future(
            loop.create_datagram_endpoint(factory, local_addr=("127.0.0.1", 0))
        )
        with contextlib.suppress(asyncio.CancelledError):
            await task

    loop.run_until_complete(start())
    assert task.cancelled()
    run_until(loop, lambda: protocol.is_lost)
    assert protocol.events == ["made", ("lost", None)]


def test_debug_mode_tells_of_endpoints(loop):
    loop.set_debug(True)
    protocol = DatagramRecorder()
    logger = logging.getLogger("asyncio")
    messages = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = lambda record: messages.append(record.getMessage())
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.DEBUG)
    try:
        transport, _ = loop.run_until_complete(
            loop.create_datagram_endpoint(lambda: protocol, local_addr=("127.0.0.1", 0))
        )
        transport.close()
        run_until(loop, lambda: protocol.is_lost)
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)
    assert any(
        message.startswith("Datagram endpoint local_addr=('127.0.0.1', 0) remote_addr=None created")
        for message in messages
    )


def test_everything_from_a_program(implementation):
    """As users write it, with nothing of the tests' around it."""

    class Server(asyncio.DatagramProtocol):
        def connection_made(self, transport):
            self.transport = transport

        def datagram_received(self, data, addr):
            self.transport.sendto(data[::-1], addr)

    class Client(asyncio.DatagramProtocol):
        def __init__(self, answer):
            self.answer = answer

        def connection_made(self, transport):
            transport.sendto(b"stressed")

        def datagram_received(self, data, addr):
            self.answer.set_result(data)

    async def main():
        loop = asyncio.get_running_loop()
        server, _ = await loop.create_datagram_endpoint(Server, local_addr=("127.0.0.1", 0))
        answer = loop.create_future()
        client, _ = await loop.create_datagram_endpoint(
            lambda: Client(answer), remote_addr=server.get_extra_info("sockname")
        )
        try:
            return await asyncio.wait_for(answer, 30)
        finally:
            client.close()
            server.close()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

    assert implementation.run(main()) == b"desserts"
