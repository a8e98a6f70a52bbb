"""What blocks the loop is named while it does: the line, the task, and why."""

import json
import sys

import pytest

from watchdog_programs import line_of, run

# What is done again and again until the watchdog has told of it, with the name of the function in
# which the loop stands then.
BLOCKS = {
    "sleep": (
        "syscall:clock_nanosleep",
        """
        def block():
            time.sleep(0.3)  # here
        """,
    ),
    "python": (
        "python",
        """
        def block():
            number = 0
            while number < 30_000_000: number += 1  # here
        """,
    ),
    "regular expression": (
        "c-gil",
        """
        import re
        def block():
            re.match(r"(a+)+$", "a" * 24 + "b")  # here
        """,
    ),
    "socket": (
        "syscall:recvfrom",
        """
        import socket, threading
        one, other = socket.socketpair()
        def block():
            threading.Timer(0.3, other.send, (b"x",)).start()
            one.recv(1)  # here
        """,
    ),
    "sqlite": (
        "c-nogil",
        """
        import sqlite3
        database = sqlite3.connect(":memory:")
        QUERY = '''
            WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 2000000)
            SELECT count(*) FROM n'''
        def block():
            database.execute(QUERY)  # here
        """,
    ),
    "pipe": (
        "syscall:read",
        """
        import threading
        reader, writer = os.pipe()
        def block():
            threading.Timer(0.3, os.write, (writer, b"x")).start()
            os.read(reader, 1)  # here
        """,
    ),
    "collection": (
        "gc",
        """
        import gc
        heap = [[number] for number in range(2_000_000)]
        def block():
            gc.collect()  # here
        """,
    ),
}

MAIN = """
blocks = []

def one_block():
    begun = time.monotonic()
    block()
    blocks.append((begun, time.monotonic()))

def is_told():
    return any(report["cause"] == sys.argv[1] for report in reports())

async def main():
    await until(is_told, one_block)

ferrio.run(main(), watchdog=0.1)
print(json.dumps(blocks))
"""


@pytest.mark.parametrize("name", BLOCKS)
def test_a_block_is_named_while_it_lasts(name, tmp_path):
    cause, block = BLOCKS[name]
    program = block.replace("\n        ", "\n") + MAIN
    outcome = run(tmp_path, program, command=(), arguments=[cause])
    assert outcome.exit_code == 0, outcome
    assert outcome.errors == ""

    # Not those of a moment in which others had the processors.
    causes = {
        report["cause"]
        for report in outcome.reports
        if any(frame["function"] == "block" for frame in report["stack"])
    }
    # The frames that free what was collected are Python's.
    assert causes <= {cause, "unknown", "descheduled"} | ({"python"} if cause == "gc" else set())
    report = next(report for report in outcome.reports if report["cause"] == cause)
    blocks = json.loads(outcome.output)
    assert any(begun < report["detected_at"] < ended for begun, ended in blocks), outcome
    assert not report["over"]
    assert 0.099 < report["seconds"]

    program = str(tmp_path / "program.py")
    (line,) = [
        number
        for number, text in enumerate((tmp_path / "program.py").read_text().splitlines(), 1)
        if text.endswith("# here")
    ]
    here = {"file": program, "line": line, "function": "block"}
    assert here in report["stack"]
    site = report["site"]
    if name != "regular expression":
        # re.match() is a Python function.
        assert site == here
        assert "# here" in report["source"]
    assert report["message"].startswith(
        f"{site['file']}:{site['line']} in {site['function']}: the loop has been blocked for "
    )
    assert report["message"].endswith(f" s by task Task-1 (cause: {cause})")
    assert report["culprit"]["name"] == "Task-1"
    functions = [frame["function"] for frame in report["stack"]]
    assert functions[0] == "<module>"
    assert functions.index("main") < functions.index("one_block") < functions.index("block")


def test_who_waits_for_the_interpreter_is_told_who_has_it(tmp_path):
    outcome = run(
        tmp_path,
        """
        import re, threading

        def crunch():
            while not is_told():
                re.match(r"(a+)+$", "a" * 24 + "b")

        def is_told():
            return any(report["cause"] == "gil-wait" for report in reports())

        async def main():
            thread = threading.Thread(target=crunch, name="cruncher")
            thread.start()
            await until(is_told)
            thread.join()

        ferrio.run(main(), watchdog=0.1)
        """,
    )
    assert outcome.exit_code == 0, outcome
    report = next(report for report in outcome.reports if report["cause"] == "gil-wait")
    assert report["holder"]["thread"] != report["thread"]
    # Threads have names in the kernel from 3.14.
    if sys.version_info >= (3, 14):
        assert report["holder"]["name"] == "cruncher"
    assert report["holder"]["site"]["function"] in ("match", "crunch")
    assert f"held by thread {report['holder']['thread']}" in report["message"]


def test_names_of_tasks_are_read_from_outside(tmp_path):
    outcome = run(
        tmp_path,
        """
        def is_told(name):
            return any(report["culprit"].get("name") == name for report in reports())

        async def slow():
            name = asyncio.current_task().get_name()
            await until(lambda: is_told(name), lambda: time.sleep(0.15))

        async def main():
            for name in ["plain", "na\\u00efve", "\\u4e8b", "\\U0001f980", 7, None]:
                await asyncio.create_task(slow(), name=name)

        ferrio.run(main(), watchdog=0.05)
        """,
    )
    assert outcome.exit_code == 0, outcome
    culprits = [report["culprit"] for report in outcome.reports]
    names = list(
        dict.fromkeys(each["name"] for each in culprits if "slow" in each.get("coroutine", ""))
    )
    # Up to 3.12 asyncio numbers tasks that are given a name as well.
    number = 2 if sys.version_info >= (3, 13) else 7
    assert names == ["plain", "naïve", "事", "🦀", "7", f"Task-{number}"]


def test_callbacks_are_named_by_their_function(tmp_path):
    outcome = run(
        tmp_path,
        """
        def is_told(kind):
            return any(report["culprit"]["kind"] == kind for report in reports())

        def slow():
            time.sleep(0.2)

        class Slow(asyncio.Protocol):
            def data_received(self, data):
                time.sleep(0.2)

        async def main():
            loop = asyncio.get_running_loop()
            await until(lambda: is_told("callback"), lambda: loop.call_soon(slow))
            server = await loop.create_server(Slow, "127.0.0.1")
            _, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            await until(lambda: is_told("event"), lambda: writer.write(b"x"))
            writer.close()
            server.close()

        ferrio.run(main(), watchdog=0.05)
        """,
    )
    assert outcome.exit_code == 0, outcome
    by_kind = {report["culprit"]["kind"]: report for report in outcome.reports}
    assert by_kind["callback"]["culprit"] == {"kind": "callback", "function": "slow"}
    assert by_kind["event"]["culprit"] == {"kind": "event", "function": "Slow.data_received"}
    assert "by callback slow (cause" in by_kind["callback"]["message"]


def test_in_debug_mode_tasks_are_named_too(tmp_path):
    outcome = run(
        tmp_path,
        """
        async def main():
            asyncio.get_running_loop().slow_callback_duration = 1000
            await until(
                lambda: any(report["culprit"].get("name") == "Task-1" for report in reports()),
                lambda: time.sleep(0.2),
            )

        ferrio.run(main(), watchdog=0.05, debug=True)
        """,
    )
    assert outcome.exit_code == 0, outcome


def test_many_short_callbacks_that_starve_the_rest(tmp_path):
    outcome = run(
        tmp_path,
        """
        def short():
            sum(range(20_000))

        def is_told():
            sites = [report["site"] for report in reports() if report["turn"]]
            return any(site and site["function"] == "short" for site in sites)

        async def main():
            loop = asyncio.get_running_loop()
            def fill():
                for _ in range(3000):
                    loop.call_soon(short)
            await until(is_told, fill)

        ferrio.run(main(), watchdog=0.1)
        """,
    )
    assert outcome.exit_code == 0, outcome
    turns = [report for report in outcome.reports if report["turn"] and report["site"]]
    report = next(report for report in turns if report["site"]["function"] == "short")
    assert report["site"]["line"] == line_of(tmp_path, "sum(range(20_000))")
    turn = report["turn"]
    assert turn["callbacks"] > 10
    assert 0 < turn["seen"] <= turn["samples"]
    assert f"{turn['callbacks']} callbacks in one turn" in report["message"]
    assert f"in {turn['seen']} of {turn['samples']} samples" in report["message"]
