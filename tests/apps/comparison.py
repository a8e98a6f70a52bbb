"""What a library's tests did on asyncio and on ferrio, compared test by test."""

from __future__ import annotations

from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from library import Known, Library
from supervisor import FAILED, PASSED, LoopRun, Outcome, Supervisor


@dataclass
class Difference:
    """A test that did not do on ferrio what it did on asyncio."""

    test: str
    says: str
    text: str = ""


@dataclass
class Comparison:
    """What came of a library."""

    library: Library
    asyncio: LoopRun
    ferrio: LoopRun
    failures: list[Difference] = field(default_factory=list)
    """Pass on asyncio and not on ferrio, twice."""
    differing: list[str] = field(default_factory=list)
    """Differ, and are to be run again."""
    flaky: list[Difference] = field(default_factory=list)
    """Did the first time and not the second, or failed on asyncio the second time."""
    known: list[tuple[str, Known]] = field(default_factory=list)
    """Fail as the list says they do."""
    fails_everywhere: list[str] = field(default_factory=list)
    only_asyncio_fails: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def is_good(self) -> bool:
        return not self.failures and not self.problems


def compare(
    library: Library, known: list[Known], on_asyncio: Supervisor, on_ferrio: Supervisor
) -> Comparison:
    """Run the tests on both loops, and say which differ."""
    comparison = Comparison(library, on_asyncio.run(), on_ferrio.run())
    check_loops(comparison)
    for run in (comparison.asyncio, comparison.ferrio):
        comparison.problems += [f"on {run.loop}: {problem}" for problem in run.problems]
    differing = []
    for test, outcome in comparison.asyncio.outcomes.items():
        other = comparison.ferrio.outcomes.get(test)
        if outcome.outcome == FAILED:
            if other is not None and other.outcome == PASSED:
                comparison.only_asyncio_fails.append(test)
            else:
                comparison.fails_everywhere.append(test)
        elif other is None or other.outcome != outcome.outcome:
            differing.append(test)
    differing += [
        test
        for test, outcome in comparison.ferrio.outcomes.items()
        if test not in comparison.asyncio.outcomes and outcome.outcome == FAILED
    ]
    mine = [entry for entry in known if entry.library == library.name]
    for test in differing:
        entry = next((entry for entry in mine if fnmatchcase(test, entry.test)), None)
        if entry is None:
            comparison.differing.append(test)
        else:
            comparison.known.append((test, entry))
    used = {entry for _, entry in comparison.known}
    comparison.problems += [
        f"known.toml: {entry.test} did not fail" for entry in mine if entry not in used
    ]
    return comparison


def check_loops(comparison: Comparison) -> None:
    """Make sure that each run was on the loop that it is said to have been on."""
    if comparison.asyncio.loops()["ferrio"]:
        comparison.problems.append("ferrio's loop ran in the run on asyncio")
    if not comparison.ferrio.loops()["ferrio"]:
        comparison.problems.append("ferrio's loop never ran")


def judge_again(comparison: Comparison, on_asyncio: Supervisor, on_ferrio: Supervisor) -> None:
    """Run what differed once more, and say of each test whether it differs again."""
    if not comparison.differing:
        return
    asyncio, ferrio = on_asyncio.run(comparison.differing), on_ferrio.run(comparison.differing)
    for test in comparison.differing:
        first = comparison.ferrio.outcomes.get(test)
        standard, second = asyncio.outcomes.get(test), ferrio.outcomes.get(test)
        text = second.text if second is not None else ""
        says = (
            f"asyncio {name_of(comparison.asyncio.outcomes.get(test))}, ferrio {name_of(first)};"
            f" again: asyncio {name_of(standard)}, ferrio {name_of(second)}"
        )
        if name_of(second) == name_of(standard) or name_of(standard) == FAILED:
            comparison.flaky.append(Difference(test, says, first.text if first else ""))
        else:
            comparison.failures.append(Difference(test, says, text))


def name_of(outcome: Outcome | None) -> str:
    """Name an outcome for people."""
    return "not run" if outcome is None else outcome.outcome
