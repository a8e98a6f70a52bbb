"""What the tests of deadlocks share: what was told of, and programs that nobody wakes."""

import asyncio
import functools
import signal
import subprocess
import sys
import threading
import time

import pytest

import ferrio
from watch import warnings_of

LIBRARIES = pytest.mark.parametrize("library", [asyncio, ferrio], ids=["asyncio's", "ferrio's"])


@pytest.fixture
def told(caplog):
    """The messages of the logger ``ferrio.deadlock``."""
    return functools.partial(warnings_of, "ferrio.deadlock", caplog)


async def until(condition):
    """Wait for it, on a loop that has a timer meanwhile."""
    loop = asyncio.get_running_loop()
    end = loop.time() + 60
    while not condition():
        assert loop.time() < end, "in vain"
        await ferrio.sleep(0.05)


def run_alone(program, *, until=None, seconds=0.2):
    """Run a program in a process without other threads; return what it writes to stderr.

    It prints "ready" when it is about to wait. A signal, SIGALRM, comes when it has written a line
    with ``until`` in it, and so many seconds more have passed.
    """
    with subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        limit = threading.Timer(60, process.kill)
        limit.start()
        errors = ""
        if process.stdout.readline() == "ready\n":
            while until is not None and until not in errors:
                line = process.stderr.readline()
                if not line:
                    break
                errors += line
            time.sleep(seconds)
            process.send_signal(signal.SIGALRM)
        errors += process.stderr.read()
        limit.cancel()
        limit.join()
    assert process.returncode == 0, errors
    return errors
