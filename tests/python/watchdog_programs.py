"""Programs that are watched, for the tests of the watchdog."""

import json
import os
import subprocess
import sys
import textwrap

PREAMBLE = """
import asyncio, contextlib, json, os, sys, time
import ferrio

# Others may have the processors, and then nothing of this program's is a block.
with contextlib.suppress(OSError):
    os.sched_setscheduler(0, os.SCHED_RR, os.sched_param(1))


def reports():
    path = os.environ.get("FERRIO_WATCHDOG_FILE", "")
    with contextlib.suppress(FileNotFoundError), open(path) as file:
        return [json.loads(line) for line in file if line.endswith("\\n")]
    return []


async def until(condition, block=None):
    '''Wait for a condition; between two looks at it call ``block``.'''
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, reports()
        if block is not None:
            block()
        await asyncio.sleep(0.02)
"""


class Outcome:
    """How a program ended, what it wrote, and what the watchdog wrote."""

    def __init__(self, completed, path):
        self.exit_code = completed.returncode
        self.output = completed.stdout
        self.errors = completed.stderr
        self.reports = []
        if path.exists():
            self.reports = [json.loads(line) for line in path.read_text().splitlines()]

    def __repr__(self):
        return f"exit code {self.exit_code}\n{self.output}\n{self.errors}\n{self.reports}"


def run(directory, body, *, command=("-W", "error"), arguments=(), env=None, stderr=None):
    """Run the program ``body``; reports go to a file unless ``env`` says something else."""
    program = directory / "program.py"
    program.write_text(PREAMBLE + textwrap.dedent(body))
    path = directory / "reports.jsonl"
    path.unlink(missing_ok=True)
    environment = {key: value for key, value in os.environ.items() if "FERRIO" not in key}
    environment |= {"FERRIO_WATCHDOG_FILE": str(path)} if env is None else env
    completed = subprocess.run(
        [sys.executable, *command, str(program), *arguments],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=stderr or subprocess.PIPE,
        text=True,
        timeout=100,
    )
    return Outcome(completed, path)


def line_of(directory, text):
    """The number of the program's line that begins with ``text``."""
    lines = (directory / "program.py").read_text().splitlines()
    (found,) = [number for number, line in enumerate(lines, 1) if line.strip().startswith(text)]
    return found
