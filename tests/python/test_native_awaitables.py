"""What native coroutine functions return: coroutines, as far as anybody can tell."""

import asyncio
import collections.abc
import copy
import gc
import inspect
import pickle
import sys
import types
import weakref

import pytest

import ferrio
from turns import run_turns

pytest_plugins = ["library_fixtures"]


def functions(library):
    lock, queue = library.Lock(), library.Queue()
    return [
        library.sleep,
        lock.acquire,
        lock.__aenter__,
        library.Event().wait,
        library.Semaphore().acquire,
        library.Condition().wait,
        library.Condition().wait_for,
        queue.get,
        queue.put,
        queue.join,
        library.wait_for,
        library.Barrier(1).wait,
        library.Barrier(1).reset,
        library.Barrier(1).abort,
        library.Barrier(1).__aenter__,
        library.Timeout(None).__aenter__,
        library.Timeout(None).__aexit__,
    ]


def test_functions_are_coroutine_functions(library):
    for function in functions(library):
        assert inspect.iscoroutinefunction(function), function
        if sys.version_info < (3, 14):
            assert asyncio.iscoroutinefunction(function), function


def test_signatures_are_asyncios():
    for native, original in zip(functions(ferrio), functions(asyncio), strict=True):
        assert inspect.signature(native) == inspect.signature(original)
        assert native.__name__ == original.__name__
        assert native.__qualname__ == original.__qualname__


def test_methods_are_methods(library):
    lock = library.Lock()
    assert inspect.ismethod(lock.acquire)
    assert lock.acquire.__self__ is lock
    assert lock.acquire == lock.acquire
    assert type(lock).acquire is not lock.acquire


@pytest.mark.parametrize("name", ["__aenter__", "__aexit__", "acquire"])
def test_methods_of_with_blocks_are_methods(library, name):
    lock, other = library.Lock(), library.Lock()
    method = getattr(lock, name)
    assert inspect.ismethod(method)
    assert isinstance(method, types.MethodType)
    assert method.__self__ is lock
    assert method.__func__ is getattr(type(lock), name)
    assert method.__name__ == name
    assert method.__qualname__ == method.__func__.__qualname__
    assert method.__doc__ == method.__func__.__doc__
    assert method.__module__ == method.__func__.__module__
    assert inspect.iscoroutinefunction(method)
    assert method == getattr(lock, name)
    assert hash(method) == hash(getattr(lock, name))
    assert method != getattr(other, name)
    assert method != 1
    assert {method: 1}[getattr(lock, name)] == 1
    assert weakref.ref(method)() is method
    assert repr(method) == f"<bound method {method.__qualname__} of {lock!r}>"
    with pytest.raises(AttributeError):
        method.anything = 1
    with pytest.raises(AttributeError, match="nothing"):
        method.nothing  # noqa: B018
    with pytest.raises(TypeError):
        method(1, 2, 3, 4, 5, 6, 7, 8)
    with pytest.raises(TypeError):
        method(unknown=1)
    copied = copy.deepcopy(method)
    assert copied.__self__ is not lock
    assert type(copied.__self__) is type(lock)
    assert getattr(super(type(lock), lock), "__init__", None) is not None


def test_a_method_in_a_cycle_is_collected(library):
    lock = library.Lock()
    lock.enter = lock.__aenter__
    reference = weakref.ref(lock)
    del lock
    gc.collect()
    assert reference() is None


def test_with_blocks_by_hand(library, loop):
    async def main():
        lock = library.Lock()
        enter, leave = lock.__aenter__, lock.__aexit__
        assert await enter() is None
        assert lock.locked()
        assert await leave(None, None, None) is None
        assert not lock.locked()
        assert await enter() is None
        assert await leave(exc_type=None, exc=None, tb=None) is None
        assert not lock.locked()

    loop.run_until_complete(main())


def test_a_coroutine_is_one(library):
    coroutine = library.sleep(0)
    assert inspect.iscoroutine(coroutine)
    assert asyncio.iscoroutine(coroutine)
    assert inspect.isawaitable(coroutine)
    assert isinstance(coroutine, collections.abc.Coroutine)
    assert coroutine.__name__ == coroutine.__qualname__ == "sleep"
    assert repr(coroutine) == f"<coroutine object sleep at {id(coroutine):#x}>"
    assert not coroutine.cr_running
    assert weakref.ref(coroutine)() is coroutine
    coroutine.close()


def test_stepped_by_hand(library):
    coroutine = library.sleep(0, "result")
    with pytest.raises(TypeError, match="can't send non-None value to a just-started coroutine"):
        coroutine.send(1)
    assert coroutine.send(None) is None
    with pytest.raises(StopIteration) as stopped:
        coroutine.send(None)
    assert stopped.value.value == "result"
    assert stopped.value.args == ("result",)
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.throw(ValueError())
    coroutine.close()


@pytest.mark.parametrize(
    "result", [None, True, (1, 2), (), ValueError("no error"), StopIteration(3)]
)
def test_results_arrive_as_they_are(library, loop, result):
    async def main():
        return await library.sleep(0, result)

    assert loop.run_until_complete(main()) is result
    assert loop.run_until_complete(library.sleep(0, result)) is result
    assert loop.run_until_complete(library.sleep(0.0001, result)) is result


def test_a_result_is_not_kept(library, loop):
    class Result:
        pass

    async def main():
        queue = library.Queue()
        queue.put_nowait(Result())
        result = await queue.get()
        reference = weakref.ref(result)
        del result
        return reference()

    assert loop.run_until_complete(main()) is None


def test_a_debugger_passes_over_results(library):
    """What hands them over is what `bdb` knows to be no exception of the program's."""
    raised = []

    def trace(frame, event, argument):
        if event == "exception":
            raised.append((argument[0], argument[2]))
        return trace

    async def main():
        queue = library.Queue()
        for number in range(3):
            queue.put_nowait(number)
        return [await queue.get(), await queue.get(), await queue.get()]

    coroutine = main()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(StopIteration) as stopped:
            coroutine.send(None)
    finally:
        sys.settrace(before)
    assert stopped.value.value == [0, 1, 2]
    assert all(seen == (StopIteration, None) for seen in raised)


def test_who_keeps_what_is_raised_keeps_the_right_result(library):
    kept = []

    def trace(frame, event, argument):
        if event == "exception":
            kept.append(argument[1])
        return trace

    async def main():
        queue = library.Queue()
        for number in range(1000, 1003):
            queue.put_nowait(number)
        return [await queue.get(), await queue.get(), await queue.get()]

    coroutine = main()
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        with pytest.raises(StopIteration) as stopped:
            coroutine.send(None)
    finally:
        sys.settrace(before)
    assert stopped.value.value == [1000, 1001, 1002]
    values = [getattr(each, "value", each) for each in kept]
    assert values in ([], [1000, 1001, 1002])


def test_a_result_is_not_kept_by_its_coroutine_s_death(library):
    class Result:
        pass

    async def main():
        queue = library.Queue()
        queue.put_nowait(Result())
        getting = queue.get()
        reference = weakref.ref(await getting)
        del getting
        return reference()

    with pytest.raises(StopIteration) as stopped:
        main().send(None)
    assert stopped.value.value is None


def test_stop_iterations_are_not_mixed_up(library):
    caught = []
    for result in (True, False, True):
        coroutine = library.sleep(0, result)
        coroutine.send(None)
        try:
            coroutine.send(None)
        except StopIteration as stopped:
            caught.append(stopped)
    assert [stopped.value for stopped in caught] == [True, False, True]
    assert [stopped.args for stopped in caught] == [(True,), (False,), (True,)]


def test_thrown_into(library):
    coroutine = library.sleep(0)
    with pytest.raises(KeyError):
        coroutine.throw(KeyError("before it has begun"))
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)
    coroutine = library.sleep(0)
    coroutine.send(None)
    with pytest.raises(KeyError):
        coroutine.throw(KeyError("while it waits"))


def test_closed(library):
    coroutine = library.sleep(0)
    coroutine.send(None)
    coroutine.close()
    coroutine.close()
    with pytest.raises(RuntimeError, match="cannot reuse already awaited coroutine"):
        coroutine.send(None)


def test_awaited_twice_at_once(library, loop):
    async def wait_for(coroutine):
        await coroutine

    async def main():
        coroutine = library.Event().wait()
        first = asyncio.ensure_future(wait_for(coroutine))
        await asyncio.sleep(0)
        with pytest.raises(RuntimeError, match="coroutine is being awaited already"):
            await coroutine
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first

    loop.run_until_complete(main())


def test_never_awaited(library):
    with pytest.warns(RuntimeWarning, match="coroutine 'sleep' was never awaited"):
        library.sleep(0)
        gc.collect()
    with pytest.warns(RuntimeWarning, match="coroutine 'Lock.acquire' was never awaited"):
        library.Lock().acquire()
        gc.collect()
    library.sleep(0).close()
    gc.collect()


def test_never_awaited_after_others_were_found_as_garbage(library):
    class Owner:
        pass

    for _ in range(3):
        owner = Owner()
        owner.itself, owner.coroutine = owner, library.Lock().acquire()
        with pytest.warns(RuntimeWarning, match="coroutine 'Lock.acquire' was never awaited"):
            del owner
            gc.collect()
        with pytest.warns(RuntimeWarning, match="coroutine 'Lock.acquire' was never awaited"):
            library.Lock().acquire()
            gc.collect()


def test_one_that_is_over_keeps_nothing(library, loop):
    class Item:
        pass

    async def main():
        queue, lock = library.Queue(), library.Lock()
        queue.put_nowait(Item())
        put = Item()
        kept = [
            queue.get(),
            queue.put(put),
            queue.join(),
            lock.acquire(),
            lock.__aexit__(None, None, None),
            lock.__aenter__(),
        ]
        references = [weakref.ref(thing) for thing in (queue, lock, put)]
        await kept[0]
        queue.task_done()
        await kept[1]
        queue.task_done()
        for coroutine in kept[2:]:
            await coroutine
        del queue, lock, put
        return [reference() for reference in references], len(kept)

    assert loop.run_until_complete(main()) == ([None] * 3, 6)


def test_where_it_was_made(library):
    assert (coroutine := library.sleep(0)).cr_origin is None
    coroutine.close()
    sys.set_coroutine_origin_tracking_depth(2)
    try:
        coroutine = library.sleep(0)
    finally:
        sys.set_coroutine_origin_tracking_depth(0)
    assert len(coroutine.cr_origin) == 2
    assert coroutine.cr_origin[0][0] == __file__
    assert coroutine.cr_origin[0][2] == "test_where_it_was_made"
    with pytest.warns(
        RuntimeWarning, match=r"(?s)never awaited.*created at.*test_where_it_was_made"
    ):
        del coroutine
        gc.collect()


def test_what_dies_while_it_waits_is_closed(library, loop):
    event = library.Event()

    async def main():
        coroutine = event.wait()
        coroutine.send(None)
        assert len(event._waiters) == 1
        del coroutine
        gc.collect()
        assert len(event._waiters) == 0

    loop.run_until_complete(main())


def test_any_task_drives_them(library, loop, task_class):
    async def main():
        queue = library.Queue()
        getter = task_class(queue.get(), loop=loop)
        assert await library.sleep(0, 1) == 1
        await queue.put(2)
        assert await getter == 2
        lock = library.Lock()
        assert await task_class(lock.acquire(), loop=loop)
        waiting = task_class(lock.acquire(), loop=loop)
        await library.sleep(0)
        lock.release()
        assert await waiting
        lock.release()
        async with asyncio.timeout(60), lock:
            return await task_class(library.sleep(0.0001, 3), loop=loop)

    assert loop.run_until_complete(task_class(main(), loop=loop)) == 3


def test_asyncios_functions_take_them(library, loop):
    async def main():
        queue = library.Queue()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(queue.get(), 0.0001)
        results = await asyncio.gather(library.sleep(0, 1), library.sleep(0, 2))
        task = asyncio.create_task(library.sleep(0, 3))
        done, _ = await asyncio.wait([task])
        return [*results, *(each.result() for each in done)]

    assert loop.run_until_complete(main()) == [1, 2, 3]


class TestSleep:
    """``sleep``."""

    def test_errors(self, library, loop):
        with pytest.raises(TypeError):
            library.sleep()
        with pytest.raises(TypeError, match="unexpected keyword argument 'loop'"):
            library.sleep(0, loop=loop)
        with pytest.raises(TypeError):
            loop.run_until_complete(library.sleep("soon"))
        coroutine = library.sleep(1)
        with pytest.raises(RuntimeError, match="no running event loop"):
            coroutine.send(None)

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="checked from 3.13")
    def test_nan(self, library, loop):
        with pytest.raises(ValueError, match=r"Invalid delay: NaN \(not a number\)"):
            loop.run_until_complete(library.sleep(float("nan")))

    def test_keywords(self, library, loop):
        assert loop.run_until_complete(library.sleep(delay=-1, result="x")) == "x"

    def test_the_timer_goes_with_the_wait(self, library, loop):
        async def main():
            task = asyncio.ensure_future(library.sleep(3600))
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        # The fixture complains of timers that are left.
        loop.run_until_complete(main())

    def test_zero_takes_one_turn(self, library, loop):
        task = loop.create_task(library.sleep(0))
        run_turns(loop, 2)
        assert task.done()

    def test_pickled_by_name(self, library):
        assert pickle.loads(pickle.dumps(library.sleep)) is library.sleep


def test_yield_from_what_dunder_await_returns(library, task_class, loop):
    """The idiom of awaitable classes whose ``__await__`` is a generator."""

    class Awaitable:
        def __await__(self):
            lock = library.Lock()
            acquired = yield from lock.acquire().__await__()
            slept = yield from library.sleep(0, "slept").__await__()
            return acquired, lock.locked(), slept

    async def main():
        return await Awaitable()

    task = task_class(main(), loop=loop)
    assert loop.run_until_complete(task) == (True, True, "slept")


def test_dunder_await_returns_an_iterator_and_the_coroutine_is_none(library):
    coroutine = library.sleep(0, "slept")
    with pytest.raises(TypeError, match="not iterable"):
        iter(coroutine)
    iterator = coroutine.__await__()
    assert iter(iterator) is iterator
    assert isinstance(iterator, collections.abc.Iterator)
    assert next(iterator) is None
    with pytest.raises(RuntimeError, match="already"):
        iterator.throw(RuntimeError("already"))
    iterator.close()
