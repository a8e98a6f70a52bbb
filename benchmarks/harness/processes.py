"""Child processes: spoken to by lines, timed from outside, and never left behind."""

from __future__ import annotations

import os
import resource
import select
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

WORKER = Path(__file__).resolve().parent.parent / "worker.py"

CHANGES_THE_MEASUREMENT = (
    "PYTHONASYNCIODEBUG",
    "PYTHONDEVMODE",
    "PYTHONMALLOC",
    "PYTHONTRACEMALLOC",
    "PYTHONPROFILEIMPORTTIME",
    "PYTHONWARNINGS",
)
"""Environment variables that a worker must not inherit."""


class ProcessFailed(Exception):
    """A child process failed, was silent for too long, or said something unexpected."""


def worker_command(*arguments: str) -> list[str]:
    """The command that starts a worker with this interpreter."""
    return [sys.executable, str(WORKER), *arguments]


def measured_environment() -> dict[str, str]:
    """This process's environment without what would change the figures.

    What switches something of ferrio's on or off is among that.
    """
    return {
        name: value
        for name, value in os.environ.items()
        if name not in CHANGES_THE_MEASUREMENT and not name.startswith("FERRIO_")
    }


def allow_many_files() -> None:
    """Raise the soft limit of open files: 1,000 connections are more than many shells allow.

    What this process starts inherits it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def process_cpu_ns(pid: int) -> int:
    """CPU time that a process has used so far: all its threads, ended ones too.

    Linux has a clock for each process, readable by others, to the nanosecond; its number is made
    of the process's own as clock_getcpuclockid(3) does it. Asking costs the process nothing.
    """
    return time.clock_gettime_ns(~pid << 3 | 2)


def resident_bytes(pid: int) -> int:
    """Memory of a process that is in RAM."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


class Companion:
    """A child process that answers each line with lines; a context manager that ends it."""

    def __init__(self, command: Sequence[str], *, patience: float = 60.0) -> None:
        """Start it; `patience` is how many seconds an answer may take."""
        self._name = Path(command[1] if command[0] == sys.executable else command[0]).name
        self._patience = patience
        self._unread = b""
        # Closed in __exit__.
        self._errors = tempfile.TemporaryFile()  # noqa: SIM115
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            bufsize=0,
            env=measured_environment(),
        )

    @property
    def pid(self) -> int:
        """The process's number."""
        return self._process.pid

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self._end()
        finally:
            self._process.kill()
            self._process.wait()
            for stream in (self._process.stdin, self._process.stdout, self._errors):
                if stream is not None:
                    stream.close()

    def tell(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line.encode() + b"\n")
        except BrokenPipeError:
            raise self._failure("has ended") from None

    def expect(self, word: str) -> list[str]:
        """Read its next line, which must begin with `word`; returns the words after it."""
        words = self._read_line().split()
        if not words or words[0] != word:
            raise self._failure(f"said {' '.join(words)!r} instead of {word!r}")
        return words[1:]

    def _read_line(self) -> str:
        assert self._process.stdout is not None
        deadline = time.monotonic() + self._patience
        while b"\n" not in self._unread:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._process.stdout], [], [], left)[0]:
                raise self._failure(f"said nothing for {self._patience:.0f} seconds")
            piece = os.read(self._process.stdout.fileno(), 65536)
            if not piece:
                raise self._failure("has ended")
            self._unread += piece
        line, self._unread = self._unread.split(b"\n", 1)
        return line.decode()

    def _end(self) -> None:
        """Close its input, which asks it to end, and see that it does so without an error."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            status = self._process.wait(self._patience)
        except subprocess.TimeoutExpired:
            raise self._failure("does not end") from None
        if status:
            raise self._failure(f"ended with status {status}")

    def _failure(self, what: str) -> ProcessFailed:
        if self._process.poll() is None:
            # Let what it has to say about its end arrive.
            time.sleep(0.2)
        self._errors.seek(0)
        errors = self._errors.read().decode(errors="replace").strip()
        return ProcessFailed(f"{self._name} {what}" + (f": {errors[-2000:]}" if errors else ""))
