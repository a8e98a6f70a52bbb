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


@coroutine_case("queue-put-get", title="Queue put + get, without waiting", group=GROUP)
async def queue_put_and_get(operations: int) -> int:
    """What does it cost to put an item into a queue with room, and to get it at once?

    Nobody waits, so no task is switched: it is the price of the two calls and their awaits.
    """
    queue: asyncio.Queue[int] = asyncio.Queue()
    total = 0
    for number in range(operations):
        await queue.put(number)
        total += await queue.get()
    verify("sum of the items", total, operations * (operations - 1) // 2)
    return operations


@coroutine_case("lock-uncontended", title="Lock, nobody contending", group=GROUP)
async def lock_uncontended(operations: int) -> int:
    """What does `async with lock` cost when nobody else wants the lock?"""
    lock = asyncio.Lock()
    done = 0
    for _ in range(operations):
        async with lock:
            done += 1
    verify("the lock is held at the end", lock.locked(), False)
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


@coroutine_case("semaphore", title="Semaphore, with room", group=GROUP)
async def semaphore_with_room(operations: int) -> int:
    """What does `async with semaphore` cost when there is room for one more?"""
    semaphore = asyncio.Semaphore(2)
    done = 0
    for _ in range(operations):
        async with semaphore:
            done += 1
    verify("the semaphore is free at the end", semaphore.locked(), False)
    return done


@coroutine_case(
    "semaphore-contended",
    title="Semaphore of 3, 10 tasks contending",
    group=GROUP,
    batch=10,
)
async def semaphore_contended(operations: int) -> int:
    """What does it cost to pass a semaphore of 3 that ten tasks want to pass?

    As with the lock, who has passed yields once before leaving.
    """
    semaphore = asyncio.Semaphore(3)
    inside = 0
    done = 0

    async def contend(count: int) -> None:
        nonlocal inside, done
        for _ in range(count):
            async with semaphore:
                inside += 1
                verify("more than 3 are inside", inside > 3, False)
                await asyncio.sleep(0)
                inside -= 1
                done += 1

    await asyncio.gather(*[contend(operations // 10) for _ in range(10)])
    return done


@coroutine_case("event", title="Event ping-pong, round trip", group=GROUP)
async def event_ping_pong(operations: int) -> int:
    """What does it cost to wake a task by an event, and to be woken by another in return?"""
    there, back = asyncio.Event(), asyncio.Event()
    answered = 0

    async def answer() -> None:
        nonlocal answered
        for _ in range(operations):
            await there.wait()
            there.clear()
            answered += 1
            back.set()

    answering = asyncio.create_task(answer())
    for number in range(operations):
        there.set()
        await back.wait()
        back.clear()
        verify("answers", answered, number + 1)
    await answering
    return answered


@coroutine_case("condition", title="Condition, two tasks in turn", group=GROUP, batch=2)
async def condition_in_turn(operations: int) -> int:
    """What does a turn cost when two tasks take turns by a condition?

    Each waits until it is its turn, and notifies the other: acquire, wait, notify, release.
    """
    condition = asyncio.Condition()
    turn = 0
    done = 0

    async def play(own: int) -> None:
        nonlocal turn, done
        for _ in range(operations // 2):
            async with condition:
                while turn != own:
                    await condition.wait()
                done += 1
                turn = 1 - own
                condition.notify()

    await asyncio.gather(play(0), play(1))
    return done


@coroutine_case("barrier", title="Barrier of 10, per task", group=GROUP, batch=10)
async def barrier_of_10(operations: int) -> int:
    """What does it cost each of ten tasks to wait for the others at a barrier?"""
    barrier = asyncio.Barrier(10)
    arrivals = 0
    done = 0

    async def arrive_often(count: int) -> None:
        nonlocal arrivals, done
        for number in range(count):
            arrivals += 1
            await barrier.wait()
            verify("who has not arrived", max(0, 10 * (number + 1) - arrivals), 0)
            done += 1

    await asyncio.gather(*[arrive_often(operations // 10) for _ in range(10)])
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
