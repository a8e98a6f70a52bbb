"""The programs in ``examples/`` that ``docs/`` explains say what they are to say."""

import re
import subprocess
import sys
from pathlib import Path

EXAMPLES = Path(__file__).parents[2] / "examples"


def run(name):
    return subprocess.run(
        [sys.executable, str(EXAMPLES / name)],
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_who_waits():
    outcome = run("who_waits.py")
    assert (outcome.returncode, outcome.stderr) == (0, "")
    tree, dump = outcome.stdout.split("\n\n", 1)
    at = r"  at .*who_waits\.py:\d+ \w+"
    patterns = [
        r"loop 1 · thread \d+ · running #2 observer\b.* · 4 tasks · 0 ready · 0 timers · \d+ turns",
        r"└─ #1 Task-1  main  waits \d+ms: task group <TaskGroup tasks=3 entered> #2 #3 #4" + at,
        r"   ├─ #2 observer  look  running.*" + at,
        r"   ├─ #3 fetch anna  fetch  waits \d+ms: event …\w+ \[unset, waiters:1\]" + at,
        r"   └─ #4 fetch ben  fetch  waits \d+ms: lock …\w+ \[locked, waiters:1\] #3" + at,
    ]
    for line, pattern in zip(tree.splitlines(), patterns, strict=True):
        assert re.fullmatch(pattern, line), (line, pattern)
    source = (EXAMPLES / "who_waits.py").read_text().splitlines()
    made = next(
        number for number, line in enumerate(source, 1) if "group.create_task(fetch(" in line
    )
    found = re.findall(
        r"  owner    task group of #1\n"
        rf"  created  .* ago by #1 at .*who_waits\.py:{made} in main\n",
        dump,
    )
    assert len(found) == 2


def test_double_lock():
    outcome = run("double_lock.py")
    assert outcome.returncode == 1
    assert re.match(
        r"deadlock: a task waits for itself\n"
        r"  task 1 Task-1 \(main\) waits for lock <asyncio\.locks\.Lock object at \w+ \[locked\]>, "
        r"which it has itself, since 0\.0 s, at .*double_lock\.py:16 in top_up; "
        r"made at .*double_lock\.py:24 in <module>\n",
        outcome.stderr,
    ), outcome.stderr
    assert "ferrio.deadlocks.DeadlockError: deadlock: a task waits for itself" in outcome.stderr
