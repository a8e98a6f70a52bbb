"""Wrong types, missing and surplus arguments, half-made objects: exceptions, never a crash."""

import asyncio
import gc
import inspect
import logging
import random
import sys

import pytest

import ferrio
from turns import run_turns


# Arguments of every kind, hostile ones included.
class Hostile:
    def __getattribute__(self, name):
        if name == "__class__":
            return object.__getattribute__(self, name)
        raise ZeroDivisionError(name)

    def __eq__(self, other):
        raise ZeroDivisionError

    def __hash__(self):
        raise ZeroDivisionError

    def __bool__(self):
        raise ZeroDivisionError

    def __repr__(self):
        raise ZeroDivisionError

    def __float__(self):
        raise ZeroDivisionError

    def __index__(self):
        raise ZeroDivisionError

    def __call__(self, *arguments, **options):
        raise ZeroDivisionError


def values():
    return [
        None,
        True,
        0,
        -1,
        2**70,
        -(2**70),
        1.5,
        float("nan"),
        float("inf"),
        "text",
        "\udcff",
        b"bytes",
        (),
        (1, 2),
        [],
        {},
        object(),
        type,
        int,
        print,
        Exception,
        KeyError("x"),
        lambda *a, **k: None,
        Hostile(),
    ]


NAMES = ["loop", "callback", "context", "msg", "name", "fn", "coro", "limit", "args", "when", "x"]

# What ends the process, blocks it, or changes what other tests see.
LEFT_ALONE = {
    "run_forever",
    "run_until_complete",
    "_run_turns",
    "__init_subclass__",
    "__subclasshook__",
    "__class_getitem__",
    "__reduce__",
    "__reduce_ex__",
    "__dir__",
    "__sizeof__",
    "__del__",
    "_thread_id",
    "__new__",
}


def methods_of(thing):
    for name in dir(type(thing)):
        if name in LEFT_ALONE:
            continue
        method = getattr(thing, name, None)
        if callable(method) and not inspect.iscoroutinefunction(method):
            yield name, method


def make_things(loop):
    async def waits():
        await loop.create_future()

    future = loop.create_future()
    task = loop.create_task(waits())
    run_turns(loop, 1)
    iterator = iter(loop.create_future())
    wakeup = task._fut_waiter._callbacks[0][0]
    return [
        future,
        task,
        iterator,
        wakeup,
        loop.call_soon(int),
        loop.call_later(1000, int),
        ferrio.Future.__new__(ferrio.Future),
        ferrio.Task.__new__(ferrio.Task),
        type(loop.call_soon(int)).__new__(type(loop.call_soon(int))),
    ]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(20))
def test_random_calls_of_every_method(seed, monkeypatch):
    """Whatever is passed, the outcome is a result or an exception."""
    chosen = random.Random(seed)
    loop = ferrio.EventLoop()
    loop.set_exception_handler(lambda loop, context: None)
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    for _ in range(15):
        for thing in make_things(loop):
            for _name, method in chosen.sample(list(methods_of(thing)), k=5):
                arguments = [
                    chosen.choice(values() + make_things(loop)[:2])
                    for _ in range(chosen.randrange(4))
                ]
                options = {
                    name: chosen.choice(values())
                    for name in chosen.sample(NAMES, chosen.choice([0, 0, 0, 1, 2]))
                }
                try:
                    method(*arguments, **options)
                except (KeyboardInterrupt, SystemExit):
                    raise
                except BaseException:
                    pass
        try:
            run_turns(loop, 2)
        except BaseException:
            pass
    loop.close()
    del loop, thing, method
    gc.collect()


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", range(10))
def test_random_calls_of_the_loops_methods(seed, monkeypatch):
    chosen = random.Random(seed)
    monkeypatch.setattr(sys, "unraisablehook", lambda unraisable: None)
    names = [
        "call_soon",
        "call_soon_threadsafe",
        "call_later",
        "call_at",
        "create_task",
        "create_future",
        "set_task_factory",
        "get_task_factory",
        "add_reader",
        "remove_reader",
        "add_writer",
        "remove_writer",
        "_add_reader",
        "_remove_reader",
        "_add_handle",
        "_ensure_fd_no_transport",
        "set_debug",
        "get_debug",
        "time",
        "is_running",
        "is_closed",
        "set_exception_handler",
        "call_exception_handler",
        "default_exception_handler",
        "__setattr__",
        "__init__",
    ]
    monkeypatch.setattr(logging.getLogger("asyncio"), "disabled", True)
    for _ in range(10):
        loop = ferrio.EventLoop()
        loop.set_exception_handler(lambda loop, context: None)
        for _ in range(100):
            method = getattr(loop, chosen.choice(names))
            arguments = [chosen.choice(SAFE_VALUES) for _ in range(chosen.randrange(4))]
            try:
                method(*arguments)
            except (KeyboardInterrupt, SystemExit):
                raise
            except BaseException:
                pass
        # Whatever was set on the object is taken away again, so that it can be ended.
        for name in list(vars(loop)):
            if name in names or name in ("text", "\udcff"):
                delattr(loop, name)
        try:
            run_turns(loop, 1)
        except BaseException:
            pass
        loop.close()
        gc.collect()


# No numbers of descriptors that are open in this process.
SAFE_VALUES = [value for value in values() if not (isinstance(value, int) and 0 <= value < 100)]


class TestSignatures:
    """Parameters have asyncio's names, and take what asyncio takes."""

    def test_of_the_loop(self, loop):
        loop.set_debug(enabled=False)
        loop.set_task_factory(factory=None)
        loop.set_exception_handler(handler=None)
        loop.call_exception_handler
        handle = loop.call_soon(callback=int, context=None)
        handle.cancel()
        handle = loop.call_soon_threadsafe(callback=int, context=None)
        handle.cancel()
        run_turns(loop, 2)

    @pytest.mark.parametrize(
        "call",
        [
            lambda loop: loop.call_soon(),
            lambda loop: loop.call_soon(print, surplus=1),
            lambda loop: loop.call_later(1),
            lambda loop: loop.call_at(1),
            lambda loop: loop.time(1),
            lambda loop: loop.stop(1),
            lambda loop: loop.is_running(1),
            lambda loop: loop.create_future(1),
            lambda loop: loop.create_task(),
            lambda loop: loop.get_debug(1),
            lambda loop: loop.set_debug(),
            lambda loop: loop.add_reader(),
            lambda loop: loop.remove_reader(),
            lambda loop: loop.create_future().set_result(),
            lambda loop: loop.create_future().set_result(1, 2),
            lambda loop: loop.create_future().result(1),
            lambda loop: loop.create_future().cancel(1, 2),
            lambda loop: loop.create_future().cancel(text=1),
            lambda loop: loop.create_future().add_done_callback(),
            lambda loop: loop.create_future().remove_done_callback(),
            lambda loop: loop.create_future().get_loop(1),
        ],
    )
    def test_wrong_numbers_of_arguments(self, loop, call):
        with pytest.raises(TypeError):
            call(loop)


class TestHalfMade:
    @pytest.mark.parametrize("kind", ["Future", "Task"])
    def test_objects_that_were_never_initialised(self, implementation, kind, watched):
        cls = getattr(implementation, kind)
        for name in (
            "result",
            "exception",
            "get_loop",
            "cancelled",
            "done",
            "__repr__",
            "__iter__",
            "__await__",
            "cancelling",
            "uncancel",
            "get_coro",
            "get_name",
            "get_stack",
        ):
            thing = cls.__new__(cls)
            if not hasattr(thing, name):
                continue
            if kind == "Task" and name in ("__repr__", "get_stack", "get_coro"):
                if not implementation.is_ferrio:
                    # asyncio's own crashes or not, by release.
                    continue
            try:
                getattr(thing, name)()
            except (RuntimeError, asyncio.InvalidStateError, AttributeError, TypeError):
                pass

    def test_their_attributes(self, watched):
        for cls in (ferrio.Future, ferrio.Task):
            for name in dir(cls):
                thing = cls.__new__(cls)
                try:
                    getattr(thing, name)
                except (RuntimeError, asyncio.InvalidStateError, AttributeError):
                    pass

    def test_messages(self, implementation, watched):
        future = implementation.Future.__new__(implementation.Future)
        for ask in (future.result, future.exception):
            with pytest.raises(asyncio.InvalidStateError, match="Future object is not initialized"):
                ask()
        for ask in (
            future.get_loop,
            future.cancel,
            future.__repr__,
            lambda: future.set_result(1),
            lambda: future.set_exception(KeyError()),
            lambda: future.add_done_callback(print),
            lambda: future.remove_done_callback(print),
            lambda: iter(future),
        ):
            with pytest.raises(RuntimeError, match="initialized"):
                ask()

    def test_types_that_cannot_be_made(self, make_loop):
        future = make_loop(ferrio.EventLoop).create_future()
        iterator = type(iter(future))
        with pytest.raises(TypeError):
            iterator()
        with pytest.raises(TypeError):
            iterator.__new__(iterator)

    def test_a_loop_whose_init_was_never_called(self):
        """A loop in the making: every method answers or raises."""
        import ferrio._ferrio

        loop = ferrio._ferrio.EventLoop.__new__(ferrio._ferrio.EventLoop)
        assert loop.is_closed() is False
        assert loop.is_running() is False
        loop.call_soon(int)
        loop._close()
        assert loop.is_closed() is True


class TestText:
    @pytest.mark.parametrize("text", ["", "ü", "\0", "\udcff", "x" * 10_000, "%s %d {}"])
    def test_every_text_as_name_and_message(self, loop, text):
        async def waits():
            await loop.create_future()

        task = loop.create_task(waits(), name=text)
        assert task.get_name() == text
        run_turns(loop, 1)
        repr(task)
        task.cancel(text)
        run_turns(loop, 2)
        with pytest.raises(asyncio.CancelledError) as raised:
            task.result()
        assert raised.value.args == (text,)

    def test_names_in_messages_of_errors(self, loop):
        class Odd:
            def __repr__(self):
                return "\udcff\0 %s"

        with pytest.raises(TypeError):
            loop.create_task(Odd())
        with pytest.raises((TypeError, ValueError)):
            loop.add_reader(Odd(), print)
        loop.set_debug(True)
        with pytest.raises(TypeError):
            loop.call_soon(Odd())

    def test_representations_that_fail(self, loop):
        class Odd:
            def __repr__(self):
                raise ZeroDivisionError

        with pytest.raises((TypeError, ZeroDivisionError)):
            loop.create_task(Odd())
        with pytest.raises((TypeError, ValueError, ZeroDivisionError)):
            loop.add_reader(Odd(), print)
        future = loop.create_future()
        future.set_result(Odd())
        assert "Odd" in repr(future)
