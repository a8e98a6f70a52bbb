"""How costs grow: the same operation among 1, 10, … 100,000 of a kind.

These take long, so a run leaves them out unless it is asked for them (`--growth`, or their names).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from cases.echo import serve_protocol
from harness.case import CoroutineCase, EchoCase, question_of, register, verify

GROUP = "Growth"

TURNS = 10
"""What each task does in the cases about many tasks, so that its start and end count little."""

NUMBERS = (1, 10, 100, 1_000, 10_000, 100_000)


def _among_tasks(tasks: int) -> Callable[[int], Awaitable[int]]:
    async def take_turns(operations: int) -> int:
        """What does `sleep(0)` cost among so many tasks, each of which does it ten times?"""
        done = 0

        async def sleeper() -> int:
            for _ in range(TURNS):
                await asyncio.sleep(0)
            return TURNS

        for _ in range(operations // (tasks * TURNS)):
            running = [asyncio.create_task(sleeper()) for _ in range(tasks)]
            for task in running:
                done += await task
        return done

    return take_turns


def _among_timers(timers: int) -> Callable[[int], Awaitable[int]]:
    async def fire_in_turn(operations: int) -> int:
        """What does a timer cost that is set and fires, while so many others wait for theirs?"""
        loop = asyncio.get_running_loop()
        too_early = 0

        def strike() -> None:
            nonlocal too_early
            too_early += 1

        now = loop.time()
        waiting = [loop.call_at(now + 3600 + number, strike) for number in range(timers)]
        finished: asyncio.Future[int] = loop.create_future()
        done = 0

        def step() -> None:
            nonlocal done
            done += 1
            if done < operations:
                loop.call_later(0, step)
            else:
                finished.set_result(done)

        loop.call_later(0, step)
        await finished
        for handle in waiting:
            handle.cancel()
        verify("timers that fired too early", too_early, 0)
        return done

    return fire_in_turn


for _number in NUMBERS:
    _body = _among_tasks(_number)
    register(
        CoroutineCase(
            name=f"growth-tasks-{_number}",
            title=f"sleep(0) among {_number:,}",
            group=f"{GROUP}: tasks",
            question=question_of(_body),
            batch=_number * TURNS,
            growth=True,
            body=_body,
        )
    )

for _number in NUMBERS:
    _body = _among_timers(_number)
    register(
        CoroutineCase(
            name=f"growth-timers-{_number}",
            title=f"A timer among {_number:,}",
            group=f"{GROUP}: timers",
            question=question_of(_body),
            uses_names=False,
            growth=True,
            body=_body,
        )
    )

# One connection to an echo server is one of its files and one of the client's; more than 10,000
# are more than many machines allow a process.
for _number in NUMBERS[:-1]:
    register(
        EchoCase(
            name=f"growth-connections-{_number}",
            title=f"Protocol echo beside {_number:,} idle",
            group=f"{GROUP}: connections",
            question=question_of(serve_protocol) + " And while so many others are idle?",
            batch=100,
            start_server=serve_protocol,
            connections=100,
            size=1024,
            idle=_number,
            uses_names=False,
            growth=True,
        )
    )
