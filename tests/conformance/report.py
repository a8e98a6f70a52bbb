"""Shows what a run brought: a table, the list of what was not expected, and one closing line."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from expectations import Entry
from verdicts import ModuleReport, Verdict

RECORD = Path(__file__).with_name("standard_library.json")
# Lines of a traceback that are shown for a failure.
DETAIL_LINES = 30

_BAD = (Verdict.FAILED, Verdict.UNEXPECTED_PASS)
_GOOD = (Verdict.PASSED, Verdict.FLAKY)
_SKIPPED = (Verdict.SKIPPED, Verdict.BROKEN_HERE)


@dataclass
class Report:
    """A whole run."""

    loop: str
    # Major and minor, such as "3.13", and the full version.
    version: str
    full_version: str
    modules: list[ModuleReport] = field(default_factory=list)
    # Things that the reader is told and that are no failures.
    notes: list[str] = field(default_factory=list)
    # Entries of the lists that match no test.
    unmatched: list[Entry] = field(default_factory=list)

    def count(self, *verdicts: Verdict) -> int:
        """Count the tests of all modules with one of these verdicts."""
        return sum(module.count(*verdicts) for module in self.modules)

    @property
    def failures(self) -> int:
        """How many things are not as expected."""
        return self.count(*_BAD) + len(self.unmatched)

    def text(self) -> str:
        """Return the report for people; the last line is for programs as well."""
        parts = [
            *self._failures(),
            *(f"unmatched: {e.place} {e.pattern!r} matches no test" for e in self.unmatched),
            *self._notes(),
            "",
            *self._table(),
            "",
            f"conformance {self.version} on {self.loop} ({self.full_version})",
            self.closing_line(),
        ]
        return "\n".join(parts)

    def closing_line(self) -> str:
        """Return the line of counts."""
        passed, skipped = self.count(*_GOOD), self.count(*_SKIPPED)
        return f"conformance: {passed} passed, {self.failures} failed, {skipped} skipped"

    def as_json(self) -> dict[str, Any]:
        """Return everything, test by test."""
        return {
            "loop": self.loop,
            "python": self.full_version,
            "failures": self.failures,
            "unmatched": [f"{entry.place}: {entry.pattern}" for entry in self.unmatched],
            "tests": {
                test: {
                    "verdict": verdict,
                    "outcome": module.results[test].outcome if test in module.results else None,
                    "seconds": module.results[test].seconds if test in module.results else 0,
                    "detail": module.results[test].detail if test in module.results else "",
                }
                for module in self.modules
                for test, verdict in module.verdicts.items()
            },
        }

    def record(self) -> None:
        """Keep the counts of this run, of asyncio, to be shown beside those of ferrio."""
        records = read_records()
        records[self.version] = {
            "python": self.full_version,
            "modules": {
                module.module: {
                    "passed": module.count(*_GOOD),
                    "skipped": module.count(*_SKIPPED),
                }
                for module in self.modules
                if module.verdicts
            },
        }
        RECORD.write_text(json.dumps(records, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    def _failures(self) -> list[str]:
        lines: list[str] = []
        for module in self.modules:
            for verdict in _BAD:
                for test in module.tests(verdict):
                    outcome = module.results[test].outcome
                    lines.append(f"{_heading(verdict, outcome)}: {test}")
                    lines += _indented(module.results[test].detail)
        return lines

    def _notes(self) -> list[str]:
        lines = [f"note: {note}" for note in self.notes]
        for module in self.modules:
            if module.unavailable is not None:
                lines.append(f"note: {module.module} skips itself: {module.unavailable}")
            for verdict in (Verdict.FLAKY, Verdict.BROKEN_HERE):
                lines += [f"{verdict}: {test}" for test in module.tests(verdict)]
        return lines

    def _table(self) -> list[str]:
        reference = read_records().get(self.version, {})
        title = f"asyncio ({reference.get('python', 'not recorded')})"
        header = (
            f"{'module':<26}{'passed':>8}{'failed':>8}{'excepted':>10}{'skipped':>9}{'flaky':>7}"
        )
        rows = [f"{header}   {title}: passed skipped"]
        total: dict[str, int] = {}
        for module in self.modules:
            if not module.verdicts:
                continue
            counts = _counts(module)
            theirs = reference.get("modules", {}).get(module.module, {})
            for name, number in counts.items():
                total[name] = total.get(name, 0) + number
            for name, number in theirs.items():
                total[f"their {name}"] = total.get(f"their {name}", 0) + number
            rows.append(_row(module.module, counts, theirs))
        theirs = {name: total.get(f"their {name}", 0) for name in ("passed", "skipped")}
        rows.append(_row("all", total, theirs if reference else {}))
        return rows


def read_records() -> dict[str, Any]:
    """Return the recorded counts of asyncio, by version."""
    if not RECORD.exists():
        return {}
    records: dict[str, Any] = json.loads(RECORD.read_text(encoding="utf-8"))
    return records


def _counts(module: ModuleReport) -> dict[str, int]:
    return {
        "passed": module.count(*_GOOD),
        "failed": module.count(*_BAD),
        "excepted": module.count(Verdict.EXCEPTED),
        "skipped": module.count(*_SKIPPED),
        "flaky": module.count(Verdict.FLAKY),
    }


def _row(name: str, counts: dict[str, int], theirs: dict[str, int]) -> str:
    ours = (
        f"{counts.get('passed', 0):>8}{counts.get('failed', 0):>8}"
        f"{counts.get('excepted', 0):>10}{counts.get('skipped', 0):>9}{counts.get('flaky', 0):>7}"
    )
    beside = f"{theirs.get('passed', '-'):>10}{theirs.get('skipped', '-'):>8}"
    return f"{name:<26}{ours}{beside}"


def _heading(verdict: Verdict, outcome: str) -> str:
    return "unexpected pass" if verdict is Verdict.UNEXPECTED_PASS else str(outcome)


def _indented(detail: str) -> list[str]:
    lines = detail.strip().splitlines()
    if len(lines) > DETAIL_LINES:
        lines = ["…", *lines[-DETAIL_LINES:]]
    return [f"    {line}" for line in lines]
