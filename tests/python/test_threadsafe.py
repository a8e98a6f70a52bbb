"""``call_soon_threadsafe``: the one way into a loop from another thread."""

import asyncio
import contextvars
import gc
import sys
import threading
import time
import weakref

import pytest

from turns import run_turn, run_turns, run_until


def in_thread(function, *arguments):
    """Call a function in another thread, to its end."""
    outcome = []

    def call():
        try:
            outcome.append((function(*arguments), None))
        except BaseException as error:
            outcome.append((None, error))

    thread = threading.Thread(target=call)
    thread.start()
    thread.join(60)
    assert not thread.is_alive()
    result, error = outcome[0]
    if error is not None:
        raise error
    return result


def test_a_call_from_another_thread_wakes_a_waiting_loop(loop):
    seen = []

    def callback(value):
        seen.append((value, threading.current_thread() is threading.main_thread()))
        loop.stop()

    # The loop has nothing else to do, so it waits without a limit.
    thread = threading.Thread(
        target=lambda: (started.wait(), loop.call_soon_threadsafe(callback, "value"))
    )
    started = threading.Event()
    thread.start()
    loop.call_soon(started.set)
    loop.run_forever()
    thread.join()
    assert seen == [("value", True)]


def test_many_threads_lose_nothing_and_each_keeps_its_order(loop):
    received = []
    threads, each = 8, 500

    def receive(thread, number):
        received.append((thread, number))
        if len(received) == threads * each:
            loop.stop()

    def send(thread):
        for number in range(each):
            loop.call_soon_threadsafe(receive, thread, number)

    workers = [threading.Thread(target=send, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    loop.run_forever()
    for worker in workers:
        worker.join()
    for thread in range(threads):
        assert [number for index, number in received if index == thread] == list(range(each))


def test_ping_pong_between_a_thread_and_the_loop(loop):
    """Each wake arrives when the loop has just fallen asleep."""
    rounds = 500
    ball = threading.Semaphore(0)
    hits = []

    def player():
        for number in range(rounds):
            loop.call_soon_threadsafe(hit, number)
            ball.acquire()

    def hit(number):
        hits.append(number)
        ball.release()
        if number == rounds - 1:
            loop.stop()

    thread = threading.Thread(target=player)
    thread.start()
    loop.run_forever()
    thread.join()
    assert hits == list(range(rounds))


def test_before_the_loop_runs(loop):
    calls = []
    in_thread(loop.call_soon_threadsafe, calls.append, "from a thread")
    run_turn(loop)
    assert calls == ["from a thread"]


def test_between_runs(loop):
    calls = []
    run_turn(loop)
    in_thread(loop.call_soon_threadsafe, calls.append, 1)
    in_thread(loop.call_soon_threadsafe, calls.append, 2)
    run_turn(loop)
    assert calls == [1, 2]


def test_order_with_call_soon_while_the_loop_runs(loop):
    calls = []

    def schedule():
        loop.call_soon(calls.append, 1)
        loop.call_soon_threadsafe(calls.append, 2)
        loop.call_soon(calls.append, 3)
        loop.call_soon_threadsafe(calls.append, 4)

    loop.call_soon(schedule)
    run_turns(loop, 2)
    assert calls == [1, 2, 3, 4]


def test_order_with_call_soon_before_the_loop_runs(loop):
    calls = []
    loop.call_soon(calls.append, 1)
    loop.call_soon_threadsafe(calls.append, 2)
    loop.call_soon(calls.append, 3)
    in_thread(loop.call_soon_threadsafe, calls.append, 4)
    loop.call_soon(calls.append, 5)
    run_turn(loop)
    assert calls == [1, 2, 3, 4, 5]


def test_cancel_before_it_runs(loop):
    calls = []
    handle = in_thread(loop.call_soon_threadsafe, calls.append, "never")
    assert isinstance(handle, asyncio.Handle)
    handle.cancel()
    run_turn(loop)
    assert calls == []


def test_context(loop):
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    def in_a_thread():
        variable.set("of the thread")
        loop.call_soon_threadsafe(lambda: seen.append(variable.get()))
        context = contextvars.Context()
        context.run(variable.set, "given")
        loop.call_soon_threadsafe(lambda: seen.append(variable.get()), context=context)

    in_thread(in_a_thread)
    run_turn(loop)
    assert seen == ["of the thread", "given"]


def test_a_closed_loop_refuses(make_loop):
    loop = make_loop()
    loop.close()
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        loop.call_soon_threadsafe(print)
    with pytest.raises(RuntimeError, match="Event loop is closed"):
        in_thread(loop.call_soon_threadsafe, print)


def test_what_was_sent_to_a_loop_that_is_closed_is_freed(make_loop):
    class Argument:
        pass

    loop = make_loop()
    argument = Argument()
    reference = weakref.ref(argument)
    in_thread(loop.call_soon_threadsafe, print, argument)
    del argument
    loop.close()
    gc.collect()
    assert reference() is None


def test_a_race_of_close_and_calls(make_loop):
    """Every call either is queued or raises; nothing else may happen."""
    for _ in range(20):
        loop = make_loop()
        refused = []

        def send(loop=loop, refused=refused):
            try:
                while True:
                    loop.call_soon_threadsafe(int)
            except RuntimeError as error:
                refused.append(str(error))

        threads = [threading.Thread(target=send) for _ in range(2)]
        for thread in threads:
            thread.start()
        run_turns(loop, 3)
        loop.close()
        for thread in threads:
            thread.join()
        assert refused == ["Event loop is closed"] * 2


def test_stop_from_another_thread(loop):
    started = threading.Event()

    def stop():
        started.wait()
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=stop)
    thread.start()
    loop.call_soon(started.set)
    loop.run_forever()
    thread.join()


def test_exception_in_a_callback_from_a_thread(loop, reports):
    def fails():
        raise ZeroDivisionError

    in_thread(loop.call_soon_threadsafe, fails)
    run_turn(loop)
    assert isinstance(reports.take_one()["exception"], ZeroDivisionError)


def test_run_coroutine_threadsafe(loop):
    async def double(value):
        await asyncio.sleep(0)
        return value * 2

    results = []

    def ask():
        for number in range(50):
            future = asyncio.run_coroutine_threadsafe(double(number), loop)
            results.append(future.result(60))
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=ask)
    thread.start()
    loop.run_forever()
    thread.join()
    assert results == [number * 2 for number in range(50)]


def test_cancelling_a_coroutine_from_another_thread(loop):
    events = []

    async def waits():
        try:
            events.append("started")
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            events.append("cancelled")
            raise
        finally:
            loop.call_soon(loop.stop)

    def ask():
        future = asyncio.run_coroutine_threadsafe(waits(), loop)
        while not events:
            time.sleep(0.001)
        future.cancel()

    thread = threading.Thread(target=ask)
    thread.start()
    loop.run_forever()
    thread.join()
    assert events == ["started", "cancelled"]


def test_loops_in_many_threads_talk_to_each_other(implementation, watched):
    """A ring: each loop hands a number to the next, which adds one."""
    size, laps = 4, 50
    loops = [implementation.EventLoop() for _ in range(size)]
    finished = []

    def passing(index, number):
        if number == size * laps:
            finished.append(number)
            for loop in loops:
                loop.call_soon_threadsafe(loop.stop)
            return
        following = (index + 1) % size
        loops[following].call_soon_threadsafe(passing, following, number + 1)

    threads = [threading.Thread(target=loop.run_forever) for loop in loops]
    for thread in threads:
        thread.start()
    loops[0].call_soon_threadsafe(passing, 0, 0)
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert finished == [size * laps]
    for loop in loops:
        loop.close()


def test_state_may_be_asked_from_any_thread(loop):
    started = threading.Event()
    answers = []

    def ask():
        started.wait()
        answers.append((loop.is_running(), loop.is_closed(), loop.get_debug(), loop.time() > 0))
        loop.call_soon_threadsafe(loop.stop)

    thread = threading.Thread(target=ask)
    thread.start()
    loop.call_soon(started.set)
    loop.run_forever()
    thread.join()
    assert answers == [(True, False, False, True)]


def test_a_finalizer_in_another_thread_may_schedule(loop):
    """The garbage collector runs in whichever thread allocates."""
    calls = []

    class Finalizes:
        def __del__(self):
            loop.call_soon_threadsafe(calls.append, threading.current_thread() is not main)

    main = threading.current_thread()

    def make_garbage():
        first = Finalizes()
        first.itself = first
        del first
        gc.collect()

    in_thread(make_garbage)
    run_until(loop, lambda: calls)
    assert calls == [True]


def test_garbage_collection_in_another_thread_while_the_loop_runs(loop):
    """The collector traverses a loop, with its queue and timers, that another thread runs."""
    stop = threading.Event()
    loop.call_later(1000, print).cancel()
    timers = [loop.call_later(1000, int) for _ in range(50)]

    def collect():
        while not stop.is_set():
            gc.collect()

    async def busy():
        for _ in range(200):
            future = loop.create_future()
            loop.call_soon(future.set_result, None)
            loop.call_later(100, int).cancel()
            await future
            await asyncio.sleep(0)

    async def main():
        await asyncio.gather(*[busy() for _ in range(5)])

    thread = threading.Thread(target=collect)
    thread.start()
    try:
        loop.run_until_complete(main())
    finally:
        stop.set()
        thread.join()
    for timer in timers:
        timer.cancel()


@pytest.mark.skipif(sys.version_info < (3, 14), reason="handles are thread-safe from 3.14")
class TestHandles:
    """What ``call_soon_threadsafe`` returns, asked by other threads."""

    def test_its_class(self, loop):
        handle = loop.call_soon_threadsafe(print)
        assert isinstance(handle, asyncio.events._ThreadSafeHandle)
        assert isinstance(handle, asyncio.Handle)
        assert repr(handle).startswith("<_ThreadSafeHandle print()")
        handle.cancel()
        assert repr(handle) == "<_ThreadSafeHandle cancelled>"
        run_turn(loop)

    @pytest.mark.parametrize("ask", ["cancel", "cancelled"])
    def test_others_wait_while_it_runs(self, loop, ask):
        started, order, answers = threading.Event(), [], []

        def callback():
            started.set()
            # The other threads have had every chance to be quicker.
            for _ in range(20):
                time.sleep(0.001)
            order.append("ended")

        def other():
            started.wait()
            answers.append(getattr(handle, ask)())
            order.append("asked")

        handle = loop.call_soon_threadsafe(callback)
        threads = [threading.Thread(target=other) for _ in range(3)]
        for thread in threads:
            thread.start()
        run_turn(loop)
        for thread in threads:
            thread.join()
        assert order == ["ended", "asked", "asked", "asked"]
        assert answers == ([False] * 3 if ask == "cancelled" else [None] * 3)
        assert handle.cancelled() == (ask == "cancel")

    def test_others_wait_for_a_callback_that_fails(self, loop, reports):
        started, asked = threading.Event(), []

        def callback():
            started.set()
            for _ in range(20):
                time.sleep(0.001)
            raise ZeroDivisionError

        def other():
            started.wait()
            asked.append(handle.cancelled())

        handle = loop.call_soon_threadsafe(callback)
        thread = threading.Thread(target=other)
        thread.start()
        run_turn(loop)
        thread.join()
        assert asked == [False]
        assert len(reports.take()) == 1

    def test_its_own_callback_may_ask(self, loop):
        seen = []

        def callback():
            handle.cancel()
            seen.append(handle.cancelled())

        handle = loop.call_soon_threadsafe(callback)
        run_turn(loop)
        assert seen == [True]
