"""What is known of connections that a server has accepted, on asyncio's loop and on ferrio's."""

import asyncio
import contextvars
import gc
import os
import socket
import weakref

import pytest

from package_support import Recorder

HOST = "127.0.0.1"


async def accept(factory=Recorder, *, host=HOST):
    """A server's protocol that is connected, the client's socket, and the server."""
    connected = asyncio.get_running_loop().create_future()

    class Announcing(factory):
        def connection_made(self, transport):
            super().connection_made(transport)
            connected.set_result(self)

    server = await asyncio.get_running_loop().create_server(Announcing, host, 0)
    peer = socket.create_connection(server.sockets[0].getsockname()[:2])
    return await connected, peer, server


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0)


@pytest.mark.parametrize(
    "host",
    [
        HOST,
        pytest.param(
            "::1",
            marks=pytest.mark.skipif(
                not os.path.exists("/proc/net/if_inet6")
                or "00000000000000000000000000000001"
                not in open("/proc/net/if_inet6", encoding="ascii").read(),
                reason="no IPv6 on this machine",
            ),
        ),
    ],
)
def test_addresses_and_socket(loop, host):
    async def main():
        protocol, peer, server = await accept(host=host)
        transport = protocol.transport
        with peer:
            assert transport.get_extra_info("peername") == peer.getsockname()
            assert transport.get_extra_info("sockname") == peer.getpeername()
            assert transport.get_extra_info("compression", "none") == "none"
            shown = transport.get_extra_info("socket")
            assert isinstance(shown, asyncio.trsock.TransportSocket)
            assert transport.get_extra_info("socket") is shown
            assert shown.getpeername() == peer.getsockname()
            assert shown.family == peer.family
            assert shown.type == socket.SOCK_STREAM
            assert shown.gettimeout() == 0
            assert shown.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
            assert not os.get_inheritable(shown.fileno())
            # What goes through the transport goes on as before.
            transport.write(b"after the socket was asked for")
            await asyncio.sleep(0)
            assert peer.recv(100) == b"after the socket was asked for"
            transport.close()
            await protocol.lost
            assert shown.fileno() == -1
            assert transport.get_extra_info("peername") == peer.getsockname()
        server.close()

    loop.run_until_complete(main())


def test_asked_only_when_the_connection_is_lost(loop):
    async def main():
        protocol, peer, server = await accept()
        transport = protocol.transport
        with peer:
            names = peer.getpeername(), peer.getsockname()
        await protocol.lost
        assert transport.get_extra_info("sockname") == names[0]
        assert transport.get_extra_info("peername") == names[1]
        assert transport.get_extra_info("socket").fileno() == -1
        assert transport.get_extra_info("peername") == names[1]
        assert set(transport._extra) == {"socket", "sockname", "peername"}
        server.close()

    loop.run_until_complete(main())


def test_own_additions_to_what_is_known(loop):
    async def main():
        protocol, peer, server = await accept()
        with peer:
            protocol.transport._extra["more"] = 1
            assert protocol.transport.get_extra_info("more") == 1
            assert protocol.transport.get_extra_info("peername") == peer.getsockname()
            protocol.transport.abort()
            await protocol.lost
        server.close()

    loop.run_until_complete(main())


def test_a_socket_that_is_closed_behind_the_transport(loop):
    async def main():
        protocol, peer, server = await accept()
        with peer:
            os.close(os.dup(protocol.transport.get_extra_info("socket").fileno()))
            protocol.transport._sock.close()
            protocol.transport.write(b"to nobody")
            protocol.transport.abort()
            await protocol.lost
        server.close()

    loop.set_exception_handler(lambda *_: None)
    loop.run_until_complete(main())


def test_variables_stay_with_their_connection(loop):
    variable = contextvars.ContextVar("variable", default=0)
    seen = {}

    class Counting(Recorder):
        def data_received(self, data):
            variable.set(variable.get() + 1)
            seen.setdefault(data, []).append(variable.get())

    async def main():
        servers, peers, protocols = [], [], []
        for _ in range(2):
            protocol, peer, server = await accept(Counting)
            servers.append(server)
            peers.append(peer)
            protocols.append(protocol)
        for times in range(1, 4):
            for name, peer in zip((b"a", b"b"), peers, strict=True):
                peer.sendall(name)
                await until(lambda n=name, t=times: len(seen.get(n, [])) == t)
        assert seen == {b"a": [1, 2, 3], b"b": [1, 2, 3]}
        assert variable.get() == 0
        for protocol, peer, server in zip(protocols, peers, servers, strict=True):
            peer.close()
            await protocol.lost
            server.close()

    loop.run_until_complete(main())


def test_a_context_that_somebody_keeps_is_nobody_elses(loop):
    """What data_received() leaves running goes on in its own context."""
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    class Keeping(Recorder):
        def data_received(self, data):
            asyncio.get_running_loop().call_soon(variable.set, "set later")
            asyncio.get_running_loop().call_soon(lambda: seen.append(variable.get()))

    async def main():
        protocol, peer, server = await accept(Keeping)
        with peer:
            for times in (1, 2):
                peer.sendall(b"x")
                await until(lambda t=times: len(seen) == t)
            assert seen == ["unset", "unset"]
            protocol.transport.abort()
            await protocol.lost
        server.close()

    loop.run_until_complete(main())


def test_clients_are_known_to_their_server_alone(loop):
    async def main():
        first, first_peer, first_server = await accept()
        second, second_peer, second_server = await accept()
        with first_peer, second_peer:
            if not hasattr(first_server, "close_clients"):
                first.transport.close()
            else:
                first_server.close_clients()
            await first.lost
            assert not second.transport.is_closing()
            second.transport.close()
            await second.lost
        for server in (first_server, second_server):
            server.close()
            await server.wait_closed()

    loop.run_until_complete(main())


def test_nothing_outlives_a_connection(loop):
    async def main():
        protocol, peer, server = await accept()
        transport = weakref.ref(protocol.transport)
        peer.close()
        await protocol.lost
        server.close()
        await server.wait_closed()
        return transport

    transport = loop.run_until_complete(main())
    gc.collect()
    assert transport() is None
