"""One picture of a record: every case's ratio to uvloop, and the bars that ferrio must reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("svg")

from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator
from matplotlib.transforms import blended_transform_factory

from harness.bars import INSTALLED, RUNNER, Bar
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
    INSTALLED: "#d9480f",
    FLOOR: "#52606d",
}
"""A muted colour for those that are compared with, a strong one for what the picture is about."""

OURS = (INSTALLED, RUNNER)
"""What the picture is about; at the right stands the figure of the first that ran."""

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
    if ours := [ratios[loop] for loop in OURS if loop in ratios]:
        # How far from uvloop, at a glance.
        axes.plot(
            [_within(ours[0]), 1],
            [position, position],
            color=COLOURS[RUNNER],
            alpha=0.25,
            linewidth=2.4,
            solid_capstyle="round",
            zorder=1,
        )
    for loop, ratio in ratios.items():
        axes.plot(
            _within(ratio),
            position,
            **_marker(loop),
            zorder=4 if loop in OURS else 3,
            clip_on=False,
        )
    for bar in bars:
        if bar.case == case.name and bar.baseline == BASELINE:
            axes.plot(
                _within(bar.at_most),
                position,
                **_bar_marker(bar.runner),
                zorder=5,
                clip_on=False,
            )
    _draw_figures(axes, position, case, ratios)


def _marker(loop: str) -> dict[str, Any]:
    """How a loop's place is marked."""
    colour = COLOURS.get(loop, FAINT)
    if loop == FLOOR:
        return {"marker": "|", "color": colour, "markersize": 9, "markeredgewidth": 1.8}
    if loop == INSTALLED:
        # A ring, because it is the same loop once more.
        return {
            "marker": "o",
            "color": "white",
            "markersize": 7,
            "markeredgewidth": 1.8,
            "markeredgecolor": colour,
        }
    return {
        "marker": "o",
        "color": colour,
        "markersize": 8 if loop == RUNNER else 6,
        "markeredgewidth": 0.8,
        "markeredgecolor": "white",
    }


def _bar_marker(runner: str) -> dict[str, Any]:
    """How a bar is marked: hollow where it is for the loop that is shown by a ring."""
    return {
        "marker": "v",
        "color": "white" if runner == INSTALLED else INK,
        "markersize": 4.5,
        "markeredgewidth": 0.9,
        "markeredgecolor": INK,
    }


def _write_left(axes: Axes, position: float, words: str, left: float, **style: Any) -> None:
    """Write at a row's height, `left` of the way across the whole picture."""
    across = blended_transform_factory(axes.figure.transFigure, axes.transData)
    axes.text(left, position, words, transform=across, va="center", **style)


def _draw_figures(axes: Axes, position: int, case: CaseRecord, ratios: Mapping[str, float]) -> None:
    """At the right, ferrio's own figure, or the baseline's when ferrio did not run."""
    loop = next((loop for loop in OURS if loop in ratios), BASELINE)
    summary = case.summary(loop, BASELINE)
    if summary is None:
        return
    text = figure(summary.median, case.unit)
    if loop in ratios:
        text += f"  {ratios[loop]:.2f}×"
    axes.annotate(
        text,
        (1, position),
        xycoords=("axes fraction", "data"),
        xytext=(82, 0),
        textcoords="offset points",
        ha="right",
        va="center",
        fontsize=8.5,
        color=COLOURS[loop] if loop in ratios else FAINT,
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
        f"{' or '.join(loop for loop in OURS if loop in record.versions) or BASELINE}.",
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
            (handle,) = axes.plot(
                [],
                [],
                **_marker(loop),
                linestyle="none",
                label="echo server in Rust, no Python" if loop == FLOOR else loop,
            )
        handles.append(handle)
    (handle,) = axes.plot(
        [], [], **_bar_marker(RUNNER), linestyle="none", label="bar (hollow: installed)"
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
