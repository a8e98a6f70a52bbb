"""A pytest plugin: picks the loop that a library's tests run on, and records what becomes of each.

Loaded with ``-p apps_recorder`` before anything of the library's. It is told by the environment:

* ``APPS_LOOP``: ``asyncio``, which changes nothing, or ``ferrio``, which calls
  ``ferrio.install()`` before the first test module is imported.
* ``APPS_RECORD``: the file that gets one JSON object per line, flushed at once, so that what
  happened before a crash is known.
* ``APPS_SELECTION``: a JSON file with ``leave_out`` (regular expressions of node ids), ``done``
  (node ids not to be run again) and ``only`` (node ids, or null for all).
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import re
import time
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

LOOP = os.environ["APPS_LOOP"]
# Taken out of the environment: the tests' own subprocesses have no business with it.
RECORD = Path(os.environ.pop("APPS_RECORD"))
SELECTION = Path(os.environ.pop("APPS_SELECTION"))

if LOOP == "ferrio":
    import ferrio

    ferrio.install()

loops_run: Counter[str] = Counter()
"""How often a loop began to run, by the package that its class is from."""


def count_running_loops() -> None:
    """Count whose loops are run, so that a run that never touched ferrio cannot pass for one."""
    set_running_loop = asyncio._set_running_loop

    def count_and_set(loop: Any) -> None:
        if loop is not None:
            loops_run[type(loop).__module__.partition(".")[0]] += 1
        set_running_loop(loop)

    # Where loops look it up: asyncio's in asyncio.events, ferrio's in asyncio.
    asyncio._set_running_loop = count_and_set
    asyncio.events._set_running_loop = count_and_set


count_running_loops()


class Recorder:
    """Writes what happens, test by test."""

    def __init__(self) -> None:
        self._file = RECORD.open("a", encoding="utf-8", buffering=1)
        self._selection = json.loads(SELECTION.read_text(encoding="utf-8"))
        self._reports: list[pytest.TestReport] = []

    def write(self, event: str, **details: object) -> None:
        self._file.write(json.dumps({"event": event, **details}) + "\n")

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(
        self, config: pytest.Config, items: list[pytest.Item]
    ) -> None:
        leave_out = [re.compile(pattern) for pattern in self._selection["leave_out"]]
        done = set(self._selection["done"])
        only = self._selection["only"]
        wanted = []
        for item in items:
            if any(pattern.search(item.nodeid) for pattern in leave_out):
                continue
            if item.nodeid in done or (only is not None and item.nodeid not in only):
                continue
            wanted.append(item)
        items[:] = wanted
        # Suites that collect garbage in every test need not look through all of pytest and of
        # the library each time.
        gc.collect()
        gc.freeze()
        self.write("collected", tests=len(items))

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.write("not collected", test=report.nodeid, text=str(report.longrepr))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Any:
        self._reports = []
        before = loops_run.copy()
        began = time.monotonic()
        self.write("began", test=item.nodeid)
        result = yield
        outcome, text = verdict(self._reports)
        self.write(
            "ended",
            test=item.nodeid,
            outcome=outcome,
            text=text,
            loops=dict(loops_run - before),
            seconds=time.monotonic() - began,
        )
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._reports.append(report)

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.write("finished", status=int(exitstatus))


def verdict(reports: list[pytest.TestReport]) -> tuple[str, str]:
    """Return the outcome of a test from those of its parts, and what there is to say about it."""
    failed = [report for report in reports if report.failed]
    if failed:
        return "failed", "\n".join(f"[{one.when}]\n{one.longreprtext}" for one in failed)
    skipped = [report for report in reports if report.skipped]
    if skipped:
        reason = skipped[0].longrepr
        return "skipped", str(reason[2] if isinstance(reason, tuple) else reason)
    return ("passed", "") if reports else ("failed", "pytest reported nothing")


def pytest_configure(config: pytest.Config) -> None:
    config.pluginmanager.register(Recorder(), "apps-recorder")
