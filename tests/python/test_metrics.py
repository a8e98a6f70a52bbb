"""What the loops count: ``ferrio.metrics()``, and its way to OpenTelemetry."""

import asyncio
import errno
import os
import socket
import sys
import threading
import time

import pytest

import ferrio
from ferrio import _ferrio


def numbers_of_the_loop(**options):
    """Return the numbers of the one loop that runs."""
    (running,) = [each for each in ferrio.metrics(**options)["loops"] if each["running"]]
    return running


def run(main):
    """Run a coroutine function on a loop of ferrio's."""
    return ferrio.run(main())


def transports(kind, key="open"):
    (found,) = [each for each in numbers_of_the_loop()["transports"] if each["kind"] == kind]
    return found[key]


async def until(condition):
    while not condition():
        await asyncio.sleep(0.001)


class Sink(asyncio.Protocol):
    def __init__(self):
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def connection_lost(self, error):
        self.lost.set_result(None)


class TestTime:
    def test_turns(self):
        async def main():
            before = numbers_of_the_loop()["turns"]
            for _ in range(10):
                await asyncio.sleep(0)
            return numbers_of_the_loop()["turns"] - before

        assert run(main) == 10

    def test_a_callback_that_blocks_is_lag_and_time_spent(self):
        async def main():
            before = numbers_of_the_loop()
            time.sleep(0.05)
            await asyncio.sleep(0.001)
            return before, numbers_of_the_loop()

        before, after = run(main)
        assert after["lag"]["longest"] >= 0.05
        assert after["busy"] - before["busy"] >= 0.05
        assert sum(bucket["count"] for bucket in after["lag"]["buckets"]) == after["lag"]["count"]

    def test_a_wait_is_none(self):
        async def main():
            before, begun = numbers_of_the_loop(), time.monotonic()
            # Where something else runs at first there is little left to wait for.
            async with asyncio.timeout(60):
                while numbers_of_the_loop()["waiting"] - before["waiting"] < 0.04:
                    await asyncio.sleep(0.05)
            passed = time.monotonic() - begun
            return before, numbers_of_the_loop(), passed

        before, after, passed = run(main)
        # Whatever the machine was busy with: all of the time is one or the other.
        together = after["waiting"] - before["waiting"] + after["busy"] - before["busy"]
        assert together >= passed - 0.001

    def test_a_loop_without_timers_waits_too(self):
        async def main():
            loop = asyncio.get_running_loop()
            before, end = numbers_of_the_loop(), time.monotonic() + 60
            while numbers_of_the_loop()["waiting"] - before["waiting"] < 0.03:
                assert time.monotonic() < end
                woken = loop.create_future()
                timer = threading.Timer(0.05, loop.call_soon_threadsafe, [woken.set_result, None])
                timer.start()
                await woken
                timer.join()

        run(main)

    def test_lateness_of_timers(self):
        async def main():
            loop = asyncio.get_running_loop()
            before = numbers_of_the_loop()["timer_lateness"]["count"]
            called = loop.create_future()
            loop.call_later(0.01, called.set_result, None)
            time.sleep(0.06)
            await called
            return before, numbers_of_the_loop()["timer_lateness"]

        before, lateness = run(main)
        assert lateness["count"] == before + 1
        assert lateness["longest"] >= 0.05

    def test_a_deadline_long_ago_is_no_lateness(self):
        async def main():
            loop = asyncio.get_running_loop()
            # Before the turn begins, whose time is the loop's.
            begun = time.monotonic()
            await asyncio.sleep(0)
            called = loop.create_future()
            loop.call_at(0, called.set_result, None)
            await called
            return time.monotonic() - begun, numbers_of_the_loop()["timer_lateness"]["longest"]

        took, longest = run(main)
        assert longest <= took + 0.001

    def test_while_the_loop_is_blocked(self):
        seen = []

        def look(in_callback, looked):
            in_callback.wait()
            first = numbers_of_the_loop(tasks=False)
            time.sleep(0.02)
            seen.extend([first, numbers_of_the_loop(tasks=False)])
            looked.set()

        async def main():
            in_callback, looked = threading.Event(), threading.Event()
            thread = threading.Thread(target=look, args=(in_callback, looked))
            thread.start()
            await asyncio.sleep(0.01)
            in_callback.set()
            looked.wait()
            await asyncio.to_thread(thread.join)

        run(main)
        first, second = seen
        assert first["turns"] == second["turns"]
        assert second["lag_now"] >= first["lag_now"] + 0.02
        assert second["busy"] >= first["busy"] + 0.02
        assert second["busy_share"] > 0
        assert second["ready"] >= 1

    def test_a_loop_that_does_not_run(self):
        loop = ferrio.new_event_loop()
        try:
            loop.run_until_complete(asyncio.sleep(0.001))
            stopped = ferrio.metrics()["loops"][-1]
            time.sleep(0.01)
            later = ferrio.metrics()["loops"][-1]
        finally:
            loop.close()
        assert not stopped["running"]
        assert (stopped["lag_now"], stopped["busy_share"], stopped["ready"]) == (0, 0, 0)
        assert (later["busy"], later["waiting"]) == (stopped["busy"], stopped["waiting"])

    def test_a_loop_that_is_gone_is_not_shown(self):
        async def main():
            return numbers_of_the_loop()["id"]

        gone = run(main)
        assert gone not in [each["id"] for each in ferrio.metrics()["loops"]]

    def test_timers_and_ready_entries(self):
        async def main():
            loop = asyncio.get_running_loop()
            timers = [loop.call_later(1000, print) for _ in range(3)]
            for _ in range(5):
                loop.call_soon(int)
            await asyncio.sleep(0)
            found = numbers_of_the_loop()
            for timer in timers:
                timer.cancel()
            return found

        found = run(main)
        assert found["timers"] == 3
        assert found["ready"] >= 6

    def test_timers_of_ours_do_not_count(self):
        async def main():
            # Somebody will look whether this ends.
            waiting = asyncio.create_task(ferrio.Event().wait())
            timer = asyncio.get_running_loop().call_later(1000, print)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            found = numbers_of_the_loop()["timers"]
            await until(lambda: ferrio.tasks()[0].loop)
            timer.cancel()
            waiting.cancel()
            await asyncio.wait([waiting])
            return found

        assert run(main) == 1


class TestTraffic:
    def test_streams(self):
        async def main():
            loop = asyncio.get_running_loop()
            ours, theirs = socket.socketpair()
            with theirs:
                before = numbers_of_the_loop()
                _, protocol = await loop.create_connection(Sink, sock=ours)
                assert transports("stream") == 1
                protocol.transport.write(b"x" * 1000)
                theirs.sendall(b"y" * 300)
                await until(lambda: numbers_of_the_loop()["bytes_received"] >= 300)
                protocol.transport.close()
                await protocol.lost
                after = numbers_of_the_loop()
                return before, after, transports("stream"), transports("stream", "opened")

        before, after, still_open, opened = run(main)
        assert after["bytes_received"] - before["bytes_received"] == 300
        assert after["bytes_sent"] - before["bytes_sent"] == 1000
        assert after["transfers"] > before["transfers"]
        assert (still_open, opened) == (0, 1)

    def test_a_transport_that_is_forgotten_is_not_open(self):
        async def main():
            loop = asyncio.get_running_loop()
            ours, theirs = socket.socketpair()
            with theirs:
                _, protocol = await loop.create_connection(Sink, sock=ours)
                protocol.transport.abort()
                await protocol.lost
                return transports("stream")

        assert run(main) == 0

    def test_bytes_that_the_kernel_does_not_take(self):
        async def main():
            loop = asyncio.get_running_loop()
            ours, theirs = socket.socketpair()
            with theirs:
                _, protocol = await loop.create_connection(Sink, sock=ours)
                protocol.transport.write(b"x" * 10_000_000)
                await asyncio.sleep(0)
                waiting = protocol.transport.get_write_buffer_size()
                counted = numbers_of_the_loop()["write_buffer"]
                assert 0 < waiting < 10_000_000
                theirs.setblocking(False)
                left = 10_000_000
                while left:
                    left -= len(await loop.sock_recv(theirs, 1_000_000))
                await until(lambda: protocol.transport.get_write_buffer_size() == 0)
                drained = numbers_of_the_loop()["write_buffer"]
                protocol.transport.write(b"x" * 10_000_000)
                await asyncio.sleep(0)
                again = numbers_of_the_loop()["write_buffer"]
                protocol.transport.abort()
                await protocol.lost
                return waiting, counted, drained, again, numbers_of_the_loop()["write_buffer"]

        waiting, counted, drained, again, aborted = run(main)
        assert counted == waiting
        assert (drained, aborted) == (0, 0)
        assert again > 0

    def test_datagrams(self):
        class Echo(asyncio.DatagramProtocol):
            def connection_made(self, transport):
                self.transport = transport

            def datagram_received(self, data, address):
                self.transport.sendto(data, address)

        async def main():
            loop = asyncio.get_running_loop()
            transport, _ = await loop.create_datagram_endpoint(Echo, local_addr=("127.0.0.1", 0))
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
                client.setblocking(False)
                client.connect(transport.get_extra_info("sockname"))
                client.send(b"12345")
                before = numbers_of_the_loop()
                await until(lambda: numbers_of_the_loop()["bytes_sent"] > before["bytes_sent"])
                after = numbers_of_the_loop()
            found = transports("datagram")
            transport.close()
            await until(lambda: transports("datagram") == 0)
            return before, after, found

        before, after, found = run(main)
        assert found == 1
        assert after["bytes_received"] - before["bytes_received"] == 5
        assert after["bytes_sent"] - before["bytes_sent"] == 5

    def test_pipes(self):
        async def main():
            loop = asyncio.get_running_loop()
            read_end, write_end = os.pipe()
            reader = await loop.connect_read_pipe(Sink, os.fdopen(read_end, "rb", 0))
            writer = await loop.connect_write_pipe(Sink, os.fdopen(write_end, "wb", 0))
            assert transports("pipe") == 2
            before = numbers_of_the_loop()
            writer[0].write(b"abc")
            await until(lambda: numbers_of_the_loop()["bytes_received"] > before["bytes_received"])
            after = numbers_of_the_loop()
            writer[0].close()
            await reader[1].lost
            await writer[1].lost
            return before, after, transports("pipe")

        before, after, still_open = run(main)
        assert after["bytes_sent"] - before["bytes_sent"] == 3
        assert after["bytes_received"] - before["bytes_received"] == 3
        assert still_open == 0

    def test_tls_is_a_layer_on_a_stream(self):
        from package_support import tls_contexts

        server_context, client_context = tls_contexts()

        async def main():
            connected = asyncio.get_running_loop().create_future()

            async def serve(reader, writer):
                connected.set_result(writer)
                await reader.read()
                writer.close()

            server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server_context)
            async with server:
                port = server.sockets[0].getsockname()[1]
                _, writer = await asyncio.open_connection(
                    "127.0.0.1", port, ssl=client_context, server_hostname="localhost"
                )
                await connected
                found = transports("stream"), transports("tls")
                writer.close()
                await until(lambda: transports("stream") == 0)
                return found, transports("tls")

        assert run(main) == ((2, 2), 0)

    def test_socket_calls(self):
        async def main():
            loop = asyncio.get_running_loop()
            ours, theirs = socket.socketpair()
            with ours, theirs:
                ours.setblocking(False)
                theirs.setblocking(False)
                before = numbers_of_the_loop()
                await loop.sock_sendall(ours, b"1234567")
                await loop.sock_recv(theirs, 100)
                await loop.sock_sendall(ours, b"89")
                await loop.sock_recv_into(theirs, bytearray(10))
                return before, numbers_of_the_loop()

        before, after = run(main)
        assert after["bytes_sent"] - before["bytes_sent"] == 9
        assert after["bytes_received"] - before["bytes_received"] == 9

    def test_accepts(self):
        async def main():
            loop = asyncio.get_running_loop()
            server = await loop.create_server(Sink, "127.0.0.1", 0)
            before = numbers_of_the_loop()
            async with server:
                address = server.sockets[0].getsockname()
                clients = [socket.create_connection(address) for _ in range(3)]
                await until(lambda: transports("stream") == 3)
                after = numbers_of_the_loop()
                for client in clients:
                    client.close()
                await until(lambda: transports("stream") == 0)
            return before, after

        before, after = run(main)
        assert after["accepts"] - before["accepts"] == 3
        assert after["accept_failures"] == before["accept_failures"]

    def test_accepts_that_fail(self, monkeypatch):
        async def main():
            loop = asyncio.get_running_loop()
            reports = []
            loop.set_exception_handler(lambda loop, context: reports.append(context))
            server = await loop.create_server(Sink, "127.0.0.1", 0)
            async with server:
                failed = numbers_of_the_loop()["accept_failures"]
                client = socket.create_connection(server.sockets[0].getsockname())
                limit = lower_the_limit_of_descriptors()
                try:
                    await until(lambda: numbers_of_the_loop()["accept_failures"] > failed)
                finally:
                    limit()
                client.close()
            return numbers_of_the_loop()["accept_failures"] - failed, len(reports)

        failures, reported = run(main)
        assert failures == reported > 0


def lower_the_limit_of_descriptors():
    """Leave no descriptor to be had; return what undoes it."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    free = os.dup(0)
    os.close(free)
    resource.setrlimit(resource.RLIMIT_NOFILE, (free, before[1]))
    with pytest.raises(OSError) as full:
        os.dup(0)
    assert full.value.errno == errno.EMFILE
    return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, before)


class TestThreads:
    def test_jobs_of_the_default_executor(self):
        async def main():
            before = numbers_of_the_loop()["executor"]
            await asyncio.to_thread(time.sleep, 0.02)
            with pytest.raises(ZeroDivisionError):
                await asyncio.to_thread(lambda: 1 / 0)
            return before, numbers_of_the_loop()["executor"]

        before, after = run(main)
        assert after["submitted"] - before["submitted"] == 2
        assert after["failed"] - before["failed"] == 1
        assert after["wait"]["count"] == after["run"]["count"] == 2
        assert after["run"]["longest"] >= 0.02

    def test_jobs_that_wait_for_a_thread(self):
        from concurrent.futures import ThreadPoolExecutor

        async def main():
            loop = asyncio.get_running_loop()
            loop.set_default_executor(ThreadPoolExecutor(1))
            # One after the other, whoever makes them.
            return await asyncio.gather(*[asyncio.to_thread(time.monotonic) for _ in range(3)])

        assert len(run(main)) == 3

    def test_name_lookups(self):
        async def main():
            loop = asyncio.get_running_loop()
            before = numbers_of_the_loop()["lookups"]
            await loop.getaddrinfo("localhost", 80)
            with pytest.raises(socket.gaierror):
                await loop.getaddrinfo("no such name", 80)
            return before, numbers_of_the_loop()["lookups"]

        before, after = run(main)
        assert after["submitted"] - before["submitted"] == 2
        assert after["failed"] - before["failed"] == 1
        assert after["run"]["count"] == 2


class TestTasks:
    @pytest.mark.keeps_something("the numbers are the process's")
    def test_by_coroutine(self):
        async def a_kind_of_its_own(event):
            await event.wait()

        async def main():
            event = asyncio.Event()
            tasks = [asyncio.create_task(a_kind_of_its_own(event)) for _ in range(3)]
            await asyncio.sleep(0)
            waiting = ferrio.metrics()
            event.set()
            await asyncio.gather(*tasks)
            return waiting, ferrio.metrics()

        def find(numbers):
            name = a_kind_of_its_own.__qualname__
            (found,) = [each for each in numbers["coroutines"] if each["coroutine"] == name]
            return found["alive"], found["created"]

        waiting, done = run(main)
        assert find(waiting) == (3, 3)
        assert find(done) == (0, 3)

    def test_by_state_and_by_what_they_wait_for(self):
        async def wait_here(event):
            await event.wait()

        async def main():
            event = asyncio.Event()
            tasks = [asyncio.create_task(wait_here(event)) for _ in range(3)]
            await asyncio.sleep(0)
            late = asyncio.create_task(asyncio.sleep(0))
            found = ferrio.metrics()["interpreter"]
            event.set()
            await asyncio.gather(late, *tasks)
            return found

        found = run(main)
        assert (found["running"], found["ready"], found["waiting"]) == (1, 1, 3)
        assert sum(wait["tasks"] for wait in found["waits"]) == 3

    @pytest.mark.keeps_something("the numbers are the process's")
    def test_steps_and_what_they_take(self):
        async def works():
            for _ in range(3):
                end = time.thread_time() + 0.01
                while time.thread_time() < end:
                    pass
                await asyncio.sleep(0)

        def find():
            name = works.__qualname__
            (found,) = [
                each for each in ferrio.metrics()["coroutines"] if each["coroutine"] == name
            ]
            return found["steps"], found["times"]

        async def main():
            await asyncio.gather(*(asyncio.create_task(works()) for _ in range(2)))

        run(main)
        # Four steps each; nothing was measured.
        assert find() == (8, None)
        try:
            ferrio.run(main(), task_times=True)
        finally:
            _ferrio._measure_steps(False)
        steps, times = find()
        assert (steps, times["steps"]) == (16, 8)
        assert times["cpu"] >= 0.06
        # While the one works the other one is ready.
        assert times["delay"] >= 0.05

    def test_what_is_waited_for_by_its_name(self):
        class Kitchen:
            def __init__(self):
                self.oven = asyncio.Lock()
                self.orders = ferrio.Queue()

            async def bake(self):
                async with self.oven:
                    pass

            async def take(self):
                return await self.orders.get()

        async def use_global():
            await a_global_event.wait()

        async def use_local(gate):
            await gate.acquire()

        async def main():
            global a_global_event
            a_global_event = ferrio.Event()
            kitchen, gate = Kitchen(), ferrio.Semaphore(0)
            await kitchen.oven.acquire()
            waiting = [
                kitchen.bake(),
                kitchen.bake(),
                kitchen.take(),
                use_global(),
                use_local(gate),
            ]
            tasks = [asyncio.create_task(coroutine) for coroutine in waiting]
            await asyncio.sleep(0)
            found = ferrio.metrics()["interpreter"]
            infos = {info.coroutine: info.wait for info in ferrio.tasks()}
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
            return found, infos[Kitchen.bake.__qualname__].name

        found, shown = run(main)
        names = {wait["kind"]: (wait["name"], wait["tasks"]) for wait in found["waits"]}
        # Before 3.12 variables of functions cannot be read without keeping their values.
        local = "gate" if sys.version_info >= (3, 12) else None
        assert names == {
            "lock": ("Kitchen.oven", 2),
            "queue-get": ("Kitchen.orders", 1),
            "event": ("a_global_event", 1),
            "semaphore": (local, 1),
        }
        assert shown == "Kitchen.oven"
        (queues,) = [each for each in found["queues"] if each["getters"]]
        assert queues["name"] == "Kitchen.orders"

    def test_looking_for_names_keeps_nothing_and_runs_nothing(self):
        import gc
        import weakref

        class Odd:
            def __getattribute__(self, name):
                raise AssertionError(name)

        class Thing:
            pass

        async def wait(event):
            thing, odd = Thing(), Odd()
            seen.append(weakref.ref(thing))
            await event.wait()
            del thing, odd
            await asyncio.sleep(1000)

        seen = []

        async def main():
            event = ferrio.Event()
            task = asyncio.create_task(wait(event))
            await asyncio.sleep(0)
            for _ in range(3):
                ferrio.metrics()
            event.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            gc.collect()
            assert seen[0]() is None
            task.cancel()
            await asyncio.wait([task])

        run(main)

    def test_without_a_look_at_every_task(self):
        async def main():
            return ferrio.metrics(tasks=False)

        found = run(main)
        assert found["interpreter"] is None
        assert found["coroutines"]


def test_from_any_thread_and_without_a_loop():
    results = []
    thread = threading.Thread(target=lambda: results.append(ferrio.metrics()))
    thread.start()
    thread.join()
    assert results[0]["process"] == os.getpid()


@pytest.mark.keeps_something("OpenTelemetry keeps its providers until the process ends")
class TestOpenTelemetry:
    @pytest.fixture
    def reader(self):
        export = pytest.importorskip("opentelemetry.sdk.metrics.export")
        return export.InMemoryMetricReader()

    @pytest.fixture
    def provider(self, reader):
        from opentelemetry.sdk.metrics import MeterProvider

        provider = MeterProvider([reader])
        yield provider
        provider.shutdown()

    def points(self, reader):
        """Return the data points of each instrument by its name."""
        (resource,) = reader.get_metrics_data().resource_metrics
        (scope,) = resource.scope_metrics
        assert scope.scope.name == "ferrio"
        return {metric.name: metric.data.data_points for metric in scope.metrics}

    def test_what_the_loop_counts_is_collected(self, reader, provider):
        async def main():
            ferrio.instrument_opentelemetry(provider)
            await asyncio.to_thread(int)
            await asyncio.sleep(0.01)
            return self.points(reader), numbers_of_the_loop()

        points, numbers = run(main)
        (turns,) = [
            point
            for point in points["ferrio.loop.turns"]
            if point.attributes["loop"] == numbers["id"]
        ]
        assert 0 < turns.value <= numbers["turns"]
        assert points["ferrio.executor.jobs"][-1].value == 1
        assert {point.attributes["kind"] for point in points["ferrio.transports"]} == {
            "stream",
            "tls",
            "datagram",
            "pipe",
        }
        assert any(point.attributes["coroutine"] for point in points["ferrio.tasks"])
        assert sum(point.value for point in points["ferrio.tasks.steps"]) > 0

    def test_queues_and_waits_are_collected(self, reader, provider):
        async def main():
            ferrio.instrument_opentelemetry(provider)
            queue, lock = ferrio.Queue(), ferrio.Lock()
            for number in range(3):
                queue.put_nowait(number)

            async def wait():
                async with lock:
                    pass

            async with lock:
                waiting = asyncio.create_task(wait())
                await asyncio.sleep(0)
                points = self.points(reader)
            await waiting
            return points, queue

        points, _ = run(main)
        (waiting,) = [
            point for point in points["ferrio.tasks.waiting"] if point.attributes["for"] == "lock"
        ]
        assert waiting.value == 1
        assert waiting.attributes["code.function.name"].endswith("main.<locals>.wait")
        states = {p.attributes["state"]: p.value for p in points["ferrio.tasks.by_state"]}
        assert (states["running"], states["waiting"]) == (1, 1)
        (items,) = [
            point
            for point in points["ferrio.queue.items"]
            if point.attributes["code.file.path"] == __file__ and point.value
        ]
        assert items.value == 3
        assert any(point.value == 3 for point in points["ferrio.queue.unfinished"])
        assert points["ferrio.queues"]

    def test_while_the_loop_is_blocked(self, reader, provider):
        collected = []

        async def main():
            ferrio.instrument_opentelemetry(provider)
            await asyncio.sleep(0.01)
            thread = threading.Thread(target=lambda: collected.append(self.points(reader)))
            thread.start()
            thread.join()

        run(main)
        assert collected[0]["ferrio.loop.lag"][-1].value > 0

    def test_the_global_provider_is_the_default(self):
        pytest.importorskip("opentelemetry.metrics")
        # Without a provider of an SDK its instruments do nothing, and raise nothing.
        ferrio.instrument_opentelemetry()

    def test_without_the_api(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
        with pytest.raises(ImportError):
            ferrio.instrument_opentelemetry()
