"""Memory: what a program pays for having many things that wait."""

from __future__ import annotations

import asyncio
import gc
import os

from cases.echo import serve_protocol, serve_streams
from harness.case import EchoCase, Unit, memory_case, register, verify
from harness.processes import resident_bytes

GROUP = "Memory"

CROWD = 1_000
"""Tasks started in one turn: few, so that the ready queue's own growth does not count."""


CONNECTIONS = 1_000
"""Connections open at once in the cases about them."""


async def _park(
    tasks: list[asyncio.Task[int] | None], futures: list[asyncio.Future[int] | None]
) -> None:
    """Fill both lists: each task waits for the future in its own place."""
    loop = asyncio.get_running_loop()

    async def wait_for_own(future: asyncio.Future[int]) -> int:
        return await future

    for index in range(len(tasks)):
        future: asyncio.Future[int] = loop.create_future()
        futures[index] = future
        tasks[index] = asyncio.create_task(wait_for_own(future))
        if index % CROWD == 0:
            await asyncio.sleep(0)
    await asyncio.sleep(0)


async def _wake(
    tasks: list[asyncio.Task[int] | None], futures: list[asyncio.Future[int] | None]
) -> int:
    """Give every future its result; returns how many tasks got it."""
    for future in futures:
        assert future is not None
        future.set_result(1)
    return sum([await task for task in tasks if task is not None])


@memory_case(
    "parked-task",
    title="Memory of a parked task",
    group=GROUP,
    population=100_000,
    uses_names=False,
)
async def parked_task(population: int) -> int:
    """How many bytes does a task take that waits for a future, the future and coroutine included?

    Resident memory before and after 100,000 of them exist. The lists that hold them are made
    before; what the loop's free lists and tables need once is touched by a few tasks before.
    """
    few: tuple[list[asyncio.Task[int] | None], list[asyncio.Future[int] | None]]
    few = [None] * 100, [None] * 100
    await _park(*few)
    verify("warm-up tasks woken", await _wake(*few), 100)
    tasks: list[asyncio.Task[int] | None] = [None] * population
    futures: list[asyncio.Future[int] | None] = [None] * population
    gc.collect()

    before = resident_bytes(os.getpid())
    await _park(tasks, futures)
    gc.collect()
    grown = resident_bytes(os.getpid()) - before

    # The task that runs this is one of all.
    verify("tasks parked", len(asyncio.all_tasks()) - 1, population)
    verify("tasks woken", await _wake(tasks, futures), population)
    return grown


for kind, start_server in (("Protocol", serve_protocol), ("streams", serve_streams)):
    register(
        EchoCase(
            name=f"connection-{kind.lower()}",
            title=f"Memory of a connection, {kind}",
            group=GROUP,
            question=(
                f"How many bytes does each of {CONNECTIONS:,} connections take in an echo server "
                f"made with {kind}?\n\nResident memory of the server, without what the kernel "
                "keeps for its sockets, before they connect and after each has echoed 1 KiB. A few "
                "others have come and gone before, so the pages of the code are not counted."
            ),
            unit=Unit.BYTES,
            batch=CONNECTIONS,
            start_server=start_server,
            connections=CONNECTIONS,
            size=1024,
            uses_names=start_server is serve_streams,
            has_floor=False,
        )
    )
