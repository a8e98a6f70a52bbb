"""One picture of a record: every case's ratio to uvloop, and the bars that ferrio must reach."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import blended_transform_factory

from harness.bars import RUNNER, Bar
from harness.loops import FLOOR
from harness.record import CaseRecord, Record
from harness.report import BASELINE, figure

INK = "#1f2933"
FAINT = "#7b8794"
GRID = "#e4e7eb"
COLOURS = {
    "asyncio": "#9aa5b1",
    "rloop": "#3e8ed0",
    "rsloop": "#8b6fc9",
    "zuvloop": "#c06c9b",
    RUNNER: "#d9480f",
    FLOOR: "#52606d",
}
"""A muted colour for those that are compared with, a strong one for what the picture is about."""

MARKERS = {FLOOR: "|"}

LIMITS = (0.08, 4.5)
"""Ratios outside are drawn at the edge."""

MARGIN = 0.02
"""Free space at the left, as part of the width."""

ROW = 0.27
"""Height of a case, in inches."""


def draw(record: Record, bars: Sequence[Bar], path: Path) -> None:
    """Draw a record; the ending of the path, .svg or .png, decides the format."""
    rows = _rows(record)
    style: dict[Any, Any] = {
        "font.family": "sans-serif",
        "font.size": 9.5,
        "text.color": INK,
        # The same record gives the same file.
        "svg.hashsalt": "ferrio",
    }
    with matplotlib.rc_context(rc=style):
        height = ROW * len(rows) + 1.7
        drawing, axes = pyplot.subplots(figsize=(9.6, height), layout=None)
        # Room in inches, whatever the number of rows: a title above, a caption below.
        drawing.subplots_adjust(left=0.27, right=0.88, top=1 - 0.95 / height, bottom=0.72 / height)
        _draw_frame(axes, len(rows))
        for position, row in enumerate(rows):
            if isinstance(row, str):
                _draw_group(axes, position, row)
            else:
                _draw_case(axes, position, row, record.loops, bars)
        _draw_words(axes, record, height)
        _draw_legend(axes, record, height)
        metadata = {"Date": None} if path.suffix == ".svg" else None
        drawing.savefig(path, metadata=metadata, dpi=150, facecolor="white")
        pyplot.close(drawing)


def _rows(record: Record) -> list[str | CaseRecord]:
    rows: list[str | CaseRecord] = []
    # What did not run on the baseline has no place in a picture of ratios to it.
    comparable = [case for case in record.cases if BASELINE in case.series]
    for group, cases in groupby(comparable, key=lambda case: case.group):
        rows += [group, *cases]
    return rows


def _draw_frame(axes: Axes, rows: int) -> None:
    axes.set_xscale("log")
    axes.set_xlim(*LIMITS)
    axes.set_ylim(rows - 0.4, -0.7)
    ticks = [0.1, 0.2, 0.3, 0.5, 0.7, 1, 1.5, 2, 3, 4]
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}×"))
    axes.tick_params(axis="x", colors=FAINT, length=0, pad=6)
    axes.yaxis.set_major_locator(NullLocator())
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.axvline(1, color=INK, linewidth=1.1)
    axes.axvspan(LIMITS[0], 1, color="#f6faf7", zorder=-2)


def _draw_group(axes: Axes, position: int, name: str) -> None:
    _write_left(axes, position + 0.12, name, MARGIN, weight="bold")


def _draw_case(
    axes: Axes, position: int, case: CaseRecord, loops: Sequence[str], bars: Sequence[Bar]
) -> None:
    _write_left(axes, position, case.title, MARGIN + 0.012)
    ratios = {
        loop: summary.ratio.median
        for loop in [*loops, FLOOR]
        if (summary := case.summary(loop, BASELINE)) is not None and summary.ratio
    }
    ratios.pop(BASELINE, None)
    if RUNNER in ratios:
        # How far from uvloop, at a glance.
        axes.plot(
            [_within(ratios[RUNNER]), 1],
            [position, position],
            color=COLOURS[RUNNER],
            alpha=0.25,
            linewidth=2.4,
            solid_capstyle="round",
            zorder=1,
        )
    for loop, ratio in ratios.items():
        ours = loop == RUNNER
        marker = MARKERS.get(loop, "o")
        axes.plot(
            _within(ratio),
            position,
            marker,
            color=COLOURS.get(loop, FAINT),
            markersize=8 if ours else 9 if marker == "|" else 6,
            markeredgewidth=1.8 if marker == "|" else 0.8,
            markeredgecolor=COLOURS[loop] if marker == "|" else "white",
            zorder=4 if ours else 3,
            clip_on=False,
        )
    for bar in bars:
        if bar.case == case.name and bar.baseline == BASELINE:
            axes.plot(
                _within(bar.at_most),
                position,
                "v",
                color=INK,
                markersize=4.5,
                zorder=5,
                markeredgewidth=0,
                clip_on=False,
            )
    _draw_figures(axes, position, case, ratios.get(RUNNER))


def _write_left(axes: Axes, position: float, words: str, left: float, **style: Any) -> None:
    """Write at a row's height, `left` of the way across the whole picture."""
    across = blended_transform_factory(axes.figure.transFigure, axes.transData)
    axes.text(left, position, words, transform=across, va="center", **style)


def _draw_figures(axes: Axes, position: int, case: CaseRecord, ratio: float | None) -> None:
    """At the right, ferrio's own figure, or the baseline's when ferrio did not run."""
    loop = RUNNER if ratio is not None else BASELINE
    summary = case.summary(loop, BASELINE)
    if summary is None:
        return
    text = figure(summary.median, case.unit)
    if ratio is not None:
        text += f"  {ratio:.2f}×"
    axes.annotate(
        text,
        (1, position),
        xycoords=("axes fraction", "data"),
        xytext=(82, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8.5,
        color=COLOURS[RUNNER] if ratio is not None else FAINT,
    )


def _within(ratio: float) -> float:
    return min(max(ratio, LIMITS[0]), LIMITS[1])


def _draw_words(axes: Axes, record: Record, height: float) -> None:
    drawing = axes.figure
    rounds = record.settings["rounds"]
    measure = "CPU time per operation"
    drawing.text(
        MARGIN,
        1 - 0.32 / height,
        f"{measure}, as a multiple of {BASELINE}'s — further left is better",
        fontsize=13,
        weight="bold",
    )
    versions = ", ".join(f"{loop} {version}" for loop, version in record.versions.items())
    drawing.text(
        MARGIN,
        0.2 / height,
        f"Median of {rounds} paired rounds in fresh processes. {versions}. "
        f"{record.machine['python']}, {record.machine['processor']}, "
        f"{record.taken_at[:10]}, commit {record.commit}.\n"
        "Memory: bytes instead of time. At the right: what one operation costs on "
        f"{RUNNER if RUNNER in record.versions else BASELINE}.",
        fontsize=7.5,
        color=FAINT,
        va="center",
        linespacing=1.5,
    )


def _draw_legend(axes: Axes, record: Record, height: float) -> None:
    handles = []
    for loop in [*record.loops, FLOOR]:
        if loop == BASELINE:
            (handle,) = axes.plot([], [], color=INK, linewidth=1.1, label=loop)
        else:
            marker = MARKERS.get(loop, "o")
            (handle,) = axes.plot(
                [],
                [],
                marker,
                color=COLOURS.get(loop, FAINT),
                markersize=8 if loop == RUNNER else 9 if marker == "|" else 6,
                markeredgewidth=1.8 if marker == "|" else 0.8,
                markeredgecolor=COLOURS[loop] if marker == "|" else "white",
                label="echo server in Rust, no Python" if loop == FLOOR else loop,
            )
        handles.append(handle)
    (handle,) = axes.plot(
        [], [], "v", color=INK, markersize=4.5, markeredgewidth=0, label="bar for ferrio"
    )
    handles.append(handle)
    axes.figure.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(0.012, 1 - 0.66 / height),
        ncols=len(handles),
        frameon=False,
        fontsize=9,
        handletextpad=0.4,
        columnspacing=1.6,
    )
