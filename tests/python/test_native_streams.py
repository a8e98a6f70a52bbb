"""``StreamReader``, ``StreamWriter`` and their protocol: asyncio's and the native ones alike."""

import asyncio
import gc
import inspect
import os
import random
import socket
import sys
import weakref

import pytest
from test import support

import ferrio
from ferrio import _ferrio, natives
from package_support import tls_contexts
from tls_peer import HOSTNAME

pytest_plugins = ["library_fixtures"]


def mixin_of(library):
    return _ferrio.FlowControlMixin if library is ferrio else asyncio.streams.FlowControlMixin


class Transport:
    """Stands in for a transport and notes what the reader asks of it."""

    def __init__(self):
        self.log = []

    def pause_reading(self):
        self.log.append("pause")

    def resume_reading(self):
        self.log.append("resume")


async def turns(count=3):
    for _ in range(count):
        await asyncio.sleep(0)


def described(task):
    """What became of a task, to be compared."""
    if not task.done():
        return "waits"
    if task.cancelled():
        return "cancelled"
    exception = task.exception()
    if exception is None:
        return task.result()
    context = type(exception.__context__)
    return type(exception), exception.args, context, vars(exception)


# What a script does, by chance but the same for both.


def random_script(seed):
    chance = random.Random(seed)
    separators = [b"\n", b"\r\n", b"ab", b"aab"]
    if sys.version_info >= (3, 13):
        separators += [(b"\n", b"\r\n"), (b"b", b"ab", b"\n")]
    steps = []
    for _ in range(40):
        kind = chance.choice(
            ["feed"] * 5 + ["read", "exactly", "line", "until", "next", "cancel", "buffer", "zero"]
        )
        if kind == "feed":
            size = chance.choice([0, 1, 2, 5, 20, 60])
            data = bytes(chance.choice(b"ab\r\nxyz") for _ in range(size))
            kinds = [bytes, bytearray, memoryview]
            steps.append((kind, chance.choice(kinds)(data)))
        elif kind in ("read", "exactly"):
            steps.append((kind, chance.choice([1, 3, 10, 50])))
        elif kind == "until":
            steps.append((kind, chance.choice(separators)))
        else:
            steps.append((kind, None))
    steps.append(("eof", None))
    steps += [(chance.choice(["read", "line", "exactly", "next"]), 7) for _ in range(5)]
    return chance.choice([5, 16, 64]), steps


async def run_script(reader_class, limit, steps):
    reader = reader_class(limit=limit, loop=asyncio.get_running_loop())
    transport = Transport()
    reader.set_transport(transport)
    transcript, task = [], None
    calls = {
        "read": reader.read,
        "zero": lambda _: reader.read(0),
        "exactly": reader.readexactly,
        "line": lambda _: reader.readline(),
        "until": reader.readuntil,
        "next": lambda _: reader.__anext__(),
    }

    async def run(call, argument):
        return await call(argument)

    for kind, argument in steps:
        if kind == "feed":
            reader.feed_data(argument)
        elif kind == "eof":
            reader.feed_eof()
        elif kind == "buffer":
            transcript.append(bytes(reader._buffer))
        elif kind == "cancel":
            if task is not None:
                task.cancel()
        elif task is None or task.done():
            task = asyncio.ensure_future(run(calls[kind], argument))
        else:
            # A second one while the first waits.
            second = asyncio.ensure_future(run(calls[kind], argument))
            await turns()
            transcript.append(described(second))
            second.cancel()
        await turns()
        transcript.append((kind, None if task is None else described(task)))
        transcript.append((list(transport.log), reader.at_eof(), repr(reader)[:13]))
    if task is not None and not task.done():
        task.cancel()
        await turns()
    transcript.append(bytes(reader._buffer))
    return transcript


@pytest.mark.parametrize("seed", range(60))
def test_readers_do_the_same(loop, seed):
    limit, steps = random_script(seed)
    transcripts = [
        loop.run_until_complete(run_script(each, limit, steps))
        for each in (asyncio.StreamReader, ferrio.StreamReader)
    ]
    assert transcripts[0] == transcripts[1]


def test_identity(library, loop):
    class Reader(library.StreamReader):
        pass

    class Protocol(library.StreamReaderProtocol):
        pass

    for reader in (library.StreamReader(loop=loop), Reader(loop=loop)):
        assert isinstance(reader, asyncio.StreamReader)
        assert weakref.ref(reader)() is reader
        for kind in (library.StreamReaderProtocol, Protocol):
            protocol = kind(reader, loop=loop)
            assert isinstance(protocol, asyncio.StreamReaderProtocol)
            assert isinstance(protocol, asyncio.Protocol)
            assert isinstance(protocol, asyncio.streams.FlowControlMixin)
            assert protocol._stream_reader is reader
    assert issubclass(library.StreamReaderProtocol, mixin_of(library))
    assert issubclass(library.StreamReaderProtocol, asyncio.Protocol)


@pytest.mark.parametrize("name", ["read", "readexactly", "readuntil", "readline", "__anext__"])
def test_functions_look_like_asyncios(name):
    native, original = (getattr(each.StreamReader, name) for each in (ferrio, asyncio))
    assert inspect.iscoroutinefunction(native)
    assert inspect.signature(native) == inspect.signature(original)
    assert native.__qualname__ == original.__qualname__


def test_constructor(library, loop):
    for limit in (0, -1):
        with pytest.raises(ValueError, match="Limit cannot be <= 0"):
            library.StreamReader(limit=limit, loop=loop)
    reader = library.StreamReader(limit=float("inf"), loop=loop)
    assert reader._limit == float("inf")
    reader.feed_data(b"x" * 200_000)
    assert loop.run_until_complete(reader.read(5)) == b"xxxxx"
    assert repr(reader).startswith("<StreamReader 199995 bytes limit=inf")
    reader._limit = 7
    assert reader._limit == 7
    with pytest.raises(TypeError):
        library.StreamReader(1, loop, 3)


def test_source_traceback_in_debug_mode(library, loop):
    assert library.StreamReader(loop=loop)._source_traceback is None
    loop.set_debug(True)
    reader = library.StreamReader(loop=loop)
    assert reader._source_traceback[-1].name == "test_source_traceback_in_debug_mode"
    assert library.StreamReaderProtocol(reader, loop=loop)._source_traceback is not None


def test_representations(library, loop):
    reader = library.StreamReader(loop=loop, limit=10)
    assert repr(reader) == "<StreamReader limit=10>"
    transport = Transport()
    reader.set_transport(transport)
    reader.feed_data(b"x" * 30)
    reader.set_exception(ValueError(1))
    reader.feed_eof()
    assert repr(reader) == (
        "<StreamReader 30 bytes eof limit=10 exception=ValueError(1) "
        f"transport={transport!r} paused>"
    )


def test_buffer_can_be_kept_and_changed(library, loop):
    reader = library.StreamReader(loop=loop)
    reader.feed_data(b"one")
    buffer = reader._buffer
    assert type(buffer) is bytearray
    buffer += b" two"
    assert reader._buffer is buffer
    assert loop.run_until_complete(reader.read(5)) == b"one t"
    reader.feed_data(b" three")
    assert buffer == b"wo three"
    reader._buffer.clear()
    assert buffer == b""
    reader._buffer = bytearray(b"four\nfive")
    assert loop.run_until_complete(reader.readline()) == b"four\n"
    with memoryview(reader._buffer), pytest.raises(BufferError):
        loop.run_until_complete(reader.readexactly(2))
    assert loop.run_until_complete(reader.readexactly(4)) == b"five"
    reader.feed_data([65, 66])
    assert loop.run_until_complete(reader.read(9)) == b"AB"


def test_state_can_be_set(library, loop):
    reader = library.StreamReader(loop=loop)
    assert (reader._eof, reader._paused, reader._waiter, reader._exception) == (
        False,
        False,
        None,
        None,
    )
    reader._eof = True
    assert reader.at_eof()
    with pytest.raises(AssertionError, match="feed_data after feed_eof"):
        reader.feed_data(b"x")
    reader._eof = False
    reader.extra = 1
    reader.feed_data(b"x")
    assert loop.run_until_complete(reader.read()) if reader.feed_eof() else True
    reader._exception = ValueError("no")
    with pytest.raises(ValueError, match="no"):
        loop.run_until_complete(reader.read())
    reader._transport = Transport()
    with pytest.raises(AssertionError, match="Transport already set"):
        reader.set_transport(Transport())


@pytest.mark.parametrize("make_error", [lambda: ValueError("lost"), lambda: ValueError])
def test_an_exception_reaches_who_waits(library, loop, make_error):
    error = make_error()

    async def main():
        reader = library.StreamReader()
        waiting = asyncio.ensure_future(reader.read(1))
        await turns()
        assert reader._waiter is not None
        reader.set_exception(error)
        with pytest.raises(ValueError):
            await waiting
        for read in (reader.read, reader.readline, reader.readuntil):
            with pytest.raises(ValueError):
                await read()
        assert reader.exception() is error
        # What was asked for wrongly is said first.
        with pytest.raises(ValueError, match="less than zero"):
            await reader.readexactly(-1)
        with pytest.raises(ValueError, match="one-byte"):
            await reader.readuntil(b"")

    loop.run_until_complete(main())


def test_odd_arguments(library, loop):
    reader = library.StreamReader(loop=loop)
    reader.feed_data(b"one;two;three")
    run = loop.run_until_complete
    assert run(reader.readuntil(bytearray(b";"))) == b"one;"
    assert run(reader.read(True)) == b"t"
    for call in (reader.read, reader.readexactly):
        with pytest.raises(TypeError):
            run(call("3"))
    with pytest.raises(TypeError):
        run(reader.readuntil(1))
    if sys.version_info >= (3, 13):
        with pytest.raises(ValueError, match="at least one element"):
            run(reader.readuntil(()))
    else:
        with pytest.raises((TypeError, ValueError)):
            run(reader.readuntil((b"w",)))
    assert run(reader.read(n=100)) == b"wo;three"


def test_a_transport_that_cannot_pause(library, loop):
    class Stubborn(Transport):
        def pause_reading(self):
            raise NotImplementedError

    reader = library.StreamReader(loop=loop, limit=1)
    reader.set_transport(Stubborn())
    reader.feed_data(b"12345")
    assert reader._transport is None
    assert not reader._paused


def test_async_iteration(library, loop):
    async def main():
        reader = library.StreamReader()
        reader.feed_data(b"one\ntwo\nthr")
        loop.call_soon(reader.feed_data, b"ee\nfour")
        loop.call_soon(reader.feed_eof)
        assert [line async for line in reader] == [b"one\n", b"two\n", b"three\n", b"four"]

    loop.run_until_complete(main())


def test_read_to_the_end_across_a_pause(library, loop):
    async def main():
        reader = library.StreamReader(limit=4)
        transport = Transport()
        reader.set_transport(transport)
        reader.feed_data(b"0123456789")
        waiting = asyncio.ensure_future(reader.read())
        await turns()
        assert transport.log == ["pause", "resume"]
        reader.feed_data(b"abc")
        await turns()
        reader.feed_eof()
        assert await waiting == b"0123456789abc"

    loop.run_until_complete(main())


def test_nothing_is_lost_by_a_cancelled_read(loop):
    """asyncio's ``read()`` loses what it has taken; ferrio's puts it back."""

    async def main():
        reader = ferrio.StreamReader(limit=4)
        reader.feed_data(b"0123")
        waiting = asyncio.ensure_future(reader.read())
        await turns()
        reader.feed_data(b"4567")
        await turns()
        waiting.cancel()
        reader.feed_data(b"89")
        with pytest.raises(asyncio.CancelledError):
            await waiting
        reader.feed_eof()
        assert await reader.read() == b"0123456789"

    loop.run_until_complete(main())


@pytest.mark.parametrize("looked_at", [False, True])
def test_cancelled_at_every_wait(library, loop, looked_at):
    """However often a read is cancelled, what is read is what was sent."""

    async def main():
        chance = random.Random(5)
        reader, writer, peer = await connected_pair(library)
        sent = bytes(chance.randrange(256) for _ in range(3000))
        got, position = b"", 0

        def send(size):
            nonlocal position
            peer.send(sent[position : position + size])
            position = min(position + size, len(sent))

        while len(got) < len(sent):
            count = min(chance.choice([1, 40, 100]), len(sent) - len(got))
            last = sent[len(got) + count - 1 : len(got) + count]
            begin, argument = chance.choice(
                [(reader.read, count), (reader.readexactly, count), (reader.readuntil, last)]
            )
            reading = asyncio.ensure_future(begin(argument))
            send(chance.choice([0, 1, 30, 90]))
            await turns(chance.randrange(4))
            if looked_at:
                assert bytes(reader._buffer) in sent
            if chance.random() < 0.4:
                reading.cancel()
            else:
                send(max(0, len(got) + count - position))
            try:
                got += await reading
            except asyncio.CancelledError:
                assert reader._waiter is None
            assert got == sent[: len(got)]
        writer.close()
        peer.close()
        await writer.wait_closed()

    loop.run_until_complete(main())


async def connected_pair(library, **options):
    """A reader and writer, and a blocking socket at the other end."""
    ours, peer = socket.socketpair()
    reader, writer = await library.open_connection(sock=ours, **options)
    return reader, writer, peer


def test_echo(library, loop):
    async def serve(reader, writer):
        async for line in reader:
            writer.writelines([b"<", line.strip(), b">\n"])
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await library.start_server(serve, "127.0.0.1", 0)
        async with server:
            reader, writer = await library.open_connection(*server.sockets[0].getsockname())
            assert writer.can_write_eof()
            assert writer.get_extra_info("peername") == server.sockets[0].getsockname()
            assert writer.get_extra_info("nothing", 5) == 5
            assert writer.transport is writer._transport is reader._transport
            assert (writer._reader, writer._loop) == (reader, loop)
            assert writer._complete_fut.done()
            for index in range(100):
                line = b"%d" % index * (index * 50)
                writer.write(line + b"\n")
                assert await reader.readline() == b"<" + line + b">\n"
            writer.write(b"last")
            writer.write_eof()
            assert await reader.read() == b"<last>\n"
            assert reader.at_eof()
            assert repr(writer).startswith("<StreamWriter transport=<")
            writer.close()
            assert writer.is_closing()
            await writer.wait_closed()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_what_somebody_put_in_the_place_of_the_transports_write(library, loop):
    async def main():
        _reader, writer, peer = await connected_pair(library)
        writer.write(b"1")
        written = []
        writer.transport.write = written.append
        writer.write(b"2")
        assert written == [b"2"]
        del writer.transport.write
        writer.write(b"3")
        await asyncio.sleep(0)
        assert peer.recv(10) == b"13"
        writer.transport.is_closing = lambda: True
        assert writer.is_closing()
        del writer.transport.is_closing
        assert not writer.is_closing()
        writer.close()
        await writer.wait_closed()
        peer.close()

    loop.run_until_complete(main())


def test_cancelled_while_somebody_looks_at_the_buffer(library, loop):
    async def main():
        reader = library.StreamReader()
        reader.feed_data(b"abc")
        waiting = asyncio.ensure_future(reader.read())
        await turns()
        view = memoryview(reader._buffer)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert waiting.cancelled()
        view.release()

    with support.catch_unraisable_exception():
        loop.run_until_complete(main())


def test_unix_echo(library, loop, tmp_path):
    path = str(tmp_path / "socket")

    async def serve(reader, writer):
        writer.write(await reader.readexactly(3))
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await library.start_unix_server(serve, path)
        reader, writer = await library.open_unix_connection(path)
        writer.write(b"abc")
        assert await reader.read() == b"abc"
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_over_tls(library, loop):
    async def serve(reader, writer):
        while data := await reader.read(100_000):
            writer.write(data)
            await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await library.start_server(serve, "127.0.0.1", 0, ssl=tls_contexts()[0])
        address = server.sockets[0].getsockname()
        reader, writer = await library.open_connection(
            *address, ssl=tls_contexts()[1], server_hostname=HOSTNAME
        )
        sent = os.urandom(300_000)
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        assert writer._protocol._over_ssl
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_start_tls(library, loop):
    async def serve(reader, writer):
        assert await reader.readline() == b"STARTTLS\n"
        writer.write(b"GO\n")
        await writer.start_tls(tls_contexts()[0])
        writer.write(await reader.readline())
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async def main():
        server = await library.start_server(serve, "127.0.0.1", 0)
        reader, writer = await library.open_connection(*server.sockets[0].getsockname())
        before = writer.transport
        writer.write(b"STARTTLS\n")
        assert await reader.readline() == b"GO\n"
        await writer.start_tls(tls_contexts()[1], server_hostname=HOSTNAME)
        assert writer.transport is not before
        assert writer.get_extra_info("sslcontext") is not None
        writer.write(b"secret\n")
        assert await reader.readline() == b"secret\n"
        assert await reader.read() == b""
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()

    loop.run_until_complete(main())


def test_over_pipes(library, loop):
    async def main():
        ends = os.pipe()
        reader = library.StreamReader()
        reading, _ = await loop.connect_read_pipe(
            lambda: library.StreamReaderProtocol(reader), open(ends[0], "rb", 0)
        )
        writing, protocol = await loop.connect_write_pipe(mixin_of(library), open(ends[1], "wb", 0))
        writer = library.StreamWriter(writing, protocol, None, loop)
        with pytest.raises(NotImplementedError):
            await writer.wait_closed()
        sent = os.urandom(200_000)
        receiving = asyncio.ensure_future(reader.readexactly(len(sent)))
        writer.write(sent)
        await writer.drain()
        assert await receiving == sent
        writer.close()
        assert await reader.read() == b""
        reading.close()
        await turns()

    loop.run_until_complete(main())


def test_a_subprocess(library, loop):
    async def main():
        process = await library.create_subprocess_exec(
            sys.executable,
            "-c",
            "import sys; sys.stdout.write(sys.stdin.read()[::-1]); print('!', file=sys.stderr)",
            stdin=-1,
            stdout=-1,
            stderr=-1,
        )
        assert await process.communicate(b"abc") == (b"cba", b"!\n")

    loop.run_until_complete(main())


def test_a_subprocess_after_install(loop):
    original = asyncio.streams.FlowControlMixin
    replacement = natives.Replacement()
    try:
        assert asyncio.streams.StreamReader is asyncio.StreamReader is ferrio.StreamReader
        assert asyncio.streams.FlowControlMixin is _ferrio.FlowControlMixin

        async def main():
            process = await asyncio.create_subprocess_exec("cat", stdin=-1, stdout=-1)
            assert type(process.stdout) is ferrio.StreamReader
            assert type(process.stdin) is ferrio.StreamWriter
            process.stdin.write(b"one\ntwo")
            await process.stdin.drain()
            assert await process.stdout.readline() == b"one\n"
            process.stdin.close()
            await process.stdin.wait_closed()
            assert await process.stdout.read() == b"two"
            assert await process.wait() == 0

        loop.run_until_complete(main())
    finally:
        replacement.undo()
    assert asyncio.streams.FlowControlMixin is original


def test_drain_waits_while_the_peer_does_not_read(library, loop):
    async def main():
        reader, writer, peer = await connected_pair(library)
        writer.transport.set_write_buffer_limits(high=10_000)
        size = 0
        while not writer._protocol._paused:
            writer.write(bytes(5000))
            size += 5000
        draining = [asyncio.ensure_future(writer.drain()) for _ in range(3)]
        await turns(10)
        assert not any(each.done() for each in draining)
        assert len(writer._protocol._drain_waiters) == 3
        # The mark, one write more, and what ferrio gathers before it asks the kernel.
        assert writer.transport.get_write_buffer_size() <= 15_000 + 64 * 1024
        draining[1].cancel()
        await turns()
        assert len(writer._protocol._drain_waiters) == 2
        peer.setblocking(False)
        received = 0
        while received < size:
            try:
                received += len(peer.recv(1 << 20))
            except BlockingIOError:
                await asyncio.sleep(0)
        await asyncio.gather(draining[0], draining[2])
        assert received == size
        assert not writer._protocol._drain_waiters
        await writer.drain()
        writer.close()
        await writer.wait_closed()
        with pytest.raises(ConnectionResetError, match="Connection lost"):
            await writer.drain()
        peer.close()

    loop.run_until_complete(main())


def test_drain_ends_with_the_connection(library, loop):
    async def main():
        reader, writer, peer = await connected_pair(library)
        while not writer._protocol._paused:
            writer.write(bytes(100_000))
        draining = asyncio.ensure_future(writer.drain())
        await turns()
        error = ConnectionAbortedError("gone")
        writer.transport._force_close(error)
        with pytest.raises(ConnectionAbortedError, match="gone"):
            await draining
        with pytest.raises(ConnectionAbortedError, match="gone"):
            await writer.wait_closed()
        assert reader.exception() is error
        with pytest.raises(ConnectionAbortedError, match="gone"):
            await writer.drain()
        peer.close()

    loop.run_until_complete(main())


def test_nobody_waits_for_a_broken_end(library, loop):
    """The exception of a lost connection is nobody's fault: nothing is reported."""

    async def main():
        reader, writer, peer = await connected_pair(library)
        writer.transport._force_close(ConnectionAbortedError("gone"))
        await turns()
        assert writer._protocol._closed.done()
        peer.close()

    loop.run_until_complete(main())
    gc.collect()


@pytest.mark.parametrize("pair", ["plain", "tls"])
def test_memory_is_bounded_when_nobody_reads(library, loop, pair):
    async def main():
        ended = asyncio.Event()

        async def flood(reader, writer):
            try:
                while True:
                    writer.write(bytes(100_000))
                    await writer.drain()
            except ConnectionError:
                ended.set()

        options = {"ssl": tls_contexts()[0]} if pair == "tls" else {}
        server = await library.start_server(flood, "127.0.0.1", 0, **options)
        if options:
            options = {"ssl": tls_contexts()[1], "server_hostname": HOSTNAME}
        reader, writer = await library.open_connection(
            *server.sockets[0].getsockname(), limit=1000, **options
        )
        while not reader._paused:
            await asyncio.sleep(0)
        await turns(100)
        assert reader._paused
        assert 2000 < len(reader._buffer) <= 2000 + 2 * 256 * 1024
        before = len(reader._buffer)
        await turns(100)
        assert len(reader._buffer) == before
        await reader.readexactly(before)
        assert not reader._paused
        writer.transport.abort()
        await ended.wait()
        server.close()
        await server.wait_closed()
        await turns(5)

    loop.run_until_complete(main())


class TestSubclasses:
    def test_a_reader(self, library, loop):
        calls = []

        class Reader(library.StreamReader):
            def feed_data(self, data):
                calls.append(("feed_data", data))
                super().feed_data(data.upper())

            def feed_eof(self):
                calls.append("feed_eof")
                super().feed_eof()

            async def readuntil(self, separator=b"\n"):
                calls.append("readuntil")
                return await super().readuntil(separator)

            async def _wait_for_data(self, name):
                calls.append(name)
                await super()._wait_for_data(name)

        async def main():
            ours, peer = socket.socketpair()
            reader = Reader()
            protocol = library.StreamReaderProtocol(reader)
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, ours)
            writer = library.StreamWriter(transport, protocol, reader, loop)
            loop.call_soon(peer.send, b"one\ntw")
            assert await reader.readline() == b"ONE\n"
            loop.call_soon(peer.send, b"o\n")
            assert [line async for line in closing(reader, peer)] == [b"TWO\n"]
            writer.close()
            await writer.wait_closed()

        async def closing(reader, peer):
            yield await reader.readline()
            peer.close()
            assert await reader.read() == b""

        loop.run_until_complete(main())
        assert calls == [
            "readuntil",
            "readuntil",
            ("feed_data", b"one\ntw"),
            "readuntil",
            "readuntil",
            ("feed_data", b"o\n"),
            "read",
            # By eof_received() and by connection_lost().
            "feed_eof",
            "feed_eof",
        ]

    def test_a_protocol(self, library, loop):
        calls = []

        class Protocol(library.StreamReaderProtocol):
            def connection_made(self, transport):
                calls.append("made")
                super().connection_made(transport)

            def data_received(self, data):
                calls.append(data)
                super().data_received(data)

            def eof_received(self):
                calls.append("eof")
                return super().eof_received()

            def connection_lost(self, exc):
                calls.append(exc)
                super().connection_lost(exc)

        async def main():
            ours, peer = socket.socketpair()
            reader = library.StreamReader()
            protocol = Protocol(reader)
            transport, _ = await loop.connect_accepted_socket(lambda: protocol, ours)
            writer = library.StreamWriter(transport, protocol, reader, loop)
            loop.call_soon(peer.send, b"data")
            assert await reader.readexactly(4) == b"data"
            peer.close()
            assert await reader.read() == b""
            writer.close()
            await writer.wait_closed()

        loop.run_until_complete(main())
        assert calls == ["made", b"data", "eof", None]

    def test_a_writer(self, library, loop):
        calls = []

        class Writer(library.StreamWriter):
            def write(self, data):
                calls.append(data)
                super().write(data)

            async def drain(self):
                calls.append("drain")
                await super().drain()

        async def main():
            reader, writer, peer = await connected_pair(library)
            other = Writer(writer.transport, writer._protocol, reader, loop)
            other.write(b"hello")
            await other.drain()
            await turns()
            assert peer.recv(100) == b"hello"
            peer.close()
            other.close()
            await other.wait_closed()

        loop.run_until_complete(main())
        assert calls == [b"hello", "drain"]

    def test_attributes_of_one_object(self, library, loop):
        async def main():
            reader, writer, peer = await connected_pair(library)
            seen = []
            feed = reader.feed_data
            reader.feed_data = lambda data: (seen.append(data), feed(data))
            peer.send(b"one")
            assert await reader.readexactly(3) == b"one"
            assert seen == [b"one"]
            del reader.feed_data
            received = writer._protocol.data_received
            writer._protocol.data_received = lambda data: (seen.append(data), received(b"2"))
            peer.send(b"two")
            assert await reader.readexactly(1) == b"2"
            assert seen == [b"one", b"two"]
            peer.close()
            writer.close()
            await writer.wait_closed()

        loop.run_until_complete(main())


class TestServersCallback:
    async def connect(self, library, callback):
        server = await library.start_server(callback, "127.0.0.1", 0)
        reader, writer = await library.open_connection(*server.sockets[0].getsockname())
        rest = await reader.read()
        writer.close()
        await writer.wait_closed()
        server.close()
        await server.wait_closed()
        return rest

    def test_that_is_no_coroutine(self, library, loop):
        def answer(reader, writer):
            assert isinstance(reader, asyncio.StreamReader)
            writer.write(b"hello")
            writer.close()

        assert loop.run_until_complete(self.connect(library, answer)) == b"hello"

    def test_that_fails(self, library, loop, reports):
        async def fail(reader, writer):
            raise LookupError("broken")

        assert loop.run_until_complete(self.connect(library, fail)) == b""
        [report] = reports.take()
        assert report["message"] == "Unhandled exception in client_connected_cb"
        assert isinstance(report["exception"], LookupError)
        assert report["transport"].is_closing()

    @pytest.mark.skipif(sys.version_info < (3, 12, 2), reason="a cancelled task is reported there")
    def test_that_is_cancelled(self, library, loop):
        async def cancelled(reader, writer):
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

        assert loop.run_until_complete(self.connect(library, cancelled)) == b""

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="nobody catches it there")
    def test_that_raises_at_once(self, library, loop, reports):
        def fail(reader, writer):
            raise LookupError("broken")

        assert loop.run_until_complete(self.connect(library, fail)) == b""
        [report] = reports.take()
        assert report["message"] == "Unhandled exception in client_connected_cb"


class TestGarbage:
    def test_a_client_that_drops_its_reader(self, library, loop):
        async def main():
            reader, writer, peer = await connected_pair(library)
            protocol = writer._protocol
            writer._reader = None
            reference = weakref.ref(reader)
            del reader
            gc.collect()
            assert reference() is None
            assert protocol._stream_reader is None
            peer.send(b"nobody is interested")
            await turns()
            peer.close()
            await turns()
            writer.close()
            await writer.wait_closed()

        loop.run_until_complete(main())

    def test_an_unclosed_writer(self, library, loop):
        warns = hasattr(asyncio.StreamWriter, "__del__")

        async def main():
            reader, writer, peer = await connected_pair(library)
            transport = writer.transport
            if warns:
                with pytest.warns(ResourceWarning, match="unclosed <StreamWriter"):
                    del writer
                    gc.collect()
                assert transport.is_closing()
            else:
                del writer
                transport.close()
            await turns()
            peer.close()

        loop.run_until_complete(main())

    def test_cycles_are_collected(self, library, loop):
        class Reader(library.StreamReader):
            pass

        async def main():
            reader, writer, peer = await connected_pair(library)
            reader.me = reader
            writer.me = writer
            waiting = reader.read(10)
            writer.close()
            await writer.wait_closed()
            peer.close()
            references = [weakref.ref(each) for each in (reader, writer, writer._protocol)]
            other = Reader(loop=loop)
            other._buffer = other._buffer
            other.loop_ = [other, waiting]
            references.append(weakref.ref(other))
            waiting.close()
            return references

        references = loop.run_until_complete(main())
        gc.collect()
        assert [reference() for reference in references] == [None] * 4

    def test_a_task_that_reads_for_ever(self, library, loop):
        """Reader, protocol, transport, task: a ring that nothing holds."""

        async def main():
            reader = library.StreamReader()
            task = asyncio.ensure_future(reader.read())
            await turns()
            reader.task = task
            reference = weakref.ref(reader)
            task.cancel()
            await asyncio.wait([task])
            return reference

        reference = loop.run_until_complete(main())
        gc.collect()
        assert reference() is None


def test_never_awaited(library, loop):
    reader = library.StreamReader(loop=loop)
    with pytest.warns(RuntimeWarning, match="StreamReader.readline' was never awaited"):
        reader.readline()
        gc.collect()


@pytest.mark.parametrize("name", ["read", "readexactly"])
def test_who_reads_nothing_does_not_let_the_transport_go_on(library, loop, name):
    async def main():
        reader = library.StreamReader(limit=4, loop=loop)
        transport = Transport()
        reader.set_transport(transport)
        reader.feed_data(b"0123456789")
        assert transport.log == ["pause"]
        # What somebody takes out by the back door is noticed with the next read.
        del reader._buffer[4:]
        assert await getattr(reader, name)(0) == b""
        assert transport.log == ["pause"]
        assert await getattr(reader, name)(1) == b"0"
        assert transport.log == ["pause", "resume"]

    loop.run_until_complete(main())
