"""``as_completed``: asyncio's and ferrio's, on either loop, are the same."""

import asyncio
import collections.abc
import gc
import inspect
import pickle
import sys
import types
import weakref

import pytest

import ferrio
from awaitables import raises, returns
from turns import run_turn, run_turns, run_until_idle
from watch import collecting_all_the_time

pytest_plugins = ["library_fixtures"]

BOTH_WAYS = sys.version_info >= (3, 13)


class TestPlainIteration:
    """``for coroutine in as_completed(...)``."""

    def test_in_the_order_of_completion(self, library, loop):
        async def main():
            awaitables = [returns(3, 6), returns(1, 2), returns(2, 4)]
            return [await each for each in library.as_completed(awaitables)]

        assert loop.run_until_complete(main()) == [1, 2, 3]

    def test_the_exception_of_each(self, library, loop):
        error = KeyError("k")

        async def main():
            seen = []
            cancelled = loop.create_future()
            cancelled.cancel("why")
            for each in library.as_completed([raises(error, 3), cancelled, returns(1, 6)]):
                try:
                    seen.append(await each)
                except (KeyError, asyncio.CancelledError) as caught:
                    seen.append(caught)
            assert (type(seen[0]), seen[0].args) == (asyncio.CancelledError, ("why",))
            assert seen[1] is error
            assert seen[2] == 1

        loop.run_until_complete(main())

    def test_nothing(self, library, loop):
        async def main():
            assert not list(library.as_completed([], timeout=5))

        loop.run_until_complete(main())

    def test_repetitions(self, library, loop):
        async def main():
            future = loop.create_future()
            future.set_result(1)
            return [await each for each in library.as_completed([future, future])]

        assert loop.run_until_complete(main()) == [1]

    def test_futures_of_every_kind(self, library, loop):
        class MyTask(ferrio.Task):
            pass

        async def main():
            futures = [asyncio.Future(), ferrio.Future(), asyncio.futures._PyFuture()]
            for number, future in enumerate(futures):
                loop.call_soon(future.set_result, number)
            awaitables = [*futures, MyTask(returns(3)), library.gather(returns(4)), returns(5)]
            results = [await each for each in library.as_completed(iter(awaitables))]
            return sorted(results, key=str)

        for task_class in (asyncio.Task, ferrio.Task, asyncio.tasks._PyTask):
            task = task_class(main(), loop=loop)
            assert loop.run_until_complete(task) == [0, 1, 2, 3, 5, [4]]

    def test_the_coroutines(self, library, loop):
        async def main():
            iterator = library.as_completed([loop.create_future()])
            coroutine = next(iterator)
            assert inspect.iscoroutine(coroutine)
            outer = "_AsCompletedIterator" if BOTH_WAYS else "as_completed.<locals>"
            assert coroutine.__name__ == "_wait_for_one"
            assert coroutine.__qualname__ == f"{outer}._wait_for_one"
            coroutine.close()
            with pytest.raises(StopIteration):
                next(iterator)
            with pytest.raises(StopIteration):
                next(iterator)

        loop.run_until_complete(main())

    def test_a_coroutine_that_is_not_awaited(self, library, loop):
        async def main():
            iterator = library.as_completed([loop.create_future()])
            with pytest.warns(RuntimeWarning, match=r"_wait_for_one' was never awaited"):
                next(iterator)
                gc.collect()

        loop.run_until_complete(main())

    def test_several_wait_at_once(self, library, loop):
        async def main():
            futures = [loop.create_future() for _ in range(3)]
            tasks = [loop.create_task(each) for each in library.as_completed(futures)]
            await asyncio.sleep(0)
            for number, future in enumerate(futures):
                future.set_result(number)
                for _ in range(3):
                    await asyncio.sleep(0)
            return [task.result() for task in tasks]

        assert loop.run_until_complete(main()) == [0, 1, 2]

    def test_a_wait_that_is_cancelled(self, library, loop):
        # Later versions of 3.14 give the item back.
        names = getattr(getattr(asyncio.tasks, "_AsCompletedIterator", None), "_wait_for_one", None)
        again = names is not None and "_todo_left" in names.__code__.co_names

        async def main():
            future = loop.create_future()
            iterator = library.as_completed([future])
            task = loop.create_task(next(iterator))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not future.done()
            future.set_result(1)
            return [await each for each in iterator]

        assert loop.run_until_complete(main()) == ([1] if again else [])


class TestTimeout:
    """``as_completed(..., timeout=seconds)``."""

    def test_what_is_late(self, library, clocked_loop):
        loop = clocked_loop
        futures = [loop.create_future() for _ in range(3)]
        seen = []

        async def main():
            for each in library.as_completed(futures, timeout=10):
                try:
                    seen.append(await each)
                except TimeoutError as caught:
                    seen.append(type(caught))
                    assert not caught.args

        task = loop.create_task(main())
        run_turn(loop)
        futures[1].set_result(1)
        run_turns(loop, 3)
        loop.advance(9)
        assert seen == [1]
        loop.advance(2)
        run_until_idle(loop)
        assert seen == [1, TimeoutError, TimeoutError]
        assert task.done()
        assert not [future for future in futures if future._callbacks]

    def test_the_timer_goes_with_the_last(self, library, loop):
        async def main():
            results = library.as_completed([returns(1), returns(2)], timeout=3600)
            return {await each for each in results}

        # The fixture complains of timers that are left.
        assert loop.run_until_complete(main()) == {1, 2}


class TestArguments:
    """What is refused, and when."""

    def test_one_awaitable(self, library, loop):
        expected = (
            "expects an iterable of awaitables, not "
            if BOTH_WAYS
            else "expect an iterable of futures, not "
        )

        async def main():
            coroutine, native = returns(1), ferrio.sleep(0)
            for awaitable, name in [
                (loop.create_future(), "Future"),
                (coroutine, "coroutine"),
                (native, "coroutine"),
            ]:
                with pytest.raises(TypeError, match=expected + name):
                    iter(library.as_completed(awaitable)).__next__()
            coroutine.close()
            native.close()

        loop.run_until_complete(main())

    def test_others(self, library, loop):
        async def main():
            with pytest.raises(TypeError, match="an awaitable is required"):
                next(library.as_completed([42]))
            with pytest.raises(TypeError, match="not iterable"):
                next(library.as_completed(42))
            with pytest.raises(TypeError):
                library.as_completed()
            with pytest.raises(TypeError):
                library.as_completed([], 5)

        loop.run_until_complete(main())

    def test_outside_of_a_loop(self, library, loop):
        asyncio.set_event_loop(loop)
        if sys.version_info >= (3, 14):
            with pytest.raises(RuntimeError, match="no running event loop"):
                library.as_completed([])
            return
        future = loop.create_future()
        future.set_result(1)
        coroutine = next(iter(library.as_completed([future])))
        assert loop.run_until_complete(coroutine) == 1

    def test_the_function(self, library):
        assert inspect.isgeneratorfunction(library.as_completed) is not BOTH_WAYS
        assert inspect.signature(ferrio.as_completed) == inspect.signature(asyncio.as_completed)
        assert pickle.loads(pickle.dumps(library.as_completed)) is library.as_completed


@pytest.mark.skipif(BOTH_WAYS, reason="a generator up to 3.12")
class TestGenerator:
    """Up to 3.12 it is a generator."""

    def test_what_it_is(self, library, loop):
        generator = library.as_completed([])
        assert isinstance(generator, types.GeneratorType)
        assert inspect.isgenerator(generator)
        assert not inspect.isawaitable(generator)
        assert isinstance(generator, collections.abc.Generator)
        assert iter(generator) is generator

    def test_it_looks_at_its_arguments_late(self, library, loop):
        asyncio.set_event_loop(loop)
        generator = library.as_completed(42)
        with pytest.raises(TypeError):
            next(generator)
        with pytest.raises(StopIteration):
            next(generator)

    def test_by_hand(self, library, loop):
        async def main():
            future = loop.create_future()
            future.set_result(1)
            generator = library.as_completed([future, loop.create_future()])
            with pytest.raises(TypeError, match="just-started generator"):
                generator.send(1)
            assert await generator.send(None) == 1
            with pytest.raises(KeyError):
                generator.throw(KeyError())
            with pytest.raises(StopIteration):
                next(generator)
            generator = library.as_completed([future])
            generator.close()
            with pytest.raises(StopIteration):
                next(generator)

        loop.run_until_complete(main())


@pytest.mark.skipif(not BOTH_WAYS, reason="asynchronous iteration came with 3.13")
class TestAsynchronousIteration:
    """``async for future in as_completed(...)``."""

    def test_the_futures_themselves(self, library, loop):
        async def main():
            first = loop.create_task(returns(1, 5))
            second = loop.create_task(returns(2, 2))
            seen = [each async for each in library.as_completed([first, second])]
            assert [each is task for each, task in zip(seen, [second, first], strict=True)]
            async for each in library.as_completed([returns(3)]):
                assert isinstance(each, asyncio.Task)
                assert await each == 3

        loop.run_until_complete(main())

    def test_what_it_is(self, library, loop):
        async def main():
            iterator = library.as_completed([loop.create_future()])
            assert isinstance(iterator, asyncio.tasks._AsCompletedIterator)
            assert isinstance(iterator, collections.abc.AsyncIterator)
            assert isinstance(iterator, collections.abc.Iterator)
            assert iter(iterator) is iterator
            assert aiter(iterator) is iterator
            assert iterator._todo_left == len(iterator._todo) == 1
            assert iterator._timeout_handle is None
            assert weakref.ref(iterator)() is iterator
            coroutine = iterator.__anext__()
            assert inspect.iscoroutine(coroutine)
            assert coroutine.__qualname__ == "_AsCompletedIterator.__anext__"
            coroutine.close()
            assert iterator._todo_left == 1

        loop.run_until_complete(main())

    def test_the_end(self, library, loop):
        async def main():
            iterator = library.as_completed([])
            with pytest.raises(StopAsyncIteration):
                await anext(iterator)
            assert await anext(iterator, "default") == "default"

        loop.run_until_complete(main())

    def test_a_timeout(self, library, loop):
        async def main():
            future = loop.create_future()
            with pytest.raises(TimeoutError):
                async for _ in library.as_completed([future], timeout=0.0001):
                    raise AssertionError("nothing is done")
            assert not future.done()

        loop.run_until_complete(main())

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio notes it from 3.14")
    def test_call_graph(self, library, loop):
        futures = [loop.create_future() for _ in range(2)]

        async def main():
            return [each async for each in library.as_completed(futures)]

        task = loop.create_task(main())
        run_turn(loop)
        assert [future._asyncio_awaited_by for future in futures] == [{task}] * 2
        futures[0].set_result(None)
        run_turn(loop)
        assert not futures[0]._asyncio_awaited_by
        futures[1].set_result(None)
        loop.run_until_complete(task)
        assert not futures[1]._asyncio_awaited_by


def test_debug_mode(library, loop):
    loop.set_debug(True)

    async def main():
        return [await each for each in library.as_completed([returns(2, 3), returns(1)])]

    assert loop.run_until_complete(main()) == [1, 2]


def test_garbage(library, loop):
    async def main():
        future = loop.create_future()
        iterator = library.as_completed([future])
        coroutine = next(iterator)
        coroutine.send(None)
        future.cycle = coroutine, iterator
        return weakref.ref(future)

    class MyFuture(asyncio.Future):
        pass

    loop.create_future = lambda: MyFuture(loop=loop)
    reference = loop.run_until_complete(main())
    run_until_idle(loop)
    del loop.create_future
    gc.collect()
    assert reference() is None


def test_with_the_collector_at_every_allocation(library, loop):
    async def main():
        awaitables = [returns(number, number % 3) for number in range(20)]
        results = [await each for each in library.as_completed(awaitables, timeout=60)]
        return sum(results)

    with collecting_all_the_time():
        assert loop.run_until_complete(main()) == 190
