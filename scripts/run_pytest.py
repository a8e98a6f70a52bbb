"""Run pytest, and what has failed once more, by itself.

    .venv/3.13/bin/python scripts/run_pytest.py NAME ARGUMENT…

On a machine that others use, a test of what happens in time may fail for that alone. One that
passes the second time is told of in the last line, and is no failure. Whoever fails twice, and
whatever ends the process, is. NAME is that of a folder in build/pytest, where what has failed is
written down.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

SOME_FAILED = 1
"""pytest's exit code for it; others are for crashes, interrupts and wrong arguments."""

MANY = 10
"""More failures than that are nobody's haste."""


def run(arguments: Sequence[str]) -> int:
    """Run pytest with these arguments; its exit code."""
    return subprocess.run([sys.executable, "-m", "pytest", "--quiet", *arguments]).returncode


def main(name: str, *arguments: str) -> int:
    """Run it once or twice; the exit code."""
    cache = Path("build/pytest", name).absolute()
    shutil.rmtree(cache, ignore_errors=True)
    own = ["-o", f"cache_dir={cache}"]
    code = run([*own, *arguments])
    if code != SOME_FAILED:
        return code
    written = cache / "v/cache/lastfailed"
    # A test that takes too long ends the process, which writes nothing.
    failed = sorted(json.loads(written.read_text())) if written.exists() else []
    if not 0 < len(failed) <= MANY:
        return code
    print(f"\n== once more, by themselves: {len(failed)}", flush=True)
    code = run([*own, "--last-failed", "--last-failed-no-failures=none", *arguments])
    if code == 0:
        print("failed the first time, passed the second:", *failed, flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
