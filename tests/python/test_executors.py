"""Blocking calls in threads: ``run_in_executor``, ``to_thread``, the default executor's end."""

import asyncio
import concurrent.futures
import contextvars
import gc
import sys
import threading
import time

import pytest

from turns import run_until, run_until_idle


@pytest.fixture
def loop(make_loop):
    loop = make_loop()
    yield loop
    if not loop.is_closed():
        # The threads have to end, or they are found open by the next test.
        loop.run_until_complete(loop.shutdown_default_executor())


def test_a_result(loop):
    def blocks(value):
        return value * 2, threading.current_thread() is threading.main_thread()

    assert loop.run_until_complete(loop.run_in_executor(None, blocks, 21)) == (42, False)


def test_an_exception(loop):
    def fails():
        raise ZeroDivisionError("on purpose")

    with pytest.raises(ZeroDivisionError, match="on purpose"):
        loop.run_until_complete(loop.run_in_executor(None, fails))


def test_base_exceptions_come_through(loop):
    def fails(error):
        raise error

    async def main():
        for error in (KeyboardInterrupt, SystemExit, GeneratorExit):
            with pytest.raises(error):
                await loop.run_in_executor(None, fails, error)

    loop.run_until_complete(main())


def test_an_executor_of_the_programs_own(loop):
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine") as executor:
        future = loop.run_in_executor(executor, lambda: threading.current_thread().name)
        assert loop.run_until_complete(future).startswith("mine")


def test_the_threads_of_the_default_one_are_named(loop):
    future = loop.run_in_executor(None, lambda: threading.current_thread().name)
    assert loop.run_until_complete(future).startswith("asyncio_")


def test_many_at_once(loop):
    async def main():
        return await asyncio.gather(
            *[loop.run_in_executor(None, lambda number=number: number) for number in range(200)]
        )

    assert loop.run_until_complete(main()) == list(range(200))


def test_the_loop_goes_on_meanwhile(loop):
    release = threading.Event()
    ticks = []

    async def main():
        blocking = loop.run_in_executor(None, release.wait, 60)
        for number in range(10):
            ticks.append(number)
            await asyncio.sleep(0)
        release.set()
        return await blocking

    assert loop.run_until_complete(main())
    assert ticks == list(range(10))


def test_to_thread_takes_the_context_along(loop):
    variable = contextvars.ContextVar("variable", default="unset")

    async def main():
        variable.set("of the task")
        return await asyncio.to_thread(variable.get)

    assert loop.run_until_complete(main()) == "of the task"


def test_cancelling_what_has_not_begun(loop):
    release = threading.Event()
    began = []
    with concurrent.futures.ThreadPoolExecutor(1) as executor:
        first = loop.run_in_executor(executor, release.wait, 60)
        second = loop.run_in_executor(executor, began.append, "second")
        second.cancel()
        run_until_idle(loop)
        release.set()
        assert loop.run_until_complete(first)
    assert began == []
    assert second.cancelled()


def test_cancelling_what_runs(loop):
    """The thread cannot be stopped; its result is dropped."""
    started, release = threading.Event(), threading.Event()

    def blocks():
        started.set()
        release.wait(60)
        return "late"

    async def main():
        task = asyncio.create_task(asyncio.to_thread(blocks))
        while not started.is_set():
            await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        release.set()
        await loop.shutdown_default_executor()

    loop.run_until_complete(main())


def test_set_default_executor(loop):
    executor = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="mine")
    loop.set_default_executor(executor)
    future = loop.run_in_executor(None, lambda: threading.current_thread().name)
    assert loop.run_until_complete(future).startswith("mine")


@pytest.mark.parametrize("wrong", [None, object(), concurrent.futures.Executor()], ids=repr)
def test_what_is_no_thread_pool(loop, wrong):
    with pytest.raises(TypeError, match="executor must be ThreadPoolExecutor instance"):
        loop.set_default_executor(wrong)


def test_shutdown_waits_for_the_threads(loop):
    finished = []

    def blocks():
        time.sleep(0.02)
        finished.append(True)

    async def main():
        loop.run_in_executor(None, blocks)
        await loop.shutdown_default_executor()
        assert finished == [True]
        with pytest.raises(RuntimeError, match="Executor shutdown has been called"):
            loop.run_in_executor(None, blocks)

    loop.run_until_complete(main())
    run_until_idle(loop)


def test_shutdown_of_none(loop):
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.run_until_complete(loop.shutdown_default_executor())


def test_shutdown_with_a_timeout(loop, implementation):
    if sys.version_info < (3, 13) and not implementation.is_ferrio:
        pytest.skip("asyncio has it from 3.12, where it waits for the threads all the same")
    release = threading.Event()

    async def main():
        future = loop.run_in_executor(None, release.wait, 60)
        with pytest.warns(RuntimeWarning, match="did not finishing joining its threads within"):
            await loop.shutdown_default_executor(0.01)
        release.set()
        assert await future

    loop.run_until_complete(main())
    run_until_idle(loop)
    for thread in threading.enumerate():
        if thread is not threading.current_thread():
            thread.join(60)
    run_until_idle(loop)


def test_close_does_not_wait_for_the_threads(make_loop):
    release = threading.Event()
    loop = make_loop()
    future = loop.run_in_executor(None, release.wait, 60)
    loop.close()
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("asyncio_"):
            thread.join(60)
    assert not future.done()
    gc.collect()


def test_a_result_that_comes_after_the_loop_was_closed(make_loop):
    """The thread's message is dropped without a word."""
    release = threading.Event()
    loop = make_loop()
    loop.run_in_executor(None, release.wait, 60)
    loop.close()
    release.set()
    for thread in threading.enumerate():
        if thread.name.startswith("asyncio_"):
            thread.join(60)
    gc.collect()


def test_run_shuts_it_down(implementation, watched):
    names = []

    async def main():
        names.append(await asyncio.to_thread(lambda: threading.current_thread().name))

    implementation.run(main())
    assert not [thread for thread in threading.enumerate() if thread.name in names]


def test_wakes_a_loop_that_waits(loop):
    """No timer and no other event: only the thread's end."""
    for _ in range(20):
        assert loop.run_until_complete(loop.run_in_executor(None, time.sleep, 0.001)) is None


def test_nothing_of_a_call_is_kept(loop):
    import weakref

    class Argument:
        pass

    argument = Argument()
    reference = weakref.ref(argument)
    loop.run_until_complete(loop.run_in_executor(None, lambda argument: None, argument))
    del argument
    loop.run_until_complete(loop.run_in_executor(None, int))
    run_until(loop, lambda: gc.collect() is not None and reference() is None)
