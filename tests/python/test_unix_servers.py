"""``create_unix_server`` and what becomes of its path, Happy Eyeballs, and accepted sockets."""

import asyncio
import os
import socket
import stat
import sys

import pytest

from package_support import Echo, Recorder, close, tls_contexts

since_3_13 = pytest.mark.skipif(sys.version_info < (3, 13), reason="came with 3.13")


async def exchange(protocol):
    protocol.transport.write(b"hello")
    async with asyncio.timeout(30):
        while protocol.received != b"hello":
            await asyncio.sleep(0)


def is_socket(path):
    return stat.S_ISSOCK(os.stat(path).st_mode)


@since_3_13
class TestThePath:
    @pytest.mark.parametrize("kind", ["str", "bytes", "path"])
    def test_it_goes_with_the_server(self, loop, tmp_path, kind):
        path = tmp_path / "socket"
        given = {"str": str(path), "bytes": os.fsencode(path), "path": path}[kind]

        async def main():
            server = await loop.create_unix_server(Echo, given)
            assert is_socket(path)
            server.close()
            assert not path.exists()

        loop.run_until_complete(main())

    def test_it_stays_when_the_caller_says_so(self, loop, tmp_path):
        path = tmp_path / "socket"

        async def main():
            server = await loop.create_unix_server(Echo, path, cleanup_socket=False)
            server.close()
            assert is_socket(path)

        loop.run_until_complete(main())

    def test_it_goes_with_a_socket_of_the_callers(self, loop, tmp_path):
        path = str(tmp_path / "socket")

        async def main():
            sock = socket.socket(socket.AF_UNIX)
            sock.bind(path)
            server = await loop.create_unix_server(Echo, sock=sock)
            server.close()
            assert not os.path.exists(path)

        loop.run_until_complete(main())

    def test_another_servers_stays(self, loop, tmp_path):
        path = tmp_path / "socket"

        async def main():
            first = await loop.create_unix_server(Echo, path)
            # The second takes the path over; the first keeps its connections, without a path.
            second = await loop.create_unix_server(Echo, path)
            first.close()
            assert is_socket(path)
            _, protocol = await loop.create_unix_connection(Recorder, path)
            await exchange(protocol)
            await close(protocol)
            second.close()
            assert not path.exists()

        loop.run_until_complete(main())

    def test_it_may_be_gone_already(self, loop, tmp_path):
        path = tmp_path / "socket"

        async def main():
            server = await loop.create_unix_server(Echo, path)
            path.unlink()
            server.close()

        loop.run_until_complete(main())

    def test_it_is_told_of_when_it_cannot_be_removed(self, loop, tmp_path, logged, monkeypatch):
        path = tmp_path / "socket"

        def refuse(path):
            raise PermissionError(13, "Permission denied")

        async def main():
            server = await loop.create_unix_server(Echo, path)
            with monkeypatch.context() as patch:
                patch.setattr(os, "unlink", refuse)
                # What ferrio took of os when it was imported.
                patch.setattr("ferrio.listening._remove_file", refuse)
                server.close()

        loop.run_until_complete(main())
        (text,) = logged.texts()
        assert text.startswith("Unable to clean up listening UNIX socket")

    def test_it_stays_before_the_server_starts(self, loop, tmp_path):
        path = tmp_path / "socket"

        async def main():
            server = await loop.create_unix_server(Echo, path, start_serving=False)
            assert is_socket(path)
            await server.start_serving()
            _, protocol = await loop.create_unix_connection(Recorder, path)
            await exchange(protocol)
            await close(protocol)
            server.close()
            assert not path.exists()

        loop.run_until_complete(main())


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="Linux has abstract sockets")
@pytest.mark.parametrize("kind", [str, bytes])
def test_an_abstract_address(loop, kind):
    name = f"\0ferrio-test-{os.getpid()}"
    address = name if kind is str else name.encode()

    async def main():
        server = await loop.create_unix_server(Echo, address)
        _, protocol = await loop.create_unix_connection(Recorder, address)
        await exchange(protocol)
        await close(protocol)
        server.close()

    loop.run_until_complete(main())


def test_a_stale_path_is_replaced_and_a_file_is_not(loop, tmp_path):
    stale, file = tmp_path / "stale", tmp_path / "file"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stale))
    file.write_text("precious")

    async def main():
        server = await loop.create_unix_server(Echo, stale)
        _, protocol = await loop.create_unix_connection(Recorder, stale)
        await exchange(protocol)
        await close(protocol)
        server.close()
        with pytest.raises(OSError, match="is already in use"):
            await loop.create_unix_server(Echo, file)
        assert file.read_text() == "precious"

    loop.run_until_complete(main())


def test_a_directory_that_does_not_exist(loop, tmp_path):
    async def main():
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_server(Echo, tmp_path / "nowhere" / "socket")
        with pytest.raises(FileNotFoundError):
            await loop.create_unix_connection(Recorder, tmp_path / "nowhere" / "socket")

    loop.run_until_complete(main())


def test_tls_over_a_unix_socket(loop, tmp_path):
    path = tmp_path / "socket"
    server_context, client_context = tls_contexts()

    async def main():
        server = await loop.create_unix_server(Echo, path, ssl=server_context)
        _, protocol = await loop.create_unix_connection(
            Recorder, path, ssl=client_context, server_hostname="localhost"
        )
        await exchange(protocol)
        await close(protocol)
        server.close()
        for _ in range(20):
            await asyncio.sleep(0.001)

    loop.run_until_complete(main())


@pytest.mark.parametrize("tls", [False, True])
def test_an_accepted_socket_with_and_without_tls(loop, tls):
    server_context, client_context = tls_contexts() if tls else (None, None)

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            accepted, _ = listening.accept()
        connecting = asyncio.ensure_future(
            loop.create_connection(
                Recorder,
                sock=client,
                ssl=client_context,
                server_hostname="localhost" if tls else None,
            )
        )
        _, server_side = await loop.connect_accepted_socket(Echo, accepted, ssl=server_context)
        _, protocol = await connecting
        await exchange(protocol)
        await close(protocol, server_side)

    loop.run_until_complete(main())


def test_what_is_no_accepted_socket(loop):
    async def main():
        with socket.socket(type=socket.SOCK_DGRAM) as datagrams:
            with pytest.raises(ValueError, match="A Stream Socket was expected"):
                await loop.connect_accepted_socket(Recorder, datagrams)
            for argument in ("ssl_handshake_timeout", "ssl_shutdown_timeout"):
                with socket.socket() as stream, pytest.raises(ValueError, match="only meaningful"):
                    await loop.connect_accepted_socket(Recorder, stream, **{argument: 1})

    loop.run_until_complete(main())


class TestHappyEyeballs:
    """RFC 8305: the next address joins the race when the one before takes too long."""

    @pytest.fixture
    def silent(self):
        """An address that neither accepts nor refuses: its queue is full."""
        with socket.socket() as listening:
            listening.bind(("127.0.0.1", 0))
            listening.listen(0)
            clients = []
            for _ in range(4):
                client = socket.socket()
                client.setblocking(False)
                client.connect_ex(listening.getsockname())
                clients.append(client)
            yield listening.getsockname()
            for client in clients:
                client.close()

    def resolving_to(self, loop, *addresses):
        async def resolve(*_, **__):
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", address) for address in addresses]

        loop.getaddrinfo = resolve

    def test_a_slow_address_does_not_keep_the_others_waiting(self, loop, silent):
        async def main():
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            self.resolving_to(loop, silent, server.sockets[0].getsockname())
            _, protocol = await loop.create_connection(
                Recorder, "somewhere.invalid", 80, happy_eyeballs_delay=0.01
            )
            peer = protocol.transport.get_extra_info("peername")
            assert peer == server.sockets[0].getsockname()
            await exchange(protocol)
            await close(protocol)
            server.close()

        loop.run_until_complete(main())

    def test_a_refused_address_is_followed_at_once(self, loop):
        async def main():
            with socket.create_server(("127.0.0.1", 0)) as closed:
                refused = closed.getsockname()
            server = await loop.create_server(Echo, "127.0.0.1", 0)
            self.resolving_to(loop, refused, server.sockets[0].getsockname())
            async with asyncio.timeout(60):
                _, protocol = await loop.create_connection(
                    Recorder, "somewhere.invalid", 80, happy_eyeballs_delay=3600
                )
            await exchange(protocol)
            await close(protocol)
            server.close()

        loop.run_until_complete(main())

    def test_cancelled_during_the_race_no_socket_is_left(self, loop, silent):
        async def main():
            self.resolving_to(loop, silent, silent)
            connecting = asyncio.ensure_future(
                loop.create_connection(
                    Recorder, "somewhere.invalid", 80, happy_eyeballs_delay=0.001
                )
            )
            await asyncio.sleep(0.05)
            assert not connecting.done()
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting

        loop.run_until_complete(main())

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="all_errors came with 3.12")
    def test_all_errors_of_a_race(self, loop):
        async def main():
            addresses = []
            for _ in range(3):
                with socket.create_server(("127.0.0.1", 0)) as closed:
                    addresses.append(closed.getsockname())
            self.resolving_to(loop, *addresses)
            with pytest.raises(ExceptionGroup) as raised:
                await loop.create_connection(
                    Recorder,
                    "somewhere.invalid",
                    80,
                    happy_eyeballs_delay=0.001,
                    all_errors=True,
                )
            assert len(raised.value.exceptions) == 3
            for error in raised.value.exceptions:
                assert isinstance(error, ConnectionRefusedError)

        loop.run_until_complete(main())
