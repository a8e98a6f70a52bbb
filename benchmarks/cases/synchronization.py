"""Tasks that wait for each other, and tasks that wait with a time limit."""

from __future__ import annotations

import asyncio

from harness.case import coroutine_case, verify

GROUP = "Synchronization"


@coroutine_case("queue-ping-pong", title="Queue ping-pong, round trip", group=GROUP)
async def queue_ping_pong(operations: int) -> int:
    """What does a message between two tasks cost, there and back, when each waits for the other?"""
    there: asyncio.Queue[int] = asyncio.Queue()
    back: asyncio.Queue[int] = asyncio.Queue()

    async def reply() -> None:
        for _ in range(operations):
            await back.put(await there.get())

    replying = asyncio.create_task(reply())
    done = 0
    for number in range(operations):
        await there.put(number)
        verify("the reply", await back.get(), number)
        done += 1
    await replying
    return done


@coroutine_case("lock-contended", title="Lock, 10 tasks contending", group=GROUP, batch=10)
async def lock_contended(operations: int) -> int:
    """What does it cost to acquire and release a lock that nine other tasks want too?

    The holder yields once while it holds the lock, or nobody would ever have to wait.
    """
    lock = asyncio.Lock()
    holders = 0
    done = 0

    async def contend(count: int) -> None:
        nonlocal holders, done
        for _ in range(count):
            async with lock:
                holders += 1
                verify("tasks that hold the lock", holders, 1)
                await asyncio.sleep(0)
                holders -= 1
                done += 1

    await asyncio.gather(*[contend(operations // 10) for _ in range(10)])
    return done


@coroutine_case("timeout", title="async with timeout(60)", group=GROUP)
async def timeout_that_does_not_strike(operations: int) -> int:
    """What does `async with asyncio.timeout(60)` cost around an await that is soon done?"""
    done = 0
    for _ in range(operations):
        async with asyncio.timeout(60):
            await asyncio.sleep(0)
            done += 1
    return done


@coroutine_case("wait-for", title="wait_for(coroutine, 60)", group=GROUP)
async def wait_for_that_does_not_strike(operations: int) -> int:
    """What does `asyncio.wait_for(…, 60)` cost around a coroutine that yields once?"""

    async def answer(number: int) -> int:
        await asyncio.sleep(0)
        return number

    total = 0
    for number in range(operations):
        total += await asyncio.wait_for(answer(number), 60)
    verify("sum of the results", total, operations * (operations - 1) // 2)
    return operations
