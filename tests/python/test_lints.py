"""What ferrio says of mistakes in the life of tasks."""

import asyncio
import functools
import gc
import os
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
        rf"\d\.\d{{3}} s, without any I/O: it waits in a loop of sleep\(0\); {MADE}",
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
        (message,) = [message for message in told() if shown in message]
        line = line_of(test_a_transport_that_is_open_when_the_loop_is_closed, "create_connection")
        assert re.fullmatch(
            rf"alive-at-close: {re.escape(shown)} is open and its loop is closed; made by task \d+ "
            rf"at .*test_lints\.py:{line} in test_a_transport_that_is_open_when_the_loop_is_closed",
            message,
        )
        del transport
        gc.collect()


def test_who_has_opened_a_connection(told):
    loop = ferrio.EventLoop()
    kept = []

    async def connect(address):
        kept.append(await ferrio.open_connection(*address))

    async def main():
        accepted = asyncio.Event()
        server = await loop.create_server(lambda: Accepted(accepted), "127.0.0.1", 0)
        tasks = [asyncio.create_task(connect(server.sockets[0].getsockname()), name="client")]
        await asyncio.wait(tasks)
        await accepted.wait()
        return server, tasks

    class Accepted(asyncio.Protocol):
        def __init__(self, accepted):
            self.accepted = accepted

        def connection_made(self, transport):
            kept.append(transport)
            self.accepted.set()

    kept.append(loop.run_until_complete(main()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        loop.close()
        messages = [message for message in told() if "SocketTransport" in message]
        kept.clear()
        gc.collect()
    line = line_of(test_who_has_opened_a_connection, "open_connection")
    server_line = line_of(test_who_has_opened_a_connection, "create_server")
    assert len(messages) == 2
    assert any(
        re.search(rf"is closed; made by task \d+ at .*test_lints\.py:{line} in .*connect$", message)
        for message in messages
    ), messages
    assert any(
        re.search(
            r"is closed; accepted by the server that was made by task .* "
            rf"at .*test_lints\.py:{server_line} in ",
            message,
        )
        for message in messages
    ), messages


def test_a_run_that_cleans_up_is_silent(told):
    async def main():
        asyncio.create_task(ferrio.sleep(50))
        await ferrio.sleep(0)

    ferrio.run(main())
    assert told() == []


SWALLOWS = """
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
"""

PROGRAM = f"{SWALLOWS}\nferrio.run(main())\n"


def run_python(*arguments, cwd=None, environment=os.environ):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        timeout=100,
    )


@pytest.mark.parametrize("how", ["off", "on", "error"])
def test_the_command_line(how):
    options = {"off": (), "on": (), "error": ("-W", "error::RuntimeWarning")}[how]
    environment = os.environ | ({"FERRIO_LINTS": "0"} if how == "off" else {})
    outcome = run_python(*options, "-c", PROGRAM, environment=environment)
    if how == "off":
        assert (outcome.returncode, outcome.stderr) == (0, "")
    elif how == "on":
        assert outcome.returncode == 0
        assert outcome.stderr.startswith("swallowed-cancellation: task 2 Task-2 (swallows) was ")
    else:
        assert outcome.returncode == 1
        assert "ferrio.lints.LifecycleWarning: swallowed-cancellation: task 2 " in outcome.stderr


async def forgotten():
    pass


NEVER_AWAITED = r"never-awaited: coroutine forgotten \(.*test_lints\.py:\d+\) was dropped before "


def test_a_coroutine_that_is_never_awaited(told):
    async def main():
        before = ferrio.lint_counts().get("never-awaited", 0)
        with pytest.warns(RuntimeWarning, match="coroutine 'forgotten' was never awaited") as own:
            forgotten()  # forgets
        # CPython's own warning is as it would be without us.
        (own,) = [warning for warning in own if warning.category is RuntimeWarning]
        assert (own.filename, own.lineno) == (__file__, line_of(main, "# forgets"))
        (message,) = told()
        assert re.fullmatch(
            NEVER_AWAITED + r"it began; made and dropped at .*test_lints\.py:(\d+) in "
            r"test_a_coroutine_that_is_never_awaited.<locals>.main in task Task-\d+ \(.*main\)",
            message,
        )
        assert message_line(message) == line_of(main, "# forgets")
        assert ferrio.lint_counts()["never-awaited"] == before + 1

    ferrio.run(main())


def test_a_coroutine_that_a_variable_kept_for_a_while(told):
    async def main():
        kept = forgotten()
        await ferrio.sleep(0)
        with pytest.warns(RuntimeWarning, match="never awaited"):
            del kept  # drops
        (message,) = told()
        assert "began; dropped at " in message
        assert message_line(message) == line_of(main, "# drops")

    ferrio.run(main())


def test_a_coroutine_that_remembers_where_it_was_made(told):
    async def main():
        kept = forgotten()  # makes
        with pytest.warns(RuntimeWarning, match="never awaited"):
            del kept
        (message,) = told()
        assert "began; made at " in message
        assert message_line(message) == line_of(main, "# makes")

    ferrio.run(main(), debug=True)


def test_a_native_coroutine_that_is_never_awaited(told):
    async def main():
        with pytest.warns(RuntimeWarning, match="coroutine 'Event.wait' was never awaited"):
            ferrio.Event().wait()
        (message,) = told()
        assert message.startswith("never-awaited: coroutine Event.wait")
        assert " made and dropped at " in message

    ferrio.run(main())


def test_a_coroutine_of_another_loop_is_not_ours(told):
    async def main():
        with pytest.warns(RuntimeWarning, match="never awaited"):
            forgotten()

    ferrio.run(ferrio.sleep(0))
    asyncio.run(main())
    assert told() == []


def test_a_coroutine_that_is_never_awaited_can_be_an_error(told):
    async def main():
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", RuntimeWarning)
            warnings.simplefilter("error", ferrio.LifecycleWarning)
            forgotten()

    heard = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda told: heard.append(told.exc_value)
    try:
        ferrio.run(main())
    finally:
        sys.unraisablehook = hook
    # As CPython's own is: a finalizer has nobody to raise it to.
    assert [type(error) for error in heard] == [ferrio.LifecycleWarning]


def message_line(message):
    return int(re.search(r"\bat \S+test_lints\.py:(\d+) in", message).group(1))


def line_of(function, text):
    import inspect

    lines, first = inspect.getsourcelines(function)
    return first + next(number for number, line in enumerate(lines) if text in line)


def spinning(loop, times, schedule):
    """Have a callback schedule itself so many times; give a future that is done after the last."""
    done = loop.create_future()
    left = [times]

    def spin():
        left[0] -= 1
        if left[0]:
            schedule(spin)
        else:
            done.set_result(None)

    schedule(spin)
    return done


def test_a_callback_that_spins(told):
    async def main():
        loop = asyncio.get_running_loop()
        before = ferrio.lint_counts().get("hot-spin", 0)
        await spinning(loop, 45_000, loop.call_soon)
        assert ferrio.lint_counts()["hot-spin"] == before + 1

    ferrio.run(main())
    # Once for each place.
    message, summary = told()
    line = line_of(spinning, "def spin()")
    assert re.fullmatch(
        rf"hot-spin: callback .*test_lints\.py:{line} in spinning\.<locals>\.spin was called in "
        r"each of 20100 turns within \d\.\d{3} s, without any I/O: it schedules itself for the "
        "next turn",
        message,
    )
    assert re.fullmatch(r"summary of loop \d+ at its end: 1 hot-spin", summary)


def test_a_callback_that_spins_by_a_timer_that_is_due(told):
    async def main():
        loop = asyncio.get_running_loop()
        done = loop.create_future()
        left = [45_000]

        def again():
            left[0] -= 1
            if left[0]:
                loop.call_later(0, again)
            else:
                done.set_result(None)

        # One that is not due has nothing to do with it.
        timer = loop.call_later(1000, print)
        loop.call_later(0, again)
        await done
        timer.cancel()

    ferrio.run(main())
    assert re.match(
        r"hot-spin: callback .*main\.<locals>\.again was called in each of 20100 turns", told()[0]
    )


def test_a_method_that_spins(told):
    class Ticker:
        left = 45_000

        def tick(self):
            self.left -= 1
            if self.left:
                self.loop.call_soon(self.tick)
            else:
                self.done.set_result(None)

    async def main():
        ticker = Ticker()
        ticker.loop = asyncio.get_running_loop()
        ticker.done = ticker.loop.create_future()
        ticker.tick()
        await ticker.done

    ferrio.run(main())
    assert "Ticker.tick was called in each of 20100 turns" in told()[0]


def test_callbacks_that_wait_for_something_do_not_spin(told):
    async def main():
        loop = asyncio.get_running_loop()
        # Different functions, one after the other.
        functions = [eval(f"lambda go: go({number})") for number in range(50)]
        done = loop.create_future()
        left = [45_000]

        def go(number):
            left[0] -= 1
            if left[0]:
                loop.call_soon(functions[(number + 1) % len(functions)], go)
            else:
                done.set_result(None)

        loop.call_soon(functions[0], go)
        await done
        # By a timer each.
        await spinning(loop, 300, functools.partial(loop.call_later, 0.0001))

    ferrio.run(main())
    assert told() == []


def at_close(told):
    """What is told of as alive when the loop is closed."""
    return [message for message in told() if message.startswith("alive-at-close")]


@pytest.fixture
def closing_loop():
    """A loop to be closed with things alive, whose own warnings are nobody's business."""
    loop = ferrio.EventLoop()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        yield loop
        loop.close()
        gc.collect()


def test_a_server_that_listens_when_the_loop_is_closed(told, closing_loop):
    async def main():
        return await ferrio.start_server(print, "127.0.0.1", 0)  # serves

    server = closing_loop.run_until_complete(main())
    shown = repr(server)
    closing_loop.close()
    (message,) = at_close(told)
    assert message.startswith(
        f"alive-at-close: {shown} listens and its loop is closed; made by task Task-"
    )
    assert message_line(message) == line_of(main, "# serves")
    server.close()


def test_a_server_that_was_closed(told, closing_loop):
    async def main():
        server = await ferrio.start_server(print, "127.0.0.1", 0)
        server.close()
        await server.wait_closed()
        return server

    server = closing_loop.run_until_complete(main())
    closing_loop.close()
    assert at_close(told) == []
    del server


def test_a_subprocess_that_runs_when_the_loop_is_closed(told, closing_loop):
    async def main():
        return await asyncio.create_subprocess_exec(  # starts
            sys.executable, "-c", "input()", stdin=subprocess.PIPE
        )

    process = closing_loop.run_until_complete(main())
    transport = process._transport
    closing_loop.close()
    told_of = [message for message in at_close(told) if " runs and its loop" in message]
    assert len(told_of) == 1
    assert "SubprocessTransport" in told_of[0]
    assert message_line(told_of[0]) == line_of(main, "# starts")
    # And the pipe to it, which is a resource of its own.
    assert any("pipe" in message.lower() for message in at_close(told) if message not in told_of)
    transport.close()


def test_a_subprocess_that_has_ended(told, closing_loop):
    async def main():
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", "pass")
        await process.wait()
        await ferrio.sleep(0)
        return process

    process = closing_loop.run_until_complete(main())
    closing_loop.close()
    assert at_close(told) == []
    del process


def test_pipes_and_datagrams_that_are_open_when_the_loop_is_closed(told, closing_loop):
    read, write = os.pipe()

    async def main():
        loop = asyncio.get_running_loop()
        datagram, _ = await loop.create_datagram_endpoint(
            asyncio.DatagramProtocol, local_addr=("127.0.0.1", 0)
        )
        reader, _ = await loop.connect_read_pipe(asyncio.Protocol, open(read, "rb"))
        writer, _ = await loop.connect_write_pipe(asyncio.BaseProtocol, open(write, "wb"))
        return [datagram, reader, writer]

    transports = closing_loop.run_until_complete(main())
    shown = [repr(transport) for transport in transports]
    closing_loop.close()
    messages = at_close(told)
    assert len(messages) == 3
    for words in shown:
        (message,) = [message for message in messages if words in message]
        assert " is open and its loop is closed; made by task Task-" in message
        assert "test_lints.py:" in message
    del transports


def test_what_is_left_at_close_can_be_an_error(told, closing_loop):
    async def main():
        return await ferrio.start_server(print, "127.0.0.1", 0)

    server = closing_loop.run_until_complete(main())
    with warnings.catch_warnings():
        warnings.simplefilter("error", ferrio.LifecycleWarning)
        with pytest.raises(ferrio.LifecycleWarning, match="^alive-at-close: <Server "):
            closing_loop.close()
    assert closing_loop.is_closed()
    server.close()


BY_NAME = "error::ferrio.LifecycleWarning"


@pytest.mark.parametrize("attached", [False, True], ids=["-W filter", "-Wfilter"])
def test_python_m_ferrio_takes_the_category_by_its_name(attached):
    option = [f"-W{BY_NAME}"] if attached else ["-W", BY_NAME]
    outcome = run_python("-m", "ferrio", *option, "-c", PROGRAM)
    assert outcome.returncode == 1
    assert "ferrio.lints.LifecycleWarning: swallowed-cancellation: task 2 " in outcome.stderr


def test_python_m_ferrio_goes_on_without_a_filter_that_means_nothing():
    outcome = run_python("-m", "ferrio", "-W", "error::no.Such", "-c", "print('runs')")
    assert (outcome.returncode, outcome.stdout) == (0, "runs\n")
    assert outcome.stderr.startswith("Invalid -W option ignored: ")


@pytest.mark.parametrize("how", ["-W", "PYTHONWARNINGS"])
def test_plain_python_cannot_be_given_the_name(how):
    options = ["-W", BY_NAME] if how == "-W" else []
    environment = os.environ | ({"PYTHONWARNINGS": BY_NAME} if how == "PYTHONWARNINGS" else {})
    # What is there can be imported so early, unlike what is installed.
    environment.pop("PYTHONPATH", None)
    outcome = run_python(*options, "-c", PROGRAM, environment=environment)
    # As docs/tasks.md says.
    assert outcome.returncode == 0
    assert "Invalid -W option ignored: invalid module name: 'ferrio'" in outcome.stderr


def test_pythonwarnings_takes_the_base():
    environment = os.environ | {"PYTHONWARNINGS": "error::RuntimeWarning"}
    outcome = run_python("-c", PROGRAM, environment=environment)
    assert outcome.returncode == 1
    assert "LifecycleWarning: swallowed-cancellation" in outcome.stderr


SUITE = f"{SWALLOWS}\ndef test_it():\n    ferrio.run(main())\n"


@pytest.mark.parametrize("how", ["nothing", "ini", "-W"])
def test_pytests_filters_take_the_category_by_its_name(tmp_path, how):
    (tmp_path / "test_suite.py").write_text(SUITE)
    filters = f"filterwarnings =\n    {BY_NAME}\n" if how == "ini" else ""
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{filters}")
    options = ["-W", BY_NAME] if how == "-W" else []
    outcome = run_python("-m", "pytest", "-q", "-p", "no:cacheprovider", *options, cwd=tmp_path)
    assert outcome.returncode == (0 if how == "nothing" else 1), outcome.stdout
    # The log has it anyway: without a filter that means it, it is no warning.
    told = "LifecycleWarning: swallowed-cancellation" in outcome.stdout
    assert told == (how != "nothing"), outcome.stdout
