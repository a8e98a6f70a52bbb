"""Datagram transports: what arrives, what is sent, and to whom."""

import asyncio
import contextvars
import errno
import fcntl
import os
import re
import resource
import select
import socket
import sys
import time

import pytest

from connected import run_until
from datagram_endpoints import FAMILIES, DatagramRecorder, protocol_of
from turns import run_turn, run_turns

pytest_plugins = ["datagram_fixtures"]

every_kind = pytest.mark.parametrize("kind", FAMILIES)

sends_empty = pytest.mark.skipif(
    sys.version_info < (3, 13), reason="asyncio sends no empty datagrams before 3.13"
)


# Receiving


@every_kind
def test_what_arrives_and_from_whom(loop, endpoints, kind):
    transport, peer = endpoints.serve(kind), endpoints.open(kind)
    sent = [b"one", b"", b"x" * 1000]
    for data in sent:
        peer.sendto(data, transport.get_extra_info("sockname"))
    protocol = protocol_of(transport)
    run_until(loop, lambda: len(protocol.datagrams) == 3)
    assert protocol.datagrams == [(data, peer.getsockname()) for data in sent]
    assert all(type(data) is bytes for data in protocol.data)


@every_kind
def test_the_address_is_what_recvfrom_gives(loop, endpoints, kind):
    transport, peer = endpoints.serve(kind), endpoints.open(kind)
    address = transport.get_extra_info("sockname")
    peer.sendto(b"for the socket", address)
    sock = transport.get_extra_info("socket")
    assert select.select([sock.fileno()], [], [], 30)[0]
    with socket.socket(fileno=os.dup(sock.fileno())) as same:
        data, expected = same.recvfrom(100)
    assert data == b"for the socket"
    peer.sendto(b"for the transport", address)
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.datagrams)
    ((_, given),) = protocol.datagrams
    assert (given, type(given)) == (expected, type(expected))
    if isinstance(expected, tuple):
        assert [type(part) for part in given] == [type(part) for part in expected]


def test_a_sender_without_an_address(loop, endpoints):
    transport, peer = endpoints.serve("path"), endpoints.open("path", bound=False)
    peer.sendto(b"who am I", transport.get_extra_info("sockname"))
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.datagrams)
    assert protocol.datagrams == [(b"who am I", None)]


def test_a_path_that_is_no_utf8(loop, endpoints, tmp_path):
    transport, peer = endpoints.serve("path"), endpoints.open("path", bound=False)
    path = os.fsencode(tmp_path) + b"/\xff\xfe"
    peer.bind(path)
    peer.sendto(b"", transport.get_extra_info("sockname"))
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.datagrams)
    assert protocol.datagrams == [(b"", os.fsdecode(path))]
    # And back again, as text and as bytes.
    transport.sendto(b"text", protocol.datagrams[0][1])
    transport.sendto(b"bytes", path)
    assert [peer.recv(100), peer.recv(100)] == [b"text", b"bytes"]


def test_many_senders(loop, endpoints):
    """More than are remembered, each twice and in another order the second time."""
    received = []
    transport = endpoints.serve()
    protocol_of(transport).on_datagram = lambda data, addr: received.append((data, addr))
    address = transport.get_extra_info("sockname")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, hard), hard))
    try:
        peers = [endpoints.open() for _ in range(400)]
        expected = []
        for order in (peers, peers[::-1]):
            for peer in order:
                name = peer.getsockname()
                peer.sendto(str(name).encode(), address)
                expected.append((str(name).encode(), name))
                run_until(loop, lambda: len(received) == len(expected))
        assert received == expected
        for peer in peers:
            transport.sendto(b"you", peer.getsockname())
            assert peer.recv(100) == b"you"
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_burst_arrives_in_order(loop, endpoints):
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)
    for start in range(0, 300, 100):
        burst = [str(number).encode() for number in range(start, start + 100)]
        for data in burst:
            peer.sendto(data, transport.get_extra_info("sockname"))
        run_until(loop, lambda end=start + 100: len(protocol.data) == end)
        assert protocol.data[start:] == burst


def test_one_by_one(loop, endpoints):
    """Whatever is guessed about bursts, nothing is left lying when they come singly."""
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)
    for number in range(300):
        peer.sendto(b"%d" % number, transport.get_extra_info("sockname"))
        run_until(loop, lambda number=number: len(protocol.data) == number + 1)
    assert protocol.data == [b"%d" % number for number in range(300)]


def test_a_flood_lets_others_have_their_turn(loop, endpoints):
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)
    for _ in range(200):
        peer.sendto(b"flood", transport.get_extra_info("sockname"))
    seen = []

    def look():
        seen.append(len(protocol.data))
        if seen[-1] < 200:
            loop.call_soon(look)

    loop.call_soon(look)
    run_until(loop, lambda: len(protocol.data) == 200)
    # Not more than a few between two turns of somebody else.
    assert max(after - before for before, after in zip(seen, seen[1:], strict=False)) <= 32


def test_streams_send_what_they_gathered_between_two_datagrams(loop, endpoints):
    """What a callback writes to a stream is not kept back by what else has arrived."""
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)
    stream_sock, stream_peer = socket.socketpair()
    stream, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, sock=stream_sock))
    stream_peer.setblocking(False)
    seen = []

    def write_and_be_slow(data, addr):
        if data == b"1":
            stream.write(b"at once")
            time.sleep(0.01)
        else:
            seen.append(stream_peer.recv(100))

    protocol.on_datagram = write_and_be_slow
    for data in (b"1", b"2"):
        peer.sendto(data, transport.get_extra_info("sockname"))
    run_until(loop, lambda: len(protocol.data) == 2)
    stream.close()
    run_turns(loop, 3)
    stream_peer.close()
    assert seen == [b"at once"]


@pytest.mark.parametrize("size", [0, 1, 1472, 65_507])
def test_sizes_over_udp(loop, endpoints, size):
    if size == 0 and sys.version_info < (3, 13):
        pytest.skip("asyncio sends no empty datagrams before 3.13")
    transport, peer = endpoints.connect()
    data = os.urandom(size)
    transport.sendto(data)
    assert peer.recv(1 << 17) == data
    peer.sendto(data, transport.get_extra_info("sockname"))
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.datagrams)
    assert protocol.data == [data]


def test_more_than_64_kib_over_unix_sockets(loop, endpoints):
    transport, peer = endpoints.connect("path")
    data = os.urandom(150_000)
    transport.sendto(data)
    assert peer.recv(1 << 20) == data
    peer.sendto(data, transport.get_extra_info("sockname"))
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.datagrams)
    assert protocol.data == [data]


def test_too_large_is_an_error_of_the_protocols(loop, endpoints):
    transport, peer = endpoints.connect()
    transport.sendto(b"x" * 65_508)
    (error,) = protocol_of(transport).errors
    assert (type(error), error.errno) == (OSError, errno.EMSGSIZE)
    transport.sendto(b"small")
    assert peer.recv(100) == b"small"
    assert not transport.is_closing()


def test_receiving_begins_after_connection_made(loop, endpoints):
    peer, sock = endpoints.open(), endpoints.open()
    peer.sendto(b"early", sock.getsockname())
    transport = endpoints.create(sock=sock)
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.datagrams)
    assert protocol.events == ["made", ("datagram", b"early", peer.getsockname())]


def test_reading_can_be_paused(loop, endpoints):
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)
    assert transport.is_reading()
    transport.pause_reading()
    transport.pause_reading()
    assert not transport.is_reading()
    peer.sendto(b"later", transport.get_extra_info("sockname"))
    run_turns(loop, 5)
    assert not protocol.datagrams
    transport.resume_reading()
    transport.resume_reading()
    run_until(loop, lambda: protocol.datagrams)
    assert protocol.data == [b"later"]


def test_pausing_within_a_burst(loop, endpoints):
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)
    protocol.on_datagram = lambda data, addr: data == b"2" and transport.pause_reading()
    for data in (b"1", b"2", b"3"):
        peer.sendto(data, transport.get_extra_info("sockname"))
    run_until(loop, lambda: len(protocol.data) == 2)
    run_turns(loop, 5)
    assert protocol.data == [b"1", b"2"]
    transport.resume_reading()
    run_until(loop, lambda: len(protocol.data) == 3)


def test_another_protocol_within_a_burst(loop, endpoints):
    transport, peer = endpoints.connect()
    first, second = protocol_of(transport), DatagramRecorder()
    first.on_datagram = lambda data, addr: transport.set_protocol(second)
    for data in (b"1", b"2"):
        peer.sendto(data, transport.get_extra_info("sockname"))
    run_until(loop, lambda: second.data)
    assert (first.data, second.data) == ([b"1"], [b"2"])
    assert transport.get_protocol() is second


def test_stopping_the_loop_within_a_burst(loop, endpoints):
    transport, peer = endpoints.connect()
    protocol = protocol_of(transport)
    protocol.on_datagram = lambda data, addr: loop.stop()
    for data in (b"1", b"2", b"3"):
        peer.sendto(data, transport.get_extra_info("sockname"))
    for number in range(1, 4):
        loop.run_forever()
        assert len(protocol.data) == number


def test_the_context_is_that_of_the_endpoints_making(loop, endpoints):
    variable = contextvars.ContextVar("variable", default="outside")
    seen = []
    protocol = DatagramRecorder()
    protocol.on_datagram = lambda data, addr: seen.append(variable.get())

    async def make():
        variable.set("inside")
        return await loop.create_datagram_endpoint(lambda: protocol, sock=endpoints.open())

    transport, _ = loop.run_until_complete(make())
    try:
        address = transport.get_extra_info("sockname")
        endpoints.open().sendto(b"", address)
        run_until(loop, lambda: seen)
    finally:
        transport.close()
        run_until(loop, lambda: protocol.is_lost)
    assert seen == ["inside"]


def test_debug_mode_names_slow_callbacks(loop, endpoints, logged):
    loop.set_debug(True)
    transport, peer = endpoints.connect()
    loop.slow_callback_duration = 0.05
    protocol = protocol_of(transport)
    protocol.on_datagram = lambda data, addr: time.sleep(0.1)
    peer.sendto(b"", transport.get_extra_info("sockname"))
    run_until(loop, lambda: protocol.datagrams)
    texts = "\n".join(logged.texts())
    # Others may have taken long as well.
    assert any(float(took) >= 0.1 for took in re.findall(r" took (\d+\.\d+)", texts)), texts


# Sending


@every_kind
def test_sending_to_anybody(loop, endpoints, kind):
    transport = endpoints.serve(kind)
    peers = [endpoints.open(kind) for _ in range(3)]
    for number, peer in enumerate(peers):
        transport.sendto(b"to %d" % number, peer.getsockname())
    for number, peer in enumerate(peers):
        assert peer.recvfrom(100) == (b"to %d" % number, transport.get_extra_info("sockname"))


@every_kind
def test_answering_whoever_sent(loop, endpoints, kind):
    class Echo(DatagramRecorder):
        def datagram_received(self, data, addr):
            super().datagram_received(data, addr)
            self.transport.sendto(data.upper(), addr)

    transport = endpoints.serve(kind, Echo())
    peers = [endpoints.open(kind) for _ in range(3)]
    for number, peer in enumerate(peers * 3):
        peer.sendto(b"no %d" % number, transport.get_extra_info("sockname"))
        run_until(loop, lambda number=number: len(protocol_of(transport).data) == number + 1)
        assert peer.recv(100) == b"NO %d" % number


@every_kind
def test_a_connected_transport_needs_no_address(loop, endpoints, kind):
    transport, peer = endpoints.connect(kind)
    transport.sendto(b"plain")
    transport.sendto(b"none", None)
    transport.sendto(data=b"keyword", addr=None)
    assert [peer.recv(100) for _ in range(3)] == [b"plain", b"none", b"keyword"]


@pytest.mark.parametrize(
    "data", [b"bytes", bytearray(b"bytearray"), memoryview(b"memoryview")[1:]], ids=repr
)
def test_kinds_of_data(loop, endpoints, data):
    transport, peer = endpoints.connect()
    transport.sendto(data)
    assert peer.recv(100) == bytes(data)


@pytest.mark.parametrize("data", ["text", None, 5, [b"list"]], ids=repr)
def test_what_is_no_data(loop, endpoints, data):
    transport, _ = endpoints.connect()
    with pytest.raises(TypeError, match=f"bytes-like object, not '{type(data).__name__}'"):
        transport.sendto(data)
    with pytest.raises(TypeError):
        transport.sendto()
    with pytest.raises(TypeError):
        transport.sendto(b"", None, None)
    with pytest.raises(TypeError):
        transport.sendto(b"", port=1)


@sends_empty
@every_kind
def test_an_empty_datagram_is_sent(loop, endpoints, kind):
    transport, peer = endpoints.serve(kind), endpoints.open(kind)
    transport.sendto(b"", peer.getsockname())
    assert peer.recvfrom(100) == (b"", transport.get_extra_info("sockname"))


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="they are sent since 3.13")
def test_an_empty_datagram_is_not_sent(loop, endpoints):
    transport, peer = endpoints.connect()
    transport.sendto(b"")
    transport.sendto(b"", ("nobody", 0))
    transport.sendto(b"next")
    assert peer.recv(100) == b"next"


def test_only_the_address_it_was_made_for(loop, endpoints):
    peer = endpoints.open()
    address = peer.getsockname()
    transport = endpoints.create(remote_addr=address)
    transport.sendto(b"1")
    transport.sendto(b"2", ("127.0.0.1", address[1]))
    with pytest.raises(ValueError) as failure:
        transport.sendto(b"3", ("127.0.0.1", 9))
    assert str(failure.value) == f"Invalid address: must be None or {address}"
    assert [peer.recv(100), peer.recv(100)] == [b"1", b"2"]
    assert not transport.is_closing()


def test_an_address_that_the_resolver_has_to_look_up(loop, endpoints):
    transport, peer = endpoints.serve(), endpoints.open()
    port = peer.getsockname()[1]
    transport.sendto(b"name", ("localhost", port))
    transport.sendto(b"list", ("127.0.0.1", port))
    transport.sendto(b"short", ("127.1", port))
    assert [peer.recv(100) for _ in range(3)] == [b"name", b"list", b"short"]


def test_addresses_of_ipv6(loop, endpoints):
    transport, peer = endpoints.serve("ipv6"), endpoints.open("ipv6")
    port = peer.getsockname()[1]
    addresses = [
        ("::1", port),
        ("::1", port, 0),
        ("::1", port, 0, 0),
        ("0:0:0:0:0:0:0:1", port, 5, 0),
    ]
    for number, address in enumerate(addresses):
        transport.sendto(b"%d" % number, address)
    assert [peer.recv(100) for _ in addresses] == [b"0", b"1", b"2", b"3"]


@pytest.mark.parametrize("host", ["::ffff:127.0.0.1", "::127.0.0.1"])
def test_ipv4_within_ipv6_is_written_as_the_c_library_does(loop, endpoints, host):
    sock = endpoints.open("ipv6", bound=False)
    sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
    sock.bind(("::", 0))
    transport = endpoints.create(sock=sock)
    port = transport.get_extra_info("sockname")[1]
    peer = endpoints.open("ipv4")
    if host == "::127.0.0.1":
        expected = socket.inet_ntop(socket.AF_INET6, socket.inet_pton(socket.AF_INET6, host))
        assert expected == host
        # No packet comes from there: such addresses are only ever written.
        transport.sendto(b"", (host, port))
        return
    peer.sendto(b"mapped", ("127.0.0.1", port))
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.datagrams)
    assert protocol.datagrams == [(b"mapped", (host, peer.getsockname()[1], 0, 0))]


WRONG_ADDRESSES = {
    "ipv4": [None, "127.0.0.1", ("127.0.0.1",), ("127.0.0.1", 70_000), ("127.0.0.1", "9"), (1, 9)],
    "ipv6": [None, ("::1",), ("::1", -1), ("::1", 9, 1 << 20), ("::1", 9, 0, 0, 0)],
    "path": [None, 5, ("a", 1)],
}


@pytest.mark.parametrize(
    ("kind", "address"),
    [(kind, address) for kind, addresses in WRONG_ADDRESSES.items() for address in addresses],
    ids=repr,
)
def test_a_wrong_address_ends_the_endpoint(loop, endpoints, reports, kind, address):
    """It is a mistake and no failure: the exception is what ``socket.sendto()`` raises."""
    transport, probe = endpoints.serve(kind), endpoints.open(kind)
    with pytest.raises(Exception) as expected:
        probe.sendto(b"x", address)
    transport.sendto(b"x", address)
    report = reports.take_one()
    assert report["message"] == "Fatal write error on datagram transport"
    assert type(report["exception"]) is type(expected.value)
    assert str(report["exception"]) == str(expected.value)
    assert report["transport"] is transport
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.is_lost)
    assert protocol.lost_with is report["exception"]
    assert not protocol.errors


def test_a_name_that_nobody_has(loop, endpoints):
    """The resolver's errors are OSErrors, so they are the protocol's."""
    transport = endpoints.serve()
    transport.sendto(b"x", ("a name with spaces", 9))
    assert [type(error) for error in protocol_of(transport).errors] == [socket.gaierror]
    assert not transport.is_closing()


def test_a_path_that_is_not_there(loop, endpoints, tmp_path):
    transport = endpoints.serve("path")
    transport.sendto(b"x", str(tmp_path / "nobody"))
    transport.sendto(b"x", "p" * 200)
    errors = protocol_of(transport).errors
    assert [type(error) for error in errors] == [FileNotFoundError, OSError]
    assert not transport.is_closing()


def test_what_arrives_can_be_answered_long_after(loop, endpoints):
    """The address is good for ever, whoever else has sent since."""
    transport = endpoints.serve()
    protocol = protocol_of(transport)
    peers = [endpoints.open() for _ in range(20)]
    for peer in peers:
        peer.sendto(b"hello", transport.get_extra_info("sockname"))
    run_until(loop, lambda: len(protocol.datagrams) == 20)
    for number, (_, address) in enumerate(protocol.datagrams):
        transport.sendto(b"%d" % number, address)
    names = [address for _, address in protocol.datagrams]
    for peer in peers:
        assert peer.recv(100) == b"%d" % names.index(peer.getsockname())


@pytest.mark.keeps_something("an audit hook cannot be removed")
def test_audit_hooks_hear_of_sendto(endpoints, loop):
    transport, peer = endpoints.serve(), endpoints.open()
    heard = []
    listening = True

    def hook(event, arguments):
        if listening and event == "socket.sendto":
            heard.append(arguments[1])

    sys.addaudithook(hook)
    try:
        transport.sendto(b"x", peer.getsockname())
    finally:
        listening = False
    assert heard == [peer.getsockname()]


def test_a_socket_class_with_methods_of_its_own(loop, endpoints):
    calls = []

    class Counting(socket.socket):
        def recvfrom(self, *arguments):
            calls.append("recvfrom")
            return super().recvfrom(*arguments)

        def sendto(self, *arguments):
            calls.append("sendto")
            return super().sendto(*arguments)

    peer = endpoints.open()
    sock = Counting(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    transport = endpoints.create(sock=sock)
    protocol = protocol_of(transport)
    transport.sendto(b"out", peer.getsockname())
    assert peer.recv(100) == b"out"
    peer.sendto(b"in", transport.get_extra_info("sockname"))
    run_until(loop, lambda: protocol.datagrams)
    assert protocol.datagrams == [(b"in", peer.getsockname())]
    assert set(calls) == {"recvfrom", "sendto"}


def test_another_family(loop, endpoints):
    """A netlink socket: its addresses are pairs of numbers."""
    try:
        sock = socket.socket(socket.AF_NETLINK, socket.SOCK_DGRAM, 0)
    except OSError:
        pytest.skip("no netlink sockets here")
    transport = endpoints.create(sock=sock)
    # A request for the list of network interfaces (RTM_GETLINK, dump).
    request = bytes([32, 0, 0, 0, 18, 0, 1, 3]) + bytes(24)
    transport.sendto(request, (0, 0))
    protocol = protocol_of(transport)
    run_until(loop, lambda: protocol.datagrams)
    data, address = protocol.datagrams[0]
    assert address == (0, 0)
    assert len(data) > 16


def test_descriptors_above_1024(loop, endpoints):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2048:
        pytest.skip("not so many files allowed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, 2048), hard))
    try:
        low, peer = endpoints.open(), endpoints.open()
        number = fcntl.fcntl(low.fileno(), fcntl.F_DUPFD_CLOEXEC, 1500)
        transport = endpoints.create(sock=socket.socket(fileno=number))
        protocol = protocol_of(transport)
        peer.sendto(b"in", transport.get_extra_info("sockname"))
        run_until(loop, lambda: protocol.datagrams)
        transport.sendto(b"out", peer.getsockname())
        assert (protocol.data, peer.recv(100)) == ([b"in"], b"out")
        transport.close()
        run_until(loop, lambda: protocol.is_lost)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


# What a transport is


def test_its_types(loop, endpoints, implementation):
    transport = endpoints.serve()
    assert isinstance(transport, asyncio.Transport)
    if implementation.is_ferrio or sys.version_info >= (3, 12):
        assert isinstance(transport, asyncio.DatagramTransport)
    assert isinstance(transport.get_extra_info("socket"), asyncio.trsock.TransportSocket)


def test_what_streams_have_is_not_implemented(loop, endpoints):
    transport = endpoints.serve()
    for call in (
        lambda: transport.write(b"x"),
        lambda: transport.writelines([b"x"]),
        transport.write_eof,
        transport.can_write_eof,
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_extra_info(loop, endpoints):
    transport, peer = endpoints.connect()
    assert transport.get_extra_info("peername") == peer.getsockname()
    assert transport.get_extra_info("sockname") == transport.get_extra_info("socket").getsockname()
    assert transport.get_extra_info("socket").type == socket.SOCK_DGRAM
    assert transport.get_extra_info("nothing") is None
    assert transport.get_extra_info("nothing", default=5) == 5
    assert endpoints.serve().get_extra_info("peername") is None


def test_repr(loop, endpoints):
    transport, _ = endpoints.connect()
    name, fd = type(transport).__name__, transport._sock_fd
    assert repr(transport) == f"<{name} fd={fd} read=polling write=<idle, bufsize=0>>"
    transport.close()
    assert repr(transport) == f"<{name} closing fd={fd} read=idle write=<idle, bufsize=0>>"
    run_turns(loop, 3)
    assert repr(transport) == f"<{name} closed fd={fd}>"


def test_users_may_not_watch_its_descriptor(loop, endpoints):
    transport = endpoints.serve()
    fd = transport.get_extra_info("socket").fileno()
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.add_reader(fd, print)
    with pytest.raises(RuntimeError, match="is used by transport"):
        loop.remove_writer(fd)
    run_turn(loop)
