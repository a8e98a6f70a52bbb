"""The plugin that fails tests which block the loop."""

import os
import subprocess
import sys

import pytest

TESTS = """
import asyncio
import contextlib
import os
import time

import pytest
import ferrio

# Others may have the processors, and then nothing of this program's is a block.
with contextlib.suppress(OSError):
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


async def blocks():
    threshold = asyncio.get_running_loop()._threshold()
    is_looked_for = threshold is not None and threshold < 0.3
    before = {block.id for block in ferrio.watchdog.recent_blocks()}

    def is_told():
        return any(
            block.id not in before and block.cause == "syscall:clock_nanosleep"
            for block in ferrio.watchdog.recent_blocks()
        )

    while True:
        await asyncio.sleep(0)
        time.sleep(0.3)  # the culprit
        await asyncio.sleep(0.01)
        # On a busy machine the watchdog may not come to look at the first.
        if is_told() or not is_looked_for:
            return


async def waits():
    await asyncio.sleep(0.2)


@pytest.fixture
def loop():
    loop = ferrio.new_event_loop()
    loop.run_until_complete(blocks())
    yield loop
    loop.run_until_complete(blocks())
    loop.close()
"""

LINE = 1 + TESTS.splitlines().index("        time.sleep(0.3)  # the culprit")


def run_pytest(directory, tests, *arguments, ini="", command=("-m", "pytest")):
    (directory / "test_it.py").write_text(TESTS + tests)
    (directory / "pytest.ini").write_text(f"[pytest]\n{ini}\n")
    environment = {key: value for key, value in os.environ.items() if "FERRIO" not in key}
    completed = subprocess.run(
        [sys.executable, *command, "-q", "-p", "no:cacheprovider", "--strict-markers", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )
    return completed.stdout + completed.stderr


@pytest.mark.parametrize(
    "call",
    [
        "ferrio.run(blocks())",
        "asyncio.run(blocks(), loop_factory=ferrio.new_event_loop)",
        "ferrio.new_event_loop().run_until_complete(blocks())",
        "ferrio.run(blocks(), watchdog=10)",
    ],
)
def test_a_test_that_blocks_fails_with_the_line(call, tmp_path):
    if "loop_factory" in call and sys.version_info < (3, 12):
        pytest.skip("asyncio.run has no loop_factory")
    output = run_pytest(
        tmp_path,
        f"""
@pytest.mark.no_blocking("50ms")
def test_blocks():
    {call}
""",
    )
    assert "1 failed" in output
    assert "an event loop was blocked for longer than 0.05 s" in output
    assert f"test_it.py:{LINE} in blocks: the loop was blocked for 0." in output or (
        f"test_it.py:{LINE} in blocks: the loop has been blocked for 0." in output
    )
    assert "    time.sleep(0.3)  # the culprit" in output
    assert "(cause: syscall:clock_nanosleep)" in output


def test_others_do_not(tmp_path):
    output = run_pytest(
        tmp_path,
        """
@pytest.mark.no_blocking("50ms")
def test_waits():
    ferrio.run(waits())

@pytest.mark.no_blocking
def test_blocks_no_loop():
    time.sleep(0.3)

@pytest.mark.no_blocking("50ms")
def test_fixtures(loop):
    loop.run_until_complete(waits())

def test_unmarked():
    ferrio.run(blocks())

@pytest.mark.no_blocking(time="2s")
def test_long():
    ferrio.run(blocks())
""",
    )
    assert "5 passed" in output, output


def test_loops_of_fixtures_are_watched_and_left_as_they_were(tmp_path):
    output = run_pytest(
        tmp_path,
        """
@pytest.mark.no_blocking("50ms")
def test_blocks(loop):
    loop.run_until_complete(blocks())

def test_after(loop):
    assert loop._threshold() is None
    loop.run_until_complete(blocks())
""",
    )
    assert "1 failed, 1 passed" in output, output


def test_the_option_is_for_all_but_those_that_say_otherwise(tmp_path):
    output = run_pytest(
        tmp_path,
        """
def test_blocks():
    ferrio.run(blocks())

@pytest.mark.no_blocking(0)
def test_may():
    ferrio.run(blocks())

@pytest.mark.xfail(strict=True)
def test_expected():
    ferrio.run(blocks())
""",
        ini="ferrio_no_blocking = 50ms",
    )
    assert "1 failed, 1 passed, 1 xfailed" in output, output


def test_a_test_that_fails_anyway_keeps_its_failure(tmp_path):
    output = run_pytest(
        tmp_path,
        """
@pytest.mark.no_blocking("50ms")
def test_blocks():
    ferrio.run(blocks())
    assert 1 == 2
""",
    )
    assert "assert 1 == 2" in output
    assert "blocked event loop" in output
    assert "# the culprit" in output


def test_what_is_no_time_is_told(tmp_path):
    tests = """
@pytest.mark.no_blocking("soon")
def test_marked():
    pass

@pytest.mark.no_blocking(1, 2)
def test_twice():
    pass
"""
    output = run_pytest(tmp_path, tests)
    assert "2 failed" in output
    assert 'no_blocking must be a time like "100ms" or "0.1", of 1 ms at least' in output
    assert 'no_blocking takes one time, as in @pytest.mark.no_blocking("50ms")' in output
    output = run_pytest(tmp_path, tests, ini="ferrio_no_blocking = soon")
    assert 'ferrio_no_blocking must be a time like "100ms"' in output


def test_it_can_be_left_out_and_stays_silent(tmp_path):
    tests = """
def test_blocks():
    ferrio.run(blocks())
"""
    assert "1 passed" in run_pytest(tmp_path, tests, "-p", "no:ferrio")
    strict = ("-W", "error")
    assert "1 passed" in run_pytest(tmp_path, tests, *strict)
    # ferrio is running already.
    output = run_pytest(tmp_path, tests, *strict, command=("-m", "ferrio", "-m", "pytest"))
    assert "1 passed" in output, output
