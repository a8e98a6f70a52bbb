"""The bars: what ferrio must reach, read from bars.toml."""

from __future__ import annotations

import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from harness.summary import Summary

BARS = Path(__file__).resolve().parent.parent / "bars.toml"

RUNNER = "ferrio"
"""Whose bars they are, where a bar says nothing else."""

INSTALLED = "ferrio-installed"
"""The same with asyncio's names replaced, which has bars of its own."""


class Measured(Protocol):
    """A case with its samples, as a record has it."""

    @property
    def name(self) -> str:
        """The case's name."""

    def summary(self, loop: str, baseline: str) -> Summary | None:
        """What a loop's samples come to, beside a baseline; None without any."""


@dataclass(frozen=True)
class Bar:
    """One figure that must be reached."""

    case: str
    at_most: float
    baseline: str | None
    """The loop that the figure is divided by; None when it is taken as it is."""
    runner: str = RUNNER
    """The loop that must reach it."""
    or_more_by: float | None = None
    """With a baseline: so much more, in the case's unit, is good enough as well."""

    def measured(self, cases: Iterable[Measured]) -> float | None:
        """The figure: a median over all rounds; None when it was not measured."""
        summary = self._summary(cases)
        if summary is None:
            return None
        if self.baseline is None:
            return summary.median
        return summary.ratio.median if summary.ratio else None

    def is_met(self, cases: Iterable[Measured]) -> bool | None:
        """Whether it is reached; None when it was not measured."""
        summary = self._summary(cases)
        if summary is None or (self.baseline is not None and summary.ratio is None):
            return None
        if summary.ratio is None:
            return summary.median <= self.at_most
        return summary.ratio.median <= self.at_most or (
            self.or_more_by is not None and summary.ratio.more <= self.or_more_by
        )

    def _summary(self, cases: Iterable[Measured]) -> Summary | None:
        for case in cases:
            if case.name == self.case:
                summary = case.summary(self.runner, self.baseline or "")
                if summary is not None and self.baseline is None:
                    return Summary(summary.median, summary.best, None)
                return summary
        return None


def read_bars(path: Path = BARS) -> list[Bar]:
    """Read the table of bars."""
    with path.open("rb") as file:
        content = tomllib.load(file)
    return [
        Bar(
            bar["case"],
            bar["at_most"],
            bar.get("baseline"),
            bar.get("runner", RUNNER),
            bar.get("or_more_by"),
        )
        for bar in content["bar"]
    ]
