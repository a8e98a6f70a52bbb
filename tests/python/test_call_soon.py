"""``call_soon``: order, batches, arguments, contexts, handles."""

import asyncio
import contextvars
import gc
import sys
import weakref

import pytest

from turns import run_turn, run_turns, run_until_idle

variable = contextvars.ContextVar("variable", default="unset")


def test_calls_are_made_in_the_order_of_scheduling(loop):
    calls = []
    for number in range(1000):
        loop.call_soon(calls.append, number)
    run_turn(loop)
    assert calls == list(range(1000))


def test_what_a_callback_schedules_waits_for_the_next_turn(loop):
    calls = []

    def first():
        calls.append("first")
        loop.call_soon(calls.append, "third")

    loop.call_soon(first)
    loop.call_soon(calls.append, "second")
    run_turn(loop)
    assert calls == ["first", "second"]
    run_turn(loop)
    assert calls == ["first", "second", "third"]


def test_a_turn_runs_exactly_what_was_ready_when_it_began(loop):
    calls = []

    def again():
        calls.append(len(calls))
        if len(calls) < 8:
            loop.call_soon(again)

    loop.call_soon(again)
    run_turns(loop, 7)
    assert len(calls) == 7
    run_turn(loop)
    assert len(calls) == 8


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 300])
def test_positional_arguments(loop, count):
    seen = []
    arguments = tuple(range(count))
    loop.call_soon(lambda *given: seen.append(given), *arguments)
    run_turn(loop)
    assert seen == [arguments]


def test_a_tuple_as_the_only_argument_stays_one_argument(loop):
    seen = []
    loop.call_soon(seen.append, (1, 2, 3))
    loop.call_soon(seen.append, ())
    loop.call_soon(seen.append, None)
    run_turn(loop)
    assert seen == [(1, 2, 3), (), None]


@pytest.mark.parametrize(
    "make",
    [
        lambda seen: seen.append,
        lambda seen: lambda value: seen.append(value),
        lambda seen: type("Callable", (), {"__call__": lambda self, value: seen.append(value)})(),
        lambda seen: __import__("functools").partial(seen.append),
        lambda seen: type("Class", (), {"__init__": lambda self, value: seen.append(value)}),
    ],
    ids=["builtin", "function", "object", "partial", "class"],
)
def test_every_kind_of_callable(loop, make):
    seen = []
    loop.call_soon(make(seen), "value")
    run_turn(loop)
    assert seen == ["value"]


def test_context_is_a_copy_of_the_current_one(loop):
    seen = []
    variable.set("at scheduling")
    loop.call_soon(lambda: (seen.append(variable.get()), variable.set("in the callback")))
    token = variable.set("later")
    run_turn(loop)
    assert seen == ["at scheduling"]
    assert variable.get() == "later"
    variable.reset(token)
    variable.set("unset")


def test_context_can_be_given(loop):
    context = contextvars.copy_context()
    context.run(variable.set, "given")
    seen = []

    def callback():
        seen.append(variable.get())
        variable.set("changed")

    loop.call_soon(callback, context=context)
    run_turn(loop)
    assert seen == ["given"]
    assert context[variable] == "changed"


def test_context_none_means_a_copy(loop):
    seen = []
    loop.call_soon(lambda: seen.append(variable.get()), context=None)
    run_turn(loop)
    assert seen == ["unset"]


def test_one_context_serves_many_callbacks(loop):
    context = contextvars.Context()
    counter = contextvars.ContextVar("counter", default=0)
    for _ in range(10):
        loop.call_soon(lambda: counter.set(counter.get() + 1), context=context)
    run_turn(loop)
    assert context[counter] == 10


def test_a_callback_that_cannot_enter_its_context_is_reported(loop, reports, logged):
    context = contextvars.Context()
    calls = []
    loop.call_soon(calls.append, "never", context=context)
    loop.call_soon(calls.append, "after")
    # The whole run happens within the context, so it cannot be entered a second time.
    context.run(run_turn, loop)
    assert calls == ["after"]
    if sys.version_info >= (3, 12):
        # Nor can it be for the exception handler, so the default one speaks.
        (text,) = logged.texts()
        assert text.startswith("Unhandled error in exception handler")
        assert "Exception in callback list.append(" in text
        return
    report = reports.take_one()
    assert isinstance(report["exception"], RuntimeError)
    assert "cannot enter context" in str(report["exception"])
    assert report["message"] == "Exception in callback list.append('never')"


def test_what_is_no_context_is_reported_or_refused(loop, reports):
    calls = []
    try:
        loop.call_soon(calls.append, 1, context="no context")
    except TypeError:
        return
    run_turn(loop)
    assert calls == []
    assert isinstance(reports.take_one()["exception"], (TypeError, AttributeError))


def test_a_cancelled_callback_is_not_called(loop):
    calls = []
    loop.call_soon(calls.append, 1)
    handle = loop.call_soon(calls.append, 2)
    loop.call_soon(calls.append, 3)
    assert not handle.cancelled()
    handle.cancel()
    handle.cancel()
    assert handle.cancelled()
    run_turn(loop)
    assert calls == [1, 3]


def test_a_callback_may_cancel_others_of_its_batch(loop):
    calls = []

    def canceller():
        calls.append("canceller")
        victim.cancel()

    loop.call_soon(canceller)
    victim = loop.call_soon(calls.append, "victim")
    run_turn(loop)
    assert calls == ["canceller"]


def test_a_callback_may_cancel_its_own_handle_while_it_runs(loop):
    seen = []

    class Argument:
        pass

    def callback(argument, *rest):
        handle.cancel()
        gc.collect()
        seen.append((type(argument).__name__, rest))

    handle = loop.call_soon(callback, Argument(), *range(100))
    run_turn(loop)
    assert seen == [("Argument", tuple(range(100)))]
    assert handle.cancelled()


def test_a_callback_may_drop_the_last_reference_to_itself(loop):
    seen = []

    class Callback:
        def __call__(self, argument):
            del callbacks[:]
            handles[0].cancel()
            gc.collect()
            seen.append(self.name)

    callback = Callback()
    callback.name = "alive"
    callbacks = [callback]
    handles = [loop.call_soon(callback, "argument")]
    del callback
    run_turn(loop)
    assert seen == ["alive"]


def test_an_exception_is_reported_and_the_batch_goes_on(loop, reports):
    calls = []

    def fails():
        raise ZeroDivisionError("on purpose")

    loop.call_soon(calls.append, 1)
    handle = loop.call_soon(fails)
    loop.call_soon(calls.append, 2)
    run_turn(loop)
    assert calls == [1, 2]
    report = reports.take_one()
    assert isinstance(report["exception"], ZeroDivisionError)
    assert report["handle"] is handle
    assert "fails" in report["message"]
    assert report["message"].startswith("Exception in callback ")


def test_what_a_callback_returns_is_dropped(loop):
    class Result:
        pass

    references = []

    def callback():
        result = Result()
        references.append(weakref.ref(result))
        return result

    loop.call_soon(callback)
    run_turn(loop)
    assert references[0]() is None


def test_arguments_are_freed_after_the_call(loop):
    class Argument:
        pass

    argument = Argument()
    reference = weakref.ref(argument)
    loop.call_soon(lambda argument: None, argument)
    del argument
    assert reference() is not None
    run_turn(loop)
    gc.collect()
    assert reference() is None


def test_cancel_frees_callback_and_arguments_at_once(loop):
    class Argument:
        pass

    argument = Argument()
    reference = weakref.ref(argument)
    handle = loop.call_soon(print, argument)
    del argument
    handle.cancel()
    assert reference() is None
    assert handle._callback is None
    assert handle._args is None


def test_a_finalizer_that_runs_in_cancel_may_use_the_loop(loop):
    calls = []

    class Argument:
        def __del__(self):
            loop.call_soon(calls.append, "from the finalizer")
            handle.cancel()

    handle = loop.call_soon(print, Argument())
    handle.cancel()
    run_turns(loop, 2)
    assert calls == ["from the finalizer"]


def test_handle_can_be_weakly_referenced_and_dies(loop):
    handle = loop.call_soon(lambda: None)
    reference = weakref.ref(handle)
    del handle
    assert reference() is not None
    run_turn(loop)
    gc.collect()
    assert reference() is None


def test_handle_is_asyncios(loop):
    handle = loop.call_soon(lambda: None)
    assert isinstance(handle, asyncio.Handle)
    assert not isinstance(handle, asyncio.TimerHandle)
    assert handle._loop is loop
    run_turn(loop)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="Handle.get_context is new in 3.12")
def test_handle_tells_its_context(loop):
    context = contextvars.Context()
    handle = loop.call_soon(lambda: None, context=context)
    assert handle.get_context() is context
    run_turn(loop)


def callback_with_a_name():
    pass


def test_handle_representation(loop):
    handle = loop.call_soon(callback_with_a_name)
    assert repr(handle).startswith("<Handle callback_with_a_name() at ")
    assert "test_call_soon.py:" in repr(handle)
    handle.cancel()
    assert repr(handle) == "<Handle cancelled>"
    run_turn(loop)


def test_handle_representation_with_arguments(loop):
    handle = loop.call_soon(callback_with_a_name, 1, "two")
    try:
        if sys.version_info >= (3, 13):
            # Arguments may be secrets, and are shown in debug mode alone.
            assert "callback_with_a_name()" in repr(handle) or "(1, 'two')" in repr(handle)
        else:
            assert "callback_with_a_name(1, 'two')" in repr(handle)
    finally:
        handle.cancel()
        run_turn(loop)


def test_call_soon_needs_a_callback(loop):
    with pytest.raises(TypeError):
        loop.call_soon()
    with pytest.raises(TypeError):
        loop.call_soon(print, unknown=1)


def test_callback_by_keyword(loop):
    """The parameter's name is part of asyncio's signature."""
    calls = []
    handle = loop.call_soon(callback=lambda: calls.append(1))
    assert isinstance(handle, asyncio.Handle)
    run_turn(loop)
    assert calls == [1]


def test_what_cannot_be_called_is_reported_when_its_turn_comes(loop, reports):
    loop.call_soon(None)
    loop.call_soon(42, "argument")
    run_turn(loop)
    assert [type(report["exception"]) for report in reports.take()] == [TypeError, TypeError]


def test_current_task_is_none_in_a_callback(loop):
    seen = []

    async def coroutine():
        seen.append(asyncio.current_task() is task)
        loop.call_soon(lambda: seen.append(asyncio.current_task()))

    task = loop.create_task(coroutine())
    loop.call_soon(lambda: seen.append(asyncio.current_task()))
    run_until_idle(loop)
    assert seen == [True, None, None]


def test_running_loop_is_this_one_in_a_callback(loop):
    seen = []
    loop.call_soon(lambda: seen.append(asyncio.get_running_loop()))
    run_turn(loop)
    assert seen == [loop]
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()


def test_a_loop_may_be_dropped_with_callbacks_queued(make_loop, reports):
    """A cycle of loop, handle and callback is garbage like any other."""
    loop = make_loop()

    class Anything:
        pass

    anything = Anything()
    anything.loop = loop
    anything.handle = loop.call_soon(print, anything)
    reference = weakref.ref(anything)
    del anything
    loop.close()
    gc.collect()
    assert reference() is None


def test_a_callback_that_schedules_itself_again_and_again(loop):
    remaining = 20_000

    def again():
        nonlocal remaining
        remaining -= 1
        if remaining:
            loop.call_soon(again)
        else:
            loop.stop()

    loop.call_soon(again)
    loop.run_forever()
    assert remaining == 0
