"""Tasks: switching between them, starting them, waking them, waiting for many."""

from __future__ import annotations

import asyncio

from harness.case import coroutine_case, verify

GROUP = "Tasks"


async def _sleep_in_turn(operations: int, tasks: int) -> int:
    async def sleeper(count: int) -> int:
        done = 0
        for _ in range(count):
            await asyncio.sleep(0)
            done += 1
        return done

    running = [asyncio.create_task(sleeper(operations // tasks)) for _ in range(tasks)]
    return sum([await task for task in running])


@coroutine_case("sleep-1", title="await sleep(0), 1 task", group=GROUP)
async def sleep_alone(operations: int) -> int:
    """What does a turn of the loop cost when one task is ready?

    Every operation is a whole turn, with whatever the loop does in each, so a loop that asks the
    kernel for I/O every time shows it here.
    """
    return await _sleep_in_turn(operations, tasks=1)


@coroutine_case("sleep-100", title="await sleep(0), 100 tasks", group=GROUP, batch=100)
async def sleep_in_100_tasks(operations: int) -> int:
    """What does it cost to switch from one ready task to the next?"""
    return await _sleep_in_turn(operations, tasks=100)


@coroutine_case("create-task", title="create_task + await", group=GROUP)
async def create_task_and_await(operations: int) -> int:
    """What does it cost to run a coroutine as a task instead of awaiting it?"""

    async def answer(number: int) -> int:
        return number

    total = 0
    for number in range(operations):
        total += await asyncio.create_task(answer(number))
    verify("sum of the tasks' results", total, operations * (operations - 1) // 2)
    return operations


@coroutine_case("future-wake", title="Future set_result → waiter runs", group=GROUP)
async def future_wake(operations: int) -> int:
    """What does it cost to park a task on a future and to wake it from a callback?"""
    loop = asyncio.get_running_loop()
    total = 0
    for number in range(operations):
        future: asyncio.Future[int] = loop.create_future()
        loop.call_soon(future.set_result, number)
        total += await future
    verify("sum of the futures' results", total, operations * (operations - 1) // 2)
    return operations


@coroutine_case("gather-100", title="gather of 100, per child", group=GROUP, batch=100)
async def gather_100(operations: int) -> int:
    """What does each coroutine in a gather of 100 cost?"""

    async def answer(number: int) -> int:
        return number

    done = 0
    for _ in range(operations // 100):
        results = await asyncio.gather(*[answer(number) for number in range(100)])
        verify("sum of a gather's results", sum(results), 4950)
        done += len(results)
    return done


@coroutine_case("taskgroup-100", title="TaskGroup of 100, per child", group=GROUP, batch=100)
async def taskgroup_100(operations: int) -> int:
    """What does each task in a TaskGroup of 100 cost?"""
    done = 0

    async def work() -> None:
        nonlocal done
        done += 1

    for _ in range(operations // 100):
        async with asyncio.TaskGroup() as group:
            for _ in range(100):
                group.create_task(work())
    return done


@coroutine_case("wait-100", title="wait for 100 tasks, per task", group=GROUP, batch=100)
async def wait_100(operations: int) -> int:
    """What does each of 100 tasks cost that is started and waited for by `asyncio.wait`?"""

    async def answer(number: int) -> int:
        return number

    done = 0
    for _ in range(operations // 100):
        tasks = [asyncio.create_task(answer(number)) for number in range(100)]
        finished, pending = await asyncio.wait(tasks)
        verify("tasks that are pending", len(pending), 0)
        verify("sum of the results", sum([task.result() for task in finished]), 4950)
        done += len(finished)
    return done


@coroutine_case("as-completed-100", title="as_completed of 100, per child", group=GROUP, batch=100)
async def as_completed_100(operations: int) -> int:
    """What does each of 100 coroutines cost whose results are taken as they come?"""

    async def answer(number: int) -> int:
        return number

    done = 0
    for _ in range(operations // 100):
        results = [
            await next_one
            for next_one in asyncio.as_completed([answer(number) for number in range(100)])
        ]
        verify("sum of the results", sum(results), 4950)
        done += len(results)
    return done


@coroutine_case("shield", title="await shield(coroutine)", group=GROUP)
async def shielded(operations: int) -> int:
    """What does it cost to await a coroutine behind `asyncio.shield`?"""

    async def answer(number: int) -> int:
        return number

    total = 0
    for number in range(operations):
        total += await asyncio.shield(answer(number))
    verify("sum of the results", total, operations * (operations - 1) // 2)
    return operations
