"""``timeout``, ``Timeout`` and ``wait_for``: asyncio's and the native ones alike."""

import asyncio
import contextlib
import gc
import inspect
import pickle
import sys
import weakref

import pytest

import ferrio
from watch import collecting_all_the_time

pytest_plugins = ["library_fixtures"]


def test_identity(library):
    class Derived(library.Timeout):
        pass

    for made in (library.Timeout(None), Derived(1)):
        assert isinstance(made, asyncio.Timeout)
        assert isinstance(made, library.Timeout)
        assert weakref.ref(made)() is made
        made.anything = 1
        assert made.__dict__["anything"] == 1
    assert Derived(1).__class__.__name__ == "Derived"
    assert library.timeout_at(3).when() == 3
    assert library.timeout_at(None).when() is None


def test_signatures_are_asyncios():
    for name in ("timeout", "timeout_at", "wait_for"):
        native, original = getattr(ferrio, name), getattr(asyncio, name)
        assert inspect.signature(native) == inspect.signature(original)
        assert native.__name__ == original.__name__
        assert inspect.iscoroutinefunction(native) == inspect.iscoroutinefunction(original)
    with pytest.raises(TypeError):
        ferrio.Timeout()


def test_states_and_representations(library, run):
    async def main():
        timeout = library.timeout(1000)
        states = [timeout._state.name, repr(timeout)]
        assert timeout._task is None
        assert timeout._timeout_handler is None
        async with timeout as entered:
            assert entered is timeout
            assert timeout._task is asyncio.current_task()
            assert timeout._timeout_handler.when() == timeout.when()
            assert timeout._cancelling == 0
            states += [timeout._state.name, repr(timeout)]
        states += [timeout._state.name, repr(timeout), timeout.expired()]
        assert timeout._timeout_handler is None
        when = f"{round(timeout.when(), 3)}"
        assert states == [
            "CREATED",
            "<Timeout [created]>",
            "ENTERED",
            f"<Timeout [active] when={when}>",
            "EXITED",
            "<Timeout [finished]>",
            False,
        ]
        async with library.timeout(None) as timeout:
            assert repr(timeout) == "<Timeout [active] when=None>"
            assert timeout._timeout_handler is None

    run(main())


def test_the_time_is_up(library, run):
    async def main():
        task = asyncio.current_task()
        with pytest.raises(TimeoutError) as caught:
            async with library.timeout(0.001) as timeout:
                await asyncio.sleep(1000)
        assert type(caught.value.__cause__) is asyncio.CancelledError
        assert caught.value.__context__ is caught.value.__cause__
        assert caught.value.__suppress_context__
        assert timeout.expired()
        assert repr(timeout) == "<Timeout [expired]>"
        assert timeout._state.name == "EXPIRED"
        assert task.cancelling() == 0
        await asyncio.sleep(0)

    run(main())


@pytest.mark.parametrize("delay", [0, -1, 0.0, False])
def test_no_time_at_all(library, run, delay):
    async def main():
        with pytest.raises(TimeoutError):
            async with library.timeout(delay) as timeout:
                assert not timeout.expired()
                assert not hasattr(timeout._timeout_handler, "when")
                await asyncio.sleep(1000)
        # The task has to come to an await: a block without one is not stopped.
        async with library.timeout(delay) as timeout:
            pass
        assert not timeout.expired()
        await asyncio.sleep(0)

    run(main())


def test_an_expiring_timeout_lets_other_results_through(library, run):
    async def main():
        async with library.timeout(0.001) as timeout:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(1000)
            assert repr(timeout) == "<Timeout [expiring]>"
            assert timeout.expired()
        assert asyncio.current_task().cancelling() == 0
        with pytest.raises(KeyError) as caught:
            async with library.timeout(0.001):
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    raise KeyError from None
        # Since 3.13 the chain says why.
        marks = hasattr(asyncio.Timeout, "_insert_timeout_error")
        expected = TimeoutError if marks else asyncio.CancelledError
        assert type(caught.value.__context__) is expected

    run(main())


@pytest.mark.skipif(
    not hasattr(asyncio.Timeout, "_insert_timeout_error"), reason="chains are marked since 3.13"
)
def test_the_exceptions_of_a_group_are_marked(library, run):
    async def main():
        with pytest.raises(ExceptionGroup) as caught:
            async with library.timeout(0.001):
                try:
                    await asyncio.sleep(1000)
                except asyncio.CancelledError:
                    try:
                        raise KeyError
                    except KeyError as error:
                        raise ExceptionGroup("several", [error]) from None
        group = caught.value
        assert type(group.exceptions[0].__context__) is TimeoutError
        assert type(group.exceptions[0].__context__.__cause__) is asyncio.CancelledError

    run(main())


def test_a_cancellation_from_outside(library, loop, task_class):
    entered = []

    async def main():
        async with library.timeout(1000) as timeout:
            entered.append(timeout)
            await asyncio.sleep(1000)

    task = task_class(main(), loop=loop)
    loop.call_soon(loop.call_soon, task.cancel, "outside")
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert not entered[0].expired()
    assert task.cancelling() == 1


def test_both_at_once_is_the_cancellation_from_outside(library, loop, task_class):
    async def main():
        async with library.timeout(0) as timeout:
            assert repr(timeout._timeout_handler)
            asyncio.current_task().cancel()
            await asyncio.sleep(1000)

    task = task_class(main(), loop=loop)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)


def test_nested(library, run):
    async def main():
        with pytest.raises(TimeoutError):
            async with library.timeout(0.001) as outer:
                async with library.timeout(1000) as inner:
                    await asyncio.sleep(1000)
        assert outer.expired()
        assert not inner.expired()
        async with library.timeout(1000) as outer:
            with pytest.raises(TimeoutError):
                async with library.timeout(0.001) as inner:
                    await asyncio.sleep(1000)
        assert not outer.expired()
        assert inner.expired()

    run(main())


def test_rescheduled(library, run):
    async def main():
        loop = asyncio.get_running_loop()
        timeout = library.timeout(1000)
        with pytest.raises(RuntimeError, match="Timeout has not been entered"):
            timeout.reschedule(3)
        async with timeout:
            first = timeout._timeout_handler
            timeout.reschedule(when=loop.time() + 2000)
            assert first.cancelled()
            assert timeout.when() == timeout._timeout_handler.when() != first.when()
            timeout.reschedule(None)
            assert timeout._timeout_handler is None
            assert timeout.when() is None
        with pytest.raises(RuntimeError, match="Cannot change state of finished Timeout"):
            timeout.reschedule(3)
        with pytest.raises(TimeoutError):
            async with library.timeout(None) as timeout:
                timeout.reschedule(loop.time() - 1)
                await asyncio.sleep(1000)
        with pytest.raises(RuntimeError, match="Cannot change state of expired Timeout"):
            timeout.reschedule(3)

    run(main())


def test_misuse(library, run, loop):
    async def main():
        timeout = library.timeout(1000)
        with pytest.raises(AssertionError):
            await timeout.__aexit__(None, None, None)
        async with timeout:
            with pytest.raises(RuntimeError, match="Timeout has already been entered"):
                await timeout.__aenter__()
        with pytest.raises(AssertionError):
            await timeout.__aexit__(None, None, None)
        with pytest.raises(AssertionError):
            timeout._on_timeout()
        with pytest.raises(TypeError):
            library.timeout("1")
        with pytest.raises(TypeError):
            async with library.timeout_at("1"):
                pass

    run(main())
    with pytest.raises(RuntimeError, match="no running event loop"):
        library.timeout(1)
    entering = library.Timeout(1).__aenter__()
    failures = []

    def outside():
        try:
            entering.send(None)
        except RuntimeError as error:
            failures.append(str(error))

    loop.call_soon(outside)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert failures == ["Timeout should be used inside a task"]


def test_a_subclass_keeps_its_methods(library, run):
    calls = []

    class Mine(library.Timeout):
        def reschedule(self, when):
            calls.append(when)
            super().reschedule(when)

        def _on_timeout(self):
            calls.append("struck")
            super()._on_timeout()

    async def main():
        with pytest.raises(TimeoutError):
            async with Mine(0):
                await asyncio.sleep(1000)
        timeout = library.Timeout(5)
        timeout.reschedule = calls.append
        async with timeout:
            pass

    run(main())
    assert calls == [0, "struck", 5]


def test_the_loops_methods_are_called_where_somebody_has_replaced_them(library):
    calls = []

    class Loop(ferrio.EventLoop):
        def time(self):
            calls.append("time")
            return super().time()

        def call_at(self, when, callback, *arguments, context=None):
            calls.append("call_at")
            return super().call_at(when, callback, *arguments, context=context)

    async def main():
        calls.clear()
        async with library.timeout(1000):
            pass
        return list(calls)

    loop = Loop()
    try:
        assert loop.run_until_complete(main()) == ["time", "time", "call_at"]
    finally:
        loop.close()


def test_pickled(library):
    copy = pickle.loads(pickle.dumps(library.Timeout(3.5)))
    assert isinstance(copy, library.Timeout)
    assert copy.when() == 3.5
    assert repr(copy) == "<Timeout [created]>"


def test_a_cycle_is_collected(library, run):
    async def main():
        timeout = library.timeout(1000)
        timeout.itself = timeout
        async with timeout:
            pass
        return weakref.ref(timeout)

    reference = run(main())
    gc.collect()
    assert reference() is None


def test_nothing_is_kept(library, run):
    """Neither the timeout nor what was awaited outlives the block."""

    class Marker:
        pass

    async def stay(marker):
        await asyncio.sleep(1000)

    async def return_at_once(marker):
        return 1

    async def main():
        references = []
        for body, delay in ((stay, 0.001), (return_at_once, 1000), (stay, 0)):
            marker = Marker()
            references.append(weakref.ref(marker))
            with contextlib.suppress(TimeoutError):
                await library.wait_for(body(marker), delay)
            del marker
        timeout = library.timeout(1000)
        references.append(weakref.ref(timeout))
        async with timeout:
            await asyncio.sleep(0)
        del timeout
        return references

    references = run(main())
    gc.collect()
    assert [reference() for reference in references] == [None] * 4


def test_collecting_all_the_time(library, run):
    async def main():
        for _ in range(5):
            async with library.timeout(1000):
                await library.wait_for(asyncio.sleep(0), 1000)
            with pytest.raises(TimeoutError):
                await library.wait_for(asyncio.sleep(1000), 0.0001)

    with collecting_all_the_time():
        run(main())


# wait_for


async def returning(value):
    await asyncio.sleep(0)
    return value


async def raising(error):
    await asyncio.sleep(0)
    raise error


@pytest.mark.parametrize("timeout", [None, 1000, 1000.0])
def test_wait_for_passes_on_what_comes_of_it(library, run, timeout):
    async def main():
        loop = asyncio.get_running_loop()
        assert await library.wait_for(returning(1), timeout) == 1
        with pytest.raises(KeyError):
            await library.wait_for(raising(KeyError()), timeout=timeout)
        future = loop.create_future()
        loop.call_soon(future.set_result, 2)
        assert await library.wait_for(fut=future, timeout=timeout) == 2
        assert await library.wait_for(future, timeout) == 2
        assert await library.wait_for(loop.create_task(returning(3)), timeout) == 3
        queue = library.Queue()
        loop.call_soon(queue.put_nowait, 4)
        assert await library.wait_for(queue.get(), timeout) == 4
        # Before 3.12 a timer is left behind.
        if timeout is None or sys.version_info >= (3, 12):
            with pytest.raises(TypeError):
                await library.wait_for(5, timeout)

    run(main())


def test_wait_for_when_the_time_is_up(library, run):
    async def main():
        future = asyncio.get_running_loop().create_future()
        with pytest.raises(TimeoutError) as caught:
            await library.wait_for(future, 0.001)
        assert future.cancelled()
        assert type(caught.value.__cause__) is asyncio.CancelledError
        assert caught.value.__context__ is caught.value.__cause__
        task = asyncio.ensure_future(asyncio.sleep(1000))
        with pytest.raises(TimeoutError):
            await library.wait_for(task, 0.001)
        assert task.cancelled()
        assert asyncio.current_task().cancelling() == 0

    run(main())


def test_what_came_before_the_timeout_is_as_in_asyncio(run):
    async def chain(library):
        try:
            raise ZeroDivisionError
        except ZeroDivisionError:
            with pytest.raises(TimeoutError) as caught:
                await library.wait_for(asyncio.sleep(1000), 0.001)
        error, classes = caught.value, []
        while error is not None:
            classes += [type(error), type(error.__cause__)]
            error = error.__context__
        return classes

    async def main():
        assert await chain(ferrio) == await chain(asyncio)

    run(main())


@pytest.mark.parametrize("timeout", [0, -1, 0.0])
def test_wait_for_without_time(library, run, timeout):
    async def main():
        started = []

        async def start():
            started.append(1)

        with pytest.raises(TimeoutError):
            await library.wait_for(start(), timeout)
        assert not started
        future = asyncio.get_running_loop().create_future()
        future.set_result(1)
        assert await library.wait_for(future, timeout) == 1

    run(main())


def test_what_suppresses_the_cancellation_has_its_result_returned(library, run):
    async def stubborn():
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            return "done all the same"

    async def failing():
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            raise KeyError from None

    async def main():
        assert await library.wait_for(stubborn(), 0.001) == "done all the same"
        with pytest.raises(KeyError):
            await library.wait_for(failing(), 0.001)

    run(main())


def test_wait_for_cancelled_from_outside(library, loop, task_class):
    ends = []

    async def inner():
        try:
            await asyncio.sleep(1000)
        except asyncio.CancelledError:
            ends.append("cancelled")
            raise

    async def main():
        await library.wait_for(inner(), 1000)

    task = task_class(main(), loop=loop)
    loop.call_later(0.001, task.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    assert ends == ["cancelled"]


@pytest.mark.skipif(sys.version_info < (3, 12), reason="needs no task before 3.12")
def test_wait_for_outside_a_task(library, loop):
    failures = []
    awaited = asyncio.sleep(0)

    def step():
        try:
            library.wait_for(awaited, 1000).send(None)
        except RuntimeError as error:
            failures.append(str(error))

    loop.call_soon(step)
    loop.call_soon(loop.stop)
    loop.run_forever()
    awaited.close()
    assert failures == ["Timeout should be used inside a task"]


def test_never_awaited(library):
    awaited = asyncio.sleep(0)
    with pytest.warns(RuntimeWarning, match="coroutine 'wait_for' was never awaited"):
        library.wait_for(awaited, 1)
        gc.collect()
    awaited.close()


def test_early_names_go_on_working_after_install(library, run):
    early = library.wait_for, library.timeout
    ferrio.install()
    try:

        async def main():
            wait_for, timeout = early
            assert await wait_for(returning(1), 1000) == 1
            async with timeout(1000), asyncio.timeout(1000):
                assert await asyncio.wait_for(returning(2), 1000) == 2
            with pytest.raises(TimeoutError):
                await wait_for(asyncio.sleep(1000), 0)

        assert asyncio.timeouts.timeout is ferrio.timeout
        assert asyncio.tasks.wait_for is ferrio.wait_for
        run(main())
    finally:
        ferrio.uninstall()
    assert asyncio.timeouts.timeout is not ferrio.timeout


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="wait_for() awaits what it is given")
class TestContextsOfErrors:
    """Up to 3.11 what is raised where a cancellation is being handled has it as its context."""

    def test_of_what_had_failed(self, library, run):
        async def main():
            inner = asyncio.get_running_loop().create_future()
            waiting = asyncio.ensure_future(library.wait_for(inner, 60))
            await asyncio.sleep(0)
            inner.set_exception(error := ValueError("failed"))
            waiting.cancel("stop")
            with pytest.raises(ValueError, match="failed") as caught:
                await waiting
            assert caught.value is error
            assert type(error.__context__) is asyncio.CancelledError

        run(main())

    def test_of_another_cancellation(self, library, run):
        async def main():
            release = asyncio.Event()

            async def stubborn():
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    await release.wait()

            waiting = asyncio.ensure_future(library.wait_for(stubborn(), 60))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            caught = []

            async def watch():
                try:
                    await waiting
                except asyncio.CancelledError as error:
                    caught.append(error)

            watching = asyncio.ensure_future(watch())
            await asyncio.sleep(0)
            waiting.cancel("first")
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            waiting.cancel("second")
            await watching
            release.set()
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            return contexts(caught[0])

        assert run(main()) == ["CancelledError: second", "CancelledError: first"]

    def test_nothing_is_handled_afterwards(self, library, run):
        async def main():
            inner = asyncio.get_running_loop().create_future()
            waiting = asyncio.ensure_future(library.wait_for(inner, 60))
            await asyncio.sleep(0)
            inner.set_result("done")
            waiting.cancel()
            assert await waiting == "done"
            assert sys.exc_info() == (None, None, None)
            with pytest.raises(KeyError) as caught:
                raise KeyError
            assert caught.value.__context__ is None

        run(main())


def contexts(error):
    """Return an error and its contexts, as text."""
    chain = []
    while error is not None:
        chain.append(f"{type(error).__name__}: {error}")
        error = error.__context__
    return chain
