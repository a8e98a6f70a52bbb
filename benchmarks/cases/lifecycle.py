"""Loops that begin and end: what a short program or a test pays before its first await."""

from __future__ import annotations

import asyncio

from harness.case import LoopFactory, function_case, verify

GROUP = "Lifecycle"


@function_case("loop-create-close", title="new_event_loop() + close()", group=GROUP)
def create_and_close(factory: LoopFactory, operations: int) -> int:
    """What does a loop cost that is made and closed without ever running?"""
    done = 0
    for _ in range(operations):
        loop = factory()
        loop.close()
        done += loop.is_closed()
    return done


@function_case("run-noop", title="asyncio.run(noop())", group=GROUP)
def run_noop(factory: LoopFactory, operations: int) -> int:
    """What does `asyncio.run` cost when the program does nothing?

    The Runner is what `asyncio.run` is made of; Python 3.11's own `run` takes no loop factory.
    """

    async def noop() -> int:
        return 1

    done = 0
    for _ in range(operations):
        with asyncio.Runner(loop_factory=factory) as runner:
            done += runner.run(noop())
    verify("a loop was left set", asyncio._get_running_loop(), None)
    return done
