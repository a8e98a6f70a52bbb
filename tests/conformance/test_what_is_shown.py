"""`make conformance` runs a job per version and shows the table of each."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
RUN_JOBS = ROOT / "scripts" / "run_jobs.py"


def run_jobs(logs: Path, *arguments: str) -> list[str]:
    """Run jobs and return the lines that a user sees."""
    command = [sys.executable, str(RUN_JOBS), "--logs", str(logs), *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return [line.strip() for line in done.stdout.splitlines()]


def test_the_table_of_a_job_that_passed(tmp_path: Path) -> None:
    job = "echo 'module x'; echo flaky; echo 'module passed'; echo test_tasks 7; echo end"
    shown = run_jobs(tmp_path, "--show-from", "module ", "job", job)
    assert shown[1:4] == ["module passed", "test_tasks 7", "end"]


def test_one_line_of_a_job_that_has_no_table(tmp_path: Path) -> None:
    shown = run_jobs(tmp_path, "--show-from", "module ", "job", "echo one; echo two")
    assert shown[1] == "two"
    assert "one" not in shown


def test_a_job_that_prints_nothing(tmp_path: Path) -> None:
    shown = run_jobs(tmp_path, "--show-from", "module ", "job", "true")
    assert shown[0].startswith("[1/1] job: ok")


def test_the_target_asks_for_the_line_that_begins_the_table(tmp_path: Path) -> None:
    command = [sys.executable, "tests/conformance/run.py", "--loop", "asyncio"]
    command += ["--modules", "test_protocols"]
    job = " ".join(command)
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    beginning = makefile.partition("--show-from '")[2].partition("'")[0]
    shown = run_jobs(tmp_path, "--show-from", beginning, "job", f"cd {ROOT} && {job}")
    assert shown[1].split()[:3] == ["module", "passed", "failed"]
    assert "asyncio (" in shown[1]
    assert shown[2].split()[:2] == ["test_protocols", "5"]
    assert any(line.startswith("all ") for line in shown)
    assert "conformance: 5 passed, 0 failed, 0 skipped" in shown
