"""Runs the test suites of real libraries on asyncio and on ferrio, and compares test by test.

    python tests/apps/run.py [LIBRARY …]

Needs an importable ``ferrio``, the package index (the first time) and the servers that the
libraries talk to. A test that passes on asyncio and fails on ferrio is run once more on both, when
nothing else is run; if it does so again, this exits with 1, and with 2 when something could not be
run at all.
``README.md`` beside this file says more.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from comparison import Comparison, compare, judge_again
from environments import BUILD, VERSION, CannotPrepare, copy_ferrio, prepare
from library import InvalidList, Known, Library, load_known, load_libraries
from report import as_json, details, table
from services import NoService
from supervisor import Supervisor, stopping


def main() -> int:
    """Run, print the report and return the exit status."""
    try:
        libraries = load_libraries()
        known = load_known(libraries)
        chosen = parse_arguments(libraries)
        wanted = [libraries[name] for name in chosen.libraries or libraries]
        with tempfile.TemporaryDirectory(prefix="ferrio-") as directory:
            # The tests of one library are run by another user.
            Path(directory).chmod(0o755)
            copy_ferrio(Path(directory))
            comparisons = run_libraries(wanted, known, Path(directory), chosen.at_once)
    except (InvalidList, CannotPrepare, NoService) as error:
        print(f"test-apps: cannot run: {error}", file=sys.stderr)
        return 2
    comparisons.sort(key=lambda one: list(libraries).index(one.library.name))
    print()
    for one in comparisons:
        if text := details(one):
            print(text, end="\n\n")
    print(f"Python {sys.version.split()[0]}\n{table(comparisons)}", flush=True)
    results = BUILD / VERSION / "results.json"
    results.write_text(json.dumps([as_json(one) for one in comparisons], indent=1))
    bad = [one.library.name for one in comparisons if not one.is_good]
    if bad:
        print(f"Failed: {', '.join(bad)} (all results: {results})")
    return 1 if bad else 0


def parse_arguments(libraries: dict[str, Library]) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "libraries", nargs="*", metavar="LIBRARY", help=f"of {', '.join(libraries)} (default: all)"
    )
    parser.add_argument(
        "--at-once",
        type=int,
        default=(os.cpu_count() or 1) + 1,
        help="libraries at a time (default: one more than processors, for they often wait)",
    )
    arguments = parser.parse_args()
    unknown = set(arguments.libraries) - libraries.keys()
    if unknown:
        parser.error(f"no such library: {', '.join(sorted(unknown))}")
    return arguments


def run_libraries(
    libraries: list[Library], known: list[Known], ferrio: Path, at_once: int
) -> list[Comparison]:
    """Prepare and run the libraries, some at a time, those that may take longest first."""
    comparisons = []
    libraries = sorted(libraries, key=lambda library: -library.seconds)
    with ThreadPoolExecutor(at_once) as pool:
        running = [pool.submit(run_library, library, known, ferrio) for library in libraries]
        try:
            for done in as_completed(running):
                comparison = done.result()
                comparisons.append(comparison)
                print(
                    f"[{len(comparisons)}/{len(libraries)}] {comparison.library.name}:"
                    f" {state_of(comparison)}",
                    flush=True,
                )
        except BaseException:
            # An interrupt, or an error of ours: the children are not to outlive it.
            stopping.set()
            pool.shutdown(cancel_futures=True)
            raise
    # One after the other: what failed because others had the processors has them for itself now.
    for comparison in comparisons:
        if comparison.differing:
            judge_again(comparison, *supervisors(comparison.library, ferrio))
            state = "ok" if comparison.is_good else "FAILED"
            print(f"{comparison.library.name}, again: {state}", flush=True)
    return comparisons


def run_library(library: Library, known: list[Known], ferrio: Path) -> Comparison:
    """Run a library's tests on both loops, one after the other, and compare."""
    began = time.monotonic()
    comparison = compare(library, known, *supervisors(library, ferrio))
    print(f"{library.name}: {time.monotonic() - began:.0f} s", flush=True)
    return comparison


def supervisors(library: Library, ferrio: Path) -> tuple[Supervisor, Supervisor]:
    """Return who runs a library's tests on asyncio and on ferrio."""
    installation = prepare(library)
    on_asyncio, on_ferrio = (
        Supervisor(library, installation, loop, ferrio) for loop in ("asyncio", "ferrio")
    )
    return on_asyncio, on_ferrio


def state_of(comparison: Comparison) -> str:
    """Say what has come of a library so far."""
    if not comparison.is_good:
        return "FAILED"
    return f"{len(comparison.differing)} to be run again" if comparison.differing else "ok"


if __name__ == "__main__":
    # A shell starts what it puts into the background with SIGINT ignored, and the tests'
    # processes would inherit that. What ends us has to pass through here for them to be ended.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.default_int_handler)
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit("interrupted")
