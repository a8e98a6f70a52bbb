"""What a series of samples comes to."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from harness.schedule import Series


@dataclass(frozen=True)
class Ratio:
    """One loop's figure divided by another's, the two samples of each round being a pair."""

    median: float
    best: float
    more: float
    """How much more it is, per operation: the median of the pairs' differences."""


@dataclass(frozen=True)
class Summary:
    """A loop's figure in one case, per operation."""

    median: float
    best: float
    ratio: Ratio | None
    """To the baseline; None when that has no sample."""


def summarize(series: Series, baseline: Series | None) -> Summary | None:
    """Summarize a series, beside a baseline that ran in the same rounds; None without samples."""
    if not series.samples:
        return None
    values = [sample.per_operation for sample in series.samples]
    return Summary(median(values), min(values), _ratio(series, baseline))


def _ratio(series: Series, baseline: Series | None) -> Ratio | None:
    if baseline is None:
        return None
    # A series that failed in a later round is shorter than the other.
    pairs = [
        (own.per_operation, other.per_operation)
        for own, other in zip(series.samples, baseline.samples, strict=False)
    ]
    if not pairs:
        return None
    ratios = [own / other for own, other in pairs]
    return Ratio(median(ratios), min(ratios), median(own - other for own, other in pairs))
