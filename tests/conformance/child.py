"""Runs tests of one CPython test module in this process and tells the parent about each.

The process may die or hang at any moment: that is why every start and every end of a test is
one JSON object on a line of its own, written at once. Messages, each with a ``kind``:

- ``tests``: ``names`` of all tests of the module; the parent answers on stdin with one line, the
  JSON list of the names to run;
- ``start``: ``test``, ``log`` (the size of the log when it started);
- ``end``: ``test``, ``outcome``, ``detail``, ``seconds``;
- ``fixture``: ``scope`` (a class or the module), ``stage`` (such as ``setUpClass``), ``outcome``
  (``failed`` or ``skipped``), ``detail``;
- ``unavailable``: ``reason``; the module skips itself;
- ``broken``: ``detail``; the module cannot be imported;
- ``done``: all tests ran; what is left is the end of the interpreter.

Stdout and stderr are the log. A test that runs for too long is ended by faulthandler, together
with the process, after it wrote every thread's stack to the log.
"""

from __future__ import annotations

import argparse
import faulthandler
import gc
import importlib
import json
import os
import sys
import time
import traceback
import unittest
import warnings
from collections.abc import Iterator
from typing import Any, TextIO

# Also when multiprocessing imports this file as the main module of a process that it makes.
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import substitutions

# A test that makes processes makes them with the same loop.
LOOP_VARIABLE = "FERRIO_CONFORMANCE_LOOP"


class Channel:
    """The way to the parent. Only the process that opened it writes: forks end instead."""

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)
        self._stream: TextIO = os.fdopen(descriptor, "w", encoding="utf-8")
        self._owner = os.getpid()

    def send(self, kind: str, **message: Any) -> None:
        """Write one message."""
        if os.getpid() != self._owner:
            # A forked child of a test came back into the runner.
            os._exit(70)
        self._stream.write(json.dumps({"kind": kind, **message}) + "\n")
        self._stream.flush()


class StreamingResult(unittest.TestResult):
    """Tells the parent of each test as it starts and ends, and bounds its time."""

    def __init__(self, suite: str, channel: Channel, limit: float) -> None:
        super().__init__()
        self._suite = suite
        self._channel = channel
        self._limit = limit
        # The test that is running, and what is known of its end so far.
        self._running: str | None = None
        self._started = 0.0
        self._outcome = "passed"
        self._details: list[str] = []

    def startTest(self, test: unittest.TestCase) -> None:
        """Called by unittest before a test, its setUp included."""
        super().startTest(test)
        self._running = name_of(test, self._suite)
        self._started = time.monotonic()
        self._outcome = "passed"
        self._details = []
        sys.stdout.flush()
        self._channel.send("start", test=self._running, log=os.fstat(2).st_size)
        arm_watchdog(self._limit)

    def stopTest(self, test: unittest.TestCase) -> None:
        """Called by unittest when a test and its clean-ups are over."""
        super().stopTest(test)
        if self._running is None:
            # A test that never started: see addSkip().
            return
        seconds = time.monotonic() - self._started
        self._send_end(self._running, self._outcome, "\n".join(self._details), seconds)
        self._running = None
        if self._outcome == "failed":
            # It has left things open, held by its traceback: not for the next test to meet.
            gc.collect()
        # Fixtures of classes and modules run between tests: they get as much time.
        arm_watchdog(self._limit)

    def addError(self, test: Any, err: Any) -> None:
        """An exception in a test, or in a fixture when no test is running."""
        self._fail(test, self._describe(err))

    def addFailure(self, test: Any, err: Any) -> None:
        """A failed assertion."""
        self._fail(test, self._describe(err))

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
        """The end of a part of a test; a part that fails has the test fail."""
        if err is not None:
            self._fail(test, f"{subtest}\n{self._describe(err)}")

    def addSkip(self, test: Any, reason: str) -> None:
        """A skipped test, part of a test, or fixture."""
        if self._running is None and isinstance(test, unittest.TestCase):
            # Python 3.12.1 does not start a test that a decorator skips.
            self._send_end(name_of(test, self._suite), "skipped", reason, 0)
        elif self._running is None:
            self._send_fixture(test, "skipped", reason)
        elif self._outcome == "passed":
            self._outcome = "skipped"
            self._details.append(reason)

    def addUnexpectedSuccess(self, test: Any) -> None:
        """A test marked as an expected failure passed."""
        self._fail(test, "unexpected success of a test that CPython expects to fail")

    def _fail(self, test: Any, detail: str) -> None:
        if self._running is None:
            self._send_fixture(test, "failed", detail)
            return
        self._outcome = "failed"
        self._details.append(detail)

    def _send_end(self, test: str, outcome: str, detail: str, seconds: float) -> None:
        self._channel.send(
            "end", test=test, outcome=outcome, detail=detail, seconds=round(seconds, 3)
        )

    def _send_fixture(self, holder: Any, outcome: str, detail: str) -> None:
        # unittest describes it as "setUpClass (test.test_asyncio.test_x.Class)".
        stage, _, scope = holder.id().partition(" (")
        scope = scope.rstrip(")").removeprefix(f"{self._suite}.")
        self._channel.send("fixture", stage=stage, scope=scope, outcome=outcome, detail=detail)

    @staticmethod
    def _describe(err: Any) -> str:
        return "".join(traceback.format_exception(*err))


def arm_watchdog(seconds: float) -> None:
    """Have the process end, with the stacks of its threads in the log, after ``seconds``."""
    faulthandler.dump_traceback_later(seconds, exit=True, file=2)


def name_of(test: unittest.TestCase, suite: str) -> str:
    """Return ``test_module.Class.test_method``, without the package ``suite``."""
    return test.id().removeprefix(f"{suite}.")


def flatten(suite: unittest.TestSuite) -> Iterator[unittest.TestCase]:
    """Yield the tests of a suite of suites, in order."""
    for item in suite:
        if isinstance(item, unittest.TestSuite):
            yield from flatten(item)
        else:
            yield item


def load(suite: str, module: str, loop: str) -> dict[str, unittest.TestCase]:
    """Import the module with the loop in place; return its tests by name.

    Raises whatever importing raises, ``unittest.SkipTest`` included.
    """
    substitutions.install(loop)
    loaded = importlib.import_module(f"{suite}.{module}")
    tests = unittest.defaultTestLoader.loadTestsFromModule(loaded)
    return {name_of(test, suite): test for test in flatten(tests)}


def receive_choice() -> list[str]:
    """Read the names of the tests to run; then leave stdin empty for the tests."""
    names: list[str] = json.loads(sys.stdin.readline())
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return names


def run(channel: Channel, options: argparse.Namespace) -> None:
    """Load, ask which tests to run, and run them."""
    arm_watchdog(options.limit)
    try:
        tests = load(options.suite, options.module, options.loop)
    except unittest.SkipTest as skip:
        channel.send("unavailable", reason=str(skip))
        return
    except BaseException:
        # Whatever it is, the parent reports it.
        channel.send("broken", detail=traceback.format_exc())
        return
    channel.send("tests", names=list(tests))
    chosen = unittest.TestSuite(tests[name] for name in receive_choice())
    with warnings.catch_warnings():
        if not sys.warnoptions:
            # As unittest's own runner does.
            warnings.simplefilter("default")
        chosen.run(StreamingResult(options.suite, channel, options.limit))
    channel.send("done")


def main() -> None:
    """Read the parent's wishes from the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", required=True, help="the package that the module is in")
    parser.add_argument("--module", required=True)
    parser.add_argument("--loop", required=True)
    parser.add_argument("--limit", type=float, required=True, help="seconds for one test")
    parser.add_argument("--channel", type=int, required=True, help="descriptor to write to")
    options = parser.parse_args()
    faulthandler.enable(file=2)
    os.environ[LOOP_VARIABLE] = options.loop
    # The tests look at sys.argv as unittest's do.
    sys.argv = sys.argv[:1]
    run(Channel(options.channel), options)


if __name__ == "__main__":
    main()
elif __name__ == "__mp_main__":
    substitutions.install(os.environ[LOOP_VARIABLE])
