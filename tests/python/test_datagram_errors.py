"""Datagram transports: errors of the kernel and of protocols, full buffers, and how they end."""

import asyncio
import errno
import gc
import socket
import sys
import warnings
import weakref
from asyncio.selector_events import _SelectorDatagramTransport

import pytest

from connected import run_until
from datagram_endpoints import DatagramRecorder, drain, fill, in_a_turn, protocol_of
from turns import run_turn, run_turns

pytest_plugins = ["datagram_fixtures"]

# What a waiting datagram counts beside its bytes.
HEADER = 8 if sys.version_info >= (3, 13) else 0

# Limits by which a protocol is paused when 100 bytes wait. The low one is not 0 because CPython
# forgot, before 3.13.6, to take the headers off again.
ONE_WAITING_IS_TOO_MUCH = {"high": 99, "low": 50}


# Errors of the kernel


def test_nobody_listens(loop, endpoints):
    """The kernel tells by ICMP, which a connected socket hears of with a later call."""
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)
    address = peer.getsockname()
    peer.close()
    transport.sendto(b"lost")
    run_until(loop, lambda: protocol.errors)
    (error,) = protocol.errors
    assert (type(error), error.errno) == (ConnectionRefusedError, errno.ECONNREFUSED)
    # It is no end: when somebody listens again it works again.
    assert not transport.is_closing()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
        again.bind(address)
        again.settimeout(30)
        transport.sendto(b"found")
        assert again.recv(100) == b"found"
    assert len(protocol.errors) == 1


def test_an_error_is_told_by_the_next_send(loop, endpoints):
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)
    transport.pause_reading()
    peer.close()
    transport.sendto(b"lost")
    # The answer comes at once on one machine.
    transport.sendto(b"not sent at all")
    assert [type(error) for error in protocol.errors] == [ConnectionRefusedError]
    transport.resume_reading()
    run_turns(loop, 3)


def test_an_error_that_the_protocol_raises_leaves_sendto(loop, endpoints):
    transport, _ = endpoints.connect()

    def fail(_):
        raise LookupError("on purpose")

    protocol_of(transport).on_error = fail
    with pytest.raises(LookupError, match="on purpose"):
        transport.sendto(b"x" * 70_000)
    assert not transport.is_closing()


def test_an_error_that_the_protocol_raises_in_a_callback_is_reported(loop, endpoints, reports):
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)

    def fail(_):
        raise LookupError("on purpose")

    protocol.on_error = fail
    peer.close()
    transport.sendto(b"lost")
    run_until(loop, lambda: len(reports))
    report = reports.take_one()
    assert type(report["exception"]) is LookupError
    assert "_read_ready" in report["message"]
    assert not transport.is_closing()


def test_a_protocol_without_the_methods(loop, endpoints, reports):
    transport, peer = endpoints.connect(protocol=asyncio.BaseProtocol())
    peer.sendto(b"x", transport.get_extra_info("sockname"))
    run_until(loop, lambda: len(reports))
    assert type(reports.take_one()["exception"]) is AttributeError
    with pytest.raises(AttributeError, match="error_received"):
        transport.sendto(b"x" * 70_000)


def test_the_socket_is_closed_under_the_transport(loop, endpoints):
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)
    transport._sock.close()
    transport.sendto(b"x")
    (error,) = protocol.errors
    assert (type(error), error.errno) == (OSError, errno.EBADF)
    assert not transport.is_closing()
    transport.close()
    run_until(loop, lambda: protocol.is_lost)
    assert protocol.lost_with is None


def test_the_number_of_a_closed_socket_is_somebody_elses(loop, endpoints):
    """Nothing is sent on, or received from, a stranger's file with the same number."""
    transport, _ = endpoints.connect()
    number = transport._sock_fd
    transport._sock.close()
    stranger, its_peer = endpoints.open(), endpoints.open()
    assert stranger.fileno() == number
    stranger.connect(its_peer.getsockname())
    transport.sendto(b"not yours")
    its_peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        its_peer.recv(100)
    transport.close()
    run_until(loop, lambda: transport._sock is None)
    stranger.send(b"still open")
    its_peer.settimeout(30)
    assert its_peer.recv(100) == b"still open"


# Exceptions of protocols


@pytest.mark.parametrize("kind", ["ipv4", "path"])
def test_an_exception_in_datagram_received(loop, endpoints, reports, kind):
    transport, peer = endpoints.connect(kind)
    protocol = protocol_of(transport)

    def fail(data, addr):
        if data == b"bad":
            raise LookupError("on purpose")

    protocol.on_datagram = fail
    for data in (b"1", b"bad", b"2", b"bad", b"3"):
        peer.sendto(data, transport.get_extra_info("sockname"))
    run_until(loop, lambda: len(protocol.data) == 5)
    taken = reports.take()
    assert [str(report["exception"]) for report in taken] == ["on purpose"] * 2
    assert all(report["message"].startswith("Exception in callback") for report in taken)
    # The endpoint goes on.
    assert not transport.is_closing()


@pytest.mark.parametrize("exception", [KeyboardInterrupt, SystemExit])
def test_an_exception_that_leaves_the_loop(loop, endpoints, exception):
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)

    def leave(data, addr):
        if data == b"leave":
            raise exception

    protocol.on_datagram = leave
    for data in (b"leave", b"stay"):
        peer.sendto(data, transport.get_extra_info("sockname"))
    with pytest.raises(exception):
        loop.run_until_complete(asyncio.sleep(30))
    run_until(loop, lambda: len(protocol.data) == 2)
    assert not transport.is_closing()
    # The task of the interrupted run ends with it.
    for task in asyncio.all_tasks(loop):
        task.cancel()
    run_turns(loop, 3)


def test_an_exception_in_connection_lost(loop, endpoints, reports):
    transport, _ = endpoints.connect()

    def fail(_):
        raise LookupError("on purpose")

    protocol_of(transport).on_lost = fail
    transport.close()
    run_until(loop, lambda: transport._sock is None)
    assert type(reports.take_one()["exception"]) is LookupError


# A peer that does not read


def slow_pair(endpoints, protocol=None):
    """A transport and its peer, between whom there is room for few datagrams."""
    return endpoints.connect("path", protocol)


def test_what_the_kernel_has_no_room_for_is_sent_later(loop, endpoints):
    transport, peer = slow_pair(endpoints)
    count = fill(transport, b"x" * 100)
    assert transport.get_write_buffer_size() == 100 + HEADER
    transport.sendto(b"waits")
    transport.sendto(bytearray(b"waits, too"))
    assert transport.get_write_buffer_size() == 100 + 5 + 10 + 3 * HEADER
    assert f"write=<polling, bufsize={115 + 3 * HEADER}>" in repr(transport)
    expected = [b"x" * 100] * count + [b"waits", b"waits, too"]
    assert drain(loop, peer, count + 2) == expected
    run_turns(loop, 2)
    # CPython forgot to take the headers off again before 3.13.6.
    if not isinstance(transport, _SelectorDatagramTransport):
        assert transport.get_write_buffer_size() == 0
    assert "write=<idle" in repr(transport)


def test_data_that_waits_is_a_copy(loop, endpoints):
    transport, peer = slow_pair(endpoints)
    count = fill(transport, b"x" * 100)
    data = bytearray(b"before")
    transport.sendto(data)
    data[:] = b"after!"
    assert drain(loop, peer, count + 1)[-1] == b"before"


def test_waiting_datagrams_find_their_addresses(loop, endpoints):
    transport = endpoints.serve("path")
    full, other = endpoints.open("path"), endpoints.open("abstract")
    count = fill(transport, b"x", full.getsockname())
    transport.sendto(b"to the other", other.getsockname())
    transport.sendto(b"to the full", full.getsockname())
    assert drain(loop, full, count + 1)[-1] == b"to the full"
    assert other.recv(100) == b"to the other"


def test_flow_control(loop, endpoints):
    transport, peer = slow_pair(endpoints)
    protocol = protocol_of(transport)
    assert transport.get_write_buffer_limits() == (16 * 1024, 64 * 1024)
    transport.set_write_buffer_limits(high=500, low=100)
    assert transport.get_write_buffer_limits() == (100, 500)
    count = fill(transport, b"x" * 100)
    assert "pause" not in protocol.events
    while "pause" not in protocol.events:
        transport.sendto(b"x" * 100)
        count += 1
    assert transport.get_write_buffer_size() > 500
    transport.sendto(b"x" * 100)
    assert protocol.events.count("pause") == 1
    drain(loop, peer, count + 1)
    run_until(loop, lambda: "resume" in protocol.events)
    assert (protocol.events.count("pause"), protocol.events.count("resume")) == (1, 1)


@pytest.mark.skipif(sys.version_info < (3, 13), reason="not sent before 3.13")
def test_empty_datagrams_fill_the_buffer_too(loop, endpoints):
    transport, peer = slow_pair(endpoints)
    protocol = protocol_of(transport)
    count = fill(transport, b"")
    assert transport.get_write_buffer_size() == 8
    while "pause" not in protocol.events:
        transport.sendto(b"")
        count += 1
    assert transport.get_write_buffer_size() > 64 * 1024
    assert drain(loop, peer, count) == [b""] * count


def test_lowering_the_limits_pauses_at_once(loop, endpoints):
    transport, _ = slow_pair(endpoints)
    fill(transport, b"x" * 100)
    transport.set_write_buffer_limits(0)
    assert protocol_of(transport).events[-1] == "pause"


@pytest.mark.parametrize("limits", [{"high": 1, "low": 2}, {"high": -1}, {"low": -1}])
def test_wrong_limits(loop, endpoints, limits):
    transport = endpoints.serve()
    with pytest.raises(ValueError, match="must be >= low"):
        transport.set_write_buffer_limits(**limits)


def test_sending_in_resume_writing(loop, endpoints):
    transport, peer = slow_pair(endpoints)
    protocol = protocol_of(transport)
    transport.set_write_buffer_limits(**ONE_WAITING_IS_TOO_MUCH)
    protocol.on_resume = lambda: transport.sendto(b"resumed")
    count = fill(transport, b"x" * 100)
    assert "pause" in protocol.events
    assert drain(loop, peer, count + 1)[-1] == b"resumed"


@pytest.mark.parametrize("method", ["pause", "resume"])
def test_an_exception_in_flow_control(loop, endpoints, reports, method):
    transport, peer = slow_pair(endpoints)

    def fail():
        raise LookupError("on purpose")

    setattr(protocol_of(transport), f"on_{method}", fail)
    transport.set_write_buffer_limits(**ONE_WAITING_IS_TOO_MUCH)
    count = fill(transport, b"x" * 100)
    drain(loop, peer, count)
    run_until(loop, lambda: len(reports))
    assert reports.take_one()["message"] == f"protocol.{method}_writing() failed"


def test_an_error_while_others_wait(loop, endpoints):
    """The peer goes away: each waiting datagram meets with an error of its own."""
    transport, peer = slow_pair(endpoints)
    protocol = protocol_of(transport)
    fill(transport, b"x" * 100)
    transport.sendto(b"second")
    transport.sendto(b"third")
    peer.close()
    run_until(loop, lambda: len(protocol.errors) == 3)
    numbers = [error.errno for error in protocol.errors]
    # The first error ends the connection, too.
    assert numbers == [errno.ECONNREFUSED, errno.ENOTCONN, errno.ENOTCONN]
    run_until(loop, lambda: "write=<idle" in repr(transport))
    assert not transport.is_closing()


def test_closing_in_error_received_while_others_wait(loop, endpoints):
    transport, peer = slow_pair(endpoints)
    protocol = protocol_of(transport)
    fill(transport, b"x" * 100)
    transport.sendto(b"second")
    protocol.on_error = lambda error: transport.abort()
    peer.close()
    run_until(loop, lambda: protocol.is_lost)
    assert len(protocol.errors) == 1


# How it ends


def test_closing(loop, endpoints):
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)
    peer.sendto(b"too late", transport.get_extra_info("sockname"))
    transport.close()
    transport.close()
    transport.abort()
    assert transport.is_closing()
    assert not transport.is_reading()
    assert protocol.events == ["made"]
    run_turns(loop, 5)
    transport.close()
    transport.abort()
    run_turns(loop, 3)
    assert protocol.events == ["made", ("lost", None)]
    assert (transport._sock, transport._protocol, transport._loop) == (None, None, None)


def test_closing_sends_what_waits_first(loop, endpoints):
    transport, peer = slow_pair(endpoints)
    protocol = protocol_of(transport)
    count = fill(transport, b"x")
    transport.close()
    run_turns(loop, 3)
    assert not protocol.is_lost
    # It still takes more as long as something waits.
    transport.sendto(b"late")
    assert drain(loop, peer, count + 1)[-1] == b"late"
    run_until(loop, lambda: protocol.is_lost)
    assert protocol.lost_with is None


def test_aborting_gives_up_what_waits(loop, endpoints):
    transport, peer = slow_pair(endpoints)
    protocol = protocol_of(transport)
    count = fill(transport, b"x")
    transport.abort()
    run_until(loop, lambda: protocol.is_lost)
    assert drain(loop, peer, count - 1) == [b"x"] * (count - 1)
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(100)


def test_the_socket_is_closed_after_connection_lost(loop, endpoints):
    transport, _ = endpoints.connect()
    protocol, sock = protocol_of(transport), transport._sock
    open_then = []
    protocol.on_lost = lambda error: open_then.append(sock.fileno() >= 0)
    transport.close()
    run_until(loop, lambda: open_then)
    assert open_then == [True]
    assert sock.fileno() == -1


def test_sending_after_the_end(loop, endpoints, logged):
    peer = endpoints.open()
    transport = endpoints.create(remote_addr=peer.getsockname())
    transport.close()
    for _ in range(3):
        transport.sendto(b"never")
    run_until(loop, lambda: transport._sock is None)
    for _ in range(4):
        transport.sendto(b"never")
    assert logged.texts() == ["socket.send() raised exception."] * 3
    peer.setblocking(False)
    with pytest.raises(BlockingIOError):
        peer.recv(100)


def test_sending_to_anybody_after_the_end(loop, endpoints):
    """asyncio sends as long as the socket is open, and later knows no better than to fail."""
    transport, peer = endpoints.serve(), endpoints.open()
    transport.close()
    transport.sendto(b"the last", peer.getsockname())
    assert peer.recv(100) == b"the last"
    run_until(loop, lambda: transport._sock is None)
    with pytest.raises(AttributeError, match="call_exception_handler"):
        transport.sendto(b"never", peer.getsockname())


@pytest.mark.parametrize("end", ["close", "abort"])
@pytest.mark.parametrize("callback", ["made", "datagram", "error", "pause", "resume", "lost"])
def test_ending_in_every_callback(loop, endpoints, reports, callback, end):
    protocol = DatagramRecorder()

    def finish(*_):
        getattr(protocol.transport, end)()

    setattr(protocol, f"on_{callback}", finish)
    transport, peer = slow_pair(endpoints, protocol)
    transport.set_write_buffer_limits(**ONE_WAITING_IS_TOO_MUCH)
    if not transport.is_closing():
        for _ in range(2):
            peer.sendto(b"x", transport.get_extra_info("sockname"))
        run_until(loop, lambda: protocol.datagrams)
    if not transport.is_closing():
        transport.sendto(b"x" * (1 << 24))
        assert protocol.errors
    count = 0
    if not transport.is_closing():
        count = fill(transport, b"x" * 100)
    if callback == "resume":
        drain(loop, peer, count)
    elif callback == "lost":
        transport.abort()
    if callback == "pause" and end == "close":
        drain(loop, peer, count)
    run_until(loop, lambda: protocol.is_lost)
    assert protocol.names.count("lost") == 1
    assert protocol.names[-1] == "lost"
    if callback == "datagram":
        assert len(protocol.datagrams) == 1
    run_until(loop, lambda: transport._sock is None)
    if callback == "resume" and isinstance(transport, _SelectorDatagramTransport):
        # asyncio tries to end the connection twice.
        run_until(loop, lambda: len(reports))
        reports.take()


def test_closing_in_the_turn_of_a_datagram(loop, endpoints):
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)
    peer.sendto(b"x", transport.get_extra_info("sockname"))
    in_a_turn(loop, transport.close)
    run_turns(loop, 3)
    assert ("lost", None) in protocol.events


def test_the_loop_is_closed_first(endpoints, make_loop):
    loop = make_loop()
    sock = endpoints.open()
    protocol = DatagramRecorder()
    transport, _ = loop.run_until_complete(
        loop.create_datagram_endpoint(lambda: protocol, sock=sock)
    )
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        transport.close()
    sock.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        del transport
        protocol.transport = None
        gc.collect()


# Garbage


def test_one_that_is_forgotten_lives_as_long_as_it_is_watched(loop, endpoints):
    protocol = DatagramRecorder()
    received = []
    protocol.on_datagram = lambda data, addr: received.append(data)
    transport, peer = endpoints.connect(protocol=protocol)
    address = transport.get_extra_info("sockname")
    gone = weakref.ref(transport)
    endpoints._transports.clear()
    del transport, protocol
    gc.collect()
    peer.sendto(b"still here", address)
    run_until(loop, lambda: received)
    gone().close()
    run_until(loop, lambda: gone() is None or gone()._sock is None)
    gc.collect()
    assert gone() is None


def test_one_that_is_not_watched_warns_and_closes(loop, endpoints):
    transport, peer = endpoints.connect()
    sock, number = transport._sock, transport._sock_fd
    gone = weakref.ref(transport)
    transport.pause_reading()
    endpoints._transports.clear()
    # It is when something arrives that ferrio stops watching.
    peer.sendto(b"", transport.get_extra_info("sockname"))
    run_turns(loop, 3)
    protocol_of(transport).transport = None
    with pytest.warns(ResourceWarning, match=f"unclosed transport <.*fd={number}"):
        del transport
        run_turn(loop)
        gc.collect()
    assert gone() is None
    assert sock.fileno() == -1


def test_a_cycle_through_what_waits(loop, endpoints):
    """A waiting datagram's data may refer to its transport."""

    class Data(bytes):
        pass

    transport, _ = slow_pair(endpoints)
    gone = weakref.ref(transport)
    fill(transport, b"x" * 100)
    data = Data(b"data")
    data.transport = transport
    transport.sendto(data)
    transport.abort()
    run_until(loop, lambda: transport._sock is None)
    endpoints._transports.clear()
    del data, transport
    gc.collect()
    assert gone() is None
