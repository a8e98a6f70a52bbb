"""Factories and callbacks that raise, where no other file is about what they belong to.

Streams, datagrams and TLS have theirs beside their other tests.
"""

import asyncio
import contextlib
import os
import socket
import sys

import pytest

from pipe_ends import pipe_to_read, pipe_to_write

TO_THE_TOP = [KeyboardInterrupt, SystemExit]
ERRORS = [LookupError, *TO_THE_TOP]


@contextlib.contextmanager
def making(loop, kind, tmp_path):
    """How something is made with a protocol factory, and what has to be open afterwards."""
    with contextlib.ExitStack() as stack:
        if kind in ("connect_read_pipe", "connect_write_pipe"):
            pipe = pipe_to_read() if kind == "connect_read_pipe" else pipe_to_write()
            stack.callback(pipe.close_peer)
            stack.callback(pipe.end.close)
            method = getattr(loop, kind)
            yield lambda factory: method(factory, pipe.end), pipe.end
        elif kind == "subprocess_exec":
            yield lambda factory: loop.subprocess_exec(factory, "true"), None
        elif kind == "subprocess_shell":
            yield lambda factory: loop.subprocess_shell(factory, "true"), None
        elif kind == "create_unix_connection":
            listening = stack.enter_context(socket.socket(socket.AF_UNIX))
            listening.bind(str(tmp_path / "socket"))
            listening.listen()
            path = str(tmp_path / "socket")
            yield lambda factory: loop.create_unix_connection(factory, path), None
        else:
            one, other = socket.socketpair()
            stack.enter_context(one)
            stack.enter_context(other)
            method = getattr(loop, kind.partition(" ")[0])
            yield lambda factory: method(factory, sock=one), one


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    "kind",
    [
        "connect_read_pipe",
        "connect_write_pipe",
        "subprocess_exec",
        "subprocess_shell",
        "create_unix_connection",
        "create_unix_connection of a socket",
        "create_connection of a socket",
        "connect_accepted_socket",
    ],
)
def test_a_factory_that_raises(loop, implementation, tmp_path, kind, error):
    """The caller gets the error, and what was the caller's stays open; up to 3.13 sockets do."""
    if kind == "create_unix_connection" and not implementation.is_ferrio:
        pytest.skip("asyncio leaves the socket to the garbage collector")

    def fail():
        raise error("on purpose")

    with making(loop, kind, tmp_path) as (make, own):
        with pytest.raises(error, match="on purpose"):
            loop.run_until_complete(make(fail))
        if isinstance(own, socket.socket) and sys.version_info >= (3, 14):
            assert own.fileno() == -1
        elif own is not None:
            os.fstat(own.fileno())


def test_a_unix_servers_factory_that_raises(loop, implementation, reports, tmp_path):
    """The connection is ended, and the next one served."""
    if not implementation.is_ferrio:
        pytest.skip("asyncio leaves the socket to the garbage collector")
    path = str(tmp_path / "socket")
    made = []

    class Greeting(asyncio.Protocol):
        def connection_made(self, transport):
            transport.write(b"hello")
            transport.close()

    def make():
        made.append(None)
        if len(made) == 1:
            raise LookupError("on purpose")
        return Greeting()

    async def answer():
        reader, writer = await asyncio.open_unix_connection(path)
        data = await reader.read()
        writer.close()
        await writer.wait_closed()
        return data

    async def main():
        server = await loop.create_unix_server(make, path)
        assert await asyncio.wait_for(answer(), 60) == b""
        report = reports.take_one()
        assert report["message"] == "Error on transport creation for incoming connection"
        assert isinstance(report["exception"], LookupError)
        assert await asyncio.wait_for(answer(), 60) == b"hello"
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


class Child(asyncio.SubprocessProtocol):
    """Keeps what it hears; raises an error, once, in the callback of that name."""

    def __init__(self, raising, error):
        self.raising = raising
        self.error = error
        self.heard = []
        self.lost = asyncio.get_running_loop().create_future()

    def hear(self, name):
        self.heard.append(name)
        if name == "connection_lost":
            self.lost.set_result(None)
        if name == self.raising:
            self.raising = None
            raise self.error("on purpose")

    def connection_made(self, transport):
        self.hear("connection_made")

    def pipe_data_received(self, fd, data):
        self.hear("pipe_data_received")

    def pipe_connection_lost(self, fd, exc):
        self.hear("pipe_connection_lost")

    def process_exited(self):
        self.hear("process_exited")

    def connection_lost(self, exc):
        self.hear("connection_lost")


CALLBACKS = [
    "connection_made",
    "pipe_data_received",
    "pipe_connection_lost",
    "process_exited",
    "connection_lost",
]


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("callback", CALLBACKS)
def test_a_subprocess_protocol_that_raises(loop, reports, callback, error):
    """It is told of or leaves the loop; the protocol hears everything else all the same."""

    async def start():
        made = []
        starting = loop.subprocess_shell(
            lambda: made.append(Child(callback, error)) or made[0],
            # So much later than it started that connection_made() has been called.
            "echo out; read line",
            stderr=None,
        )
        return made, loop.create_task(starting)

    made, starting = loop.run_until_complete(start())

    async def end():
        transport, protocol = await starting
        transport.get_pipe_transport(0).close()
        await asyncio.wait_for(asyncio.shield(protocol.lost), 60)
        return transport, protocol

    ending = loop.create_task(end())
    if error in TO_THE_TOP:
        with pytest.raises(error, match="on purpose"):
            loop.run_forever()
    transport, protocol = loop.run_until_complete(ending)
    assert transport.get_returncode() == 1
    assert set(protocol.heard) == set(CALLBACKS)
    assert protocol.heard.count("process_exited") == 1
    transport.close()
    if error is LookupError:
        report = reports.take_one()
        assert isinstance(report["exception"], LookupError)
        assert callback in report["message"]


class PipeProtocol(asyncio.Protocol):
    """Keeps what it hears; raises an error, once, in the callback of that name."""

    def __init__(self, loop, raising, error):
        self.raising = raising
        self.error = error
        self.received = b""
        self.lost = loop.create_future()

    def hear(self, name):
        if name == self.raising:
            self.raising = None
            raise self.error("on purpose")

    def connection_made(self, transport):
        self.hear("connection_made")

    def data_received(self, data):
        self.received += data
        self.hear("data_received")

    def eof_received(self):
        self.hear("eof_received")

    def pause_writing(self):
        self.hear("pause_writing")

    def resume_writing(self):
        self.hear("resume_writing")

    def connection_lost(self, exc):
        self.lost.set_result(exc)
        self.hear("connection_lost")


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    "callback", ["connection_made", "data_received", "eof_received", "connection_lost"]
)
def test_the_protocol_of_a_read_pipe_that_raises(loop, reports, callback, error):
    pipe = pipe_to_read()
    protocol = PipeProtocol(loop, callback, error)

    async def main():
        await loop.connect_read_pipe(lambda: protocol, pipe.end)
        await protocol.lost

    pipe.write(b"data")
    pipe.close_peer()
    task = loop.create_task(main())
    if error in TO_THE_TOP:
        with pytest.raises(error, match="on purpose"):
            loop.run_forever()
    loop.run_until_complete(asyncio.wait_for(task, 60))
    assert protocol.received == b"data"
    assert protocol.lost.result() is None
    # It is closed in the turn of connection_lost() at the latest.
    assert pipe.end.closed
    if error is LookupError:
        assert isinstance(reports.take_one()["exception"], LookupError)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize(
    "callback", ["connection_made", "pause_writing", "resume_writing", "connection_lost"]
)
def test_the_protocol_of_a_write_pipe_that_raises(loop, reports, callback, error):
    pipe = pipe_to_write()
    protocol = PipeProtocol(loop, callback, error)
    size = 1_000_000
    received = []

    async def main():
        transport, _ = await loop.connect_write_pipe(lambda: protocol, pipe.end)
        loop.call_soon(transport.write, bytes(size))
        async with asyncio.timeout(60):
            while sum(received) < size:
                received.append(len(pipe.read() or b""))
                await asyncio.sleep(0)
        transport.close()
        await protocol.lost

    task = loop.create_task(main())
    if error in TO_THE_TOP:
        with pytest.raises(error, match="on purpose"):
            loop.run_forever()
    loop.run_until_complete(asyncio.wait_for(task, 60))
    assert protocol.lost.result() is None
    assert pipe.end.closed
    if error is LookupError:
        assert isinstance(reports.take_one()["exception"], LookupError)
    pipe.close_peer()
