"""What ``docs/watchdog.md`` shows is what the program says."""

import re
import subprocess
import sys
from pathlib import Path

from inspected import eventually

ROOT = Path(__file__).parents[2]


def test_the_program_says_what_the_document_shows():
    def outcome_of_a_run():
        outcome = subprocess.run(
            [sys.executable, "examples/blocking_call.py"],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert outcome.returncode == 0, outcome
        # On a busy machine the watchdog may come too late to see why, or at all.
        is_seen = "the loop was blocked" in outcome.stderr and "(cause: sys" in outcome.stderr
        return outcome if is_seen and len(outcome.stdout.splitlines()) == 2 else None

    outcome = eventually(outcome_of_a_run)
    outcome.stdout, outcome.stderr = (
        text.replace(f"{ROOT}/", "") for text in (outcome.stdout, outcome.stderr)
    )
    shown = (ROOT / "docs" / "watchdog.md").read_text()
    text, said = (re.sub(r"\s+", " ", part) for part in (shown, outcome.stderr))
    first, *_, last = outcome.stderr.splitlines()
    for line in (first, last):
        # All but the figures.
        assert re.sub(r"\d\.\d{3} s", "0.100 s", line) in re.sub(r"\d\.\d{3} s", "0.100 s", text)
    assert "time.sleep(0.25) # a driver that waits for its device" in said
    assert "Created at: examples/blocking_call.py:20 in main" in said
    assert "Owner: TaskGroup of task 1" in said
    degrees, counted = outcome.stdout.splitlines()
    assert degrees == "21.5 degrees"
    assert counted in text
