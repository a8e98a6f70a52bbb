"""What a transport gives its protocol: data, the end of the stream, errors."""

import asyncio
import contextvars
import socket
import threading

import pytest

from connected import BufferedRecorder, Recorder, run_until, tcp_pair
from turns import run_turn, run_turns

pytest_plugins = ["transport_fixtures"]


def test_a_connection_from_its_beginning_to_its_end(loop, connection):
    protocol = connection.protocol
    assert protocol.events == ["made"]
    assert protocol.transport is connection.transport
    connection.peer.sendall(b"hello")
    run_until(loop, lambda: protocol.received)
    connection.peer.close()
    run_until(loop, lambda: protocol.is_lost)
    assert protocol.events == ["made", ("data", b"hello"), "eof", ("lost", None)]


def test_the_order_of_the_first_callbacks(loop):
    ours, peer = tcp_pair()
    with peer:
        ours.setblocking(False)
        peer.sendall(b"early")
        protocol = Recorder()
        waiter = loop.create_future()
        waiter.add_done_callback(lambda _: protocol.happened("waiter"))
        transport = loop._make_socket_transport(ours, protocol, waiter)
        assert protocol.events == []
        run_until(loop, lambda: protocol.received)
        assert protocol.names == ["made", "waiter", "data"]
        transport.close()
        run_until(loop, lambda: protocol.is_lost)


def test_a_cancelled_waiter_is_left_alone(loop):
    ours, peer = tcp_pair()
    with peer:
        ours.setblocking(False)
        protocol = Recorder()
        waiter = loop.create_future()
        transport = loop._make_socket_transport(ours, protocol, waiter)
        waiter.cancel()
        run_turns(loop, 2)
        assert protocol.events == ["made"]
        transport.close()
        run_turn(loop)
        assert protocol.is_lost


def test_much_data_comes_in_pieces_no_larger_than_asyncios(loop, connection):
    data = bytes(range(256)) * 8192
    sender = threading.Thread(target=connection.peer.sendall, args=(data,))
    sender.start()
    protocol = connection.protocol
    run_until(loop, lambda: len(protocol.received) == len(data))
    sender.join()
    assert protocol.received == data
    assert max(len(event[1]) for event in protocol.events[1:]) <= 256 * 1024


def test_one_read_for_each_turn(loop, connect):
    connection = connect(BufferedRecorder(4), pair="unix")
    connection.peer.sendall(b"0123456789")
    run_until(loop, lambda: connection.protocol.received)
    assert connection.protocol.received == b"0123"
    run_turn(loop)
    assert connection.protocol.received == b"01234567"


def test_pausing_and_resuming(loop, connection):
    transport, protocol = connection.transport, connection.protocol
    assert transport.is_reading()
    transport.pause_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    connection.peer.sendall(b"one")
    run_turns(loop, 5)
    assert protocol.received == b""
    transport.resume_reading()
    transport.resume_reading()
    assert transport.is_reading()
    run_until(loop, lambda: protocol.received == b"one")
    connection.peer.sendall(b"two")
    run_until(loop, lambda: protocol.received == b"onetwo")


def test_pausing_in_connection_made(loop, connect):
    protocol = Recorder()
    protocol.on_made = lambda: protocol.transport.pause_reading()
    connection = connect(protocol)
    connection.peer.sendall(b"hello")
    run_turns(loop, 5)
    assert protocol.received == b""
    connection.transport.resume_reading()
    run_until(loop, lambda: protocol.received == b"hello")


def test_pausing_in_data_received_and_resuming_at_once(loop, connect):
    protocol = BufferedRecorder(1)
    connection = connect(protocol)

    def pause(_):
        protocol.transport.pause_reading()
        if len(protocol.received) < 3:
            protocol.transport.resume_reading()

    protocol.on_data = pause
    connection.peer.sendall(b"abcd")
    run_until(loop, lambda: len(protocol.received) == 3)
    run_turns(loop, 3)
    assert protocol.received == b"abc"


def test_paused_by_an_earlier_callback_of_the_same_turn(loop, connect):
    one, other = connect(), connect()
    one.protocol.on_data = lambda _: other.transport.pause_reading()
    other.protocol.on_data = lambda _: one.transport.pause_reading()
    one.peer.sendall(b"x")
    other.peer.sendall(b"y")
    run_until(loop, lambda: one.protocol.received or other.protocol.received)
    run_turns(loop, 5)
    assert len(one.protocol.received + other.protocol.received) == 1


def test_reading_a_closing_transport(connection):
    transport = connection.transport
    transport.close()
    assert not transport.is_reading()
    transport.pause_reading()
    transport.resume_reading()
    assert not transport.is_reading()


def test_nothing_arrives_after_close(loop, connection):
    connection.peer.sendall(b"late")
    connection.transport.close()
    run_turns(loop, 5)
    assert connection.protocol.events == ["made", ("lost", None)]


def count_turns(loop_class):
    """A loop class that counts its turns while a timer is pending."""

    class CountingLoop(loop_class):
        turns = 0

        def time(self):
            self.turns += 1
            return super().time()

    return CountingLoop


@pytest.mark.parametrize("end", ["data", "closed", "reset"])
def test_a_paused_transport_does_not_keep_the_loop_busy(make_loop, implementation, connect, end):
    loop = make_loop(count_turns(implementation.EventLoop))
    connection = connect(on=loop)
    connection.transport.pause_reading()
    if end == "data":
        connection.peer.sendall(b"x")
    elif end == "closed":
        connection.peer.close()
    else:
        connection.reset()
    run_turns(loop, 5)
    loop.turns = 0
    loop.run_until_complete(asyncio.sleep(0.05))
    assert loop.turns < 20
    assert connection.protocol.events == ["made"]
    connection.transport.resume_reading()
    run_until(loop, lambda: len(connection.protocol.events) > 1)
    if end == "reset":
        assert isinstance(connection.protocol.lost_with, ConnectionResetError)


def test_a_paused_transport_still_writes(loop, connection):
    connection.transport.pause_reading()
    connection.peer.sendall(b"x")
    run_turns(loop, 3)
    written = connection.fill()
    assert connection.drain(len(written)) == written
    assert connection.protocol.received == b""


def test_the_protocol_keeps_the_connection_open_at_the_end_of_the_stream(loop, connection):
    protocol, transport = connection.protocol, connection.transport
    protocol.on_eof = lambda: True
    connection.peer.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: "eof" in protocol.names)
    run_turns(loop, 5)
    assert protocol.events == ["made", "eof"]
    assert not transport.is_closing()
    transport.write(b"still there")
    assert connection.receive(11) == b"still there"
    transport.close()
    run_until(loop, lambda: protocol.is_lost)
    assert protocol.events == ["made", "eof", ("lost", None)]


def test_the_end_of_the_stream_closes_the_transport(loop, connection):
    protocol = connection.protocol
    protocol.on_eof = lambda: protocol.transport.write(b"goodbye")
    connection.peer.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: protocol.is_lost)
    assert connection.receive(100) == b"goodbye"
    assert protocol.lost_with is None


def test_a_reset_keeps_its_errno(loop, connect, reports):
    connection = connect()
    connection.reset()
    run_until(loop, lambda: connection.protocol.is_lost)
    error = connection.protocol.lost_with
    assert isinstance(error, ConnectionResetError)
    assert str(error) == "[Errno 104] Connection reset by peer"
    assert "eof" not in connection.protocol.names
    assert not len(reports)


@pytest.mark.parametrize("method", ["data", "eof"])
def test_a_protocol_that_raises(loop, connection, reports, method):
    protocol = connection.protocol
    error = ZeroDivisionError("a bug")

    def fail(*_):
        protocol.transport.write(b"before it")
        raise error

    setattr(protocol, f"on_{method}", fail)
    connection.peer.sendall(b"x")
    connection.peer.shutdown(socket.SHUT_WR)
    run_until(loop, lambda: protocol.is_lost)
    name = {"data": "data_received", "eof": "eof_received"}[method]
    context = reports.take_one()
    assert context["message"] == f"Fatal error: protocol.{name}() call failed."
    assert context["exception"] is error
    assert context["transport"] is connection.transport
    assert context["protocol"] is protocol
    assert protocol.lost_with is error
    assert connection.receive(100) == b"before it"


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("method", ["data", "eof", "lost"])
def test_what_has_to_leave_the_loop_leaves_it(loop, connection, method, error):
    protocol = connection.protocol

    def leave(*_):
        delattr(protocol, f"on_{method}")
        raise error("now")

    setattr(protocol, f"on_{method}", leave)
    if method != "eof":
        connection.peer.sendall(b"x")
    if method == "eof":
        connection.peer.shutdown(socket.SHUT_WR)
    if method == "lost":
        connection.transport.close()
    with pytest.raises(error, match="now"):
        loop.run_forever()
    if method != "lost":
        # The connection is as it was.
        assert not connection.transport.is_closing()
        connection.transport.write(b"alive")
        assert connection.receive(5) == b"alive"


def test_a_connection_made_that_raises_is_reported_and_the_connection_goes_on(
    loop, connect, reports
):
    protocol = Recorder()
    error = ZeroDivisionError("a bug")

    def fail():
        raise error

    protocol.on_made = fail
    connection = connect(protocol)
    context = reports.take_one()
    assert context["message"].startswith("Exception in callback Events.connection_made(")
    assert context["exception"] is error
    connection.peer.sendall(b"hello")
    run_until(loop, lambda: protocol.received == b"hello")


def test_a_connection_lost_that_raises_is_reported_and_the_socket_closed(loop, connection, reports):
    error = ZeroDivisionError("a bug")

    def fail(_):
        assert connection.sock.fileno() >= 0
        raise error

    connection.protocol.on_lost = fail
    connection.transport.close()
    run_until(loop, lambda: connection.protocol.is_lost)
    context = reports.take_one()
    assert context["exception"] is error
    assert "_call_connection_lost" in context["message"]
    assert connection.sock.fileno() == -1


def test_a_buffered_protocol(loop, connect):
    connection = connect(BufferedRecorder(4))
    connection.peer.sendall(b"hello")
    connection.peer.close()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.events == [
        "made",
        ("get_buffer", -1),
        ("data", b"hell"),
        ("get_buffer", -1),
        ("data", b"o"),
        ("get_buffer", -1),
        "eof",
        ("lost", None),
    ]


@pytest.mark.parametrize("memory", [memoryview(bytearray(8)), memoryview(bytearray(8))[2:5]])
def test_a_buffered_protocol_may_lend_a_view(loop, connect, memory):
    protocol = BufferedRecorder()
    protocol.memory = memory
    connection = connect(protocol)
    connection.peer.sendall(b"abc")
    run_until(loop, lambda: protocol.received)
    assert protocol.received == b"abc"


def raises_zero_division(*_):
    raise ZeroDivisionError("a bug")


@pytest.mark.parametrize(
    ("memory", "error", "message"),
    [
        (b"", RuntimeError, "Fatal error: protocol.get_buffer() call failed."),
        (None, TypeError, "Fatal error: protocol.get_buffer() call failed."),
        (b"read-only", TypeError, "Fatal read error on socket transport"),
        ([0], TypeError, "Fatal read error on socket transport"),
    ],
)
def test_a_buffered_protocol_that_lends_nothing_fit(loop, connect, reports, memory, error, message):
    protocol = BufferedRecorder()
    protocol.memory = memory
    connection = connect(protocol)
    connection.peer.sendall(b"abc")
    run_until(loop, lambda: protocol.is_lost)
    context = reports.take_one()
    assert context["message"] == message
    assert type(context["exception"]) is error
    assert protocol.lost_with is context["exception"]


@pytest.mark.parametrize("method", ["get_buffer", "data"])
def test_a_buffered_protocol_that_raises(loop, connect, reports, method):
    protocol = BufferedRecorder()
    setattr(protocol, f"on_{method}", raises_zero_division)
    connection = connect(protocol)
    connection.peer.sendall(b"abc")
    run_until(loop, lambda: protocol.is_lost)
    name = {"get_buffer": "get_buffer", "data": "buffer_updated"}[method]
    context = reports.take_one()
    assert context["message"] == f"Fatal error: protocol.{name}() call failed."
    assert isinstance(protocol.lost_with, ZeroDivisionError)


def test_another_protocol_from_within_the_first(loop, connection):
    first, transport = connection.protocol, connection.transport
    second, third = BufferedRecorder(), Recorder()
    first.on_data = lambda _: transport.set_protocol(second)
    second.on_data = lambda _: transport.set_protocol(third)
    for data, protocol in ((b"one", first), (b"two", second), (b"three", third)):
        connection.peer.sendall(data)
        while not protocol.received:
            run_turn(loop)
    assert transport.get_protocol() is third
    assert [each.received for each in (first, second, third)] == [b"one", b"two", b"three"]
    connection.peer.close()
    run_until(loop, lambda: third.is_lost)
    assert not first.is_lost
    assert not second.is_lost


def test_methods_of_a_protocol_may_be_replaced(loop, connection):
    received = []
    connection.protocol.data_received = received.append
    connection.peer.sendall(b"hello")
    run_until(loop, lambda: received)
    assert received == [b"hello"]


def test_the_context_of_a_connection(loop, connect):
    variable = contextvars.ContextVar("variable", default="outside")
    protocol = Recorder()
    seen = []

    def look(*_):
        seen.append(variable.get())
        variable.set("changed by the protocol")

    protocol.on_data = look
    context = contextvars.copy_context()
    context.run(variable.set, "of the connection")
    connection = context.run(connect, protocol)
    for count in (1, 2):
        connection.peer.sendall(b"x")
        while len(seen) < count:
            run_turn(loop)
    # Both calls share one context, which is nobody else's.
    assert seen == ["of the connection", "changed by the protocol"]
    assert variable.get() == "outside"
    assert context[variable] == "of the connection"


def test_the_context_after_resuming(loop, connect):
    variable = contextvars.ContextVar("variable", default="outside")
    protocol = Recorder()
    seen = []
    protocol.on_data = lambda _: seen.append(variable.get())
    connection = connect(protocol)
    connection.transport.pause_reading()
    context = contextvars.copy_context()
    context.run(variable.set, "of who resumed")
    context.run(connection.transport.resume_reading)
    connection.peer.sendall(b"x")
    run_until(loop, lambda: seen)
    assert seen == ["of who resumed"]


def test_what_is_known_of_a_connection(connection):
    transport, sock = connection.transport, connection.sock
    known = transport.get_extra_info("socket")
    assert isinstance(known, asyncio.trsock.TransportSocket)
    assert known.fileno() == sock.fileno() == transport._sock_fd
    assert transport.get_extra_info("sockname") == sock.getsockname()
    assert transport.get_extra_info("peername") == sock.getpeername()
    assert transport.get_extra_info("compression") is None
    assert transport.get_extra_info("compression", "none") == "none"
    assert transport.get_extra_info("compression", default=1) == 1
    with pytest.raises(TypeError):
        transport.get_extra_info()


def test_what_is_known_of_a_lost_connection(loop, connection):
    peername = connection.sock.getpeername()
    connection.transport.close()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.transport.get_extra_info("peername") == peername
    assert connection.transport.get_extra_info("socket").fileno() == -1


def test_callers_information(loop):
    ours, peer = tcp_pair()
    with peer:
        ours.setblocking(False)
        extra = {"peername": "told by the caller", "more": 1}
        transport = loop._make_socket_transport(ours, Recorder(), extra=extra)
        assert transport.get_extra_info("peername") == "told by the caller"
        assert transport.get_extra_info("more") == 1
        assert transport.get_extra_info("sockname") == ours.getsockname()
        transport.abort()
        run_turns(loop, 2)
