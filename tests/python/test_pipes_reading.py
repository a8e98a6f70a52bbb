"""connect_read_pipe(): what a protocol is given of a pipe, a socket, a terminal, a FIFO."""

import asyncio
import errno
import gc
import logging
import os

import pytest

from connected import Recorder, run_until
from pipe_ends import READABLE, Pipe, pipe_connections, pipe_to_read, terminal_master
from turns import run_turn, run_turns


@pytest.fixture
def connect(loop):
    """Makes reading transports, which are closed when the test ends."""
    yield from pipe_connections(loop, pipe_to_read, Recorder, "connect_read_pipe")


@pytest.mark.parametrize("kind", READABLE)
def test_what_arrives_is_given_to_the_protocol(loop, connect, kind):
    connection = connect(READABLE[kind]())
    connection.pipe.write(b"hello")
    run_until(loop, lambda: connection.protocol.received == b"hello")
    connection.pipe.write(b" world")
    run_until(loop, lambda: connection.protocol.received == b"hello world")
    assert connection.protocol.names == ["made", "data", "data"]
    transport = connection.transport
    assert isinstance(transport, asyncio.ReadTransport)
    assert transport.get_extra_info("pipe") is connection.pipe.end
    assert transport.get_extra_info("nothing", 5) == 5
    assert not os.get_blocking(connection.pipe.end.fileno())


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_the_end_of_a_stream(loop, connect, kind):
    connection = connect(READABLE[kind]())
    connection.pipe.write(b"last")
    connection.pipe.close_peer()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.events == ["made", ("data", b"last"), "eof", ("lost", None)]
    assert connection.pipe.end.fileno() == -1 if kind == "socket" else connection.pipe.end.closed
    assert connection.transport.is_closing()


def test_a_terminal_that_hangs_up_is_no_news(loop, connect):
    connection = connect(terminal_master("rb"))
    connection.pipe.write(b"last")
    run_until(loop, lambda: connection.protocol.received == b"last")
    connection.pipe.close_peer()
    run_until(loop, lambda: connection.protocol.is_lost)
    # As asyncio has it: the error is handed on, and reported to nobody.
    assert connection.protocol.names == ["made", "data", "lost"]
    assert connection.protocol.lost_with.errno == errno.EIO


def test_a_fifo(loop, connect, tmp_path):
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    writer = os.open(path, os.O_WRONLY)
    connection = connect(Pipe(open(reader, "rb", 0), writer))
    connection.pipe.write(b"through the file system")
    connection.pipe.close_peer()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.received == b"through the file system"


def test_a_stream_that_ends_before_the_loop_looks(loop, connect):
    pipe = pipe_to_read()
    pipe.write(b"x" * 65536)
    pipe.close_peer()
    connection = connect(pipe)
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.received == b"x" * 65536


def test_pausing_and_resuming(loop, connect):
    connection = connect()
    transport = connection.transport
    assert transport.is_reading()
    transport.pause_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    connection.pipe.write(b"later")
    run_turns(loop, 5)
    assert connection.protocol.received == b""
    transport.resume_reading()
    transport.resume_reading()
    assert transport.is_reading()
    run_until(loop, lambda: connection.protocol.received == b"later")


def test_pausing_while_the_peer_closes(loop, connect):
    connection = connect()
    connection.transport.pause_reading()
    connection.pipe.write(b"kept")
    connection.pipe.close_peer()
    run_turns(loop, 5)
    assert connection.protocol.names == ["made"]
    connection.transport.resume_reading()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.received == b"kept"


@pytest.mark.parametrize("method", ["pause_reading", "close"])
def test_what_connection_made_may_do(loop, connect, method):
    class Rude(Recorder):
        def connection_made(self, transport):
            super().connection_made(transport)
            getattr(transport, method)()

    pipe = pipe_to_read()
    pipe.write(b"not read")
    connection = connect(pipe, Rude())
    run_turns(loop, 5)
    assert connection.protocol.received == b""
    assert connection.protocol.is_lost == (method == "close")


def test_closing(loop, connect):
    connection = connect()
    transport = connection.transport
    connection.pipe.write(b"not read")
    transport.close()
    transport.close()
    assert transport.is_closing()
    assert not transport.is_reading()
    assert connection.protocol.names == ["made"]
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.events == ["made", ("lost", None)]
    assert connection.pipe.end.closed
    transport.close()
    transport.pause_reading()
    transport.resume_reading()
    run_turns(loop, 3)
    assert connection.protocol.names == ["made", "lost"]


@pytest.mark.parametrize("callback", ["made", "data", "eof", "lost"])
def test_closing_in_every_callback(loop, connect, callback):
    protocol = Recorder()
    setattr(protocol, f"on_{callback}", lambda *_: protocol.transport.close())
    pipe = pipe_to_read()
    connect(pipe, protocol)
    if callback != "made":
        pipe.write(b"data")
        pipe.close_peer()
    run_until(loop, lambda: protocol.is_lost)
    run_turns(loop, 3)
    heard = {"made": 1, "data": 2, "eof": 3, "lost": 4}[callback]
    assert protocol.names == ["made", "data", "eof"][:heard] + ["lost"]
    assert protocol.lost_with is None
    assert pipe.end.closed


def test_what_data_received_raises_is_reported_and_nothing_else(loop, connect, reports):
    connection = connect()

    def fail(data):
        connection.protocol.on_data = None
        del connection.protocol.on_data
        raise ZeroDivisionError("on purpose")

    connection.protocol.on_data = fail
    connection.pipe.write(b"one")
    run_until(loop, lambda: len(reports))
    (report,) = reports.take()
    assert isinstance(report["exception"], ZeroDivisionError)
    assert "_read_ready" in report["message"]
    connection.pipe.write(b"two")
    run_until(loop, lambda: connection.protocol.received == b"onetwo")


def test_a_file_that_is_closed_under_the_transport(loop, connect, reports, implementation):
    if not implementation.is_ferrio:
        pytest.skip("asyncio reads whatever file has the number by then")
    connection = connect()
    number = connection.pipe.end.fileno()
    # The pipe stays open, and so watched, under another number.
    copy = os.dup(number)
    connection.pipe.end.close()
    stranger, writer = os.pipe()
    assert number == stranger
    os.write(writer, b"for another")
    connection.pipe.write(b"for nobody")
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.received == b""
    assert connection.protocol.lost_with.errno == errno.EBADF
    assert reports.take_one()["message"] == "Fatal read error on pipe transport"
    assert os.read(stranger, 100) == b"for another"
    for fd in (stranger, writer, copy):
        os.close(fd)


@pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
def test_a_regular_file_is_refused_and_left_alone(loop, tmp_path, method):
    path = tmp_path / "file"
    path.write_bytes(b"contents")
    with open(path, "r+b", 0) as file:
        with pytest.raises(ValueError, match="ipe transport is"):
            loop.run_until_complete(getattr(loop, method)(Recorder, file))
        assert file.read() == b"contents"
        assert os.get_blocking(file.fileno())


@pytest.mark.parametrize("method", ["connect_read_pipe", "connect_write_pipe"])
def test_connecting_is_cancelled(loop, method):
    reader, writer = os.pipe()
    mine, other = (reader, writer) if method == "connect_read_pipe" else (writer, reader)
    file = open(mine, "rb" if mine == reader else "wb", 0)
    protocol = Recorder()

    async def main():
        connecting = asyncio.ensure_future(getattr(loop, method)(lambda: protocol, file))
        await asyncio.sleep(0)
        connecting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await connecting

    loop.run_until_complete(main())
    run_until(loop, lambda: protocol.is_lost)
    assert file.closed
    os.close(other)


def test_streams_over_a_pipe(loop):
    reading, writing = os.pipe()

    async def main():
        reader = asyncio.StreamReader()
        transport, _ = await loop.connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(reader), open(reading, "rb", 0)
        )
        w_transport, w_protocol = await loop.connect_write_pipe(
            asyncio.streams.FlowControlMixin, open(writing, "wb", 0)
        )
        writer = asyncio.StreamWriter(w_transport, w_protocol, None, loop)
        data = bytes(range(256)) * 4096

        async def write():
            writer.write(data)
            await writer.drain()
            writer.close()

        task = asyncio.ensure_future(write())
        assert await reader.read() == data
        await task
        transport.close()

    loop.run_until_complete(main())
    run_turns(loop, 3)


def test_set_protocol(loop, connect):
    connection = connect()
    other = Recorder()
    assert connection.transport.get_protocol() is connection.protocol
    connection.transport.set_protocol(other)
    assert connection.transport.get_protocol() is other
    connection.pipe.write(b"x")
    run_until(loop, lambda: other.received == b"x")
    assert connection.protocol.received == b""


def test_debug_mode_logs(loop, connect, logged):
    logger = logging.getLogger("asyncio")
    level = logger.level
    logger.setLevel(logging.DEBUG)
    try:
        loop.set_debug(True)
        connection = connect()
        connection.transport.pause_reading()
        connection.transport.resume_reading()
        connection.pipe.close_peer()
        run_until(loop, lambda: connection.protocol.is_lost)
    finally:
        logger.setLevel(level)
        loop.set_debug(False)
    logged.take()


def test_one_number_is_read_by_one_transport_and_written_by_another(loop):
    """A terminal's master, as programs that run others in terminals use it."""
    pipe = terminal_master("r+b")
    reading, writing = Recorder(), Recorder()
    read_transport, _ = loop.run_until_complete(loop.connect_read_pipe(lambda: reading, pipe.end))
    second = open(pipe.end.fileno(), "wb", 0, closefd=False)
    write_transport, _ = loop.run_until_complete(loop.connect_write_pipe(lambda: writing, second))
    write_transport.write(b"typed")
    assert pipe.read() == b"typed"
    pipe.write(b"shown")
    run_until(loop, lambda: reading.received == b"shown")
    read_transport.close()
    run_until(loop, lambda: reading.is_lost)
    write_transport.close()
    run_until(loop, lambda: writing.is_lost)
    pipe.close_peer()


def test_an_abandoned_transport_warns_and_closes_its_file(implementation, watched):
    loop = implementation.EventLoop()
    pipe = pipe_to_read()
    protocol = Recorder()
    transport, _ = loop.run_until_complete(loop.connect_read_pipe(lambda: protocol, pipe.end))
    loop.close()
    protocol.transport = None
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        del transport
        gc.collect()
    assert pipe.end.closed
    pipe.close_peer()


def test_the_representation_follows_the_state(loop, connect):
    connection = connect()
    transport = connection.transport
    fd = connection.pipe.end.fileno()
    assert f"fd={fd} polling>" in repr(transport)
    transport.pause_reading()
    assert f"fd={fd} idle>" in repr(transport)
    transport.close()
    assert f" closing fd={fd} idle>" in repr(transport)
    run_until(loop, lambda: connection.protocol.is_lost)
    assert " closed fd=" in repr(transport)


def test_connecting_on_a_closed_loop(implementation, watched):
    loop = implementation.EventLoop()
    loop.close()
    coroutine = loop.connect_read_pipe(Recorder, None)
    with pytest.raises(RuntimeError, match="closed"):
        loop.run_until_complete(coroutine)
    coroutine.close()


def test_a_turn_reads_once(loop, connect):
    """No pipe keeps the others waiting."""
    connection = connect()
    connection.pipe.write(b"x" * 65536)
    run_turn(loop)
    run_until(loop, lambda: len(connection.protocol.received) == 65536)
    assert connection.protocol.names.count("data") == 1
