"""Judges what became of each test: whether it is what the suite and the lists expect.

A test that fails is run once more, alone. When it passes then, and among the other tests of its
module too, it is flaky, which is reported but is no failure. What is left is run on asyncio: what
fails there too tells of this machine and not of ferrio. A skip that asyncio does not need is a
failure.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum

from expectations import Expectations
from outcomes import Outcome, Result
from supervisor import Supervisor

# More failures of a module than this are not flakiness: they are not run again.
MOST_RERUNS = 40


class Verdict(StrEnum):
    """What the outcome of a test means."""

    PASSED = "passed"
    # Failed at first, passed when it was run again.
    FLAKY = "flaky"
    FAILED = "failed"
    # Failed, as a list of exceptions says.
    EXCEPTED = "excepted"
    # Passed, although a list of exceptions says that it fails.
    UNEXPECTED_PASS = "unexpected pass"
    SKIPPED = "skipped"
    # Fails on asyncio as well, on this machine.
    BROKEN_HERE = "fails on asyncio too"


@dataclass
class ModuleReport:
    """The verdicts on one module."""

    module: str
    # Why it has none.
    unavailable: str | None = None
    verdicts: dict[str, Verdict] = field(default_factory=dict)
    results: dict[str, Result] = field(default_factory=dict)
    listed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    def count(self, *verdicts: Verdict) -> int:
        """Count the tests with one of these verdicts."""
        counts = Counter(self.verdicts.values())
        return sum(counts[verdict] for verdict in verdicts)

    def tests(self, verdict: Verdict) -> list[str]:
        """Return the tests with this verdict."""
        return [test for test, given in self.verdicts.items() if given is verdict]


class Judge:
    """Runs modules on one loop and gives verdicts, with the help of asyncio where needed."""

    def __init__(
        self,
        supervisor: Supervisor,
        reference: Supervisor | None,
        expectations: Expectations,
    ) -> None:
        self._supervisor = supervisor
        # Runs asyncio; None when the loop under test is asyncio. Tests that are excepted for
        # other loops run then too, for others may need what they leave behind, but do not count.
        self._reference = reference
        self._expectations = expectations

    def examine(self, module: str) -> ModuleReport:
        """Run a module and judge its tests."""
        run = self._supervisor.run(module, self._chosen)
        report = ModuleReport(module, run.unavailable, listed=run.listed)
        for result in run.results.values():
            self._record(report, result, self._verdict(result))
        self._run_failures_again(report)
        self._compare_with_asyncio(report)
        return report

    def _chosen(self, listed: list[str]) -> list[str]:
        return [test for test in listed if self._expectations.is_run(test)]

    def _verdict(self, result: Result) -> Verdict:
        """Judge a first result; all but passes and expected failures may be judged again."""
        excepted = self._expectations.exception_for(result.test) is not None
        if excepted and self._reference is None:
            return Verdict.EXCEPTED
        if result.outcome is Outcome.PASSED:
            return Verdict.UNEXPECTED_PASS if excepted else Verdict.PASSED
        if excepted and result.outcome is not Outcome.NOT_RUN:
            return Verdict.EXCEPTED
        if result.outcome is Outcome.SKIPPED:
            return Verdict.SKIPPED
        return Verdict.FAILED

    def _record(self, report: ModuleReport, result: Result, verdict: Verdict) -> None:
        report.results[result.test] = result
        report.verdicts[result.test] = verdict
        report.seconds += result.seconds

    def _run_failures_again(self, report: ModuleReport) -> None:
        """Tell flaky tests from failures."""
        failures = [test for test in report.tests(Verdict.FAILED) if test in report.listed]
        if len(failures) > MOST_RERUNS:
            return
        passed_alone = [
            test for test in failures if self._supervisor.run_alone(test).outcome is Outcome.PASSED
        ]
        if not passed_alone:
            return
        # One that fails again among the others is not flaky: they leave something behind.
        again = self._supervisor.run(report.module, self._chosen).results
        for test in passed_alone:
            if test in again and again[test].outcome is Outcome.PASSED:
                report.verdicts[test] = Verdict.FLAKY

    def _compare_with_asyncio(self, report: ModuleReport) -> None:
        if self._reference is None:
            return
        skipped = report.tests(Verdict.SKIPPED)
        failed = [test for test in report.tests(Verdict.FAILED) if test in report.listed]
        if failed:
            # All of the module: some tests count on what others before them left behind.
            theirs = self._reference.run(report.module, self._chosen)
        elif skipped:
            theirs = self._reference.run(report.module, lambda _: skipped)
        else:
            return
        for test in failed:
            self._judge_failure(report, theirs.results.get(test), test)
        for test in skipped:
            self._judge_skip(report, theirs.results.get(test), test)

    def _judge_failure(self, report: ModuleReport, theirs: Result | None, test: str) -> None:
        """A failure that asyncio has as well is not ferrio's."""
        if theirs is None or theirs.outcome is Outcome.NOT_RUN:
            return
        if theirs.outcome.is_failure:
            report.verdicts[test] = Verdict.BROKEN_HERE

    def _judge_skip(self, report: ModuleReport, theirs: Result | None, test: str) -> None:
        """A skip that asyncio does not need hides something."""
        if theirs is not None and theirs.outcome is Outcome.SKIPPED:
            return
        reason = report.results[test].detail
        detail = f"skipped ({reason}), although asyncio does not skip it"
        self._record(report, Result(test, Outcome.SKIPPED, detail), Verdict.FAILED)
