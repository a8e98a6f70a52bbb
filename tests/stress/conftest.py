"""Fixtures of the stress tests: seeded chance, and a loop with nothing left behind.

A stress test runs on asyncio as well, which shows that what it asks for can be asked for.
"""

import asyncio
import faulthandler
import gc
import os
import random
import sys

import pytest

import ferrio

LOOPS = {"asyncio": asyncio.SelectorEventLoop, "ferrio": ferrio.EventLoop}

LONGEST_TEST = 240
"""Seconds after which a test that hangs ends the session, with every thread's stack."""


@pytest.fixture
def chance():
    """A source of random numbers that are the same in every run."""
    return random.Random(20_251_121)


@pytest.fixture(params=list(LOOPS))
def run(request):
    """Run a coroutine to its end on the loop; descriptors and complaints may not be left."""
    gc.collect()
    faulthandler.dump_traceback_later(LONGEST_TEST, exit=True, file=sys.__stderr__)
    descriptors = set(os.listdir("/proc/self/fd"))
    complaints = []

    def run(main):
        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            loop = runner.get_loop()
            loop.set_exception_handler(lambda loop, context: complaints.append(context))
            return runner.run(main)

    try:
        yield run
        gc.collect()
        assert complaints == []
        assert set(os.listdir("/proc/self/fd")) == descriptors
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def collecting_all_the_time():
    """The garbage collector runs after every few objects that are made."""
    before = gc.get_threshold()
    gc.set_threshold(5, 1, 1)
    yield
    gc.set_threshold(*before)
