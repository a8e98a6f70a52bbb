"""The tables that a run prints."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from statistics import median

from harness.bars import Bar
from harness.case import Unit
from harness.loops import FLOOR
from harness.record import CaseRecord, Record, essence
from harness.schedule import Series
from harness.summary import Summary

BASELINE = "uvloop"
"""The loop that the figures of the table are divided by."""

OFF = "ferrio-off"
"""The one that the figures of the price are divided by."""

BUSY_SHARE = 0.8
"""Part of a sample's time for which an echo server with many connections should be busy."""

CELL = 18
"""Width of a loop's column: its name, or a figure and its ratio."""


def figure(value: float, unit: Unit) -> str:
    """A figure with its unit, to three digits."""
    if unit is Unit.BYTES:
        return f"{value:,.0f} B"
    for scale, name in ((1, "ns"), (1e3, "µs"), (1e6, "ms")):
        if value < 1000 * scale or name == "ms":
            scaled = value / scale
            return f"{scaled:.{_decimals(scaled)}f} {name}"
    raise AssertionError("milliseconds take any value")


def _decimals(value: float) -> int:
    return 2 if value < 10 else 1 if value < 100 else 0


def heading(record: Record) -> str:
    """What was measured, where, and how."""
    machine = record.machine
    versions = ", ".join(f"{loop} {version}" for loop, version in record.versions.items())
    lines = [
        f"{record.taken_at}  commit {record.commit}  {versions}",
        f"{machine['processor']}, {machine['processors']} processors, {machine['system']}, "
        f"{machine['python']}" + ("" if machine["python_profile_guided"] else " (no PGO)"),
        f"{record.settings['rounds']} rounds, {record.settings['target_ms']} ms of CPU a sample; "
        f"load average before {record.settings['load_average_before']}, "
        f"stolen by the hypervisor {record.settings['stolen_percent']} %",
    ]
    return "\n".join(lines)


def results_table(record: Record) -> str:
    """Each case's figure on each loop, and its paired ratio to uvloop."""
    return "\n".join(_results_lines(record))


def _results_lines(record: Record) -> Iterator[str]:
    shown = [case for case in record.cases if not case.priced]
    if not shown:
        return
    width = max(len(case.title) for case in shown)
    columns = [*record.loops, FLOOR]
    if not any(FLOOR in case.series for case in shown):
        columns.remove(FLOOR)
    yield f"CPU time per operation: median, and its ratio to {BASELINE} (paired, median)"
    yield ""
    yield " " * (width + 2) + "".join(f"{column:>{CELL}}" for column in columns)
    for group, cases in groupby(shown, key=lambda case: case.group):
        yield group
        for case in cases:
            cells = "".join(f"{_cell(case, column):>{CELL}}" for column in columns)
            yield f"  {case.title:<{width}}{cells}".rstrip()


def price_table(record: Record) -> str:
    """What ferrio costs with more and with less of what it tells, in pairs with all of it off."""
    return "\n".join(_price_lines(record))


def _price_lines(record: Record) -> Iterator[str]:
    shown = [case for case in record.cases if case.priced]
    if not shown:
        return
    width = max(len(case.title) for case in shown)
    columns = list(dict.fromkeys(loop for case in shown for loop in case.series))
    # The order in which a reader looks for them: first what is off.
    columns.sort(key=lambda loop: loop != OFF)
    yield f"What telling costs: median, and its ratio to {OFF} (paired, median)"
    yield ""
    yield " " * (width + 2) + "".join(f"{column:>{CELL}}" for column in columns)
    for case in shown:
        cells = "".join(f"{_price_cell(case, column):>{CELL}}" for column in columns)
        yield f"  {case.title:<{width}}{cells}".rstrip()


def _price_cell(case: CaseRecord, loop: str) -> str:
    if loop in case.series and case.series[loop].failure is not None:
        return "failed"
    summary = case.summary(loop, OFF)
    if summary is None:
        return ""
    ratio = f"{summary.ratio.median:7.3f}" if summary.ratio else ""
    return f"{figure(summary.median, case.unit)} {ratio}"


def _cell(case: CaseRecord, loop: str) -> str:
    if loop in case.series and case.series[loop].failure is not None:
        return "failed"
    summary = case.summary(loop, BASELINE)
    if summary is None:
        return ""
    return f"{figure(summary.median, case.unit)} {_ratio_text(summary)}"


def _ratio_text(summary: Summary) -> str:
    return f"{summary.ratio.median:5.2f}" if summary.ratio else "     "


def bars_table(record: Record, bars: Sequence[Bar]) -> str:
    """Each bar, what was measured beside it, and whether it is met."""
    return "\n".join(_bars_lines(record, bars))


def _bars_lines(record: Record, bars: Sequence[Bar]) -> Iterator[str]:
    cases = {case.name: case for case in record.cases}
    shown = [bar for bar in bars if bar.case in cases]
    width = max((len(cases[bar.case].title) for bar in shown), default=0)
    names = max((len(bar.runner) for bar in shown), default=0)
    limits = max((len(_limit(cases[bar.case], bar)) for bar in shown), default=0) + 2
    if not shown:
        return
    yield "Bars: measured (median, best) beside the bar"
    yield ""
    for bar in shown:
        case = cases[bar.case]
        divided = f"÷ {bar.baseline}" if bar.baseline else ""
        subject = f"  {case.title:<{width}}  {bar.runner:<{names}}  {divided:<12}"
        limit = f"≤ {_limit(case, bar)}"
        outcome = mark(bar.is_met(record.cases))
        yield f"{subject}{_measured(case, bar):>18}   {limit:<{limits}} {outcome}"
    outcomes = [bar.is_met(record.cases) for bar in shown]
    yield ""
    yield f"  {outcomes.count(True)} of {len(shown)} met" + (
        f", {outcomes.count(None)} not measured" if None in outcomes else ""
    )


def mark(is_met: bool | None) -> str:
    """Whether a bar is met, in a word that is easy to find in the output."""
    if is_met is None:
        return "? not measured"
    return "✓ met" if is_met else "✗ MISSED"


def _measured(case: CaseRecord, bar: Bar) -> str:
    summary = case.summary(bar.runner, bar.baseline or "")
    if summary is None:
        return ""
    if bar.baseline is None:
        return f"{figure(summary.median, case.unit)} ({figure(summary.best, case.unit)})"
    if summary.ratio is None:
        return ""
    if bar.or_more_by is not None:
        return f"{summary.ratio.median:.3f}, {summary.ratio.more:+.1f} {case.unit.value}"
    # The best of many pairs of one and the same loop is luck.
    best = "" if case.priced else f" ({summary.ratio.best:.2f})"
    return f"{summary.ratio.median:.{3 if case.priced else 2}f}{best}"


def _limit(case: CaseRecord, bar: Bar) -> str:
    if bar.baseline is None:
        return figure(bar.at_most, case.unit)
    more = f" or +{bar.or_more_by:g} {case.unit.value}" if bar.or_more_by is not None else ""
    return f"{bar.at_most:.2f}{more}"


def idle_servers(record: Record) -> list[str]:
    """Echo rows with many connections in which a server was not busy, which it should be.

    Then its client was slower than the server, because something else ran on the machine, and the
    figure contains more waking up than it should.
    """
    return [
        f"{case.name} on {loop}: the server was busy {share:.0%} of the time"
        for case in record.cases
        for loop, series in case.series.items()
        if case.unit is Unit.NANOSECONDS
        if FLOOR in case.series and not case.name.endswith("-1") and series.samples
        if (share := _busy_share(series)) < BUSY_SHARE
    ]


def _busy_share(series: Series) -> float:
    return median(sample.amount / sample.wall_ns for sample in series.samples)


def failures(record: Record) -> list[str]:
    """What went wrong, a line each."""
    return [
        f"{case.name} on {loop}: {essence(series.failure)}"
        for case in record.cases
        for loop, series in case.series.items()
        if series.failure is not None
    ]
