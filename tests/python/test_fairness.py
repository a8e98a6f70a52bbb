"""Nobody starves: ready descriptors, tasks that never wait, timers and threads share the loop."""

import asyncio
import os
import socket
import threading

import pytest

from turns import run_until


@pytest.fixture
def always_readable():
    reader, writer = os.pipe()
    os.write(writer, b"x")
    yield reader
    os.close(reader)
    os.close(writer)


async def steps(count, log):
    for _ in range(count):
        log.append("step")
        await asyncio.sleep(0)


def test_a_ready_descriptor_does_not_starve_tasks(loop, always_readable):
    log = []
    loop.add_reader(always_readable, log.append, "read")
    loop.run_until_complete(steps(1000, log))
    loop.remove_reader(always_readable)
    # Once a turn at most, and the task steps once a turn.
    assert log.count("read") <= 1003


def test_tasks_do_not_starve_a_ready_descriptor(loop, always_readable):
    log = []
    loop.add_reader(always_readable, log.append, "read")
    loop.run_until_complete(steps(1000, log))
    loop.remove_reader(always_readable)
    # Polls that find something go on, so it is told turn after turn.
    assert log.count("read") >= 900


def test_a_hundred_ready_descriptors_and_a_task(loop):
    pairs = [socket.socketpair() for _ in range(100)]
    log = []
    for one, other in pairs:
        other.send(b"x")
        loop.add_reader(one, log.append, "read")
    loop.run_until_complete(steps(100, log))
    for one, other in pairs:
        loop.remove_reader(one)
        one.close()
        other.close()
    assert log.count("step") == 100
    assert log.count("read") <= 100 * 103


def test_each_of_many_ready_descriptors_gets_its_turn(loop):
    """More than one batch of events holds."""
    pairs = [socket.socketpair() for _ in range(300)]
    counts = dict.fromkeys(range(300), 0)

    def read(index):
        counts[index] += 1

    for index, (one, other) in enumerate(pairs):
        other.send(b"x")
        loop.add_reader(one, read, index)
    run_until(loop, lambda: min(counts.values()) >= 10, turns=200)
    for one, other in pairs:
        loop.remove_reader(one)
        one.close()
        other.close()


def test_tasks_that_never_wait_do_not_starve_timers(loop):
    fired = []

    async def busy():
        turns = 0
        while not fired:
            await asyncio.sleep(0)
            turns += 1
        return turns

    loop.call_later(0.005, fired.append, True)
    assert loop.run_until_complete(busy()) > 0


def test_tasks_that_never_wait_do_not_starve_threads(loop):
    arrived = []

    async def busy():
        thread = threading.Thread(target=loop.call_soon_threadsafe, args=(arrived.append, True))
        thread.start()
        while not arrived:
            await asyncio.sleep(0)
        thread.join()

    loop.run_until_complete(busy())


def test_tasks_that_never_wait_do_not_starve_a_descriptor_that_becomes_ready(loop):
    one, other = socket.socketpair()
    arrived = []
    loop.add_reader(one, arrived.append, True)

    async def busy():
        for _ in range(1000):
            # Long enough without an event that polls are being skipped.
            await asyncio.sleep(0)
        other.send(b"x")
        turns = 0
        while not arrived:
            await asyncio.sleep(0)
            turns += 1
        return turns

    turns = loop.run_until_complete(busy())
    loop.remove_reader(one)
    one.close()
    other.close()
    # 50 microseconds at the most, which is some hundred turns on a fast machine.
    assert turns < 2000


def test_timers_that_are_always_due_do_not_starve_tasks_and_descriptors(loop, always_readable):
    log = []

    def again():
        log.append("timer")
        loop.call_later(0, again)

    loop.call_later(0, again)
    loop.add_reader(always_readable, log.append, "read")
    loop.run_until_complete(steps(200, log))
    loop.remove_reader(always_readable)
    again = lambda: None  # noqa: E731
    assert log.count("timer") >= 100
    assert log.count("read") >= 100


def test_calls_from_threads_do_not_starve_tasks(loop):
    """A flood through the inject queue: each turn takes what is there, and then goes on."""
    log = []
    stop = threading.Event()

    def flood():
        while not stop.is_set():
            loop.call_soon_threadsafe(int)

    thread = threading.Thread(target=flood)
    thread.start()
    try:
        loop.run_until_complete(steps(200, log))
    finally:
        stop.set()
        thread.join()
    assert log.count("step") == 200


def test_two_tasks_take_turns_whatever_they_wait_for(loop):
    order = []

    async def by_sleep():
        for _ in range(50):
            order.append("sleep")
            await asyncio.sleep(0)

    async def by_future():
        for _ in range(50):
            order.append("future")
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future

    async def main():
        await asyncio.gather(by_sleep(), by_future())

    loop.run_until_complete(main())
    # A wake by a future takes two turns where a bare yield takes one.
    assert order[:6] == ["sleep", "future", "sleep", "sleep", "future", "sleep"]
