"""The loop's exception handler: set, asked for, called, and failing itself."""

import asyncio
import contextvars
import sys

import pytest

from turns import run_turn


def test_set_and_get(loop):
    def handler(loop, context):
        pass

    loop.set_exception_handler(handler)
    assert loop.get_exception_handler() is handler
    loop.set_exception_handler(None)
    assert loop.get_exception_handler() is None


@pytest.mark.parametrize("wrong", [1, "text", object()], ids=repr)
def test_what_is_no_handler(loop, wrong):
    with pytest.raises(TypeError, match="A callable object or None is expected"):
        loop.set_exception_handler(wrong)


@pytest.mark.parametrize("wrong", [None, 1, b"text"], ids=repr)
def test_what_is_no_context(loop, wrong):
    with pytest.raises(AttributeError, match="object has no attribute 'get'"):
        loop.default_exception_handler(wrong)


def test_gets_the_loop_and_the_context(loop):
    calls = []
    loop.set_exception_handler(lambda *arguments: calls.append(arguments))
    context = {"message": "told", "anything": 1}
    loop.call_exception_handler(context)
    assert calls == [(loop, context)]


def test_the_default_handler_logs_everything_in_the_context(loop, logged):
    loop.set_exception_handler(None)
    loop.call_exception_handler({"message": "told", "zebra": 1, "ant": [2]})
    assert logged.texts() == ["told\nant: [2]\nzebra: 1"]
    loop.call_exception_handler({})
    assert logged.texts() == ["Unhandled exception in event loop"]


def test_the_default_handler_logs_the_traceback(loop, logged):
    def fails():
        raise ZeroDivisionError("on purpose")

    loop.set_exception_handler(None)
    loop.call_soon(fails)
    run_turn(loop)
    (text,) = logged.texts()
    lines = text.splitlines()
    assert lines[0].startswith("Exception in callback ")
    assert "fails()" in lines[0]
    assert lines[1].startswith("handle: <Handle ")
    assert "raise ZeroDivisionError" in text
    assert lines[-1] == "ZeroDivisionError: on purpose"


def test_a_handler_that_fails_is_reported_by_the_default_one(loop, logged):
    def handler(loop, context):
        raise KeyError("in the handler")

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    run_turn(loop)
    (text,) = logged.texts()
    assert text.startswith("Unhandled error in exception handler\ncontext: {'message': ")
    assert text.endswith("KeyError: 'in the handler'")


def test_an_overridden_default_handler(implementation, make_loop):
    told = []

    class Loop(implementation.EventLoop):
        def default_exception_handler(self, context):
            told.append(context["message"])

    loop = make_loop(Loop)
    loop.set_exception_handler(None)
    loop.call_exception_handler({"message": "told"})
    assert told == ["told"]


def test_an_overridden_default_handler_that_fails(implementation, make_loop, logged):
    class Loop(implementation.EventLoop):
        def default_exception_handler(self, context):
            raise KeyError

    loop = make_loop(Loop)
    loop.set_exception_handler(None)
    loop.call_exception_handler({"message": "told"})
    (text,) = logged.texts()
    assert text.startswith("Exception in default exception handler\n")

    def handler(loop, context):
        raise ZeroDivisionError

    loop.set_exception_handler(handler)
    loop.call_exception_handler({"message": "told"})
    (text,) = logged.texts()
    assert text.startswith(
        "Exception in default exception handler while handling an unexpected error"
    )


def test_an_overridden_call_exception_handler_hears_of_callbacks(implementation, make_loop):
    told = []

    class Loop(implementation.EventLoop):
        def call_exception_handler(self, context):
            told.append(type(context["exception"]))

    loop = make_loop(Loop)
    loop.call_soon(lambda: 1 / 0)
    future = loop.create_future()
    future.add_done_callback(lambda done: [][1])
    future.set_result(None)
    run_turn(loop)
    assert told == [ZeroDivisionError, IndexError]


def test_a_handler_patched_onto_the_loop(loop):
    told = []
    loop.call_exception_handler = told.append
    loop.call_soon(lambda: 1 / 0)
    run_turn(loop)
    del loop.call_exception_handler
    (context,) = told
    assert isinstance(context["exception"], ZeroDivisionError)


def test_the_context_that_a_handler_runs_in(loop):
    variable = contextvars.ContextVar("variable", default="unset")
    seen = []

    def fails():
        variable.set("of the callback")
        raise ZeroDivisionError

    async def fails_as_a_task():
        variable.set("of the task")
        loop.call_exception_handler({"message": "told", "task": asyncio.current_task()})

    loop.set_exception_handler(lambda loop, context: seen.append(variable.get()))
    context = contextvars.Context()
    loop.call_soon(fails, context=context)
    run_turn(loop)
    if sys.version_info >= (3, 12):
        assert seen == ["of the callback"]
    else:
        assert seen == ["unset"]


def test_a_handler_may_schedule_and_stop(loop):
    calls = []

    def handler(loop, context):
        loop.call_soon(calls.append, "scheduled by the handler")
        loop.stop()

    loop.set_exception_handler(handler)
    loop.call_soon(lambda: 1 / 0)
    loop.run_forever()
    run_turn(loop)
    assert calls == ["scheduled by the handler"]


def test_a_handler_that_reports_again(loop):
    """Not for ever: a report from a handler is a report of its own."""
    told = []

    def handler(loop, context):
        told.append(context["message"])
        if len(told) < 3:
            loop.call_exception_handler({"message": f"again {len(told)}"})

    loop.set_exception_handler(handler)
    loop.call_exception_handler({"message": "first"})
    assert told == ["first", "again 1", "again 2"]


def test_an_exception_in_a_handler_of_many_failures(loop, reports):
    for _ in range(100):
        loop.call_soon(lambda: 1 / 0)
    run_turn(loop)
    assert len(reports.take()) == 100
