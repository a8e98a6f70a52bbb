"""Runs the tests of a module in child processes, so that a crash or a hang costs one test.

The child streams the start and end of each test (see ``child.py`` for the messages). When it
dies, the test that was running is what killed it, and another child runs the rest. Everything is
bounded: a test by its limit, which the child enforces and the parent enforces after it, the
whole by a deadline.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from outcomes import ModuleRun, Outcome, Result

SUITE = "test.test_asyncio"
CHILD = Path(__file__).with_name("child.py")
# What the child's own watchdog gets before the parent kills the child.
GRACE_SECONDS = 5.0
# How often the parent looks whether the child lives and whether it is to stop.
TICK_SECONDS = 0.2
# How much of a dead child's log goes into the result.
LOG_TAIL_BYTES = 6000

Message = dict[str, Any]
Choice = Callable[[list[str]], list[str]]


@dataclass(frozen=True)
class Limits:
    """When to give up."""

    # For one test, its set-up and clean-up included.
    test_seconds: float
    # For the whole run, on time.monotonic()'s clock.
    deadline: float
    # Set when the run is to end early.
    stop: threading.Event

    def are_over(self) -> bool:
        """Whether nothing more may be started."""
        return self.stop.is_set() or time.monotonic() >= self.deadline


class Child:
    """One process that runs tests of one module, in an empty directory of its own."""

    def __init__(self, suite: str, module: str, loop: str, limits: Limits) -> None:
        self.limits = limits
        self._directory = tempfile.TemporaryDirectory(prefix="conformance-")
        # Closed by __exit__.
        self._log: IO[bytes] = tempfile.TemporaryFile()
        self._messages, theirs = os.pipe()
        command = [sys.executable, str(CHILD), "--suite", suite, "--module", module]
        command += ["--loop", loop, "--limit", str(limits.test_seconds), "--channel", str(theirs)]
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs],
            cwd=self._directory.name,
            env=_environment(),
            process_group=0,
        )
        os.close(theirs)
        self._unread = b""
        self.timed_out = False
        # Where in the log the running test's output begins.
        self.log_start = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.end()
        os.close(self._messages)
        self._log.close()
        with contextlib.suppress(OSError):
            self._directory.cleanup()

    def choose(self, names: Iterable[str]) -> None:
        """Tell the child which tests to run."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(list(names)).encode() + b"\n")
            self._process.stdin.close()

    def messages(self) -> Iterator[Message]:
        """Yield what the child says until it exits, falls silent for too long or must stop."""
        patience = self.limits.test_seconds + GRACE_SECONDS
        heard = time.monotonic()
        while True:
            exited = self._has_exited()
            data = self._read(wait=not exited)
            *lines, self._unread = (self._unread + data).split(b"\n")
            for line in lines:
                heard = time.monotonic()
                yield json.loads(line)
            if data:
                continue
            if exited:
                return
            self.timed_out = time.monotonic() - heard > patience
            if self.timed_out or self.limits.are_over():
                return

    def end(self) -> int:
        """Kill the child if it lives, and all that it started; return its exit status."""
        if self._process.returncode is not None:
            return self._process.returncode
        if self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.close()
        # Before the child is reaped: until then nobody else can have its group's number.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def log_tail(self) -> str:
        """Return the end of what the child wrote since its running test started."""
        size = os.fstat(self._log.fileno()).st_size
        start = max(self.log_start, size - LOG_TAIL_BYTES)
        tail = os.pread(self._log.fileno(), max(size - start, 0), start)
        return tail.decode("utf-8", "replace").strip()

    def _has_exited(self) -> bool:
        options = os.WEXITED | os.WNOWAIT | os.WNOHANG
        return os.waitid(os.P_PID, self._process.pid, options) is not None

    def _read(self, *, wait: bool) -> bytes:
        ready, _, _ = select.select([self._messages], [], [], TICK_SECONDS if wait else 0)
        if not ready:
            return b""
        data = os.read(self._messages, 1 << 16)
        if not data and wait:
            # It closed the channel and is about to exit.
            time.sleep(TICK_SECONDS / 10)
        return data


class Supervisor:
    """Runs modules of a suite, which is a package, on one loop."""

    def __init__(self, loop: str, limits: Limits, suite: str = SUITE) -> None:
        self._loop = loop
        self._limits = limits
        self._suite = suite

    def run(self, module: str, choose: Choice) -> ModuleRun:
        """Run those tests of ``module`` that ``choose`` picks from the list of all."""
        run = ModuleRun(module)
        progress = _Progress(run, choose)
        while not progress.finished and not self._limits.are_over():
            with Child(self._suite, module, self._loop, self._limits) as child:
                progress.follow(child)
        progress.give_up("the time for the whole run was up")
        return run

    def run_alone(self, test: str) -> Result:
        """Run one test in a process of its own."""
        run = self.run(test.partition(".")[0], lambda names: [n for n in names if n == test])
        return run.results.get(test) or Result(test, Outcome.NOT_RUN, "the test was not found")


class _Progress:
    """Where a module's run is: what was chosen, what ran, who is running."""

    def __init__(self, run: ModuleRun, choose: Choice) -> None:
        self._run = run
        self._choose = choose
        # Chosen tests without a result; None until the module was first loaded.
        self._remaining: list[str] | None = None
        self._running: str | None = None
        self._started = 0.0
        self.finished = False

    def follow(self, child: Child) -> None:
        """Take in what one child does, to its end."""
        done = False
        self._running = None
        self._started = time.monotonic()
        for message in child.messages():
            done = self._take(child, message) or done
        seconds = time.monotonic() - self._started
        status = child.end()
        if self.finished:
            return
        if done:
            self._finish(child, status)
        elif not child.limits.are_over():
            self._blame(child, status, seconds)

    def give_up(self, reason: str) -> None:
        """Record that what remains was not run."""
        for test in self._remaining or ():
            self._run.add(Result(test, Outcome.NOT_RUN, reason))
        if self._remaining is None and not self.finished:
            self._run.add(Result(f"{self._run.module}.<import>", Outcome.NOT_RUN, reason))
        self._remaining = []
        self.finished = True

    def _take(self, child: Child, message: Message) -> bool:
        """Take in one message; return whether it was the last."""
        match message["kind"]:
            case "tests":
                if self._remaining is None:
                    self._run.listed = message["names"]
                    self._remaining = self._choose(message["names"])
                child.choose(self._remaining)
            case "start":
                self._running = message["test"]
                self._started = time.monotonic()
                child.log_start = message["log"]
            case "end":
                self._end(message)
            case "fixture":
                self._take_fixture(message)
            case "unavailable":
                self._run.unavailable = message["reason"]
                self._conclude()
            case "broken":
                name = f"{self._run.module}.<import>"
                self._run.add(Result(name, Outcome.FAILED, message["detail"]))
                self._conclude()
            case "done":
                return True
        return False

    def _end(self, message: Message) -> None:
        assert self._remaining is not None
        outcome = Outcome(message["outcome"])
        test = message["test"]
        self._run.add(Result(test, outcome, message["detail"], message["seconds"]))
        self._remaining.remove(test)
        self._running = None
        self._started = time.monotonic()

    def _take_fixture(self, message: Message) -> None:
        """A fixture of a class or of the module failed or skipped its tests."""
        assert self._remaining is not None
        scope, stage = message["scope"], message["stage"]
        if stage.startswith("tearDown"):
            self._run.add(Result(f"{scope}.<{stage}>", Outcome.FAILED, message["detail"]))
            return
        skipped = message["outcome"] == "skipped"
        outcome = Outcome.SKIPPED if skipped else Outcome.NOT_RUN
        for test in [test for test in self._remaining if test.startswith(f"{scope}.")]:
            self._run.add(Result(test, outcome, f"{stage}: {message['detail']}"))
            self._remaining.remove(test)

    def _blame(self, child: Child, status: int, seconds: float) -> None:
        """The child ended too early: record who is to blame, so that the next one gets on."""
        hung = child.timed_out or seconds >= child.limits.test_seconds
        outcome = Outcome.HUNG if hung else Outcome.CRASHED
        detail = f"{describe_exit(status)}\n{child.log_tail()}"
        if self._remaining is None:
            name = f"{self._run.module}.<import>"
            self._run.add(Result(name, outcome, detail, seconds))
            self._conclude()
            return
        # Without a running test it died in a fixture, most likely of the next test.
        test = self._running or self._remaining[0]
        self._run.add(Result(test, outcome, detail, seconds))
        self._remaining.remove(test)
        if not self._remaining:
            self._conclude()

    def _finish(self, child: Child, status: int) -> None:
        """All tests ran; the interpreter's own end must be clean too."""
        if child.timed_out or status != 0:
            outcome = Outcome.HUNG if child.timed_out else Outcome.CRASHED
            name = f"{self._run.module}.<exit>"
            self._run.add(Result(name, outcome, f"{describe_exit(status)}\n{child.log_tail()}"))
        self.give_up("the module's tests ended without it")

    def _conclude(self) -> None:
        self._remaining = []
        self.finished = True


def describe_exit(status: int) -> str:
    """Say how a process ended."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exited with status {status}"


def _environment() -> dict[str, str]:
    """Return the environment of a child, which runs in another directory than ours."""
    environment = dict(os.environ)
    path = environment.get("PYTHONPATH")
    if path:
        parts = [os.path.abspath(part) for part in path.split(os.pathsep) if part]
        environment["PYTHONPATH"] = os.pathsep.join(parts)
    return environment
