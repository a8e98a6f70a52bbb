"""What can become of a test, and of a module's tests."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class Outcome(StrEnum):
    """How one test ended."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    # The process died while the test ran.
    CRASHED = "crashed"
    # The test was still running when its time was up.
    HUNG = "hung"
    # Nothing ran: a fixture failed before, or the time for the whole run was up.
    NOT_RUN = "not run"

    @property
    def is_failure(self) -> bool:
        """Whether the test did not do what it is there to show."""
        return self not in (Outcome.PASSED, Outcome.SKIPPED)


@dataclass(frozen=True)
class Result:
    """The outcome of one test."""

    # ``test_module.Class.test_method``, the name by which the lists of exceptions know it too.
    test: str
    outcome: Outcome
    # Traceback, reason for a skip, or the end of what the process wrote before it died.
    detail: str = ""
    seconds: float = 0.0


@dataclass
class ModuleRun:
    """What running the tests of one module on one loop brought."""

    module: str
    # Every test that the module has, in its own order, whether chosen to run or not.
    listed: list[str] = field(default_factory=list)
    # By test; every test that was chosen is in it.
    results: dict[str, Result] = field(default_factory=dict)
    # Why the module has no tests here (it skips itself, or this Python does not have it).
    unavailable: str | None = None

    def add(self, result: Result) -> None:
        """Record a result."""
        self.results[result.test] = result
