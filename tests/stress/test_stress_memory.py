"""Long runs that must not grow: what leaks a little each time shows after many times."""

import asyncio
import gc
import os
import socket
import weakref

import pytest

pytestmark = pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="the sanitizer keeps what is freed"
)


def resident():
    """The process's memory in KiB."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") // 1024


def assert_steady(repeat, *, rounds=8, tolerance=2048):
    """After two rounds to warm up, the others must not add more than ``tolerance`` KiB."""
    for _ in range(2):
        repeat()
    gc.collect()
    before = resident()
    for _ in range(rounds):
        repeat()
    gc.collect()
    grown = resident() - before
    assert grown < tolerance, f"{grown} KiB more after {rounds} rounds"


def test_tasks_and_futures(loop):
    async def program():
        for _ in range(5000):
            future = loop.create_future()
            loop.call_soon(future.set_result, object())
            await future
            await asyncio.create_task(asyncio.sleep(0))

    assert_steady(lambda: loop.run_until_complete(program()))


def test_failures_and_cancellations(loop):
    async def fails():
        raise ZeroDivisionError

    async def program():
        for _ in range(3000):
            try:
                await asyncio.create_task(fails())
            except ZeroDivisionError:
                pass
            task = asyncio.create_task(asyncio.sleep(1000))
            await asyncio.sleep(0)
            task.cancel("message")
            try:
                await task
            except asyncio.CancelledError:
                pass

    assert_steady(lambda: loop.run_until_complete(program()))


def test_timers(loop):
    def repeat():
        for _ in range(50):
            handles = [loop.call_later(1000 + index, int) for index in range(1000)]
            for handle in handles:
                handle.cancel()
        loop.stop()
        loop.run_forever()

    assert_steady(repeat)


def test_timers_among_a_few_that_stay(loop):
    kept = [loop.call_later(3600 + index, int) for index in range(50)]

    def repeat():
        for index in range(50_000):
            loop.call_later(1000 + index % 7, int).cancel()
        loop.stop()
        loop.run_forever()

    assert_steady(repeat)
    for handle in kept:
        handle.cancel()


def test_callbacks_that_come_and_go_on_one_future(loop):
    future = loop.create_future()

    def repeat():
        for _ in range(20_000):
            future.add_done_callback(print)
            future.remove_done_callback(print)

    assert_steady(repeat)
    future.cancel()


def test_waits_that_come_and_go_on_one_future(loop):
    future = loop.create_future()

    async def program():
        for _ in range(2000):
            try:
                async with asyncio.timeout(0):
                    await asyncio.shield(future)
            except TimeoutError:
                pass

    assert_steady(lambda: loop.run_until_complete(program()))
    future.cancel()


def test_loops(implementation, watched):
    def repeat():
        for _ in range(200):
            loop = implementation.EventLoop()
            loop.run_until_complete(asyncio.sleep(0))
            loop.close()

    assert_steady(repeat)


def test_descriptors(loop):
    def repeat():
        for _ in range(500):
            one, other = socket.socketpair()
            loop.add_reader(one, int)
            loop.add_writer(one, int)
            loop.stop()
            loop.run_forever()
            loop.remove_reader(one)
            loop.remove_writer(one)
            one.close()
            other.close()

    assert_steady(repeat)


def test_calls_from_threads(loop):
    import threading

    def repeat():
        def send():
            for _ in range(20_000):
                loop.call_soon_threadsafe(int)
            loop.call_soon_threadsafe(loop.stop)

        thread = threading.Thread(target=send)
        thread.start()
        loop.run_forever()
        thread.join()

    assert_steady(repeat)


def test_subclasses(implementation, loop):
    """Each class has a shadow, and both go."""
    references = []

    def repeat():
        for _ in range(100):

            class MyFuture(implementation.Future):
                pass

            future = MyFuture(loop=loop)
            assert isinstance(future, asyncio.Future)
            references.append(weakref.ref(MyFuture))
            del future, MyFuture
            gc.collect()

    assert_steady(repeat, rounds=4)
    assert not any(reference() for reference in references)


def test_many_parked_tasks(loop):
    """What they cost is given back."""

    async def waits():
        await loop.create_future()

    def repeat():
        tasks = [loop.create_task(waits()) for _ in range(20_000)]
        loop.stop()
        loop.run_forever()
        for task in tasks:
            task.cancel()
        loop.stop()
        loop.run_forever()
        loop.stop()
        loop.run_forever()
        assert all(task.done() for task in tasks)

    assert_steady(repeat, rounds=4, tolerance=8192)
