"""Many random programs: see tests/python/random_program.py."""

import asyncio

import pytest

import ferrio
from test_descriptor_programs import run as run_descriptors
from test_differential import EVERY_FUTURE, EVERY_TASK, compare, expected, run
from watch import collecting_all_the_time

KINDS = {
    "ferrio": (ferrio.EventLoop, (ferrio.Task,), (ferrio.Future,)),
    "mixed": (ferrio.EventLoop, EVERY_TASK, EVERY_FUTURE),
    "on asyncio": (
        asyncio.SelectorEventLoop,
        (ferrio.Task, asyncio.Task),
        (ferrio.Future, asyncio.Future),
    ),
}


@pytest.mark.parametrize("first", range(1000, 1400, 20))
def test_random_programs(first, watched):
    for seed in range(first, first + 20):
        wanted = expected(seed)
        for kind in KINDS.values():
            compare(run(kind[0], seed, kind[1], kind[2]), wanted)


@pytest.mark.parametrize("seed", range(2000, 2020))
def test_random_programs_while_garbage_is_collected_all_the_time(seed, watched):
    wanted = expected(seed, size=20)
    with collecting_all_the_time():
        log = run(ferrio.EventLoop, seed, (ferrio.Task,), (ferrio.Future,), size=20)
        mixed = run(*KINDS["mixed"][:1], seed, *KINDS["mixed"][1:], size=20)
    compare(log, wanted)
    compare(mixed, wanted)


@pytest.mark.parametrize("seed", range(3000, 3010))
def test_large_random_programs(seed, watched):
    wanted = expected(seed, size=600)
    compare(run(ferrio.EventLoop, seed, (ferrio.Task,), (ferrio.Future,), size=600), wanted)


@pytest.mark.parametrize("seed", range(4000, 4200))
def test_random_programs_over_descriptors(seed, watched):
    assert run_descriptors(ferrio.EventLoop, seed) == run_descriptors(
        asyncio.SelectorEventLoop, seed
    )
