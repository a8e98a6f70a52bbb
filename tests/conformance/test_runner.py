"""The runner itself, on a small suite that crashes, hangs and fails."""

from __future__ import annotations

import os
import sys
import tempfile
import textwrap
import threading
import time
import unittest
from pathlib import Path
from unittest import mock

from expectations import Expectations, InvalidList
from outcomes import ModuleRun, Outcome
from report import Report
from supervisor import Limits, Supervisor
from verdicts import Judge, ModuleReport, Verdict

SUITE = "sample_suite"
SAMPLE = """
    import os, signal, sys, time, unittest

    class Sample(unittest.TestCase):
        def test_a_passes(self):
            pass

        def test_b_crashes(self):
            os.kill(os.getpid(), signal.SIGSEGV)

        def test_c_fails(self):
            self.assertEqual(1, 2)

        def test_d_hangs(self):
            time.sleep(60)

        def test_e_is_skipped(self):
            self.skipTest("for a reason")

        def test_f_has_a_part_that_fails(self):
            with self.subTest(part=1):
                self.fail("this part")

        def test_g_leaves_through_a_fork(self):
            if os.fork() == 0:
                return  # into the runner, which must not report anything from here
            os.wait()

        def test_h_exits(self):
            os._exit(3)

        def test_i_passes(self):
            print("output does not disturb")

    class BrokenFixture(unittest.TestCase):
        @classmethod
        def setUpClass(cls):
            raise RuntimeError("no set-up")

        def test_never_runs(self):
            pass
"""
SMALL = """
    import unittest

    class Small(unittest.TestCase):
        def test_passes(self):
            pass

        def test_fails(self):
            self.fail("as it always does")

        def test_exits(self):
            __import__("os")._exit(3)
"""
FLAKY = """
    import pathlib, unittest

    class Flaky(unittest.TestCase):
        def test_fails_once(self):
            marker = pathlib.Path(__file__).with_name("marker")
            if not marker.exists():
                marker.touch()
                self.fail("the first time")
"""


class RunnerTests(unittest.TestCase):
    """What the parts do together, with asyncio in the place of the loop under test."""

    def setUp(self) -> None:
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.directory = Path(directory.name)
        self.package = self.directory / SUITE
        self.package.mkdir()
        (self.package / "__init__.py").touch()
        path = mock.patch.dict(os.environ, {"PYTHONPATH": str(self.directory)})
        path.start()
        self.addCleanup(path.stop)

    def write(self, module: str, text: str) -> None:
        (self.package / f"{module}.py").write_text(textwrap.dedent(text))

    def supervisor(self, *, test_seconds: float = 6, seconds: float = 60) -> Supervisor:
        limits = Limits(test_seconds, time.monotonic() + seconds, threading.Event())
        return Supervisor("asyncio", limits, SUITE)

    def run_module(self, module: str, supervisor: Supervisor | None = None) -> ModuleRun:
        return (supervisor or self.supervisor()).run(module, lambda names: names)

    def examine(self, module: str, lists: str = "") -> tuple[ModuleReport, Report]:
        """Judge a module as if another loop than asyncio had run it."""
        exceptions = self.directory / "exceptions.toml"
        exceptions.write_text(textwrap.dedent(lists))
        expectations = Expectations.load([exceptions], sys.version_info[:2])
        judge = Judge(self.supervisor(), self.supervisor(), expectations)
        examined = judge.examine(module)
        report = Report("asyncio", "3.x", "3.x.y", modules=[examined])
        report.unmatched = expectations.unmatched([module])
        return examined, report

    def test_each_test_gets_its_own_outcome(self) -> None:
        self.write("test_sample", SAMPLE)
        run = self.run_module("test_sample")
        outcomes = {name: result.outcome for name, result in run.results.items()}
        self.assertEqual(
            outcomes,
            {
                "test_sample.Sample.test_a_passes": Outcome.PASSED,
                "test_sample.Sample.test_b_crashes": Outcome.CRASHED,
                "test_sample.Sample.test_c_fails": Outcome.FAILED,
                "test_sample.Sample.test_d_hangs": Outcome.HUNG,
                "test_sample.Sample.test_e_is_skipped": Outcome.SKIPPED,
                "test_sample.Sample.test_f_has_a_part_that_fails": Outcome.FAILED,
                "test_sample.Sample.test_g_leaves_through_a_fork": Outcome.PASSED,
                "test_sample.Sample.test_h_exits": Outcome.CRASHED,
                "test_sample.Sample.test_i_passes": Outcome.PASSED,
                "test_sample.BrokenFixture.test_never_runs": Outcome.NOT_RUN,
            },
        )

    def test_details_say_what_happened(self) -> None:
        self.write("test_sample", SAMPLE)
        results = self.run_module("test_sample").results
        crashed = results["test_sample.Sample.test_b_crashes"].detail
        self.assertIn("SIGSEGV", crashed)
        self.assertIn("in test_b_crashes", crashed)
        self.assertIn("in test_d_hangs", results["test_sample.Sample.test_d_hangs"].detail)
        self.assertIn("1 != 2", results["test_sample.Sample.test_c_fails"].detail)
        fixture = results["test_sample.BrokenFixture.test_never_runs"].detail
        self.assertIn("no set-up", fixture)

    def test_a_hang_that_the_child_cannot_end_is_ended(self) -> None:
        self.write(
            "test_stopped",
            """
            import os, signal, unittest
            class Stopped(unittest.TestCase):
                def test_a(self):
                    os.kill(os.getpid(), signal.SIGSTOP)
                def test_b(self):
                    pass
            """,
        )
        with mock.patch("supervisor.GRACE_SECONDS", 2):
            run = self.run_module("test_stopped", self.supervisor(test_seconds=5))
        outcomes = [result.outcome for result in run.results.values()]
        self.assertEqual(outcomes, [Outcome.HUNG, Outcome.PASSED])

    def test_the_whole_run_is_bounded(self) -> None:
        self.write("test_sample", SAMPLE)
        started = time.monotonic()
        run = self.run_module("test_sample", self.supervisor(test_seconds=60, seconds=2))
        self.assertLess(time.monotonic() - started, 40)
        last = run.results["test_sample.Sample.test_i_passes"]
        self.assertEqual(last.outcome, Outcome.NOT_RUN)

    def test_a_module_that_cannot_be_imported_is_a_failure(self) -> None:
        self.write("test_broken", "import no_such_module")
        report, _ = self.examine("test_broken")
        self.assertEqual(report.verdicts, {"test_broken.<import>": Verdict.FAILED})

    def test_a_module_that_skips_itself_is_none(self) -> None:
        self.write("test_elsewhere", "import unittest\nraise unittest.SkipTest('elsewhere')")
        report, _ = self.examine("test_elsewhere")
        self.assertEqual((report.unavailable, report.verdicts), ("elsewhere", {}))

    def test_an_unclean_end_of_the_interpreter_is_a_failure(self) -> None:
        self.write(
            "test_exit",
            """
            import atexit, os, unittest
            class Exit(unittest.TestCase):
                def test_registers(self):
                    atexit.register(os.abort)
            """,
        )
        report, _ = self.examine("test_exit")
        self.assertEqual(report.verdicts["test_exit.Exit.test_registers"], Verdict.PASSED)
        self.assertEqual(report.verdicts["test_exit.<exit>"], Verdict.FAILED)

    def test_a_failure_that_goes_away_is_flaky(self) -> None:
        self.write("test_flaky", FLAKY)
        report, whole = self.examine("test_flaky")
        self.assertEqual(report.verdicts["test_flaky.Flaky.test_fails_once"], Verdict.FLAKY)
        self.assertEqual(whole.closing_line(), "conformance: 1 passed, 0 failed, 0 skipped")
        self.assertIn("flaky: test_flaky.Flaky.test_fails_once", whole.text())

    def test_a_failure_after_other_tests_is_not_flaky(self) -> None:
        self.write(
            "test_order",
            """
            import unittest
            class Order(unittest.TestCase):
                spoilt = False
                def test_a_spoils(self):
                    Order.spoilt = True
                def test_b_is_spoilt(self):
                    self.assertFalse(Order.spoilt)
            """,
        )
        report, _ = self.examine("test_order")
        # asyncio, which stands in for the loop under test, fails it in the same way.
        self.assertEqual(report.verdicts["test_order.Order.test_b_is_spoilt"], Verdict.BROKEN_HERE)

    def test_what_asyncio_fails_too_is_told_apart(self) -> None:
        self.write(
            "test_machine",
            """
            import unittest
            class Machine(unittest.TestCase):
                def test_needs_what_is_not_there(self):
                    self.fail("there is none")
            """,
        )
        report, whole = self.examine("test_machine")
        self.assertEqual(list(report.verdicts.values()), [Verdict.BROKEN_HERE])
        self.assertIn("fails on asyncio too: test_machine.Machine", whole.text())
        self.assertEqual(whole.closing_line(), "conformance: 0 passed, 0 failed, 1 skipped")

    def test_an_expected_failure_is_no_failure(self) -> None:
        self.write("test_small", SMALL)
        report, whole = self.examine(
            "test_small", '[tests]\n"test_small.*.test_[!p]*" = "so it is"'
        )
        self.assertEqual(report.count(Verdict.EXCEPTED), 2)
        self.assertEqual(whole.closing_line(), "conformance: 1 passed, 0 failed, 0 skipped")

    def test_an_unexpected_pass_is_a_failure(self) -> None:
        self.write("test_small", SMALL)
        report, whole = self.examine("test_small", '[tests]\n"test_small.Small" = "not so"')
        self.assertEqual(report.tests(Verdict.UNEXPECTED_PASS), ["test_small.Small.test_passes"])
        self.assertEqual(whole.failures, 1)

    def test_an_exception_that_matches_nothing_is_a_failure(self) -> None:
        self.write("test_flaky", FLAKY)
        _, whole = self.examine("test_flaky", '[tests]\n"test_flaky.Gone" = "was there once"')
        self.assertEqual(whole.failures, 1)
        self.assertIn("matches no test", whole.text())

    def test_an_exception_for_another_version_is_none(self) -> None:
        self.write("test_flaky", FLAKY)
        _, whole = self.examine("test_flaky", '[tests]\n"3.2-3.4: test_flaky.Gone" = "was there"')
        self.assertEqual(whole.failures, 0)

    def test_an_exception_needs_a_reason(self) -> None:
        with self.assertRaises(InvalidList):
            self.examine("test_flaky", '[tests]\n"test_flaky.Flaky" = ""')


class VersionTests(unittest.TestCase):
    """Which versions a line of a list is for."""

    def test_prefixes(self) -> None:
        cases = {
            "a.b": {11, 12, 13, 14},
            "3.12: a.b": {12},
            "3.11-3.12: a.b": {11, 12},
            "3.13+: a.b": {13, 14},
        }
        for name, minors in cases.items():
            with self.subTest(name=name), tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
                file.write(f'[tests]\n"{name}" = "reason"')
                file.flush()
                for minor in (11, 12, 13, 14):
                    expectations = Expectations.load([Path(file.name)], (3, minor))
                    applies = expectations.exception_for("a.b") is not None
                    self.assertEqual(applies, minor in minors, f"3.{minor}")


if __name__ == "__main__":
    unittest.main()
