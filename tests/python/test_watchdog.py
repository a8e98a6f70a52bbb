"""The watchdog: where its reports go, how often, and what it leaves alone."""

import os
import pty
import re
import sys

import pytest

import ferrio
from ferrio import watchdog
from watchdog_programs import run

FIRST_LINE = re.compile(
    r"(?m)^.*/program\.py:\d+ in \w+: the loop has been blocked for \d\.\d{3} s "
    r"by task Task-1 \(cause: syscall:clock_nanosleep\)$"
)
LAST_LINE = re.compile(r"(?m)^.*: the loop was blocked for \d\.\d{3} s by task Task-1 ")

# A block that nobody is to hear of.
SLEEPS = """
async def main():
    await asyncio.sleep(0)
    time.sleep(0.5)
    await asyncio.sleep(0.05)
"""

# Blocks until one of them was told of from its beginning to its end. On a machine that is busy with
# other things the watchdog may not come to look at the first.
TOLD = """
def is_told():
    return any(
        block.over and block.number >= 4 and block.cause == "syscall:clock_nanosleep"
        for block in ferrio.watchdog.recent_blocks()
    )

async def main():
    while not is_told():
        await asyncio.sleep(0)
        time.sleep(0.5)
        await asyncio.sleep(0.05)
"""


def test_a_report_is_on_standard_error_with_its_stack(tmp_path):
    outcome = run(tmp_path, TOLD + "ferrio.run(main(), watchdog=0.05)", env={})
    assert outcome.exit_code == 0, outcome
    assert outcome.output == ""
    assert FIRST_LINE.search(outcome.errors), outcome
    assert LAST_LINE.search(outcome.errors), outcome
    assert "    time.sleep(0.5)\n" in outcome.errors
    assert re.search(r'(?m)^    File ".*program\.py", line \d+, in main$', outcome.errors)


def test_back_off_and_the_closing_line(tmp_path):
    outcome = run(tmp_path, TOLD + "ferrio.run(main(), watchdog=0.05)")
    block = next(report["block"] for report in outcome.reports if report["number"] >= 4)
    reports = [report for report in outcome.reports if report["block"] == block]
    assert [report["number"] for report in reports] == list(range(1, len(reports) + 1)), outcome
    assert [report["over"] for report in reports] == [False] * (len(reports) - 1) + [True]
    seconds = [report["seconds"] for report in reports]
    assert seconds == sorted(seconds)
    # Those before the last one at 50, 100, 200 and 400 ms, or later.
    for number, at in enumerate(seconds[:-1]):
        assert at >= 0.05 * 2**number, outcome
    assert seconds[-1] > 0.4
    assert outcome.errors == ""


@pytest.mark.parametrize("value", ["50ms", "0.05", "0.05s", " 50 ms "])
def test_the_environment_asks_for_it(value, tmp_path):
    path = str(tmp_path / "reports.jsonl")
    env = {"FERRIO_WATCHDOG": value, "FERRIO_WATCHDOG_FILE": path}
    outcome = run(tmp_path, TOLD + "ferrio.run(main())", env=env)
    assert outcome.exit_code == 0, outcome
    assert {report["threshold"] for report in outcome.reports} == {0.05}, outcome


def test_it_is_off_unless_asked(tmp_path):
    program = SLEEPS + "ferrio.run(main()); print(os.listdir('/proc/self/task').__len__())"
    outcome = run(tmp_path, program)
    assert not outcome.reports
    assert (outcome.output, outcome.errors) == ("1\n", "")


def test_the_environment_switches_it_off(tmp_path):
    env = {"FERRIO_WATCHDOG": "0"}
    outcome = run(tmp_path, SLEEPS + "ferrio.run(main(), watchdog=0.05)", env=env)
    assert (outcome.exit_code, outcome.output, outcome.errors) == (0, "", "")


def test_an_argument_is_preferred_to_the_environment(tmp_path):
    path = str(tmp_path / "reports.jsonl")
    env = {"FERRIO_WATCHDOG": "50ms", "FERRIO_WATCHDOG_FILE": path}
    assert not run(tmp_path, SLEEPS + "ferrio.run(main(), watchdog=0)", env=env).reports
    assert not run(tmp_path, SLEEPS + "ferrio.run(main(), watchdog=20)", env=env).reports


def test_a_wrong_environment_is_an_error(tmp_path):
    env = {"FERRIO_WATCHDOG": "soon"}
    outcome = run(tmp_path, SLEEPS + "ferrio.run(main())", env=env)
    assert outcome.exit_code == 1
    assert 'ValueError: FERRIO_WATCHDOG must be a time like "100ms"' in outcome.errors


@pytest.mark.parametrize(
    ("value", "error", "message"),
    [
        ("0.1", TypeError, "watchdog must be a number of seconds, not str"),
        (True, TypeError, "watchdog must be a number of seconds, not bool"),
        (-1, ValueError, "watchdog must be 0 (off) or at least 0.001 seconds, not -1"),
        (0.0001, ValueError, "at least 0.001 seconds, not 0.0001"),
        (float("nan"), ValueError, "not nan"),
        (float("inf"), ValueError, "not inf"),
    ],
)
def test_what_is_no_time_is_refused(value, error, message):
    with pytest.raises(error, match=re.escape(message)):
        ferrio.Runner(watchdog=value)

    async def main():
        raise AssertionError("not run")

    coroutine = main()
    with pytest.raises(error, match=re.escape(message)):
        ferrio.run(coroutine, watchdog=value)
    coroutine.close()


def test_another_loop_cannot_be_watched():
    import asyncio

    with (
        pytest.raises(ValueError, match="watchdog needs an event loop of ferrio's"),
        ferrio.Runner(loop_factory=asyncio.SelectorEventLoop, watchdog=0.1) as runner,
    ):
        runner.get_loop()


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("100ms", 0.1), ("0.25", 0.25), (".5s", 0.5), ("2", 2.0), ("0", 0.0), ("", 0.0), ("0ms", 0.0)],
)
def test_times_as_texts(text, seconds):
    assert watchdog.parse_threshold(text, "X") == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["-1", "1h", "ms", "1e3", "0.0001", "1 2", "nan"])
def test_texts_that_are_no_times(text):
    with pytest.raises(ValueError, match="X must be a time"):
        watchdog.parse_threshold(text, "X")


def test_on_block_is_called_during_the_block_in_a_thread_of_its_own(tmp_path):
    outcome = run(
        tmp_path,
        """
        import threading

        seen, blocks = [], []

        def told(block):
            here = threading.current_thread()
            seen.append((block, time.monotonic(), here is main_thread, here.name))

        def sleep():
            begun = time.monotonic()
            time.sleep(0.3)
            blocks.append((begun, time.monotonic()))

        def during_a_block():
            for one in seen:
                if one[0].cause == "syscall:clock_nanosleep":
                    for begun, ended in blocks:
                        if begun < one[1] < ended:
                            return one, begun
            return None

        async def main():
            stop = ferrio.on_block(told)
            await until(during_a_block, sleep)
            await until(lambda: seen[-1][0].over)
            stop()
            stop()
            count, last = len(seen), ferrio.watchdog.recent_blocks()[-1].id
            await until(lambda: ferrio.watchdog.recent_blocks()[-1].id > last, sleep)
            await asyncio.sleep(0.05)
            assert len(seen) == count

        main_thread = threading.current_thread()
        before = threading.enumerate()
        ferrio.run(main(), watchdog=0.05)
        (block, at, is_main, name), begun = during_a_block()
        assert not is_main and name == "ferrio-python", name
        assert begun < block.detected_at <= at, (begun, block, at)
        assert block.site.function == "sleep" and str(block.site) in block.message
        assert block.task == "Task-1" and block.coroutine == "main" and block.function is None
        assert block.thread == os.getpid()
        assert block.stack[-1] == block.site and not block.over
        assert block.text.startswith(block.message + "\\n")
        numbers = [told[0].number for told in seen if told[0].id == block.id]
        assert numbers == list(range(1, len(numbers) + 1))
        assert threading.enumerate() == before
        """,
    )
    assert outcome.exit_code == 0, outcome
    assert outcome.errors == ""


def test_what_a_callback_raises_is_not_lost(tmp_path):
    outcome = run(
        tmp_path,
        """
        seen = []
        unraisable = []
        sys.unraisablehook = lambda args: unraisable.append((args.exc_value, args.object))

        def wrong(block):
            raise LookupError(block.message)

        ferrio.on_block(wrong)
        ferrio.on_block(seen.append)

        async def main():
            await until(lambda: seen, lambda: time.sleep(0.2))

        ferrio.run(main(), watchdog=0.05)
        error, what = unraisable[0]
        assert type(error) is LookupError and error.args == (seen[0].message,)
        assert what is wrong
        """,
    )
    assert outcome.exit_code == 0, outcome


def test_only_callables_are_called():
    with pytest.raises(TypeError, match="a callable is needed, not int"):
        ferrio.on_block(3)


def test_the_logger_hears_of_it_during_the_block(tmp_path):
    outcome = run(
        tmp_path,
        """
        import logging

        records, blocks = [], []

        class Handler(logging.Handler):
            def emit(self, record):
                records.append((record, time.monotonic()))

        logging.getLogger("ferrio").addHandler(Handler())

        def block():
            begun = time.monotonic()
            time.sleep(0.3)
            blocks.append((begun, time.monotonic()))

        def during_a_block():
            for record, at in records:
                if any(begun < at < ended for begun, ended in blocks):
                    return record
            return None

        async def main():
            await until(during_a_block, block)

        ferrio.run(main(), watchdog=0.05)
        record = during_a_block()
        assert record.name == "ferrio.watchdog" and record.levelno == logging.WARNING
        assert record.threadName == "ferrio-python"
        assert any(record.getMessage().startswith(report["message"]) for report in reports())
        """,
    )
    assert outcome.exit_code == 0, outcome
    assert outcome.errors == ""


def test_blocks_are_counted_by_place_and_do_not_flood_the_log(tmp_path):
    outcome = run(
        tmp_path,
        """
        def block():
            time.sleep(0.006)

        def places():
            return [each for each in ferrio.blocks() if each.site and each.site.function == "block"]

        async def main():
            await until(lambda: any(each.count > 60 for each in places()), block)

        begun = time.monotonic()
        ferrio.run(main(), watchdog=0.002)
        (place,) = places()
        assert place.longest >= 0.002 and place.total > 60 * 0.002, place
        # It may have been over before it was seen why, or begun to wait for a processor.
        assert place.cause in ("syscall:clock_nanosleep", "unknown", "descheduled"), place
        print(time.monotonic() - begun)
        """,
        env={},
    )
    assert outcome.exit_code == 0, outcome
    blocks = [line for line in outcome.errors.splitlines() if "in block: the loop has been" in line]
    # Four in a second.
    assert 0 < len(blocks) < 5 + 4 * float(outcome.output), outcome
    assert len(blocks) < 60


def test_two_loops_in_two_threads(tmp_path):
    outcome = run(
        tmp_path,
        """
        import threading

        def is_told(name):
            return any(report["site"]["function"] == name for report in reports())

        async def one():
            await until(lambda: is_told("block_one"), block_one)

        async def other():
            await until(lambda: is_told("block_other"), block_other)

        def block_one():
            time.sleep(0.2)

        def block_other():
            time.sleep(0.2)

        thread = threading.Thread(target=ferrio.run, args=(other(),), kwargs={"watchdog": 0.05})
        thread.start()
        ferrio.run(one(), watchdog=0.05)
        thread.join()
        """,
    )
    assert outcome.exit_code == 0, outcome
    by_function = {}
    for report in outcome.reports:
        by_function.setdefault(report["site"]["function"], set()).add(
            (report["thread"], report["loop"])
        )
    assert by_function.keys() >= {"block_one", "block_other"}
    assert not by_function["block_one"] & by_function["block_other"]


def test_a_loop_that_is_idle_or_stopped_is_not_blocked(tmp_path):
    outcome = run(
        tmp_path,
        """
        async def main():
            await asyncio.sleep(0.3)

        with ferrio.Runner(watchdog=0.05) as runner:
            runner.run(main())
            time.sleep(0.3)
            runner.run(main())
        """,
    )
    assert outcome.exit_code == 0, outcome
    assert outcome.reports == []


def test_nothing_of_it_is_there_when_the_process_forks(tmp_path):
    outcome = run(
        tmp_path,
        """
        def told_of():
            return {report["block"] for report in reports() if report["process"] == os.getpid()}

        async def block():
            have = told_of()
            await until(lambda: told_of() - have, lambda: time.sleep(0.15))

        async def main():
            await block()
            for _ in range(5):
                pid = os.fork()
                if pid == 0:
                    os._exit(child())
                _, status = os.waitpid(pid, 0)
                assert status == 0
            # It is there again.
            await block()

        def child():
            assert len(os.listdir("/proc/self/task")) == 1
            assert ferrio.blocks() == []
            asyncio._set_running_loop(None)
            ferrio.run(block(), watchdog=0.05)
            assert ferrio.blocks()
            return 0

        ferrio.run(main(), watchdog=0.05)
        """,
    )
    assert outcome.exit_code == 0, outcome
    assert outcome.errors == ""
    assert len({report["process"] for report in outcome.reports}) == 6


def test_it_is_there_again_in_the_next_run(tmp_path):
    outcome = run(
        tmp_path,
        """
        def told_of():
            return {report["block"] for report in reports()}

        async def main():
            have = told_of()
            await until(lambda: told_of() - have, lambda: time.sleep(0.15))

        ferrio.run(main(), watchdog=0.05)
        pid = os.fork()
        if pid == 0:
            os._exit(0)
        os.waitpid(pid, 0)
        ferrio.run(main(), watchdog=0.05)
        """,
    )
    assert outcome.exit_code == 0, outcome
    assert outcome.errors == ""


@pytest.mark.parametrize(
    ("end", "exit_code"),
    [
        ("return", 0),
        ("sys.exit(3)", 3),
        ("raise KeyboardInterrupt", -2),
        ("1 / 0", 1),
        ("os._exit(5)", 5),
        ("os.kill(os.getpid(), 15)", -15),
        ("asyncio.get_running_loop().call_soon(time.sleep, 0.2)", 0),
    ],
)
def test_a_program_ends_as_it_would_without(end, exit_code, tmp_path):
    outcome = run(
        tmp_path,
        f"""
        seen = []
        ferrio.on_block(lambda block: time.sleep(0.05))

        async def main():
            await asyncio.sleep(0)
            time.sleep(0.12)
            {end}

        ferrio.run(main(), watchdog=0.05)
        """,
    )
    assert outcome.exit_code == exit_code, outcome
    assert "Fatal" not in outcome.errors
    assert outcome.output == ""


def test_a_callback_that_does_not_return_keeps_nobody_from_ending(tmp_path):
    outcome = run(
        tmp_path,
        """
        import threading
        entered = threading.Event()

        def stuck(block):
            entered.set()
            time.sleep(1000)

        ferrio.on_block(stuck)

        async def main():
            await until(entered.is_set, lambda: time.sleep(0.1))

        ferrio.run(main(), watchdog=0.05)
        print("done")
        """,
    )
    assert (outcome.exit_code, outcome.output) == (0, "done\n"), outcome


UNASKED = """
def is_told():
    blocks = ferrio.watchdog.recent_blocks()
    return any(block.cause == "syscall:clock_nanosleep" for block in blocks)

async def main():
    for _ in range(tries):
        await asyncio.sleep(0)
        time.sleep(0.6)
        await asyncio.sleep(0.02)
        if is_told():
            break
    print(is_told(), flush=True)
    sys.exit(7)
asyncio.run(main())
"""
# For those that are to hear of it, however long that takes, and for the others.
UNASKED_AND_TOLD = "tries = 50\n" + UNASKED
UNASKED_ONCE = "tries = 1\n" + UNASKED

COMMAND = ("-m", "ferrio")


def test_the_command_says_nothing_on_a_pipe(tmp_path):
    outcome = run(tmp_path, UNASKED_AND_TOLD, command=COMMAND, env={})
    assert (outcome.exit_code, outcome.output, outcome.errors) == (7, "True\n", "")


def test_the_command_writes_to_the_file(tmp_path):
    outcome = run(tmp_path, UNASKED_AND_TOLD, command=COMMAND)
    assert (outcome.exit_code, outcome.output, outcome.errors) == (7, "True\n", "")
    assert outcome.reports[0]["threshold"] == 0.25


def test_the_command_writes_to_a_terminal(tmp_path):
    ours, theirs = pty.openpty()
    try:
        outcome = run(tmp_path, UNASKED_AND_TOLD, command=COMMAND, env={}, stderr=theirs)
        assert (outcome.exit_code, outcome.output) == (7, "True\n")
        assert FIRST_LINE.search(os.read(ours, 65536).decode().replace("\r\n", "\n"))
    finally:
        os.close(ours)
        os.close(theirs)


def test_the_command_writes_to_a_configured_logger(tmp_path):
    program = """
import logging
logging.getLogger("ferrio").addHandler(logging.StreamHandler())
logging.getLogger().addHandler(logging.FileHandler("root.log"))
"""
    outcome = run(tmp_path, program + UNASKED_AND_TOLD, command=COMMAND, env={})
    assert (outcome.exit_code, outcome.output) == (7, "True\n")
    assert FIRST_LINE.search(outcome.errors)


def test_the_root_logger_alone_is_not_prepared_for_it(tmp_path):
    program = "import logging; logging.basicConfig()\n"
    outcome = run(tmp_path, program + UNASKED_AND_TOLD, command=COMMAND, env={})
    assert (outcome.exit_code, outcome.output, outcome.errors) == (7, "True\n", "")


@pytest.mark.parametrize(
    ("command", "env"),
    [(("-m", "ferrio", "--no-watchdog"), {}), (COMMAND, {"FERRIO_WATCHDOG": "0"})],
)
@pytest.mark.parametrize("call", ["asyncio.run(main())", "ferrio.run(main(), watchdog=0.05)"])
def test_the_command_can_be_silenced(command, env, call, tmp_path):
    env = {**env, "FERRIO_WATCHDOG_FILE": str(tmp_path / "reports.jsonl")}
    program = UNASKED_ONCE.replace("asyncio.run(main())", call)
    outcome = run(tmp_path, program, command=command, env=env)
    assert (outcome.exit_code, outcome.output, outcome.errors) == (7, "False\n", "")
    assert outcome.reports == []


def test_a_program_that_asks_is_told_under_the_command_too(tmp_path):
    call = "ferrio.run(main(), watchdog=0.05)"
    program = UNASKED_AND_TOLD.replace("asyncio.run(main())", call)
    outcome = run(tmp_path, program, command=COMMAND, env={})
    assert FIRST_LINE.search(outcome.errors), outcome


def test_children_of_the_command_are_watched_as_it_is(tmp_path):
    program = """
import multiprocessing

def child():
    from ferrio import watchdog
    print(watchdog.choice.default, watchdog.choice.is_silenced)

if __name__ == "__main__":
    process = multiprocessing.get_context("spawn").Process(target=child)
    process.start()
    process.join()
"""
    outcome = run(tmp_path, program, command=("-m", "ferrio", "--no-watchdog"), env={})
    assert outcome.output == "0.25 True\n", outcome


def test_a_file_that_cannot_be_written_is_told_of(tmp_path):
    env = {"FERRIO_WATCHDOG_FILE": str(tmp_path / "nowhere" / "reports.jsonl")}
    outcome = run(tmp_path, TOLD + "ferrio.run(main(), watchdog=0.05)", env=env)
    assert outcome.exit_code == 0
    assert "nowhere/reports.jsonl cannot be written: No such file" in outcome.errors


def test_without_standard_error_there_is_nothing_to_say_it_on(tmp_path):
    program = TOLD + "os.close(2)\nferrio.run(main(), watchdog=0.05)\nprint('done')"
    outcome = run(tmp_path, program, env={})
    assert (outcome.exit_code, outcome.output) == (0, "done\n"), outcome


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_the_native_threads_take_no_signals(tmp_path):
    outcome = run(
        tmp_path,
        """
        def threads():
            for thread in os.listdir("/proc/self/task"):
                with open(f"/proc/self/task/{thread}/status") as file:
                    status = dict(line.split(":", 1) for line in file)
                name, blocked = status["Name"].strip(), int(status["SigBlk"], 16)
                yield name.startswith("ferrio"), bool(blocked & 1 << 14)

        async def main():
            # They get their names when they have begun.
            await until(lambda: sum(is_ours for is_ours, _ in threads()) == 2)
            print(sorted(threads()))

        ferrio.run(main(), watchdog=0.05)
        """,
    )
    assert outcome.output == "[(False, False), (True, True), (True, True)]\n", outcome
