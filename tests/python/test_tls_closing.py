"""How a TLS connection ends: goodbyes, timeouts, truncation, errors, and close() anywhere."""

import asyncio
import functools
import ssl
import sys

import pytest

from connected import BufferedRecorder, Recorder, run_until
from tls_peer import Clients, TlsConnection
from turns import run_turn, run_turns

pytest_plugins = ["tls_fixtures"]


class OddError(Exception):
    """Raised by a protocol on purpose."""


def test_close_waits_for_the_answer(loop, tls):
    connection = tls()
    transport, protocol, peer = connection.transport, connection.protocol, connection.peer
    transport.write(b"last words")
    transport.close()
    assert transport.is_closing()
    run_until(loop, lambda: peer.read() and peer.said_goodbye)
    assert peer.received == b"last words"
    assert not protocol.is_lost
    peer.say_goodbye()
    run_until(loop, lambda: protocol.is_lost)
    assert protocol.events == ["made", "eof", ("lost", None)]


def test_close_twice_forgets_the_connection(loop, tls):
    """What asyncio's transport does: the second close() takes its protocol away."""
    connection = tls()
    transport, protocol = connection.transport, connection.protocol
    transport.close()
    transport.close()
    assert transport._ssl_protocol is None
    assert transport.is_closing()
    transport.abort()
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute"):
        transport.get_extra_info("socket")
    with pytest.raises(AttributeError, match="'NoneType' object has no attribute"):
        transport.write(b"x")
    run_until(loop, connection.peer.say_goodbye)
    run_until(loop, lambda: protocol.is_lost)


def test_what_arrives_before_the_answer_is_delivered_to_the_end(loop, tls):
    """The peer's last words, sent before it has seen our close_notify."""
    connection = tls()
    records = connection.peer.encrypt(b"one") + connection.peer.encrypt(b"two")
    connection.peer.sock.sendall(records)
    connection.run_until(lambda: connection.protocol.received == b"onetwo")
    connection.peer.sock.sendall(connection.peer.encrypt(b"three"))
    connection.transport.close()
    run_until(loop, connection.peer.say_goodbye)
    run_until(loop, lambda: connection.protocol.is_lost)


def test_the_end_without_a_goodbye(loop, tls):
    """Truncation: asyncio makes no difference between it and a goodbye, and neither do we."""
    connection = tls()
    connection.peer.write(b"data")
    connection.peer.close()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.received == b"data"
    assert connection.protocol.names == ["made", "data", "eof", "lost"]
    assert connection.protocol.lost_with is None


def test_half_a_record_and_the_end(loop, tls):
    connection = tls()
    records = connection.peer.encrypt(b"whole") + connection.peer.encrypt(b"half")[:-3]
    connection.peer.sock.sendall(records)
    connection.peer.close()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.received == b"whole"
    assert connection.protocol.lost_with is None


@pytest.mark.parametrize("buffered", [False, True], ids=["data", "buffer"])
def test_garbage_in_the_middle(loop, tls, buffered):
    protocol = BufferedRecorder() if buffered else Recorder()
    connection = tls(protocol)
    connection.peer.sock.sendall(b"this is no record at all")
    run_until(loop, lambda: protocol.is_lost)
    assert protocol.names[0] == "made"
    assert isinstance(protocol.lost_with, ssl.SSLError)


def test_a_changed_record(loop, tls):
    connection = tls()
    record = bytearray(connection.peer.encrypt(b"the truth"))
    record[-1] ^= 1
    connection.peer.sock.sendall(record)
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.received == b""
    assert isinstance(connection.protocol.lost_with, ssl.SSLError)


def test_a_reset(loop, tls):
    connection = tls()
    connection.peer.sock.setsockopt(1, 13, b"\1\0\0\0\0\0\0\0")  # SO_LINGER: a reset.
    connection.peer.close()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert isinstance(connection.protocol.lost_with, ConnectionResetError)


def test_abort_says_nothing(loop, tls):
    connection = tls()
    connection.transport.write(b"written before")
    connection.transport.abort()
    assert connection.transport.is_closing()
    connection.transport.abort()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.events == ["made", ("lost", None)]
    run_until(loop, lambda: connection.peer.read() is not None and connection.peer.ended)
    assert connection.peer.received == b"written before"
    assert not connection.peer.said_goodbye


def test_writes_that_come_too_late(loop, tls, logged):
    connection = tls()
    connection.transport.abort()
    for _ in range(4):
        connection.transport.write(b"late")
    run_until(loop, lambda: connection.protocol.is_lost)
    assert not logged.take()
    connection.transport.write(b"late")
    connection.transport.writelines([b"late"])
    assert logged.texts() == ["SSL connection is closed"] * 2


def test_a_peer_that_does_not_answer(clocked_loop, tls):
    connection = tls(on=clocked_loop, ssl_shutdown_timeout=7)
    connection.transport.close()
    clocked_loop.advance(6.9)
    run_turn(clocked_loop)
    assert not connection.protocol.is_lost
    clocked_loop.advance(0.2)
    run_until(clocked_loop, lambda: connection.protocol.is_lost)
    assert isinstance(connection.protocol.lost_with, TimeoutError)
    assert str(connection.protocol.lost_with) == "SSL shutdown timed out"


def test_shutdown_takes_thirty_seconds_by_default(clocked_loop, tls):
    connection = tls(on=clocked_loop)
    connection.transport.close()
    clocked_loop.advance(29.9)
    run_turn(clocked_loop)
    assert not connection.protocol.is_lost
    clocked_loop.advance(0.2)
    run_until(clocked_loop, lambda: connection.protocol.is_lost)


def test_a_peer_that_says_goodbye_and_does_not_read(clocked_loop, tls, implementation):
    """What was written cannot be sent: the connection is given up all the same."""
    if not implementation.is_ferrio and sys.version_info < (3, 15):
        pytest.skip("asyncio waits for ever but in its newest versions")
    connection = tls(on=clocked_loop, ssl_shutdown_timeout=7)
    write_until_paused(connection.protocol)
    with pytest.raises(ssl.SSLWantReadError):
        connection.peer.tls.unwrap()
    connection.peer.send_records()
    run_until(clocked_loop, connection.transport.is_closing)
    run_turns(clocked_loop, 10)
    clocked_loop.advance(6.9)
    run_turn(clocked_loop)
    assert not connection.protocol.is_lost
    clocked_loop.advance(0.2)
    run_until(clocked_loop, lambda: connection.protocol.is_lost)
    assert isinstance(connection.protocol.lost_with, TimeoutError)


def test_data_after_our_goodbye(loop, tls):
    """The peer goes on sending although it was told that nobody reads."""
    connection = tls()
    connection.transport.close()
    run_turn(loop)
    connection.peer.write(b"not listening")
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.received == b""
    assert isinstance(connection.protocol.lost_with, ssl.SSLError)


def test_true_from_eof_received_has_no_effect(loop, tls, logged):
    connection = tls()
    connection.protocol.on_eof = lambda: True
    connection.peer.say_goodbye()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert logged.texts() == ["returning true from eof_received() has no effect when using ssl"]


def write_until_paused(protocol):
    """Write until too much waits; return how much it was."""
    written = 0
    while "pause" not in protocol.names:
        protocol.transport.write(bytes(65536))
        written += 65536
    return written


CALLBACKS = ["made", "data", "eof", "lost", "pause", "resume"]


@pytest.mark.parametrize("method", ["close", "abort"])
@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("buffered", [False, True], ids=["data", "buffer"])
def test_close_in_every_callback(loop, implementation, callback, method, buffered):
    if (callback, method) == ("resume", "abort") and not implementation.is_ferrio:
        pytest.skip("asyncio's plain transport loses connection_lost() twice then")
    protocol = BufferedRecorder() if buffered else Recorder()
    if buffered:
        protocol.memory = memoryview(protocol.memory)
    calls = []

    def end(*_):
        calls.append(callback)
        getattr(protocol.transport, method)()

    setattr(protocol, f"on_{callback}", end)
    connection = TlsConnection(loop, protocol)
    transport, peer = connection.transport, connection.peer
    try:
        if not transport.is_closing():
            transport.set_write_buffer_limits(high=100_000)
            peer.write(b"data")
            run_until(loop, lambda: protocol.received)
        if callback in ("pause", "resume"):
            write_until_paused(protocol)
            run_until(loop, lambda: peer.read() is not None and calls)

        # The peer closes, too, and takes whatever is on its way.
        def over():
            peer.read()
            if peer.said_goodbye and not peer.ended:
                peer.say_goodbye()
            return protocol.is_lost

        if callback in ("eof", "lost"):
            peer.say_goodbye()
        run_until(loop, over)
        assert calls == [callback]
        assert protocol.names.count("lost") == 1
        assert protocol.names.count("eof") <= 1
    finally:
        connection.close()


@pytest.mark.parametrize(
    ("callback", "message"),
    [
        ("data", "Fatal error on SSL protocol"),
        ("eof", "Error calling eof_received()"),
    ],
)
def test_exceptions_in_callbacks(loop, tls, reports, callback, message):
    connection = tls()
    error = OddError()

    def fail(*_):
        raise error

    setattr(connection.protocol, f"on_{callback}", fail)
    connection.peer.write(b"data")
    if callback == "eof":
        connection.peer.say_goodbye()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.lost_with is error
    report = reports.take_one()
    assert report["message"] == message
    assert report["exception"] is error
    assert report["protocol"] is connection.transport._ssl_protocol


@pytest.mark.parametrize("callback", ["get_buffer", "data"])
def test_exceptions_of_buffered_protocols(loop, tls, reports, callback):
    protocol = BufferedRecorder()
    connection = tls(protocol)
    error = OddError()

    def fail(*_):
        raise error

    setattr(protocol, f"on_{callback}", fail)
    connection.peer.write(b"data")
    run_until(loop, lambda: protocol.is_lost)
    assert protocol.lost_with is error
    assert reports.take_one()["message"] == "Fatal error on SSL protocol"


def test_memory_that_cannot_be_written(loop, tls, reports):
    protocol = BufferedRecorder()
    connection = tls(protocol)
    protocol.memory = b"constant"
    connection.peer.write(b"data")
    run_until(loop, lambda: protocol.is_lost)
    report = reports.take_one()
    assert report["message"] == "Fatal error on SSL protocol"
    assert isinstance(report["exception"], (TypeError, BufferError))


def test_an_exception_in_connection_made(loop, reports):
    """It comes out of the transport's callback, and the connecting task hears of the end."""
    protocol = Recorder()
    error = OddError()

    def fail():
        raise error

    protocol.on_made = fail
    with pytest.raises(OddError):
        TlsConnection(loop, protocol)
    run_until(loop, lambda: protocol.is_lost)
    assert protocol.lost_with is error
    report = reports.take_one()
    assert report["message"] == "Fatal error: protocol.buffer_updated() call failed."


@pytest.mark.parametrize("leaving", [KeyboardInterrupt, SystemExit])
def test_what_leaves_the_loop(loop, tls, leaving):
    connection = tls()

    def leave(data):
        raise leaving

    connection.protocol.on_data = leave
    connection.peer.write(b"data")
    with pytest.raises(leaving):
        run_until(loop, lambda: connection.protocol.is_lost)
    # The connection is as it was.
    connection.protocol.on_data = lambda data: None
    connection.peer.write(b"more")
    run_until(loop, lambda: connection.protocol.received == b"datamore")


def test_a_cancelled_error_in_data_received(loop, tls, reports):
    connection = tls()

    def fail(data):
        raise asyncio.CancelledError

    connection.protocol.on_data = fail
    connection.peer.write(b"data")
    run_until(loop, lambda: connection.protocol.is_lost)
    assert isinstance(connection.protocol.lost_with, asyncio.CancelledError)
    assert reports.messages() == ["Fatal error: protocol.buffer_updated() call failed."]


@pytest.mark.parametrize("method", ["pause_writing", "resume_writing"])
def test_exceptions_of_flow_control(loop, tls, reports, method):
    connection = tls()
    error = OddError()

    def fail(*_):
        raise error

    setattr(connection.protocol, f"on_{method.split('_')[0]}", fail)
    written = write_until_paused(connection.protocol)
    run_until(
        loop, lambda: connection.peer.read() is not None and "resume" in connection.protocol.names
    )
    report = reports.take_one()
    assert report["message"] == f"protocol.{method}() failed"
    assert report["exception"] is error
    assert report["transport"] is connection.transport
    run_until(loop, lambda: len(connection.peer.read()) == written)


def test_the_server_closes_with_its_connections(loop):
    protocols = []

    def make():
        protocols.append(Recorder())
        return protocols[-1]

    clients = Clients(loop, make)
    peers = [clients.peer() for _ in range(5)]
    run_until(loop, lambda: all(protocol.transport for protocol in protocols))
    for protocol in protocols:
        protocol.transport.close()
    for peer in peers:
        run_until(loop, functools.partial(peer.say_goodbye))
    run_until(loop, lambda: all(protocol.is_lost for protocol in protocols))
    clients.close()
