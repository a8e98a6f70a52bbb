"""What is printed about the libraries: a table, and every difference by name."""

from __future__ import annotations

from comparison import Comparison
from supervisor import FAILED, PASSED, SKIPPED, LoopRun

HEADERS = ("library", "version", "loop", "passed", "failed", "skipped", "loops run", "seconds", "")
LONGEST_TEXT = 60
"""Lines of a failure that are shown; the log has the rest."""


def table(comparisons: list[Comparison]) -> str:
    """Return one row per library and loop."""
    rows: list[tuple[str, ...]] = [HEADERS]
    for one in comparisons:
        library = one.library
        rows.append((library.name, library.version, *row_of(one.asyncio), ""))
        rows.append(("", "", *row_of(one.ferrio), "ok" if one.is_good else "FAILED"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADERS))]
    numeric = range(3, 8)
    lines = []
    for row in rows:
        cells = [
            cell.rjust(width) if column in numeric else cell.ljust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def row_of(run: LoopRun) -> tuple[str, ...]:
    loops = run.loops()
    of_this_kind = loops[run.loop]
    others = sum(loops.values()) - of_this_kind
    return (
        run.loop,
        *(str(run.count(outcome)) for outcome in (PASSED, FAILED, SKIPPED)),
        f"{of_this_kind}" + (f" (+{others} other)" if others else ""),
        f"{run.seconds:.0f}",
    )


def details(one: Comparison) -> str:
    """Return what there is to say about a library, test by test; may be empty."""
    lines = [f"PROBLEM {problem}" for problem in one.problems]
    for difference in one.failures:
        lines.append(f"FAILED {difference.test}\n    {difference.says}")
        lines += [f"    {line}" for line in difference.text.splitlines()[-LONGEST_TEXT:]]
    for difference in one.flaky:
        lines.append(f"flaky {difference.test}\n    {difference.says}")
    lines += [f"known {test}: {known.reason}" for test, known in one.known]
    lines += [f"fails on asyncio, too: {test}" for test in one.fails_everywhere]
    lines += [f"fails on asyncio only: {test}" for test in one.only_asyncio_fails]
    return "\n".join(f"{one.library.name}: {line}" for line in lines)


def as_json(one: Comparison) -> dict[str, object]:
    """Return everything about a library, for programs."""
    return {
        "library": one.library.name,
        "version": one.library.version,
        "good": one.is_good,
        "problems": one.problems,
        "failures": [difference.__dict__ for difference in one.failures],
        "flaky": [difference.__dict__ for difference in one.flaky],
        "known": [test for test, _ in one.known],
        "fails everywhere": one.fails_everywhere,
        "only asyncio fails": one.only_asyncio_fails,
        "runs": {
            run.loop: {
                "seconds": run.seconds,
                "loops": run.loops(),
                "outcomes": {
                    test: [outcome.outcome, outcome.text, round(outcome.seconds, 3)]
                    for test, outcome in run.outcomes.items()
                },
            }
            for run in (one.asyncio, one.ferrio)
        },
    }
