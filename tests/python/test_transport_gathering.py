"""The writes of one turn, sent by one system call: how many, when, and that nobody can tell.

A SEQPACKET socket keeps the boundaries of what each system call sends, so its peer counts them:
one record is one call.
"""

import os
import socket
import time
import warnings

import pytest

from connected import Connection, Recorder, run_until
from turns import run_turn, run_turns

pytest_plugins = ["transport_fixtures"]

# The observers below must find everything sent while the turn is still under way.
WRITTEN = [b"one", b"two", b"three"]


class Records(Connection):
    """A transport over a SEQPACKET socket."""

    def __init__(self, loop, protocol):
        self.loop, self.protocol = loop, protocol
        self.sock, self.peer = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.setblocking(False)
        waiter = loop.create_future()
        self.transport = loop._make_socket_transport(self.sock, protocol, waiter)
        loop.run_until_complete(waiter)

    def records(self):
        """What was sent so far, one item for each system call."""
        self.peer.setblocking(False)
        found = []
        while True:
            try:
                found.append(self.peer.recv(1 << 20))
            except BlockingIOError:
                return found


@pytest.fixture
def records(loop):
    records = Records(loop, Recorder())
    yield records
    records.close()
    records = None


def write_all(transport):
    for data in WRITTEN:
        transport.write(data)


def test_one_system_call_for_the_writes_of_a_turn(records, implementation):
    records.in_a_turn(write_all, records.transport)
    assert records.records() == ([b"onetwothree"] if implementation.is_ferrio else WRITTEN)


def test_writes_of_several_callbacks_of_a_turn(loop, records, implementation):
    transport = records.transport
    expected = [b"abcd"] if implementation.is_ferrio else [b"a", b"bc", b"d"]
    for _ in range(1000):
        loop.call_soon(transport.write, b"a")
        loop.call_soon(transport.writelines, [b"b", b"c"])
        loop.call_soon(transport.write, bytearray(b"d"))
        run_turn(loop)
        sent = records.records()
        assert b"".join(sent) == b"abcd"
        # Where the machine makes a pause between two callbacks nothing waits for the second.
        if sent == expected:
            return
    assert sent == expected


def test_the_turns_are_kept_apart(loop, records):
    loop.call_soon(records.transport.write, b"a")
    run_turn(loop)
    loop.call_soon(records.transport.write, b"b")
    run_turn(loop)
    assert records.records() == [b"a", b"b"]


def test_outside_of_a_turn_nothing_waits(records):
    write_all(records.transport)
    assert records.records() == WRITTEN


def test_lines_are_one_system_call_wherever_they_are_written(records):
    records.transport.writelines(WRITTEN)
    assert records.records() == [b"onetwothree"]
    records.transport.writelines([b"a", b"b" * 60_000, b"c"])
    assert [len(record) for record in records.records()] == [60_002]


def test_turning_it_off(loop, records, implementation):
    if implementation.is_ferrio:
        assert loop.gather_writes is True
    loop.gather_writes = False
    records.in_a_turn(write_all, records.transport)
    assert records.records() == WRITTEN
    if implementation.is_ferrio:
        assert loop.gather_writes is False
        with pytest.raises(AttributeError):
            del loop.gather_writes
    loop.gather_writes = True
    records.in_a_turn(write_all, records.transport)
    assert len(records.records()) == (1 if implementation.is_ferrio else 3)


def test_turning_it_off_in_the_middle_of_a_turn(loop, records):
    def write():
        records.transport.write(b"one")
        loop.gather_writes = False
        assert records.records() == [b"one"]
        records.transport.write(b"two")
        assert records.records() == [b"two"]
        return True

    assert records.in_a_turn(write)


def stop_and_go_on(connection):
    connection.loop.stop()


def fork(connection):
    if fork_quietly() == 0:
        os._exit(0)


def fork_quietly():
    """Fork without Python's warning about other threads; the parent waits for the child's end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child:
        os.waitpid(child, 0)
    return child


def wait_until_empty(connection):
    connection.transport._make_empty_waiter()
    connection.transport._reset_empty_waiter()


OBSERVERS = {
    "get_write_buffer_size": lambda it: it.transport.get_write_buffer_size(),
    "set_write_buffer_limits": lambda it: it.transport.set_write_buffer_limits(100),
    "write_eof": lambda it: it.transport.write_eof(),
    "close": lambda it: it.transport.close(),
    "abort": lambda it: it.transport.abort(),
    "socket": lambda it: it.transport.get_extra_info("socket"),
    "_sock": lambda it: it.transport._sock,
    "set_protocol": lambda it: it.transport.set_protocol(it.protocol),
    "_make_empty_waiter": wait_until_empty,
    "_fatal_error": lambda it: it.transport._fatal_error(OSError()),
    "stop": stop_and_go_on,
    "fork": fork,
}


@pytest.mark.parametrize("observer", list(OBSERVERS))
def test_everything_is_sent_before_anybody_can_look(connection, observer):
    def write_and_look():
        write_all(connection.transport)
        OBSERVERS[observer](connection)
        return connection.receive(11)

    assert connection.in_a_turn(write_and_look) == b"onetwothree"


def test_a_forked_child_sends_nothing_again(connection):
    def write_and_fork():
        connection.transport.write(b"once")
        return fork_quietly()

    parent = os.getpid()
    try:
        connection.in_a_turn(write_and_fork)
    finally:
        if os.getpid() != parent:
            # The child's copy of the turn is over, and with it what it would have sent. ferrio
            # ends it by an exception: the loop is the parent's.
            os._exit(0)
    assert connection.receive(4) == b"once"
    assert connection.nothing_sent()


def test_bytes_and_a_goodbye_before_aborting(loop, connection):
    def say_goodbye():
        connection.transport.write(b"bye")
        connection.transport.abort()

    connection.in_a_turn(say_goodbye)
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.receive(100) == b"bye"
    assert connection.protocol.lost_with is None


def test_no_more_than_64_kib_wait(connection):
    def write():
        for _ in range(16):
            connection.transport.write(b"x" * 4096)
        waiting = connection.nothing_sent()
        connection.transport.write(b"y")
        return waiting, connection.receive(65537)

    waiting, received = connection.in_a_turn(write)
    assert received == b"x" * 65536 + b"y"
    assert waiting or not is_ferrio(connection)


def is_ferrio(connection):
    return hasattr(connection.loop, "gather_writes")


def test_a_large_write_does_not_wait(connection):
    def write():
        connection.transport.write(b"small")
        connection.transport.write(b"x" * 70_000)
        return connection.receive(70_005)

    assert connection.in_a_turn(write) == b"small" + b"x" * 70_000


def test_no_more_pieces_wait_than_one_system_call_takes(connect):
    connection = connect()

    def write():
        for _ in range(1024):
            connection.transport.write(b"x")
        waiting = connection.nothing_sent()
        connection.transport.write(b"y")
        return waiting, connection.receive(1025)

    waiting, received = connection.in_a_turn(write)
    assert received == b"x" * 1024 + b"y"
    assert waiting or not is_ferrio(connection)


def test_nothing_waits_long_while_callbacks_go_on(loop, connection):
    seen = []

    def write_and_be_busy():
        connection.transport.write(b"x")
        deadline = time.perf_counter() + 0.0002
        while time.perf_counter() < deadline:
            pass

    loop.call_soon(write_and_be_busy)
    loop.call_soon(lambda: seen.append(connection.receive(1)))
    run_turn(loop)
    assert seen == [b"x"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_a_turn_left_by_an_exception_is_sent(loop, connection, error):
    def write_and_leave():
        connection.transport.write(b"sent")
        raise error("now")

    loop.call_soon(write_and_leave)
    with pytest.raises(error, match="now"):
        loop.run_forever()
    assert connection.receive(4) == b"sent"


def test_the_callback_of_a_transport_gathers_too(loop, records, implementation):
    records.protocol.on_data = lambda _: write_all(records.transport)
    records.peer.send(b"x")
    run_until(loop, lambda: records.protocol.received)
    assert records.records() == ([b"onetwothree"] if implementation.is_ferrio else WRITTEN)


def test_writes_of_several_transports_in_one_turn(loop, connect):
    connections = [connect() for _ in range(20)]

    def write():
        for number, each in enumerate(connections):
            each.transport.write(b"%02d" % number)
        for each in connections:
            each.transport.write(b"!")

    loop.call_soon(write)
    run_turn(loop)
    assert [each.receive(3) for each in connections] == [b"%02d!" % n for n in range(20)]


def test_what_the_kernel_refuses_at_the_end_of_a_turn(loop, connection):
    transport, protocol = connection.transport, connection.protocol
    written = []

    def write():
        for _ in range(400):
            transport.write(b"z" * 40_000)
            written.append(b"z" * 40_000)
            # However much is written, nothing is known of the kernel's limits yet, or it is
            # known and has been told.
            assert protocol.names.count("pause") <= 1

    connection.in_a_turn(write)
    assert protocol.events == ["made", "pause"]
    assert transport.get_write_buffer_size() > 64 * 1024
    expected = b"".join(written)
    assert connection.drain(len(expected)) == expected
    run_until(loop, lambda: "resume" in protocol.names)


def test_a_broken_connection_is_found_at_the_end_of_the_turn(loop, connect):
    connection = connect()
    connection.transport.pause_reading()
    connection.reset()
    connection.in_a_turn(write_all, connection.transport)
    run_until(loop, lambda: connection.protocol.is_lost)
    assert isinstance(connection.protocol.lost_with, ConnectionResetError)
    assert connection.protocol.lost_with.errno == 104
    run_turns(loop, 3)
    assert connection.protocol.names == ["made", "lost"]


def test_what_leaves_the_loop_from_flow_control_keeps_nothing_from_being_sent(loop, connect):
    one, other = connect(), connect()
    one.transport.set_write_buffer_limits(0)

    def interrupt():
        raise KeyboardInterrupt("paused")

    one.protocol.on_pause = interrupt
    sent = 0
    with pytest.raises(KeyboardInterrupt, match="paused"):
        while True:
            # Gathered in this order, so the first meets with the exception before the second
            # is sent. Where nothing is gathered the second callback is left for the next run.
            loop.call_soon(one.transport.write, b"y" * 60_000)
            loop.call_soon(other.transport.write, b"sent")
            sent += 1
            run_turn(loop)
    run_turn(loop)
    assert other.receive(4 * sent) == b"sent" * sent


@pytest.mark.parametrize("how", ["stop", "turn it off"])
def test_what_the_kernel_refuses_in_a_callback_of_the_connection(loop, connect, how):
    # The connection's own context is entered when the loop sends.
    connection = connect(pair="unix")
    connection.sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    connection.transport.set_write_buffer_limits(0)
    data = bytes(range(256)) * 200

    def write_and_have_it_sent(_):
        connection.transport.write(data)
        if how == "stop":
            loop.stop()
        else:
            loop.gather_writes = False
        assert connection.protocol.names[-1] == "pause"

    connection.protocol.on_data = write_and_have_it_sent
    connection.peer.sendall(b"x")
    run_until(loop, lambda: connection.protocol.received)
    assert connection.drain(len(data)) == data
    run_until(loop, lambda: connection.protocol.names[-1] == "resume")


def test_a_write_while_a_protocol_is_told_to_pause(loop, connect):
    one, other = connect(), connect()
    one.protocol.on_pause = lambda: other.transport.write(b"paused")
    one.in_a_turn(one.transport.write, b"x" * 50_000_000)
    assert other.receive(6) == b"paused"


def test_the_next_turn_looks_for_what_was_written(loop, connect):
    # A busy loop does not ask the kernel for events in each turn, but after a write it does.
    connection = connect(pair="unix")
    other = Recorder()
    loop.run_until_complete(loop.create_connection(lambda: other, sock=connection.peer))
    received = []

    def be_busy():
        received.append(other.received)
        if len(received) == 30:
            connection.transport.write(b"x")
        if len(received) < 60:
            loop.call_soon(be_busy)
        else:
            loop.stop()

    be_busy()
    loop.run_forever()
    # It arrives in the turn after that of the write, behind this callback.
    assert received == [b""] * 31 + [b"x"] * 29
    other.transport.abort()
    run_until(loop, lambda: connection.protocol.is_lost)


@pytest.mark.parametrize("size", [1, 7, 512, 1000, 1015, 1016, 1017, 1025, 5000])
def test_a_header_and_a_body_of_any_size(records, implementation, size):
    """However they lie side by side for the system call."""
    header, body = b"header: ", bytes(range(256)) * 20

    def write_both():
        records.transport.write(header)
        records.transport.write(body[:size])

    records.in_a_turn(write_both)
    found = records.records()
    assert b"".join(found) == header + body[:size]
    assert len(found) == (1 if implementation.is_ferrio else 2)


def test_small_pieces_that_the_kernel_takes_in_part(loop, connect):
    """Its room ends anywhere within them, again and again."""
    connection = connect()
    for sock, option in (
        (connection.transport.get_extra_info("socket"), socket.SO_SNDBUF),
        (connection.peer, socket.SO_RCVBUF),
    ):
        sock.setsockopt(socket.SOL_SOCKET, option, 1)  # The least there is.
    pieces = [bytes([65 + index % 26]) * (index * 37 % 300 + 1) for index in range(4000)]
    rest = iter(pieces)

    def write_two():
        for piece in (next(rest, b""), next(rest, b"")):
            connection.transport.write(piece)

    received = bytearray()
    connection.peer.setblocking(False)
    total = sum(map(len, pieces))

    def everything_arrived():
        if connection.transport.get_write_buffer_size() < 3000:
            loop.call_soon(write_two)
            run_turn(loop)
        try:
            received.extend(connection.peer.recv(997))
        except BlockingIOError:
            pass
        return len(received) == total

    run_until(loop, everything_arrived)
    assert received == b"".join(pieces)
