"""What is said of tasks that nobody looks after: lost exceptions, and ends while pending."""

import asyncio
import gc
import weakref

import pytest

from turns import run_turn, run_turns, run_until_idle


async def fails():
    raise ZeroDivisionError("on purpose")


async def waits(future):
    await future


def test_an_exception_that_nobody_retrieved(loop, reports):
    loop.create_task(fails(), name="T")
    run_until_idle(loop)
    gc.collect()
    report = reports.take_one()
    assert report["message"] == "Task exception was never retrieved"
    assert isinstance(report["exception"], ZeroDivisionError)
    assert isinstance(report["future"], asyncio.Task)
    assert report["future"].get_name() == "T"
    assert set(report) == {"message", "exception", "future"}


def test_it_is_said_when_the_task_dies(loop, reports):
    task = loop.create_task(fails())
    run_until_idle(loop)
    gc.collect()
    assert reports.messages() == []
    del task
    gc.collect()
    assert reports.messages() == ["Task exception was never retrieved"]


@pytest.mark.parametrize(
    "retrieve",
    [
        lambda task: task.exception(),
        lambda task: pytest.raises(ZeroDivisionError, task.result),
        lambda task: task.cancel(),
    ],
    ids=["exception", "result", "cancel"],
)
def test_a_retrieved_exception(loop, retrieve):
    task = loop.create_task(fails())
    run_until_idle(loop)
    retrieve(task)
    del task
    gc.collect()


def test_an_awaited_exception(loop):
    async def main():
        with pytest.raises(ZeroDivisionError):
            await asyncio.create_task(fails())

    loop.run_until_complete(main())
    gc.collect()


def test_a_cancelled_task_is_not_reported(loop):
    task = loop.create_task(waits(loop.create_future()))
    run_turn(loop)
    task.cancel()
    run_until_idle(loop)
    del task
    gc.collect()


def test_a_pending_task_that_dies(loop, reports):
    """Nothing but the task holds the future that it waits for."""
    task = loop.create_task(waits(loop.create_future()), name="T")
    run_turn(loop)
    del task
    gc.collect()
    report = reports.take_one()
    assert report["message"] == "Task was destroyed but it is pending!"
    assert report["task"].get_name() == "T"
    assert set(report) == {"message", "task"}
    assert not report["task"].done()


def test_a_pending_task_that_says_not_to(loop):
    task = loop.create_task(waits(loop.create_future()))
    task._log_destroy_pending = False
    run_turn(loop)
    del task
    gc.collect()


def test_a_task_that_waits_for_what_somebody_holds_lives(loop):
    future = loop.create_future()
    reference = weakref.ref(loop.create_task(waits(future)))
    run_turn(loop)
    gc.collect()
    assert reference() is not None
    future.set_result(None)
    run_turn(loop)
    gc.collect()
    assert reference() is None


def test_a_scheduled_task_lives(loop):
    steps = []

    async def steps_on():
        for number in range(5):
            steps.append(number)
            await asyncio.sleep(0)

    reference = weakref.ref(loop.create_task(steps_on()))
    for _ in range(5):
        gc.collect()
        assert reference() is not None
        run_turn(loop)
    run_turn(loop)
    assert reference() is None
    assert steps == list(range(5))


def test_the_report_may_keep_a_pending_task_alive(loop, reports):
    """A task that is resurrected by its own obituary still works."""
    futures = []

    async def coroutine():
        futures.append(loop.create_future())
        reference = weakref.ref(futures[0])
        awaited = futures.pop()
        await awaited
        return reference

    loop.create_task(coroutine())
    run_turn(loop)
    gc.collect()
    task = reports.take_one()["task"]
    task._log_destroy_pending = False
    task.cancel()
    run_turns(loop, 2)
    assert task.done() or not task.done()
    del task
    gc.collect()


def test_closing_a_loop_with_pending_tasks(make_loop, reports):
    loop = make_loop()
    future = loop.create_future()
    task = loop.create_task(waits(future), name="T")
    run_turn(loop)
    loop.close()
    del task, future
    gc.collect()
    assert reports.messages() == ["Task was destroyed but it is pending!"]


def test_closing_a_loop_with_tasks_that_never_began(make_loop, reports):
    loop = make_loop()
    coroutine = asyncio.sleep(0)
    loop.create_task(coroutine, name="T")
    loop.close()
    gc.collect()
    assert reports.messages() == ["Task was destroyed but it is pending!"]
    coroutine.close()


def test_a_coroutine_of_a_task_that_never_began_is_warned_of(make_loop, reports, recwarn):
    loop = make_loop()
    loop.create_task(waits(None))
    with pytest.warns(RuntimeWarning, match="coroutine 'waits' was never awaited"):
        loop.close()
        gc.collect()
        assert reports.messages() == ["Task was destroyed but it is pending!"]


def test_finally_blocks_of_a_task_that_dies(loop, reports):
    """The coroutine is closed as its task is freed."""
    events = []

    async def coroutine():
        try:
            await loop.create_future()
        finally:
            events.append("finally")

    loop.create_task(coroutine())
    run_turn(loop)
    gc.collect()
    reports.take()
    gc.collect()
    assert events == ["finally"]


def test_many_pending_tasks_that_hold_each_other(loop, reports):
    tasks = []

    async def waits_for_next(index):
        await loop.create_future()
        return tasks[(index + 1) % 10]

    tasks += [loop.create_task(waits_for_next(index)) for index in range(10)]
    run_turn(loop)
    tasks.clear()
    gc.collect()
    assert reports.messages() == ["Task was destroyed but it is pending!"] * 10


def test_the_default_handler_logs_it(loop, logged):
    loop.set_exception_handler(None)
    loop.create_task(fails(), name="T")
    run_until_idle(loop)
    gc.collect()
    (text,) = logged.texts()
    lines = text.splitlines()
    assert lines[0] == "Task exception was never retrieved"
    assert lines[1].startswith("future: <Task finished name='T' coro=<fails() done")
    assert lines[1].endswith("exception=ZeroDivisionError('on purpose')>")
    assert lines[2] == "Traceback (most recent call last):"
    assert lines[-1] == "ZeroDivisionError: on purpose"


def test_run_until_complete_forgives_what_it_raises(loop):
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(fails())
    gc.collect()


def test_a_handler_that_uses_the_loop(loop):
    """It is called from a finalizer, in the middle of whatever dropped the task."""
    seen = []

    def handler(loop, context):
        loop.call_soon(seen.append, context["message"])
        loop.call_later(0, seen.append, "timer")
        gc.collect()

    loop.set_exception_handler(handler)
    loop.create_task(fails())
    run_until_idle(loop)
    gc.collect()
    run_turns(loop, 3)
    assert sorted(seen) == ["Task exception was never retrieved", "timer"]


def test_a_handler_that_lists_all_tasks(loop):
    """The task that dies is in nobody's list any more, or a whole task in one."""
    seen = []

    def handler(loop, context):
        seen.append(len(asyncio.all_tasks(loop)))

    loop.set_exception_handler(handler)
    for _ in range(10):
        loop.create_task(waits(loop.create_future()))
    run_turn(loop)
    gc.collect()
    assert len(seen) == 10
