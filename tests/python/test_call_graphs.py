"""Call graphs and who awaits whom, which asyncio has from 3.14 on."""

import asyncio
import io
import re
import subprocess
import sys

import pytest

from turns import run_turn, run_turns, run_until_idle

pytestmark = pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio has them from 3.14")


async def waits(awaitable):
    return await awaitable


def awaited_by(future):
    waiting = future._asyncio_awaited_by
    return waiting if waiting is None else set(waiting)


class TestAwaitedBy:
    """``_asyncio_awaited_by`` while something is awaited, and afterwards."""

    def test_a_future(self, loop):
        future = loop.create_future()
        assert awaited_by(future) is None
        task = loop.create_task(waits(future))
        assert awaited_by(future) is None
        run_turn(loop)
        assert awaited_by(future) == {task}
        assert isinstance(future._asyncio_awaited_by, frozenset)
        future.set_result(None)
        run_until_idle(loop)
        assert not awaited_by(future)

    def test_a_task_that_several_wait_for(self, loop):
        future = loop.create_future()
        inner = loop.create_task(waits(future))
        outer = [loop.create_task(waits(inner)) for _ in range(3)]
        run_turns(loop, 2)
        assert awaited_by(inner) == set(outer)
        future.set_result(None)
        run_until_idle(loop)
        assert not awaited_by(inner)

    def test_a_cancelled_wait(self, loop):
        future = loop.create_future()
        task = loop.create_task(waits(future))
        run_turn(loop)
        task.cancel()
        run_until_idle(loop)
        assert not awaited_by(future)

    def test_a_subclass(self, loop, implementation):
        class MyFuture(implementation.Future):
            pass

        future = MyFuture(loop=loop)
        task = loop.create_task(waits(future))
        run_turn(loop)
        assert awaited_by(future) == {task}
        future.set_result(None)
        run_until_idle(loop)
        assert not awaited_by(future)

    def test_in_debug_mode(self, loop):
        loop.set_debug(True)
        future = loop.create_future()
        task = loop.create_task(waits(future))
        run_turn(loop)
        assert awaited_by(future) == {task}
        future.set_result(None)
        run_until_idle(loop)
        assert not awaited_by(future)

    def test_through_what_stands_in_between(self, loop):
        seen = {}

        async def child(future):
            await future

        async def grouped(future):
            async with asyncio.TaskGroup() as group:
                seen["group"] = group.create_task(child(future))

        async def gathered(future):
            seen["gather"] = asyncio.create_task(child(future))
            await asyncio.gather(seen["gather"])

        async def shielded(future):
            seen["shield"] = asyncio.create_task(child(future))
            await asyncio.shield(seen["shield"])

        async def waited(future):
            seen["wait"] = asyncio.create_task(child(future))
            await asyncio.wait([seen["wait"]])

        future = loop.create_future()
        tasks = {
            "group": loop.create_task(grouped(future)),
            "gather": loop.create_task(gathered(future)),
            "shield": loop.create_task(shielded(future)),
            "wait": loop.create_task(waited(future)),
        }
        run_turns(loop, 3)
        assert {name: awaited_by(task) for name, task in seen.items()} == {
            name: {task} for name, task in tasks.items()
        }
        future.set_result(None)
        run_until_idle(loop)
        assert not any(awaited_by(task) for task in seen.values())

    def test_by_hand(self, loop):
        future = loop.create_future()
        first = loop.create_future()
        second = loop.create_future()
        asyncio.future_add_to_awaited_by(future, first)
        asyncio.future_add_to_awaited_by(future, first)
        assert awaited_by(future) == {first}
        asyncio.future_add_to_awaited_by(future, second)
        asyncio.futures.future_add_to_awaited_by(future, object())
        assert awaited_by(future) == {first, second}
        asyncio.future_discard_from_awaited_by(future, first)
        asyncio.futures.future_discard_from_awaited_by(future, first)
        assert awaited_by(future) == {second}
        asyncio.future_discard_from_awaited_by(future, second)
        assert not awaited_by(future)
        asyncio.future_add_to_awaited_by(object(), first)
        asyncio.future_discard_from_awaited_by(object(), first)

    def test_arguments(self):
        for function in (asyncio.future_add_to_awaited_by, asyncio.future_discard_from_awaited_by):
            with pytest.raises(TypeError):
                function()
            with pytest.raises(TypeError):
                function(1, 2, 3)
            with pytest.raises(TypeError):
                function(1, waiter=2)

    def test_asyncios_own_futures(self, loop):
        """ferrio hands them on to asyncio's own function."""
        future, waiter = asyncio.Future(loop=loop), asyncio.Future(loop=loop)
        asyncio.future_add_to_awaited_by(future, waiter)
        assert awaited_by(future) == {waiter}
        asyncio.future_discard_from_awaited_by(future, waiter)
        assert not awaited_by(future)


def test_the_call_graph_of_a_task(loop):
    async def leaf(future):
        await future

    async def middle(future):
        await leaf(future)

    async def root(task):
        await task

    future = loop.create_future()
    inner = loop.create_task(middle(future), name="inner")
    outer = loop.create_task(root(inner), name="outer")
    run_turns(loop, 2)
    graph = asyncio.capture_call_graph(inner)
    assert graph.future is inner
    assert [entry.frame.f_code.co_name for entry in graph.call_stack] == ["leaf", "middle"]
    assert [above.future for above in graph.awaited_by] == [outer]
    printed = io.StringIO()
    asyncio.print_call_graph(future, file=printed)
    assert re.findall(r"Task\(name='(\w+)'", printed.getvalue()) == ["inner", "outer"]
    assert re.findall(r"(\w+)\(\)", printed.getvalue()) == ["leaf", "middle", "root"]
    future.set_result(None)
    run_until_idle(loop)


def test_the_call_graph_of_the_current_task(loop):
    async def main():
        return asyncio.capture_call_graph()

    task = loop.create_task(main())
    graph = loop.run_until_complete(task)
    assert graph.future is task
    assert "main" in [entry.frame.f_code.co_name for entry in graph.call_stack]


PROGRAM = """
import asyncio, ferrio, sys

async def leaf():
    print("ready", flush=True)
    await asyncio.to_thread(sys.stdin.read)

async def child():
    await leaf()

async def main():
    async with asyncio.TaskGroup() as group:
        group.create_task(child(), name="the child")
        group.create_task(asyncio.Event().wait())

ferrio.run(main())
"""


@pytest.mark.parametrize("command", ["ps", "pstree"])
def test_another_process_sees_the_tasks(command):
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            assert process.stdout.readline() == "ready\n"
            shown = subprocess.run(
                [sys.executable, "-m", "asyncio", command, str(process.pid)],
                capture_output=True,
                text=True,
                timeout=60,
            )
        finally:
            process.kill()
    if "permission" in shown.stdout.lower() + shown.stderr.lower():
        pytest.skip("this machine does not let a process look into another")
    assert shown.returncode == 0, shown
    for expected in ("the child", "Task-1", "main", "leaf"):
        assert expected in shown.stdout, shown.stdout
