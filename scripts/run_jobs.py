"""Run several commands side by side, each with a log of its own, and say how each went.

    python scripts/run_jobs.py --at-once 2 --logs build/logs NAME COMMAND [NAME COMMAND …]

A command is given to the shell. What a job prints goes to LOGS/NAME.log; of a job that fails
the end of its log is shown, of the others its last line, or all from the last line that begins with
what --show-from says. Exits with 1 when any job failed.
"""

import argparse
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path

STILL_RUNNING_EVERY = 30.0
"""Seconds between lines that say what is going on while nothing ends."""
TAIL_LINES = 80


@dataclass
class Job:
    """A command with a name."""

    name: str
    command: str
    log: Path
    seconds_at_most: float
    started: float | None = None
    seconds: float | None = None
    """How long it took; None until it has ended."""
    failure: str | None = None
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    def run(self) -> "Job":
        """Run it to its end, or kill it and all that it started when it takes too long."""
        self.started = time.monotonic()
        with self.log.open("wb") as output:
            # A session of its own, so that what it starts can be ended with it.
            self.process = subprocess.Popen(
                self.command,
                shell=True,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                code = self.process.wait(self.seconds_at_most)
            except subprocess.TimeoutExpired:
                self.kill()
                self.failure = f"not finished after {self.seconds_at_most:.0f} s"
            else:
                self.failure = f"exit code {code}" if code else None
        self.seconds = time.monotonic() - self.started
        return self

    def kill(self) -> None:
        """End the command and everything that it started."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()

    def last_lines(self, count: int) -> list[str]:
        """Return the end of its log."""
        return self.lines()[-count:]

    def lines_from(self, beginning: str) -> list[str]:
        """Return its log from the last line on that begins so; its last line when none does."""
        lines = self.lines()
        starts = [number for number, line in enumerate(lines) if line.startswith(beginning)]
        return lines[starts[-1] if starts else -1 :]

    def lines(self) -> list[str]:
        """Return the lines of its log that are not empty."""
        if not self.log.exists():
            return []
        text = self.log.read_text(errors="replace")
        return [line for line in text.splitlines() if line.strip()]


def run_jobs(jobs: Sequence[Job], at_once: int, show_from: str | None) -> int:
    """Run the jobs, at most so many at once, and say what came of each; return how many failed."""
    ended = threading.Event()
    reporter = threading.Thread(target=report_running, args=(jobs, ended), daemon=True)
    reporter.start()
    with ThreadPoolExecutor(at_once) as pool:
        running = [pool.submit(job.run) for job in jobs]
        try:
            for future in as_completed(running):
                report_ended(future.result(), jobs, show_from)
        except KeyboardInterrupt:
            pool.shutdown(wait=False, cancel_futures=True)
            for job in jobs:
                job.kill()
            raise
    ended.set()
    reporter.join()
    return sum(job.failure is not None for job in jobs)


def report_ended(job: Job, jobs: Sequence[Job], show_from: str | None) -> None:
    """Say how a job ended, and show the end of its log."""
    number = sum(other.seconds is not None for other in jobs)
    verdict = f"FAILED ({job.failure})" if job.failure else "ok"
    print(f"[{number}/{len(jobs)}] {job.name}: {verdict}, {job.seconds:.0f} s", flush=True)
    if job.failure:
        shown = job.last_lines(TAIL_LINES)
    elif show_from is not None:
        shown = job.lines_from(show_from)
    else:
        shown = job.last_lines(1)
    for line in shown:
        print(f"    {line}", flush=True)
    if job.failure:
        print(f"    (all of it: {job.log})", flush=True)


def report_running(jobs: Sequence[Job], ended: threading.Event) -> None:
    """Say now and then what is running."""
    while not ended.wait(STILL_RUNNING_EVERY):
        for job in jobs:
            if job.started is not None and job.seconds is None:
                last = "".join(job.last_lines(1))[:100]
                print(f"  … {job.name}, {time.monotonic() - job.started:.0f} s: {last}", flush=True)


def main() -> int:
    """Run what the command line says; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--logs", type=Path, default=Path("build/logs"))
    parser.add_argument("--seconds", type=float, default=1800, help="for one job, at most")
    parser.add_argument(
        "--show-from",
        metavar="TEXT",
        help="show a job's log from the last line that begins so (default: its last line)",
    )
    parser.add_argument("jobs", nargs="+", metavar="NAME COMMAND")
    arguments = parser.parse_args()
    # A shell without job control starts what it puts into the background with SIGINT ignored, and
    # what we start would inherit that: tests of Ctrl-C would wait for ever. Jobs have sessions of
    # their own, so whatever ends us has to pass through here for them to be ended, too.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    if len(arguments.jobs) % 2:
        parser.error("every name needs its command")
    arguments.logs.mkdir(parents=True, exist_ok=True)
    jobs = [
        Job(name, command, arguments.logs / f"{name}.log", arguments.seconds)
        for name, command in zip(arguments.jobs[::2], arguments.jobs[1::2], strict=True)
    ]
    began = time.monotonic()
    failed = run_jobs(jobs, arguments.at_once, arguments.show_from)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    took = time.monotonic() - began
    print(
        f"{len(jobs) - failed} of {len(jobs)} jobs ok in {took:.0f} s,"
        f" {used.ru_utime + used.ru_stime:.0f} s of CPU time"
    )
    return 1 if failed else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
