"""``TaskGroup``: asyncio's and the native one alike."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import pickle
import sys
import weakref

import pytest

import ferrio
from watch import collecting_all_the_time

pytest_plugins = ["library_fixtures"]

# Since 3.13 a group that raises leaves the number of requests to cancel its parent as it was, and
# has the parent cancelled anew if there are any.
KEEPS_CANCEL_COUNT = (
    "cancelling"
    in getattr(asyncio.TaskGroup, "_aexit", asyncio.TaskGroup.__aexit__).__code__.co_names
)


async def returning(value):
    await asyncio.sleep(0)
    return value


async def raising(error):
    await asyncio.sleep(0)
    raise error


async def waiting():
    await asyncio.sleep(1000)


def test_identity(library):
    class Derived(library.TaskGroup):
        pass

    for made in (library.TaskGroup(), Derived()):
        assert isinstance(made, asyncio.TaskGroup)
        assert isinstance(made, library.TaskGroup)
        assert weakref.ref(made)() is made
        made.anything = 1
        assert made.__dict__["anything"] == 1
    assert Derived().__class__.__name__ == "Derived"
    with pytest.raises(TypeError):
        library.TaskGroup(1)


def test_signatures_are_asyncios():
    for name in ("create_task", "__aenter__", "__aexit__"):
        native, original = getattr(ferrio.TaskGroup, name), getattr(asyncio.TaskGroup, name)
        assert inspect.signature(native) == inspect.signature(original)
        assert native.__name__ == original.__name__
        assert inspect.iscoroutinefunction(native) == inspect.iscoroutinefunction(original)


def test_all_tasks_end_before_the_block(library, run):
    async def main():
        async with library.TaskGroup() as group:
            tasks = [group.create_task(returning(number)) for number in range(10)]
            assert group._tasks == set(tasks)
            assert repr(group) == "<TaskGroup tasks=10 entered>"
        assert [task.result() for task in tasks] == list(range(10))
        assert group._tasks == set()
        assert repr(group) == "<TaskGroup entered>"
        async with library.TaskGroup():
            pass

    run(main())


def test_tasks_are_made_by_tasks(library, run):
    order = []

    async def main():
        async with library.TaskGroup() as group:

            async def first():
                order.append(1)
                await asyncio.sleep(0)
                group.create_task(second())

            async def second():
                await asyncio.sleep(0)
                order.append(2)

            group.create_task(first())
        order.append(3)

    run(main())
    assert order == [1, 2, 3]


def test_names_and_contexts(library, run):
    variable = contextvars.ContextVar("variable", default=1)
    context = contextvars.copy_context()
    context.run(variable.set, 2)

    async def read():
        return variable.get()

    async def main():
        async with library.TaskGroup() as group:
            plain = group.create_task(read())
            named = group.create_task(read(), name="it")
            both = group.create_task(read(), name="both", context=context)
            alone = group.create_task(coro=read(), context=context)
            nothing = group.create_task(read(), name=None, context=None)
        assert plain.get_name().startswith("Task-")
        assert nothing.get_name().startswith("Task-")
        assert (named.get_name(), both.get_name()) == ("it", "both")
        values = [task.result() for task in (plain, named, both, alone, nothing)]
        assert values == [1, 1, 2, 2, 1]
        with pytest.raises(TypeError):
            async with library.TaskGroup() as group:
                coroutine = read()
                try:
                    group.create_task(coroutine, unknown=1)
                finally:
                    coroutine.close()

    with contextlib.suppress(BaseExceptionGroup):
        run(main())


def test_a_failure_cancels_the_others_and_the_block(library, run):
    async def main():
        task = asyncio.current_task()
        with pytest.raises(ExceptionGroup) as caught:
            async with library.TaskGroup() as group:
                other = group.create_task(waiting())
                failing = group.create_task(raising(KeyError("it")))
                await asyncio.sleep(1000)
        assert str(caught.value) == "unhandled errors in a TaskGroup (1 sub-exception)"
        assert [repr(error) for error in caught.value.exceptions] == ["KeyError('it')"]
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
        assert type(caught.value.__context__) is asyncio.CancelledError
        assert other.cancelled()
        assert failing.done()
        assert group._errors is None
        assert group._parent_cancel_requested
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    run(main())


def test_a_failure_at_the_end_of_the_block(library, run):
    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with library.TaskGroup() as group:
                group.create_task(raising(KeyError()))
                group.create_task(raising(OSError()))
                group.create_task(waiting())
        assert [type(error) for error in caught.value.exceptions] == [KeyError, OSError]
        assert asyncio.current_task().cancelling() == (0 if KEEPS_CANCEL_COUNT else 1)

    run(main())


def test_the_blocks_own_exception(library, run):
    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with library.TaskGroup() as group:
                task = group.create_task(waiting())
                await asyncio.sleep(0)
                raise KeyError
        assert task.cancelled()
        assert [type(error) for error in caught.value.exceptions] == [KeyError]

        async def fail_when_cancelled():
            try:
                await asyncio.sleep(1000)
            finally:
                raise OSError

        with pytest.raises(ExceptionGroup) as caught:
            async with library.TaskGroup() as group:
                group.create_task(fail_when_cancelled())
                await asyncio.sleep(0)
                raise KeyError
        assert [type(error) for error in caught.value.exceptions] == [OSError, KeyError]

    run(main())


def test_a_cancelled_task_is_no_failure(library, run):
    async def main():
        async with library.TaskGroup() as group:
            task = group.create_task(waiting())
            other = group.create_task(returning(1))
            await asyncio.sleep(0)
            task.cancel()
        assert task.cancelled()
        assert other.result() == 1

    run(main())


@pytest.mark.parametrize("in_block", [False, True])
def test_cancelled_from_outside(library, loop, task_class, in_block):
    tasks = []

    async def main():
        async with library.TaskGroup() as group:
            tasks.append(group.create_task(waiting()))
            if in_block:
                await asyncio.sleep(1000)

    task = task_class(main(), loop=loop)
    loop.call_later(0.001, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert tasks[0].cancelled()
    assert task.cancelling() == 1


def test_cancelled_from_outside_again_and_again(library, loop, task_class):
    async def stubborn():
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0.005)

    async def main():
        async with library.TaskGroup() as group:
            group.create_task(stubborn())

    task = task_class(main(), loop=loop)
    for delay in (0.001, 0.002, 0.003):
        loop.call_later(delay, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_failures_go_before_a_cancellation_from_outside(library, loop, task_class):
    counts = []

    async def fail_when_cancelled():
        try:
            await asyncio.sleep(1000)
        finally:
            raise KeyError

    async def main():
        with pytest.raises(ExceptionGroup):
            async with library.TaskGroup() as group:
                group.create_task(fail_when_cancelled())
        counts.append(asyncio.current_task().cancelling())
        try:
            await asyncio.sleep(0)
        except asyncio.CancelledError:
            counts.append("cancelled")

    task = task_class(main(), loop=loop)
    loop.call_later(0.001, task.cancel)
    loop.run_until_complete(task)
    # The request was somebody else's.
    assert counts == ([1, "cancelled"] if KEEPS_CANCEL_COUNT else [1])


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
@pytest.mark.parametrize("where", ["block", "task"])
def test_what_ends_the_program_goes_before_all(library, loop, task_class, error, where):
    ends = []

    async def main():
        try:
            async with library.TaskGroup() as group:
                group.create_task(raising(OSError()))
                if where == "task":
                    group.create_task(raising(error()))
                    await asyncio.sleep(1000)
                await asyncio.sleep(0)
                raise error
        except BaseException as caught:
            ends.append(type(caught))
            raise

    task = task_class(main(), loop=loop)
    with pytest.raises(error):
        loop.run_until_complete(task)
    if not task.done():
        with pytest.raises(error):
            loop.run_until_complete(task)
    assert ends == [error]


def test_misuse(library, run):
    async def main():
        group = library.TaskGroup()
        coroutine = returning(1)
        with pytest.raises(RuntimeError, match=r"TaskGroup <TaskGroup> has not been entered"):
            group.create_task(coroutine)
        coroutine.close()
        async with group:
            with pytest.raises(
                RuntimeError, match=r"TaskGroup <TaskGroup entered> has already been entered"
            ):
                await group.__aenter__()
        coroutine = returning(1)
        with pytest.raises(RuntimeError, match=r"TaskGroup <TaskGroup entered> is finished"):
            group.create_task(coroutine)
        coroutine.close()
        with pytest.raises(KeyError):
            try:
                async with library.TaskGroup() as group:
                    group.create_task(waiting())
                    await asyncio.sleep(0)
                    group._abort()
                    coroutine = returning(1)
                    with pytest.raises(
                        RuntimeError, match=r"<TaskGroup tasks=1 cancelling> is shutting down"
                    ):
                        group.create_task(coroutine)
                    coroutine.close()
                    raise KeyError
            except ExceptionGroup as caught:
                raise caught.exceptions[0] from None

    run(main())


@pytest.mark.skipif(
    "close" not in asyncio.TaskGroup.create_task.__code__.co_names, reason="since 3.13"
)
def test_what_is_refused_is_closed(library, recwarn):
    coroutine = returning(1)
    with pytest.raises(RuntimeError, match="has not been entered"):
        library.TaskGroup().create_task(coroutine)
    del coroutine
    gc.collect()
    assert not recwarn.list


def test_outside_a_task(library, loop):
    failures = []
    group = library.TaskGroup()

    def enter():
        try:
            group.__aenter__().send(None)
        except RuntimeError as error:
            failures.append(str(error))

    enter()
    loop.call_soon(enter)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert failures == [
        "no running event loop",
        "TaskGroup <TaskGroup> cannot determine the parent task",
    ]


def test_a_subclass_keeps_its_methods(library, run):
    calls = []

    class Mine(library.TaskGroup):
        def _on_task_done(self, task):
            calls.append("done")
            super()._on_task_done(task)

        def _abort(self):
            calls.append("abort")
            super()._abort()

        def _is_base_error(self, exception):
            calls.append(type(exception))
            return super()._is_base_error(exception)

    async def main():
        with pytest.raises(ExceptionGroup):
            async with Mine() as group:
                group.create_task(raising(KeyError()))
                group.create_task(waiting())

    run(main())
    assert calls == ["done", KeyError, "abort", "done"]


def test_the_task_factory_makes_the_tasks(library, loop, task_class):
    made = []

    def factory(loop, coroutine, **keywords):
        task = task_class(coroutine, loop=loop, **keywords)
        made.append(task)
        return task

    async def main():
        async with library.TaskGroup() as group:
            tasks = [group.create_task(returning(1)), group.create_task(returning(2), name="x")]
        assert made[-2:] == tasks
        assert tasks[1].get_name() == "x"

    loop.set_task_factory(factory)
    loop.run_until_complete(main())


def test_the_loops_own_create_task_is_called_where_somebody_has_replaced_it(library):
    calls = []

    class Loop(ferrio.EventLoop):
        def create_task(self, coroutine, **keywords):
            calls.append(sorted(keywords))
            return super().create_task(coroutine, **keywords)

    async def main():
        calls.clear()
        async with library.TaskGroup() as group:
            group.create_task(returning(1))
        return list(calls)

    loop = Loop()
    try:
        passed = ["name"] if (3, 13) <= sys.version_info < (3, 14) else []
        assert loop.run_until_complete(main()) == [passed]
    finally:
        loop.close()


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_eager_tasks(library, loop, task_class):
    async def at_once(value):
        return value

    async def fail_at_once():
        raise KeyError

    async def main():
        async with library.TaskGroup() as group:
            done = group.create_task(at_once(1))
            assert done.done()
            later = group.create_task(returning(2))
            assert not later.done()
        assert (done.result(), later.result()) == (1, 2)
        with pytest.raises(ExceptionGroup):
            async with library.TaskGroup() as group:
                group.create_task(fail_at_once())
                await asyncio.sleep(1000)

    loop.set_task_factory(asyncio.create_eager_task_factory(task_class))
    loop.run_until_complete(main())


def test_timeouts_around_and_within(library, run):
    async def main():
        with pytest.raises(TimeoutError):
            async with library.timeout(0.001), library.TaskGroup() as group:
                task = group.create_task(waiting())
        assert task.cancelled()
        with pytest.raises(ExceptionGroup) as caught:
            async with library.TaskGroup() as group, library.timeout(0.001):
                group.create_task(waiting())
                await asyncio.sleep(1000)
        assert [type(error) for error in caught.value.exceptions] == [TimeoutError]
        assert asyncio.current_task().cancelling() == 0

    run(main())


def test_pickled(library):
    copy = pickle.loads(pickle.dumps(library.TaskGroup()))
    assert isinstance(copy, library.TaskGroup)
    assert repr(copy) == "<TaskGroup>"
    assert copy._errors == []


def test_a_cycle_is_collected(library, run):
    async def main():
        group = library.TaskGroup()
        group.itself = group
        async with group:
            group.create_task(returning(1))
        return weakref.ref(group)

    reference = run(main())
    gc.collect()
    assert reference() is None


def test_nothing_is_kept(library, run):
    """Neither the group nor its tasks outlive the block."""

    async def main():
        references = []
        async with library.TaskGroup() as group:
            references.append(weakref.ref(group))
            for number in range(3):
                references.append(weakref.ref(group.create_task(returning(number))))
        with contextlib.suppress(ExceptionGroup):
            async with library.TaskGroup() as group:
                references.append(weakref.ref(group))
                references.append(weakref.ref(group.create_task(raising(KeyError()))))
                references.append(weakref.ref(group.create_task(waiting())))
        del group
        return references

    references = run(main())
    gc.collect()
    assert [reference() for reference in references] == [None] * len(references)


def test_a_group_is_freed_without_the_collector(library, run):
    async def main():
        group = library.TaskGroup()
        async with group:
            group.create_task(returning(1))
        return weakref.ref(group)

    gc.disable()
    try:
        assert run(main())() is None
    finally:
        gc.enable()


def test_collecting_all_the_time(library, run):
    async def main():
        for _ in range(3):
            async with library.TaskGroup() as group:
                for number in range(5):
                    group.create_task(returning(number))
            with contextlib.suppress(ExceptionGroup):
                async with library.TaskGroup() as group:
                    group.create_task(raising(KeyError()))
                    group.create_task(waiting())

    with collecting_all_the_time():
        run(main())


def test_left_halfway(library, loop, task_class, recwarn):
    """A block that is closed where it waits for its tasks."""

    async def main():
        async with library.TaskGroup() as group:
            group.create_task(waiting())

    coroutine = main()
    task = task_class(coroutine, loop=loop)
    loop.call_later(0.001, loop.stop)
    loop.run_forever()
    for child in asyncio.all_tasks(loop) - {task}:
        child.cancel()
    loop.run_until_complete(task)
    assert task.done()
    coroutine.close()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="call graphs came with 3.14")
def test_its_parent_awaits_its_tasks(library, run, task_class, implementation):
    if task_class is ferrio.Task and not implementation.is_ferrio:
        pytest.skip("asyncio's tasks do not note that one of ferrio's awaits them (DESIGN)")

    async def main():
        async with library.TaskGroup() as group:
            task = group.create_task(returning(1))
            graph = asyncio.capture_call_graph(task)
            assert [entry.future for entry in graph.awaited_by] == [asyncio.current_task()]
        graph = asyncio.capture_call_graph(task)
        assert not graph.awaited_by

    run(main())


@pytest.mark.skipif(
    sys.version_info < (3, 14), reason="since 3.14 any keyword is the loop's matter"
)
def test_every_argument_by_name(library, run):
    async def main():
        began = []

        async def work():
            began.append(True)
            return "done"

        async with library.TaskGroup() as group:
            eager = group.create_task(coro=work(), eager_start=True)
            assert began == [True]
            lazy = group.create_task(name="lazy", coro=work(), eager_start=False)
            assert began == [True]
            coroutine = work()
            with pytest.raises(TypeError):
                group.create_task(coroutine, coro=coroutine)
            coroutine.close()
            with pytest.raises(TypeError):
                group.create_task(eager_start=True)
        assert lazy.get_name() == "lazy"
        return eager.result(), lazy.result()

    assert run(main()) == ("done", "done")
