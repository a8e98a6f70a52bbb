"""``gather``: what is gathered and which errors there are, as asyncio's, on either loop."""

import asyncio
import contextlib
import contextvars
import gc
import inspect
import pickle
import sys

import pytest

import ferrio
from awaitables import Foreign, raises, returns
from turns import run_turn, run_turns, run_until_idle

pytest_plugins = ["library_fixtures"]


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
