"""The fixtures of the tests that run on asyncio and on ferrio alike, for the conftest.py files.

A test that asks for ``loop`` runs twice. It fails if it leaves a handle, a task, a transport or
a file descriptor behind, if the loop's exception handler was told something that the test did
not take from ``reports``, and if there was a warning, a log record (``logged``) or an unraisable
exception that it did not expect.
"""

import asyncio
import faulthandler
import gc
import os

import pytest

from implementations import IMPLEMENTATIONS
from turns import with_manual_clock
from watch import LogRecords, Reports, leftovers, newly_opened, no_complaints, open_descriptors

# Seconds after which a test that hangs ends the session, with every thread's stack.
LONGEST_TEST = int(os.environ.get("FERRIO_LONGEST_TEST", "120"))

# With 1 the garbage collector runs after every few objects, as it may at any moment of any program.
GC_THRESHOLD = int(os.environ.get("FERRIO_TEST_GC_THRESHOLD", "0"))

_real_stderr = None


def pytest_configure(config):
    global _real_stderr
    if _real_stderr is not None:
        # Another directory's conftest.py was first.
        return
    capture = config.pluginmanager.getplugin("capturemanager")
    with capture.global_and_fixture_disabled():
        _real_stderr = os.fdopen(os.dup(2), "w")


def pytest_unconfigure(config):
    _real_stderr.close()


def forget_what_exists():
    """Let no collection look any more at what exists by now, after one that did.

    Tests, and what pytest notes of each, live as long as the session. There are more of them than
    of what a test makes, and several collections end each test.
    """
    gc.collect()
    gc.freeze()


def pytest_collection_finish(session):
    forget_what_exists()
    if GC_THRESHOLD:
        gc.set_threshold(GC_THRESHOLD)


@pytest.fixture(params=list(IMPLEMENTATIONS))
def implementation(request):
    """asyncio in one run of the test and ferrio in the other, under the same names."""
    return IMPLEMENTATIONS[request.param]


@pytest.fixture
def watched():
    """The checks that need no loop: warnings, unraisable exceptions, log records, descriptors."""
    forget_what_exists()
    faulthandler.dump_traceback_later(LONGEST_TEST, exit=True, file=_real_stderr)
    before = open_descriptors()
    logged = LogRecords()
    try:
        with no_complaints(), logged.attached():
            yield logged
            gc.collect()
    finally:
        faulthandler.cancel_dump_traceback_later()
    records = logged.texts()
    assert not records, records
    opened = newly_opened(before)
    assert not opened, f"open file descriptors: {opened}"


@pytest.fixture
def logged(watched):
    """Warnings and errors of the logger ``asyncio``, to be taken by the test."""
    return watched


@pytest.fixture
def reports(watched):
    """What the exception handler of ``loop`` was told, to be taken by the test."""
    return Reports()


@pytest.fixture
def make_loop(implementation, reports):
    """Makes loops, of ``implementation`` or of the class given, that are checked and closed."""
    loops = []

    def make(loop_class=None):
        loop = (loop_class or implementation.EventLoop)()
        loop.set_exception_handler(reports)
        # For when the test turns debug mode on: a busy machine is no fault of a callback's.
        loop.slow_callback_duration = 1000
        loops.append(loop)
        return loop

    yield make
    left = []
    for loop in loops:
        left += leftovers(loop)
        loop.close()
    loops.clear()
    loop = None
    asyncio.set_event_loop(None)
    gc.collect()
    assert not left, left
    assert not len(reports), reports.take()


@pytest.fixture
def loop(make_loop):
    """A loop; not the thread's current one."""
    return make_loop()


@pytest.fixture
def clocked_loop(make_loop, implementation):
    """A loop whose time stands still; ``advance(seconds)`` moves it and runs a turn."""
    return make_loop(with_manual_clock(implementation.EventLoop))
