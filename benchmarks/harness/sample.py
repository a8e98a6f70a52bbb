"""Sampling: choosing how many operations a sample takes, and measuring it."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from harness.case import (
    Case,
    CoroutineCase,
    FunctionCase,
    LoopFactory,
    MemoryCase,
    verify,
)

CALIBRATION_SHARE = 0.2
"""Part of a sample's CPU time that a trial must take for the rate to be believed."""

WARM_UP_SHARE = 0.1
"""Part of a sample's operations done before it, when their number is known already."""


@dataclass(frozen=True)
class Sample:
    """One measurement."""

    operations: int
    amount: int
    """In the case's unit, all operations together: nanoseconds of CPU time, or bytes."""
    wall_ns: int

    @property
    def per_operation(self) -> float:
        """The figure that is compared."""
        return self.amount / self.operations


Trial = Callable[[int], Sample]
"""Does a number of operations and measures them."""


def sample_at_rate(case: Case, trial: Trial, target_ns: int, operations: int | None) -> Sample:
    """Warm up, then take the sample.

    Without `operations` their number is found by trials, so that the sample takes about
    `target_ns` of CPU time; the trials are the warm-up then.
    """
    if operations is None:
        operations = calibrate(case, trial, target_ns)
    else:
        trial(warm_up(case, operations))
    return trial(operations)


def warm_up(case: Case, operations: int) -> int:
    """How many operations come before a sample of so many."""
    return case.whole_batches(operations * WARM_UP_SHARE)


def calibrate(case: Case, trial: Trial, target_ns: int) -> int:
    """How many operations take about `target_ns` of CPU time."""
    operations = case.whole_batches(1)
    while True:
        amount = max(trial(operations).amount, 1)
        enough = amount >= target_ns * CALIBRATION_SHARE
        if enough:
            return case.whole_batches(operations * target_ns / amount)
        # The first trials are cold and too short to say much: grow by 2 to 20 times.
        growth = target_ns * CALIBRATION_SHARE * 1.2 / amount
        operations = case.whole_batches(operations * min(max(growth, 2.0), 20.0))


def _nothing(runner: asyncio.Runner) -> AbstractContextManager[None]:
    return nullcontext()


def sample_in_this_process(
    case: Case,
    factory: LoopFactory,
    target_ns: int,
    operations: int | None,
    *,
    around: Callable[[asyncio.Runner], AbstractContextManager[None]] = _nothing,
) -> Sample:
    """Take one sample of a case that needs no second process.

    `around` is what the loop runs in, where there is one for the whole sample.
    """
    match case:
        case CoroutineCase():
            with asyncio.Runner(loop_factory=factory) as runner, around(runner):
                return sample_at_rate(
                    case, lambda count: runner.run(_window(case, count)), target_ns, operations
                )
        case FunctionCase():
            return sample_at_rate(
                case, lambda count: _function_trial(case, factory, count), target_ns, operations
            )
        case MemoryCase():
            with asyncio.Runner(loop_factory=factory) as runner, around(runner):
                return runner.run(_memory(case, operations or case.population))
        case _:
            raise TypeError(f"{case.name} needs other processes")


async def _window(case: CoroutineCase, operations: int) -> Sample:
    """Measure inside the loop, so that starting and closing it stays outside."""
    gc.collect()
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    done = await case.body(operations)
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    verify(f"operations done by {case.name}", done, operations)
    return Sample(operations, cpu, wall)


def _function_trial(case: FunctionCase, factory: LoopFactory, operations: int) -> Sample:
    gc.collect()
    wall, cpu = time.perf_counter_ns(), time.process_time_ns()
    done = case.body(factory, operations)
    cpu, wall = time.process_time_ns() - cpu, time.perf_counter_ns() - wall
    verify(f"operations done by {case.name}", done, operations)
    return Sample(operations, cpu, wall)


async def _memory(case: MemoryCase, population: int) -> Sample:
    wall = time.perf_counter_ns()
    amount = await case.body(population)
    return Sample(population, amount, time.perf_counter_ns() - wall)
