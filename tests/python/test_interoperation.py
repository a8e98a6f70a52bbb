"""Tasks and futures of ferrio with those of the standard library, on either's loops.

The fixture's loop runs, and around it every combination of an awaiting task and an awaited
future: ferrio's, the standard library's in C, and its twin in pure Python.
"""

import asyncio
import contextvars
import gc
import sys

import pytest

import ferrio
from turns import run_turn, run_turns, run_until_idle

TASKS = {"ferrio": ferrio.Task, "C": asyncio.Task, "Python": asyncio.tasks._PyTask}
FUTURES = {"ferrio": ferrio.Future, "C": asyncio.Future, "Python": asyncio.futures._PyFuture}


# From 3.14 asyncio's C functions, which are those in use, know nothing of the twin's tasks.
KNOWN_TASKS = dict(TASKS)
if sys.version_info >= (3, 14):
    del KNOWN_TASKS["Python"]


def skip_unless_known(*classes):
    """``asyncio.current_task`` is told of tasks of these classes."""
    if not set(classes) <= set(KNOWN_TASKS.values()):
        pytest.skip("asyncio.current_task knows nothing of the Python twin's tasks from 3.14")


@pytest.fixture(params=list(TASKS))
def task_class(request):
    return TASKS[request.param]


@pytest.fixture(params=list(FUTURES))
def future_class(request):
    return FUTURES[request.param]


@pytest.fixture(params=list(TASKS))
def inner_class(request):
    return TASKS[request.param]


def test_a_result(loop, task_class, future_class):
    future = future_class(loop=loop)

    async def waits():
        return await future

    task = task_class(waits(), loop=loop)
    run_turn(loop)
    assert task._fut_waiter is future
    future.set_result("result")
    assert loop.run_until_complete(task) == "result"


def test_an_exception(loop, task_class, future_class):
    future = future_class(loop=loop)

    async def waits():
        await future

    task = task_class(waits(), loop=loop)
    run_turn(loop)
    future.set_exception(ZeroDivisionError("on purpose"))
    with pytest.raises(ZeroDivisionError, match="on purpose"):
        loop.run_until_complete(task)


def test_a_future_that_is_done_already(loop, task_class, future_class):
    future = future_class(loop=loop)
    future.set_result("result")

    async def waits():
        return await future

    assert loop.run_until_complete(task_class(waits(), loop=loop)) == "result"


def test_cancelling_the_task(loop, task_class, future_class):
    future = future_class(loop=loop)

    async def waits():
        await future

    task = task_class(waits(), loop=loop)
    run_turn(loop)
    assert task.cancel("message")
    assert future.cancelled()
    run_until_idle(loop)
    with pytest.raises(asyncio.CancelledError, match="message"):
        task.result()


def test_cancelling_the_future(loop, task_class, future_class):
    future = future_class(loop=loop)

    async def waits():
        try:
            await future
        except asyncio.CancelledError as error:
            return error.args

    task = task_class(waits(), loop=loop)
    run_turn(loop)
    future.cancel("message")
    assert loop.run_until_complete(task) == ("message",)
    assert task.cancelling() == 0


def test_a_task_that_waits_for_a_task(loop, task_class, inner_class):
    async def inner():
        await asyncio.sleep(0)
        return "result"

    async def outer():
        return await inner_class(inner(), loop=loop)

    assert loop.run_until_complete(task_class(outer(), loop=loop)) == "result"


def test_a_failure_in_an_inner_task(loop, task_class, inner_class):
    async def inner():
        await asyncio.sleep(0)
        raise ZeroDivisionError("on purpose")

    async def outer():
        await inner_class(inner(), loop=loop)

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        loop.run_until_complete(task_class(outer(), loop=loop))


def test_cancelling_through_tasks(loop, task_class, inner_class):
    order = []

    async def inner():
        try:
            await loop.create_future()
        except asyncio.CancelledError as error:
            order.append(("inner", error.args))
            raise

    async def outer():
        try:
            await inner_class(inner(), loop=loop)
        except asyncio.CancelledError as error:
            order.append(("outer", error.args))
            raise

    task = task_class(outer(), loop=loop)
    run_turns(loop, 3)
    task.cancel("message")
    run_until_idle(loop)
    assert order == [("inner", ("message",)), ("outer", ("message",))]
    assert task.cancelled()


def test_an_inner_task_that_refuses(loop, task_class, inner_class):
    async def inner():
        try:
            await loop.create_future()
        except asyncio.CancelledError:
            return "refused"

    async def outer():
        return await inner_class(inner(), loop=loop)

    task = task_class(outer(), loop=loop)
    run_turns(loop, 3)
    task.cancel()
    run_until_idle(loop)
    assert task.result() == "refused"


def test_current_task(loop, task_class, inner_class):
    skip_unless_known(task_class, inner_class)
    seen = []

    async def inner():
        seen.append(asyncio.current_task())
        await asyncio.sleep(0)
        seen.append(asyncio.current_task())

    async def outer():
        mine = asyncio.current_task()
        seen.append(mine)
        task = inner_class(inner(), loop=loop)
        await task
        assert asyncio.current_task() is mine
        return task

    outer_task = task_class(outer(), loop=loop)
    inner_task = loop.run_until_complete(outer_task)
    assert seen == [outer_task, inner_task, inner_task]


def test_steps_of_mixed_tasks_alternate(loop):
    steps = []

    async def coroutine(name):
        for number in range(3):
            assert asyncio.current_task().get_name() == name
            steps.append((number, name))
            await asyncio.sleep(0)

    for name, task_class in KNOWN_TASKS.items():
        kept.append(task_class(coroutine(name), loop=loop, name=name))
    run_until_idle(loop)
    kept.clear()
    assert steps == [(number, name) for number in range(3) for name in KNOWN_TASKS]


kept = []


def test_all_tasks_sees_every_kind(loop):
    future = loop.create_future()

    async def waits():
        await future

    tasks = {task_class(waits(), loop=loop) for task_class in KNOWN_TASKS.values()}
    assert asyncio.all_tasks(loop) == tasks
    run_turn(loop)
    assert asyncio.all_tasks(loop) == tasks
    future.set_result(None)
    run_until_idle(loop)
    assert asyncio.all_tasks(loop) == set()


def test_contexts(loop, task_class, future_class):
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    async def waits():
        variable.set("of the task")
        await future
        seen.append(variable.get())

    future = future_class(loop=loop)
    task = task_class(waits(), loop=loop)
    run_turn(loop)
    future.set_result(None)
    loop.run_until_complete(task)
    assert seen == ["of the task"]
    assert variable.get() == "unset"


def test_waiters_of_every_kind_keep_their_order(loop, future_class):
    future = future_class(loop=loop)
    order = []

    async def waits(name):
        await future
        order.append(name)

    tasks = []
    for round_number in range(3):
        for name, task_class in TASKS.items():
            tasks.append(task_class(waits((round_number, name)), loop=loop))
            run_turn(loop)
        future.add_done_callback(lambda done, number=round_number: order.append((number, "call")))
    future.set_result(None)
    run_until_idle(loop)
    assert order == [(number, name) for number in range(3) for name in (*TASKS, "call")]


def test_gather_and_wait_over_every_kind(loop):
    async def give(value):
        await asyncio.sleep(0)
        return value

    async def main():
        tasks = [task_class(give(name), loop=loop) for name, task_class in TASKS.items()]
        futures = [future_class(loop=loop) for future_class in FUTURES.values()]
        for number, future in enumerate(futures):
            loop.call_soon(future.set_result, number)
        gathered = await asyncio.gather(*tasks, *futures)
        done, pending = await asyncio.wait([*tasks, *futures])
        shielded = await asyncio.shield(tasks[0])
        waited = await asyncio.wait_for(futures[0], 1000)
        return gathered, len(done), len(pending), shielded, waited

    gathered, done, pending, shielded, waited = loop.run_until_complete(main())
    assert gathered == [*TASKS, 0, 1, 2]
    assert (done, pending, shielded, waited) == (6, 0, "ferrio", 0)


def test_a_foreign_loop(loop, task_class, future_class, make_loop):
    """Futures of one loop awaited in another are refused, whoever made them."""
    other = make_loop()
    future = future_class(loop=other)

    async def waits():
        await future

    task = task_class(waits(), loop=loop)
    with pytest.raises(RuntimeError, match="attached to a different loop"):
        loop.run_until_complete(task)


def test_awaiting_oneself(loop, task_class):
    async def waits():
        await task

    task = task_class(waits(), loop=loop)
    with pytest.raises(RuntimeError, match="Task cannot await on itself"):
        loop.run_until_complete(task)


def test_names_count_separately_but_stay_unique_within_a_kind(loop, task_class):
    tasks = [task_class(asyncio.sleep(0), loop=loop) for _ in range(3)]
    names = [task.get_name() for task in tasks]
    assert len(set(names)) == 3
    assert all(name.startswith("Task-") for name in names)
    run_until_idle(loop)


def test_wrap_future_and_ensure_future_keep_what_they_get(loop, task_class, future_class):
    future = future_class(loop=loop)
    assert asyncio.ensure_future(future, loop=loop) is future
    assert asyncio.wrap_future(future, loop=loop) is future
    task = task_class(asyncio.sleep(0), loop=loop)
    assert asyncio.ensure_future(task, loop=loop) is task
    future.cancel()
    loop.run_until_complete(task)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks are new in 3.12")
def test_eager_tasks_of_one_kind_in_tasks_of_another(loop, task_class, inner_class):
    skip_unless_known(task_class, inner_class)
    seen = []

    async def inner():
        seen.append(asyncio.current_task())
        return "eager"

    async def outer():
        mine = asyncio.current_task()
        task = inner_class(inner(), loop=loop, eager_start=True)
        assert asyncio.current_task() is mine
        assert task.done()
        return task

    inner_task = loop.run_until_complete(task_class(outer(), loop=loop))
    assert seen == [inner_task]
    assert inner_task.result() == "eager"


def test_a_ferrio_task_on_every_loop_with_debug_mode(loop, task_class, future_class):
    loop.set_debug(True)
    future = future_class(loop=loop)

    async def waits():
        return await future

    task = task_class(waits(), loop=loop)
    run_turn(loop)
    future.set_result("result")
    assert loop.run_until_complete(task) == "result"


def test_unretrieved_exceptions_of_every_kind(loop, task_class, reports):
    async def fails():
        raise ZeroDivisionError

    task_class(fails(), loop=loop)
    run_until_idle(loop)
    gc.collect()
    assert reports.messages() == ["Task exception was never retrieved"]


def test_an_exception_through_every_kind_keeps_its_frames(loop):
    import traceback

    async def level(classes):
        if not classes:
            raise ZeroDivisionError
        await classes[0](level(classes[1:]), loop=loop)

    with pytest.raises(ZeroDivisionError) as raised:
        loop.run_until_complete(level([*TASKS.values(), *TASKS.values()]))
    frames = traceback.extract_tb(raised.value.__traceback__)
    assert [frame.name for frame in frames].count("level") == 7
