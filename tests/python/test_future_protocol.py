"""How futures are awaited: the iteration protocol behind ``await future``."""

import asyncio
import gc
import sys
import weakref

import pytest

from turns import run_turn, run_turns

# A generator, an exception, a tuple: what could be taken for something else on its way through
# StopIteration.
RESULTS = [None, 0, 1, "text", (), (1,), (1, 2), ZeroDivisionError(), StopIteration(3), [], {}]


@pytest.mark.parametrize("result", RESULTS, ids=repr)
@pytest.mark.parametrize("already_done", [True, False])
def test_await_gives_the_very_result(loop, result, already_done):
    async def main():
        future = loop.create_future()
        if already_done:
            future.set_result(result)
        else:
            loop.call_soon(future.set_result, result)
        return await future

    assert loop.run_until_complete(main()) is result


@pytest.mark.parametrize("result", RESULTS, ids=repr)
def test_yield_from_gives_the_very_result(loop, result):
    def generator(future):
        return (yield from future)

    class Awaitable:
        def __await__(self):
            future = loop.create_future()
            loop.call_soon(future.set_result, result)
            return generator(future)

    async def main():
        return await Awaitable()

    assert loop.run_until_complete(main()) is result


@pytest.mark.parametrize("result", RESULTS, ids=repr)
def test_the_iterator_by_hand(loop, result):
    future = loop.create_future()
    iterator = iter(future)
    assert next(iterator) is future
    assert future._asyncio_future_blocking
    future._asyncio_future_blocking = False
    future.set_result(result)
    with pytest.raises(StopIteration) as raised:
        next(iterator)
    assert raised.value.value is result


@pytest.mark.parametrize("method", ["__await__", "__iter__"])
def test_both_ways_to_iterate(loop, method):
    future = loop.create_future()
    iterator = getattr(future, method)()
    assert iter(iterator) is iterator
    assert iterator.send(None) is future
    future._asyncio_future_blocking = False
    future.set_result("result")
    with pytest.raises(StopIteration) as raised:
        iterator.send(None)
    assert raised.value.value == "result"


def test_an_exhausted_iterator(loop):
    future = loop.create_future()
    future.set_result("result")
    iterator = iter(future)
    with pytest.raises(StopIteration):
        next(iterator)
    with pytest.raises(StopIteration):
        next(iterator)


def test_a_for_loop_over_a_done_future(loop):
    future = loop.create_future()
    future.set_result("ignored")
    assert list(future) == []
    future = loop.create_future()
    future.set_result(None)
    assert list(future) == []


def test_iterating_twice_without_waiting(loop):
    future = loop.create_future()
    iterator = iter(future)
    next(iterator)
    with pytest.raises(RuntimeError, match="await wasn't used with future"):
        next(iterator)
    future._asyncio_future_blocking = False


def test_two_iterators_of_one_future(loop):
    future = loop.create_future()
    first, second = iter(future), iter(future)
    assert next(first) is future
    future._asyncio_future_blocking = False
    assert next(second) is future
    future._asyncio_future_blocking = False
    future.set_result("result")
    for iterator in (first, second):
        with pytest.raises(StopIteration) as raised:
            next(iterator)
        assert raised.value.value == "result"


def test_throw_into_the_iterator(loop):
    future = loop.create_future()
    iterator = iter(future)
    next(iterator)
    with pytest.raises(ZeroDivisionError, match="thrown"):
        iterator.throw(ZeroDivisionError("thrown"))
    with pytest.raises(StopIteration):
        next(iterator)
    assert not future.done()


def test_throw_a_class(loop):
    iterator = iter(loop.create_future())
    with pytest.raises(ZeroDivisionError):
        iterator.throw(ZeroDivisionError)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_throw_with_three_arguments(loop):
    class Custom(Exception):
        pass

    future = loop.create_future()
    if sys.version_info >= (3, 12):
        with pytest.warns(DeprecationWarning, match="signature of throw"):
            pytest.raises(Custom, iter(future).throw, Custom, Custom("value"), None)
    else:
        pytest.raises(Custom, iter(future).throw, Custom, Custom("value"), None)


@pytest.mark.parametrize("wrong", [None, 1, "text", object(), int])
def test_throw_what_is_no_exception(loop, wrong):
    iterator = iter(loop.create_future())
    with pytest.raises(TypeError):
        iterator.throw(wrong)


def test_throw_needs_an_argument(loop):
    with pytest.raises(TypeError):
        iter(loop.create_future()).throw()


def test_close(loop):
    future = loop.create_future()
    iterator = iter(future)
    next(iterator)
    iterator.close()
    with pytest.raises(StopIteration):
        next(iterator)
    iterator.close()


def test_closing_a_coroutine_that_waits(loop):
    future = loop.create_future()
    events = []

    async def waits():
        try:
            await future
        except GeneratorExit:
            events.append("closed")
            raise

    coroutine = waits()
    assert coroutine.send(None) is future
    coroutine.close()
    assert events == ["closed"]
    future._asyncio_future_blocking = False


def test_the_iterator_is_freed_with_its_future(loop):
    future = loop.create_future()
    reference = weakref.ref(future)
    iterator = iter(future)
    next(iterator)
    future.iterator = iterator
    del future, iterator
    gc.collect()
    assert reference() is None


def test_a_coroutine_that_yields_the_future_itself_is_told_so(loop):
    """`yield future` is not `await future`."""

    class Yields:
        def __init__(self, item):
            self.item = item

        def __await__(self):
            yield self.item

    future = loop.create_future()

    async def main():
        await Yields(future)

    with pytest.raises(RuntimeError, match="yield was used instead of yield from in task"):
        loop.run_until_complete(main())


@pytest.mark.parametrize("item", [1, "text", object(), [], lambda: None, int], ids=repr)
def test_a_coroutine_that_yields_anything_else(loop, item):
    class Yields:
        def __await__(self):
            yield item

    async def main():
        await Yields()

    with pytest.raises(RuntimeError, match="Task got bad yield"):
        loop.run_until_complete(main())


def test_a_coroutine_that_yields_a_generator(loop):
    def generator():
        yield

    class Yields:
        def __await__(self):
            yield generator()

    async def main():
        await Yields()

    with pytest.raises(RuntimeError, match="yield was used instead of yield from for generator"):
        loop.run_until_complete(main())


def test_a_coroutine_may_survive_a_bad_yield(loop):
    class Yields:
        def __await__(self):
            yield 42

    async def main():
        for _ in range(3):
            try:
                await Yields()
            except RuntimeError:
                await asyncio.sleep(0)
        return "survived"

    assert loop.run_until_complete(main()) == "survived"


def test_a_bare_yield_lets_others_run(loop):
    calls = []

    class Yields:
        def __await__(self):
            yield

    async def main():
        for number in range(3):
            calls.append(number)
            loop.call_soon(calls.append, "other")
            await Yields()

    loop.run_until_complete(main())
    assert calls == [0, "other", 1, "other", 2, "other"]


def test_awaiting_a_future_of_another_loop(loop, make_loop):
    foreign = make_loop().create_future()

    async def main():
        await foreign

    with pytest.raises(RuntimeError, match="attached to a different loop"):
        loop.run_until_complete(main())


def test_awaiting_oneself(loop):
    async def main():
        await task

    task = loop.create_task(main())
    with pytest.raises(RuntimeError, match="Task cannot await on itself"):
        loop.run_until_complete(task)


def test_something_else_that_speaks_the_protocol(loop):
    """Anything with _asyncio_future_blocking is a future to a task."""

    class Duck:
        _asyncio_future_blocking = False

        def __init__(self):
            self._loop = loop
            self.callbacks = []
            self.value = None
            self.cancel_messages = []

        def get_loop(self):
            return self._loop

        def add_done_callback(self, callback, *, context=None):
            self.callbacks.append((callback, context))

        def result(self):
            return self.value

        def cancel(self, msg=None):
            self.cancel_messages.append(msg)
            return True

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self
            return self.result()

        def finish(self, value):
            self.value = value
            for callback, context in self.callbacks:
                loop.call_soon(callback, self, context=context)

    duck = Duck()

    async def main():
        return await duck

    task = loop.create_task(main())
    run_turns(loop, 2)
    assert task._fut_waiter is duck
    assert not duck._asyncio_future_blocking
    assert task.cancel("message")
    assert duck.cancel_messages == ["message"]
    duck.finish("value")
    run_turns(loop, 2)
    assert task.result() == "value"


@pytest.mark.parametrize("broken", ["get_loop", "add_done_callback", "result", "cancel"])
def test_something_else_whose_methods_fail(loop, broken, reports):
    """The failure goes to the task or to the exception handler; never is it lost."""

    class Broken:
        _asyncio_future_blocking = False
        callback = None

        def __getattribute__(self, name):
            if name == broken:
                raise ZeroDivisionError(name)
            return object.__getattribute__(self, name)

        def get_loop(self):
            return loop

        def add_done_callback(self, callback, *, context=None):
            loop.call_soon(callback, self, context=context)

        def result(self):
            return "result"

        def cancel(self, msg=None):
            return False

        def __await__(self):
            self._asyncio_future_blocking = True
            yield self
            return "result"

    async def main():
        try:
            return await Broken()
        except ZeroDivisionError as error:
            return f"caught {error}"

    task = loop.create_task(main())
    run_turn(loop)
    if broken == "cancel":
        with pytest.raises(ZeroDivisionError):
            task.cancel()
    run_turns(loop, 3)
    if task.done():
        assert task.result() in ("result", f"caught {broken}")
    else:
        assert any(isinstance(report["exception"], ZeroDivisionError) for report in reports.take())
        task._log_destroy_pending = False
        task.get_coro().close()
        del task
    reports.take()


def test_a_result_that_is_replaced_by_a_callback(loop):
    """A waiter sees what the future holds when it runs, not when it was woken."""
    future = loop.create_future()

    async def waits():
        return await future

    task = loop.create_task(waits())
    run_turn(loop)
    future.set_result("first")
    future.__init__(loop=loop)
    future.set_result("second")
    assert loop.run_until_complete(task) == "second"


def test_blocking_flag(loop):
    future = loop.create_future()
    assert future._asyncio_future_blocking is False
    future._asyncio_future_blocking = True
    assert future._asyncio_future_blocking is True
    with pytest.raises(AttributeError):
        del future._asyncio_future_blocking


@pytest.mark.parametrize("depth", [1, 10, 100])
def test_await_through_many_coroutines(loop, depth):
    async def nested(level):
        if level == 0:
            future = loop.create_future()
            loop.call_soon(future.set_result, "bottom")
            return await future
        return await nested(level - 1)

    assert loop.run_until_complete(nested(depth)) == "bottom"


def test_reference_counts_of_results_stay_even(loop):
    """The StopIteration that hands a result over must give it back."""
    value = object()
    before = sys.getrefcount(value)

    async def main():
        for _ in range(100):
            future = loop.create_future()
            future.set_result(value)
            await future
            future = loop.create_future()
            loop.call_soon(future.set_result, value)
            await future
            for item in (loop.create_future(),):
                item.set_result(value)
                assert list(item) == []
        del future, item

    loop.run_until_complete(main())
    run_turns(loop, 2)
    gc.collect()
    assert sys.getrefcount(value) == before


def test_reference_counts_of_exceptions_stay_even(loop):
    error = ZeroDivisionError()

    async def main():
        for _ in range(100):
            future = loop.create_future()
            loop.call_soon(future.set_exception, error)
            try:
                await future
            except ZeroDivisionError:
                pass
        error.__traceback__ = None

    loop.run_until_complete(main())
    run_turns(loop, 2)
    error.__traceback__ = error.__context__ = None
    gc.collect()
    assert sys.getrefcount(error) == 2


@pytest.mark.parametrize("result", [1, "text", (), (1, 2), KeyError(3), StopIteration(4)], ids=repr)
def test_what_ends_the_iteration_is_as_the_class_makes_it(loop, result):
    future = loop.create_future()
    future.set_result(result)
    caught = []
    for _ in range(2):
        try:
            next(iter(future))
        except StopIteration as end:
            caught.append(end)
    first, second = caught
    assert first is not second
    for end in caught:
        assert type(end) is StopIteration
        assert end.value is result
        assert end.args == (result,)
        assert end.__context__ is None
        assert end.__cause__ is None
        assert not end.__suppress_context__
        assert vars(end) == {}
        end.value, end.args, end.more = "other", (), True
    assert future.result() is result


def test_what_ends_the_iteration_in_an_except_block_has_a_context(loop, implementation):
    future = loop.create_future()
    future.set_result(1)
    error = KeyError()
    try:
        raise error
    except KeyError:
        with pytest.raises(StopIteration) as raised:
            next(iter(future))
    if sys.version_info < (3, 14) or implementation.is_ferrio:
        # asyncio's has none on 3.14.
        assert raised.value.__context__ is error
    assert raised.value.value == 1


def test_a_result_is_awaited_while_an_exception_is_handled(loop):
    async def main():
        future = loop.create_future()
        loop.call_soon(future.set_result, (1, 2))
        try:
            raise KeyError
        except KeyError:
            return await future

    assert loop.run_until_complete(main()) == (1, 2)


def test_an_awaited_result_is_kept_by_nobody(loop):
    """Not even until the end of the step."""

    class Result:
        pass

    async def main():
        future = loop.create_future()
        future.set_result(Result())
        result = await future
        alive = weakref.ref(result)
        del result, future
        return alive()

    assert loop.run_until_complete(main()) is None
