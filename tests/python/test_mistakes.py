"""The programs in ``examples/mistakes``: what ferrio says about each of the seven."""

import os
import re
import subprocess
import sys
from pathlib import Path

from inspected import Program, eventually

pytest_plugins = ["inspected_fixtures"]

MISTAKES = Path(__file__).parents[2] / "examples" / "mistakes"


def run(name, **environment):
    """Run a program on ferrio; give its exit code, output and errors."""
    ran = subprocess.run(
        [sys.executable, "-m", "ferrio", str(MISTAKES / name)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, **environment},
    )
    return ran.returncode, ran.stdout, ran.stderr


def place(name, text):
    """Give ``FILE:LINE`` of the line with this text, as an expression."""
    path = MISTAKES / name
    lines = path.read_text().splitlines()
    (number,) = (number for number, line in enumerate(lines, 1) if line.strip() == text)
    return re.escape(f"{path}:{number}")


def inspected(directory, name):
    path = str(MISTAKES / name)
    command = [sys.executable, "-m", "ferrio", "--inspect", path]
    return Program(directory, "", command=command)


def test_a_blocking_call():
    name = "blocking_call.py"
    closing = place(name, "time.sleep(0.4)") + r" in fetch_price: the loop was blocked for \d\.\d"

    def errors_of_a_run():
        code, output, errors = run(name, FERRIO_WATCHDOG="100ms")
        assert (code, output) == (0, "9\n")
        # On a busy machine the watchdog may come too late to see anything of it.
        return errors if re.search(closing, errors) else None

    errors = eventually(errors_of_a_run)
    assert re.search(
        place(name, "time.sleep(0.4)") + r" in fetch_price: the loop has been blocked for "
        r"\d\.\d{3} s by task Task-2 \(cause: syscall:clock_nanosleep\)\n"
        r"    time\.sleep\(0\.4\)\n",
        errors,
    ), errors


def test_a_forgotten_await():
    name = "forgotten_await.py"
    code, output, errors = run(name, PYTHONASYNCIODEBUG="1")
    assert (code, output) == (0, "saved: []\n")
    assert "RuntimeWarning: coroutine 'save' was never awaited" in errors
    assert "Coroutine created at (most recent call last)" in errors
    (file, number) = re.fullmatch(r"(.*):(\d+)", place(name, 'save("two loaves")')).groups()
    assert re.search(rf'File "{file}", line {number}, in main\n    save\("two loaves"\)', errors)


def test_an_orphaned_task(directory):
    with inspected(directory, "orphaned_task.py") as program:
        eventually(lambda: directory.sockets.exists() and program.socket.exists())

        def both_wait():
            tree = program.command("tree").stdout
            return "refresh" in tree and "thread" in tree and tree

        tree = eventually(both_wait)
        program.say("")
    assert re.search(
        r"└─ #3 refresh  refresh_prices  waits .*: sleep, \d+[hm]\d+[ms] left  "
        r"at mistakes/orphaned_task\.py:\d+ refresh_prices  "
        r"\[left behind by #2, which is gone\]",
        tree,
    ), tree


def test_a_swallowed_cancellation():
    name = "swallowed_cancellation.py"
    code, output, errors = run(name)
    assert (code, output) == (0, "something went wrong, never mind\ndone\n")
    assert re.search(
        r"swallowed-cancellation: task 2 upload \(upload\) was cancelled, caught CancelledError "
        r"and returned as if nothing were; raise it again, or call uncancel\(\); made by user at "
        + place(name, 'task = asyncio.create_task(upload(), name="upload")')
        + " in main\n",
        errors,
    ), errors


def test_a_lock_acquired_twice():
    name = "double_lock.py"
    code, output, errors = run(name, FERRIO_STRICT="1")
    assert (code, output) == (1, "")
    assert re.search(
        r"deadlock: a task waits for itself\n"
        r"  task 1 Task-1 \(main\) waits for lock <asyncio\.locks\.Lock object at \w+ \[locked\]>, "
        r"which it has itself, since \d+\.\d s, at .*double_lock\.py:14 in deposit; made at ",
        errors,
    ), errors
    assert "DeadlockError: deadlock: a task waits for itself" in errors


def test_an_unbounded_fan_out(directory):
    with inspected(directory, "unbounded_fanout.py") as program:
        eventually(lambda: directory.sockets.exists() and program.socket.exists())

        def fanned_out():
            answer, _ = program.ask({"get": "snapshot", "patience": 10})
            loops = answer["answer"]["loops"]
            return loops and len(loops[0]["tasks"]) == 10_001

        eventually(fanned_out)

        def listed():
            # Why they wait only Python can say, which a busy machine may not have said in time.
            text = program.command("ps").stdout
            assert re.search(r"10,001 tasks", text)
            return len(re.findall(r"semaphore .*\[locked, waiters:9990\]", text)) == 9_990

        eventually(listed)
        program.say("")


def test_a_silent_failure():
    name = "silent_failure.py"
    code, output, errors = run(name)
    assert (code, output) == (0, "order accepted\n")
    made = 'asyncio.create_task(send_receipt("anna@example.org"), name="receipt")'
    assert re.search(
        r"exception-never-retrieved: task 2 receipt \(send_receipt\) ended with "
        r"ConnectionError\('no route to anna@example\.org'\), which nobody has retrieved or will; "
        r"made by user at " + place(name, made) + " in main\n",
        errors,
    ), errors


def test_each_is_listed():
    listed = (MISTAKES / "README.md").read_text()
    programs = {path.name for path in MISTAKES.glob("*.py")}
    assert len(programs) == 7
    assert set(re.findall(r"\((\w+\.py)\)", listed)) == programs
