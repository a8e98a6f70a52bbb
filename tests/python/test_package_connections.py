"""``create_connection`` and its kin, on asyncio's loop and on ferrio's."""

import asyncio
import errno
import gc
import os
import socket
import ssl
import sys

import pytest

from ferrio.connections import interleave_families
from ferrio.name_resolution import resolve_literal
from package_support import Echo, Recorder, check_refusal, close, tls_contexts
from watch import open_descriptors

HOST = "127.0.0.1"


class EchoServer:
    """A server on the loop, whose connections are all gone when it is left."""

    def __init__(self, **options):
        self.options = options
        self.protocols = []

    async def __aenter__(self):
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(self.make, HOST, 0, **self.options)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_):
        self.server.close()
        for protocol in self.protocols:
            if protocol.transport is not None:
                protocol.transport.abort()
                await protocol.lost

    def make(self):
        protocol = Echo()
        self.protocols.append(protocol)
        return protocol


def unused_port():
    with socket.create_server((HOST, 0)) as sock:
        return sock.getsockname()[1]


async def exchange(protocol, data=b"hello"):
    """Send data and wait until it has come back."""
    protocol.transport.write(data)
    async with asyncio.timeout(60):
        while len(protocol.received) < len(data):
            await asyncio.sleep(0.001)
    assert protocol.received == data


def test_by_address_and_by_name(loop):
    async def main():
        async with EchoServer() as server:
            for host in (HOST, "localhost"):
                transport, protocol = await loop.create_connection(
                    Recorder, host, server.port, family=socket.AF_INET
                )
                assert protocol.transport is transport
                assert transport.get_extra_info("peername") == (HOST, server.port)
                await exchange(protocol)
                await close(protocol)

    loop.run_until_complete(main())


def test_a_socket_of_the_callers(loop):
    async def main():
        async with EchoServer() as server:
            sock = socket.create_connection((HOST, server.port))
            transport, protocol = await loop.create_connection(Recorder, sock=sock)
            assert transport.get_extra_info("socket").fileno() == sock.fileno()
            await exchange(protocol)
            await close(protocol)
            assert sock.fileno() == -1

    loop.run_until_complete(main())


def test_from_a_local_address(loop):
    async def main():
        async with EchoServer() as server:
            _, protocol = await loop.create_connection(
                Recorder, HOST, server.port, local_addr=("127.0.0.2", 0)
            )
            assert protocol.transport.get_extra_info("sockname")[0] == "127.0.0.2"
            await exchange(protocol)
            await close(protocol)

    loop.run_until_complete(main())


def test_a_connected_pair_of_unix_sockets(loop):
    async def main():
        one, other = socket.socketpair()
        _, left = await loop.create_connection(Recorder, sock=one)
        _, right = await loop.create_connection(Echo, sock=other)
        await exchange(left)
        await close(left, right)

    loop.run_until_complete(main())


def test_unix_sockets_by_path(loop, tmp_path):
    path = tmp_path / "socket"

    async def main():
        protocols = []

        def make():
            protocols.append(Echo())
            return protocols[-1]

        server = await loop.create_unix_server(make, path)
        _, protocol = await loop.create_unix_connection(Recorder, path)
        await exchange(protocol)
        await close(protocol)
        await protocols[0].lost
        server.close()
        await server.wait_closed()
        assert path.exists() == (sys.version_info < (3, 13))
        # A server that finds the path of a dead one replaces it.
        server = await loop.create_unix_server(make, path)
        with pytest.raises(OSError, match="already in use") as caught:
            await loop.create_unix_server(make, __file__)
        assert caught.value.errno == errno.EADDRINUSE
        server.close()

    loop.run_until_complete(main())


def test_an_accepted_socket(loop):
    async def main():
        with socket.create_server((HOST, 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            accepted, _ = listening.accept()
        _, server_side = await loop.connect_accepted_socket(Echo, accepted)
        _, protocol = await loop.create_connection(Recorder, sock=client)
        await exchange(protocol)
        await close(protocol, server_side)

    loop.run_until_complete(main())


def test_nothing_listens(loop):
    port = unused_port()

    async def main():
        with pytest.raises(ConnectionRefusedError) as caught:
            await loop.create_connection(Recorder, HOST, port)
        assert caught.value.errno == errno.ECONNREFUSED
        assert str(caught.value) == (
            f"[Errno {errno.ECONNREFUSED}] Connect call failed ('{HOST}', {port})"
        )

    loop.run_until_complete(main())


async def resolve_to(*addresses):
    return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]


@pytest.mark.parametrize("delay", [None, 0.01])
def test_several_addresses_that_fail(loop, delay):
    port = unused_port()
    loop.getaddrinfo = lambda *_, **__: resolve_to((HOST, port), ("127.0.0.2", port))

    async def main():
        with pytest.raises(OSError, match="Multiple exceptions: ") as caught:
            await loop.create_connection(Recorder, "a.name", port, happy_eyeballs_delay=delay)
        for address in (HOST, "127.0.0.2"):
            assert f"Connect call failed ('{address}', {port})" in str(caught.value)

    loop.run_until_complete(main())


def test_several_addresses_that_fail_alike(loop):
    port = unused_port()
    loop.getaddrinfo = lambda *_, **__: resolve_to((HOST, port), (HOST, port))

    async def main():
        with pytest.raises(ConnectionRefusedError):
            await loop.create_connection(Recorder, "a.name", port)

    loop.run_until_complete(main())


@pytest.mark.skipif(sys.version_info < (3, 12), reason="all_errors came with 3.12")
def test_all_errors(loop):
    port = unused_port()
    loop.getaddrinfo = lambda *_, **__: resolve_to((HOST, port), ("127.0.0.2", port))

    async def main():
        with pytest.raises(ExceptionGroup, match="create_connection failed") as caught:
            await loop.create_connection(Recorder, "a.name", port, all_errors=True)
        assert [type(error) for error in caught.value.exceptions] == [ConnectionRefusedError] * 2

    loop.run_until_complete(main())


@pytest.mark.parametrize("delay", [None, 0.001, 10])
def test_the_second_address_works(loop, delay):
    closed = unused_port()

    async def main():
        async with EchoServer() as server:
            loop.getaddrinfo = lambda *_, **__: resolve_to((HOST, closed), (HOST, server.port))
            _, protocol = await loop.create_connection(
                Recorder, "a.name", 1, happy_eyeballs_delay=delay
            )
            await exchange(protocol)
            await close(protocol)

    loop.run_until_complete(main())


@pytest.mark.parametrize("delay", [0, 0.001])
def test_happy_eyeballs_keep_one_of_the_sockets_that_connect(loop, delay):
    async def main():
        async with EchoServer() as server:
            addresses = [(HOST, server.port)] * 5
            loop.getaddrinfo = lambda *_, **__: resolve_to(*addresses)
            for _ in range(20):
                _, protocol = await loop.create_connection(
                    Recorder, "a.name", 1, happy_eyeballs_delay=delay
                )
                await exchange(protocol)
                await close(protocol)

    loop.run_until_complete(main())


def test_no_address(loop):
    loop.getaddrinfo = lambda *_, **__: resolve_to()

    async def main():
        with pytest.raises(OSError, match=r"^getaddrinfo\(\) returned empty list$"):
            await loop.create_connection(Recorder, "a.name", 1)

    loop.run_until_complete(main())


def test_a_name_that_cannot_be_resolved(loop):
    async def main():
        with pytest.raises(socket.gaierror):
            await loop.create_connection(Recorder, "no-such-host.invalid", 1)

    loop.run_until_complete(main())


def test_a_local_address_that_the_machine_does_not_have(loop):
    async def main():
        with pytest.raises(OSError, match="error while attempting to bind on address") as caught:
            await loop.create_connection(Recorder, HOST, 1, local_addr=("192.0.2.1", 0))
        assert caught.value.errno == errno.EADDRNOTAVAIL
        assert "('192.0.2.1', 0)" in str(caught.value)

    loop.run_until_complete(main())


def test_no_local_address_of_the_family(loop):
    async def main():
        with pytest.raises(OSError, match="no matching local address with family="):
            await loop.create_connection(Recorder, HOST, 1, local_addr=("::1", 0))

    loop.run_until_complete(main())


def stream_socket():
    return socket.socket()


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({}, ValueError, "host and port was not specified and no sock specified"),
        (
            {"host": HOST, "port": 1, "server_hostname": "a"},
            ValueError,
            "server_hostname is only meaningful with ssl",
        ),
        (
            {"host": HOST, "port": 1, "ssl_handshake_timeout": 1},
            ValueError,
            "ssl_handshake_timeout is only meaningful with ssl",
        ),
        (
            {"host": HOST, "port": 1, "ssl_shutdown_timeout": 1},
            ValueError,
            "ssl_shutdown_timeout is only meaningful with ssl",
        ),
        (
            {"port": 1, "ssl": True},
            ValueError,
            "You must set server_hostname when using ssl without a host",
        ),
        (
            {"host": HOST, "port": 1, "sock": stream_socket},
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
    loop.run_until_complete(check_refusal(loop.create_connection, arguments, error, message))


def test_a_protocol_factory_that_raises_leaves_no_socket_open(loop, implementation):
    if not implementation.is_ferrio:
        pytest.skip("asyncio leaves the socket to the garbage collector")

    def fail():
        raise LookupError("no protocol")

    async def main():
        async with EchoServer() as server:
            with pytest.raises(LookupError, match="no protocol"):
                await loop.create_connection(fail, HOST, server.port)
            # A socket of the caller's is left to the caller, up to 3.13.
            with socket.create_connection((HOST, server.port)) as sock:
                with pytest.raises(LookupError, match="no protocol"):
                    await loop.create_connection(fail, sock=sock)
                assert (sock.fileno() > 0) == (sys.version_info < (3, 14))
            await asyncio.sleep(0.01)

    loop.run_until_complete(main())


class Canaries:
    """Descriptors opened as soon as others may have been closed: a second close would hit them."""

    def __init__(self):
        self.descriptors = [os.dup(2) for _ in range(20)]

    def check_and_close(self):
        for descriptor in self.descriptors:
            os.close(descriptor)  # Raises OSError when somebody else has closed it.


@pytest.mark.parametrize("delay", [None, 0, 0.001])
@pytest.mark.parametrize("local", [None, ("127.0.0.1", 0)])
@pytest.mark.parametrize("name", [HOST, "a.name"])
def test_cancelled_at_any_point_the_socket_is_closed_once(loop, implementation, name, local, delay):
    if not implementation.is_ferrio and delay is not None:
        pytest.skip("asyncio leaves the socket that won the race to the garbage collector")

    async def resolve(*_, **__):
        await asyncio.sleep(0)
        return await resolve_to((HOST, port), (HOST, port))

    async def cancel_after(turns):
        connecting = asyncio.ensure_future(
            loop.create_connection(
                Recorder, name, port, local_addr=local, happy_eyeballs_delay=delay
            )
        )
        for _ in range(turns):
            await asyncio.sleep(0)
        was_done = connecting.done()
        connecting.cancel()
        canaries = Canaries()
        try:
            _, protocol = await connecting
        except asyncio.CancelledError:
            pass
        else:
            assert was_done
            await close(protocol)
        for _ in range(5):
            await asyncio.sleep(0)
        canaries.check_and_close()
        return was_done

    async def main():
        nonlocal port
        loop.getaddrinfo = resolve
        async with EchoServer() as server:
            port = server.port
            before = open_descriptors()
            turns = 0
            while not await cancel_after(turns):
                turns += 1
                if turns > 100:
                    # The kernel is late with what it has to deliver.
                    await asyncio.sleep(0.001)
                assert turns < 2_000
            # The client's sockets are gone; the server hears of it when it polls next.
            async with asyncio.timeout(60):
                while set(open_descriptors()) - set(before):
                    await asyncio.sleep(0.001)

    port = 0
    loop.run_until_complete(main())


def test_cancelled_while_the_kernel_connects(loop):
    async def main():
        # A full queue makes the handshake wait.
        with socket.socket() as listening:
            listening.bind((HOST, 0))
            listening.listen(0)
            fillers = [socket.socket() for _ in range(4)]
            for filler in fillers:
                filler.setblocking(False)
                filler.connect_ex(listening.getsockname())
            before = open_descriptors()
            connecting = asyncio.ensure_future(
                loop.create_connection(Recorder, *listening.getsockname())
            )
            await asyncio.sleep(0.02)
            assert len(open_descriptors()) == len(before) + 1
            connecting.cancel()
            canaries = Canaries()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            canaries.check_and_close()
            assert open_descriptors() == before
            for filler in fillers:
                filler.close()

    loop.run_until_complete(main())


def test_small_writes_are_not_held_back(loop, implementation):
    async def main():
        with socket.create_server((HOST, 0)) as listening:
            # Made with proto 0, as most programs make them.
            client = socket.create_connection(listening.getsockname())
            accepted, _ = listening.accept()
        made = socket.socket(fileno=client.detach(), proto=0)
        _, protocol = await loop.create_connection(Recorder, sock=made)
        _, server_side = await loop.connect_accepted_socket(Recorder, accepted)
        for each in (protocol, server_side):
            sock = each.transport.get_extra_info("socket")
            if implementation.is_ferrio:
                assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1
        await close(protocol, server_side)

    loop.run_until_complete(main())


def test_a_failed_connect_leaves_no_reference_cycle(loop):
    port = unused_port()

    async def main():
        gc.collect()
        gc.disable()
        try:
            with pytest.raises(OSError, match="Connect call failed") as caught:
                await loop.create_connection(Recorder, HOST, port)
            error = caught.value
            del caught
            assert not [one for one in gc.get_referrers(error) if isinstance(one, list)]
            del error
        finally:
            gc.enable()

    loop.run_until_complete(main())


class TestTls:
    """TLS by the standard library's record protocol on the loop's transports."""

    def test_client_and_server(self, loop):
        server_context, client_context = tls_contexts()

        async def main():
            async with EchoServer(ssl=server_context) as server:
                _, protocol = await loop.create_connection(
                    Recorder, HOST, server.port, ssl=client_context, server_hostname="localhost"
                )
                assert protocol.transport.get_extra_info("ssl_object").version()
                await exchange(protocol, b"secret" * 100_000)
                await close(protocol)

        loop.run_until_complete(main())

    def test_a_certificate_of_somebody_else(self, loop):
        server_context, client_context = tls_contexts()

        async def main():
            async with EchoServer(ssl=server_context) as server:
                with pytest.raises(Exception, match="certificate verify failed"):
                    await loop.create_connection(
                        Recorder, HOST, server.port, ssl=client_context, server_hostname="other"
                    )
                await asyncio.sleep(0.02)

        loop.run_until_complete(main())

    def test_start_tls(self, loop):
        server_context, client_context = tls_contexts()

        async def main():
            one, other = socket.socketpair()
            plain_client, client = await loop.create_connection(Recorder, sock=one)
            plain_server, server = await loop.create_connection(Echo, sock=other)
            client.transport, server.transport = await asyncio.gather(
                loop.start_tls(plain_client, client, client_context, server_hostname="localhost"),
                loop.start_tls(plain_server, server, server_context, server_side=True),
            )
            await exchange(client, b"secret" * 1000)
            await close(client, server)

        loop.run_until_complete(main())

    def test_start_tls_arguments(self, loop):
        async def main():
            with pytest.raises(TypeError, match="sslcontext is expected to be an instance of"):
                await loop.start_tls(None, None, None)
            with pytest.raises(TypeError, match="transport None is not supported by start_tls"):
                await loop.start_tls(None, None, tls_contexts()[0])

        loop.run_until_complete(main())

    def test_cancelled_during_the_handshake(self, loop):
        _, client_context = tls_contexts()

        async def main():
            with socket.create_server((HOST, 0)) as silent:
                connecting = asyncio.ensure_future(
                    loop.create_connection(
                        Recorder,
                        *silent.getsockname(),
                        ssl=client_context,
                        server_hostname="localhost",
                    )
                )
                await asyncio.sleep(0.02)
                connecting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await connecting

        loop.run_until_complete(main())

    def test_a_handshake_that_takes_too_long(self, loop):
        _, client_context = tls_contexts()

        async def main():
            with socket.create_server((HOST, 0)) as silent:
                with pytest.raises(ConnectionAbortedError, match="SSL handshake is taking longer"):
                    await loop.create_connection(
                        Recorder,
                        *silent.getsockname(),
                        ssl=client_context,
                        server_hostname="localhost",
                        ssl_handshake_timeout=0.01,
                    )

        loop.run_until_complete(main())


V4, V6, STREAM = socket.AF_INET, socket.AF_INET6, socket.SOCK_STREAM


def info(family, host):
    return (family, STREAM, 6, "", (host, 80))


def test_interleaving():
    infos = [info(V6, "a"), info(V6, "b"), info(V6, "c"), info(V4, "d"), info(V4, "e")]

    def order(first):
        return "".join(one[4][0] for one in interleave_families(infos, first))

    assert order(1) == "adbec"
    assert order(2) == "abdce"
    assert order(3) == "abcde"
    assert order(9) == "abcde"
    assert interleave_families(infos[:1], 1) == infos[:1]


def test_what_is_no_number_of_addresses(loop):
    with pytest.raises(TypeError, match="'>' not supported between instances of 'str' and 'int'"):
        loop.run_until_complete(
            loop.create_connection(asyncio.Protocol, "127.0.0.1", 1, interleave="2")
        )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        (("1.2.3.4", 80, 0, STREAM, 0), (V4, STREAM, 6, "", ("1.2.3.4", 80))),
        (("1.2.3.4", "80", 0, STREAM, 6), (V4, STREAM, 6, "", ("1.2.3.4", 80))),
        (("1.2.3.4", b"80", V4, STREAM, 0), (V4, STREAM, 6, "", ("1.2.3.4", 80))),
        ((b"1.2.3.4", None, 0, STREAM, 0), (V4, STREAM, 6, "", ("1.2.3.4", 0))),
        (("1.2.3.4", "", 0, STREAM, 0), (V4, STREAM, 6, "", ("1.2.3.4", 0))),
        (("1.2.3.4", 80, V6, STREAM, 0), None),
        (("::3", 80, 0, STREAM, 0), (V6, STREAM, 6, "", ("::3", 80, 0, 0))),
        (("::3", 80, 0, STREAM, 0, 7, 8), (V6, STREAM, 6, "", ("::3", 80, 7, 8))),
        (("::3%lo", 80, 0, STREAM, 0), None),
        (("1.2.3.4", 80, 0, socket.SOCK_DGRAM, 0), (V4, 2, 17, "", ("1.2.3.4", 80))),
        (("1.2.3.4", 80, 0, socket.SOCK_RAW, 0), None),
        (("1.2.3.4", 80, 0, STREAM, 255), None),
        (("1.2.3.4", "http", 0, STREAM, 0), None),
        (("localhost", 80, 0, STREAM, 0), None),
        ((None, 80, 0, STREAM, 0), None),
    ],
)
def test_literal_addresses(question, answer):
    assert resolve_literal(*question) == answer
    assert asyncio.base_events._ipaddr_info(*question) == answer


@pytest.mark.parametrize("delay", [None, 0.25])
def test_a_refused_connection_leaves_no_cycle(loop, implementation, delay):
    """Its error can be freed by its last reference, and what the error's frames hold with it."""
    if not implementation.is_ferrio:
        pytest.skip("asyncio's error is in a cycle on some versions")

    async def connect():
        try:
            await loop.create_connection(asyncio.Protocol, HOST, port, happy_eyeballs_delay=delay)
        except OSError as error:
            return [holder for holder in gc.get_referrers(error) if asyncio.isfuture(holder)]

    with socket.socket() as sock:
        sock.bind((HOST, 0))
        port = sock.getsockname()[1]
        assert loop.run_until_complete(connect()) == []


def test_start_tls_on_a_transport_that_was_closed_returns_none(loop):
    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listener:
            transport, protocol = await loop.create_connection(
                asyncio.Protocol, *listener.getsockname()
            )
            transport.close()
            answer = await loop.start_tls(
                transport,
                protocol,
                ssl.create_default_context(),
                server_hostname="localhost",
                ssl_handshake_timeout=0.01,
            )
            # asyncio leaves the timer of the handshake behind.
            await asyncio.sleep(0.1)
            return answer

    assert loop.run_until_complete(main()) is None
