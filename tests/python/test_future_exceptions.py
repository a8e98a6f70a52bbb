"""Exceptions kept in futures: whether somebody saw them, and what becomes of their tracebacks."""

import asyncio
import gc
import traceback
import weakref

import pytest

from turns import run_turn


def fail(loop, error=None):
    future = loop.create_future()
    future.set_exception(ZeroDivisionError("on purpose") if error is None else error)
    return future


def test_an_exception_that_nobody_retrieved_is_reported(loop, reports):
    future = fail(loop)
    del future
    gc.collect()
    report = reports.take_one()
    assert report["message"] == "Future exception was never retrieved"
    assert isinstance(report["exception"], ZeroDivisionError)
    assert isinstance(report["future"], asyncio.Future)
    assert set(report) == {"message", "exception", "future"}


def test_the_name_of_a_subclass_is_in_the_message(loop, implementation, reports):
    class MyFuture(implementation.Future):
        pass

    future = MyFuture(loop=loop)
    future.set_exception(ZeroDivisionError())
    del future
    gc.collect()
    assert reports.messages() == ["MyFuture exception was never retrieved"]


@pytest.mark.parametrize(
    "retrieve",
    [
        lambda future: pytest.raises(ZeroDivisionError, future.result),
        lambda future: future.exception(),
        lambda future: setattr(future, "_log_traceback", False),
        lambda future: future.cancel(),
    ],
    ids=["result", "exception", "attribute", "cancel"],
)
def test_a_retrieved_exception_is_not_reported(loop, retrieve):
    future = fail(loop)
    assert future._log_traceback
    retrieve(future)
    assert not future._log_traceback
    del future
    gc.collect()


def test_awaiting_retrieves(loop):
    future = fail(loop)
    with pytest.raises(ZeroDivisionError):
        loop.run_until_complete(future)
    del future
    gc.collect()


def test_a_callback_alone_does_not_retrieve(loop, reports):
    future = fail(loop)
    future.add_done_callback(lambda done: None)
    run_turn(loop)
    del future
    gc.collect()
    assert reports.messages() == ["Future exception was never retrieved"]


def test_log_traceback_can_only_be_unset(loop):
    future = loop.create_future()
    with pytest.raises(ValueError, match="_log_traceback can only be set to False"):
        future._log_traceback = True
    assert not future._log_traceback


def test_a_future_in_a_cycle_is_reported(loop, reports):
    future = fail(loop)
    future.itself = future
    del future
    assert reports.messages() == []
    gc.collect()
    assert reports.messages() == ["Future exception was never retrieved"]


def test_a_future_that_the_exception_holds_is_reported(loop, reports):
    error = ZeroDivisionError()
    error.future = fail(loop, error)
    del error
    gc.collect()
    assert reports.messages() == ["Future exception was never retrieved"]


def test_the_report_may_keep_the_future_alive(loop, reports):
    future = fail(loop)
    del future
    report = reports.take_one()
    survivor = report["future"]
    assert isinstance(survivor.exception(), ZeroDivisionError)
    reference = weakref.ref(survivor)
    del survivor, report
    gc.collect()
    assert reference() is None


def test_a_report_is_made_once(loop, reports):
    """Also when the first one resurrected the future."""
    future = fail(loop)
    del future
    kept = [report["future"] for report in reports.take()]
    assert len(kept) == 1
    kept.clear()
    gc.collect()
    assert reports.messages() == []


def test_an_exception_handler_that_raises(loop, logged):
    def handler(loop, context):
        raise KeyError("in the handler")

    loop.set_exception_handler(handler)
    future = fail(loop)
    del future
    gc.collect()
    (text,) = logged.texts()
    assert "Unhandled error in exception handler" in text


def test_a_finalizer_keeps_the_exception_that_is_on_its_way(loop, reports):
    """The future dies while another exception is being raised."""

    def raises():
        future = fail(loop)  # noqa: F841
        raise KeyError("on its way")

    with pytest.raises(KeyError, match="on its way"):
        raises()
    gc.collect()
    assert reports.messages() == ["Future exception was never retrieved"]


def test_in_a_closed_loop(make_loop, reports):
    loop = make_loop()
    future = fail(loop)
    loop.close()
    del future
    gc.collect()
    assert reports.messages() == ["Future exception was never retrieved"]


def test_a_subclass_with_a_finalizer_of_its_own(loop, implementation, reports):
    calls = []

    class MyFuture(implementation.Future):
        def __del__(self):
            calls.append("mine")
            super().__del__()

    future = MyFuture(loop=loop)
    future.set_exception(ZeroDivisionError())
    del future
    gc.collect()
    assert calls == ["mine"]
    assert reports.messages() == ["MyFuture exception was never retrieved"]


def frames_of(error):
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_retrieving_again_and_again_does_not_grow_the_traceback(loop):
    future = fail(loop)
    lengths = []
    for _ in range(5):
        with pytest.raises(ZeroDivisionError) as raised:
            future.result()
        lengths.append(len(frames_of(raised.value)))
    assert len(set(lengths)) == 1, lengths


def test_awaiting_again_and_again_does_not_grow_the_traceback(loop):
    future = fail(loop)
    lengths = []

    async def waits():
        try:
            await future
        except ZeroDivisionError as error:
            lengths.append(len(frames_of(error)))

    for _ in range(5):
        loop.run_until_complete(waits())
    assert len(set(lengths)) == 1, lengths


def test_many_tasks_that_wait_for_one_failure(loop):
    """Each sees the exception with its own frames only, as long as it looks at once."""
    future = loop.create_future()
    lengths = []

    async def waits():
        try:
            await future
        except ZeroDivisionError as error:
            lengths.append(len(frames_of(error)))

    async def main():
        tasks = [asyncio.create_task(waits()) for _ in range(10)]
        await asyncio.sleep(0)
        future.set_exception(ZeroDivisionError())
        await asyncio.gather(*tasks)

    loop.run_until_complete(main())
    assert len(lengths) == 10
    assert len(set(lengths)) == 1, lengths


def test_the_traceback_that_an_exception_came_with_is_kept(loop):
    def origin():
        raise ZeroDivisionError

    future = loop.create_future()
    try:
        origin()
    except ZeroDivisionError as error:
        future.set_exception(error)
    with pytest.raises(ZeroDivisionError) as raised:
        future.result()
    assert "origin" in frames_of(raised.value)


def test_an_exception_goes_through_nested_tasks_with_every_frame(loop):
    async def inner():
        await asyncio.sleep(0)
        raise ZeroDivisionError

    async def middle():
        await asyncio.create_task(inner())

    async def outer():
        await asyncio.create_task(middle())

    with pytest.raises(ZeroDivisionError) as raised:
        loop.run_until_complete(outer())
    names = frames_of(raised.value)
    assert [name for name in names if name in ("outer", "middle", "inner")] == [
        "outer",
        "middle",
        "inner",
    ]


def test_an_exception_does_not_keep_its_future_alive(loop):
    """result() raises from C: no frame of it may hold the future."""
    future = fail(loop)
    reference = weakref.ref(future)
    try:
        future.result()
    except ZeroDivisionError as error:
        kept = error
    del future
    gc.collect()
    assert reference() is None
    del kept


def test_context_of_an_exception_raised_while_handling_another(loop):
    future = fail(loop)
    try:
        try:
            raise KeyError
        except KeyError:
            future.result()
    except ZeroDivisionError as error:
        assert isinstance(error.__context__, KeyError)


def test_cancelled_error_context_shows_where_a_task_was_cancelled(loop):
    """The very exception that ended a task is raised to the first who asks."""

    async def cancelled_inside():
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError as error:
            error.mark = "the original"
            raise

    async def main():
        task = asyncio.create_task(cancelled_inside())
        await asyncio.sleep(0)
        task.cancel("message")
        try:
            await task
        except asyncio.CancelledError as error:
            return getattr(error, "mark", None), error.args
        return None

    assert loop.run_until_complete(main()) == ("the original", ("message",))


def test_keyboard_interrupt_in_a_future_is_an_exception_like_others(loop):
    future = loop.create_future()
    future.set_exception(KeyboardInterrupt())
    with pytest.raises(KeyboardInterrupt):
        future.result()


def test_an_exception_without_a_truth_value(loop):
    class Odd(Exception):
        def __bool__(self):
            raise RuntimeError

    # By hand: pytest asks exceptions for their truth.
    try:
        loop.run_until_complete(fail(loop, Odd()))
    except Odd:
        return
    raise AssertionError


def test_an_exception_that_says_it_is_of_another_class(loop):
    """isinstance() asks __class__; the protocol must not be fooled into a crash."""

    class Liar(Exception):
        __class__ = asyncio.CancelledError

    async def raises():
        raise Liar

    task = loop.create_task(raises())
    with pytest.raises((Liar, asyncio.CancelledError)):
        loop.run_until_complete(task)
    assert task.done()
