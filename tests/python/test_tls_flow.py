"""Flow control of TLS transports: pauses in both directions, water marks, bounded buffers."""

import pytest

from connected import BufferedRecorder, Recorder, run_until
from turns import run_turn, run_turns

pytest_plugins = ["tls_fixtures"]

LARGE = 20_000_000


def test_reading_pauses_and_goes_on(loop, tls):
    connection = tls()
    transport, protocol = connection.transport, connection.protocol
    assert transport.is_reading()
    transport.pause_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    connection.peer.write(b"data")
    run_turns(loop, 20)
    assert protocol.events == ["made"]
    transport.resume_reading()
    transport.resume_reading()
    assert transport.is_reading()
    # In the next turn, not within the call.
    assert protocol.events == ["made"]
    run_until(loop, lambda: protocol.received)
    assert protocol.received == b"data"


def test_a_pause_within_data_received(loop, tls):
    connection = tls()
    connection.protocol.on_data = lambda data: connection.transport.pause_reading()
    connection.peer.write(b"one")
    run_until(loop, lambda: connection.protocol.received)
    connection.peer.write(b"two")
    run_turns(loop, 20)
    assert connection.protocol.received == b"one"
    connection.transport.resume_reading()
    run_until(loop, lambda: connection.protocol.received == b"onetwo")


@pytest.mark.parametrize("goodbye", [True, False], ids=["goodbye", "truncated"])
def test_what_waits_when_the_peer_closes_is_delivered(loop, tls, goodbye):
    connection = tls()
    connection.transport.pause_reading()
    connection.peer.write(b"data")
    if goodbye:
        connection.peer.say_goodbye()
    else:
        connection.peer.sock.shutdown(1)
    run_turns(loop, 50)
    assert connection.protocol.events == ["made"]
    connection.transport.resume_reading()
    run_until(loop, lambda: connection.protocol.is_lost)
    assert connection.protocol.events == ["made", ("data", b"data"), "eof", ("lost", None)]


def test_what_waits_is_bounded_while_reading_is_paused(loop, tls):
    connection = tls()
    transport, peer = connection.transport, connection.peer
    transport.pause_reading()
    low, high = transport.get_read_buffer_limits()
    assert (low, high) == (64 * 1024, 256 * 1024)
    peer.write(bytes(LARGE))
    for _ in range(1000):
        peer.send_records()
        run_turn(loop)
    assert peer.unsent
    # One receive more than the mark at most.
    assert high <= transport.get_read_buffer_size() < high + 256 * 1024
    assert transport._ssl_protocol._ssl_reading_paused
    transport.resume_reading()
    run_until(loop, lambda: peer.send_records() or len(connection.protocol.received) == LARGE)
    assert transport.get_read_buffer_size() == 0


def test_a_peer_that_never_reads(loop, tls):
    """What waits is bounded by what the protocol writes before it is told to pause."""
    connection = tls()
    transport, protocol = connection.transport, connection.protocol
    assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
    written = 0
    while "pause" not in protocol.names:
        transport.write(bytes(65536))
        written += 65536
        assert written < 100_000_000
    size = transport.get_write_buffer_size()
    assert 512 * 1024 <= size < 512 * 1024 + 2 * 65536
    assert transport._protocol_paused
    run_until(loop, lambda: len(connection.peer.read()) == written)
    run_until(loop, lambda: "resume" in protocol.names)
    assert protocol.names == ["made", "pause", "resume"]
    assert transport.get_write_buffer_size() == 0
    assert not transport._protocol_paused


def test_both_directions_with_pauses(loop, tls):
    """An echo of a lot of data whose both ends pause whenever they are told to."""

    class Echo(Recorder):
        def data_received(self, data):
            self.count = getattr(self, "count", 0) + len(data)
            self.transport.write(data)

        def pause_writing(self):
            self.transport.pause_reading()
            super().pause_writing()

        def resume_writing(self):
            self.transport.resume_reading()
            super().resume_writing()

    connection = tls(Echo())
    peer = connection.peer
    chunk = bytes(range(256)) * 256
    total = 0

    def step():
        nonlocal total
        if not peer.unsent and total < LARGE:
            peer.write(chunk)
            total += len(chunk)
        peer.send_records()
        # Reads only now and then.
        if total % (len(chunk) * 8) == 0 or total >= LARGE:
            peer.read()
        return len(peer.received) == total >= LARGE

    run_until(loop, step)
    assert peer.received == chunk * (total // len(chunk))
    assert connection.protocol.count == total


def test_default_limits(tls):
    transport = tls().transport
    transport.set_write_buffer_limits(high=1024, low=128)
    assert transport.get_write_buffer_limits() == (128, 1024)
    transport.set_write_buffer_limits(high=1024)
    assert transport.get_write_buffer_limits() == (256, 1024)
    transport.set_write_buffer_limits(low=100)
    assert transport.get_write_buffer_limits() == (100, 400)
    transport.set_write_buffer_limits()
    assert transport.get_write_buffer_limits() == (128 * 1024, 512 * 1024)
    transport.set_read_buffer_limits(high=1024, low=128)
    assert transport.get_read_buffer_limits() == (128, 1024)
    transport.set_read_buffer_limits(1000)
    assert transport.get_read_buffer_limits() == (250, 1000)
    transport.set_read_buffer_limits()
    assert transport.get_read_buffer_limits() == (64 * 1024, 256 * 1024)


@pytest.mark.parametrize("kind", ["read", "write"])
def test_limits_that_do_not_fit(tls, kind):
    transport = tls().transport
    set_limits = getattr(transport, f"set_{kind}_buffer_limits")
    with pytest.raises(ValueError, match=r"high \(1\) must be >= low \(2\) must be >= 0"):
        set_limits(high=1, low=2)
    with pytest.raises(ValueError, match=r"high \(-4\) must be >= low \(-1\) must be >= 0"):
        set_limits(low=-1)


def test_a_high_mark_of_zero_pauses_at_once(tls):
    connection = tls()
    connection.transport.set_write_buffer_limits(high=0)
    assert connection.protocol.names == ["made", "pause"]
    connection.transport.write(b"x")
    # Nothing waits, which is the low mark.
    assert connection.protocol.names == ["made", "pause", "resume"]


def test_the_limits_hold_for_what_waits_already(loop, tls):
    connection = tls()
    transport, protocol = connection.transport, connection.protocol
    transport._ssl_protocol.pause_writing()
    transport.write(bytes(10_000))
    assert transport.get_write_buffer_size() > 10_000
    transport.set_write_buffer_limits(high=5_000)
    assert protocol.names == ["made", "pause"]
    transport._ssl_protocol.resume_writing()
    assert protocol.names == ["made", "pause", "resume"]
    assert connection.receive(10_000) == bytes(10_000)


def test_what_waits_is_sent_before_the_goodbye(loop, tls):
    connection = tls()
    connection.transport._ssl_protocol.pause_writing()
    connection.transport.write(bytes(200_000))
    connection.transport.close()
    connection.transport._ssl_protocol.resume_writing()
    run_until(loop, lambda: connection.peer.read() is not None and connection.peer.said_goodbye)
    assert connection.peer.received == bytes(200_000)
    connection.peer.say_goodbye()
    run_until(loop, lambda: connection.protocol.is_lost)


def test_a_buffered_protocol_that_pauses(loop, tls):
    protocol = BufferedRecorder(1000)
    protocol.memory = memoryview(protocol.memory)
    connection = tls(protocol)
    protocol.on_data = lambda data: connection.transport.pause_reading()
    connection.peer.write(bytes(range(250)) * 10)
    for count in (1000, 2000, 2500):
        run_until(loop, lambda count=count: len(protocol.received) >= count)
        run_turns(loop, 10)
        assert len(protocol.received) == count
        connection.transport.resume_reading()
    assert protocol.received == bytes(range(250)) * 10


def test_a_record_longer_than_the_reading_limit(loop, tls):
    """The rest of a record that has come in part is always read: OpenSSL can do nothing without."""
    connection = tls()
    connection.transport.set_read_buffer_limits(high=1000)
    data = bytes(range(250)) * 60
    connection.peer.write(data)
    record = connection.peer.outgoing.read()
    for start in range(0, len(record), 4000):
        connection.peer.sock.send(record[start : start + 4000])
        for _ in range(3):
            run_turn(loop)
    run_until(loop, lambda: connection.protocol.received == data)
    assert connection.transport.get_read_buffer_size() == 0


def test_records_cut_at_every_byte(loop, tls):
    """Of two short ones the first is delivered as soon as it is whole."""
    connection = tls()
    peer, protocol = connection.peer, connection.protocol
    cut = size = 1
    while cut <= size:
        peer.write(b"one")
        first = peer.outgoing.read()
        peer.write(b"two")
        both = first + peer.outgoing.read()
        size = len(both)
        before = len(protocol.received)
        peer.sock.send(both[:cut])
        for _ in range(3):
            run_turn(loop)
        if cut < size:
            assert protocol.received[before:] == (b"one" if cut >= len(first) else b""), cut
            peer.sock.send(both[cut:])
        run_until(loop, lambda end=before + 6: len(protocol.received) == end)
        assert protocol.received[before:] == b"onetwo"
        cut += 1


def test_somebody_else_feeds_openssl(loop, tls):
    """As libraries do that take over a connection."""
    connection = tls()
    records = connection.transport._ssl_protocol
    connection.peer.write(b"by hand")
    records._incoming.write(connection.peer.outgoing.read())
    connection.peer.write(b" and by the kernel")
    connection.peer.send_records()
    run_until(loop, lambda: connection.protocol.received == b"by hand and by the kernel")
