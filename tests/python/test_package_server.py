"""``create_server`` and the server object, on asyncio's loop and on ferrio's."""

import asyncio
import contextlib
import errno
import gc
import os
import resource
import socket
import sys
from unittest import mock

import pytest

from package_support import Echo, Recorder, check_refusal, close
from turns import run_turn
from watch import open_descriptors

HOST = "127.0.0.1"


def port_of(server):
    return server.sockets[0].getsockname()[1]


async def connect(server):
    _, protocol = await asyncio.get_running_loop().create_connection(
        Recorder, HOST, port_of(server)
    )
    return protocol


def recording(made, kind=Recorder):
    """Return a factory that keeps the protocols it makes in ``made``."""

    def make():
        made.append(kind())
        return made[-1]

    return make


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.001)


def test_connections_are_served_until_the_server_is_closed(loop):
    made = []

    async def main():
        server = await loop.create_server(recording(made), HOST, 0)
        assert server.is_serving()
        assert server.get_loop() is loop
        clients = [await connect(server) for _ in range(3)]
        await until(lambda: len(made) == 3)
        for protocol, client in zip(made, clients, strict=True):
            name = protocol.transport.get_extra_info("peername")
            assert name == client.transport.get_extra_info("sockname")
        port = port_of(server)
        server.close()
        server.close()
        assert not server.is_serving()
        assert server.sockets == ()
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, HOST, port)
        # Connections outlive the server.
        clients[0].transport.write(b"still here")
        await until(lambda: made[0].received == b"still here")
        await close(*clients)
        await server.wait_closed()

    loop.run_until_complete(main())


def test_repr(loop):
    async def main():
        server = await loop.create_server(Recorder, HOST, 0)
        assert repr(server) == f"<Server sockets={server.sockets!r}>"
        server.close()
        assert repr(server) == "<Server sockets=()>"
        assert isinstance(server, asyncio.Server)
        assert isinstance(server, asyncio.AbstractServer)

    loop.run_until_complete(main())


def test_the_sockets_cannot_be_used_behind_the_servers_back(loop):
    async def main():
        async with await loop.create_server(Recorder, HOST, 0) as server:
            (sock,) = server.sockets
            assert sock.getsockname()[0] == HOST
            assert not hasattr(sock, "accept")
            assert sock.fileno() >= 0

    loop.run_until_complete(main())


def test_it_starts_later(loop):
    async def main():
        server = await loop.create_server(Recorder, HOST, 0, start_serving=False)
        assert not server.is_serving()
        with pytest.raises(ConnectionRefusedError):
            await connect(server)
        await server.start_serving()
        await server.start_serving()
        assert server.is_serving()
        await close(await connect(server))
        server.close()

    loop.run_until_complete(main())


def test_serve_forever(loop):
    async def main():
        server = await loop.create_server(Recorder, HOST, 0, start_serving=False)
        serving = asyncio.ensure_future(server.serve_forever())
        await until(server.is_serving)
        with pytest.raises(RuntimeError, match="is already being awaited on serve_forever"):
            await server.serve_forever()
        await close(await connect(server))
        serving.cancel()
        with pytest.raises(asyncio.CancelledError):
            await serving
        assert not server.is_serving()
        with pytest.raises(RuntimeError, match="<Server sockets=.*> is closed"):
            await server.serve_forever()

    loop.run_until_complete(main())


def test_serve_forever_ends_when_the_server_is_closed(loop):
    async def main():
        server = await loop.create_server(Recorder, HOST, 0)
        serving = asyncio.ensure_future(server.serve_forever())
        await asyncio.sleep(0)
        server.close()
        with pytest.raises(asyncio.CancelledError):
            await serving

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="before 3.12 it waited for nothing")
def test_wait_closed_waits_for_the_server_and_for_its_connections(loop):
    made = []

    async def main():
        server = await loop.create_server(recording(made), HOST, 0)
        client = await connect(server)
        await until(lambda: made)
        waiting = [asyncio.ensure_future(server.wait_closed()) for _ in range(2)]
        await asyncio.sleep(0.01)
        server.close()
        await asyncio.sleep(0.01)
        assert not any(one.done() for one in waiting)
        waiting.pop().cancel()
        await close(client)
        await asyncio.gather(*waiting)
        await server.wait_closed()

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="from 3.12 it waits for connections")
def test_wait_closed_does_not_wait_for_a_closed_server(loop):
    made = []

    async def main():
        server = await loop.create_server(recording(made), HOST, 0)
        client = await connect(server)
        await until(lambda: made)
        server.close()
        await server.wait_closed()
        await close(client)
        await made[0].lost

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 13), reason="came with 3.13")
@pytest.mark.parametrize("how", ["close_clients", "abort_clients"])
def test_all_clients_at_once(loop, how):
    made = []

    async def main():
        server = await loop.create_server(recording(made), HOST, 0)
        clients = [await connect(server) for _ in range(3)]
        await until(lambda: len(made) == 3)
        getattr(server, how)()
        server.close()
        await server.wait_closed()
        for protocol in (*made, *clients):
            assert await protocol.lost is None

    loop.run_until_complete(main())


def test_several_hosts_and_one_of_them_twice(loop):
    async def main():
        server = await loop.create_server(Recorder, [HOST, "127.0.0.2", HOST], 0)
        hosts = sorted(sock.getsockname()[0] for sock in server.sockets)
        assert hosts == [HOST, "127.0.0.2"]
        server.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("host", ["", None])
def test_every_interface(loop, host):
    async def main():
        server = await loop.create_server(Recorder, host, 0)
        families = {sock.family for sock in server.sockets}
        assert socket.AF_INET in families
        for sock in server.sockets:
            if sock.family == socket.AF_INET6:
                assert sock.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)
        server.close()

    loop.run_until_complete(main())


def test_a_socket_of_the_callers(loop):
    async def main():
        sock = socket.socket()
        sock.bind((HOST, 0))
        server = await loop.create_server(Recorder, sock=sock)
        assert not sock.getblocking()
        await close(await connect(server))
        server.close()
        assert sock.fileno() == -1

    loop.run_until_complete(main())


def test_socket_options(loop):
    def option(server, name):
        return server.sockets[0].getsockopt(socket.SOL_SOCKET, name) != 0

    async def main():
        server = await loop.create_server(Recorder, HOST, 0)
        assert option(server, socket.SO_REUSEADDR)
        assert not option(server, socket.SO_REUSEPORT)
        server.close()
        server = await loop.create_server(Recorder, HOST, 0, reuse_address=False, reuse_port=True)
        assert not option(server, socket.SO_REUSEADDR)
        assert option(server, socket.SO_REUSEPORT)
        server.close()
        if sys.version_info >= (3, 13):
            server = await loop.create_server(Recorder, HOST, 0, keep_alive=True)
            assert option(server, socket.SO_KEEPALIVE)
            server.close()

    loop.run_until_complete(main())


def test_an_address_that_is_taken(loop):
    async def main():
        with socket.create_server((HOST, 0)) as other:
            port = other.getsockname()[1]
            with pytest.raises(OSError, match="error while attempting to bind on address") as error:
                # The second host is never reached, and the first is given back.
                await loop.create_server(Recorder, ["127.0.0.2", HOST], port)
            assert error.value.errno == errno.EADDRINUSE
            assert f"('{HOST}', {port})" in str(error.value)

    loop.run_until_complete(main())


def test_an_address_that_the_machine_does_not_have(loop):
    async def main():
        expected = (
            "could not bind on any address out of"
            if sys.version_info >= (3, 13)
            else "error while attempting to bind on address"
        )
        with pytest.raises(OSError, match=expected):
            await loop.create_server(Recorder, "192.0.2.1", 0)

    loop.run_until_complete(main())


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "Neither host/port nor sock were specified"),
        (
            {"host": HOST, "port": 0, "ssl": True},
            TypeError,
            "ssl argument must be an SSLContext or None",
        ),
        (
            {"host": HOST, "port": 0, "ssl_handshake_timeout": 1},
            ValueError,
            "ssl_handshake_timeout is only meaningful with ssl",
        ),
        (
            {"host": HOST, "port": 0, "ssl_shutdown_timeout": 1},
            ValueError,
            "ssl_shutdown_timeout is only meaningful with ssl",
        ),
        (
            {"host": HOST, "port": 0, "sock": socket.socket},
            ValueError,
            "host/port and sock can not be specified at the same time",
        ),
        (
            {"sock": lambda: socket.socket(type=socket.SOCK_DGRAM)},
            ValueError,
            "A Stream Socket was expected, got <socket",
        ),
    ],
)
def test_arguments_that_do_not_fit(loop, arguments, error, message):
    loop.run_until_complete(check_refusal(loop.create_server, arguments, error, message))


def test_many_connections_at_once(loop):
    made = []

    async def main():
        server = await loop.create_server(recording(made, Echo), HOST, 0, backlog=50)
        # No more at once than may wait: the kernel drops the others' first packets, and they come
        # again after a second, three seconds, seven.
        clients = await asyncio.gather(*[connect(server) for _ in range(50)])
        for number, client in enumerate(clients):
            client.transport.write(b"%d" % number)
        await until(lambda: all(client.received for client in clients))
        assert [int(client.received) for client in clients] == list(range(50))
        await close(*clients)
        for protocol in made:
            await protocol.lost
        server.close()

    loop.run_until_complete(main())


def test_a_protocol_factory_that_raises_is_reported_and_serving_goes_on(
    loop, implementation, reports
):
    error = LookupError("no protocol")
    attempts = []

    def make():
        attempts.append(asyncio.current_task())
        if len(attempts) == 1:
            raise error
        return Echo()

    # asyncio tells of it in debug mode only; ferrio always does.
    loop.set_debug(not implementation.is_ferrio)

    async def main():
        server = await loop.create_server(make, HOST, 0)
        first = await connect(server)
        await first.lost
        report = reports.take_one()
        assert report["message"] == "Error on transport creation for incoming connection"
        assert report["exception"] is error
        second = await connect(server)
        second.transport.write(b"x")
        await until(lambda: second.received == b"x")
        await close(second)
        await until(lambda: len(open_descriptors()) == before + 1)
        server.close()

    before = len(open_descriptors())
    if not implementation.is_ferrio:
        pytest.skip("asyncio leaves the socket to the garbage collector")
    loop.run_until_complete(main())
    assert all(isinstance(task, asyncio.Task) for task in attempts)


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_protocol_factory_that_raises_to_the_top(loop, implementation, reports, kind):
    if not implementation.is_ferrio:
        pytest.skip("asyncio leaves the socket to the garbage collector")

    def make():
        raise kind

    async def start():
        server = await loop.create_server(make, HOST, 0)
        return server, asyncio.ensure_future(connect(server))

    server, connecting = loop.run_until_complete(start())
    with pytest.raises(kind):
        loop.run_forever()

    async def end():
        await (await connecting).lost
        server.close()

    loop.run_until_complete(end())
    gc.collect()
    # Nobody has the task that accepted the connection.
    assert reports.messages() == ["Task exception was never retrieved"]


@contextlib.contextmanager
def no_free_descriptor():
    """Have the kernel refuse to open anything."""
    lowest_free = os.dup(2)
    os.close(lowest_free)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_out_of_descriptors(loop, implementation, reports):
    if not implementation.is_ferrio:
        pytest.skip("asyncio fails and starts a timer for as many times as its backlog is long")
    made = []

    async def main():
        server = await loop.create_server(recording(made), HOST, 0)
        # Sockets of the kernel's queue only, so that nothing here needs a descriptor.
        clients = [socket.create_connection((HOST, port_of(server))) for _ in range(3)]
        delay, began = 0.05, loop.time()
        with no_free_descriptor(), mock.patch("asyncio.constants.ACCEPT_RETRY_DELAY", delay):
            await until(lambda: len(reports))
            await asyncio.sleep(0)
        seen, took = reports.take(), loop.time() - began
        assert seen[0]["message"] == "socket.accept() out of system resource"
        assert seen[0]["exception"].errno == errno.EMFILE
        assert seen[0]["socket"].fileno() == server.sockets[0].fileno()
        assert len(seen) <= 1 + took / delay
        assert not made
        await until(lambda: len(made) == 3)
        for client in clients:
            client.close()
        for protocol in made:
            await protocol.lost
        server.close()

    loop.run_until_complete(main())


def test_closed_while_out_of_descriptors(loop, implementation, reports):
    if not implementation.is_ferrio:
        pytest.skip("asyncio watches the closed socket again and fails")

    async def main():
        server = await loop.create_server(Recorder, HOST, 0)
        client = socket.create_connection((HOST, port_of(server)))
        with no_free_descriptor(), mock.patch("asyncio.constants.ACCEPT_RETRY_DELAY", 0.01):
            await until(lambda: len(reports))
        server.close()
        reports.take()
        client.close()
        await asyncio.sleep(0.03)

    loop.run_until_complete(main())


def test_a_listening_socket_closed_behind_the_servers_back(loop, implementation):
    if not implementation.is_ferrio:
        pytest.skip("asyncio raises ValueError")

    async def main():
        sock = socket.socket()
        sock.bind((HOST, 0))
        server = await loop.create_server(Recorder, sock=sock)
        number = sock.fileno()
        sock.close()
        # Somebody else gets the number and watches it; closing the server must not end that.
        read, write = os.pipe()
        assert number in (read, write)
        seen = loop.create_future()
        other = read
        loop.add_reader(other, seen.set_result, None)
        server.close()
        os.write(write, b"x")
        await seen
        loop.remove_reader(other)
        os.close(read)
        os.close(write)

    loop.run_until_complete(main())


def test_a_task_factory_that_raises(loop, implementation, reports):
    if not implementation.is_ferrio:
        pytest.skip("asyncio leaves the socket to the garbage collector")

    def refuse(loop, coro, **_):
        raise LookupError("no task")

    async def main():
        server = await loop.create_server(Recorder, HOST, 0)
        client = socket.create_connection((HOST, port_of(server)))
        loop.set_task_factory(refuse)
        await until(lambda: len(reports))
        loop.set_task_factory(None)
        assert isinstance(reports.take()[0]["exception"], LookupError)
        client.settimeout(60)
        assert client.recv(1) == b""
        client.close()
        server.close()

    loop.run_until_complete(main())


def test_cancelled_while_starting(loop, implementation):
    if not implementation.is_ferrio:
        pytest.skip("asyncio forgets the sockets and goes on accepting on them")

    async def main():
        starting = asyncio.ensure_future(loop.create_server(Recorder, HOST, 0))
        before = open_descriptors()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        starting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await starting
        assert open_descriptors() == before

    loop.run_until_complete(main())


def test_the_loop_is_closed_first(loop):
    async def main():
        return await loop.create_server(Recorder, HOST, 0)

    server = loop.run_until_complete(main())
    loop.close()
    server.close()
    assert not server.is_serving()


def test_who_forbids_blocking_calls_lets_a_unix_server_be(
    loop, implementation, tmp_path, monkeypatch
):
    """blockbuster wraps the functions of ``os`` and refuses them where a loop runs."""
    if not implementation.is_ferrio:
        pytest.skip("asyncio's own calls are known to such tools by file and function")
    path = tmp_path / "socket"
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(path))

    def refuse(*arguments, **options):
        raise AssertionError("a call that blocks")

    async def main():
        for name in ("stat", "unlink", "remove"):
            monkeypatch.setattr(os, name, refuse)
        server = await loop.create_unix_server(asyncio.Protocol, path)
        server.close()
        await server.wait_closed()
        monkeypatch.undo()

    loop.run_until_complete(main())
    # A server removes its file from 3.13 on.
    assert path.exists() == (sys.version_info < (3, 13))


def test_what_connects_at_once_is_accepted_in_several_turns(loop, implementation):
    """Else the tasks that open hundreds of connections would be in memory together."""
    if not implementation.is_ferrio:
        pytest.skip("asyncio accepts as many as its backlog is long")
    made = []
    server = loop.run_until_complete(loop.create_server(recording(made), HOST, 0, backlog=300))
    with contextlib.ExitStack() as stack:
        for _ in range(200):
            stack.enter_context(socket.create_connection((HOST, port_of(server))))
        in_a_turn = []
        while len(made) < 200:
            before = len(made)
            run_turn(loop)
            in_a_turn.append(len(made) - before)
        assert max(in_a_turn) <= 16
        assert len([count for count in in_a_turn if count]) < 40
    server.close()
    loop.run_until_complete(close(*made))
    loop.run_until_complete(server.wait_closed())
