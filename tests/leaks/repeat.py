"""A plugin of pytest that runs every test several times and compares what the process has in use.

    PYTHONPATH=tests/leaks python -m pytest -p repeat tests/python/test_tasks.py

A test runs a few times to fill caches and free lists, and a few times more. If a count has grown
every time it is looked at more closely: a test fails that goes on taking something every time.
The manner is that of CPython's ``-R 3:3``, with what a Python that was not built for debugging
can count (see ``leak_counts.py``). Several processes can share the tests out among them:
``FERRIO_LEAKS_PART=1/3`` and so on.
"""

import os
import tempfile
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from _pytest.reports import TestReport
from _pytest.runner import runtestprotocol

from leak_counts import MORE_THAN_KEPT, Blocks, Counter, Heap, References, fill_free_lists, settle

WARM_UP = 3
MEASURED = 3
# How often a test is repeated whose counts have grown every time.
CLOSER = 20

# That many of them, and it is a leak. Threads may let go of something a little later.
NEARLY_ALWAYS = 17
# How often free lists are filled at first. An object that has been in a cycle is not kept for
# reuse, so not all places in a list are taken the first time.
FILL = 3

REFERENCES = References()
COUNTERS: Sequence[Counter] = (Blocks(), Heap(), REFERENCES)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Keep those of ``FERRIO_LEAKS_PART``, say 1/3: every third file, from the first on.

    What failed in this part the last time belongs to it, whatever else there is.
    """
    if config.getoption("lf", default=False):
        return
    part, parts = map(int, os.environ.get("FERRIO_LEAKS_PART", "1/1").split("/"))
    files = sorted({item.path for item in items})
    here = set(files[part - 1 :: parts])
    config.hook.pytest_deselected(items=[item for item in items if item.path not in here])
    items[:] = [item for item in items if item.path in here]


def pytest_collection_finish(session: pytest.Session) -> None:
    for _ in range(FILL):
        fill_free_lists()


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """In pytest's place, which remembers every directory."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item, nextitem: pytest.Item | None) -> bool:
    """Run a test as often as it takes, and tell about one run of it."""
    item.ihook.pytest_runtest_logstart(nodeid=item.nodeid, location=item.location)
    repeated = _Repeated(item)
    failure = None
    if item.get_closest_marker("keeps_something") is None:
        failure = repeated.run(WARM_UP) or repeated.look_for_leaks()
    last = repeated.once(nextitem)
    for report in failure or last:
        item.ihook.pytest_runtest_logreport(report=report)
    item.ihook.pytest_runtest_logfinish(nodeid=item.nodeid, location=item.location)
    return True


class _Repeated:
    """One test, run again and again."""

    def __init__(self, item: pytest.Item) -> None:
        self.item = item

    def once(self, nextitem: pytest.Item | pytest.Collector | None) -> list[TestReport]:
        reports = runtestprotocol(self.item, log=False, nextitem=nextitem)
        # Each run adds what it has captured.
        self.item._report_sections.clear()
        return reports

    def run(
        self, times: int, counts: list[array] | None = None, *, thoroughly: bool = False
    ) -> list[TestReport] | None:
        """Run it so often, and note the counts before and after each; return what went wrong.

        A test that is skipped is not run again, either.
        """
        for number in range(times + 1):
            if counts is not None:
                # What pytest held of one run when the next one began has been set aside alive.
                settle(thoroughly=thoroughly)
                for counter, noted in zip(COUNTERS, counts, strict=True):
                    noted[number] = counter.read()
            if number < times:
                # Torn down to what contains the test, as if another one came after it.
                reports = self.once(self.item.parent)
                if not all(report.passed for report in reports):
                    return reports
                del reports
        return None

    def look_for_leaks(self) -> list[TestReport] | None:
        """Return the reports to show instead of the last run's: of a failure, or of a leak."""
        counts = _room_for(MEASURED)
        if reports := self.run(MEASURED, counts):
            return reports
        if not _leaking(counts, MEASURED):
            return None
        # What an earlier test has taken out of the free lists, or this one puts there.
        fill_free_lists()
        self.run(WARM_UP)
        for thoroughly in (False, True):
            if thoroughly:
                # What grows until a free list is full, and collections that look at everything:
                # only what still seems to leak is worth that.
                self.run(MORE_THAN_KEPT)
            counts = _room_for(CLOSER)
            before = REFERENCES.each()
            if reports := self.run(CLOSER, counts, thoroughly=thoroughly):
                return reports
            after = REFERENCES.each()
            leaking = _leaking(counts, NEARLY_ALWAYS)
            if not leaking:
                return None
        told = [
            f"{sum(growth)} {counter.unit} more after {CLOSER} runs: {growth}"
            for counter, growth in leaking
        ]
        told += [
            f"  {name}: {after[name] - before[name]}"
            for name in after
            if after[name] - before[name] >= CLOSER
        ]
        return self.once(self.item.parent) + [self.report_of("\n".join(told))]

    def report_of(self, text: str) -> TestReport:
        """Return a report that the test leaks."""
        return TestReport(
            nodeid=self.item.nodeid,
            location=self.item.location,
            keywords={},
            outcome="failed",
            longrepr=text,
            when="teardown",
        )


def _room_for(times: int) -> list[array]:
    """Return arrays that have their size from the beginning: noting a count must not add to it."""
    return [array("q", bytes(8 * (times + 1))) for _ in COUNTERS]


def _leaking(counts: list[array], often: int) -> list[tuple[Counter, list[int]]]:
    """Return the counters that have grown so often, and by how much each time."""
    return [
        (counter, growth)
        for counter, growth in zip(COUNTERS, map(_growth, counts), strict=True)
        if sum(more >= counter.least for more in growth) >= often
        and sum(growth) >= len(growth) * counter.least
    ]


def _growth(noted: array) -> list[int]:
    return [later - earlier for earlier, later in zip(noted, noted[1:], strict=False)]
