"""Callbacks: at once, later, from another thread, and work given to a thread."""

from __future__ import annotations

import asyncio
import random
import socket
import threading

from harness.case import coroutine_case, verify

GROUP = "Scheduling"

BURST = 100
"""Timers set and cancelled in a row."""

TIMERS = 100_000
"""Timers alive at once in the case about many timers."""


@coroutine_case("call-soon", title="call_soon chain", group=GROUP, uses_names=False)
async def call_soon_chain(operations: int) -> int:
    """What does a callback cost that schedules the next one, each in a turn of its own?"""
    loop = asyncio.get_running_loop()
    finished: asyncio.Future[int] = loop.create_future()
    done = 0

    def step() -> None:
        nonlocal done
        done += 1
        if done < operations:
            loop.call_soon(step)
        else:
            finished.set_result(done)

    loop.call_soon(step)
    return await finished


@coroutine_case(
    "call-later-cancel", title="call_later + cancel", group=GROUP, batch=BURST, uses_names=False
)
async def call_later_and_cancel(operations: int) -> int:
    """What does a timer cost that is set and cancelled before it is due, as most time limits are?

    The loop gets a turn after every 100, to tidy up if that is its way.
    """
    loop = asyncio.get_running_loop()
    struck = 0

    def strike() -> None:
        nonlocal struck
        struck += 1

    done = 0
    for _ in range(operations // BURST):
        for _ in range(BURST):
            loop.call_later(60, strike).cancel()
            done += 1
        await asyncio.sleep(0)
    verify("cancelled timers that fired", struck, 0)
    return done


@coroutine_case(
    "timers-100k",
    title="100,000 timers, set and fired",
    group=GROUP,
    batch=TIMERS,
    uses_names=False,
)
async def many_timers(operations: int) -> int:
    """What does a timer cost that does fire, while 100,000 are alive in no particular order?"""
    loop = asyncio.get_running_loop()
    # The same delays for every loop.
    offsets = [index * 1e-7 for index in range(TIMERS)]
    random.Random(0).shuffle(offsets)
    done = 0
    for _ in range(operations // TIMERS):
        done += await _fire_all(loop, offsets)
    return done


async def _fire_all(loop: asyncio.AbstractEventLoop, offsets: list[float]) -> int:
    finished: asyncio.Future[int] = loop.create_future()
    fired = 0
    first_fired_at = 0.0

    def fire() -> None:
        nonlocal fired, first_fired_at
        if not fired:
            first_fired_at = loop.time()
        fired += 1
        if fired == len(offsets):
            finished.set_result(fired)

    # All are alive at once, because none can fire before this task first awaits.
    start = loop.time() + 0.2
    for offset in offsets:
        loop.call_at(start + offset, fire)
    done = await finished
    # A loop may count in milliseconds, as uvloop does; more than that is too early.
    verify("a timer fired early", first_fired_at < start - 0.001, False)
    return done


@coroutine_case("call-soon-threadsafe", title="call_soon_threadsafe", group=GROUP, uses_names=False)
async def call_soon_from_a_thread(operations: int) -> int:
    """What does a callback cost that a busy thread schedules, both threads' CPU counted?

    The thread makes its calls as fast as it can, so that thousands of them wait when the
    interpreter gives the loop its turn: what a loop allocates for each, the garbage collector
    comes to look at. A thread that waits after every call would show what waking a thread costs,
    fifty times as much, and that is no loop's doing.
    """
    loop = asyncio.get_running_loop()
    finished: asyncio.Future[None] = loop.create_future()
    done = 0

    def arrive() -> None:
        nonlocal done
        done += 1

    def call() -> None:
        for _ in range(operations):
            loop.call_soon_threadsafe(arrive)
        loop.call_soon_threadsafe(finished.set_result, None)

    thread = threading.Thread(target=call)
    thread.start()
    await finished
    thread.join()
    return done


@coroutine_case("to-thread", title="await to_thread(function)", group=GROUP)
async def to_thread(operations: int) -> int:
    """What does it cost to run a function in a thread and await it, both threads' CPU counted?"""

    def answer(number: int) -> int:
        return number

    total = 0
    for number in range(operations):
        total += await asyncio.to_thread(answer, number)
    verify("sum of the results", total, operations * (operations - 1) // 2)
    return operations


@coroutine_case(
    "add-reader-ping-pong",
    title="add_reader ping-pong, round trip",
    group=GROUP,
    uses_names=False,
)
async def add_reader_ping_pong(operations: int) -> int:
    """What do two reader callbacks cost that answer each other by a byte over a socket pair?

    Two turns of the loop, and a recv and a send in each.
    """
    loop = asyncio.get_running_loop()
    finished: asyncio.Future[int] = loop.create_future()
    left, right = socket.socketpair()
    done = 0

    def answer() -> None:
        right.send(right.recv(1))

    def serve_again() -> None:
        nonlocal done
        verify("the byte that came back", left.recv(1), b"!")
        done += 1
        if done < operations:
            left.send(b"!")
        else:
            finished.set_result(done)

    with left, right:
        left.setblocking(False)
        right.setblocking(False)
        loop.add_reader(left, serve_again)
        loop.add_reader(right, answer)
        left.send(b"!")
        await finished
        loop.remove_reader(left)
        loop.remove_reader(right)
    return done
