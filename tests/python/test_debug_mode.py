"""Debug mode: slow callbacks, wrong threads, what cannot be called, where things were made."""

import asyncio
import gc
import sys
import threading
import time

import pytest

from turns import run_turn, run_turns, run_until_idle


@pytest.fixture
def debug_loop(make_loop):
    loop = make_loop()
    loop.set_debug(True)
    return loop


def test_off_by_default(loop):
    assert not loop.get_debug()
    loop.set_debug(True)
    assert loop.get_debug()
    assert "debug=True" in repr(loop)
    loop.set_debug(False)
    assert not loop.get_debug()


def test_programs_behave_the_same(debug_loop):
    loop = debug_loop
    events = []

    async def worker(queue):
        while (item := await queue.get()) is not None:
            events.append(item)

    async def main():
        queue = asyncio.Queue()
        task = asyncio.create_task(worker(queue))
        for item in (1, 2, 3, None):
            await queue.put(item)
        await task
        async with asyncio.timeout(1000):
            await asyncio.sleep(0)
        cancelled = asyncio.create_task(asyncio.sleep(1000))
        await asyncio.sleep(0)
        cancelled.cancel("message")
        with pytest.raises(asyncio.CancelledError, match="message"):
            await cancelled
        return await asyncio.gather(asyncio.sleep(0, 1), asyncio.sleep(0.001, 2))

    assert loop.run_until_complete(main()) == [1, 2]
    assert events == [1, 2, 3]


def test_switched_while_work_is_queued(loop):
    """What was scheduled in one mode runs in the other."""
    calls = []
    loop.slow_callback_duration = 1000

    async def steps(name):
        for _ in range(4):
            calls.append(name)
            await asyncio.sleep(0)
            loop.set_debug(not loop.get_debug())

    for name in "ab":
        loop.create_task(steps(name))
    future = loop.create_future()
    future.add_done_callback(lambda done: calls.append("callback"))
    loop.call_soon(future.set_result, None)
    loop.call_later(0, calls.append, "timer")
    run_turns(loop, 10)
    loop.set_debug(False)
    assert calls.count("a") == calls.count("b") == 4
    assert calls.count("callback") == calls.count("timer") == 1


def text_about(logged, name):
    """What was logged about it. On a busy machine anything may seem slow, so not the rest."""
    (text,) = (text for text in logged.texts() if name in text)
    return text


class TestSlowCallbacks:
    def test_a_callback_is_named(self, debug_loop, logged):
        def slow():
            time.sleep(0.01)

        debug_loop.slow_callback_duration = 0.005
        debug_loop.call_soon(slow)
        run_turn(debug_loop)
        text = text_about(logged, "slow()")
        assert text.startswith("Executing <Handle ")
        assert " took 0." in text
        assert text.endswith(" seconds")

    def test_a_task_is_named(self, debug_loop, logged):
        async def slow():
            time.sleep(0.01)

        debug_loop.slow_callback_duration = 0.005
        debug_loop.create_task(slow(), name="T")
        run_turn(debug_loop)
        text = text_about(logged, "name='T'")
        assert text.startswith("Executing <Task finished name='T' coro=<")
        assert text.endswith(" seconds")

    def test_a_wake_up_is_named_by_its_task(self, debug_loop, logged):
        future = debug_loop.create_future()

        async def slow():
            await future
            time.sleep(0.01)

        debug_loop.slow_callback_duration = 1000
        debug_loop.create_task(slow(), name="T")
        run_turn(debug_loop)
        debug_loop.slow_callback_duration = 0.005
        future.set_result(None)
        run_turn(debug_loop)
        assert text_about(logged, "name='T'").startswith("Executing <")

    def test_a_done_callback_is_named(self, debug_loop, logged):
        def slow(done):
            time.sleep(0.01)

        future = debug_loop.create_future()
        future.add_done_callback(slow)
        debug_loop.slow_callback_duration = 0.005
        future.set_result(None)
        run_turn(debug_loop)
        assert text_about(logged, "slow").startswith("Executing <Handle ")

    def test_quick_ones_are_not(self, debug_loop):
        debug_loop.slow_callback_duration = 10
        debug_loop.call_soon(int)
        debug_loop.create_task(asyncio.sleep(0))
        run_until_idle(debug_loop)

    def test_zero_names_all(self, debug_loop, logged):
        debug_loop.slow_callback_duration = 0
        debug_loop.call_soon(int)
        run_turn(debug_loop)
        assert len(logged.texts()) >= 1
        debug_loop.slow_callback_duration = 1000

    def test_the_limit_is_an_attribute(self, implementation):
        loop = implementation.EventLoop()
        assert loop.slow_callback_duration == 0.1
        loop.slow_callback_duration = 5
        assert loop.slow_callback_duration == 5
        loop.close()

    def test_measured_by_an_overridden_time(self, implementation, make_loop, logged):
        class Loop(implementation.EventLoop):
            now = 100.0

            def time(self):
                return self.now

        def slow():
            loop.now += 50

        loop = make_loop(Loop)
        loop.set_debug(True)
        loop.slow_callback_duration = 10
        loop.call_soon(slow)
        run_turn(loop)
        (text,) = logged.texts()
        assert text.endswith("took 50.000 seconds")

    def test_not_outside_debug_mode(self, loop):
        loop.slow_callback_duration = 0
        loop.call_soon(time.sleep, 0.001)
        run_turn(loop)


class TestThreads:
    @pytest.mark.parametrize(
        "call",
        [
            lambda loop: loop.call_soon(print),
            lambda loop: loop.call_later(1, print),
            lambda loop: loop.call_at(1, print),
        ],
        ids=["call_soon", "call_later", "call_at"],
    )
    def test_calls_from_another_thread_are_refused(self, debug_loop, call):
        errors = []

        def wrong_thread():
            try:
                call(debug_loop)
            except RuntimeError as error:
                errors.append(str(error))

        async def main():
            thread = threading.Thread(target=wrong_thread)
            thread.start()
            thread.join()

        debug_loop.run_until_complete(main())
        (error,) = errors
        assert error.startswith("Non-thread-safe operation invoked on an event loop other than")

    def test_settling_a_future_from_another_thread_is_refused(self, debug_loop):
        errors = []

        def wrong_thread(future):
            try:
                future.set_result(1)
            except RuntimeError as error:
                errors.append(str(error))

        async def main():
            future = debug_loop.create_future()
            future.add_done_callback(lambda done: None)
            thread = threading.Thread(target=wrong_thread, args=(future,))
            thread.start()
            thread.join()

        debug_loop.run_until_complete(main())
        assert len(errors) == 1

    def test_threadsafe_calls_are_not(self, debug_loop):
        calls = []

        async def main():
            thread = threading.Thread(
                target=debug_loop.call_soon_threadsafe, args=(calls.append, 1)
            )
            thread.start()
            thread.join()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        debug_loop.run_until_complete(main())
        run_turn(debug_loop)
        assert calls == [1]

    def test_before_the_loop_runs_any_thread_may_call(self, debug_loop):
        calls = []
        thread = threading.Thread(target=debug_loop.call_soon, args=(calls.append, 1))
        thread.start()
        thread.join()
        run_turn(debug_loop)
        assert calls == [1]

    def test_not_outside_debug_mode(self, loop):
        calls = []

        async def main():
            thread = threading.Thread(target=loop.call_soon, args=(calls.append, 1))
            thread.start()
            thread.join()
            await asyncio.sleep(0)
            await asyncio.sleep(0)

        loop.run_until_complete(main())
        assert calls == [1]


class TestCallables:
    METHODS = {
        "call_soon": lambda loop, callback: loop.call_soon(callback),
        "call_soon_threadsafe": lambda loop, callback: loop.call_soon_threadsafe(callback),
        "call_later": lambda loop, callback: loop.call_later(1, callback),
        "call_at": lambda loop, callback: loop.call_at(1, callback),
    }

    @pytest.mark.parametrize("method", METHODS)
    def test_coroutine_functions(self, debug_loop, method):
        async def coroutine_function():
            pass

        # asyncio's call_later says call_at, through which it goes.
        with pytest.raises(TypeError, match=r"coroutines cannot be used with call_\w+\(\)"):
            self.METHODS[method](debug_loop, coroutine_function)

    @pytest.mark.parametrize("method", METHODS)
    def test_coroutines(self, debug_loop, method):
        coroutine = asyncio.sleep(0)
        with pytest.raises(TypeError, match="coroutines cannot be used with"):
            self.METHODS[method](debug_loop, coroutine)
        coroutine.close()

    @pytest.mark.parametrize("method", METHODS)
    @pytest.mark.parametrize("wrong", [1, None, "text", object()], ids=repr)
    def test_what_cannot_be_called(self, debug_loop, method, wrong):
        with pytest.raises(TypeError, match="a callable object was expected by call_"):
            self.METHODS[method](debug_loop, wrong)

    def test_run_in_executor(self, debug_loop):
        async def coroutine_function():
            pass

        with pytest.raises(TypeError, match="coroutines cannot be used with run_in_executor"):
            debug_loop.run_in_executor(None, coroutine_function)
        with pytest.raises(TypeError, match="a callable object was expected by run_in_executor"):
            debug_loop.run_in_executor(None, 1)


class TestSources:
    def here(self, stack):
        return [frame.name for frame in stack if frame.filename == __file__]

    def test_of_a_handle(self, debug_loop):
        handle = debug_loop.call_soon(int)
        assert self.here(handle._source_traceback)[-1] == "test_of_a_handle"
        assert f" created at {__file__}:" in repr(handle)
        handle.cancel()
        assert "cancelled" in repr(handle)
        assert "int()" in repr(handle)

    def test_of_a_timer(self, debug_loop):
        handle = debug_loop.call_later(1000, int)
        assert self.here(handle._source_traceback)[-1] == "test_of_a_timer"
        assert f" created at {__file__}:" in repr(handle)
        handle.cancel()
        assert "int()" in repr(handle)

    def test_of_a_future(self, debug_loop, implementation):
        for future in (debug_loop.create_future(), implementation.Future(loop=debug_loop)):
            assert self.here(future._source_traceback)[-1] == "test_of_a_future"
            assert " created at " in repr(future)

    def test_of_a_task(self, debug_loop, implementation):
        for task in (
            debug_loop.create_task(asyncio.sleep(0)),
            implementation.Task(asyncio.sleep(0), loop=debug_loop),
        ):
            assert self.here(task._source_traceback)[-1] == "test_of_a_task"
            assert f" created at {__file__}:" in repr(task)
        run_until_idle(debug_loop)

    def test_of_a_task_that_a_task_makes(self, debug_loop):
        async def main():
            return asyncio.create_task(asyncio.sleep(0))

        task = debug_loop.run_until_complete(main())
        assert self.here(task._source_traceback)[-1] == "main"
        run_until_idle(debug_loop)

    def test_is_in_the_report_of_a_lost_exception(self, debug_loop, reports):
        future = debug_loop.create_future()
        future.set_exception(ZeroDivisionError())
        del future
        gc.collect()
        report = reports.take_one()
        assert self.here(report["source_traceback"])[-1].startswith("test_is_in_the_report")

    def test_is_in_the_report_of_a_failed_callback(self, debug_loop, reports):
        debug_loop.call_soon(lambda: 1 / 0)
        run_turn(debug_loop)
        report = reports.take_one()
        assert self.here(report["source_traceback"])[-1].startswith("test_is_in_the_report")

    def test_is_in_the_report_of_a_pending_task(self, debug_loop, reports):
        async def waits():
            await debug_loop.create_future()

        debug_loop.create_task(waits())
        run_turn(debug_loop)
        gc.collect()
        report = reports.take_one()
        assert report["message"] == "Task was destroyed but it is pending!"
        assert "source_traceback" in report

    def test_is_logged_by_the_default_handler(self, debug_loop, logged):
        debug_loop.set_exception_handler(None)
        debug_loop.call_soon(lambda: 1 / 0)
        run_turn(debug_loop)
        (text,) = logged.texts()
        assert "Object created at (most recent call last):" in text
        assert "test_is_logged_by_the_default_handler" in text
        assert "ZeroDivisionError" in text

    def test_of_the_handle_that_reports(self, debug_loop, logged):
        """An error told from a callback shows where the callback was scheduled."""
        debug_loop.set_exception_handler(None)
        debug_loop.call_soon(debug_loop.call_exception_handler, {"message": "told"})
        run_turn(debug_loop)
        (text,) = logged.texts()
        assert text.startswith("told")
        assert "Handle created at (most recent call last):" in text

    def test_not_outside_debug_mode(self, loop):
        handle = loop.call_soon(int)
        assert handle._source_traceback is None
        assert loop.create_future()._source_traceback is None
        assert "created at" not in repr(handle)
        run_turn(loop)


class TestCoroutineOrigins:
    def test_are_tracked_while_the_loop_runs(self, debug_loop):
        async def coroutine():
            pass

        async def main():
            made = coroutine()
            origin = made.cr_origin
            made.close()
            return origin

        assert sys.get_coroutine_origin_tracking_depth() == 0
        origin = debug_loop.run_until_complete(main())
        assert origin[0][2] == "main"
        assert sys.get_coroutine_origin_tracking_depth() == 0

    def test_are_in_the_warning(self, debug_loop):
        async def forgotten():
            pass

        async def main():
            forgotten()

        with pytest.warns(RuntimeWarning) as caught:
            debug_loop.run_until_complete(main())
            gc.collect()
        text = "".join(str(warning.message) for warning in caught)
        assert "forgotten' was never awaited" in text
        assert "Coroutine created at (most recent call last)" in text
        assert "in main" in text

    def test_follow_set_debug_while_the_loop_runs(self, loop):
        depths = []

        async def main():
            loop.slow_callback_duration = 1000
            for enabled in (True, False):
                loop.set_debug(enabled)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                depths.append(sys.get_coroutine_origin_tracking_depth())

        loop.run_until_complete(main())
        assert depths[0] > 0
        assert depths[1] == 0

    def test_a_depth_of_the_programs_own_is_put_back(self, debug_loop):
        sys.set_coroutine_origin_tracking_depth(3)
        try:
            debug_loop.run_until_complete(asyncio.sleep(0))
            assert sys.get_coroutine_origin_tracking_depth() == 3
        finally:
            sys.set_coroutine_origin_tracking_depth(0)


def test_interrupts_leave_no_current_handle(debug_loop):
    def interrupts():
        raise KeyboardInterrupt

    debug_loop.call_soon(interrupts)
    with pytest.raises(KeyboardInterrupt):
        debug_loop.run_forever()
    run_turn(debug_loop)
