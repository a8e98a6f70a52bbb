"""The plugin finds what is not given back, and nothing else."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent

PREAMBLE = "import asyncio, ferrio, pytest\nkept = []\n"


@pytest.fixture
def outcome(tmp_path):
    """Run tests with the plugin; return its exit code and what it printed."""

    def run(tests):
        path = tmp_path / "test_it.py"
        path.write_text(PREAMBLE + tests)
        ended = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "repeat", "-p", "no:cacheprovider", path],
            env={**os.environ, "PYTHONPATH": str(HERE)},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=120,
        )
        return ended.returncode, ended.stdout + ended.stderr

    return run


LEAKS = {
    "an object": ("kept.append(object())", "blocks of Python's allocator more"),
    "a large object": ("kept.append(bytes(5_000))", "bytes of malloc more"),
    "an instance of a native type": (
        "loop = ferrio.EventLoop(); kept.append(loop.create_future()); loop.close()",
        "  ferrio._ferrio.Future: 20",
    ),
    "a reference": ("kept.append(ferrio.run)", "references to objects that last more"),
}


@pytest.mark.parametrize("what", LEAKS)
def test_a_leak(outcome, what):
    body, told = LEAKS[what]
    code, output = outcome(f"def test_leaks():\n    {body}\n")
    assert code == 1
    assert told in output
    assert "1 passed, 1 error" in output


def test_a_leak_of_a_fixture(outcome):
    code, output = outcome(
        "@pytest.fixture\ndef fixture():\n    yield\n    kept.append(object())\n"
        "def test_leaks(fixture):\n    pass\n"
    )
    assert code == 1
    assert "blocks of Python's allocator more" in output


def test_a_test_that_may_keep_something(outcome):
    code, output = outcome(
        "@pytest.mark.keeps_something('it is one')\ndef test_leaks():\n    kept.append(object())\n"
    )
    assert code == 0, output


def test_no_leaks(outcome):
    code, output = outcome(
        """
async def main():
    async with asyncio.timeout(10):
        await asyncio.gather(*(asyncio.sleep(0.001) for _ in range(10)))

def test_that_runs_a_loop():
    ferrio.run(main())

def test_that_makes_a_cycle():
    cycle = []
    cycle.append(cycle)

class TestClass:
    @pytest.mark.parametrize("number", [1, 2])
    def test_method(self, number, tmp_path):
        assert tmp_path.is_dir()
"""
    )
    assert code == 0, output
    assert "4 passed" in output


def test_failures_and_skips_are_told_once(outcome):
    code, output = outcome(
        "def test_fails():\n    assert 0\n"
        "def test_fails_the_fifth_time():\n    kept.append(1)\n    assert len(kept) < 5\n"
        "def test_is_skipped():\n    pytest.skip()\n"
        "def test_passes():\n    pass\n"
    )
    assert code == 1
    assert re.search(r"2 failed, 1 passed, 1 skipped", output), output
