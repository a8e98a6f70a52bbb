"""The record of a run: every sample, and on what machine, of what commit and with what versions.

It names no host and no path, so that records of different people can lie side by side.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import sysconfig
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.bars import Bar
from harness.case import Case, Unit
from harness.loops import LOOPS
from harness.sample import Sample
from harness.schedule import Results, Series
from harness.summary import Summary, summarize

ROOT = Path(__file__).resolve().parent.parent.parent

SCHEMA = 1
"""Raised when the meaning of a field changes."""


@dataclass(frozen=True)
class CaseRecord:
    """One case and all its samples."""

    name: str
    title: str
    group: str
    unit: Unit
    question: str
    series: dict[str, Series]

    @property
    def priced(self) -> bool:
        """Whether it compares ferrio with ferrio."""
        return any(LOOPS[loop].price_only for loop in self.series if loop in LOOPS)

    def summary(self, loop: str, baseline: str) -> Summary | None:
        """What a loop's samples come to; None without any."""
        if loop not in self.series:
            return None
        return summarize(self.series[loop], self.series.get(baseline))


@dataclass(frozen=True)
class Record:
    """A whole run."""

    taken_at: str
    """UTC, ISO 8601."""
    commit: str
    """Short hash, with `+changes` when tracked files differed from it."""
    machine: dict[str, Any]
    versions: dict[str, str]
    """Of each loop that took part; ferrio's variants are ferrio."""
    settings: dict[str, Any]
    cases: list[CaseRecord]

    @property
    def loops(self) -> list[str]:
        """The loops that took part, in the order in which they ran."""
        return list(self.versions)


def essence(failure: str) -> str:
    """Return what a failure comes to: of a traceback its exception, and no machine's paths."""
    before, traceback, after = failure.partition("Traceback (most recent call last):\n")
    raised = (line for line in after.splitlines() if not line.startswith(" "))
    return before + next(raised, "an exception") if traceback else failure


def make_record(
    cases: Sequence[Case], loops: Iterable[str], settings: dict[str, Any], results: Results
) -> Record:
    """Record a run that has just been made."""
    return Record(
        taken_at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        commit=commit(),
        machine=machine(),
        versions={loop: LOOPS[loop].version() for loop in loops if not LOOPS[loop].price_only},
        settings=settings,
        cases=[
            CaseRecord(
                case.name, case.title, case.group, case.unit, case.question, results[case.name]
            )
            for case in cases
        ],
    )


def write(record: Record, bars: Sequence[Bar], path: Path) -> None:
    """Write a record as JSON, with what the samples come to beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(_to_json(record, bars), indent=1, ensure_ascii=False) + "\n")


def read(path: Path) -> Record:
    """Read a record back."""
    content = json.loads(path.read_text())
    if content["schema"] != SCHEMA:
        raise ValueError(f"{path.name} has schema {content['schema']}, not {SCHEMA}")
    return Record(
        taken_at=content["taken_at"],
        commit=content["commit"],
        machine=content["machine"],
        versions=content["versions"],
        settings=content["settings"],
        cases=[_case_from_json(case) for case in content["cases"]],
    )


def file_stem(record: Record) -> str:
    """What a record's file is called: its date and its commit."""
    time = record.taken_at.removesuffix("Z").replace(":", "")[:15]
    return f"{time}-{record.commit}"


def commit() -> str:
    """The commit that is checked out, or `unknown` outside a repository."""
    try:
        name = _git("rev-parse", "--short=10", "HEAD")
        changes = _git("status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return name + ("+changes" if changes else "")


def machine() -> dict[str, Any]:
    """What the figures depend on and the commit does not say."""
    return {
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)),
        "memory_mib": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "architecture": platform.machine(),
        "system": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_compiler": platform.python_compiler(),
        "python_profile_guided": "--enable-optimizations"
        in (sysconfig.get_config_var("CONFIG_ARGS") or ""),
        "python_debug_build": hasattr(sys, "gettotalrefcount"),
        "load_average": round(os.getloadavg()[0], 2),
    }


def stolen_ticks() -> tuple[int, int]:
    """Ticks that the hypervisor gave to others, and all ticks, since the machine started."""
    ticks = [int(word) for word in Path("/proc/stat").read_text().split("\n")[0].split()[1:9]]
    return ticks[7], sum(ticks)


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or "unknown"


def _git(*arguments: str) -> str:
    return subprocess.run(
        ["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout.strip()


def _to_json(record: Record, bars: Sequence[Bar]) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "taken_at": record.taken_at,
        "commit": record.commit,
        "machine": record.machine,
        "versions": record.versions,
        "settings": record.settings,
        "bars": [
            {
                "case": bar.case,
                "runner": bar.runner,
                "baseline": bar.baseline,
                "at_most": bar.at_most,
                "or_more_by": bar.or_more_by,
                "measured": bar.measured(record.cases),
                "met": bar.is_met(record.cases),
            }
            for bar in bars
        ],
        "cases": [_case_to_json(case) for case in record.cases],
    }


def _case_to_json(case: CaseRecord) -> dict[str, Any]:
    return {
        "name": case.name,
        "title": case.title,
        "group": case.group,
        "unit": case.unit.value,
        "question": case.question,
        "loops": {loop: _series_to_json(case, loop) for loop in case.series},
    }


def _series_to_json(case: CaseRecord, loop: str) -> dict[str, Any]:
    series = case.series[loop]
    summary = case.summary(loop, "uvloop")
    return {
        "median": summary and round(summary.median, 2),
        "best": summary and round(summary.best, 2),
        "ratio_to_uvloop_median": summary and summary.ratio and round(summary.ratio.median, 4),
        "ratio_to_uvloop_best": summary and summary.ratio and round(summary.ratio.best, 4),
        # Operations, amount in the case's unit, wall time in nanoseconds; one a round.
        "samples": [
            [sample.operations, sample.amount, sample.wall_ns] for sample in series.samples
        ],
        "failure": None if series.failure is None else essence(series.failure),
    }


def _case_from_json(content: dict[str, Any]) -> CaseRecord:
    return CaseRecord(
        name=content["name"],
        title=content["title"],
        group=content["group"],
        unit=Unit(content["unit"]),
        question=content["question"],
        series={
            loop: Series([Sample(*sample) for sample in series["samples"]], series["failure"])
            for loop, series in content["loops"].items()
        },
    )
