"""Blocking calls in threads: ``run_in_executor``, ``to_thread``, the default executor's end."""

import asyncio
import concurrent.futures
import contextvars
import gc
import re
import subprocess
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


def test_a_blocking_wait_in_the_very_callback_that_submits(loop):
    """The job begins although the loop never comes to its next turn before."""
    done = threading.Event()

    async def main():
        await asyncio.to_thread(int)  # A thread is there, and has just gone idle.
        future = loop.run_in_executor(None, done.set)
        assert done.wait(60)
        await future

    loop.run_until_complete(main())


def test_keyword_arguments(loop):
    assert loop.run_until_complete(loop.run_in_executor(executor=None, func=int)) == 0


@pytest.mark.parametrize("arguments", [(), (None,)])
def test_missing_arguments(loop, arguments):
    with pytest.raises(TypeError, match="missing"):
        loop.run_in_executor(*arguments)


def test_what_has_submit_is_an_executor(loop):
    class Immediate:
        def submit(self, function, *arguments):
            future = concurrent.futures.Future()
            future.set_result(("submitted", function(*arguments)))
            return future

    outcome = loop.run_until_complete(loop.run_in_executor(Immediate(), int, "7"))
    assert outcome == ("submitted", 7)


def test_the_default_executor_is_there_to_be_looked_at(loop):
    assert loop._default_executor is None
    loop.run_until_complete(loop.run_in_executor(None, int))
    executor = loop._default_executor
    assert isinstance(executor, concurrent.futures.ThreadPoolExecutor)
    assert len(executor._threads) == 1
    assert executor._max_workers >= 5
    assert executor._work_queue.qsize() == 0
    names = {thread.name for thread in executor._threads}
    assert names == {"asyncio_0"}
    assert names <= {thread.name for thread in threading.enumerate()}


def test_there_are_as_many_threads_as_the_executor_says(loop):
    loop.run_until_complete(loop.run_in_executor(None, int))
    limit = loop._default_executor._max_workers
    release = threading.Event()

    async def main():
        running = [loop.run_in_executor(None, release.wait, 60) for _ in range(limit + 3)]
        assert loop._default_executor._work_queue.qsize() >= 3
        release.set()
        assert await asyncio.gather(*running) == [True] * (limit + 3)

    loop.run_until_complete(main())
    assert {thread.name for thread in loop._default_executor._threads} == {
        f"asyncio_{number}" for number in range(limit)
    }


def test_submitting_to_the_default_executor(loop):
    """It is an executor like any other: results, exceptions, map."""
    loop.run_until_complete(loop.run_in_executor(None, int))
    executor = loop._default_executor
    name = executor.submit(lambda *, suffix: threading.current_thread().name + suffix, suffix="!")
    assert name.result(60).startswith("asyncio_")
    failing = executor.submit(int, "no number")
    with pytest.raises(ValueError, match="no number"):
        failing.result(60)
    assert list(executor.map(abs, [-1, 2, -3])) == [1, 2, 3]
    wrapped = asyncio.wrap_future(executor.submit(int, "5"), loop=loop)
    assert loop.run_until_complete(wrapped) == 5


def test_the_default_executor_shut_down_by_hand(loop):
    loop.run_until_complete(loop.run_in_executor(None, int))
    loop._default_executor.shutdown()
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        loop.run_in_executor(None, int)
    with pytest.raises(RuntimeError, match="cannot schedule new futures after shutdown"):
        loop._default_executor.submit(int)


def test_what_has_not_begun_is_cancelled_by_a_shutdown_that_says_so(loop):
    loop.run_until_complete(loop.run_in_executor(None, int))
    executor = loop._default_executor
    release = threading.Event()
    started = threading.Semaphore(0)

    def block():
        started.release()
        return release.wait(60)

    running = [executor.submit(block) for _ in range(executor._max_workers)]
    for _ in running:
        assert started.acquire(timeout=60)
    waiting = executor.submit(int)
    executor.shutdown(wait=False, cancel_futures=True)
    release.set()
    assert waiting.cancelled()
    assert all(future.result(60) for future in running)


def test_calls_of_the_loops_that_have_not_begun_are_cancelled_too(loop):
    async def main():
        event = threading.Event()
        calls = [loop.run_in_executor(None, event.wait) for _ in range(40)]
        executor = loop._default_executor
        while executor._work_queue.qsize() > len(calls) - executor._max_workers:
            await asyncio.sleep(0.001)
        executor.shutdown(wait=False, cancel_futures=True)
        event.set()
        await asyncio.wait(calls, timeout=60)
        begun, others = calls[: executor._max_workers], calls[executor._max_workers :]
        assert others
        assert all(call.result() for call in begun)
        assert all(call.cancelled() for call in others)

    loop.run_until_complete(main())


def test_an_interrupt_while_a_thread_is_started(loop, monkeypatch):
    """It comes out, and the thread is not forgotten."""
    start = threading.Thread.start

    def interrupted(self):
        start(self)
        raise KeyboardInterrupt

    async def main():
        event = threading.Event()
        first = loop.run_in_executor(None, event.wait)
        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", interrupted)
            with pytest.raises(KeyboardInterrupt):
                loop.run_in_executor(None, event.wait)
        event.set()
        await first

    loop.run_until_complete(main())
    threads = loop._default_executor._threads
    loop.run_until_complete(loop.shutdown_default_executor())
    assert not any(thread.is_alive() for thread in threads)


def test_an_executor_that_is_assigned(loop):
    """Without a word, as some programs do."""
    loop.run_until_complete(loop.run_in_executor(None, int))
    loop._default_executor.shutdown()
    with concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="assigned") as executor:
        loop._default_executor = executor
        future = loop.run_in_executor(None, lambda: threading.current_thread().name)
        assert loop.run_until_complete(future).startswith("assigned")


def test_a_class_in_the_place_of_the_standard_one_is_used(loop, monkeypatch):
    made = []

    class Watched(concurrent.futures.ThreadPoolExecutor):
        def __init__(self, *arguments, **keywords):
            made.append(keywords)
            super().__init__(*arguments, **keywords)

    monkeypatch.setattr(concurrent.futures, "ThreadPoolExecutor", Watched)
    assert loop.run_until_complete(loop.run_in_executor(None, int)) == 0
    assert made == [{"thread_name_prefix": "asyncio"}]
    assert type(loop._default_executor) is Watched


def test_a_submit_in_the_place_of_the_standard_one_is_used(loop, monkeypatch):
    """As tools do it that carry their context into threads."""
    submitted = []
    original = concurrent.futures.ThreadPoolExecutor.submit

    def submit(self, function, /, *arguments, **keywords):
        submitted.append(function)
        return original(self, function, *arguments, **keywords)

    monkeypatch.setattr(concurrent.futures.ThreadPoolExecutor, "submit", submit)
    assert loop.run_until_complete(loop.run_in_executor(None, int, "3")) == 3
    assert submitted == [int]


def test_cancelling_what_waits_for_a_default_thread(loop):
    """It is never called, and its arguments are let go of."""
    import weakref

    class Argument:
        pass

    began = []
    release = threading.Event()
    loop.run_until_complete(loop.run_in_executor(None, int))
    blocking = [
        loop.run_in_executor(None, release.wait, 60)
        for _ in range(loop._default_executor._max_workers)
    ]
    argument = Argument()
    reference = weakref.ref(argument)
    waiting = loop.run_in_executor(None, began.append, argument)
    del argument
    waiting.cancel()
    run_until_idle(loop)
    release.set()
    loop.run_until_complete(asyncio.gather(*blocking))
    loop.run_until_complete(loop.run_in_executor(None, int))
    run_until(loop, lambda: gc.collect() is not None and reference() is None)
    assert began == []
    assert waiting.cancelled()


def test_exceptions_of_concurrent_futures_become_asyncio_s(loop):
    def fails():
        raise concurrent.futures.CancelledError("in the thread")

    async def main():
        with pytest.raises(asyncio.CancelledError, match="in the thread"):
            await loop.run_in_executor(None, fails)

    loop.run_until_complete(main())


def test_a_stop_iteration(loop):
    """Raised in a thread it cannot be raised in a coroutine."""

    def fails():
        raise StopIteration("on purpose")

    told = []
    loop.set_exception_handler(lambda loop, context: told.append(context["exception"]))

    async def main():
        future = loop.run_in_executor(None, fails)
        while not (future.done() or told):
            await asyncio.sleep(0.001)
        return future

    future = loop.run_until_complete(main())
    if future.done():
        with pytest.raises(RuntimeError, match="StopIteration interacts badly"):
            future.result()
        assert told == []
    else:
        # Earlier versions refuse it, and the future stays pending.
        assert [type(exception) for exception in told] == [TypeError]
        assert "StopIteration interacts badly" in str(told[0])


def test_a_future_class_of_the_loop_s_own(make_loop):
    class Marked(asyncio.Future):
        pass

    loop = make_loop()
    loop.create_future = lambda: Marked(loop=loop)
    future = loop.run_in_executor(None, int, "4")
    assert isinstance(future, Marked)
    assert loop.run_until_complete(future) == 4
    loop.run_until_complete(loop.shutdown_default_executor())


def test_a_call_soon_threadsafe_of_the_loop_s_own(make_loop):
    """Outcomes come by it."""
    calls = []
    loop = make_loop()
    original = loop.call_soon_threadsafe

    def call_soon_threadsafe(callback, *arguments, **keywords):
        calls.append(callback)
        return original(callback, *arguments, **keywords)

    loop.call_soon_threadsafe = call_soon_threadsafe
    assert loop.run_until_complete(loop.run_in_executor(None, int, "4")) == 4
    assert calls
    loop.run_until_complete(loop.shutdown_default_executor())


def test_from_another_thread(loop):
    """asyncio allows it, outside debug mode, although it is not said to be safe."""
    futures = []
    thread = threading.Thread(target=lambda: futures.append(loop.run_in_executor(None, int, "6")))
    thread.start()
    thread.join(60)
    assert loop.run_until_complete(futures[0]) == 6


def test_debug_mode(loop):
    async def coroutine_function():
        pass

    loop.set_debug(True)
    assert loop.run_until_complete(loop.run_in_executor(None, int, "8")) == 8
    with pytest.raises(TypeError, match="coroutines cannot be used with run_in_executor"):
        loop.run_in_executor(None, coroutine_function)
    with pytest.raises(TypeError, match="a callable object was expected by run_in_executor"):
        loop.run_in_executor(None, 7)
    loop.set_debug(False)


def test_many_results_at_once_in_their_threads_order(loop):
    """Every one arrives, from many threads, while the loop is busy."""

    async def main():
        results = [loop.run_in_executor(None, abs, -number) for number in range(2_000)]
        for _ in range(50):
            await asyncio.sleep(0)
        return await asyncio.gather(*results)

    assert loop.run_until_complete(main()) == list(range(2_000))


def run_program(implementation, text):
    """Run a program that makes its loop with `new_loop()`; return what it printed."""
    setup = {
        "asyncio": "import asyncio; new_loop = asyncio.SelectorEventLoop",
        "ferrio": "import asyncio, ferrio; new_loop = ferrio.new_event_loop",
    }["ferrio" if implementation.is_ferrio else "asyncio"]
    program = f"{setup}\nimport threading, time, sys, os\n{text}"
    outcome = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert outcome.returncode == 0, outcome.stderr
    return outcome.stdout, outcome.stderr


def test_the_interpreter_waits_for_the_threads_when_it_ends(implementation):
    output, errors = run_program(
        implementation,
        """
loop = new_loop()
def late(number):
    time.sleep(0.05)
    os.write(1, f"done {number}\\n".encode())
for number in range(40):
    loop.run_in_executor(None, late, number)
loop.close()
""",
    )
    assert sorted(int(line.split()[1]) for line in output.splitlines()) == list(range(40))
    assert errors == ""


def test_the_threads_are_known_where_the_standard_library_ends_them(loop):
    """Programs that do not want to wait for their threads at exit take them out there."""
    loop.run_until_complete(loop.run_in_executor(None, int))
    (thread,) = loop._default_executor._threads
    assert thread in concurrent.futures.thread._threads_queues


def test_no_work_once_the_interpreter_ends(implementation):
    output, _ = run_program(
        implementation,
        """
loop = new_loop()
loop.run_until_complete(loop.run_in_executor(None, int))
def at_exit():
    try:
        loop.run_in_executor(None, int)
    except RuntimeError as error:
        print(error, flush=True)
    loop.close()
import atexit
atexit.register(at_exit)
""",
    )
    # Of the executor or of the interpreter: whichever is seen first.
    assert re.fullmatch("cannot schedule new futures after (interpreter )?shutdown\n", output)


def test_a_child_of_a_fork_ends(implementation):
    """Its copy of the executor has no threads, and nothing waits for them."""
    if not implementation.is_ferrio:
        pytest.skip("asyncio's loop, when it ends in the child, takes the parent's wake-up away")
    output, _ = run_program(
        implementation,
        """
import warnings
warnings.simplefilter("ignore")
loop = new_loop()
loop.run_until_complete(loop.run_in_executor(None, int))
child = os.fork()
if child == 0:
    print("child", flush=True)
else:
    _, status = os.waitpid(child, 0)
    print("status", status, flush=True)
    assert loop.run_until_complete(loop.run_in_executor(None, int, "5")) == 5
    loop.close()
""",
    )
    assert output.splitlines() == ["child", "status 0"]
