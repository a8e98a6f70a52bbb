"""What a transport sends, what it keeps when the peer does not read, and what it tells of that."""

import asyncio
import errno
import gc
import logging
import sys

import pytest

from connected import Recorder, run_until
from turns import run_turn, run_turns

pytest_plugins = ["transport_fixtures"]


def test_outside_of_a_turn_a_write_is_sent_at_once(connection):
    connection.transport.write(b"hello")
    assert connection.receive(5) == b"hello"
    connection.transport.writelines([b"good", b"bye"])
    assert connection.receive(7) == b"goodbye"


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize(
    "data",
    [
        b"bytes",
        bytearray(b"bytearray"),
        memoryview(b"memoryview"),
        memoryview(bytearray(b"writable")),
        memoryview(b"0123456789")[2:7],
        memoryview(b"four" * 2).cast("I"),
        type("Subclass", (bytes,), {})(b"subclass"),
    ],
)
def test_everything_that_may_be_written(connection, data, inside):
    if inside:
        connection.in_a_turn(connection.transport.write, data)
    else:
        connection.transport.write(data)
    expected = bytes(data)
    assert connection.receive(len(expected)) == expected


@pytest.mark.parametrize("empty", [b"", bytearray(), memoryview(b"")])
def test_writing_nothing(connection, empty):
    connection.transport.write(empty)
    connection.transport.writelines([])
    connection.transport.writelines([empty, b"x", empty])
    assert connection.receive(1) == b"x"
    assert connection.nothing_sent()


@pytest.mark.parametrize("data", ["text", 1, None, [b"x"], object()])
def test_what_may_not_be_written(connection, data):
    name = type(data).__name__
    if sys.version_info >= (3, 14):
        writable = "bytes, bytearray, or memoryview object"
    else:
        writable = "bytes-like object"
    with pytest.raises(TypeError, match=f"data argument must be a {writable}, not '{name}'"):
        connection.transport.write(data)
    assert connection.nothing_sent()


def test_lines_that_are_no_bytes(connection, implementation):
    wrong = [["text"], [b"first", 1]]
    if sys.version_info < (3, 14) or implementation.is_ferrio:
        # Late releases of 3.14 leave out what is false, whatever it is.
        wrong.append([b"first", None])
    for lines in wrong:
        with pytest.raises(TypeError, match="bytes-like object"):
            connection.transport.writelines(lines)
    with pytest.raises(TypeError):
        connection.transport.writelines(5)
    assert connection.nothing_sent()


def test_lines_of_every_kind(connection):
    lines = [b"a", bytearray(b"b"), memoryview(b"c"), b"", b"d" * 1000]
    for given in (lines, tuple(lines), iter(lines), (line for line in lines)):
        connection.transport.writelines(given)
        assert connection.receive(1003) == b"abc" + b"d" * 1000


def test_more_lines_than_one_system_call_takes(connection):
    lines = [b"%04d" % number for number in range(3000)]
    connection.transport.writelines(lines)
    assert connection.drain(12_000) == b"".join(lines)
    assert connection.transport.get_write_buffer_size() == 0


def test_the_bytes_of_the_moment_are_sent(connection):
    # asyncio keeps a view of what the kernel refuses; a change of what it took cannot be seen.
    data = bytearray(b"before")

    def write_and_change():
        connection.transport.write(data)
        data[:] = b"after!"

    connection.in_a_turn(write_and_change)
    assert connection.receive(6) == b"before"


def test_a_view_with_gaps_is_a_fatal_error(loop, connection, reports):
    connection.transport.write(memoryview(b"0123456789")[::2])
    run_until(loop, lambda: connection.protocol.is_lost)
    context = reports.take_one()
    assert context["message"] == "Fatal write error on socket transport"
    assert isinstance(context["exception"], BufferError)
    assert connection.protocol.lost_with is context["exception"]


def test_a_released_view(connection):
    data = memoryview(b"gone")
    data.release()
    with pytest.raises(ValueError, match="released"):
        connection.transport.write(data)


def test_a_peer_that_does_not_read_pauses_the_protocol(loop, connection):
    transport, protocol = connection.transport, connection.protocol
    written = b""
    chunk = bytes(range(256)) * 16
    while "pause" not in protocol.names:
        transport.write(chunk)
        written += chunk
        assert len(written) < 1 << 26
    size = transport.get_write_buffer_size()
    assert 64 * 1024 < size <= 64 * 1024 + len(chunk)
    transport.write(b"more")
    written += b"more"
    assert transport.get_write_buffer_size() == size + 4
    assert protocol.events == ["made", "pause"]
    assert connection.drain(len(written)) == written
    run_until(loop, lambda: transport.get_write_buffer_size() == 0)
    assert protocol.events == ["made", "pause", "resume"]
    transport.write(b"again")
    assert connection.receive(5) == b"again"


def test_one_write_that_is_larger_than_every_buffer(loop, connection):
    data = bytes(range(256)) * 40_000
    connection.transport.write(data)
    assert connection.protocol.events == ["made", "pause"]
    assert connection.drain(len(data)) == data
    run_until(loop, lambda: "resume" in connection.protocol.names)
    assert connection.protocol.events == ["made", "pause", "resume"]


@pytest.mark.parametrize("inside", [False, True])
def test_many_kinds_of_writes_in_one_order(connection, inside):
    pieces = [b"%06d" % number * (number % 50 + 1) for number in range(4000)]
    pieces += [bytes(range(256)) * 1000, b"small", bytearray(b"x" * 300_000), b"last"]

    def write():
        for index, piece in enumerate(pieces):
            if index % 3 == 0:
                connection.transport.writelines([piece[:5], piece[5:]])
            elif index % 3 == 1:
                connection.transport.write(bytearray(piece))
            else:
                connection.transport.write(piece)

    if inside:
        connection.in_a_turn(write)
    else:
        write()
    expected = b"".join(pieces)
    assert connection.drain(len(expected)) == expected


def test_a_protocol_that_writes_when_it_resumes(loop, connection):
    transport, protocol = connection.transport, connection.protocol
    protocol.on_resume = lambda: transport.write(b"resumed")
    written = connection.fill()
    while "pause" not in protocol.names:
        transport.write(b"x" * 1000)
        written += b"x" * 1000
    expected = written + b"resumed"
    assert connection.drain(len(expected)) == expected


def test_a_protocol_that_closes_when_it_resumes(loop, connection, implementation):
    if not implementation.is_ferrio:
        pytest.skip("asyncio loses such a connection twice, with an AttributeError the second time")
    transport, protocol = connection.transport, connection.protocol
    protocol.on_resume = transport.close
    transport.set_write_buffer_limits(0)
    written = connection.fill()
    assert connection.drain(len(written)) == written
    run_until(loop, lambda: protocol.is_lost)
    run_turns(loop, 3)
    assert protocol.events == ["made", "pause", "resume", ("lost", None)]


def test_the_limits(connection):
    transport = connection.transport
    assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
    for arguments, expected in [
        ({"high": 1000}, (250, 1000)),
        ({"low": 1000}, (1000, 4000)),
        ({"high": 1000, "low": 1000}, (1000, 1000)),
        ({"high": 0}, (0, 0)),
        ({"high": 1023}, (255, 1023)),
        ({"high": 1 << 40, "low": 0}, (0, 1 << 40)),
        ({}, (16 * 1024, 64 * 1024)),
    ]:
        transport.set_write_buffer_limits(**arguments)
        assert transport.get_write_buffer_limits() == expected
    transport.set_write_buffer_limits(7, 5)
    assert transport.get_write_buffer_limits() == (5, 7)
    # As a number asyncio takes it, too, and nothing is ever paused.
    transport.set_write_buffer_limits(high=float("inf"), low=0)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"high": 1, "low": 2}, "high (1) must be >= low (2) must be >= 0"),
        ({"high": -1}, "high (-1) must be >= low (-1) must be >= 0"),
        ({"high": float("nan")}, "high (nan) must be >= low (nan) must be >= 0"),
        ({"low": -1}, "high (-4) must be >= low (-1) must be >= 0"),
        ({"high": 5, "low": -3}, "high (5) must be >= low (-3) must be >= 0"),
    ],
)
def test_limits_that_make_no_sense(connection, arguments, message):
    with pytest.raises(ValueError) as caught:
        connection.transport.set_write_buffer_limits(**arguments)
    assert str(caught.value) == message
    assert connection.transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)


def test_limits_of_wrong_types(connection):
    with pytest.raises(TypeError):
        connection.transport.set_write_buffer_limits("high")
    with pytest.raises(TypeError):
        connection.transport.set_write_buffer_limits(wrong=1)


def test_lowering_the_limits_pauses_at_once(connection):
    connection.fill()
    connection.transport.set_write_buffer_limits(1 << 30)
    connection.fill()
    assert connection.protocol.events == ["made"]
    connection.transport.set_write_buffer_limits(0)
    assert connection.protocol.events == ["made", "pause"]
    # Raising them is not what resumes; only the kernel is.
    connection.transport.set_write_buffer_limits(1 << 30)
    connection.transport.write(b"x")
    assert connection.protocol.events == ["made", "pause"]


def test_a_limit_of_zero(loop, connection):
    connection.transport.set_write_buffer_limits(high=0)
    written = connection.fill()
    assert connection.protocol.events == ["made", "pause"]
    assert connection.drain(len(written)) == written
    run_until(loop, lambda: "resume" in connection.protocol.names)


@pytest.mark.parametrize("method", ["pause", "resume"])
def test_flow_control_that_raises_is_reported(loop, connection, reports, method):
    protocol, transport = connection.protocol, connection.transport
    error = ZeroDivisionError("a bug")

    def fail():
        raise error

    setattr(protocol, f"on_{method}", fail)
    transport.set_write_buffer_limits(0)
    written = connection.fill()
    assert connection.drain(len(written)) == written
    run_until(loop, lambda: "resume" in protocol.names)
    context = reports.take_one()
    assert context["message"] == f"protocol.{method}_writing() failed"
    assert context["exception"] is error
    assert context["transport"] is transport
    assert context["protocol"] is protocol
    assert not transport.is_closing()


def test_half_closing(loop, connection):
    transport = connection.transport
    assert transport.can_write_eof()
    transport.write(b"last words")
    transport.write_eof()
    transport.write_eof()
    assert connection.receive(100) == b"last words"
    assert not transport.is_closing()
    for method in (transport.write, transport.writelines):
        with pytest.raises(
            RuntimeError, match=r"Cannot call write(lines)?\(\) after write_eof\(\)"
        ):
            method([b"x"] if method == transport.writelines else b"x")
    connection.peer.sendall(b"heard")
    run_until(loop, lambda: connection.protocol.received == b"heard")


def test_half_closing_behind_what_waits(loop, connection):
    written = connection.fill()
    connection.transport.write_eof()
    with pytest.raises(RuntimeError):
        connection.transport.write(b"x")
    assert connection.drain(len(written)) == written
    run_until(loop, lambda: connection.transport.get_write_buffer_size() == 0)
    assert connection.receive(1) == b""
    connection.peer.sendall(b"heard")
    run_until(loop, lambda: connection.protocol.received == b"heard")


def test_half_closing_a_closing_transport(connection):
    connection.transport.close()
    connection.transport.write_eof()


def test_a_peer_that_is_gone(loop, connect):
    connection = connect()
    connection.transport.pause_reading()
    connection.reset()
    connection.transport.write(b"x")
    run_until(loop, lambda: connection.protocol.is_lost)
    error = connection.protocol.lost_with
    assert isinstance(error, OSError)
    assert error.errno in (errno.ECONNRESET, errno.EPIPE)
    assert type(error) in (ConnectionResetError, BrokenPipeError)


@pytest.mark.parametrize("inside", [False, True])
def test_a_reset_while_much_waits_to_be_sent(loop, connect, inside):
    connection = connect()
    protocol, transport = connection.protocol, connection.transport
    connection.fill()
    connection.reset()
    if inside:
        connection.in_a_turn(transport.write, b"more")
    run_until(loop, lambda: protocol.is_lost)
    assert isinstance(protocol.lost_with, ConnectionResetError)
    assert protocol.lost_with.errno == errno.ECONNRESET
    assert transport.get_write_buffer_size() == 0
    run_turns(loop, 3)
    assert protocol.names.count("lost") == 1


def test_errors_of_the_connection_are_logged_in_debug_mode_only(loop, connect, logged, caplog):
    connection = connect()
    loop.set_debug(True)
    logger = logging.getLogger("asyncio")
    logger.addHandler(caplog.handler)
    with caplog.at_level("DEBUG", logger="asyncio"):
        connection.reset()
        run_until(loop, lambda: connection.protocol.is_lost)
    logger.removeHandler(caplog.handler)
    loop.set_debug(False)
    messages = [record.getMessage() for record in caplog.records]
    assert any(message.endswith("Fatal read error on socket transport") for message in messages)


def test_writes_after_the_end_are_counted_and_warned_of(loop, connection, logged):
    transport = connection.transport
    transport.close()
    run_until(loop, lambda: connection.protocol.is_lost)
    for count in range(1, 5):
        transport.write(b"x")
        assert transport._conn_lost == count + 1
    assert logged.take() == []
    transport.write(b"x")
    transport.write(b"x")
    assert logged.texts() == ["socket.send() raised exception."] * 2
    with pytest.raises(TypeError):
        transport.write("text")


def test_a_transport_whose_loop_is_closed(make_loop, implementation, connect):
    loop = make_loop()
    connection = connect(on=loop)
    transport = connection.transport
    loop.close()
    transport.write(b"still sent")
    assert connection.receive(10) == b"still sent"
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.close()
    assert transport.is_closing()
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        connection.protocol.transport = connection.transport = None
        del transport
        gc.collect()
    assert connection.sock.fileno() == -1


def test_the_methods_of_a_transport_may_be_replaced(connection):
    assert isinstance(connection.transport, asyncio.Transport)
    assert issubclass(type(connection.transport), asyncio.Transport)
    written = []
    connection.transport.write = written.append
    connection.transport.write(b"x")
    connection.transport.attribute = 1
    assert written == [b"x"]
    del connection.transport.write
    connection.transport.write(b"y")
    assert connection.receive(1) == b"y"


def test_waiting_until_everything_is_sent(loop, connection):
    # What asyncio's own sendfile() uses.
    transport = connection.transport
    waiter = transport._make_empty_waiter()
    assert waiter.done()
    with pytest.raises(RuntimeError, match="unable to write; sendfile is in progress"):
        transport.write(b"x")
    with pytest.raises(RuntimeError, match="Empty waiter is already set"):
        transport._make_empty_waiter()
    transport._reset_empty_waiter()
    written = connection.fill()
    waiter = transport._make_empty_waiter()
    assert not waiter.done()
    assert connection.drain(len(written)) == written
    run_until(loop, waiter.done)
    transport._reset_empty_waiter()


def test_waiting_for_a_connection_that_breaks(loop, connection):
    connection.fill()
    waiter = connection.transport._make_empty_waiter()
    connection.transport.abort()
    run_until(loop, waiter.done)
    assert isinstance(waiter.exception(), ConnectionError)


def test_two_transports_in_one_loop(loop, connect):
    # A write is seen by the other side's protocol in the next turn.
    connection = connect(pair="unix")
    other = Recorder()
    loop.run_until_complete(loop.create_connection(lambda: other, sock=connection.peer))
    loop.call_soon(connection.transport.write, b"x")
    run_turn(loop)
    run_turn(loop)
    assert other.received == b"x"
    other.transport.close()
    run_until(loop, lambda: connection.protocol.is_lost)
