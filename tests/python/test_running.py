"""``run_forever``, ``run_until_complete``, ``stop`` and ``close``."""

import asyncio
import gc
import os
import sys
import threading

import pytest

from turns import run_turn, run_turns, run_until_idle


async def give(value):
    return value


def test_stop_ends_the_run_after_its_turn(loop):
    calls = []

    def first():
        calls.append("first")
        loop.stop()
        loop.call_soon(calls.append, "next turn")

    loop.call_soon(first)
    loop.call_soon(calls.append, "same turn")
    loop.run_forever()
    assert calls == ["first", "same turn"]
    run_turn(loop)
    assert calls == ["first", "same turn", "next turn"]


def test_stop_before_the_run_gives_one_turn(loop):
    calls = []
    loop.call_soon(calls.append, 1)
    loop.stop()
    loop.run_forever()
    assert calls == [1]
    loop.stop()
    loop.stop()
    loop.run_forever()
    loop.call_soon(calls.append, 2)
    loop.call_soon(loop.stop)
    loop.run_forever()
    assert calls == [1, 2]


def test_stop_counts_for_one_run(loop):
    loop.stop()
    loop.run_forever()
    assert loop.run_until_complete(give("result")) == "result"


def test_run_until_complete(loop):
    assert loop.run_until_complete(give("result")) == "result"
    future = loop.create_future()
    loop.call_soon(future.set_result, "of a future")
    assert loop.run_until_complete(future) == "of a future"
    assert loop.run_until_complete(future) == "of a future"

    class Awaitable:
        def __await__(self):
            yield
            return "of an awaitable"

    assert loop.run_until_complete(Awaitable()) == "of an awaitable"


@pytest.mark.parametrize("wrong", [1, None, "text", object(), give], ids=repr)
def test_run_until_complete_of_anything_else(loop, wrong):
    with pytest.raises(TypeError, match="An asyncio.Future, a coroutine or an awaitable"):
        loop.run_until_complete(wrong)


def test_run_until_complete_of_a_foreign_future(loop, make_loop):
    future = make_loop().create_future()
    with pytest.raises(ValueError, match="belongs to a different loop"):
        loop.run_until_complete(future)


def test_a_run_that_is_stopped_before_its_future_is_done(loop):
    async def stops():
        loop.stop()
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return "finished later"

    task = loop.create_task(stops())
    with pytest.raises(RuntimeError, match="Event loop stopped before Future completed."):
        loop.run_until_complete(task)
    assert loop.run_until_complete(task) == "finished later"


def test_a_stop_in_the_turn_in_which_the_future_is_done(loop):
    async def stops():
        loop.stop()
        return "result"

    assert loop.run_until_complete(stops()) == "result"


def test_callbacks_of_the_last_turn_are_made(loop):
    calls = []

    async def main():
        loop.call_soon(calls.append, "scheduled by the task")

    loop.run_until_complete(main())
    assert calls == ["scheduled by the task"]


def test_run_in_a_run(loop, implementation):
    if sys.version_info >= (3, 13) and not implementation.is_ferrio:
        pytest.skip("cleans up after the run that never began, and so breaks the one around it")

    def nested():
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            loop.run_forever()
        coroutine = give(1)
        with pytest.raises(RuntimeError, match="This event loop is already running"):
            loop.run_until_complete(coroutine)
        coroutine.close()
        calls.append("still running")

    calls = []
    loop.call_soon(nested)
    run_turn(loop)
    assert calls == ["still running"]


def test_another_loop_in_a_run(loop, make_loop, implementation):
    if sys.version_info >= (3, 13) and not implementation.is_ferrio:
        pytest.skip("cleans up after the run that never began, and so breaks the one around it")
    other = make_loop()

    async def main():
        with pytest.raises(RuntimeError, match="while another loop is running"):
            other.run_forever()
        coroutine = give(1)
        with pytest.raises(RuntimeError, match="while another loop is running"):
            other.run_until_complete(coroutine)
        coroutine.close()
        return asyncio.get_running_loop()

    assert loop.run_until_complete(main()) is loop
    assert not other.is_running()


def test_the_same_loop_in_two_threads(loop, implementation):
    if sys.version_info >= (3, 13) and not implementation.is_ferrio:
        pytest.skip("cleans up after the run that never began, and so breaks the other")
    errors = []
    started, done = threading.Event(), threading.Event()

    def run():
        started.wait()
        try:
            loop.run_forever()
        except RuntimeError as error:
            errors.append(str(error))
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=run)
    thread.start()
    loop.call_soon(started.set)
    loop.run_forever()
    thread.join()
    done.set()
    assert errors == ["This event loop is already running"]


def test_is_running(loop):
    seen = []
    assert not loop.is_running()
    loop.call_soon(lambda: seen.append(loop.is_running()))
    run_turn(loop)
    assert seen == [True]
    assert not loop.is_running()


def test_thread_id(loop):
    """Libraries read it to see whether they are in the loop's thread."""
    seen = []
    assert loop._thread_id is None
    loop.call_soon(lambda: seen.append(loop._thread_id))
    run_turn(loop)
    assert seen == [threading.get_ident()]
    assert loop._thread_id is None


def test_close(make_loop):
    loop = make_loop()
    assert not loop.is_closed()
    loop.close()
    assert loop.is_closed()
    loop.close()
    assert not loop.is_running()


def test_close_while_running(loop):
    async def main():
        with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
            loop.close()
        return "still works"

    assert loop.run_until_complete(main()) == "still works"


def test_a_closed_loop(make_loop):
    loop = make_loop()
    loop.close()
    coroutine = give(1)
    for call in (
        loop.run_forever,
        lambda: loop.run_until_complete(coroutine),
        lambda: loop.call_soon(print),
        lambda: loop.call_soon_threadsafe(print),
        lambda: loop.call_later(1, print),
        lambda: loop.call_at(1, print),
        lambda: loop.create_task(coroutine),
        lambda: loop.add_reader(0, print),
        lambda: loop.add_writer(0, print),
        lambda: loop.run_in_executor(None, print),
        lambda: loop.add_signal_handler(10, print),
    ):
        with pytest.raises(RuntimeError, match="Event loop is closed"):
            call()
    coroutine.close()
    assert loop.time() > 0
    loop.stop()
    assert "closed=True" in repr(loop)


def test_a_future_of_a_closed_loop(make_loop):
    loop = make_loop()
    future = loop.create_future()
    loop.close()
    future.set_result("result")
    assert future.result() == "result"
    other = loop.create_future()
    other.add_done_callback(print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        other.set_result(1)


def test_an_unclosed_loop_is_warned_of(implementation, watched):
    loop = implementation.EventLoop()
    with pytest.warns(ResourceWarning, match="unclosed event loop <"):
        del loop
        gc.collect()


def test_representation(loop):
    assert repr(loop).endswith("running=False closed=False debug=False>")
    seen = []
    loop.call_soon(lambda: seen.append(repr(loop)))
    run_turn(loop)
    assert "running=True closed=False" in seen[0]


def test_running_again_and_again(loop):
    for number in range(100):
        assert loop.run_until_complete(give(number)) == number


def test_current_loop_while_running(loop):
    async def main():
        return asyncio.get_running_loop(), asyncio.get_event_loop()

    assert loop.run_until_complete(main()) == (loop, loop)
    assert asyncio._get_running_loop() is None


def test_callbacks_that_are_left_run_in_the_next_run(loop):
    calls = []
    loop.call_soon(calls.append, 1)
    loop.stop()
    loop.call_soon(lambda: loop.call_soon(calls.append, 2))
    loop.run_forever()
    assert calls == [1]
    run_turn(loop)
    assert calls == [1, 2]


def test_a_loop_made_in_one_thread_and_run_in_another(implementation, watched):
    loop = implementation.EventLoop()
    results = []

    def run():
        results.append(loop.run_until_complete(give("result")))
        loop.close()

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    assert results == ["result"]


def test_a_loop_run_in_turn_by_several_threads(loop):
    idents = []

    async def main():
        await asyncio.sleep(0)
        idents.append(threading.get_ident())

    for _ in range(5):
        thread = threading.Thread(target=lambda: loop.run_until_complete(main()))
        thread.start()
        thread.join()
    loop.run_until_complete(main())
    assert idents[-1] == threading.get_ident()
    assert len(idents) == 6


def test_a_thousand_loops_leave_no_descriptor(implementation, watched):
    def opened():
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    for _ in range(1000):
        loop = implementation.EventLoop()
        loop.run_until_complete(give(1))
        loop.close()
    assert opened() == before


def test_many_loops_at_once(implementation, watched):
    loops = [implementation.EventLoop() for _ in range(50)]
    for number, loop in enumerate(loops):
        assert loop.run_until_complete(give(number)) == number
    for loop in loops:
        loop.close()


def test_no_descriptors_left_when_a_loop_is_made(implementation, watched):
    """EMFILE is an OSError, and the half-made loop gives back what it had."""
    import errno
    import resource

    if not implementation.is_ferrio:
        pytest.skip("the half-made loop fails once more as it dies")
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    used = max(map(int, os.listdir("/proc/self/fd"))) + 1
    blockers = []
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (used + 20, hard))
        while True:
            try:
                blockers.append(os.dup(0))
            except OSError:
                break
        for free in range(3):
            before = len(blockers)
            for _ in range(free):
                os.close(blockers.pop())
            try:
                loop = implementation.EventLoop()
            except OSError as error:
                assert error.errno == errno.EMFILE
            else:
                loop.close()
            for _ in range(free):
                blockers.append(os.dup(0))
            assert len(blockers) == before
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        for blocker in blockers:
            os.close(blocker)
    loop = implementation.EventLoop()
    loop.close()


def test_a_custom_exception_out_of_the_selector_leaves_a_usable_loop(loop, monkeypatch):
    """The run ends by a KeyboardInterrupt out of its wait, and can be begun again."""
    import signal

    previous = signal.signal(signal.SIGUSR1, lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
    try:
        timer = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            loop.run_forever()
        timer.join()
    finally:
        signal.signal(signal.SIGUSR1, previous)
    assert not loop.is_running()
    assert asyncio._get_running_loop() is None
    assert loop.run_until_complete(give("still works")) == "still works"


def test_asyncio_runner_with_this_loop(implementation, watched):
    with asyncio.Runner(loop_factory=implementation.EventLoop) as runner:
        assert runner.run(give(1)) == 1
        loop = runner.get_loop()
        assert isinstance(loop, implementation.EventLoop)
        assert runner.run(give(2)) == 2
    assert loop.is_closed()


def test_runner_cancels_what_is_left(implementation, watched):
    events = []

    async def background():
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            events.append("cancelled")

    async def main():
        events.append(asyncio.create_task(background()))
        await asyncio.sleep(0)

    with implementation.Runner() as runner:
        runner.run(main())
    assert events[1:] == ["cancelled"]
    del events[:]


def test_run(implementation, watched):
    assert implementation.run(give("result")) == "result"
    with pytest.raises(ZeroDivisionError):
        implementation.run(fails())
    coroutine = give(1)

    async def nested():
        with pytest.raises(RuntimeError):
            implementation.run(coroutine)

    implementation.run(nested())
    coroutine.close()


async def fails():
    raise ZeroDivisionError


def test_run_in_debug_mode(implementation, watched):
    async def main():
        return asyncio.get_running_loop().get_debug()

    assert implementation.run(main(), debug=True)
    assert not implementation.run(main(), debug=False)


def test_stop_from_a_timer_and_a_task(loop):
    loop.call_later(0.001, loop.stop)
    loop.run_forever()

    async def stops():
        loop.stop()

    loop.create_task(stops())
    loop.run_forever()
    run_until_idle(loop)


def test_a_turn_of_nothing(loop):
    run_turns(loop, 10)
    assert not loop.is_running()


@pytest.mark.skipif(sys.platform != "linux", reason="counts system calls by the clock")
def test_a_wait_is_ended_by_stop_of_a_signal_free_thread(loop):
    threading.Timer(0.02, loop.call_soon_threadsafe, (loop.stop,)).start()
    loop.run_forever()
