"""What ``sock_*`` coroutines wait for: registration, numbers that come back, cancellation."""

import asyncio
import contextlib
import gc
import inspect
import os
import random
import socket
import struct
import sys
import weakref

import pytest

from turns import run_turns

NAMES = [
    "sock_recv",
    "sock_recv_into",
    "sock_recvfrom",
    "sock_recvfrom_into",
    "sock_sendall",
    "sock_sendto",
    "sock_accept",
    "sock_connect",
    "sock_sendfile",
    "sendfile",
    "getaddrinfo",
    "getnameinfo",
]


def nonblocking_pair():
    pair = socket.socketpair()
    for sock in pair:
        sock.setblocking(False)
    return pair


@pytest.fixture
def pair():
    one, other = nonblocking_pair()
    with one, other:
        yield one, other


@pytest.fixture(params=[False, True], ids=["plain", "debug"])
def either_mode(loop, request):
    """The loop, outside of debug mode and in it: ferrio has two ways to wait."""
    loop.set_debug(request.param)
    return loop


def registered(fd):
    """How this process's epoll sets watch a descriptor: their event masks."""
    masks = []
    for name in os.listdir("/proc/self/fd"):
        try:
            if "eventpoll" not in os.readlink(f"/proc/self/fd/{name}"):
                continue
            with open(f"/proc/self/fdinfo/{name}") as info:
                lines = info.read().splitlines()
        except OSError:
            continue
        for line in lines:
            words = line.split()
            if words[:1] == ["tfd:"] and int(words[1]) == fd:
                masks.append(int(words[3], 16))
    return masks


def fill(sock):
    """Write until the kernel takes no more; return how many bytes it took."""
    size = 0
    while True:
        try:
            size += sock.send(bytes(65536))
        except BlockingIOError:
            return size


@pytest.mark.parametrize("name", NAMES)
def test_they_are_coroutine_functions(loop, name):
    assert inspect.iscoroutinefunction(getattr(loop, name))
    assert inspect.iscoroutinefunction(getattr(type(loop), name))


def test_a_number_that_comes_back_between_calls_is_another_socket(either_mode):
    loop = either_mode

    async def main():
        for round_number in range(20):
            one, other = nonblocking_pair()
            number = one.fileno()
            waiting = asyncio.ensure_future(loop.sock_recv(one, 100))
            await asyncio.sleep(0)
            other.send(b"first")
            assert await waiting == b"first"
            # What nobody has received when the socket is closed is nobody's.
            other.send(b"never received")
            one.close()
            again, peer = nonblocking_pair()
            assert number in (again.fileno(), peer.fileno())
            mine, its = (again, peer) if again.fileno() == number else (peer, again)
            waiting = asyncio.ensure_future(loop.sock_recv(mine, 100))
            await asyncio.sleep(0.001)
            assert not waiting.done()
            its.send(b"second %d" % round_number)
            assert await waiting == b"second %d" % round_number
            for sock in (other, again, peer):
                sock.close()

    loop.run_until_complete(main())


def test_a_socket_that_lives_on_elsewhere_does_not_reach_the_next_one(either_mode):
    loop = either_mode

    async def main():
        one, other = nonblocking_pair()
        number = one.fileno()
        waiting = asyncio.ensure_future(loop.sock_recv(one, 100))
        await asyncio.sleep(0)
        other.send(b"first")
        assert await waiting == b"first"
        # A second descriptor keeps the file open: closing the first does not end its registration.
        with one.dup() as kept:
            one.close()
            again, peer = nonblocking_pair()
            mine, its = (again, peer) if again.fileno() == number else (peer, again)
            assert mine.fileno() == number
            waiting = asyncio.ensure_future(loop.sock_recv(mine, 100))
            await asyncio.sleep(0)
            other.send(b"for the first")
            await asyncio.sleep(0.01)
            assert not waiting.done()
            its.send(b"for the second")
            assert await waiting == b"for the second"
            assert kept.recv(100) == b"for the first"
        for sock in (other, again, peer):
            sock.close()

    loop.run_until_complete(main())


def test_a_socket_closed_under_a_call_that_waits(implementation, loop):
    async def main():
        one, other = nonblocking_pair()
        number = one.fileno()
        orphan = asyncio.ensure_future(loop.sock_recv(one, 100))
        await asyncio.sleep(0)
        one.close()
        again, peer = nonblocking_pair()
        mine, its = (again, peer) if again.fileno() == number else (peer, again)
        assert mine.fileno() == number
        if implementation.is_ferrio:
            # asyncio's selector does not notice that the number is another file's.
            waiting = asyncio.ensure_future(loop.sock_recv(mine, 100))
            await asyncio.sleep(0)
            its.send(b"mine")
            assert await waiting == b"mine"
        assert not orphan.done()
        orphan.cancel()
        with pytest.raises(asyncio.CancelledError):
            await orphan
        if implementation.is_ferrio:
            waiting = asyncio.ensure_future(loop.sock_recv(mine, 100))
            await asyncio.sleep(0)
            its.send(b"still mine")
            assert await waiting == b"still mine"
        for sock in (other, again, peer):
            sock.close()

    loop.run_until_complete(main())


def test_cancelling_a_call_whose_number_has_come_back(either_mode, implementation):
    loop = either_mode
    if loop.get_debug() or not implementation.is_ferrio:
        pytest.skip("asyncio's selector cannot watch the number again meanwhile")

    async def main():
        one, other = nonblocking_pair()
        number = one.fileno()
        orphan = asyncio.ensure_future(loop.sock_recv(one, 100))
        await asyncio.sleep(0)
        one.close()
        again, peer = nonblocking_pair()
        mine, its = (again, peer) if again.fileno() == number else (peer, again)
        waiting = asyncio.ensure_future(loop.sock_recv(mine, 100))
        await asyncio.sleep(0)
        orphan.cancel()
        with pytest.raises(asyncio.CancelledError):
            await orphan
        its.send(b"mine")
        assert await waiting == b"mine"
        for sock in (other, again, peer):
            sock.close()

    loop.run_until_complete(main())


@pytest.mark.parametrize("turns", range(5))
def test_cancelled_at_every_turn_nothing_is_received_for_nobody(either_mode, pair, turns):
    """A cancellation leaves the bytes in the socket, unless they were received before it."""
    loop = either_mode
    one, other = pair

    async def main():
        receiving = asyncio.ensure_future(loop.sock_recv(one, 100))
        for _ in range(turns):
            await asyncio.sleep(0)
        receiving.cancel()
        other.send(b"data")
        with pytest.raises(asyncio.CancelledError):
            await receiving
        assert not loop.remove_reader(one)
        assert await loop.sock_recv(one, 100) == b"data"

    loop.run_until_complete(main())


def test_every_call_may_be_cancelled_while_it_waits(either_mode, pair):
    loop = either_mode
    one, _ = pair
    fill(one)

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listening:
            listening.setblocking(False)
            for call in (
                loop.sock_recv(one, 1),
                loop.sock_recv_into(one, bytearray(1)),
                loop.sock_recvfrom(one, 1),
                loop.sock_recvfrom_into(one, bytearray(1)),
                loop.sock_sendall(one, b"x"),
                loop.sock_accept(listening),
            ):
                waiting = asyncio.ensure_future(call)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                assert not waiting.done()
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
            assert not loop.remove_reader(one)
            assert not loop.remove_writer(one)
            assert not loop.remove_reader(listening)

    loop.run_until_complete(main())


def test_a_coroutine_that_is_closed_waits_no_more(either_mode, implementation, pair):
    loop = either_mode
    one, other = pair

    async def main():
        coroutine = loop.sock_recv(one, 100)
        coroutine.send(None)
        coroutine.close()
        # asyncio watches on until something arrives.
        assert loop.remove_reader(one) != implementation.is_ferrio
        other.send(b"kept")
        assert await loop.sock_recv(one, 100) == b"kept"

    loop.run_until_complete(main())


def test_a_call_that_was_given_up_keeps_nothing_alive(either_mode):
    loop = either_mode

    async def receive(sock):
        with contextlib.suppress(asyncio.CancelledError):
            await loop.sock_recv(sock, 100)

    async def main():
        one, other = nonblocking_pair()
        waiting = asyncio.ensure_future(receive(one))
        await asyncio.sleep(0)
        waiting.cancel()
        await waiting
        del waiting
        dead = weakref.ref(one)
        # The last reference: CPython warns, and closes it.
        with pytest.warns(ResourceWarning, match="unclosed"):
            del one
            gc.collect()
        assert dead() is None
        other.close()

    loop.run_until_complete(main())


def test_a_reader_of_the_users_and_a_call_that_sends(either_mode, pair):
    """One half is watched as long as it is ready, the other until the call is done."""
    loop = either_mode
    one, other = pair
    data = random.Random(1).randbytes(3_000_000)

    async def main():
        received = bytearray()
        called = 0

        def on_readable():
            nonlocal called
            called += 1
            # One byte at a time: it is told again as long as there is something.
            received.extend(one.recv(1))

        loop.add_reader(one, on_readable)
        sending = asyncio.ensure_future(loop.sock_sendall(one, data))
        await asyncio.sleep(0)
        other.send(b"in the meantime")
        echoed = bytearray()
        while len(echoed) < len(data):
            echoed += await loop.sock_recv(other, 65536)
        await sending
        while len(received) < 15:
            await asyncio.sleep(0)
        assert received == b"in the meantime"
        assert called == 15
        assert echoed == data
        # The reader is there still when the call is over.
        other.send(b"!")
        while len(received) < 16:
            await asyncio.sleep(0)
        assert loop.remove_reader(one)
        assert not loop.remove_writer(one)

    loop.run_until_complete(main())


def test_a_call_joins_a_reader_and_outlives_it(either_mode, pair):
    loop = either_mode
    one, other = pair

    async def main():
        size = fill(one)
        loop.add_reader(one, lambda: None)
        sending = asyncio.ensure_future(loop.sock_sendall(one, b"last"))
        await asyncio.sleep(0)
        assert loop.remove_reader(one)
        await asyncio.sleep(0.001)
        assert not sending.done()
        received = bytearray()
        while len(received) < size + 4:
            received += await loop.sock_recv(other, 65536)
        await sending
        assert received.endswith(b"last")

    loop.run_until_complete(main())


def test_receiving_and_sending_at_the_same_time(either_mode, pair):
    loop = either_mode
    rng = random.Random(2)

    async def talk(sock, data):
        sending = asyncio.ensure_future(loop.sock_sendall(sock, data))
        received = bytearray()
        while len(received) < len(data):
            received += await loop.sock_recv(sock, rng.randint(1, 100_000))
        await sending
        return received

    async def main():
        there, back = rng.randbytes(2_000_000), rng.randbytes(2_000_000)
        assert await asyncio.gather(talk(pair[0], there), talk(pair[1], back)) == [back, there]

    loop.run_until_complete(main())


def test_messages_of_every_size(either_mode):
    loop = either_mode
    rng = random.Random(3)

    async def echo(sock):
        while data := await loop.sock_recv(sock, 4096):
            await loop.sock_sendall(sock, data)

    async def ask(sock):
        memory = bytearray(10_000)
        for _ in range(60):
            message = rng.randbytes(rng.choice([1, 2, 500, 4096, 9000]))
            await loop.sock_sendall(sock, message)
            received = bytearray()
            while len(received) < len(message):
                size = await loop.sock_recv_into(sock, memory)
                received += memory[:size]
            assert received == message
        sock.close()

    async def main():
        pairs = [nonblocking_pair() for _ in range(10)]
        servers = [asyncio.ensure_future(echo(server)) for server, _ in pairs]
        await asyncio.gather(*[ask(client) for _, client in pairs])
        await asyncio.gather(*servers)
        for server, _ in pairs:
            server.close()

    loop.run_until_complete(main())


def test_connections_that_come_all_at_once_are_all_accepted(either_mode):
    loop = either_mode

    async def main():
        with socket.create_server(("127.0.0.1", 0), backlog=50) as listening:
            listening.setblocking(False)
            accepting = asyncio.ensure_future(loop.sock_accept(listening))
            await asyncio.sleep(0)
            clients = [socket.create_connection(listening.getsockname()) for _ in range(30)]
            accepted = [(await accepting)[0]]
            while len(accepted) < len(clients):
                accepted.append((await loop.sock_accept(listening))[0])
            for sock in (*clients, *accepted):
                assert sock.fileno() >= 0
                sock.close()

    loop.run_until_complete(main())


def test_a_reset_is_told_to_who_waits(either_mode):
    loop = either_mode

    async def main():
        with socket.create_server(("127.0.0.1", 0)) as listening:
            client = socket.create_connection(listening.getsockname())
            server, _ = listening.accept()
            server.setblocking(False)
            waiting = asyncio.ensure_future(loop.sock_recv(server, 100))
            await asyncio.sleep(0)
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            client.close()
            with pytest.raises(ConnectionResetError) as raised:
                await waiting
            assert raised.value.errno == 104
            server.close()

    loop.run_until_complete(main())


def test_the_end_of_the_stream_is_told_to_who_waits(either_mode, pair):
    loop = either_mode
    one, other = pair

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recv(one, 100))
        await asyncio.sleep(0)
        other.close()
        assert await waiting == b""
        assert await loop.sock_recv(one, 100) == b""

    loop.run_until_complete(main())


@pytest.mark.parametrize("size", [0, -1, 1, 300 * 1024, True])
def test_sizes_to_receive(either_mode, pair, size):
    loop = either_mode
    one, other = pair

    async def main():
        other.send(b"data")
        if size < 0:
            with pytest.raises(ValueError, match="negative buffersize in recv"):
                await loop.sock_recv(one, size)
        else:
            assert await loop.sock_recv(one, size) == b"data"[:size]

    loop.run_until_complete(main())


@pytest.mark.parametrize("size", ["1", 1.5, None, 1 << 70])
def test_what_is_no_size(either_mode, pair, size):
    async def main():
        with pytest.raises((TypeError, OverflowError)):
            await either_mode.sock_recv(pair[0], size)

    either_mode.run_until_complete(main())


@pytest.mark.parametrize("data", ["text", 1, None])
def test_what_is_no_data(either_mode, pair, data):
    async def main():
        with pytest.raises(TypeError, match="a bytes-like object is required"):
            await either_mode.sock_sendall(pair[0], data)
        with pytest.raises(TypeError, match="read-write bytes-like object"):
            await either_mode.sock_recv_into(pair[0], b"constant")

    either_mode.run_until_complete(main())


def test_views_of_other_items_are_sent_as_bytes(either_mode, implementation, pair):
    if not implementation.is_ferrio:
        pytest.skip("asyncio counts items and bytes as one, and sends for ever")
    loop = either_mode
    one, other = pair

    async def main():
        numbers = memoryview(struct.pack("100I", *range(100))).cast("I")
        await loop.sock_sendall(one, numbers)
        assert await loop.sock_recv(other, 1000) == bytes(numbers)

    loop.run_until_complete(main())


def test_a_subclass_receives_and_sends_itself(either_mode, pair):
    loop = either_mode
    calls = []

    class Socket(socket.socket):
        def recv(self, *arguments):
            calls.append("recv")
            return super().recv(*arguments)

        def send(self, *arguments):
            calls.append("send")
            return super().send(*arguments)

    async def main():
        with Socket(fileno=pair[0].detach()) as one:
            one.setblocking(False)
            waiting = asyncio.ensure_future(loop.sock_recv(one, 100))
            await asyncio.sleep(0)
            pair[1].send(b"in")
            assert await waiting == b"in"
            await loop.sock_sendall(one, b"out")
        assert set(calls) == {"recv", "send"}

    loop.run_until_complete(main())


def test_a_method_that_was_patched_is_called(either_mode, pair, monkeypatch):
    loop = either_mode
    one, other = pair

    async def main():
        other.send(b"as ever")
        assert await loop.sock_recv(one, 100) == b"as ever"
        monkeypatch.setattr(socket.socket, "recv", lambda self, size: b"patched")
        assert await loop.sock_recv(one, 100) == b"patched"
        monkeypatch.undo()
        other.send(b"as before")
        assert await loop.sock_recv(one, 100) == b"as before"

    loop.run_until_complete(main())


def test_a_transport_takes_a_socket_over_and_leaves_another_as_it_was(either_mode, pair):
    loop = either_mode
    one, other = pair

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recv(one, 100))
        await asyncio.sleep(0)
        other.send(b"by hand")
        assert await waiting == b"by hand"
        reader, writer = await asyncio.open_connection(sock=one)
        other.send(b"by a transport")
        assert await reader.readexactly(14) == b"by a transport"
        writer.write(b"answer")
        assert await loop.sock_recv(other, 100) == b"answer"
        with pytest.raises(RuntimeError, match="is used by transport"):
            await loop.sock_recv(one, 1)
        writer.close()
        await writer.wait_closed()

    loop.run_until_complete(main())


def test_the_loop_may_be_closed_while_a_call_waits(implementation, pair):
    loop = implementation.EventLoop()
    waiting = loop.create_task(loop.sock_recv(pair[0], 1))
    run_turns(loop, 2)
    waiting._log_destroy_pending = False
    loop.close()
    pair[1].send(b"x")
    assert not waiting.done()


def test_a_blocking_call_made_in_a_thread_later(either_mode, pair):
    """A socket the loop has waited for is an ordinary socket afterwards."""
    loop = either_mode
    one, other = pair

    async def main():
        waiting = asyncio.ensure_future(loop.sock_recv(one, 100))
        await asyncio.sleep(0)
        other.send(b"waited for")
        assert await waiting == b"waited for"
        one.setblocking(True)
        receiving = asyncio.ensure_future(asyncio.to_thread(one.recv, 100))
        for _ in range(10):
            await asyncio.sleep(0.001)
        other.send(b"in a thread")
        assert await receiving == b"in a thread"

    loop.run_until_complete(main())
    loop.run_until_complete(loop.shutdown_default_executor())


class TestRegistration:
    """How ferrio saves the system calls; asyncio registers anew for each call."""

    @pytest.fixture(autouse=True)
    def only_ferrio(self, implementation):
        if not implementation.is_ferrio or not sys.platform.startswith("linux"):
            pytest.skip("about ferrio on Linux")

    EDGE = 1 << 31

    def test_a_socket_stays_registered_for_changes(self, loop, pair):
        one, other = pair

        async def main():
            for _ in range(3):
                waiting = asyncio.ensure_future(loop.sock_recv(one, 100))
                await asyncio.sleep(0)
                (mask,) = registered(one.fileno())
                assert mask & self.EDGE
                other.send(b"x")
                assert await waiting == b"x"
                assert registered(one.fileno()) == [mask]

        loop.run_until_complete(main())

    def test_what_nobody_waits_for_ends_the_registration(self, loop, pair):
        one, other = pair

        async def main():
            waiting = asyncio.ensure_future(loop.sock_recv(one, 1))
            await asyncio.sleep(0)
            other.send(b"x")
            assert await waiting == b"x"
            sent = 0
            while registered(one.fileno()):
                other.send(b"y")
                sent += 1
                assert sent < 100
                await asyncio.sleep(0.001)
            assert sent > 1
            # It is found to be readable all the same, and waited for again when it is not.
            assert await loop.sock_recv(one, 100) == b"y" * sent
            waiting = asyncio.ensure_future(loop.sock_recv(one, 1))
            await asyncio.sleep(0)
            assert registered(one.fileno())
            other.send(b"z")
            assert await waiting == b"z"

        loop.run_until_complete(main())

    def test_a_call_that_need_not_wait_registers_nothing(self, loop, pair):
        one, other = pair

        async def main():
            other.send(b"x")
            assert await loop.sock_recv(one, 1) == b"x"
            await loop.sock_sendall(one, b"y")
            assert registered(one.fileno()) == []

        loop.run_until_complete(main())

    def test_a_reader_of_the_users_is_told_as_long_as_it_is_ready(self, loop, pair):
        one, other = pair

        async def main():
            waiting = asyncio.ensure_future(loop.sock_recv(one, 100))
            await asyncio.sleep(0)
            other.send(b"x")
            assert await waiting == b"x"
            called = asyncio.Event()
            loop.add_reader(one, called.set)
            (mask,) = registered(one.fileno())
            assert not mask & self.EDGE
            other.send(b"y")
            for _ in range(3):
                await called.wait()
                called.clear()
            assert loop.remove_reader(one)
            assert registered(one.fileno()) == []

        loop.run_until_complete(main())
