"""The runner itself, on a small suite that hangs, crashes and differs from loop to loop."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from comparison import Comparison, compare, judge_again
from environments import Installation
from library import InvalidList, Known, Library, load_known, load_libraries
from report import as_json, details, table
from supervisor import FAILED, PASSED, SKIPPED, LoopRun, Outcome, Supervisor

SUITE = """
import asyncio, os, time, pytest

on_ferrio = os.environ["APPS_LOOP"] == "ferrio"

async def nothing():
    pass

def test_a_loop_runs():
    asyncio.run(nothing())

def test_crashes():
    os.abort()

def test_hangs():
    time.sleep(100)

def test_is_skipped():
    pytest.skip("why not")

def test_fails_on_both():
    assert not os.environ

def test_fails_on_ferrio_only():
    assert not on_ferrio, "because it is ferrio"

def test_fails_on_ferrio_once(pytestconfig):
    mark = os.environ["MARK"]
    first = not os.path.exists(mark)
    open(mark, "a").close()
    assert not (on_ferrio and first)

@pytest.fixture
def broken():
    yield
    raise ValueError("at the end")

def test_fixture_fails_at_the_end(broken):
    pass

def test_is_left_out():
    assert False

def test_is_skipped_on_ferrio_only():
    if on_ferrio:
        pytest.skip("no")

@pytest.mark.skipif(on_ferrio, reason="gone")
class TestGone:
    def test_method(self):
        pass

def test_last():
    pass
"""

FERRIO_THAT_IS_NONE = """
import asyncio

class Loop(asyncio.SelectorEventLoop):
    pass

class Policy(asyncio.DefaultEventLoopPolicy):
    def new_event_loop(self):
        return Loop()

def install():
    asyncio.set_event_loop_policy(Policy())
"""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name, text in (("suite/test_sample.py", SUITE), ("ferrio/ferrio.py", FERRIO_THAT_IS_NONE)):
        path = tmp_path / name
        path.parent.mkdir()
        path.write_text(text)
    (tmp_path / "logs").mkdir()
    return tmp_path


def sample(place: Path, **options: object) -> tuple[Library, Supervisor, Supervisor]:
    usual = {
        "pytest": ("test_sample.py",),
        "leave_out": {"left_out": "for a test"},
        # The plugin of the ferrio that is installed would not find itself in the one that is none.
        "environment": {"MARK": str(place / "mark"), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        "test_seconds": 10,
    }
    library = Library("sample", "sample", "1", "", **(usual | options))
    installation = Installation(
        Path(sys.executable), Path("/nowhere"), place / "suite", place / "logs"
    )
    return library, *(
        Supervisor(library, installation, loop, place / "ferrio") for loop in ("asyncio", "ferrio")
    )


def names(tests: list[str]) -> set[str]:
    return {test.rpartition("::")[2] for test in tests}


def test_a_suite_is_run_to_its_end_in_spite_of_what_happens(place: Path) -> None:
    _, on_asyncio, _ = sample(place)
    run = on_asyncio.run()
    outcomes = {test.rpartition("::")[2]: one.outcome for test, one in run.outcomes.items()}
    assert outcomes == {
        "test_a_loop_runs": PASSED,
        "test_crashes": FAILED,
        "test_hangs": FAILED,
        "test_is_skipped": SKIPPED,
        "test_fails_on_both": FAILED,
        "test_fails_on_ferrio_only": PASSED,
        "test_fails_on_ferrio_once": PASSED,
        "test_fixture_fails_at_the_end": FAILED,
        "test_is_skipped_on_ferrio_only": PASSED,
        "test_method": PASSED,
        "test_last": PASSED,
    }
    assert not run.problems
    texts = {test.rpartition("::")[2]: one.text for test, one in run.outcomes.items()}
    assert texts["test_hangs"] == "not finished after 10 s"
    assert texts["test_crashes"] == "the process ended with -6"
    assert "at the end" in texts["test_fixture_fails_at_the_end"]
    assert run.loops().keys() == {"asyncio"}


def test_differences_are_found_and_what_is_flaky_is_told_apart(place: Path) -> None:
    library, on_asyncio, on_ferrio = sample(place)
    entry = Known("sample", "*::test_is_skipped_on_ferrio_only", "for a test")
    stale = Known("sample", "*::test_last", "it passes")
    (place / "mark").unlink(missing_ok=True)
    on_asyncio_after_ferrio = Recalled(on_asyncio, place / "mark")
    comparison = compare(library, [entry, stale], on_asyncio_after_ferrio, on_ferrio)
    assert names(comparison.differing) == {
        "test_fails_on_ferrio_only",
        "test_fails_on_ferrio_once",
        "test_method",
    }
    assert not comparison.failures
    judge_again(comparison, on_asyncio_after_ferrio, on_ferrio)
    assert names([one.test for one in comparison.failures]) == {
        "test_fails_on_ferrio_only",
        "test_method",
    }
    assert names([one.test for one in comparison.flaky]) == {"test_fails_on_ferrio_once"}
    assert names([test for test, _ in comparison.known]) == {"test_is_skipped_on_ferrio_only"}
    assert names(comparison.fails_everywhere) == {
        "test_crashes",
        "test_hangs",
        "test_fails_on_both",
        "test_fixture_fails_at_the_end",
    }
    assert comparison.problems == ["known.toml: *::test_last did not fail"]
    assert not comparison.is_good
    assert comparison.ferrio.loops().keys() == {"ferrio"}
    text = details(comparison)
    assert "because it is ferrio" in text
    assert "FAILED" in table([comparison])
    assert as_json(comparison)["good"] is False


class Recalled:
    """A supervisor after whose first run a file is removed that the tests have left."""

    def __init__(self, supervisor: Supervisor, mark: Path) -> None:
        self._supervisor = supervisor
        self._mark = mark
        self._runs = 0

    def run(self, only: list[str] | None = None) -> LoopRun:
        run = self._supervisor.run(only)
        self._runs += 1
        if self._runs == 1:
            self._mark.unlink()
        return run


def test_a_run_that_never_touched_ferrio_is_an_error(place: Path) -> None:
    (place / "ferrio" / "ferrio.py").write_text("def install(): pass")
    library, on_asyncio, on_ferrio = sample(place, pytest=("-k", "a_loop_runs", "test_sample.py"))
    comparison = compare(library, [], on_asyncio, on_ferrio)
    assert comparison.problems == ["ferrio's loop never ran"]


@pytest.mark.parametrize("text", ["import nothing_of_the_kind", "def test_broken(: pass"])
def test_what_cannot_be_collected_is_an_error(place: Path, text: str) -> None:
    (place / "suite" / "test_more.py").write_text(text)
    library, on_asyncio, _ = sample(place, pytest=("test_more.py",))
    run = on_asyncio.run()
    assert not run.outcomes
    assert any("test_more.py" in problem for problem in run.problems)


def test_a_run_has_a_limit_as_a_whole(place: Path) -> None:
    _, on_asyncio, _ = sample(place, test_seconds=60, seconds=4)
    run = on_asyncio.run()
    assert any("not finished after 4 s" in problem for problem in run.problems)


def test_a_process_that_does_not_end_tells_why(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where a test leaves a child behind that multiprocessing waits for."""
    monkeypatch.setattr("supervisor.SECONDS_TO_START", 20)
    (place / "suite" / "test_sample.py").write_text(
        "import multiprocessing, time\n"
        "def test_leaves_a_child():\n"
        "    multiprocessing.get_context('spawn').Process(target=time.sleep, args=(100,)).start()\n"
    )
    _, on_asyncio, _ = sample(place)
    run = on_asyncio.run()
    assert run.count(PASSED) == 1
    (problem,) = (problem for problem in run.problems if "outside of any test" in problem)
    assert problem.startswith("not finished after 20 s, with children: ")
    assert "multiprocessing" in problem
    assert "_exit_function" in (place / "logs" / "asyncio.log").read_text()


def test_an_outcome_that_nobody_reported_is_no_pass() -> None:
    comparison = Comparison(
        Library("sample", "sample", "1", ""),
        LoopRun("asyncio", {"test": Outcome(PASSED)}),
        LoopRun("ferrio"),
    )
    assert comparison.is_good
    comparison.problems.append("ferrio's loop never ran")
    assert not comparison.is_good


def test_the_lists_are_valid(tmp_path: Path) -> None:
    libraries = load_libraries()
    load_known(libraries)
    wrong = tmp_path / "known.toml"
    wrong.write_text('[[known]]\nlibrary = "aiohttp"\ntest = "x"\nreason = ""\n')
    with pytest.raises(InvalidList):
        load_known(libraries, wrong)
    wrong.write_text("[aiohttp]\nabout = ''\nargument = 1\n")
    with pytest.raises(InvalidList):
        load_libraries(wrong)
