"""Runs a library's tests on one loop, in processes that may hang or crash at the cost of a test."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from environments import Installation
from library import HERE, Library
from services import Service, postgresql_programs, start_services

PASSED = "passed"
FAILED = "failed"
SKIPPED = "skipped"

RESTARTS = 10
"""How many tests may hang or crash before the rest is given up."""
SECONDS_TO_START = 300
"""For imports and collection, before the first test and after the last."""
POLL_SECONDS = 0.1

stopping = threading.Event()
"""Set when the whole command is to end: the children are ended, nothing they did is a result."""


@dataclass
class Outcome:
    """What became of a test."""

    outcome: str
    text: str = ""
    loops: Counter[str] = field(default_factory=Counter)
    """How often a loop began to run in it, by package."""
    seconds: float = 0


@dataclass
class LoopRun:
    """What became of a library's tests on one loop."""

    loop: str
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    """What went wrong with the run as a whole; nothing of it is a result."""
    seconds: float = 0

    def count(self, outcome: str) -> int:
        return sum(one.outcome == outcome for one in self.outcomes.values())

    def loops(self) -> Counter[str]:
        """Return how often loops began to run, by package."""
        return sum((one.loops for one in self.outcomes.values()), Counter())


class Supervisor:
    """Runs the tests of one library on one loop."""

    def __init__(
        self, library: Library, installation: Installation, loop: str, ferrio: Path
    ) -> None:
        """``ferrio`` is a directory that holds the package, to be put on the path."""
        self._library = library
        self._installation = installation
        self._loop = loop
        self._ferrio = ferrio
        self._log = installation.logs / f"{loop}.log"

    def run(self, only: list[str] | None = None) -> LoopRun:
        """Run all tests, or only some; what they print goes to the log."""
        run = LoopRun(self._loop)
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix=f"{self._library.name}-") as temporary:
            directory = Path(temporary)
            with start_services(self._library.services, directory) as services:
                self._run_to_the_end(run, only, directory, services)
        run.seconds = time.monotonic() - began
        return run

    def _run_to_the_end(
        self, run: LoopRun, only: list[str] | None, directory: Path, services: list[Service]
    ) -> None:
        """Start pytest again and again, each time without what has been run, until all is."""
        # A copy, so that what tests leave in their folder is not found by the next run.
        suite = directory / "suite"
        if self._installation.suite is None:
            suite.mkdir()
        else:
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(self._installation.suite, suite, symlinks=True, ignore=ignored)
        deadline = time.monotonic() + self._library.seconds
        for attempt in range(RESTARTS + 1):
            child = Child(self._library, run, directory, suite, attempt)
            command = self._command(services)
            environment = self._environment(directory, services)
            with self._log.open("wb" if attempt == 0 and only is None else "ab") as log:
                finished = child.run(command, environment, only, log, deadline)
            if finished or run.problems:
                return
        run.problems.append(f"gave up: {RESTARTS + 1} tests hung or crashed")

    def _command(self, services: list[Service]) -> list[str]:
        places = self._places(services)
        arguments = [argument.format_map(places) for argument in self._library.pytest]
        return [
            *(without_root() if self._library.without_root else []),
            str(self._installation.python),
            *("-m", "pytest", "-p", "apps_recorder", "-p", "no:cacheprovider"),
            *("--quiet", "--tb=short", "--color=no"),
            *arguments,
        ]

    def _environment(self, directory: Path, services: list[Service]) -> dict[str, str]:
        places = self._places(services)
        path = [str(HERE / "plugin")]
        if self._loop == "ferrio":
            path.append(str(self._ferrio))
        kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ}
        scratch = directory / "tmp"
        scratch.mkdir(exist_ok=True)
        return {
            **kept,
            "TMPDIR": str(scratch),
            "PYTHONPATH": os.pathsep.join(path),
            "PYTHONDONTWRITEBYTECODE": "1",
            # Who does not end after the last test is to tell in the log what it waits for.
            "PYTHONFAULTHANDLER": "1",
            "APPS_LOOP": self._loop,
            **{key: value.format_map(places) for key, value in self._library.environment.items()},
        }

    def _places(self, services: list[Service]) -> dict[str, str]:
        """Return what the arguments and the environment of the tests may name."""
        places = {"packages": str(self._installation.packages)}
        if postgresql := postgresql_programs():
            places["postgresql_programs"] = str(postgresql)
        for service in services:
            places |= service.places
        return places


class Child:
    """One process that runs tests until it ends, or until one of them hangs."""

    def __init__(
        self, library: Library, run: LoopRun, directory: Path, suite: Path, attempt: int
    ) -> None:
        self._library = library
        self._run = run
        self._suite = suite
        self._record = directory / f"record-{attempt}"
        self._selection = directory / f"selection-{attempt}"
        self._read = 0
        self._test: str | None = None
        self._since = time.monotonic()
        self._finished: int | None = None

    def run(
        self,
        command: list[str],
        environment: dict[str, str],
        only: list[str] | None,
        log: IO[bytes],
        deadline: float,
    ) -> bool:
        """Run what has not been run; return whether that is all there is."""
        selection = {
            "leave_out": list(self._library.leave_out),
            "done": list(self._run.outcomes),
            "only": only,
        }
        self._selection.write_text(json.dumps(selection), encoding="utf-8")
        self._record.touch()
        process = subprocess.Popen(
            command,
            cwd=self._suite,
            env=environment
            | {"APPS_RECORD": str(self._record), "APPS_SELECTION": str(self._selection)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            problem = self._watch(process, deadline)
        finally:
            end(process)
        self._read_record()
        return self._conclude(process.returncode, problem)

    def _watch(self, process: subprocess.Popen[bytes], deadline: float) -> str | None:
        """Wait for the process; return why it was ended, if it was."""
        while process.poll() is None:
            time.sleep(POLL_SECONDS)
            self._read_record()
            now = time.monotonic()
            if stopping.is_set():
                self._run.problems.append("interrupted")
                return "interrupted"
            if now > deadline:
                self._run.problems.append(
                    f"not finished after {self._library.seconds:.0f} s, in {self._test}"
                )
                return "no time left"
            limit = SECONDS_TO_START if self._test is None else self._library.test_seconds
            if now - self._since > limit:
                problem = f"not finished after {limit:.0f} s"
                if self._finished is not None and (left := children_of(process.pid)):
                    # Whoever has started them with multiprocessing waits for them at its end.
                    problem += f", with children: {'; '.join(left)}"
                return problem
        return None

    def _read_record(self) -> None:
        """Take in the lines that have been written since."""
        with self._record.open(encoding="utf-8") as record:
            record.seek(self._read)
            while (line := record.readline()).endswith("\n"):
                self._read = record.tell()
                self._take_in(**json.loads(line))

    def _take_in(
        self,
        event: str,
        test: str = "",
        outcome: str = "",
        text: str = "",
        loops: dict[str, int] | None = None,
        seconds: float = 0,
        tests: int = 0,
        status: int = 0,
    ) -> None:
        self._since = time.monotonic()
        if event == "began":
            self._test = test
        elif event == "ended":
            self._test = None
            self._run.outcomes[test] = Outcome(outcome, text, Counter(loops), seconds)
        elif event == "not collected":
            self._run.problems.append(f"cannot collect {test}: {text[-2000:]}")
        elif event == "finished":
            self._finished = status

    def _conclude(self, code: int, problem: str | None) -> bool:
        """Say what an early end means; return whether all tests have been run."""
        if self._finished is not None and problem is None:
            # pytest's exit codes: 0 all passed, 1 some failed, 5 nothing to run.
            if self._finished not in (0, 1, 5):
                self._run.problems.append(f"pytest ended with {self._finished}")
            elif code != self._finished:
                self._run.problems.append(f"all tests were run, but the process ended with {code}")
            return True
        why = problem or f"the process ended with {code}"
        if self._test is None:
            self._run.problems.append(f"{why}, outside of any test")
            return False
        self._run.outcomes[self._test] = Outcome(FAILED, why)
        return False


def end(process: subprocess.Popen[bytes]) -> None:
    """End the process and what it started; where it hangs its faulthandler says in the log."""
    if process.poll() is None:
        process.send_signal(signal.SIGABRT)
        try:
            process.wait(15)
        except subprocess.TimeoutExpired:
            pass
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def children_of(number: int) -> list[str]:
    """Return the command lines of a process's children."""
    lines = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            # After the name, which may have spaces: the state, and the parent.
            parent = int(path.read_text().rpartition(")")[2].split()[1])
            if parent == number:
                words = path.with_name("cmdline").read_bytes().split(b"\0")
                lines.append(b" ".join(words).decode(errors="replace").strip())
        except (FileNotFoundError, ProcessLookupError):
            # It has ended meanwhile.
            continue
    return lines


def without_root() -> list[str]:
    """Return what to put before a command that root may not run; nothing for other users."""
    if os.geteuid() != 0:
        return []
    # In a namespace of its own the process is somebody else, who owns what root owns outside.
    return ["unshare", "--user", "--map-user=65534", "--map-group=65534"]
