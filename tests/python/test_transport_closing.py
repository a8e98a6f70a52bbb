"""How a connection ends: closing, aborting, being left behind, descriptors that are used again."""

import asyncio
import contextlib
import errno
import gc
import os
import socket
import warnings
import weakref
from asyncio.selector_events import _SelectorSocketTransport

import pytest

from connected import BufferedRecorder, Recorder, receive, run_until, tcp_pair, unix_pair
from ferrio.transports import SocketTransport
from turns import run_turn, run_turns

pytest_plugins = ["transport_fixtures"]


def test_closing_sends_what_waits_first(loop, connection):
    transport, protocol = connection.transport, connection.protocol
    written = connection.fill()
    transport.close()
    assert transport.is_closing()
    assert not transport.is_reading()
    run_turns(loop, 3)
    assert not protocol.is_lost
    # It still takes writes as long as it has not sent everything.
    transport.write(b"late")
    assert connection.drain(len(written) + 4) == written + b"late"
    run_until(loop, lambda: protocol.is_lost)
    assert protocol.lost_with is None
    assert connection.receive(1) == b""


def test_closing_twice(loop, connection):
    transport, protocol = connection.transport, connection.protocol
    transport.close()
    transport.close()
    transport.abort()
    assert protocol.events == ["made"]
    run_turns(loop, 5)
    transport.close()
    transport.abort()
    run_turns(loop, 5)
    assert protocol.events == ["made", ("lost", None)]


def test_the_socket_is_closed_after_connection_lost(loop, connection):
    states = []

    def look(_):
        states.append(connection.sock.fileno() >= 0)
        states.append(connection.transport._sock is connection.sock)

    connection.protocol.on_lost = look
    connection.transport.close()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert states == [True, True]
    assert connection.sock.fileno() == -1
    assert connection.transport._sock is None
    assert connection.transport._loop is None
    assert connection.transport.get_protocol() is None
    assert connection.receive(1) == b""


def test_aborting_gives_up_what_waits(loop, connection):
    connection.fill()
    connection.transport.abort()
    assert connection.transport.is_closing()
    assert connection.transport.get_write_buffer_size() == 0
    run_turn(loop)
    assert connection.protocol.lost_with is None


def test_aborting_a_transport_that_is_closing(loop, connection):
    connection.fill()
    connection.transport.close()
    connection.transport.abort()
    run_turns(loop, 3)
    assert connection.protocol.events.count(("lost", None)) == 1


def test_forcing_the_end_with_an_error(loop, connection):
    # asyncio's TLS protocol ends its transport in this way.
    error = ConnectionAbortedError("TLS")
    connection.transport._force_close(error)
    connection.transport._force_close(None)
    run_turns(loop, 3)
    assert connection.protocol.lost_with is error


def test_a_fatal_error(loop, connection, reports):
    error = ZeroDivisionError("a bug")
    connection.transport._fatal_error(error)
    context = reports.take_one()
    assert context["message"] == "Fatal error on transport"
    assert context["exception"] is error
    run_turns(loop, 3)
    assert connection.protocol.lost_with is error


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("method", ["made", "data", "get_buffer", "eof", "pause", "lost"])
def test_ending_in_every_callback(loop, connect, method, end):
    protocol = BufferedRecorder() if method == "get_buffer" else Recorder()

    def finish(*_):
        protocol.transport.write(b"x")
        getattr(protocol.transport, end)()

    setattr(protocol, f"on_{method}", finish)
    connection = connect(protocol)
    if method == "pause":
        connection.transport.set_write_buffer_limits(0)
        connection.fill()
        # To the end of the stream.
        connection.drain(1 << 40)
    else:
        # A connection that is closed already may refuse either.
        with contextlib.suppress(OSError):
            connection.peer.sendall(b"hello")
            connection.peer.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: protocol.is_lost)
    run_turns(loop, 5)
    assert protocol.names.count("lost") == 1
    assert protocol.names.index("lost") == len(protocol.names) - 1


def test_ending_in_the_callback_that_the_same_event_follows(loop, connect):
    # Both are readable in one turn; the first closes the second.
    one, other = connect(), connect()
    one.protocol.on_data = lambda _: other.transport.abort()
    other.protocol.on_data = lambda _: one.transport.abort()
    one.peer.sendall(b"x")
    other.peer.sendall(b"y")
    run_until(loop, lambda: one.protocol.is_lost or other.protocol.is_lost)
    run_turns(loop, 5)
    assert sorted([one.protocol.names, other.protocol.names]) == [
        ["made", "data"],
        ["made", "lost"],
    ]


def test_a_server_is_told_of_the_beginning_and_the_end(loop):
    class Server:
        attached = detached = 0

        def _attach(self, *_):
            self.attached += 1

        def _detach(self, *_):
            self.detached += 1

    ours, peer = tcp_pair()
    with peer:
        ours.setblocking(False)
        server = Server()
        transport = loop._make_socket_transport(ours, Recorder(), server=server)
        assert (server.attached, server.detached) == (1, 0)
        assert transport._server is server
        transport.close()
        run_turns(loop, 3)
        assert (server.attached, server.detached) == (1, 1)


def test_a_transport_that_is_left_behind(loop, connect):
    protocol = Recorder()
    connection = connect(protocol)
    transport = weakref.ref(connection.transport)
    connection.transport.pause_reading()
    connection.peer.sendall(b"x")
    run_turns(loop, 3)
    description = repr(connection.transport)
    with pytest.warns(ResourceWarning, match="unclosed transport") as caught:
        protocol.transport = connection.transport = None
        gc.collect()
    assert [str(warning.message) for warning in caught] == [f"unclosed transport {description}"]
    # The warnings know what they are about.
    del caught
    gc.collect()
    assert transport() is None
    assert connection.sock.fileno() == -1


def test_a_lost_connection_keeps_nothing_alive(loop, connect):
    protocol = Recorder()
    connection = connect(protocol)
    alive = weakref.ref(protocol), weakref.ref(connection.transport)
    connection.transport.close()
    run_until(loop, lambda: connection.protocol.is_lost)
    protocol = connection.protocol = None
    gc.collect()
    assert alive[0]() is None
    assert alive[1]() is not None


def test_a_cycle_of_loop_transport_and_protocol_is_collected(implementation, watched):
    loop = implementation.EventLoop()
    ours, peer = tcp_pair()
    protocol = Recorder()
    loop.run_until_complete(loop.create_connection(lambda: protocol, sock=ours))
    protocol.loop = loop
    loop.close()
    alive = weakref.ref(protocol), weakref.ref(loop)
    with pytest.warns(ResourceWarning, match="unclosed transport"):
        protocol = loop = None
        gc.collect()
    gc.collect()
    assert [each() for each in alive] == [None, None]
    ours.close()
    peer.close()


class TestDescriptionOfItself:
    def test_open(self, connection):
        name, rest = repr(connection.transport).split(" ", 1)
        assert name.startswith("<")
        assert name.endswith("SocketTransport")
        fd = connection.sock.fileno()
        assert rest == f"fd={fd} read=polling write=<idle, bufsize=0>>"

    def test_paused_and_full(self, connection):
        connection.transport.pause_reading()
        connection.fill()
        size = connection.transport.get_write_buffer_size()
        description = repr(connection.transport)
        assert description.endswith(f" read=idle write=<polling, bufsize={size}>>")

    def test_what_a_turn_has_gathered_counts_as_sent(self, connection):
        def write_and_describe():
            connection.transport.write(b"x")
            return repr(connection.transport)

        description = connection.in_a_turn(write_and_describe)
        assert description.endswith("write=<idle, bufsize=0>>")

    def test_closing_and_closed(self, loop, connection):
        fd = connection.sock.fileno()
        connection.transport.close()
        assert f" closing fd={fd} read=idle" in repr(connection.transport)
        run_until(loop, lambda: connection.protocol.is_lost)
        assert repr(connection.transport).endswith(f" closed fd={fd}>")


def test_the_attributes_that_libraries_look_at(loop, connection):
    transport = connection.transport
    assert transport._loop is loop
    assert transport._sock is connection.sock
    assert transport._sock_fd == connection.sock.fileno()
    assert transport._protocol is connection.protocol
    assert transport._closing is False
    assert transport._conn_lost == 0
    assert transport._eof is False
    assert transport._paused is False
    assert transport._server is None
    assert transport._protocol_paused is False
    assert transport._empty_waiter is None
    assert transport._extra["peername"] == connection.sock.getpeername()
    assert transport._start_tls_compatible is True
    assert transport._sendfile_compatible is asyncio.constants._SendfileMode.TRY_NATIVE


def test_nobody_else_may_watch_the_descriptor(loop, connection):
    fd = connection.sock.fileno()
    for paused in (False, True):
        if paused:
            connection.transport.pause_reading()
            connection.peer.sendall(b"x")
            run_turns(loop, 3)
        for add in (loop.add_reader, loop.add_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                add(fd, print)
        for remove in (loop.remove_reader, loop.remove_writer):
            with pytest.raises(RuntimeError, match="is used by transport"):
                remove(fd)
    connection.transport.close()
    assert loop.remove_reader(fd) is False
    run_until(loop, lambda: connection.protocol.is_lost)
    assert loop.remove_reader(fd) is False


class TestDescriptorsThatAreUsedAgain:
    def test_by_the_next_connection(self, loop, connect):
        first = connect()
        fd = first.sock.fileno()
        stale = first.protocol
        first.transport.close()
        run_until(loop, lambda: stale.is_lost)
        second = connect()
        assert second.sock.fileno() == fd
        second.peer.sendall(b"hello")
        run_until(loop, lambda: second.protocol.received == b"hello")
        first.transport.write(b"late")
        first.transport.abort()
        assert second.nothing_sent()
        second.transport.write(b"answer")
        assert second.receive(6) == b"answer"
        assert stale.received == b""

    def test_within_the_turn_that_has_news_of_the_first(self, loop, connect):
        # The first connection's events stand in the queue when its number changes hands.
        first, other = connect(), connect()
        replaced = []

        def replace(_):
            # An earlier event of the same turn ends the first and opens a second.
            fd = first.sock.fileno()
            first.transport.abort()
            loop.call_soon(connect_second, fd)

        def connect_second(fd):
            ours, peer = unix_pair()
            ours.setblocking(False)
            protocol = Recorder()
            transport = loop._make_socket_transport(ours, protocol)
            replaced.append((transport, protocol, peer, ours.fileno() == fd))

        other.protocol.on_data = replace
        other.peer.sendall(b"x")
        first.peer.sendall(b"for the first")
        run_until(loop, lambda: replaced)
        run_turns(loop, 5)
        transport, protocol, peer, _ = replaced[0]
        assert protocol.received == b""
        peer.sendall(b"for the second")
        run_until(loop, lambda: protocol.received == b"for the second")
        transport.abort()
        run_until(loop, lambda: protocol.is_lost)
        peer.close()

    def test_a_socket_closed_behind_our_back(self, loop, connect):
        connection = connect()
        connection.sock.close()
        connection.transport.write(b"x")
        run_until(loop, lambda: connection.protocol.is_lost)
        error = connection.protocol.lost_with
        assert isinstance(error, OSError)
        assert error.errno == errno.EBADF

    def test_a_socket_closed_behind_our_back_in_a_turn(self, loop, connect):
        connection = connect()

        def close_and_write():
            connection.sock.close()
            connection.transport.write(b"x")

        connection.in_a_turn(close_and_write)
        run_until(loop, lambda: connection.protocol.is_lost)
        assert connection.protocol.lost_with.errno == errno.EBADF

    def test_a_stranger_gets_nothing(self, loop, connect):
        connection = connect()
        fd = connection.sock.fileno()
        connection.sock.close()
        ours, peer = tcp_pair()
        strangers = {ours.fileno(): (ours, peer), peer.fileno(): (peer, ours)}
        assert fd in strangers
        stranger, other_end = strangers[fd]
        connection.transport.write(b"secret")
        run_until(loop, lambda: connection.protocol.is_lost)
        other_end.setblocking(False)
        with pytest.raises(BlockingIOError):
            other_end.recv(100)
        # And it was not closed either.
        other_end.settimeout(60)
        stranger.sendall(b"alive")
        assert receive(other_end, 5) == b"alive"
        ours.close()
        peer.close()

    def test_the_next_transport_is_not_disturbed(self, loop, connect):
        connection = connect()
        fd = connection.sock.fileno()
        connection.sock.close()
        ours, peer = unix_pair()
        number = {ours.fileno(): (ours, peer), peer.fileno(): (peer, ours)}
        sock, other_end = number[fd]
        sock.setblocking(False)
        protocol = Recorder()
        transport = make_transport(loop, sock, protocol)
        run_turns(loop, 2)
        connection.transport.abort()
        run_until(loop, lambda: connection.protocol.is_lost)
        other_end.sendall(b"hello")
        if hasattr(loop, "gather_writes"):
            run_until(loop, lambda: protocol.received == b"hello")
        transport.abort()
        run_turns(loop, 2)
        other_end.close()

    def test_a_descriptor_closed_behind_everybodys_back(self, loop, connect, reports):
        connection = connect()
        os.close(connection.sock.fileno())
        connection.transport.write(b"x")
        run_until(loop, lambda: connection.protocol.is_lost)
        assert connection.protocol.lost_with.errno == errno.EBADF
        # The socket object does not know, and cannot be closed.
        assert reports.take_one()["exception"].errno == errno.EBADF
        # asyncio gives up here and keeps the socket object, whose end then is one of the many.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            connection.transport = connection.protocol.transport = None
            connection.protocol.events.clear()
            gc.collect()


def make_transport(loop, sock, protocol):
    """Make a transport as the loop does, without its check that nobody else has the number."""
    if hasattr(loop, "gather_writes"):
        return SocketTransport(loop, sock, protocol)
    return _SelectorSocketTransport(loop, sock, protocol)


def test_many_connections_come_and_go(loop, connect):
    for number in range(50):
        come_and_go(connect(pair="unix" if number % 2 else "tcp"), number)


def come_and_go(connection, number):
    loop, protocol, data = connection.loop, connection.protocol, b"%d" % number
    connection.peer.sendall(data)
    run_until(loop, lambda: protocol.received)
    connection.transport.write(protocol.received)
    assert connection.receive(len(data)) == data
    if number % 3:
        connection.transport.close()
    else:
        connection.peer.close()
    run_until(loop, lambda: protocol.is_lost)
