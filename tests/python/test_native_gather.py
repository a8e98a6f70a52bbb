"""``gather``: asyncio's and ferrio's, on either loop, are the same, and ``cancel_on_error``."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import os
import pickle
import sys
import weakref

import pytest

import ferrio
from turns import run_turn, run_turns, run_until_idle


@pytest.fixture(params=[asyncio, ferrio], ids=["asyncio's", "ferrio's"])
def library(request):
    """The module that ``gather`` is taken from; each runs on either loop."""
    return request.param


async def returns(value, turns=0):
    for _ in range(turns):
        await asyncio.sleep(0)
    return value


async def raises(exception, turns=0):
    for _ in range(turns):
        await asyncio.sleep(0)
    raise exception


class Foreign:
    """A future that is nobody's subclass."""

    _asyncio_future_blocking = False
    _cancel_message = None

    def __init__(self, loop):
        self._loop = loop
        self._future = asyncio.futures._PyFuture(loop=loop)

    def get_loop(self):
        return self._loop

    def add_done_callback(self, function, *, context=None):
        self._future.add_done_callback(lambda _: function(self), context=context)

    def __getattr__(self, name):
        return getattr(self._future, name)


class TestResults:
    """What is gathered."""

    def test_in_the_order_of_the_arguments(self, library, loop):
        async def main():
            return await library.gather(returns(1, 3), returns(2), returns(3, 1))

        assert loop.run_until_complete(main()) == [1, 2, 3]

    def test_nothing(self, library, loop, implementation):
        async def main():
            future = library.gather()
            assert future.done()
            assert type(future) is type(loop.create_future())
            return await future

        assert loop.run_until_complete(main()) == []

    def test_an_awaitable_twice(self, library, loop):
        async def main():
            coroutine, future = returns(1), loop.create_future()
            gathered = library.gather(coroutine, future, coroutine, future)
            first, second, third, fourth = gathered._children
            assert first is third
            assert second is fourth is future
            future.set_result(2)
            return await gathered

        assert loop.run_until_complete(main()) == [1, 2, 1, 2]

    def test_awaitables_that_are_equal(self, library, loop):
        class Awaitable:
            def __init__(self, key):
                self.key = key

            def __eq__(self, other):
                return self.key == other.key

            def __hash__(self):
                return hash(self.key)

            def __await__(self):
                yield from asyncio.sleep(0).__await__()
                return self

        async def main():
            first, second, other = Awaitable(1), Awaitable(1), Awaitable(2)
            results = await library.gather(first, second, other)
            assert [id(each) for each in results] == [id(first), id(first), id(other)]

        loop.run_until_complete(main())

    def test_every_kind_of_awaitable(self, library, loop):
        class Awaitable:
            def __await__(self):
                yield
                return "awaitable"

        class MyTask(ferrio.Task):
            pass

        async def main():
            futures = [
                Foreign(loop),
                asyncio.Future(),
                ferrio.Future(),
                asyncio.futures._PyFuture(),
            ]
            for number, future in enumerate(futures):
                loop.call_soon(future.set_result, number)
            with_attribute = loop.create_task(returns("attribute"))
            with contextlib.suppress(AttributeError):
                with_attribute.colour = "red"
            return await library.gather(
                *futures,
                Awaitable(),
                asyncio.sleep(0, "coroutine"),
                ferrio.sleep(0, "native"),
                asyncio.Task(returns("asyncio's")),
                ferrio.Task(returns("ferrio's")),
                MyTask(returns("mine")),
                with_attribute,
                library.gather(returns("gather")),
            )

        assert loop.run_until_complete(main()) == [
            *range(4),
            "awaitable",
            "coroutine",
            "native",
            "asyncio's",
            "ferrio's",
            "mine",
            "attribute",
            ["gather"],
        ]

    def test_exceptions_as_results(self, library, loop):
        error = KeyError("k")

        async def main():
            cancelled = loop.create_future()
            cancelled.cancel("why")
            silent = loop.create_future()
            silent.cancel()
            return await library.gather(
                raises(error), cancelled, returns(3), silent, return_exceptions=True
            )

        first, second, third, fourth = loop.run_until_complete(main())
        assert first is error
        assert type(second) is type(fourth) is asyncio.CancelledError
        assert (second.args, third, fourth.args) == (("why",), 3, ("",))

    def test_the_first_exception(self, library, loop):
        error = KeyError("k")

        async def main():
            slow = loop.create_task(returns(1, 10))
            with pytest.raises(KeyError) as raised:
                await library.gather(slow, raises(error, 2), raises(ValueError(), 4))
            assert raised.value is error
            # The others go on.
            assert not slow.done()
            assert await slow == 1

        loop.run_until_complete(main())

    def test_a_cancelled_child(self, library, loop):
        async def main():
            future = loop.create_future()
            gathered = library.gather(future, returns(1))
            future.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why"):
                await gathered
            assert not gathered.cancelled()
            assert isinstance(gathered.exception(), asyncio.CancelledError)

        loop.run_until_complete(main())

    @pytest.mark.parametrize("count", [1, 2, 100, 5000])
    def test_many(self, library, loop, count):
        async def main():
            return await library.gather(*[returns(n, n % 3) for n in range(count)])

        assert loop.run_until_complete(main()) == list(range(count))

    def test_children_that_are_done(self, library, loop):
        async def main():
            done = loop.create_future()
            done.set_result(1)
            gathered = library.gather(done)
            # From 3.12 on it is done at once.
            assert gathered.done() is (sys.version_info >= (3, 12))
            return await gathered

        assert loop.run_until_complete(main()) == [1]

    def test_a_done_child_that_has_failed(self, library, loop):
        async def main():
            done = loop.create_future()
            done.set_exception(KeyError("k"))
            with pytest.raises(KeyError):
                await library.gather(done, loop.create_future())

        loop.run_until_complete(main())

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
    def test_eager_children(self, library, loop, implementation):
        async def main():
            loop.set_task_factory(asyncio.create_eager_task_factory(implementation.Task))
            gathered = library.gather(returns(1), returns(2))
            assert gathered.done()
            return await gathered

        assert loop.run_until_complete(main()) == [1, 2]

    def test_debug_mode(self, library, loop):
        loop.set_debug(True)

        async def main():
            with pytest.raises(KeyError):
                await library.gather(returns(1), raises(KeyError()))
            return await library.gather(returns(1), returns(2, 2))

        assert loop.run_until_complete(main()) == [1, 2]

    def test_contexts(self, library, loop):
        variable = contextvars.ContextVar("variable", default=0)

        async def child(number):
            variable.set(variable.get() + number)
            await asyncio.sleep(0)
            return variable.get()

        async def main():
            variable.set(10)
            results = await library.gather(child(1), child(2))
            assert variable.get() == 10
            return results

        assert loop.run_until_complete(main()) == [11, 12]

    def test_the_task_factory_and_create_task_are_asked(self, library, make_loop, implementation):
        made = []

        class Loop(implementation.EventLoop):
            def create_task(self, coroutine, **options):
                made.append(coroutine.__name__)
                return super().create_task(coroutine, **options)

        def factory(loop, coroutine, **options):
            made.append("factory")
            return implementation.Task(coroutine, loop=loop, **options)

        loop = make_loop(Loop)

        async def main():
            await library.gather(returns(1), returns(2))
            loop.set_task_factory(factory)
            await library.gather(returns(1))

        loop.run_until_complete(main())
        assert made == ["main", "returns", "returns", "returns", "factory"]

    def test_turns(self, library, loop):
        """It ends in the turn after the last child, and its task goes on in the next."""
        seen = []

        async def main():
            await library.gather(returns(1), returns(2, 1))
            seen.append(turn)

        turn = 0
        task = loop.create_task(main())
        while not task.done():
            turn += 1
            run_turn(loop)
        assert seen == [5]


class TestErrors:
    """What is refused, and what becomes of the awaitables."""

    def test_what_is_no_awaitable(self, library, loop):
        async def main():
            with pytest.raises(
                TypeError, match=r"An asyncio\.Future, a coroutine or an awaitable is required"
            ):
                library.gather(42)
            with pytest.raises(TypeError, match="unhashable type: 'list'"):
                library.gather([])
            with pytest.raises(TypeError, match="unexpected keyword argument 'loop'"):
                library.gather(loop=loop)

        loop.run_until_complete(main())

    def test_awaitables_before_the_one_that_is_refused(self, library, loop):
        async def main():
            task = loop.create_task(raises(KeyError(), 1))
            with pytest.raises(TypeError):
                library.gather(task, 42)
            del task
            # Its exception counts as seen.
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        loop.run_until_complete(main())
        run_until_idle(loop)

    def test_futures_of_two_loops(self, library, make_loop):
        first, second = make_loop(), make_loop()
        futures = [first.create_future(), second.create_future()]
        with pytest.raises(ValueError, match="The future belongs to a different loop"):
            library.gather(*futures)

    def test_outside_of_a_loop(self, library, loop):
        future = loop.create_future()
        gathered = library.gather(future, future)
        assert gathered.get_loop() is loop
        future.set_result(1)
        assert loop.run_until_complete(gathered) == [1, 1]

    def test_coroutines_outside_of_a_loop(self, library, loop):
        asyncio.set_event_loop(loop)
        assert loop.run_until_complete(library.gather(returns(1))) == [1]

    @pytest.mark.skipif(sys.version_info < (3, 14), reason="there was a loop before")
    def test_coroutines_without_any_loop(self, library):
        with pytest.raises(RuntimeError, match="no current event loop"):
            library.gather()
        coroutine = returns(1)
        with pytest.raises(RuntimeError, match="no current event loop"):
            library.gather(coroutine)
        coroutine.close()

    def test_an_exception_that_nobody_sees(self, library, loop, reports):
        async def main():
            library.gather(raises(KeyError("k")))
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        loop.run_until_complete(main())
        run_until_idle(loop)
        gc.collect()
        assert reports.messages() == ["_GatheringFuture exception was never retrieved"]

    def test_later_exceptions_count_as_seen(self, library, loop):
        async def main():
            with pytest.raises(KeyError):
                await library.gather(raises(KeyError()), raises(ValueError(), 3))

        loop.run_until_complete(main())
        run_until_idle(loop)
        # The fixture complains of exceptions that nobody has seen.
        gc.collect()

    def test_a_child_that_cannot_be_asked(self, library, loop, reports):
        class Broken(Foreign):
            def cancelled(self):
                raise OSError("broken")

        async def main():
            broken = Broken(loop)
            gathered = library.gather(broken)
            broken.set_result(1)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert not gathered.done()
            gathered.cancel()

        loop.run_until_complete(main())
        report = reports.take_one()
        assert "Exception in callback" in report["message"]
        assert isinstance(report["exception"], OSError)


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

        threshold = gc.get_threshold()
        gc.set_threshold(1, 1, 1)
        try:
            loop.run_until_complete(main())
            run_until_idle(loop)
        finally:
            gc.set_threshold(*threshold)


class TestFunction:
    """The function itself."""

    def test_it_looks_like_asyncios(self):
        assert ferrio.gather.__name__ == ferrio.gather.__qualname__ == "gather"
        assert not inspect.iscoroutinefunction(ferrio.gather)
        theirs = inspect.signature(asyncio.gather).parameters
        ours = dict(inspect.signature(ferrio.gather).parameters)
        assert ours.pop("cancel_on_error").default is False
        assert {name: (each.kind, each.default) for name, each in ours.items()} == {
            name: (each.kind, each.default) for name, each in theirs.items()
        }

    def test_pickled_by_name(self, library):
        assert pickle.loads(pickle.dumps(library.gather)) is library.gather


@pytest.mark.skipif(sys.version_info < (3, 14), reason="asyncio notes it from 3.14")
class TestCallGraph:
    """The children are awaited by the task that gathers them."""

    def test_while_they_are_pending(self, library, loop):
        futures = [loop.create_future() for _ in range(3)]

        async def main():
            await library.gather(*futures)

        task = loop.create_task(main())
        run_turn(loop)
        for future in futures:
            assert future._asyncio_awaited_by == {task}
        futures[0].set_result(None)
        run_turns(loop, 2)
        assert not futures[0]._asyncio_awaited_by
        assert futures[1]._asyncio_awaited_by == {task}
        futures[1].set_exception(KeyError())
        with pytest.raises(KeyError):
            loop.run_until_complete(task)
        assert not futures[1]._asyncio_awaited_by
        outlives = hasattr(asyncio.tasks, "_discard_awaited_by")
        assert bool(futures[2]._asyncio_awaited_by) is not outlives
        futures[2].cancel()
        run_until_idle(loop)
        assert not futures[2]._asyncio_awaited_by


class TestCancelOnError:
    """``gather(..., cancel_on_error=True)``: all or nothing."""

    @pytest.fixture
    def gather(self):
        return ferrio.gather

    async def cleans_up(self, log, name, *, turns=3, then=None):
        """Wait for ever, and when cancelled for ``turns`` more."""
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            for _ in range(turns):
                await asyncio.sleep(0)
            log.append(name)
            if then is not None:
                raise then from None
            raise

    def test_all_return(self, gather, loop):
        async def main():
            return await gather(returns(1, 2), returns(2), cancel_on_error=True)

        assert loop.run_until_complete(main()) == [1, 2]

    def test_nothing(self, gather, loop):
        async def main():
            return await gather(cancel_on_error=True)

        assert loop.run_until_complete(main()) == []

    def test_the_others_are_cancelled_and_awaited(self, gather, loop):
        error, log = KeyError("k"), []

        async def main():
            with pytest.raises(KeyError) as raised:
                await gather(
                    self.cleans_up(log, "first"),
                    raises(error, 1),
                    self.cleans_up(log, "third", turns=7),
                    returns(4),
                    cancel_on_error=True,
                )
            assert raised.value is error
            assert log == ["first", "third"]
            assert not getattr(error, "__notes__", [])

        loop.run_until_complete(main())

    def test_what_the_others_raise_is_noted(self, gather, loop):
        log = []

        async def main():
            with pytest.raises(KeyError) as raised:
                await gather(
                    self.cleans_up(log, "first", turns=5, then=OSError("while cleaning")),
                    raises(KeyError("k"), 1),
                    self.cleans_up(log, "third", then=ValueError("too")),
                    cancel_on_error=True,
                )
            assert raised.value.__notes__ == [
                "Another awaitable of the gather raised OSError('while cleaning')",
                "Another awaitable of the gather raised ValueError('too')",
            ]

        loop.run_until_complete(main())
        # The fixture complains of exceptions that nobody has seen.
        gc.collect()

    def test_two_fail_in_the_same_turn(self, gather, loop):
        async def main():
            with pytest.raises(KeyError) as raised:
                await gather(raises(KeyError("k")), raises(ValueError("v")), cancel_on_error=True)
            assert raised.value.__notes__ == [
                "Another awaitable of the gather raised ValueError('v')"
            ]

        loop.run_until_complete(main())

    def test_the_same_exception_is_not_noted_in_itself(self, gather, loop):
        error = KeyError("k")

        async def main():
            with pytest.raises(KeyError):
                await gather(raises(error), raises(error), cancel_on_error=True)

        loop.run_until_complete(main())
        assert not hasattr(error, "__notes__")

    def test_an_exception_that_cannot_be_noted(self, gather, loop, monkeypatch):
        class Unspeakable(Exception):
            def __repr__(self):
                raise TypeError("cannot be shown")

        unraisable = []
        monkeypatch.setattr(sys, "unraisablehook", lambda each: unraisable.append(each.exc_value))

        async def main():
            with pytest.raises(KeyError):
                await gather(raises(KeyError()), raises(Unspeakable()), cancel_on_error=True)

        loop.run_until_complete(main())
        assert [type(each) for each in unraisable] == [TypeError]
        unraisable.clear()

    @pytest.mark.parametrize("stopper", [KeyboardInterrupt, SystemExit])
    def test_what_stops_everything_wins(self, gather, loop, stopper):
        async def main():
            first, second = loop.create_future(), loop.create_future()
            gathered = gather(first, second, loop.create_future(), cancel_on_error=True)
            first.set_exception(KeyError("k"))
            second.set_exception(stopper())
            with pytest.raises(stopper) as raised:
                await gathered
            noted = ["Another awaitable of the gather raised KeyError('k')"]
            assert raised.value.__notes__ == noted

        loop.run_until_complete(main())

    def test_a_task_that_exits(self, gather, loop):
        async def main():
            await gather(raises(SystemExit(3), 1), returns(1, 9), cancel_on_error=True)

        task = loop.create_task(main())
        with pytest.raises(SystemExit):
            loop.run_until_complete(task)
        with pytest.raises(SystemExit):
            loop.run_until_complete(task)
        run_until_idle(loop)

    def test_a_cancelled_child_is_a_failure(self, gather, loop):
        log = []

        async def main():
            future = loop.create_future()
            gathered = gather(future, self.cleans_up(log, "second"), cancel_on_error=True)
            await asyncio.sleep(0)
            future.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why"):
                await gathered
            assert log == ["second"]

        loop.run_until_complete(main())

    def test_each_is_cancelled_once(self, gather, loop):
        log = []

        async def main():
            task = loop.create_task(self.cleans_up(log, "task", turns=5))
            failing = loop.create_future()
            gathered = gather(task, failing, task, cancel_on_error=True)
            await asyncio.sleep(0)
            failing.set_exception(KeyError())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert task.cancelling() == 1
            assert not gathered.done()
            # The end is settled.
            assert not gathered.cancel()
            assert task.cancelling() == 1
            with pytest.raises(KeyError):
                await gathered
            assert task.cancelled()
            assert log == ["task"]

        loop.run_until_complete(main())

    def test_a_child_that_returns_all_the_same(self, gather, loop):
        async def stubborn():
            with contextlib.suppress(asyncio.CancelledError):
                await loop.create_future()
            return 1

        async def main():
            with pytest.raises(KeyError):
                await gather(stubborn(), raises(KeyError(), 1), cancel_on_error=True)

        loop.run_until_complete(main())

    def test_an_awaitable_twice(self, gather, loop):
        async def main():
            coroutine = returns(1, 1)
            return await gather(coroutine, coroutine, returns(2), cancel_on_error=True)

        assert loop.run_until_complete(main()) == [1, 1, 2]

    def test_cancelling_it(self, gather, loop):
        log = []

        async def main():
            task = loop.create_task(self.cleans_up(log, "task"))
            gathered = gather(
                task, self.cleans_up(log, "second", turns=9), task, cancel_on_error=True
            )
            await asyncio.sleep(0)
            assert gathered.cancel("why")
            assert gathered.cancel("again")
            assert task.cancelling() == 1
            with pytest.raises(asyncio.CancelledError, match="why"):
                await gathered
            assert log == ["task", "second"]

        loop.run_until_complete(main())

    def test_cancelling_it_and_a_child_raises(self, gather, loop):
        log = []

        async def main():
            gathered = gather(
                self.cleans_up(log, "first", turns=1, then=OSError("while cleaning")),
                self.cleans_up(log, "second", turns=3),
                cancel_on_error=True,
            )
            await asyncio.sleep(0)
            gathered.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why") as raised:
                await gathered
            assert raised.value.__notes__ == [
                "Another awaitable of the gather raised OSError('while cleaning')"
            ]

        loop.run_until_complete(main())

    def test_the_task_that_waits_is_cancelled(self, gather, loop):
        log = []

        async def waits():
            await gather(self.cleans_up(log, "child"), returns(1), cancel_on_error=True)

        async def main():
            task = loop.create_task(waits())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert log == ["child"]

        loop.run_until_complete(main())

    def test_the_task_that_waits_is_cancelled_after_a_failure(self, gather, loop):
        """Its cancellation is not lost, and it goes on when all have ended."""
        log = []

        async def waits():
            await gather(
                self.cleans_up(log, "child", turns=9), raises(KeyError()), cancel_on_error=True
            )

        async def main():
            task = loop.create_task(waits())
            for _ in range(5):
                await asyncio.sleep(0)
            task.cancel("why")
            with pytest.raises(asyncio.CancelledError, match="why"):
                await task
            assert log == ["child"]

        loop.run_until_complete(main())

    def test_every_child_has_been_done(self, gather, loop):
        async def main():
            good, bad = loop.create_future(), loop.create_future()
            good.set_result(1)
            bad.set_exception(KeyError())
            with pytest.raises(KeyError):
                await gather(good, bad, cancel_on_error=True)
            assert await gather(good, good, cancel_on_error=True) == [1, 1]

        loop.run_until_complete(main())

    def test_a_child_that_cannot_be_cancelled(self, gather, loop, reports):
        class Uncancellable(Foreign):
            def cancel(self, msg=None):
                raise OSError("cannot be cancelled")

        log = []

        async def main():
            future = Uncancellable(loop)
            gathered = gather(
                raises(KeyError(), 1), future, self.cleans_up(log, "third"), cancel_on_error=True
            )
            for _ in range(9):
                await asyncio.sleep(0)
            assert log == ["third"]
            assert not gathered.done()
            future.set_result(1)
            with pytest.raises(KeyError):
                await gathered

        loop.run_until_complete(main())
        assert isinstance(reports.take_one()["exception"], OSError)

    def test_both_options(self, gather):
        with pytest.raises(ValueError, match="exclude each other"):
            gather(return_exceptions=True, cancel_on_error=True)

    def test_it_is_asyncios_after_install(self, implementation):
        ferrio.install()
        try:
            assert asyncio.gather is asyncio.tasks.gather is ferrio.gather
        finally:
            ferrio.uninstall()
        assert asyncio.gather is not ferrio.gather
        with pytest.raises(TypeError):
            asyncio.gather(cancel_on_error=True)
