"""The programs of docs/metrics.md and docs/web.md."""

import re
import subprocess
import sys
from pathlib import Path

from inspected import eventually

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name, *arguments):
    command = [sys.executable, str(EXAMPLES / name), *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert (answer.returncode, answer.stderr) == (0, "")
    return answer.stdout.splitlines()


def test_metrics_are_read_while_the_loop_is_blocked():
    def in_time():
        *seen, longest, jobs = run("metrics.py")
        assert float(longest.split()[-2]) >= 0.5
        assert jobs == "jobs in threads: 1"
        blocked = [int(line.split(" ms")[0].split()[-1]) for line in seen]
        # A busy machine may keep the thread from reading meanwhile.
        return max(blocked) > 100

    assert eventually(in_time)


def test_the_web_page_is_served():
    url, done = run("web_page.py", "0.3")
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+/\?token=[0-9a-f]{32}", url)
    assert done == "done"
