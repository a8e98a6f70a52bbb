"""``gather``: the future it returns, which can be cancelled and keeps nothing too long."""

import asyncio
import contextlib
import gc
import inspect
import os
import sys
import weakref

import pytest

import ferrio
from awaitables import raises, returns
from turns import run_turns, run_until_idle
from watch import collecting_all_the_time

pytest_plugins = ["library_fixtures"]


class TestFuture:
    """What ``gather`` returns."""

    def test_what_it_is(self, library, loop):
        future = loop.create_future()
        gathered = library.gather(future)
        assert isinstance(gathered, asyncio.Future)
        assert isinstance(gathered, asyncio.tasks._GatheringFuture)
        assert asyncio.isfuture(gathered)
        assert inspect.isawaitable(gathered)
        assert isinstance(gathered, ferrio.Future) is (library is ferrio)
        assert repr(gathered) == "<_GatheringFuture pending>"
        assert gathered._children == [future]
        assert gathered._cancel_requested is False
        assert "gather.<locals>._done_callback()" in repr(future)
        future.set_result(1)
        run_until_idle(loop)
        assert repr(gathered) == "<_GatheringFuture finished result=[1]>"

    def test_cancelled(self, library, loop):
        futures = [loop.create_future() for _ in range(3)]
        futures[0].set_result(None)
        gathered = library.gather(*futures)
        assert gathered.cancel("why")
        assert gathered._cancel_requested
        assert not gathered.done()
        assert [each.cancelled() for each in futures] == [False, True, True]
        with pytest.raises(asyncio.CancelledError, match="why"):
            loop.run_until_complete(gathered)
        assert not gathered.cancelled()
        assert not gathered.cancel()

    def test_cancelled_with_exceptions_as_results(self, library, loop):
        futures = [loop.create_future() for _ in range(2)]
        gathered = library.gather(*futures, return_exceptions=True)
        assert gathered.cancel(msg="why")
        with pytest.raises(asyncio.CancelledError, match="why"):
            loop.run_until_complete(gathered)

    def test_cancelled_when_children_are_done(self, library, loop):
        future = loop.create_future()
        gathered = library.gather(future)
        future.set_result(1)
        assert not gathered.cancel()
        assert loop.run_until_complete(gathered) == [1]

    def test_children_that_ignore_the_cancellation(self, library, loop):
        async def stubborn():
            try:
                await loop.create_future()
            except asyncio.CancelledError:
                return "stayed"

        async def main():
            gathered = library.gather(stubborn(), stubborn(), return_exceptions=True)
            await asyncio.sleep(0)
            gathered.cancel()
            with pytest.raises(asyncio.CancelledError):
                await gathered

        loop.run_until_complete(main())

    def test_every_repetition_is_cancelled(self, library, loop):
        async def main():
            task = loop.create_task(returns(1, 5))
            gathered = library.gather(task, task)
            await asyncio.sleep(0)
            gathered.cancel()
            assert task.cancelling() == 2
            with pytest.raises(asyncio.CancelledError):
                await gathered

        loop.run_until_complete(main())

    def test_the_task_that_waits_is_cancelled(self, library, loop):
        async def main():
            future = loop.create_future()

            async def waits():
                await library.gather(library.gather(future), returns(1, 9))

            task = loop.create_task(waits())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why"):
                await task
            assert future.cancelled()

        loop.run_until_complete(main())

    def test_an_overridden_cancel_is_called(self, library, loop, implementation):
        cancelled = []

        class MyTask(implementation.Task):
            def cancel(self, msg=None):
                cancelled.append(msg)
                return super().cancel(msg=msg)

        async def main():
            gathered = library.gather(MyTask(returns(1, 9), loop=loop))
            gathered.cancel("why")
            with pytest.raises(asyncio.CancelledError):
                await gathered

        loop.run_until_complete(main())
        assert cancelled == ["why"]

    def test_a_deep_nest(self, library, loop):
        future = loop.create_future()
        gathered = library.gather(future)
        for _ in range(100):
            gathered = library.gather(gathered)
        assert gathered.cancel()
        assert future.cancelled()
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(gathered)

    @pytest.mark.skipif(
        "asan" in os.environ.get("LD_PRELOAD", ""),
        reason="the sanitizer's frames are too large for the interpreter's limit of calls",
    )
    def test_cancelling_a_nest_without_bottom(self, library, loop):
        future = loop.create_future()
        gathered = library.gather(future)
        depth = 10 * sys.getrecursionlimit()
        if sys.version_info >= (3, 14):
            # What bounds native calls there is the size of the stack.
            depth = 300_000 if library is ferrio else 100_000
        for _ in range(depth):
            gathered = library.gather(gathered)
        with pytest.raises(RecursionError):
            gathered.cancel()
        future.set_result(1)
        run_until_idle(loop, turns=1_000_000)
        assert gathered.done()

    @pytest.mark.skipif(
        "FERRIO_TEST_GC_THRESHOLD" in os.environ, reason="the tasks are collected at once"
    )
    def test_tasks_of_coroutines_may_be_abandoned(self, library, loop, reports):
        async def main():
            library.gather(asyncio.Event().wait())
            await asyncio.sleep(0)

        loop.run_until_complete(main())
        for task in asyncio.all_tasks(loop):
            assert not task._log_destroy_pending
            task.cancel()
        del task
        run_turns(loop, 3)
        gc.collect()
        assert reports.messages() == ["_GatheringFuture exception was never retrieved"]

    def test_any_task_waits_for_it(self, library, loop):
        async def main():
            return await library.gather(returns(1), returns(2))

        for task_class in (asyncio.Task, ferrio.Task, asyncio.tasks._PyTask):
            assert loop.run_until_complete(task_class(main(), loop=loop)) == [1, 2]

    def test_asyncios_functions_take_it(self, library, loop):
        async def main():
            gathered = library.gather(returns(1, 3))
            done, _ = await asyncio.wait([gathered])
            assert done == {gathered}
            assert await asyncio.shield(gathered) == [1]
            assert await asyncio.wait_for(library.gather(returns(2)), 60) == [2]
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(library.gather(loop.create_future()), 0.0001)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.0001):
                    await library.gather(loop.create_future())

        loop.run_until_complete(main())


class TestMemory:
    """Nothing is kept longer than asyncio keeps it."""

    def test_cycles_are_collected(self, library, loop):
        class Value:
            pass

        def cycle():
            value = Value()
            value.future = loop.create_future()
            value.gathered = library.gather(value.future, loop.create_future())
            value.future.set_result(value)
            return weakref.ref(value)

        reference = cycle()
        run_until_idle(loop)
        gc.collect()
        assert reference() is None

    def test_a_cycle_through_the_pending_children(self, library, loop):
        future = loop.create_future()
        future.add_done_callback(library.gather(future).add_done_callback)
        reference = weakref.ref(future)
        del future
        gc.collect()
        assert reference() is None

    def test_results_go_with_it(self, library, loop):
        class Value:
            pass

        async def main():
            reference = weakref.ref((await library.gather(returns(Value())))[0])
            await asyncio.sleep(0)
            return reference

        reference = loop.run_until_complete(main())
        run_until_idle(loop)
        assert reference() is None

    def test_references_balance(self, library, loop):
        value = object()

        async def main():
            await library.gather(*[returns(value) for _ in range(50)])
            await library.gather(*[raises(KeyError(value)) for _ in range(50)], return_exceptions=1)

        loop.run_until_complete(main())
        run_until_idle(loop)
        gc.collect()
        before = sys.getrefcount(value)
        for _ in range(3):
            loop.run_until_complete(main())
        run_until_idle(loop)
        gc.collect()
        assert sys.getrefcount(value) == before

    def test_with_the_collector_at_every_allocation(self, library, loop):
        async def main():
            assert await library.gather(*[returns(n, n % 2) for n in range(20)]) == [*range(20)]
            with contextlib.suppress(KeyError):
                await library.gather(raises(KeyError()), returns(1, 2))
            gathered = library.gather(loop.create_future(), library.gather(returns(1, 5)))
            await asyncio.sleep(0)
            gathered.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await gathered

        with collecting_all_the_time():
            loop.run_until_complete(main())
            run_until_idle(loop)
