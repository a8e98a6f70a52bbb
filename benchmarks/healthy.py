"""Whether the watchdog leaves a healthy service alone, on a machine on which others make noise.

    python benchmarks/healthy.py                  ten minutes
    python benchmarks/healthy.py --minutes 2 --noise 4

uvicorn is kept busy by wrk over 64 connections, with the watchdog armed at 100 ms, while other
processes take the processors away from it in bursts. Nothing in the service blocks: whatever the
watchdog reports is wrong, is printed, and makes this end with 1. Printed besides is how often the
service's thread was kept from running for so long that a block would have been suspected.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import cases  # noqa: F401  (registers the cases)
from harness.case import WebCase, registered, verify
from harness.echo import server_command
from harness.processes import Companion
from harness.web import Count, ask_count, check_answer, missing, start_wrk, stop_wrk

CASE = "uvicorn-plaintext"
LOOP = "ferrio-watchdog"

PATIENCE = 30.0
"""Seconds that wrk may take to end after its time."""


def main() -> int:
    """Do what the command line says; the exit status is 1 when something was reported."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=10.0, help="how long (10)")
    parser.add_argument(
        "--noise",
        type=int,
        default=2 * len(os.sched_getaffinity(0)),
        help="processes that make noise (two a processor)",
    )
    parser.add_argument("--burst", type=float, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.burst:
        make_noise(arguments.burst)
        return 0
    case = registered()[CASE]
    assert isinstance(case, WebCase)
    if lacking := missing(case):
        raise SystemExit(f"this needs {', '.join(lacking)}")
    seconds = max(round(arguments.minutes * 60), 1)
    with tempfile.TemporaryDirectory() as directory:
        reports, counters, count = watch(case, seconds, arguments.noise, Path(directory))
    print(
        f"{seconds} s, {count.answered:,} requests, "
        f"{100 * count.cpu_ns / count.wall_ns:.0f} % of a processor for the service, "
        f"{arguments.noise} processes of noise\n"
        f"kept from running for more than the threshold: {counters} times (not reported)\n"
        f"reports: {len(reports)}"
    )
    for report in reports:
        print(f"  {report['message']} (the watchdog was late by {report['watchdog_delay']:.3f} s)")
    return int(bool(reports))


def watch(
    case: WebCase, seconds: int, noise: int, directory: Path
) -> tuple[list[dict[str, Any]], int, Count]:
    """Keep the service busy for so long; return what was reported, and what it did."""
    file = directory / "reports"
    file.touch()
    environment = {"FERRIO_WATCHDOG_FILE": file, "FERRIO_INSPECT": 1, "XDG_RUNTIME_DIR": directory}
    command = ["env", *(f"{name}={value}" for name, value in environment.items())]
    with ExitStack() as stack:
        server = stack.enter_context(Companion([*command, *server_command(case, LOOP)]))
        address = server.expect("listening")[0]
        check_answer(address, case.path, case.answer)
        before = ask_count(server)
        for number in range(noise):
            stack.enter_context(noisy_neighbour(0.05 * 2 ** (number % 5)))
        driving = start_wrk(case, address, seconds)
        try:
            output = driving.communicate(timeout=seconds + PATIENCE)[0]
        finally:
            stop_wrk(driving)
        verify("exit status of wrk", driving.returncode, 0)
        after = ask_count(server)
        descheduled = ask_for_metrics(directory / "ferrio" / f"{server.pid}.sock")
        if "Socket errors" in output:
            print(output)
    reports = [json.loads(line) for line in file.read_text().splitlines()]
    done = Count(
        after.answered - before.answered,
        after.cpu_ns - before.cpu_ns,
        after.wall_ns - before.wall_ns,
    )
    return reports, descheduled, done


def ask_for_metrics(path: Path) -> int:
    """Ask the service how often the watchdog found that it could not run."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(path))
        client.sendall(b'{"get": "metrics"}\n')
        answer = json.loads(client.makefile().readline())["answer"]
    return int(answer["descheduled"])


@contextmanager
def noisy_neighbour(burst: float) -> Iterator[None]:
    """Have a process take a processor for about so long at a time, again and again."""
    process = subprocess.Popen([sys.executable, __file__, "--burst", str(burst)])
    try:
        yield
    finally:
        process.kill()
        process.wait()


def make_noise(burst: float) -> None:
    """Work and rest in turn, until this process is ended or its parent has gone."""
    parent = os.getppid()
    while os.getppid() == parent:
        end = time.monotonic() + burst * random.uniform(0.2, 2)
        while time.monotonic() < end:
            sum(range(1000))
        time.sleep(burst * random.uniform(0, 1))


if __name__ == "__main__":
    sys.exit(main())
