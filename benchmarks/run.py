"""Compare event loops: CPU time per operation, interleaved, in fresh processes.

    python benchmarks/run.py                      all cases on every loop that is installed
    python benchmarks/run.py --cases 'echo-*'     some cases (shell patterns; --list names them)
    python benchmarks/run.py --loops uvloop,ferrio --quick
    python benchmarks/run.py --price              only what ferrio's watching over itself costs
    python benchmarks/run.py --growth             also how costs grow, up to 100,000 of a kind
    python benchmarks/run.py --record             also write benchmarks/record/
    python benchmarks/run.py --show FILE          print a record again

README.md beside this file says how it measures and how to read the tables.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import sys
import time
from pathlib import Path

import cases  # noqa: F401  (registers the cases)
from harness.bars import INSTALLED, RUNNER, read_bars
from harness.case import Case, EchoCase, ServiceCase, WebCase, registered
from harness.echo import build_load_client
from harness.loops import LOOPS, LoopMissing
from harness.record import Record, file_stem, make_record, read, stolen_ticks, write
from harness.report import (
    bars_table,
    failures,
    figure,
    heading,
    idle_servers,
    price_table,
    results_table,
)
from harness.schedule import Series, run_rounds
from harness.service import service_python
from harness.web import missing

RECORDS = Path(__file__).resolve().parent / "record"

BUSY = 0.7
"""A load average per processor above which the figures are worth a warning."""


def main() -> int:
    """Do what the command line says; the exit status is 1 when ferrio failed a case."""
    arguments = parse(sys.argv[1:])
    if arguments.list:
        print_cases()
        return 0
    record = read(arguments.show) if arguments.show else measure(arguments)
    bars = read_bars()
    parts = heading(record), results_table(record), price_table(record), bars_table(record, bars)
    print(*filter(None, parts), sep="\n\n")
    for idle in idle_servers(record):
        tell(f"noisy: {idle}")
    for failure in failures(record):
        tell(f"failed: {failure}")
    if arguments.record:
        stem = file_stem(record)
        write(record, bars, RECORDS / f"{stem}.json")
        draw_into(record, RECORDS / "latest.svg")
        print(f"\nrecorded as benchmarks/record/{stem}.json, drawn as latest.svg beside it")
    if arguments.picture:
        draw_into(record, arguments.picture)
    return int(
        any(
            case.series[runner].failure is not None
            for case in record.cases
            for runner in (RUNNER, INSTALLED)
            if runner in case.series
        )
    )


def parse(words: list[str]) -> argparse.Namespace:
    """Understand the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--list", action="store_true", help="list the cases and end")
    parser.add_argument(
        "--cases", help="patterns of case names, comma-separated; default: all but the growth rows"
    )
    parser.add_argument(
        "--growth", action="store_true", help="the growth rows as well, which take long"
    )
    parser.add_argument(
        "--price", action="store_true", help="only the cases about what telling costs"
    )
    parser.add_argument("--loops", help="loops, comma-separated; default: all that are installed")
    parser.add_argument("--rounds", type=int, help="samples of each case on each loop (5)")
    parser.add_argument("--target-ms", type=int, help="CPU time of a sample (300)")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 100 ms, to try it out")
    parser.add_argument("--record", action="store_true", help="write a record and a picture")
    parser.add_argument("--picture", type=Path, help="draw into this SVG or PNG file as well")
    parser.add_argument("--show", type=Path, help="print this record instead of measuring")
    arguments = parser.parse_args(words)
    if arguments.price and not arguments.cases:
        arguments.cases = "price-*"
    arguments.rounds = arguments.rounds or (2 if arguments.quick else 5)
    arguments.target_ms = arguments.target_ms or (100 if arguments.quick else 300)
    return arguments


def print_cases() -> None:
    """Print each case's name and the first line of its question."""
    for case in registered().values():
        print(f"{case.name:<28}{case.question.splitlines()[0]}")


def measure(arguments: argparse.Namespace) -> Record:
    """Take all samples, telling about each."""
    chosen = choose_cases(arguments.cases, growth=arguments.growth)
    loops = choose_loops(arguments.loops)
    if any(isinstance(case, EchoCase) for case in chosen):
        build_load_client()
    if any(isinstance(case, ServiceCase) for case in chosen) and service_python() is None:
        tell("left out: the service, which needs the environment that `make build` makes")
        chosen = [case for case in chosen if not isinstance(case, ServiceCase)]
    chosen = [case for case in chosen if can_serve(case)]
    load = os.getloadavg()[0]
    if load > BUSY * len(os.sched_getaffinity(0)):
        tell(f"warning: the machine is busy (load average {load:.1f}); expect noise")
    started, before = time.monotonic(), stolen_ticks()

    def tell_progress(round_number: int, case: Case, loop: str, series: Series) -> None:
        outcome = (
            f"failed: {series.failure}"
            if series.failure is not None
            else figure(series.samples[-1].per_operation, case.unit)
        )
        elapsed = time.monotonic() - started
        tell(
            f"{elapsed:6.1f} s  round {round_number + 1}/{arguments.rounds}  "
            f"{case.name:<28}{loop:<18}{outcome}"
        )

    results = run_rounds(
        chosen, loops, arguments.rounds, arguments.target_ms * 1_000_000, tell_progress
    )
    after = stolen_ticks()
    settings = {
        "rounds": arguments.rounds,
        "target_ms": arguments.target_ms,
        "load_average_before": round(load, 2),
        "stolen_percent": round(100 * (after[0] - before[0]) / max(after[1] - before[1], 1), 1),
    }
    return make_record(chosen, loops, settings, results)


def can_serve(case: Case) -> bool:
    """Whether there is what a web server is made of, telling what is not there."""
    lacking = missing(case) if isinstance(case, WebCase) else []
    if lacking:
        tell(f"left out: {case.name}, which needs {', '.join(lacking)}")
    return not lacking


def choose_cases(patterns: str | None, *, growth: bool) -> list[Case]:
    """The cases that match one of the patterns, in the order in which they are registered.

    Without patterns all of them, with the growth rows or without.
    """
    if patterns is None:
        return [case for case in registered().values() if growth or not case.growth]
    wanted = patterns.split(",")
    unmatched = [pattern for pattern in wanted if not fnmatch.filter(registered(), pattern)]
    if unmatched:
        raise SystemExit(f"no case is called {', '.join(unmatched)}; --list names them all")
    return [
        case
        for name, case in registered().items()
        if any(fnmatch.fnmatchcase(name, pattern) for pattern in wanted)
    ]


def choose_loops(names: str | None) -> list[str]:
    """The loops asked for, or all that are installed, telling which are not."""
    if names is not None:
        wanted = names.split(",")
        unknown = [name for name in wanted if name not in LOOPS]
        if unknown:
            raise SystemExit(
                f"no loop is called {', '.join(unknown)}: there are {', '.join(LOOPS)}"
            )
        for name in wanted:
            try:
                LOOPS[name].factory()
            except LoopMissing as missing:
                raise SystemExit(str(missing)) from None
        return wanted
    installed = []
    for name, loop in LOOPS.items():
        try:
            loop.factory()
        except LoopMissing as missing:
            tell(f"left out: {missing}")
        else:
            installed.append(name)
    return installed


def draw_into(record: Record, path: Path) -> None:
    """Draw the picture of a record."""
    # matplotlib takes most of a second to import and is needed only here.
    from harness.picture import draw

    path.parent.mkdir(parents=True, exist_ok=True)
    draw(record, read_bars(), path)


def tell(line: str) -> None:
    """Tell about the progress, beside the tables."""
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
