"""What a snapshot shows beside tasks: what is open, queues, and the callback that runs."""

import asyncio
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request

import pytest

import ferrio
from ferrio import _ferrio
from inspected import Program, eventually
from inspected_fixtures import directory

__all__ = ["directory"]


def line_of(function, text):
    import inspect

    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


def snapshot():
    return json.loads(_ferrio._snapshot())


def this_loop(taken):
    number = asyncio.get_running_loop()._number
    return next(each for each in taken["loops"] if each["id"] == number)


def resources(kind):
    return [each for each in this_loop(snapshot())["resources"] if each["kind"] == kind]


def test_connections_with_their_bytes():
    async def main():
        accepted = asyncio.get_running_loop().create_future()

        async def serve(_reader, writer):
            accepted.set_result(writer)

        server = await ferrio.start_server(serve, "127.0.0.1", 0)
        reader, writer = await ferrio.open_connection(*server.sockets[0].getsockname())
        peer = await accepted
        peer.write(b"12345")
        assert await reader.readexactly(5) == b"12345"
        shown = {each["what"]: each for each in resources("stream")}
        ours, theirs = shown[repr(writer.transport)], shown[repr(peer.transport)]
        assert (ours["bytes"], ours["buffered"]) == ([5, 0], 0)
        assert (theirs["bytes"], theirs["buffered"]) == ([0, 5], 0)
        # The peer does not read: what the kernel does not take waits in the transport.
        peer.transport.pause_reading()
        writer.write(bytes(20_000_000))
        await ferrio.sleep(0.05)
        waiting = writer.transport.get_write_buffer_size()
        assert waiting > 0
        (ours,) = [each for each in resources("stream") if each["what"] == repr(writer.transport)]
        assert ours["buffered"] == waiting
        assert ours["bytes"] == [5, 20_000_000 - waiting]
        # One that is paused and not watched for anything is open all the same.
        assert len(resources("stream")) == 2
        (shown,) = resources("server")
        assert "127.0.0.1" in shown["what"]
        assert shown["what"].endswith(" with 1 connections")
        writer.transport.abort()
        peer.transport.abort()
        server.close()
        await server.wait_closed()
        await ferrio.sleep(0)
        assert resources("stream") == resources("server") == []

    ferrio.run(main())


def test_pipes_with_their_bytes():
    async def main():
        loop = asyncio.get_running_loop()
        read, write = os.pipe()
        arrived = loop.create_future()

        class Receiver(asyncio.Protocol):
            def data_received(self, data):
                arrived.set_result(data)

        reader, _ = await loop.connect_read_pipe(Receiver, open(read, "rb"))
        writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(write, "wb"))
        writer.write(b"12345")
        assert await arrived == b"12345"
        shown = {each["what"]: each for each in resources("pipe")}
        assert shown[repr(reader)]["bytes"] == [5, 0]
        assert shown[repr(writer)]["bytes"] == [0, 5]
        assert shown[repr(writer)]["buffered"] == 0
        reader.close()
        writer.close()
        await ferrio.sleep(0.01)

    ferrio.run(main())


def test_everything_else_that_is_open():
    async def main():
        loop = asyncio.get_running_loop()
        one, other = socket.socketpair()
        read, write = os.pipe()

        def arrived():
            """Nothing arrives."""

        loop.add_reader(one, arrived)
        loop.add_writer(other, arrived)
        loop.add_signal_handler(signal.SIGUSR2, arrived)
        datagram, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        reader, _ = await loop.connect_read_pipe(asyncio.Protocol, open(read, "rb"))
        writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(write, "wb"))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", "input()", stdin=subprocess.PIPE
        )
        kinds = ("reader", "writer", "signal", "datagram", "pipe", "subprocess")
        shown = {kind: [each["what"] for each in resources(kind)] for kind in kinds}
        loop.remove_reader(one)
        loop.remove_writer(other)
        loop.remove_signal_handler(signal.SIGUSR2)
        datagram.close()
        reader.close()
        writer.close()
        process.kill()
        await process.wait()
        async with ferrio.timeout(60):
            while any(resources(kind) for kind in kinds):
                await ferrio.sleep(0.001)
        names = (f"fd {one.fileno()}: {arrived!r}", f"fd {other.fileno()}: {arrived!r}")
        one.close()
        other.close()
        return shown, names, process.pid

    shown, (reading, writing), pid = ferrio.run(main())
    assert reading in shown["reader"]
    assert shown["writer"] == [writing]
    assert len(shown["signal"]) == 1
    assert shown["signal"][0].startswith("SIGUSR2: <function ")
    assert len(shown["datagram"]) == 1
    assert len(shown["pipe"]) == 3  # and the one to the subprocess
    assert shown["subprocess"] == [f"process {pid}"]


def test_queues_by_the_line_that_made_them():
    async def main():
        before = len(snapshot()["queues"])
        full = [ferrio.Queue(5) for _ in range(2)]  # made
        other = ferrio.PriorityQueue()  # elsewhere
        for number in range(3):
            full[0].put_nowait(number)
        full[1].put_nowait(1)
        full[0].get_nowait()
        waiting = asyncio.create_task(other.get())
        await ferrio.sleep(0)
        shown = snapshot()["queues"][before:]
        assert [each["items"] for each in shown] == [2, 1, 0]
        assert [each["room"] for each in shown] == [5, 5, None]
        assert [each["getters"] for each in shown] == [0, 0, 1]
        assert [each["unfinished"] for each in shown] == [3, 1, 0]
        made, elsewhere = line_of(main, "# made"), line_of(main, "# elsewhere")
        assert [each["created"]["line"] for each in shown] == [made, made, elsewhere]
        assert shown[0]["created"]["file"] == __file__
        counted = {
            each["site"]["line"]: each
            for each in ferrio.metrics()["interpreter"]["queues"]
            if each["site"] and each["site"]["file"] == __file__
        }
        assert counted[made].items() >= {
            "queues": 2, "items": 3, "most": 2, "getters": 0, "putters": 0, "unfinished": 4
        }.items()  # fmt: skip
        assert counted[elsewhere]["getters"] == 1
        waiting.cancel()
        await ferrio.wait([waiting])
        del full, other, waiting
        assert len(snapshot()["queues"]) == before

    ferrio.run(main())


def test_queues_for_prometheus():
    async def main():
        queue = ferrio.Queue()  # for Prometheus
        for number in range(7):
            queue.put_nowait(number)
        server = ferrio.serve_metrics(port=0)

        line = line_of(main, "# for Prometheus")
        begins = f'ferrio_queue_items{{file="{__file__}",line="{line}",function="'

        def ask():
            url = server.url.replace("/?", "/metrics?")
            with urllib.request.urlopen(url, timeout=30) as answer:
                lines = answer.read().decode().splitlines()
            # It waits for Python for a moment only, and tells what was there before.
            return [each for each in lines if each.startswith(begins)]

        try:
            return await asyncio.to_thread(eventually, ask), queue
        finally:
            server.close()

    (sample,), _ = ferrio.run(main())
    assert sample.endswith("} 7")


@pytest.mark.parametrize("registry", ["0", "1"])
def test_without_the_registry_there_are_no_queues(registry):
    program = (
        "import ferrio, json\n"
        "from ferrio import _ferrio\n"
        "queue = ferrio.Queue()\n"
        "print(len(json.loads(_ferrio._snapshot())['queues']))\n"
    )
    outcome = subprocess.run(
        [sys.executable, "-c", program],
        env=os.environ | {"FERRIO_REGISTRY": registry},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (outcome.stdout, outcome.stderr) == (f"{registry}\n", "")


def test_the_callback_that_runs_and_since_when():
    called, looked = threading.Event(), threading.Event()
    found = []

    def look():
        called.wait(30)
        loops = [each for each in snapshot()["loops"] if each["thread"] is not None]
        found.extend((each["running"], snapshot()["taken_at"]) for each in loops)
        looked.set()

    def block():
        called.set()
        looked.wait(30)

    async def main():
        asyncio.get_running_loop().call_soon(block)
        await ferrio.sleep(0.01)

    thread = threading.Thread(target=look)
    thread.start()
    ferrio.run(main())
    thread.join()
    ((running, now),) = found
    assert running["kind"] == "callback"
    file, line = __file__, line_of(test_the_callback_that_runs_and_since_when, "looked.wait(30)")
    assert running["name"] == f"{block.__qualname__} ({file}:{line})"
    assert 0 <= now - running["since"] < 30


BLOCKING = """
    import asyncio, time
    import ferrio

    def block():
        print("now", flush=True)
        time.sleep(60)

    async def main():
        asyncio.get_running_loop().call_later(0.01, block)
        await asyncio.sleep(60)

    asyncio.run(main())
"""


def test_the_callback_as_it_is_seen_from_another_process(directory):
    with Program(directory, BLOCKING, flags=("--inspect", "--no-watchdog")) as program:
        assert program.line() == "now"

        def running():
            (loop,) = program.snapshot()["loops"]
            return loop["running"] if loop["running"].get("name") else None

        seen = eventually(running)
        assert seen["kind"] == "callback"
        assert seen["name"].startswith("block (")
        first = seen["since"]
        assert first is not None
        # It is the same as long as the loop is at it.
        assert eventually(running)["since"] == first


def test_a_queue_that_is_being_freed_does_not_come_back():
    """CPython clears the slots of a subclass's instance first, which runs code."""
    seen = []

    class Looks:
        def __del__(self):
            seen.append(len(ferrio.metrics()["interpreter"]["queues"]))

    class WithSlot(ferrio.Queue):
        __slots__ = ("held",)

    for _ in range(100):
        queue = WithSlot()
        queue.held = Looks()
        del queue
    gc.collect()
    assert len(seen) == 100
    assert max(seen) == min(seen)


def test_a_queue_that_cannot_be_counted_hides_no_other():
    class Uncountable:
        def __len__(self):
            raise LookupError("on purpose")

    class Odd(ferrio.Queue):
        def _init(self, maxsize):
            self._queue = Uncountable()

    odd, usual = Odd(), ferrio.Queue()
    usual.put_nowait(1)
    queues = ferrio.metrics()["interpreter"]["queues"]
    assert sum(each["queues"] for each in queues) >= 2
    assert sum(each["items"] for each in queues) >= 1
    with pytest.raises(LookupError, match="on purpose"):
        odd.qsize()


def test_what_cannot_say_what_it_is_hides_nothing():
    class Speechless:
        def __call__(self):
            pass

        def __repr__(self):
            raise LookupError("on purpose")

    async def main():
        loop = asyncio.get_running_loop()
        # A signal that has no name, too.
        loop.add_signal_handler(signal.SIGRTMIN + 1, Speechless())
        own = socket.create_server(("127.0.0.1", 0))
        server = await loop.create_server(asyncio.Protocol, sock=own)
        own.close()
        shown = resources("signal"), resources("server")
        loop.remove_signal_handler(signal.SIGRTMIN + 1)
        server.close()
        return shown

    ((handler,), (server,)) = ferrio.run(main())
    assert f"signal {signal.SIGRTMIN + 1}: <Speechless: LookupError>" in handler.values()
    assert any("Bad file descriptor" in str(value) for value in server.values())
