"""``wait`` and ``shield``: asyncio's and ferrio's, on either loop, are the same."""

import asyncio
import contextlib
import gc
import inspect
import pickle
import sys
import weakref

import pytest

import ferrio
from awaitables import raises, returns
from turns import run_turn, run_turns, run_until_idle
from watch import collecting_all_the_time

pytest_plugins = ["library_fixtures"]


class TestWait:
    """``wait``."""

    def test_all(self, library, loop):
        async def main():
            tasks = [loop.create_task(returns(n, n)) for n in range(4)]
            done, pending = await library.wait(tasks)
            assert type(done) is type(pending) is set
            assert (done, pending) == (set(tasks), set())
            assert [task.result() for task in tasks] == [0, 1, 2, 3]

        loop.run_until_complete(main())

    def test_the_first(self, library, loop):
        async def main():
            futures = [loop.create_future() for _ in range(3)]
            loop.call_soon(futures[1].set_result, 1)
            done, pending = await library.wait(futures, return_when=asyncio.FIRST_COMPLETED)
            assert done == {futures[1]}
            assert pending == {futures[0], futures[2]}
            assert not [future for future in futures if future._callbacks]

        loop.run_until_complete(main())

    def test_the_first_exception(self, library, loop):
        async def main():
            futures = [loop.create_future() for _ in range(4)]
            futures[0].cancel()
            loop.call_soon(futures[1].set_result, 1)
            loop.call_later(0.0001, futures[2].set_exception, KeyError())
            done, pending = await library.wait(futures, return_when=asyncio.FIRST_EXCEPTION)
            assert (done, pending) == (set(futures[:3]), {futures[3]})

        loop.run_until_complete(main())
        # The exception counts as seen: the fixture would complain.

    def test_an_exception_is_only_looked_at_where_that_was_asked_for(self, library, loop, reports):
        async def main():
            task = loop.create_task(raises(KeyError()))
            await library.wait([task])

        loop.run_until_complete(main())
        gc.collect()
        assert reports.messages() == ["Task exception was never retrieved"]

    def test_a_timeout(self, library, clocked_loop):
        loop = clocked_loop
        future, other = loop.create_future(), loop.create_future()

        async def main():
            return await library.wait({future, other}, timeout=10)

        task = loop.create_task(main())
        run_turn(loop)
        other.set_result(1)
        run_turns(loop, 3)
        loop.advance(9)
        assert not task.done()
        loop.advance(2)
        run_turns(loop, 2)
        assert task.result() == ({other}, {future})
        assert not future.done()

    def test_the_timer_goes_with_the_wait(self, library, loop):
        async def main():
            task = loop.create_task(returns(1, 2))
            await library.wait([task], timeout=3600)
            waiting = loop.create_task(library.wait([loop.create_future()], timeout=3600))
            await asyncio.sleep(0)
            waiting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await waiting

        # The fixture complains of timers that are left.
        loop.run_until_complete(main())

    def test_cancelled(self, library, loop):
        async def main():
            future = loop.create_future()
            task = loop.create_task(library.wait([future]))
            await asyncio.sleep(0)
            assert "_wait.<locals>._on_completion()" in repr(future)
            task.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why"):
                await task
            assert not future.done()
            assert not future._callbacks

        loop.run_until_complete(main())

    def test_what_is_refused(self, library, loop):
        async def main():
            future, coroutine = loop.create_future(), returns(1)
            with pytest.raises(TypeError, match="expect a list of futures, not Future"):
                await library.wait(future)
            with pytest.raises(TypeError, match="expect a list of futures, not coroutine"):
                await library.wait(coroutine)
            with pytest.raises(TypeError, match="Passing coroutines is forbidden"):
                await library.wait([future, coroutine])
            coroutine.close()
            native = ferrio.sleep(0)
            with pytest.raises(TypeError, match="Passing coroutines is forbidden"):
                await library.wait([native])
            native.close()
            with pytest.raises(ValueError, match=r"Set of Tasks/Futures is empty\."):
                await library.wait([])
            with pytest.raises(AssertionError, match=r"Set of Futures is empty\."):
                await library.wait(iter([]))
            with pytest.raises(ValueError, match="Invalid return_when value: never"):
                await library.wait([future], return_when="never")
            with pytest.raises(TypeError, match="unhashable"):
                await library.wait([[]])
            with pytest.raises(TypeError, match="not iterable"):
                await library.wait(42)
            with pytest.raises(TypeError):
                await library.wait([future], "FIRST_COMPLETED")
            with pytest.raises(TypeError):
                await library.wait()
            with pytest.raises(AttributeError):
                await library.wait([42])
            with pytest.raises(TypeError):
                await library.wait([future], timeout="soon")

        loop.run_until_complete(main())

    def test_outside_of_a_loop(self, library, loop):
        coroutine = library.wait([loop.create_future()])
        with pytest.raises(RuntimeError, match="no running event loop"):
            coroutine.send(None)

    def test_any_iterable_and_repetitions(self, library, loop):
        async def main():
            future = loop.create_future()
            loop.call_soon(future.set_result, 1)
            done, _ = await library.wait(iter((future, future)))
            assert done == {future}
            assert await library.wait({future: 1}) == ({future}, set())
            assert await library.wait(fs=(future,), timeout=None) == ({future}, set())

        loop.run_until_complete(main())

    def test_every_kind_of_future(self, library, loop):
        class MyTask(ferrio.Task):
            pass

        async def main():
            futures = [
                asyncio.Future(),
                ferrio.Future(),
                asyncio.futures._PyFuture(),
                library.gather(returns(1)),
                asyncio.Task(returns(1)),
                MyTask(returns(1)),
            ]
            for future in futures[:3]:
                loop.call_soon(future.set_result, 1)
            done, pending = await library.wait(futures, timeout=60)
            assert (done, pending) == (set(futures), set())

        for task_class in (asyncio.Task, ferrio.Task, asyncio.tasks._PyTask):
            loop.run_until_complete(task_class(main(), loop=loop))

    def test_debug_mode(self, library, loop):
        loop.set_debug(True)
        self.test_the_first(library, loop)
        self.test_all(library, loop)

    def test_turns(self, library, loop):
        """It ends two turns after its futures: they call it, and it wakes its task."""
        seen = []
        future = loop.create_future()

        async def main():
            await library.wait([future])
            seen.append(turn)

        task = loop.create_task(main())
        run_turn(loop)
        future.set_result(None)
        turn = 0
        while not task.done():
            turn += 1
            run_turn(loop)
        assert seen == [2]

    def test_the_coroutine(self, library):
        assert inspect.iscoroutinefunction(library.wait)
        assert pickle.loads(pickle.dumps(library.wait)) is library.wait
        with pytest.warns(RuntimeWarning, match="coroutine 'wait' was never awaited"):
            library.wait([])
            gc.collect()
        assert inspect.signature(ferrio.wait) == inspect.signature(asyncio.wait)

    def test_references_balance(self, library, loop):
        class MyFuture(asyncio.Future):
            pass

        async def main():
            future = MyFuture(loop=loop)
            loop.call_soon(future.set_result, future)
            await library.wait([future, loop.create_future()], return_when="FIRST_COMPLETED")
            return weakref.ref(future)

        reference = loop.run_until_complete(main())
        gc.collect()
        assert reference() is None

    def test_a_wait_that_is_garbage(self, library, loop):
        async def waits(future):
            await library.wait([future], timeout=None)

        def abandoned():
            future = loop.create_future()
            task = loop.create_task(waits(future))
            task._log_destroy_pending = False
            run_turns(loop, 2)
            return weakref.ref(future)

        with contextlib.suppress(AttributeError):
            reference = abandoned()
            gc.collect()
            assert reference() is None

    def test_with_the_collector_at_every_allocation(self, library, loop):
        async def main():
            tasks = [loop.create_task(returns(n, n % 4)) for n in range(20)]
            await library.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            await library.wait(tasks, timeout=0)
            done, _ = await library.wait(tasks, timeout=60)
            return sum(task.result() for task in done)

        with collecting_all_the_time():
            assert loop.run_until_complete(main()) == 190

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio notes it from 3.14")
    def test_call_graph(self, library, loop):
        futures = [loop.create_future() for _ in range(2)]

        async def main():
            await library.wait(futures, return_when=asyncio.FIRST_COMPLETED)

        task = loop.create_task(main())
        run_turn(loop)
        assert [future._asyncio_awaited_by for future in futures] == [{task}] * 2
        futures[0].set_result(None)
        loop.run_until_complete(task)
        assert not any(future._asyncio_awaited_by for future in futures)


def loses_exceptions():
    """What becomes of an exception that comes after the shield was cancelled, in this Python."""

    async def main():
        told = []
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: told.append(context["message"]))
        inner = loop.create_future()
        outer = asyncio.shield(inner)
        outer.cancel()
        await asyncio.sleep(0)
        inner.set_exception(KeyError())
        await asyncio.sleep(0)
        del inner, outer
        gc.collect()
        return told

    with asyncio.Runner(loop_factory=asyncio.SelectorEventLoop) as runner:
        return runner.run(main())


class TestShield:
    """``shield``."""

    def test_a_result(self, library, loop):
        async def main():
            return await library.shield(returns(1, 3))

        assert loop.run_until_complete(main()) == 1

    def test_an_exception(self, library, loop):
        error = KeyError("k")

        async def main():
            with pytest.raises(KeyError) as raised:
                await library.shield(raises(error, 1))
            assert raised.value is error

        loop.run_until_complete(main())

    def test_what_it_returns(self, library, loop, implementation):
        inner = loop.create_future()
        outer = library.shield(inner)
        assert type(outer) is type(inner) is implementation.Future
        assert "shield.<locals>._inner_done_callback()" in repr(inner)
        assert "shield.<locals>._outer_done_callback()" in repr(outer)
        inner.set_result(1)
        assert library.shield(inner) is inner
        assert loop.run_until_complete(outer) == 1

    def test_cancelled_from_outside(self, library, loop):
        async def main():
            inner = loop.create_task(returns(1, 5))
            outer = library.shield(inner)
            await asyncio.sleep(0)
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer
            assert not inner.cancelling()
            assert await inner == 1

        loop.run_until_complete(main())

    def test_the_task_is_cancelled(self, library, loop):
        async def main():
            inner = loop.create_task(returns(1, 5))

            async def waits():
                await library.shield(inner)

            task = loop.create_task(waits())
            await asyncio.sleep(0)
            task.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why"):
                await task
            assert await inner == 1

        loop.run_until_complete(main())

    def test_cancelled_from_inside(self, library, loop):
        inner = loop.create_future()
        outer = library.shield(inner)
        inner.cancel("why")
        run_until_idle(loop)
        assert outer.cancelled()

    def test_both_in_one_turn(self, library, loop):
        inner = loop.create_future()
        outer = library.shield(inner)
        inner.set_exception(KeyError())
        outer.cancel()
        run_until_idle(loop)
        assert outer.cancelled()
        inner.exception()

    def test_callbacks_go(self, library, loop):
        inner = loop.create_future()
        outer = library.shield(inner)
        outer.cancel()
        run_until_idle(loop)
        # All but the one that logs, where there is one.
        assert len(inner._callbacks or []) == hasattr(asyncio.tasks, "_log_on_exception")
        inner.cancel()
        run_until_idle(loop)

    def test_a_lost_exception(self, library, loop, reports):
        expected = loses_exceptions()

        async def main():
            inner = loop.create_future()
            outer = library.shield(inner)
            outer.cancel()
            await asyncio.sleep(0)
            inner.set_exception(KeyError())
            await asyncio.sleep(0)

        loop.run_until_complete(main())
        gc.collect()
        assert reports.messages() == expected

    def test_a_lost_exception_of_the_same_turn(self, library, loop, reports):
        async def main(shield):
            inner = loop.create_future()
            outer = shield(inner)
            inner.set_exception(KeyError())
            outer.cancel()
            await asyncio.sleep(0)

        loop.run_until_complete(main(asyncio.shield))
        gc.collect()
        expected = reports.messages()
        loop.run_until_complete(main(library.shield))
        gc.collect()
        assert reports.messages() == expected

    def test_what_is_no_awaitable(self, library, loop):
        async def main():
            with pytest.raises(TypeError, match="an awaitable is required"):
                library.shield(42)
            with pytest.raises(TypeError):
                library.shield()

        loop.run_until_complete(main())

    def test_outside_of_a_loop(self, library, loop):
        inner = loop.create_future()
        outer = library.shield(inner)
        assert outer.get_loop() is loop
        inner.set_result(1)
        assert loop.run_until_complete(outer) == 1
        asyncio.set_event_loop(loop)
        assert loop.run_until_complete(library.shield(returns(2))) == 2

    def test_every_kind_of_awaitable(self, library, loop):
        class Awaitable:
            def __await__(self):
                yield
                return 1

        async def main():
            for future in (asyncio.Future(), ferrio.Future(), asyncio.futures._PyFuture()):
                loop.call_soon(future.set_result, 1)
                assert await library.shield(future) == 1
            assert await library.shield(Awaitable()) == 1
            assert await library.shield(ferrio.sleep(0, 1)) == 1
            assert await library.shield(library.gather(returns(1))) == [1]
            assert await library.shield(library.shield(returns(1))) == 1

        for task_class in (asyncio.Task, ferrio.Task, asyncio.tasks._PyTask):
            loop.run_until_complete(task_class(main(), loop=loop))

    def test_debug_mode(self, library, loop):
        loop.set_debug(True)
        self.test_a_result(library, loop)
        self.test_cancelled_from_outside(library, loop)

    def test_the_function(self, library):
        assert not inspect.iscoroutinefunction(library.shield)
        assert pickle.loads(pickle.dumps(library.shield)) is library.shield
        assert inspect.signature(ferrio.shield) == inspect.signature(asyncio.shield)

    def test_garbage(self, library, loop):
        inner = loop.create_future()
        inner.add_done_callback(library.shield(inner).add_done_callback)
        reference = weakref.ref(inner)
        del inner
        gc.collect()
        assert reference() is None

    def test_with_the_collector_at_every_allocation(self, library, loop):
        async def main():
            for number in range(10):
                assert await library.shield(returns(number, number % 3)) == number
            outer = library.shield(returns(1))
            outer.cancel()

        with collecting_all_the_time():
            loop.run_until_complete(main())
            run_until_idle(loop)

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio notes it from 3.14")
    def test_call_graph(self, library, loop):
        inner, other = loop.create_future(), loop.create_future()

        async def main(future):
            await library.shield(future)

        task, second = loop.create_task(main(inner)), loop.create_task(main(other))
        run_turn(loop)
        assert inner._asyncio_awaited_by == {task}
        inner.set_result(None)
        second.cancel()
        run_until_idle(loop)
        assert not inner._asyncio_awaited_by
        assert not other._asyncio_awaited_by
        other.cancel()
        run_until_idle(loop)
