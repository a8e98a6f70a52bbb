"""The helpers and fixtures of tests/python, for what takes too long to run with every change."""

import asyncio
import gc
import random
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from fixtures import (
    clocked_loop,
    implementation,
    logged,
    loop,
    make_loop,
    pytest_collection_finish,
    pytest_configure,
    pytest_unconfigure,
    reports,
    watched,
)

__all__ = [
    "chance",
    "clocked_loop",
    "collecting_all_the_time",
    "implementation",
    "logged",
    "loop",
    "make_loop",
    "pytest_collection_finish",
    "pytest_configure",
    "pytest_unconfigure",
    "reports",
    "run",
    "watched",
]


@pytest.fixture
def chance():
    """A source of random numbers that are the same in every run."""
    return random.Random(20_251_121)


@pytest.fixture
def run(implementation, reports):
    """Run a coroutine to its end on a loop of its own, which has nothing to complain of."""

    def run(main):
        with asyncio.Runner(loop_factory=implementation.EventLoop) as runner:
            runner.get_loop().set_exception_handler(reports)
            return runner.run(main)

    yield run
    gc.collect()
    assert not len(reports), reports.take()


@pytest.fixture
def collecting_all_the_time():
    """The garbage collector runs after every few objects that are made."""
    before = gc.get_threshold()
    gc.set_threshold(5, 1, 1)
    yield
    gc.set_threshold(*before)
