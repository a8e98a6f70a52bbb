"""Sampling a web server: wrk drives it, and the server itself says how many it has answered.

wrk runs for a time and not for a number of requests, and connects anew in each run. So one run of
it is longer than what is measured: when every connection has been used for a while, the server is
asked how much CPU it has used and how many requests it has answered, and asked again at the end of
the window. That wrk saw as many answers, none of them an error, is checked when it has ended, and
the answer itself before it starts and after it has ended.
"""

from __future__ import annotations

import http.client
import importlib.util
import math
import os
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from http import HTTPStatus

from harness.case import Answer, WebCase, WrongResult, verify
from harness.echo import processors, server_command
from harness.processes import Companion, ProcessFailed, measured_environment
from harness.sample import Sample

WARM_UP = 0.6
"""Seconds for which wrk runs before the window."""

MARGIN = 0.1
"""Seconds for which wrk still runs when the window ends, at least."""

PATIENCE = 30.0
"""Seconds that wrk may take to end after its time."""


def missing(case: WebCase) -> list[str]:
    """What the case needs and is not installed here: packages, and wrk."""
    packages = [name for name in case.needs if importlib.util.find_spec(name) is None]
    return packages if shutil.which("wrk") else [*packages, "wrk"]


def sample_web(case: WebCase, loop: str, target_ns: int) -> Sample:
    """Take one sample: the CPU that the server uses while wrk keeps it busy for a while.

    The window takes `target_ns` of time, and about as much CPU: the server has always something
    to do.
    """
    with Companion(server_command(case, loop)) as server:
        address = server.expect("listening")[0]
        check_answer(address, case.path, case.answer)
        begin = ask_count(server)
        window = target_ns / 1e9
        driving = start_wrk(case, address, math.ceil(WARM_UP + window + MARGIN))
        try:
            time.sleep(WARM_UP)
            before = ask_count(server)
            time.sleep(window)
            after = ask_count(server)
            output = driving.communicate(timeout=PATIENCE)[0]
        except subprocess.TimeoutExpired:
            raise ProcessFailed("wrk does not end") from None
        finally:
            stop_wrk(driving)
        if driving.returncode:
            raise ProcessFailed(f"wrk failed: {output[-2000:]}")
        answered = ask_count(server).answered - begin.answered
        check_report(output, answered, case.connections)
        check_answer(address, case.path, case.answer)
    return Sample(
        after.answered - before.answered,
        after.cpu_ns - before.cpu_ns,
        after.wall_ns - before.wall_ns,
    )


@dataclass(frozen=True)
class Count:
    """What a server says of itself."""

    answered: int
    cpu_ns: int
    """All threads, user and system."""
    wall_ns: int


def ask_count(server: Companion) -> Count:
    """Ask a server how far it is."""
    server.tell("count")
    return Count(*map(int, server.expect("count")))


def start_wrk(case: WebCase, address: str, seconds: int) -> subprocess.Popen[str]:
    """Start wrk with the case's connections, on the processor that the server is not on."""
    _, cpu = processors()
    place = {int(number) for number in cpu} or os.sched_getaffinity(0)
    return subprocess.Popen(
        [
            "wrk",
            "--threads=1",
            f"--connections={case.connections}",
            f"--duration={seconds}s",
            f"http://{address}{case.path}",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=measured_environment(),
        preexec_fn=lambda: os.sched_setaffinity(0, place),
    )


def stop_wrk(driving: subprocess.Popen[str]) -> None:
    """End wrk if it still runs, and what it says with it."""
    driving.kill()
    driving.wait()
    if driving.stdout is not None:
        driving.stdout.close()


def check_answer(address: str, path: str, expected: Answer) -> None:
    """See that two requests on one connection are answered rightly, to the last byte."""
    connection = http.client.HTTPConnection(address, timeout=PATIENCE)
    try:
        for _ in range(2):
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            verify("status", response.status, int(HTTPStatus.OK))
            verify("content type", response.getheader("content-type"), expected.content_type)
            verify("body", body, expected.body)
            if response.will_close:
                raise WrongResult("the server does not keep the connection open")
    except (OSError, http.client.HTTPException) as error:
        raise WrongResult(f"no answer: {error!r}") from error
    finally:
        connection.close()


def check_report(report: str, answered: int, connections: int) -> None:
    """See that wrk met with no error and got what the server says it has answered.

    What was on its way when wrk ended is the server's alone: one request a connection at most.
    """
    for trouble in ("Non-2xx", "Socket errors"):
        if trouble in report:
            raise WrongResult(f"wrk reports: {report}")
    found = re.search(r"(\d+) requests in", report)
    if found is None:
        raise WrongResult(f"wrk reports: {report}")
    received = int(found[1])
    if not received <= answered <= received + connections:
        raise WrongResult(f"wrk got {received} answers of {answered}")
