"""How a loop is run, closed and asked about: executor, handlers, debug mode, generators."""

import asyncio
import concurrent.futures
import contextvars
import copy
import gc
import logging
import signal
import socket
import sys
import threading
import time
import warnings

import pytest

import ferrio


class Records(logging.Handler):
    """Every record of the logger ``asyncio``, as it is logged."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.records = []

    def emit(self, record):
        # Copied, for the next handler may change it.
        self.records.append(copy.copy(record))


@pytest.fixture
def records(logged):
    """What was logged, debug messages included; expected all of it."""
    logger = logging.getLogger("asyncio")
    level, handler = logger.level, Records()
    logger.setLevel(logging.DEBUG)
    logger.handlers.insert(0, handler)
    yield handler
    logger.removeHandler(handler)
    logger.setLevel(level)
    logged.take()


async def nothing():
    pass


class TestRunning:
    """``run_forever``, ``run_until_complete``, ``stop`` and ``close``."""

    def test_repr(self, loop):
        name = type(loop).__name__
        assert repr(loop) == f"<{name} running=False closed=False debug=False>"
        loop.set_debug(True)
        assert repr(loop) == f"<{name} running=False closed=False debug=True>"

        async def main():
            return repr(loop)

        running = loop.run_until_complete(main())
        assert running == f"<{name} running=True closed=False debug=True>"
        loop.close()
        assert repr(loop) == f"<{name} running=False closed=True debug=True>"

    def test_the_result_and_the_exception(self, loop):
        async def fail():
            raise LookupError("wrong")

        assert loop.run_until_complete(asyncio.sleep(0, "result")) == "result"
        with pytest.raises(LookupError, match="wrong"):
            loop.run_until_complete(fail())
        future = loop.create_future()
        loop.call_soon(future.set_result, 3)
        assert loop.run_until_complete(future) == 3
        assert loop.run_until_complete(future) == 3

    def test_stopped_before_the_end(self, loop):
        future = loop.create_future()
        loop.call_soon(loop.stop)
        with pytest.raises(RuntimeError, match=r"^Event loop stopped before Future completed\.$"):
            loop.run_until_complete(future)

    def test_stopped_before_it_runs(self, loop):
        seen = []
        loop.stop()
        loop.call_soon(seen.append, 1)
        loop.run_forever()
        assert seen == [1]
        # The stop has been used up.
        loop.call_later(0.01, loop.stop)
        loop.run_forever()

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_an_exception_that_ends_the_run(self, loop, kind):
        async def fail():
            raise kind

        with pytest.raises(kind):
            loop.run_until_complete(fail())
        assert not loop.is_running()
        # The next run is not stopped by what is left of the last one.
        assert loop.run_until_complete(asyncio.sleep(0.001, 5)) == 5

        def raise_it():
            raise kind

        loop.call_soon(raise_it)
        with pytest.raises(kind):
            loop.run_forever()

    def test_running_twice(self, loop):
        other = type(loop)()

        async def main():
            coroutine = nothing()
            with pytest.raises(RuntimeError, match="This event loop is already running"):
                loop.run_until_complete(coroutine)
            with pytest.raises(
                RuntimeError, match="Cannot run the event loop while another loop is running"
            ):
                other.run_until_complete(coroutine)
            coroutine.close()
            with pytest.raises(RuntimeError, match="Cannot close a running event loop"):
                loop.close()
            return asyncio.get_running_loop()

        assert loop.run_until_complete(main()) is loop
        with pytest.raises(RuntimeError, match="no running event loop"):
            asyncio.get_running_loop()
        other.close()

    def test_run_forever_in_a_running_loop_leaves_it_running(self, loop, implementation):
        if not implementation.is_ferrio and sys.version_info[:2] == (3, 13):
            pytest.skip("3.13.0 takes the running loop apart")

        async def main():
            with pytest.raises(RuntimeError, match="This event loop is already running"):
                loop.run_forever()
            assert asyncio.get_running_loop() is loop
            assert loop.is_running()
            await asyncio.sleep(0.001)

        loop.run_until_complete(main())

    def test_closed(self, loop):
        loop.close()
        loop.close()
        assert loop.is_closed()
        coroutine = nothing()
        for use in (
            lambda: loop.run_forever(),
            lambda: loop.run_until_complete(coroutine),
            lambda: loop.create_task(coroutine),
            lambda: loop.call_soon(print),
            lambda: loop.call_later(1, print),
            lambda: loop.call_at(1, print),
            lambda: loop.call_soon_threadsafe(print),
            lambda: loop.run_in_executor(None, print),
            lambda: loop.add_signal_handler(10, print),
        ):
            with pytest.raises(RuntimeError, match="Event loop is closed"):
                use()
        coroutine.close()

    def test_an_unclosed_loop_warns_and_is_closed(self, implementation):
        gc.collect()
        loop = implementation.EventLoop()
        with pytest.warns(ResourceWarning, match="unclosed event loop <"):
            del loop
            gc.collect()

    def test_the_wrong_thing_to_run(self, loop):
        with pytest.raises(TypeError, match="An asyncio.Future, a coroutine or an awaitable is"):
            loop.run_until_complete(3)
        other = type(loop)()
        future = other.create_future()
        with pytest.raises(ValueError, match="The future belongs to a different loop than"):
            loop.run_until_complete(future)
        other.close()

    def test_a_subclass_with_its_own_clock(self, implementation):
        class Loop(implementation.EventLoop):
            offset = 0

            def time(self):
                return super().time() + self.offset

        loop = Loop()
        started = time.monotonic()
        loop.call_later(0.02, setattr, loop, "offset", 1000)
        loop.run_until_complete(asyncio.sleep(500))
        # Of the 500 seconds that its clock says.
        assert time.monotonic() - started < 100
        loop.close()

    def test_attributes_can_be_replaced(self, loop):
        seen = []
        real, loop.call_soon = loop.call_soon, lambda *args, **_: seen.append(args)
        loop.call_soon(1)
        assert seen == [(1,)]
        loop.call_soon = real
        loop.anything = 3
        assert vars(loop)["anything"] == 3


class TestExecutor:
    """``run_in_executor`` and the default executor."""

    def test_functions_run_in_threads(self, loop):
        async def main():
            assert await loop.run_in_executor(None, threading.get_ident) != threading.get_ident()
            with pytest.raises(ZeroDivisionError):
                await loop.run_in_executor(None, divmod, 1, 0)
            name = await loop.run_in_executor(None, lambda: threading.current_thread().name)
            assert name.startswith("asyncio_")
            assert await asyncio.to_thread(sum, [1, 2]) == 3

        loop.run_until_complete(main())

    def test_an_executor_of_the_callers(self, loop):
        with concurrent.futures.ThreadPoolExecutor(thread_name_prefix="own") as executor:

            async def main():
                for chosen in (executor, None):
                    name = await loop.run_in_executor(
                        chosen, lambda: threading.current_thread().name
                    )
                    assert name.startswith("own")

            loop.set_default_executor(executor)
            loop.run_until_complete(main())
        with pytest.raises(TypeError, match="^executor must be ThreadPoolExecutor instance$"):
            loop.set_default_executor(concurrent.futures.Executor())
        with pytest.raises(TypeError, match="^executor must be ThreadPoolExecutor instance$"):
            loop.set_default_executor(None)

    def test_shut_down(self, loop):
        async def main():
            await loop.shutdown_default_executor()
            with pytest.raises(RuntimeError, match="^Executor shutdown has been called$"):
                loop.run_in_executor(None, print)
            with concurrent.futures.ThreadPoolExecutor() as executor:
                assert await loop.run_in_executor(executor, int, "3") == 3

        loop.run_until_complete(main())

    def test_shutting_down_waits_for_what_runs(self, loop):
        release = threading.Event()

        async def main():
            working = loop.run_in_executor(None, release.wait)
            shutting_down = asyncio.ensure_future(loop.shutdown_default_executor())
            await asyncio.sleep(0.01)
            assert not shutting_down.done()
            release.set()
            await shutting_down
            assert await working

        loop.run_until_complete(main())

    def test_shutting_down_gives_up(self, loop, implementation):
        if not implementation.is_ferrio and sys.version_info < (3, 13):
            pytest.skip("had no timeout before 3.12, and no working one before 3.13")
        release = threading.Event()

        async def main():
            job = loop.run_in_executor(None, release.wait)
            with pytest.warns(
                RuntimeWarning,
                match=r"^The executor did not finishing joining its threads within 0\.01 seconds\.",
            ):
                await loop.shutdown_default_executor(0.01)
            release.set()
            await job

        before = set(threading.enumerate())
        loop.run_until_complete(main())
        # asyncio's thread that joins the others tells the loop of it, which nobody awaits.
        for thread in set(threading.enumerate()) - before:
            thread.join()

    def test_closing_the_loop_does_not_wait(self, loop):
        release = threading.Event()
        started = threading.Event()

        def work():
            started.set()
            release.wait()

        async def main():
            future = loop.run_in_executor(None, work)
            await asyncio.to_thread(started.wait)
            return future

        future = loop.run_until_complete(main())
        loop.close()
        assert not future.done()
        release.set()

    def test_debug_mode_checks_the_function(self, loop):
        loop.set_debug(True)
        with pytest.raises(TypeError, match=r"coroutines cannot be used with run_in_executor\(\)"):
            loop.run_in_executor(None, nothing)
        with pytest.raises(TypeError, match=r"a callable object was expected by run_in_executor"):
            loop.run_in_executor(None, 3)


class TestNames:
    """``getaddrinfo`` and ``getnameinfo``."""

    def test_both_ways(self, loop):
        async def main():
            infos = await loop.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
            assert infos == socket.getaddrinfo("127.0.0.1", 80, type=socket.SOCK_STREAM)
            name = await loop.getnameinfo(("127.0.0.1", 80), socket.NI_NUMERICHOST)
            assert name[0] == "127.0.0.1"
            with pytest.raises(socket.gaierror):
                await loop.getaddrinfo("no-such-host.invalid", 80)

        loop.run_until_complete(main())

    def test_debug_mode_logs_them(self, loop, records):
        loop.set_debug(True)
        loop.slow_callback_duration = 0
        loop.run_until_complete(loop.getaddrinfo("127.0.0.1", 80, family=socket.AF_INET))
        messages = [record.getMessage() for record in records.records]
        question = "127.0.0.1:80, family=<AddressFamily.AF_INET: 2>"
        assert f"Get address info {question}" in messages
        assert any(
            message.startswith(f"Getting address info {question} took ") for message in messages
        )


class TestExceptionHandler:
    """Errors that have no caller."""

    def test_the_default_handler_logs(self, loop, records):
        loop.set_exception_handler(None)
        try:
            raise ValueError("wrong")
        except ValueError as error:
            loop.call_exception_handler(
                {"message": "It broke", "exception": error, "b": 2, "a": [1]}
            )
        (record,) = records.records
        assert record.levelno == logging.ERROR
        assert record.getMessage() == "It broke\na: [1]\nb: 2"
        assert record.exc_info[0] is ValueError

    def test_without_a_message(self, loop, records):
        loop.set_exception_handler(None)
        loop.call_exception_handler({})
        (record,) = records.records
        assert record.getMessage() == "Unhandled exception in event loop"
        assert not record.exc_info

    def test_the_stack_of_an_object(self, loop, records):
        import traceback

        loop.set_exception_handler(None)
        stack = traceback.extract_stack()
        loop.call_exception_handler({"message": "m", "source_traceback": stack})
        text = records.records[0].getMessage()
        assert text.startswith(
            "m\nsource_traceback: Object created at (most recent call last):\n  File "
        )
        assert text.endswith("stack = traceback.extract_stack()")

    def test_the_stack_of_the_running_handle_in_debug_mode(self, loop, records):
        def fail():
            raise ValueError("wrong")

        loop.set_exception_handler(None)
        loop.set_debug(True)
        loop.call_soon(fail)
        loop.call_soon(loop.stop)
        loop.run_forever()
        text = records.records[-1].getMessage()
        assert text.startswith("Exception in callback ")
        assert "Object created at (most recent call last):" in text or (
            "Handle created at (most recent call last):" in text
        )
        assert "loop.call_soon(fail)" in text

    def test_a_handler_of_the_users(self, loop):
        seen = []
        assert loop.get_exception_handler() is not None

        def handler(*args):
            seen.append(args)

        loop.set_exception_handler(handler)
        assert loop.get_exception_handler() is handler
        loop.call_exception_handler({"message": "m"})
        assert seen == [(loop, {"message": "m"})]
        loop.set_exception_handler(None)
        assert loop.get_exception_handler() is None
        with pytest.raises(TypeError, match="^A callable object or None is expected, got 3$"):
            loop.set_exception_handler(3)

    def test_a_handler_that_fails(self, loop, records):
        def handler(loop, context):
            raise LookupError("in the handler")

        loop.set_exception_handler(handler)
        loop.call_exception_handler({"message": "m"})
        (record,) = records.records
        assert record.getMessage() == (
            "Unhandled error in exception handler\ncontext: {'message': 'm'}"
        )
        assert record.exc_info[0] is LookupError

    def test_a_default_handler_that_fails(self, implementation, records):
        class Loop(implementation.EventLoop):
            def default_exception_handler(self, context):
                raise LookupError

        loop = Loop()
        loop.call_exception_handler({"message": "m"})
        loop.set_exception_handler(lambda *_: 1 / 0)
        loop.call_exception_handler({"message": "m"})
        loop.close()
        first, second = (record.getMessage() for record in records.records if record.exc_info)
        assert first == "Exception in default exception handler"
        assert second == (
            "Exception in default exception handler while handling an unexpected error in "
            "custom exception handler"
        )

    @pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
    def test_an_exception_that_goes_through(self, loop, kind):
        def handler(loop, context):
            raise kind

        loop.set_exception_handler(handler)
        with pytest.raises(kind):
            loop.call_exception_handler({"message": "m"})

    @pytest.mark.skipif(sys.version_info < (3, 12), reason="came with 3.12")
    def test_it_runs_in_the_context_of_what_it_is_about(self, loop):
        variable = contextvars.ContextVar("variable", default="outside")
        seen = []
        loop.set_exception_handler(lambda *_: seen.append(variable.get()))

        def fail():
            raise ValueError

        def tell_of(task):
            loop.call_exception_handler({"message": "m", "task": task})

        async def main():
            variable.set("task")
            loop.call_soon(tell_of, asyncio.current_task(), context=contextvars.Context())
            await asyncio.sleep(0)
            context = contextvars.copy_context()
            context.run(variable.set, "handle")
            loop.call_soon(fail, context=context)
            await asyncio.sleep(0)

        loop.run_until_complete(main())
        loop.call_exception_handler({"message": "m"})
        assert seen == ["task", "handle", "outside"]

    def test_a_replaced_method_hears_what_native_code_reports(self, loop):
        seen = []
        loop.call_exception_handler = seen.append
        loop.call_soon(divmod, 1, 0)
        loop.call_soon(loop.stop)
        loop.run_forever()
        del loop.call_exception_handler
        (context,) = seen
        assert isinstance(context["exception"], ZeroDivisionError)
        assert context["message"].startswith("Exception in callback ")


class TestDebugMode:
    """What debug mode switches on for the thread."""

    def test_coroutines_know_where_they_were_made(self, loop):
        async def main():
            coroutine = nothing()
            coroutine.close()
            return coroutine.cr_origin

        before = sys.get_coroutine_origin_tracking_depth()
        assert loop.run_until_complete(main()) is None
        loop.set_debug(True)
        origin = loop.run_until_complete(main())
        assert origin[0][0] == __file__
        assert sys.get_coroutine_origin_tracking_depth() == before

    def test_switched_while_the_loop_runs(self, loop):
        async def main():
            depths = [sys.get_coroutine_origin_tracking_depth()]
            for enabled in (True, True, False, False):
                loop.set_debug(enabled)
                await asyncio.sleep(0)
                await asyncio.sleep(0)
                depths.append(sys.get_coroutine_origin_tracking_depth())
            return depths

        assert loop.run_until_complete(main()) == [0, 10, 10, 0, 0]

    def test_the_environment_switches_it_on(self, implementation, monkeypatch):
        kind = implementation.EventLoop
        for value, expected in (("1", True), ("", False)):
            monkeypatch.setenv("PYTHONASYNCIODEBUG", value)
            loop = kind()
            assert loop.get_debug() is expected
            loop.close()

    def test_connections_and_servers_are_logged(self, loop, records):
        loop.set_debug(True)

        async def main():
            server = await loop.create_server(asyncio.Protocol, "127.0.0.1", 0)
            transport, _ = await loop.create_connection(
                asyncio.Protocol, *server.sockets[0].getsockname()
            )
            async with asyncio.timeout(60):
                while not any("got a new" in each.getMessage() for each in records.records):
                    await asyncio.sleep(0.001)
            server.close()
            transport.close()
            await asyncio.sleep(0.01)

        loop.run_until_complete(main())
        loop.close()
        text = "\n".join(record.getMessage() for record in records.records)
        for words in (
            "is serving",
            "got a new connection from",
            " connected to 127.0.0.1:",
            "Close <",
        ):
            assert words in text


class TestAsyncGenerators:
    """Generators that are left half-way."""

    def test_they_are_closed_at_the_end(self, loop):
        closed = []

        async def generate(name):
            try:
                yield 1
                yield 2
            finally:
                await asyncio.sleep(0)
                closed.append(name)

        async def main():
            kept.append(generate("kept"))
            await anext(kept[0])
            await anext(generate("dropped"))
            gc.collect()
            # A finalizer schedules a task, which closes the generator.
            for _ in range(10):
                await asyncio.sleep(0)
            assert closed == ["dropped"]

        kept = []
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        assert closed == ["dropped", "kept"]

    def test_an_error_while_closing_is_reported(self, loop, reports):
        async def generate():
            try:
                yield 1
            finally:
                raise LookupError("in finally")

        async def main():
            await anext(generator)

        generator = generate()
        loop.run_until_complete(main())
        loop.run_until_complete(loop.shutdown_asyncgens())
        report = reports.take_one()
        assert report["asyncgen"] is generator
        assert isinstance(report["exception"], LookupError)
        assert report["message"] == (
            f"an error occurred during closing of asynchronous generator {generator!r}"
        )

    def test_one_that_starts_too_late_warns(self, loop):
        async def generate():
            yield 1

        async def main():
            await loop.shutdown_asyncgens()
            generator = generate()
            with pytest.warns(ResourceWarning, match="was scheduled after loop.shutdown_asyncgens"):
                await anext(generator)
            await generator.aclose()

        loop.run_until_complete(main())

    def test_the_hooks_of_the_thread_are_restored(self, loop):
        before = sys.get_asyncgen_hooks()

        async def main():
            return sys.get_asyncgen_hooks()

        assert loop.run_until_complete(main()) != before
        assert sys.get_asyncgen_hooks() == before

    def test_dropped_in_another_thread(self, loop):
        closed = []

        async def generate():
            try:
                yield 1
            finally:
                closed.append(threading.get_ident())

        async def main():
            generators = [generate()]
            await anext(generators[0])
            await asyncio.to_thread(generators.clear)
            await asyncio.sleep(0.001)

        loop.run_until_complete(main())
        assert closed == [threading.get_ident()]


def test_a_new_loop_warns_of_nothing(implementation, watched):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        implementation.EventLoop().close()


def test_a_loops_attributes_are_the_users_alone():
    """An object with something in its dict has its methods called slower."""

    async def generate():
        yield 1

    async def main():
        await loop.run_in_executor(None, int)
        await loop.getaddrinfo("localhost", 80)
        async for _ in generate():
            pass

    loop = ferrio.EventLoop()
    loop.set_exception_handler(None)
    loop.add_signal_handler(signal.SIGUSR1, int)
    loop.run_until_complete(main())
    loop.remove_signal_handler(signal.SIGUSR1)
    loop.run_until_complete(loop.shutdown_asyncgens())
    loop.run_until_complete(loop.shutdown_default_executor())
    loop.close()
    assert vars(loop) == {}


def test_a_method_that_was_replaced_in_the_class_can_be_deleted():
    calls = []
    original = ferrio.EventLoop.call_soon

    def call_soon(self, callback, *args, context=None):
        calls.append(callback)
        return original(self, callback, *args, context=context)

    loop = ferrio.EventLoop()
    ferrio.EventLoop.call_soon = call_soon
    try:
        loop.run_until_complete(nothing())
        assert calls
    finally:
        del ferrio.EventLoop.call_soon
    calls.clear()
    loop.run_until_complete(nothing())
    assert calls == []
    ferrio._ferrio._adopt_methods(ferrio.EventLoop)
    assert vars(ferrio.EventLoop)["call_soon"].__objclass__ is ferrio.EventLoop
    loop.run_until_complete(nothing())
    loop.close()


def test_native_methods_are_the_classes_own():
    """The interpreter calls a method faster on objects of the very class that it belongs to."""
    for name in ("call_soon", "call_soon_threadsafe", "call_later", "create_future", "create_task"):
        assert vars(ferrio.EventLoop)[name].__objclass__ is ferrio.EventLoop
        assert getattr(ferrio.EventLoop, name).__doc__
    for name in ("result", "exception", "done", "cancelled", "add_done_callback", "get_loop"):
        assert vars(ferrio.Task)[name].__objclass__ is ferrio.Task
    # What a part overrides is not put back.
    assert ferrio.EventLoop.set_debug is ferrio.debugging.DebuggingPart.set_debug


def test_native_methods_are_for_the_loops_own_classes():
    for wrong in (object, 1, None):
        with pytest.raises(TypeError, match="subclass"):
            ferrio._ferrio._adopt_methods(wrong)


def test_coroutine_methods_are_coroutine_functions():
    import inspect

    for name, method in vars(asyncio.AbstractEventLoop).items():
        if inspect.iscoroutinefunction(method):
            assert inspect.iscoroutinefunction(getattr(ferrio.EventLoop, name)), name


@pytest.mark.parametrize(
    "name",
    [
        name
        for name, method in vars(asyncio.SelectorEventLoop.__base__.__base__).items()
        if callable(method) and not name.startswith("_") and hasattr(ferrio.EventLoop, name)
    ],
)
def test_every_parameter_of_asyncios_methods_is_taken(name):
    """Python's own methods are compared; those of the native module have their own tests."""
    import inspect

    ours = getattr(ferrio.EventLoop, name)
    if not inspect.isfunction(ours) or ours.__module__.startswith("asyncio."):
        pytest.skip("native, or not there yet")
    theirs = inspect.signature(getattr(asyncio.SelectorEventLoop, name)).parameters
    mine = inspect.signature(ours).parameters
    for parameter in theirs.values():
        assert parameter.name in mine
        assert parameter.kind == mine[parameter.name].kind
        assert parameter.default == mine[parameter.name].default
    assert [each for each in mine if each in theirs] == list(theirs)
