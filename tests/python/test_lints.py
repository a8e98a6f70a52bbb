"""What ferrio says of mistakes in the life of tasks."""

import asyncio
import functools
import gc
import re
import subprocess
import sys
import warnings

import pytest

import ferrio
from ferrio import lints
from watch import warnings_of

MADE = r"made by user at .*test_lints\.py:\d+ in \S+"


@pytest.fixture
def told(caplog):
    """The messages of the logger ``ferrio.lint``."""
    return functools.partial(warnings_of, "ferrio.lint", caplog)


async def fails():
    raise ValueError("no")


def test_an_exception_that_nobody_retrieves(told):
    async def main():
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        before = ferrio.lint_counts().get("exception-never-retrieved", 0)
        task = asyncio.create_task(fails(), name="lost")
        await ferrio.sleep(0)
        await ferrio.sleep(0)
        assert told() == []
        del task
        gc.collect()
        # At once, and not when the loop is closed.
        (message,) = told()
        assert re.fullmatch(
            r"exception-never-retrieved: task \d+ lost \(fails\) ended with ValueError\('no'\), "
            rf"which nobody has retrieved or will; {MADE}",
            message,
        )
        assert ferrio.lint_counts()["exception-never-retrieved"] == before + 1

    ferrio.run(main())
    assert re.fullmatch(r"summary of loop \d+ at its end: 1 exception-never-retrieved", told()[1])


def test_an_exception_that_somebody_retrieves(told):
    async def main():
        task = asyncio.create_task(fails())
        with pytest.raises(ValueError):
            await task

    ferrio.run(main())
    assert told() == []


async def swallows():
    try:
        await ferrio.sleep(50)
    except asyncio.CancelledError:
        pass
    return "done"


def test_a_swallowed_cancellation(told):
    async def main():
        task = asyncio.create_task(swallows(), name="stubborn")
        await ferrio.sleep(0)
        task.cancel()
        assert await task == "done"
        (message,) = told()
        assert re.fullmatch(
            r"swallowed-cancellation: task \d+ stubborn \(swallows\) was cancelled, caught "
            r"CancelledError and returned as if nothing were; raise it again, or call uncancel"
            rf"\(\); {MADE}",
            message,
        )

    ferrio.run(main())


def test_a_cancellation_that_is_taken_back_or_raised(told):
    async def takes_back():
        try:
            await ferrio.sleep(50)
        except asyncio.CancelledError:
            asyncio.current_task().uncancel()

    async def cleans_up():
        try:
            await ferrio.sleep(50)
        finally:
            await ferrio.sleep(0)

    async def limited():
        with pytest.raises(TimeoutError):
            async with ferrio.timeout(0.01):
                await ferrio.sleep(50)

    async def main():
        tasks = [asyncio.create_task(one()) for one in (takes_back, cleans_up, limited)]
        await ferrio.sleep(0)
        for task in tasks[:2]:
            task.cancel()
        await ferrio.wait(tasks)

    ferrio.run(main())
    assert told() == []


def test_warnings_can_be_errors(told):
    async def main():
        task = asyncio.create_task(swallows())
        await ferrio.sleep(0)
        task.cancel()
        with pytest.raises(ferrio.LifecycleWarning, match="^swallowed-cancellation: task "):
            await task

    with warnings.catch_warnings():
        warnings.simplefilter("error", ferrio.LifecycleWarning)
        ferrio.run(main())


def test_filters_that_do_not_mean_them(told):
    """Test suites make errors of all warnings, and do on ferrio what they do on asyncio."""

    async def main(left):
        task = asyncio.create_task(swallows())
        left.append(asyncio.create_task(ferrio.sleep(50)))
        await ferrio.sleep(0)
        task.cancel()
        return await task

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        loop = ferrio.new_event_loop()
        left = []
        assert loop.run_until_complete(main(left)) == "done"
        loop.close()
    kinds = [message.partition(":")[0] for message in told()]
    assert kinds[0] == "swallowed-cancellation"
    assert "alive-at-close" in kinds
    left[0]._log_destroy_pending = False


@pytest.mark.parametrize(
    ("option", "meant"),
    [
        ("error", True),
        ("e", True),
        ("error::RuntimeWarning", True),
        (" error : : Warning : : ", True),
        ("error::DeprecationWarning", False),
        ("error:text:DeprecationWarning:module:1", False),
        ("always", False),
        ("default::RuntimeWarning", False),
        ("", False),
    ],
)
def test_what_the_command_line_says(monkeypatch, option, meant):
    monkeypatch.setattr(sys, "warnoptions", [option])
    assert lints._are_to_be_errors() is meant


def test_telling_that_fails_is_not_the_tasks_failure(told, monkeypatch):
    class Nameless(ferrio.Task):
        def get_name(self):
            raise ZeroDivisionError("no name")

    async def main():
        task = Nameless(swallows(), loop=asyncio.get_running_loop())
        await ferrio.sleep(0)
        task.cancel()
        return await task

    unraisable = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    assert ferrio.run(main()) == "done"
    assert [str(one.exc_value) for one in unraisable] == ["no name"]
    assert told() == []


def test_without_a_filter_nothing_is_shown(told):
    async def main():
        task = asyncio.create_task(swallows())
        await ferrio.sleep(0)
        task.cancel()
        await task

    with warnings.catch_warnings(record=True) as shown:
        # As after an import of ferrio within such a block, which forgets any filters it made.
        warnings.resetwarnings()
        ferrio.run(main())
    assert len(told()) == 2
    assert shown == []


def test_a_task_that_is_cancelled_in_vain(told):
    async def goes_on():
        while True:
            try:
                await ferrio.sleep(50)
            except asyncio.CancelledError:
                if not going_on:
                    raise

    async def main():
        task = asyncio.create_task(goes_on(), name="deaf")
        await ferrio.sleep(0)
        for count in range(1, 8):
            task.cancel()
            await ferrio.sleep(0)
            await ferrio.sleep(0)
            assert len(told()) == (count >= 5)
        going_on.clear()
        task.cancel()
        await ferrio.wait([task])

    going_on = [True]
    ferrio.run(main())
    assert re.fullmatch(
        r"cancelled-in-vain: task \d+ deaf \(.*goes_on\) was cancelled 5 times and still goes on: "
        rf"it catches CancelledError; {MADE}",
        told()[0],
    )


def test_a_hot_spin(told):
    async def spin():
        for _ in range(45_000):
            await ferrio.sleep(0)

    async def main():
        await asyncio.create_task(spin(), name="spinner")

    ferrio.run(main())
    # Once for the place that it was made at.
    message, summary = told()
    assert re.fullmatch(
        r"hot-spin: task \d+ spinner \(.*spin\) was resumed in each of 20000 turns within "
        rf"\d\.\d s, without any I/O: it waits in a loop of sleep\(0\); {MADE}",
        message,
    )
    assert re.fullmatch(r"summary of loop \d+ at its end: 1 hot-spin", summary)


def test_a_child_that_gather_leaves(told):
    async def main():
        with pytest.raises(ValueError):
            await ferrio.gather(ferrio.sleep(50), fails())
        (message,) = told()
        assert re.fullmatch(
            r"gather-child-left: task \d+ Task-\d+ \(sleep\) goes on after another child of its "
            r"gather\(\) has failed; a TaskGroup would have cancelled it; made by gather of task "
            r"\d+ at .*test_lints\.py:\d+ in \S+",
            message,
        )
        # A task of the program's own is its own business, and an outcome is no failure.
        task = asyncio.create_task(ferrio.sleep(50))
        with pytest.raises(ValueError):
            await ferrio.gather(task, fails())
        await ferrio.gather(ferrio.sleep(0.01), fails(), return_exceptions=True)
        assert len(told()) == 1

    ferrio.run(main())


def test_what_is_alive_when_the_loop_is_closed(told):
    loop = ferrio.EventLoop()

    async def main():
        return asyncio.create_task(ferrio.sleep(50), name="left")

    task = loop.run_until_complete(main())
    loop.close()
    (message,) = told()
    assert re.fullmatch(
        r"alive-at-close: task \d+ left \(sleep\) is not done and its loop is closed; " + MADE,
        message,
    )
    task._log_destroy_pending = False


def test_a_transport_that_is_open_when_the_loop_is_closed(told):
    loop = ferrio.EventLoop()
    server = loop.run_until_complete(loop.create_server(asyncio.Protocol, "127.0.0.1", 0))
    address = server.sockets[0].getsockname()
    transport, _ = loop.run_until_complete(loop.create_connection(asyncio.Protocol, *address[:2]))
    shown = repr(transport)
    server.close()
    loop.run_until_complete(ferrio.sleep(0))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop.close()
        assert f"alive-at-close: {shown} is open and its loop is closed" in told()
        del transport
        gc.collect()


def test_a_run_that_cleans_up_is_silent(told):
    async def main():
        asyncio.create_task(ferrio.sleep(50))
        await ferrio.sleep(0)

    ferrio.run(main())
    assert told() == []


PROGRAM = """
import asyncio, ferrio

async def swallows():
    try:
        await ferrio.sleep(50)
    except asyncio.CancelledError:
        pass

async def main():
    task = asyncio.create_task(swallows())
    await ferrio.sleep(0)
    task.cancel()
    await task

ferrio.run(main())
"""


@pytest.mark.parametrize("how", ["off", "on", "error"])
def test_the_command_line(how):
    options = {"off": (), "on": (), "error": ("-W", "error::RuntimeWarning")}[how]
    environment = {"FERRIO_LINTS": "0"} if how == "off" else {}
    import os

    outcome = subprocess.run(
        [sys.executable, *options, "-c", PROGRAM],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
    )
    if how == "off":
        assert (outcome.returncode, outcome.stderr) == (0, "")
    elif how == "on":
        assert outcome.returncode == 0
        assert outcome.stderr.startswith("swallowed-cancellation: task 2 Task-2 (swallows) was ")
    else:
        assert outcome.returncode == 1
        assert "ferrio.lints.LifecycleWarning: swallowed-cancellation: task 2 " in outcome.stderr
