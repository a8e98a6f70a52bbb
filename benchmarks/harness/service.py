"""Sampling the service case: one round of the demo, which compares a real web service.

The demo has the service, the client and the checks; it prints a line for tools, which is read here.
"""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

from harness.case import ServiceCase, verify
from harness.processes import ProcessFailed, measured_environment
from harness.sample import Sample

ROOT = Path(__file__).resolve().parent.parent.parent

NEEDS = "fastapi, uvicorn, httptools, websockets, aiohttp"
"""What the demo imports."""

PATIENCE = 170.0
"""Seconds that a round may take."""

LINE = re.compile(
    r"^demo: (?P<loop>\S+) ok=(?P<ok>\d+) wrong=(?P<wrong>\d+) cpu_us=(?P<cpu>\S+)", re.M
)
"""What the demo prints at its end for each loop."""


def service_python() -> str | None:
    """An interpreter that has what the service is made of; None when there is none.

    This one, or that of the environment that `make` makes for the same version: the benchmarks'
    own environment has uvloop, which uvicorn would take unasked.
    """
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (str(ROOT / ".venv" / version / "bin" / "python"), sys.executable):
        try:
            subprocess.run([python, "-c", f"import {NEEDS}"], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError):
            continue
        return python
    return None


def sample_service(case: ServiceCase, loop: str) -> Sample:
    """Take one sample: a round of the demo on one loop."""
    python = service_python()
    if python is None:
        raise ProcessFailed(f"no interpreter here has {NEEDS}")
    wall = time.perf_counter_ns()
    try:
        outcome = subprocess.run(
            [python, "-m", "demo", "--rounds", "1", "--loops", loop],
            env=measured_environment() | {"PYTHONPATH": _python_path()},
            capture_output=True,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise ProcessFailed(f"the demo did not end within {PATIENCE:.0f} seconds") from None
    wall = time.perf_counter_ns() - wall
    line = LINE.search(outcome.stdout)
    if line is None or outcome.returncode:
        raise ProcessFailed(f"the demo failed: {(outcome.stderr or outcome.stdout)[-2000:]}")
    verify(f"loop of {case.name}", line["loop"], loop)
    verify(f"wrong answers in {case.name}", int(line["wrong"]), 0)
    requests = int(line["ok"])
    return Sample(requests, round(float(line["cpu"]) * 1000 * requests), wall)


def _python_path() -> str:
    """Where the demo is found, before whatever was asked for already."""
    already = measured_environment().get("PYTHONPATH")
    return f"{ROOT / 'scripts'}:{already}" if already else str(ROOT / "scripts")
