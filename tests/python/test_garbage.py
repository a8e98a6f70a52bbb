"""Cycles through tasks, futures, handles and loops are found by the garbage collector.

And nothing breaks when it runs at every allocation.
"""

import asyncio
import contextvars
import gc
import sys
import weakref

import pytest

import ferrio
from turns import run_turn, run_turns, run_until_idle
from watch import collecting_all_the_time


def test_future_in_a_cycle_with_its_result(loop):
    class Result:
        pass

    result = Result()
    result.future = loop.create_future()
    result.future.set_result(result)
    reference = weakref.ref(result)
    del result
    gc.collect()
    assert reference() is None


def test_future_in_a_cycle_with_its_exception(loop):
    error = KeyError()
    error.future = loop.create_future()
    error.future.set_exception(error)
    error.future.exception()
    reference = weakref.ref(error.future)
    del error
    gc.collect()
    assert reference() is None


def test_future_in_a_cycle_with_its_cancel_message(loop):
    class Message:
        pass

    message = Message()
    message.future = loop.create_future()
    message.future.cancel(message)
    reference = weakref.ref(message)
    del message
    gc.collect()
    assert reference() is None


def test_future_in_a_cycle_with_its_attributes(loop):
    for make in (loop.create_future, lambda: loop.create_task(asyncio.sleep(0))):
        thing = make()
        thing.itself = thing
        run_until_idle(loop)
        reference = weakref.ref(thing)
        del thing
        gc.collect()
        assert reference() is None


def test_task_in_a_cycle_with_its_coroutine(loop):
    async def coroutine():
        mine = asyncio.current_task()
        await asyncio.sleep(0)
        return mine

    reference = weakref.ref(loop.create_task(coroutine()))
    run_until_idle(loop)
    gc.collect()
    assert reference() is None


def test_task_in_a_cycle_with_its_context(loop):
    variable = contextvars.ContextVar("variable")

    async def coroutine():
        variable.set(asyncio.current_task())

    reference = weakref.ref(loop.create_task(coroutine()))
    run_until_idle(loop)
    gc.collect()
    assert reference() is None


def test_task_in_a_cycle_with_its_name(loop):
    class Name(str):
        pass

    name = Name("name")
    task = loop.create_task(asyncio.sleep(0), name=name)
    name.task = task
    reference = weakref.ref(task)
    run_until_idle(loop)
    del task, name
    gc.collect()
    assert reference() is None


def test_callback_in_a_cycle_with_its_future(loop):
    class Callback:
        def __call__(self, done):
            pass

    callback = Callback()
    callback.future = loop.create_future()
    callback.future.add_done_callback(callback)
    reference = weakref.ref(callback)
    del callback
    gc.collect()
    assert reference() is None


def test_many_callbacks_in_a_cycle_with_their_future(loop):
    class Callback:
        def __call__(self, done):
            pass

    future = loop.create_future()
    references = []
    for _ in range(10):
        callback = Callback()
        callback.future = future
        future.add_done_callback(callback)
        references.append(weakref.ref(callback))
    del callback, future
    gc.collect()
    assert not any(reference() for reference in references)


def test_handle_in_a_cycle_with_its_argument(loop):
    class Argument:
        pass

    argument = Argument()
    argument.handle = loop.call_soon(lambda argument: None, argument)
    reference = weakref.ref(argument)
    run_turn(loop)
    del argument
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("when", ["pending", "cancelled", "fired"])
def test_timer_in_a_cycle_with_its_argument(make_loop, when):
    class Argument:
        pass

    loop = make_loop()
    argument = Argument()
    argument.handle = loop.call_later(0 if when == "fired" else 1000, int, 0)
    argument.handle.cancel()
    argument.handle = loop.call_later(
        0 if when == "fired" else 1000, lambda argument: None, argument
    )
    reference = weakref.ref(argument)
    if when == "cancelled":
        argument.handle.cancel()
    run_turn(loop)
    del argument
    if when == "pending":
        gc.collect()
        assert reference() is not None
        loop.close()
    gc.collect()
    assert reference() is None


def test_a_loop_that_is_dropped_unclosed_is_found_and_warned_of(implementation, watched):
    """With tasks, timers and callbacks that all refer to it."""
    loop = implementation.EventLoop()
    loop.set_exception_handler(lambda loop, context: None)
    reference = weakref.ref(loop)
    future = loop.create_future()

    async def waits():
        await future

    loop.create_task(waits())
    run_turn(loop)
    loop.call_later(1000, lambda: loop)
    loop.call_soon(lambda: loop)
    loop.itself = loop
    del future
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del loop, waits
        gc.collect()
    assert reference() is None


def test_a_closed_loop_is_freed_without_the_collector(implementation, watched):
    gc.collect()
    gc.disable()
    try:
        loop = implementation.EventLoop()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        reference = weakref.ref(loop)
        del loop
        if implementation.is_ferrio:
            assert reference() is None
    finally:
        gc.enable()
    gc.collect()
    assert reference() is None


def test_hundreds_of_loops_leave_no_objects(implementation, watched):
    """What one run leaves behind, a thousand leave behind a thousand times."""

    async def main():
        future = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_later(0, future.set_result, 1)
        await asyncio.gather(future, asyncio.sleep(0), asyncio.create_task(asyncio.sleep(0)))

    def run(times):
        for _ in range(times):
            implementation.run(main())
        gc.collect()
        return len(gc.get_objects())

    run(5)
    before = run(5)
    assert run(100) - before < 50


def test_reference_counts_of_the_singletons(loop):
    """A lost or surplus reference to None shows in versions where None is mortal."""
    if sys.version_info >= (3, 12):
        pytest.skip("None is immortal")

    async def main():
        for _ in range(1000):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            await future
            await asyncio.sleep(0)
            task = asyncio.create_task(asyncio.sleep(0))
            await task

    loop.run_until_complete(main())
    before = sys.getrefcount(None)
    loop.run_until_complete(main())
    gc.collect()
    assert abs(sys.getrefcount(None) - before) < 100


def test_traversal_shows_what_is_held(loop):
    """gc.get_referents is what leak hunters and the collector itself use."""
    result = object()
    future = loop.create_future()
    future.set_result(result)
    assert result in gc.get_referents(future)
    assert loop in gc.get_referents(future)

    async def coroutine():
        await asyncio.sleep(0)

    task = loop.create_task(coroutine())
    assert task.get_coro() in gc.get_referents(task)
    argument = object()
    handle = loop.call_soon(lambda argument: None, argument)
    held = gc.get_referents(handle)
    assert any(argument is one or argument in (one if type(one) is tuple else ()) for one in held)
    run_until_idle(loop)


def program(loop):
    """A bit of everything, whose log must not depend on when garbage is collected."""
    log = []

    async def worker(name, queue):
        try:
            while True:
                item = await queue.get()
                log.append((name, item))
                if item % 7 == 0:
                    await asyncio.sleep(0)
                if item % 5 == 0:
                    raise ZeroDivisionError(item)
        except asyncio.CancelledError:
            log.append((name, "cancelled"))
            raise
        finally:
            log.append((name, "finally"))

    async def main():
        queue = asyncio.Queue()
        workers = [asyncio.create_task(worker(f"w{number}", queue)) for number in range(5)]
        for item in range(1, 30):
            queue.put_nowait(item)
            if item % 3 == 0:
                await asyncio.sleep(0)
        # However soon the time is up, the workers have done all that they can.
        for _ in range(100):
            await asyncio.sleep(0)
        try:
            async with asyncio.timeout(0.01):
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.sleep(1000))
        except TimeoutError:
            log.append("timeout")
        for task in workers:
            task.cancel()
        for outcome in await asyncio.gather(*workers, return_exceptions=True):
            log.append(repr(outcome))
        event, lock = asyncio.Event(), asyncio.Lock()

        async def locked(number):
            async with lock:
                await asyncio.sleep(0)
                log.append(("locked", number))
            await event.wait()
            return number

        tasks = [asyncio.create_task(locked(number)) for number in range(5)]
        tasks[2].cancel("no longer wanted")
        loop.call_later(0.001, event.set)
        done = await asyncio.gather(*tasks, return_exceptions=True)
        log.append(repr(done))
        return log

    return loop.run_until_complete(main())


def test_a_program_while_garbage_is_collected_all_the_time(loop, make_loop):
    expected = program(make_loop())
    with collecting_all_the_time():
        assert program(loop) == expected


def test_collections_from_within_callbacks(loop):
    """The collector traverses the loop in the middle of its turn."""
    seen = []

    class Noisy:
        def __init__(self, name):
            self.itself = self
            self.name = name

        def __del__(self):
            seen.append(self.name)
            loop.call_soon(seen.append, f"{self.name} called")
            loop.call_later(0, seen.append, f"{self.name} timer").cancel()

    def callback(number):
        Noisy(number)
        gc.collect()

    for number in range(10):
        loop.call_soon(callback, number)
        loop.call_later(0, callback, 100 + number)
    run_turns(loop, 5)
    assert sorted(name for name in seen if isinstance(name, int)) == [
        *range(10),
        *range(100, 110),
    ]


def test_descriptors_watched_while_garbage_is_collected(loop):
    import socket

    with collecting_all_the_time():
        pairs = [socket.socketpair() for _ in range(20)]
        for one, other in pairs:
            loop.add_reader(one, int)
            loop.add_writer(one, int)
            loop.add_reader(other, lambda: None)
        run_turns(loop, 2)
        for one, other in pairs:
            with pytest.raises((ValueError, TypeError)):
                loop.add_reader("not a file", int)
            assert loop.remove_reader(one)
            assert loop.remove_writer(one)
            assert loop.remove_reader(other)
            one.close()
            other.close()


# Deep enough for a stack of any size, if each took a frame.
LONG = 100_000


class TestChains:
    """Chains of any length are freed without a stack frame for each link."""

    @pytest.fixture
    def loop(self, make_loop):
        # asyncio's own futures do overflow the stack.
        return make_loop(ferrio.EventLoop)

    def test_futures_that_are_results(self, loop):
        chain = last = loop.create_future()
        for _ in range(LONG):
            future = loop.create_future()
            future.set_result(chain)
            chain = future
        last.set_result(weakref.ref(last))
        reference = last.result()
        del last, future
        assert reference() is not None
        del chain
        assert reference() is None

    def test_who_is_kept_at_the_end_of_a_chain_is_collected_later(self, loop):
        kept = []
        loop.set_exception_handler(lambda _loop, context: kept.append(context["future"]))
        for length in range(40, 60):
            chain = loop.create_future()
            chain.set_exception(ValueError())
            for _ in range(length):
                future = loop.create_future()
                future.set_result(chain)
                chain = future
            del chain, future
            (future,) = kept
            kept.clear()
            assert gc.is_tracked(future)
            future.exception().itself = future
            reference = weakref.ref(future)
            del future
            gc.collect()
            assert reference() is None

    def test_a_subclass(self, loop):
        class MyFuture(ferrio.Future):
            pass

        chain = None
        for _ in range(LONG):
            future = MyFuture(loop=loop)
            future.set_result(chain)
            chain = future
        reference = weakref.ref(chain)
        del chain, future
        assert reference() is None

    def test_gathers(self, loop):
        future = loop.create_future()
        gathered = ferrio.gather(future)
        for _ in range(LONG):
            gathered = ferrio.gather(gathered)
        reference = weakref.ref(gathered)
        del gathered
        assert reference() is not None
        del future
        gc.collect()
        assert reference() is None

    def test_tasks(self, loop):
        async def returns(value):
            return value

        async def main():
            task = None
            for _ in range(LONG):
                task = asyncio.ensure_future(returns(task))
                await task
            return weakref.ref(task)

        reference = loop.run_until_complete(main())
        run_until_idle(loop)
        assert reference() is None

    def test_what_a_finalizer_frees(self, loop):
        """A chain within a chain: the inner one may be put off, and is freed all the same."""
        freed = []

        class Link:
            def __init__(self, inner):
                self.inner = inner

            def __del__(self):
                freed.append(self.inner)
                self.inner = None

        def chain(length, value):
            for _ in range(length):
                future = loop.create_future()
                future.set_result(value)
                value = future
            return value

        last = loop.create_future()
        reference = weakref.ref(last)
        outer = chain(100, Link(chain(100, last)))
        del last
        outer = chain(100, outer)
        del outer
        assert len(freed) == 1
        freed.clear()
        assert reference() is None
