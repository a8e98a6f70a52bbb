"""Random programs, run on asyncio and on ferrio, observe the same events in the same order."""

import asyncio
import gc
import itertools
import sys

import pytest

import ferrio
from random_program import Program
from turns import with_manual_clock
from watch import collecting_all_the_time

SEEDS = range(40)

EVERY_TASK = (ferrio.Task, asyncio.Task, asyncio.tasks._PyTask)
EVERY_FUTURE = (ferrio.Future, asyncio.Future, asyncio.futures._PyFuture)
if sys.version_info >= (3, 14):
    # asyncio.current_task() knows nothing of the Python twin's tasks there.
    EVERY_TASK = EVERY_TASK[:2]


def tasks_of(*classes):
    def make(chosen, loop, coroutine, name, context, eager):
        # Drawn for every kind, so that all make the same draws.
        task_class = classes[chosen.randrange(6) % len(classes)]
        if eager:
            return task_class(coroutine, loop=loop, name=name, context=context, eager_start=True)
        return task_class(coroutine, loop=loop, name=name, context=context)

    return make


def futures_of(*classes):
    def make(chosen, loop):
        return classes[chosen.randrange(6) % len(classes)](loop=loop)

    return make


def run(loop_class, seed, task_classes, future_classes, *, debug=False, size=60):
    loop = with_manual_clock(loop_class)()
    try:
        if debug:
            loop.set_debug(True)
            loop.slow_callback_duration = 1000
        program = Program(
            loop, seed, tasks_of(*task_classes), futures_of(*future_classes), size=size
        )
        return program.run()
    finally:
        loop.close()
        gc.collect()


def expected(seed, **options):
    return run(asyncio.SelectorEventLoop, seed, (asyncio.Task,), (asyncio.Future,), **options)


def compare(log, wanted):
    for index, (mine, theirs) in enumerate(itertools.zip_longest(log, wanted)):
        if mine != theirs:
            before = "\n".join(map(str, wanted[max(0, index - 15) : index]))
            raise AssertionError(f"event {index}: {mine!r} instead of {theirs!r}, after\n{before}")


@pytest.mark.parametrize("seed", SEEDS[:5])
def test_the_program_itself_is_deterministic(seed, watched):
    """Else the comparisons would say nothing."""
    compare(expected(seed), expected(seed))


@pytest.mark.parametrize("seed", SEEDS)
def test_ferrio(seed, watched):
    log = run(ferrio.EventLoop, seed, (ferrio.Task,), (ferrio.Future,))
    compare(log, expected(seed))
    assert len(log) > 100


@pytest.mark.parametrize("seed", SEEDS[:15])
def test_ferrio_in_debug_mode(seed, watched):
    log = run(ferrio.EventLoop, seed, (ferrio.Task,), (ferrio.Future,), debug=True)
    compare(log, expected(seed))


@pytest.mark.parametrize("seed", SEEDS[:15])
def test_tasks_and_futures_of_every_kind_on_ferrios_loop(seed, watched):
    log = run(
        ferrio.EventLoop,
        seed,
        EVERY_TASK,
        EVERY_FUTURE,
    )
    compare(log, expected(seed))


@pytest.mark.parametrize("seed", SEEDS[:15])
def test_tasks_and_futures_of_every_kind_on_asyncios_loop(seed, watched):
    log = run(
        asyncio.SelectorEventLoop,
        seed,
        EVERY_TASK,
        EVERY_FUTURE,
    )
    compare(log, expected(seed))


@pytest.mark.parametrize("seed", SEEDS[:15])
def test_a_subclass_that_overrides_call_soon(seed, watched):
    class Loop(ferrio.EventLoop):
        def call_soon(self, callback, *args, context=None):
            return super().call_soon(callback, *args, context=context)

    log = run(Loop, seed, (ferrio.Task,), (ferrio.Future,))
    compare(log, expected(seed))


@pytest.mark.parametrize("seed", SEEDS[:3])
def test_while_garbage_is_collected_all_the_time(seed, watched):
    wanted = expected(seed, size=15)
    with collecting_all_the_time():
        log = run(ferrio.EventLoop, seed, (ferrio.Task,), (ferrio.Future,), size=15)
    compare(log, wanted)
