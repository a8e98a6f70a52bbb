"""Eager tasks (3.12 and later): the first step is made where the task is created."""

import asyncio
import contextvars
import gc
import sys
import weakref

import pytest

from turns import run_turn, run_turns, run_until_idle

pytestmark = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="asyncio has eager tasks from 3.12"
)

variable = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def eager_loop(loop, implementation):
    loop.set_task_factory(asyncio.create_eager_task_factory(implementation.Task))
    return loop


async def give(value):
    return value


def run(loop, function):
    """Call a function in a running loop, and return its result."""
    outcome = []

    async def main():
        return function()

    loop.set_task_factory, factory = loop.set_task_factory, loop.get_task_factory()
    loop.set_task_factory(None)
    task = loop.create_task(main())
    loop.set_task_factory(factory)
    outcome.append(loop.run_until_complete(task))
    return outcome[0]


def test_a_coroutine_that_does_not_wait_is_done_at_once(eager_loop):
    def create():
        task = eager_loop.create_task(give("result"))
        assert task.done()
        assert task not in asyncio.all_tasks(eager_loop)
        return task.result()

    assert run(eager_loop, create) == "result"


def test_a_coroutine_that_waits_becomes_a_task_like_others(eager_loop):
    events = []

    async def waits():
        events.append("first step")
        await asyncio.sleep(0)
        events.append("second step")
        return "result"

    async def main():
        task = asyncio.create_task(waits())
        events.append("created")
        assert not task.done()
        assert task in asyncio.all_tasks()
        return await task

    assert eager_loop.run_until_complete(main()) == "result"
    assert events == ["first step", "created", "second step"]


def test_current_task_is_the_eager_one_and_then_the_creator_again(eager_loop):
    seen = []

    async def eager(name):
        seen.append((name, asyncio.current_task()))

    async def nested():
        task = asyncio.create_task(eager("inner"))
        seen.append(("middle", asyncio.current_task()))
        return task

    async def main():
        outer = asyncio.current_task()
        task = asyncio.create_task(nested())
        assert asyncio.current_task() is outer
        inner = task.result()
        return outer, task, inner

    outer, middle, inner = eager_loop.run_until_complete(main())
    assert seen == [("inner", inner), ("middle", middle)]
    assert asyncio.current_task(eager_loop) is None


def test_an_exception_in_the_first_step(eager_loop):
    async def fails():
        raise ZeroDivisionError("on purpose")

    def create():
        task = eager_loop.create_task(fails())
        assert task.done()
        return task.exception()

    assert isinstance(run(eager_loop, create), ZeroDivisionError)


def test_an_exception_that_nobody_retrieves(eager_loop, reports):
    async def fails():
        raise ZeroDivisionError

    def create():
        eager_loop.create_task(fails())

    run(eager_loop, create)
    gc.collect()
    assert reports.messages() == ["Task exception was never retrieved"]


def test_cancelled_in_the_first_step(eager_loop):
    async def cancels():
        raise asyncio.CancelledError("message")

    def create():
        task = eager_loop.create_task(cancels())
        return task.cancelled()

    assert run(eager_loop, create)


def test_cancel_itself_in_the_first_step(eager_loop):
    events = []

    async def cancels():
        asyncio.current_task().cancel("by myself")
        events.append("still running")
        await asyncio.sleep(0)
        events.append("never")

    async def main():
        task = asyncio.create_task(cancels())
        with pytest.raises(asyncio.CancelledError):
            await task

    eager_loop.run_until_complete(main())
    assert events == ["still running"]


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_what_leaves_the_loop_leaves_the_creation_too(eager_loop, error, reports):
    async def interrupts():
        raise error

    events = []

    async def main():
        try:
            asyncio.create_task(interrupts())
        except error:
            events.append("raised where it was created")
            raise

    with pytest.raises(error):
        eager_loop.run_until_complete(main())
    assert events == ["raised where it was created"]
    assert asyncio.current_task(eager_loop) is None
    gc.collect()
    # The creator got the exception, but the task could not be asked for it.
    assert reports.messages() == ["Task exception was never retrieved"]


def test_the_first_step_runs_in_the_tasks_context(eager_loop):
    seen = []

    async def eager():
        seen.append(variable.get())
        variable.set("set by the eager task")

    def create():
        token = variable.set("of the creator")
        eager_loop.create_task(eager())
        seen.append(variable.get())
        context = contextvars.Context()
        context.run(variable.set, "given")
        eager_loop.create_task(eager(), context=context)
        seen.append(context[variable])
        variable.reset(token)

    run(eager_loop, create)
    assert seen == ["of the creator", "of the creator", "given", "set by the eager task"]


def test_with_a_name(eager_loop):
    names = []

    async def eager():
        names.append(asyncio.current_task().get_name())

    def create():
        task = eager_loop.create_task(eager(), name="a name")
        names.append(task.get_name())

    run(eager_loop, create)
    assert names[-1] == "a name"


def test_before_the_loop_runs_nothing_is_eager(eager_loop):
    events = []

    async def coroutine():
        events.append("first step")

    task = eager_loop.create_task(coroutine())
    assert events == []
    assert not task.done()
    run_turn(eager_loop)
    assert events == ["first step"]


def test_callbacks_of_a_task_that_was_done_at_once(eager_loop):
    calls = []

    def create():
        task = eager_loop.create_task(give("result"))
        task.add_done_callback(calls.append)
        assert calls == []
        return task

    task = run(eager_loop, create)
    run_turn(eager_loop)
    assert calls == [task]


def test_the_coroutine_of_a_task_that_was_done_at_once(eager_loop, implementation):
    if sys.version_info < (3, 12, 2) and not implementation.is_ferrio:
        pytest.skip("this release crashes when it is asked for the coroutine")

    def create():
        task = eager_loop.create_task(give("result"))
        assert "Task finished" in repr(task)
        assert task.get_stack() == []
        return task.get_coro()

    assert run(eager_loop, create) is None


def test_locals_of_a_task_that_was_done_at_once_are_freed(eager_loop):
    class Local:
        pass

    async def eager(local):
        return None

    def create():
        local = Local()
        reference = weakref.ref(local)
        task = eager_loop.create_task(eager(local))
        del local
        return task, reference

    _task, reference = run(eager_loop, create)
    assert reference() is None


def test_eager_start_of_the_class(loop, implementation):
    def create():
        eager = implementation.Task(give("eager"), loop=loop, eager_start=True)
        lazy = implementation.Task(give("lazy"), loop=loop, eager_start=False)
        assert eager.done()
        assert not lazy.done()
        return lazy

    run(loop, create)
    run_turns(loop, 2)


def test_eager_start_without_a_running_loop(loop, implementation):
    task = implementation.Task(give("result"), loop=loop, eager_start=True)
    assert not task.done()
    assert loop.run_until_complete(task) == "result"


@pytest.mark.skipif(sys.version_info < (3, 14), reason="create_task takes any keyword from 3.14")
@pytest.mark.parametrize("ask", ["loop", "asyncio"])
def test_keywords_of_create_task(loop, implementation, ask):
    create_task = {"loop": loop.create_task, "asyncio": asyncio.create_task}[ask]
    handed_on = []

    def make(loop, coroutine, **keywords):
        handed_on.append(keywords)
        return implementation.Task(coroutine, loop=loop, **keywords)

    async def main():
        eager = create_task(give("eager"), eager_start=True, name="early")
        lazy = create_task(give("lazy"), eager_start=False)
        assert (eager.done(), eager.get_name(), lazy.done()) == (True, "early", False)
        await lazy
        coroutine = give("nothing")
        with pytest.raises(TypeError, match="unexpected keyword argument 'unknown'"):
            create_task(coroutine, unknown=1)
        coroutine.close()
        loop.set_task_factory(make)
        context = contextvars.copy_context()
        await create_task(give(1), eager_start=False, name="made", context=context)
        assert handed_on == [{"eager_start": False, "name": "made", "context": context}]
        loop.set_task_factory(asyncio.create_eager_task_factory(implementation.Task))
        lazy = create_task(give("lazy"), eager_start=False)
        assert not lazy.done()
        await lazy

    loop.run_until_complete(main())


def test_task_group_and_gather_and_wait(eager_loop):
    async def waits(value):
        await asyncio.sleep(0)
        return value

    async def main():
        async with asyncio.TaskGroup() as group:
            first = group.create_task(give(1))
            second = group.create_task(waits(2))
        gathered = await asyncio.gather(give(3), waits(4))
        done, pending = await asyncio.wait(
            [asyncio.create_task(give(5)), asyncio.create_task(waits(6))]
        )
        assert not pending
        waited = await asyncio.wait_for(waits(7), 1000)
        return [
            first.result(),
            second.result(),
            *gathered,
            *sorted(task.result() for task in done),
            waited,
        ]

    assert eager_loop.run_until_complete(main()) == [1, 2, 3, 4, 5, 6, 7]


def test_deep_eager_creation(eager_loop):
    async def nested(level):
        if level:
            return await asyncio.create_task(nested(level - 1)) + 1
        return 0

    assert eager_loop.run_until_complete(nested(50)) == 50


def test_a_bad_yield_in_the_first_step(eager_loop):
    class Yields:
        def __await__(self):
            yield 42

    async def bad():
        await Yields()

    async def main():
        task = asyncio.create_task(bad())
        with pytest.raises(RuntimeError, match="Task got bad yield"):
            await task

    eager_loop.run_until_complete(main())


def test_a_wait_for_a_done_future_in_the_first_step(eager_loop):
    async def waits():
        future = eager_loop.create_future()
        future.set_result("result")
        return await future

    assert run(eager_loop, lambda: eager_loop.create_task(waits()).result()) == "result"


def test_a_context_that_cannot_be_entered(eager_loop, implementation, reports, logged):
    """The creator is within the context already, so that entering it again is an error."""
    if not implementation.is_ferrio:
        pytest.skip("asyncio leaves the task that could not begin as the current one")
    coroutine = give("never")

    async def main():
        context = contextvars.copy_context()
        return context.run(create, context)

    def create(context):
        with pytest.raises(RuntimeError, match="cannot enter context"):
            eager_loop.create_task(coroutine, context=context)

    eager_loop.run_until_complete(main())
    assert asyncio.current_task(eager_loop) is None
    coroutine.close()
    gc.collect()
    reports.take()
    logged.take()
    run_until_idle(eager_loop)
