"""Loops that are subclassed or patched: what replaces a method is what gets called."""

import asyncio
import contextvars
import inspect
import sys
from unittest import mock

import pytest

from turns import run_turn, run_turns, run_until_idle


def recording(method, calls):
    """A wrapper that keeps the calls' callbacks and passes them on."""

    def wrapper(callback, *args, context=None):
        calls.append(callback)
        return method(callback, *args, context=context)

    return wrapper


async def program(loop):
    """Uses every way by which asyncio schedules: futures, tasks, timers."""
    future = loop.create_future()
    loop.call_soon(future.set_result, "result")
    await future
    await asyncio.sleep(0)
    await asyncio.sleep(0.001)
    return await asyncio.create_task(asyncio.sleep(0, "done"))


class TestCallSoon:
    def test_on_the_object(self, loop):
        calls = []
        loop.call_soon = recording(loop.call_soon, calls)
        assert loop.run_until_complete(program(loop)) == "done"
        # Every step and every wake-up of the tasks went through it.
        assert len(calls) >= 6
        del loop.call_soon
        calls.clear()
        assert loop.run_until_complete(program(loop)) == "done"
        assert calls == []

    def test_with_a_mock(self, loop):
        with mock.patch.object(loop, "call_soon", wraps=loop.call_soon) as call_soon:
            loop.run_until_complete(program(loop))
        assert call_soon.call_count >= 6
        count = call_soon.call_count
        loop.run_until_complete(program(loop))
        assert call_soon.call_count == count

    def test_in_a_subclass(self, implementation, make_loop):
        calls = []

        class Loop(implementation.EventLoop):
            def call_soon(self, callback, *args, context=None):
                calls.append(callback)
                return super().call_soon(callback, *args, context=context)

        loop = make_loop(Loop)
        # Before the loop has ever run.
        task = loop.create_task(asyncio.sleep(0))
        assert len(calls) == 1
        future = loop.create_future()
        future.add_done_callback(lambda done: None)
        future.cancel()
        assert len(calls) == 2
        assert loop.run_until_complete(program(loop)) == "done"
        assert len(calls) >= 8
        assert task.done()
        run_until_idle(loop)

    def test_on_the_class_afterwards(self, implementation, make_loop):
        class Loop(implementation.EventLoop):
            pass

        loop = make_loop(Loop)
        calls = []
        loop.run_until_complete(program(loop))

        def call_soon(self, callback, *args, context=None):
            calls.append(callback)
            return implementation.EventLoop.call_soon(self, callback, *args, context=context)

        Loop.call_soon = call_soon
        loop.run_until_complete(program(loop))
        assert len(calls) >= 6
        del Loop.call_soon
        calls.clear()
        loop.run_until_complete(program(loop))
        assert calls == []

    def test_on_the_class_itself(self, implementation, make_loop, monkeypatch):
        """By what puts back whatever it has found there."""
        loop = make_loop()
        calls = []
        original = implementation.EventLoop.call_soon

        def call_soon(self, callback, *args, context=None):
            calls.append(callback)
            return original(self, callback, *args, context=context)

        with mock.patch.object(implementation.EventLoop, "call_soon", call_soon):
            loop.run_until_complete(program(loop))
        assert len(calls) >= 6
        calls.clear()
        loop.run_until_complete(program(loop))
        assert calls == []
        with monkeypatch.context() as patch:
            patch.setattr(implementation.EventLoop, "call_soon", call_soon)
            loop.run_until_complete(program(loop))
        assert len(calls) >= 6
        calls.clear()
        loop.run_until_complete(program(loop))
        assert calls == []

    def test_on_a_base_of_the_class_afterwards(self, implementation, make_loop):
        class Mixin:
            pass

        class Loop(Mixin, implementation.EventLoop):
            pass

        loop = make_loop(Loop)
        loop.run_until_complete(program(loop))
        calls = []

        def call_soon(self, callback, *args, context=None):
            calls.append(callback)
            return implementation.EventLoop.call_soon(self, callback, *args, context=context)

        Mixin.call_soon = call_soon
        loop.run_until_complete(program(loop))
        assert len(calls) >= 6

    def test_in_the_middle_of_a_run(self, loop):
        calls = []

        async def main():
            loop.call_soon = recording(loop.call_soon, calls)
            await program(loop)
            del loop.call_soon
            before = len(calls)
            await program(loop)
            return before

        before = loop.run_until_complete(main())
        assert before >= 6
        assert len(calls) == before

    def test_through_the_dictionary(self, loop):
        calls = []
        loop.__dict__["call_soon"] = recording(loop.call_soon, calls)
        loop.run_until_complete(program(loop))
        assert len(calls) >= 6
        del loop.__dict__["call_soon"]

    def test_that_changes_the_order(self, implementation, make_loop):
        """A scheduler of one's own: everything that is scheduled is called in reverse."""

        class Loop(implementation.EventLoop):
            waiting = None

            def call_soon(self, callback, *args, context=None):
                if self.waiting is None:
                    self.waiting = []
                    super().call_soon(self.flush)
                handle = asyncio.Handle(callback, args, self, context)
                self.waiting.append(handle)
                return handle

            def flush(self):
                handles, self.waiting = self.waiting, None
                for handle in reversed(handles):
                    if not handle.cancelled():
                        handle._run()

        loop = make_loop(Loop)
        order = []

        async def step(name):
            order.append(name)

        for name in "abc":
            loop.create_task(step(name))
        run_turns(loop, 3)
        assert order == ["c", "b", "a"]
        loop.waiting = None

    def test_that_drops_the_context(self, implementation, make_loop):
        """Overrides from before contexts existed took none."""

        class Loop(implementation.EventLoop):
            def call_soon(self, callback, *args, **options):
                return super().call_soon(callback, *args, **options)

        loop = make_loop(Loop)
        assert loop.run_until_complete(program(loop)) == "done"

    def test_that_raises(self, loop, reports):
        def call_soon(*arguments, **options):
            raise ZeroDivisionError

        loop.call_soon = call_soon
        coroutine = asyncio.sleep(0)
        with pytest.raises(ZeroDivisionError):
            loop.create_task(coroutine)
        coroutine.close()
        # asyncio's order: the task that could not be scheduled was a whole one.
        assert reports.messages() == ["Task was destroyed but it is pending!"]
        future = loop.create_future()
        future.add_done_callback(lambda done: None)
        with pytest.raises(ZeroDivisionError):
            future.set_result(1)
        del loop.call_soon


class TestOtherMethods:
    def test_time(self, loop):
        loop.time = lambda: 5000.0
        assert loop.call_later(1, int).when() == 5001.0
        del loop.time
        assert loop.time() != 5000.0
        for handle in gc_timers(loop):
            handle.cancel()

    def test_time_with_a_mock(self, loop):
        with mock.patch.object(loop, "time", return_value=5000.0):
            handle = loop.call_later(1, int)
            assert handle.when() == 5001.0
        handle.cancel()

    def test_call_at_and_call_later(self, loop):
        calls = []
        original = loop.call_at

        def call_at(when, callback, *args, context=None):
            calls.append("call_at")
            return original(when, callback, *args, context=context)

        loop.call_at = call_at
        loop.run_until_complete(asyncio.sleep(0.001))
        assert calls == ["call_at"]
        del loop.call_at

        original_later = loop.call_later

        def call_later(delay, callback, *args, context=None):
            calls.append("call_later")
            return original_later(delay, callback, *args, context=context)

        loop.call_later = call_later
        loop.run_until_complete(asyncio.sleep(0.001))
        assert calls == ["call_at", "call_later"]
        del loop.call_later

    def test_create_task(self, loop):
        names = []
        original = loop.create_task

        def create_task(coroutine, **options):
            task = original(coroutine, **options)
            names.append(task.get_name())
            return task

        loop.create_task = create_task
        loop.run_until_complete(program(loop))
        del loop.create_task
        assert len(names) == 2

    def test_create_future(self, loop):
        made = []
        original = loop.create_future

        def create_future():
            made.append(original())
            return made[-1]

        loop.create_future = create_future
        loop.run_until_complete(asyncio.sleep(0.001))
        del loop.create_future
        assert len(made) == 1
        made.clear()

    def test_call_exception_handler(self, loop):
        with mock.patch.object(loop, "call_exception_handler") as handler:
            loop.call_soon(lambda: 1 / 0)
            run_turn(loop)
        handler.assert_called_once()

    def test_stop(self, loop):
        stops = []
        original = loop.stop

        def stop():
            stops.append(True)
            original()

        loop.stop = stop
        loop.run_until_complete(asyncio.sleep(0))
        del loop.stop
        assert stops == [True]

    def test_run_forever(self, implementation, make_loop):
        """A subclass may do something before and after every run."""
        events = []

        class Loop(implementation.EventLoop):
            def run_forever(self):
                events.append("before")
                try:
                    super().run_forever()
                finally:
                    events.append("after")

        loop = make_loop(Loop)
        loop.run_until_complete(asyncio.sleep(0))
        assert events == ["before", "after"]

    def test_close(self, implementation, make_loop):
        events = []

        class Loop(implementation.EventLoop):
            def close(self):
                events.append("closed")
                super().close()

        loop = make_loop(Loop)
        loop.close()
        assert events == ["closed"]


def gc_timers(loop):
    import gc

    held = gc.get_referents(loop) if not hasattr(loop, "_scheduled") else loop._scheduled
    return [handle for handle in held if isinstance(handle, asyncio.TimerHandle)]


class TestAttributes:
    def test_may_be_added_and_removed(self, loop):
        loop.anything = "value"
        assert loop.anything == "value"
        assert loop.__dict__["anything"] == "value"
        assert vars(loop)["anything"] == "value"
        del loop.anything
        with pytest.raises(AttributeError):
            _ = loop.anything

    def test_of_a_subclass_with_state(self, implementation, make_loop):
        class Loop(implementation.EventLoop):
            label = "of the class"

            def __init__(self):
                super().__init__()
                self.count = 0

            @property
            def twice(self):
                return self.count * 2

            def call_soon(self, callback, *args, context=None):
                self.count += 1
                return super().call_soon(callback, *args, context=context)

        loop = make_loop(Loop)
        loop.call_soon(int)
        assert (loop.label, loop.count, loop.twice) == ("of the class", 1, 2)
        run_turn(loop)

    def test_can_be_weakly_referenced_and_hashed(self, loop):
        import weakref

        assert weakref.ref(loop)() is loop
        assert loop in {loop}
        assert weakref.WeakKeyDictionary({loop: 1})[loop] == 1

    def test_loops_are_equal_to_themselves_alone(self, loop, make_loop):
        assert loop == loop  # noqa: PLR0124
        assert loop != make_loop()

    def test_a_subclass_with_slots(self, implementation, make_loop):
        class Loop(implementation.EventLoop):
            __slots__ = ("extra",)

        loop = make_loop(Loop)
        loop.extra = 1
        assert loop.extra == 1
        assert loop.run_until_complete(program(loop)) == "done"

    def test_multiple_inheritance(self, implementation, make_loop):
        class Mixin:
            def __init__(self, *args, **options):
                super().__init__(*args, **options)
                self.mixed = True

        class Loop(Mixin, implementation.EventLoop):
            pass

        loop = make_loop(Loop)
        assert loop.mixed
        assert loop.run_until_complete(program(loop)) == "done"


class TestMethods:
    COROUTINES = (
        "create_connection",
        "create_server",
        "getaddrinfo",
        "getnameinfo",
        "shutdown_asyncgens",
        "shutdown_default_executor",
        "start_tls",
        "sock_connect",
    )

    @pytest.mark.parametrize("name", COROUTINES)
    def test_coroutine_methods_are_coroutine_functions(self, implementation, name):
        """Tests and wrappers ask; a function that returns a future is not the same."""
        method = getattr(implementation.EventLoop, name)
        assert inspect.iscoroutinefunction(method)
        assert asyncio.iscoroutinefunction(method)

    def test_every_method_of_asyncio_is_there(self, implementation):
        missing = [
            name
            for name in dir(asyncio.AbstractEventLoop)
            if not name.startswith("_") and not hasattr(implementation.EventLoop, name)
        ]
        assert missing == []

    def test_unbound_methods_work_on_instances(self, loop, implementation):
        calls = []
        implementation.EventLoop.call_soon(loop, calls.append, 1)
        assert implementation.EventLoop.time(loop) <= loop.time()
        run_turn(loop)
        assert calls == [1]

    def test_unbound_methods_refuse_others(self, implementation):
        for name in ("call_soon", "time", "create_future"):
            with pytest.raises((TypeError, AttributeError)):
                getattr(implementation.EventLoop, name)(object(), print)

    def test_bound_methods_keep_their_loop(self, loop):
        method = loop.call_soon
        assert method.__self__ is loop
        assert method.__name__ == "call_soon"
        calls = []
        method(calls.append, 1)
        run_turn(loop)
        assert calls == [1]


class TestOtherImplementations:
    @pytest.mark.skipif(
        sys.version_info >= (3, 14), reason="from 3.14 a task's loop has to be the running one"
    )
    def test_a_wrapper_loop(self, loop):
        """A loop that delegates everything, as tracing tools make it."""

        class Wrapper(asyncio.AbstractEventLoop):
            def __init__(self, wrapped):
                self._wrapped = wrapped
                self.scheduled = 0

            def call_soon(self, callback, *args, context=None):
                self.scheduled += 1
                return self._wrapped.call_soon(callback, *args, context=context)

            def get_debug(self):
                return self._wrapped.get_debug()

            def is_running(self):
                return self._wrapped.is_running()

            def create_future(self):
                return asyncio.Future(loop=self)

            def call_exception_handler(self, context):
                self._wrapped.call_exception_handler(context)

        wrapper = Wrapper(loop)

        async def coroutine():
            future = wrapper.create_future()
            wrapper.call_soon(future.set_result, "result")
            return await future

        import ferrio

        for task_class in (asyncio.Task, ferrio.Task):
            before = wrapper.scheduled
            task = task_class(coroutine(), loop=wrapper)
            run_turns(loop, 4)
            assert task.result() == "result"
            assert task.get_loop() is wrapper
            assert wrapper.scheduled - before == 3

    def test_contexts_through_a_patched_call_soon(self, loop):
        variable = contextvars.ContextVar("variable", default="unset")
        seen = []

        async def coroutine():
            variable.set("of the task")
            await asyncio.sleep(0)
            seen.append(variable.get())

        calls = []
        loop.call_soon = recording(loop.call_soon, calls)
        loop.run_until_complete(coroutine())
        del loop.call_soon
        assert seen == ["of the task"]
