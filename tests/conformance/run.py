"""Runs CPython's own asyncio tests, of the Python that runs this, on ferrio or on asyncio.

    python tests/conformance/run.py [--loop ferrio] [--modules test_tasks test_events]

Needs a Python with its test suite (``test.test_asyncio``) and, for ``--loop ferrio``, an
importable ``ferrio``. Each module runs in processes of its own; a crash or a hang costs one
test. Exits with 1 when anything is not as the suite and the lists of exceptions say, with 2
when it cannot run. ``README.md`` beside this file says more.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import json
import platform
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from expectations import Expectations, InvalidList
from report import Report
from substitutions import LOOPS
from supervisor import Limits, Supervisor
from verdicts import Judge, ModuleReport, Verdict

HERE = Path(__file__).parent
LISTS = [HERE / "whitebox.toml", HERE / "not_yet.toml"]
INSTALLED = HERE / "installed.toml"

# Modules that take long: they are started first, so that all jobs end at about the same time.
SLOW = ("test_tasks", "test_subprocess", "test_events", "test_ssl", "test_taskgroups")


def main() -> int:
    """Run, print the report and return the exit status."""
    options = parse_arguments()
    problem = why_impossible(options.loop)
    if problem is not None:
        print(f"conformance: cannot run: {problem}", file=sys.stderr)
        return 2
    version = sys.version_info[:2]
    try:
        expectations = Expectations.load(options.expect or lists_for(options.loop), version)
    except (InvalidList, OSError) as error:
        print(f"conformance: cannot run: {error}", file=sys.stderr)
        return 2
    report = Report(options.loop, "{}.{}".format(*version), platform.python_version())
    modules = modules_to_run(options.modules, expectations, report)
    run_modules(modules, expectations, options, report)
    print(report.text(), flush=True)
    if options.json is not None:
        options.json.write_text(json.dumps(report.as_json(), indent=1), encoding="utf-8")
    if options.record:
        report.record()
    return 1 if report.failures else 0


def parse_arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--loop", choices=LOOPS, default="ferrio", help="the loop to test")
    parser.add_argument("--modules", nargs="+", metavar="MODULE", help="only these modules")
    parser.add_argument("--jobs", type=int, default=2, help="modules at a time (default: 2)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write every result to FILE")
    parser.add_argument(
        "--expect",
        type=Path,
        nargs="+",
        metavar="LIST",
        help="lists of exceptions (default: whitebox.toml and not_yet.toml, for --loop installed"
        " also installed.toml)",
    )
    parser.add_argument(
        "--test-timeout", type=float, default=60, metavar="SECONDS", help="for one test"
    )
    parser.add_argument(
        "--timeout", type=float, default=900, metavar="SECONDS", help="for the whole run"
    )
    parser.add_argument(
        "--record", action="store_true", help="keep the counts of --loop asyncio for comparison"
    )
    options = parser.parse_args()
    if options.record and (options.loop != "asyncio" or options.modules):
        parser.error("--record is for a whole run of --loop asyncio")
    return options


def lists_for(loop: str) -> list[Path]:
    """Return the lists of exceptions that are for what is tested."""
    return [*LISTS, INSTALLED] if loop == "installed" else LISTS


def why_impossible(loop: str) -> str | None:
    """Return what is missing, or None."""
    if importlib.util.find_spec("test") is None or not list(suite_directory().glob("test_*.py")):
        return f"{sys.executable} has no test.test_asyncio (a Python without its test suite)"
    if loop != "asyncio" and importlib.util.find_spec("ferrio") is None:
        return f"{sys.executable} cannot import ferrio"
    return None


def suite_directory() -> Path:
    """Return where this Python keeps the tests of asyncio."""
    return Path(importlib.import_module("test").__path__[0]) / "test_asyncio"


def modules_to_run(
    wanted: list[str] | None, expectations: Expectations, report: Report
) -> list[str]:
    """Return the modules, slow ones first; note which are left out and why."""
    existing = sorted(path.stem for path in suite_directory().glob("test_*.py"))
    modules = []
    for module in wanted or existing:
        reason = expectations.why_not_run(module)
        if module not in existing:
            report.notes.append(f"{module} does not exist in Python {report.full_version}")
        elif reason is not None:
            report.notes.append(f"{module} is not run: {reason}")
        else:
            modules.append(module)
    return sorted(modules, key=lambda module: (module not in SLOW, module))


def run_modules(
    modules: list[str],
    expectations: Expectations,
    options: argparse.Namespace,
    report: Report,
) -> None:
    """Run the modules, some at a time, and put what became of them into the report."""
    limits = Limits(options.test_timeout, time.monotonic() + options.timeout, threading.Event())
    reference = Supervisor("asyncio", limits) if options.loop != "asyncio" else None
    judge = Judge(Supervisor(options.loop, limits), reference, expectations)
    with ThreadPoolExecutor(max_workers=options.jobs) as pool:
        running = [pool.submit(judge.examine, module) for module in modules]
        try:
            for done in as_completed(running):
                report.modules.append(done.result())
                show_progress(report.modules[-1], len(report.modules), len(modules))
        except BaseException:
            # An interrupt, or an error of ours: the children are not to outlive it.
            limits.stop.set()
            pool.shutdown(cancel_futures=True)
            raise
    report.modules.sort(key=lambda module: module.module)
    listed = [module.module for module in report.modules if module.listed]
    report.unmatched = expectations.unmatched(listed)


def show_progress(module: ModuleReport, done: int, all_of_them: int) -> None:
    """Say on stderr that a module is finished."""
    bad = module.count(Verdict.FAILED, Verdict.UNEXPECTED_PASS)
    passed = module.count(Verdict.PASSED, Verdict.FLAKY)
    told = f"{passed} passed, {bad} failed, {module.seconds:.1f} s"
    print(f"[{done}/{all_of_them}] {module.module}: {told}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
