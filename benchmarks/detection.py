"""How surely and how soon the watchdog names what blocks a loop.

    python benchmarks/detection.py                     100 tries of each kind of block
    python benchmarks/detection.py --tries 20 --causes sleep regex
    python benchmarks/detection.py --realtime          before all other programs (root)

Each try blocks the loop for 300 ms at a threshold of 100 ms, and counts if the first report of it
has the right line and cause and was made within 130 ms of the block's beginning, less what the
watchdog's thread could have run in that time and did not. A try whose own thread was kept from
running for more than 10 ms is none and is repeated: time in which others had the processor is not
the program's, and the watchdog does not count it as a block's. The reports are those in
``FERRIO_WATCHDOG_FILE``. Printed besides: in how many tries ``logging`` heard of it during the
block, which for code that keeps the interpreter it cannot.

Not a test: how long a thread waits for a processor is the machine's matter. No priority is needed,
but on a machine that others keep busy there may be too few tries that count; then it says so.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import re
import socket
import sqlite3
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import ferrio

BLOCK = 0.3
THRESHOLD = 0.1
SOON_ENOUGH = 0.130
KEPT_TOO_LONG = 0.010
PATIENCE = 10
"""How many times as long as the tries take it may take to get them."""


class Try(NamedTuple):
    """One block: when, by the monotonic clock, and how long its thread waited for a processor."""

    begun: float
    ended: float
    kept_from_running: float


def sleep() -> None:
    time.sleep(BLOCK)


def python() -> None:
    end = time.monotonic() + BLOCK
    while time.monotonic() < end:
        for _ in range(1000):
            pass


def regex() -> None:
    re.match(r"(a+)+$", EVIL)


def blocking_socket() -> None:
    threading.Timer(BLOCK, OTHER_END.send, (b"x",)).start()
    ONE_END.recv(1)


def sqlite() -> None:
    DATABASE.execute(QUERY, (rows,)).fetchone()


EVIL = "a" * 22 + "b"
ONE_END, OTHER_END = socket.socketpair()
DATABASE = sqlite3.connect(":memory:")
QUERY = """
    WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
    SELECT max(i) FROM n"""
rows = 100_000

KINDS: dict[str, tuple[Callable[[], None], str]] = {
    "sleep": (sleep, "syscall:clock_nanosleep"),
    "python": (python, "python"),
    "regex": (regex, "c-gil"),
    "socket": (blocking_socket, "syscall:recvfrom"),
    "sqlite": (sqlite, "c-nogil"),
}


def calibrate() -> None:
    """Make the two blocks that do a fixed amount of work last about as long as the others."""
    global EVIL, rows
    while processor_time(regex) < BLOCK * 0.7:
        EVIL = "a" + EVIL
    rows = int(rows * BLOCK * 1.1 / processor_time(sqlite))


def processor_time(work: Callable[[], None]) -> float:
    begun = time.thread_time()
    work()
    return time.thread_time() - begun


def run_delay() -> float:
    """Return for how long this thread could have run so far and did not."""
    with open(f"/proc/self/task/{threading.get_native_id()}/schedstat") as file:
        return int(file.read().split()[1]) / 1e9


class Heard(logging.Handler):
    """Keeps when the log was told."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.times.append(time.monotonic())


async def try_all(work: Callable[[], None], count: int) -> list[Try]:
    tries: list[Try] = []
    deadline = time.monotonic() + count * BLOCK * PATIENCE
    while len(tries) < count and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
        delay, begun = run_delay(), time.monotonic()
        work()
        ended = time.monotonic()
        kept = run_delay() - delay
        if ended - begun >= BLOCK * 0.6 and kept <= KEPT_TOO_LONG:
            tries.append(Try(begun, ended, kept))
    await asyncio.sleep(0.05)
    return tries


def judge(name: str, path: Path, heard: list[float], tries: list[Try], wanted: int) -> bool:
    """Print how it went; return whether 99 of 100 were named, and logged where that can be."""
    work, cause = KINDS[name]
    reports = [json.loads(line) for line in path.read_text().splitlines()]
    named, latencies, logged, causes = 0, [], 0, {}
    for one in tries:
        logged += any(one.begun < at < one.ended for at in heard)
        first = next(
            (
                report
                for report in reports
                if one.begun < report["detected_at"] < one.ended and report["number"] == 1
            ),
            None,
        )
        if first is None:
            causes["(none)"] = causes.get("(none)", 0) + 1
            continue
        latency = first["detected_at"] - one.begun - first["watchdog_delay"]
        latencies.append(latency)
        has_line = any(site["function"] == work.__name__ for site in first["stack"])
        if first["cause"] != cause or not has_line:
            causes[first["cause"]] = causes.get(first["cause"], 0) + 1
        elif latency > SOON_ENOUGH:
            causes["late"] = causes.get("late", 0) + 1
        else:
            named += 1
    shown = "-"
    if latencies:
        shown = f"{statistics.median(latencies) * 1000:5.1f} {max(latencies) * 1000:7.1f}"
    print(
        f"{name:8} {cause:24} {named:4} of {len(tries):<4} {shown:>13} {logged:6}  {causes or ''}",
        flush=True,
    )
    if len(tries) < wanted:
        print(f"         the machine was too busy for more than {len(tries)} tries that count")
    can_be_logged = cause != "c-gil"
    least = min(named, logged) if can_be_logged else named
    return len(tries) == wanted and least * 100 >= wanted * 99


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tries", type=int, default=100)
    parser.add_argument("--causes", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--realtime", action="store_true")
    arguments = parser.parse_args()
    if arguments.realtime:
        os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))
    calibrate()
    logger = logging.getLogger("ferrio.watchdog")
    logger.propagate = False
    print(f"{'block':8} {'cause':24} {'named':>12} {'ms: median':>10}    max  logged  otherwise")
    is_good = True
    with tempfile.TemporaryDirectory() as directory:
        for name in arguments.causes:
            path = Path(directory, name)
            path.touch()
            os.environ["FERRIO_WATCHDOG_FILE"] = str(path)
            heard = Heard()
            logger.addHandler(heard)
            tries = ferrio.run(try_all(KINDS[name][0], arguments.tries), watchdog=THRESHOLD)
            logger.removeHandler(heard)
            is_good &= judge(name, path, heard.times, tries, arguments.tries)
    sys.exit(0 if is_good else 1)


if __name__ == "__main__":
    main()
