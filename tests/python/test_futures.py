"""``Future``: states, results, callbacks."""

import asyncio
import concurrent.futures
import contextvars
import gc
import inspect
import threading
import weakref

import pytest

from turns import run_turn, run_turns

variable = contextvars.ContextVar("variable", default="unset")


@pytest.fixture
def future(loop):
    return loop.create_future()


def test_a_new_future_is_pending(loop, future):
    assert not future.done()
    assert not future.cancelled()
    assert future.get_loop() is loop
    assert future._loop is loop
    assert future._state == "PENDING"
    with pytest.raises(asyncio.InvalidStateError, match="Result is not set."):
        future.result()
    with pytest.raises(asyncio.InvalidStateError, match="Exception is not set."):
        future.exception()


def test_is_asyncios(future):
    assert isinstance(future, asyncio.Future)
    assert asyncio.isfuture(future)
    assert inspect.isawaitable(future)
    assert not asyncio.iscoroutine(future)


def test_result(future):
    value = object()
    assert future.set_result(value) is None
    assert future.done()
    assert not future.cancelled()
    assert future._state == "FINISHED"
    assert future.result() is value
    assert future.result() is value
    assert future.exception() is None


def test_exception(future):
    error = ZeroDivisionError("on purpose")
    assert future.set_exception(error) is None
    assert future.done()
    assert not future.cancelled()
    assert future.exception() is error
    with pytest.raises(ZeroDivisionError) as raised:
        future.result()
    assert raised.value is error


def test_exception_class_is_instantiated(future):
    future.set_exception(ZeroDivisionError)
    assert type(future.exception()) is ZeroDivisionError


@pytest.mark.parametrize("wrong", [42, "text", None, object(), int, [ZeroDivisionError]], ids=repr)
def test_what_is_no_exception_cannot_be_set(future, wrong):
    with pytest.raises(TypeError):
        future.set_exception(wrong)
    assert not future.done()


def test_an_exception_class_that_cannot_be_made(future):
    class Picky(Exception):
        def __init__(self, needed):
            super().__init__(needed)

    with pytest.raises(TypeError):
        future.set_exception(Picky)
    assert not future.done()


def test_stop_iteration_cannot_be_raised_into_a_future(loop, future):
    """It would end the waiting generator as if that had returned."""
    error = StopIteration(1)
    standard = asyncio.Future(loop=loop)
    try:
        standard.set_exception(error)
    except TypeError:
        # The interpreters before the change, which came within 3.12, refuse.
        with pytest.raises(TypeError, match="StopIteration interacts badly"):
            future.set_exception(error)
        assert not future.done()
        return
    standard.exception()
    future.set_exception(error)
    with pytest.raises(RuntimeError, match="StopIteration interacts badly") as raised:
        future.result()
    assert raised.value.__cause__ is error


def test_cancel(future):
    assert future.cancel()
    assert future.done()
    assert future.cancelled()
    assert future._state == "CANCELLED"
    with pytest.raises(asyncio.CancelledError):
        future.result()
    with pytest.raises(asyncio.CancelledError):
        future.exception()
    assert not future.cancel()


@pytest.mark.parametrize("message", ["a message", "", 0, ("a", "tuple"), None])
def test_cancel_message(future, message):
    assert future.cancel(message)
    assert future._cancel_message == message
    for ask in (future.result, future.exception):
        with pytest.raises(asyncio.CancelledError) as raised:
            ask()
        assert raised.value.args == (() if message is None else (message,))


def test_the_end_of_a_cancel_message_sees_the_next_one(future):
    seen = []

    class Message:
        def __del__(self):
            seen.append(future._cancel_message)

    future._cancel_message = Message()
    future._cancel_message = "next"
    assert seen == ["next"]
    future._cancel_message = Message()
    future._cancel_message = None
    assert seen == ["next", None]
    assert future.cancel(Message())
    future._cancel_message = None
    assert seen == ["next", None, None]


def test_cancel_message_by_keyword(future):
    future.cancel(msg="a message")
    with pytest.raises(asyncio.CancelledError, match="a message"):
        future.result()


def test_cancel_without_a_message(future):
    future.cancel()
    with pytest.raises(asyncio.CancelledError) as raised:
        future.result()
    assert raised.value.args == ()


@pytest.mark.parametrize(
    "finish",
    [
        lambda future: future.set_result(1),
        lambda future: future.set_exception(ZeroDivisionError()),
        lambda future: future.cancel(),
    ],
    ids=["result", "exception", "cancelled"],
)
def test_a_future_is_done_once(future, finish):
    finish(future)
    state = future._state
    with pytest.raises(asyncio.InvalidStateError):
        future.set_result(2)
    with pytest.raises(asyncio.InvalidStateError):
        future.set_exception(KeyError())
    assert not future.cancel()
    assert future._state == state
    if state == "FINISHED":
        future.exception()


def test_callbacks_are_called_in_order_in_the_next_turn(loop, future):
    calls = []
    for number in range(5):
        future.add_done_callback(lambda done, number=number: calls.append((number, done)))
    future.set_result(None)
    assert calls == []
    run_turn(loop)
    assert calls == [(number, future) for number in range(5)]


def test_a_callback_added_to_a_done_future_is_called_soon(loop, future):
    calls = []
    future.set_result(None)
    future.add_done_callback(calls.append)
    assert calls == []
    run_turn(loop)
    assert calls == [future]


def test_a_callback_may_be_added_twice(loop, future):
    calls = []
    future.add_done_callback(calls.append)
    future.add_done_callback(calls.append)
    future.set_result(None)
    run_turn(loop)
    assert calls == [future, future]


def test_a_callback_may_add_another(loop, future):
    calls = []

    def first(done):
        calls.append("first")
        done.add_done_callback(lambda done: calls.append("second"))

    future.add_done_callback(first)
    future.set_result(None)
    run_turn(loop)
    assert calls == ["first"]
    run_turn(loop)
    assert calls == ["first", "second"]


def test_waiters_and_callbacks_share_one_order(loop, future):
    """Tasks that wait and Python callbacks are told in the order in which they came."""
    calls = []

    async def wait(name):
        await future
        calls.append(name)

    def callback(name):
        future.add_done_callback(lambda done: calls.append(name))

    tasks = [loop.create_task(wait("task 1"))]
    run_turn(loop)
    callback("callback 1")
    tasks.append(loop.create_task(wait("task 2")))
    run_turn(loop)
    callback("callback 2")
    callback("callback 3")
    tasks.append(loop.create_task(wait("task 3")))
    run_turn(loop)
    future.set_result(None)
    run_turn(loop)
    assert calls == ["task 1", "callback 1", "task 2", "callback 2", "callback 3", "task 3"]


def test_remove_callback(loop, future):
    calls = []

    def first(done):
        calls.append("first")

    def second(done):
        calls.append("second")

    assert future.remove_done_callback(first) == 0
    future.add_done_callback(first)
    future.add_done_callback(second)
    future.add_done_callback(first)
    assert future.remove_done_callback(first) == 2
    assert future.remove_done_callback(first) == 0
    future.set_result(None)
    run_turn(loop)
    assert calls == ["second"]
    assert future.remove_done_callback(second) == 0


def test_remove_callback_compares_by_equality(loop, future):
    class Target:
        def method(self, done):
            raise AssertionError

    target = Target()
    future.add_done_callback(target.method)
    # Another bound method object that is equal.
    assert future.remove_done_callback(target.method) == 1
    future.set_result(None)
    run_turn(loop)


def test_comparing_callbacks_may_change_the_list(loop, future):
    class Evil:
        def __init__(self, act):
            self.act = act

        def __eq__(self, other):
            act, self.act = self.act, int
            act()
            return False

        __hash__ = None

        def __call__(self, done):
            pass

    calls = []
    for act in (
        lambda: future.remove_done_callback(calls.append),
        lambda: future.add_done_callback(calls.append),
        lambda: future._callbacks,
    ):
        future.add_done_callback(Evil(act))
    future.add_done_callback(calls.append)
    future.remove_done_callback(object())
    future.set_result(None)
    run_turns(loop, 3)
    assert set(calls) <= {future}


def test_comparing_callbacks_may_fail(loop, future):
    class Evil:
        def __eq__(self, other):
            raise ZeroDivisionError

        __hash__ = None

        def __call__(self, done):
            pass

    calls = []
    future.add_done_callback(calls.append)
    future.add_done_callback(Evil())
    with pytest.raises(ZeroDivisionError):
        future.remove_done_callback(object())
    future.set_result(None)
    run_turn(loop)
    assert calls == [future]


def test_comparing_callbacks_may_finish_the_future(loop, future):
    class Evil:
        def __eq__(self, other):
            if not future.done():
                future.set_result("finished while comparing")
            return False

        __hash__ = None

        def __call__(self, done):
            pass

    future.add_done_callback(Evil())
    future.add_done_callback(Evil())
    future.remove_done_callback(object())
    run_turns(loop, 2)
    assert future.result() == "finished while comparing"


def test_context_of_a_callback(loop, future):
    seen = []
    variable.set("at adding")
    future.add_done_callback(lambda done: seen.append(variable.get()))
    context = contextvars.Context()
    context.run(variable.set, "given")
    future.add_done_callback(lambda done: seen.append(variable.get()), context=context)
    variable.set("unset")
    future.set_result(None)
    run_turn(loop)
    assert seen == ["at adding", "given"]


def test_context_is_for_keywords_only(future):
    with pytest.raises(TypeError):
        future.add_done_callback(print, contextvars.Context())
    with pytest.raises(TypeError):
        future.add_done_callback()


def test_an_exception_in_a_callback_is_reported(loop, future, reports):
    calls = []

    def fails(done):
        raise ZeroDivisionError

    future.add_done_callback(fails)
    future.add_done_callback(calls.append)
    future.set_result(None)
    run_turn(loop)
    assert calls == [future]
    report = reports.take_one()
    assert isinstance(report["exception"], ZeroDivisionError)
    assert "fails" in report["message"]
    assert isinstance(report["handle"], asyncio.Handle)


def test_callbacks_attribute(future):
    """Debuggers and asyncio's own representation read it."""
    assert not future._callbacks
    future.add_done_callback(print)
    ((function, context),) = future._callbacks
    assert function is print
    assert isinstance(context, contextvars.Context)
    future.remove_done_callback(print)
    assert not future._callbacks


def test_callback_that_holds_the_future_is_garbage_with_it(loop):
    future = loop.create_future()
    reference = weakref.ref(future)
    future.add_done_callback(lambda done, future=future: None)
    del future
    gc.collect()
    assert reference() is None


def test_a_future_lives_until_its_callbacks_were_called(loop):
    future = loop.create_future()
    reference = weakref.ref(future)
    seen = []
    future.add_done_callback(lambda done: seen.append(done.result()))
    future.set_result("result")
    del future
    gc.collect()
    assert reference() is not None
    run_turn(loop)
    assert seen == ["result"]
    assert reference() is None


def test_representation(loop, future):
    assert repr(future) == "<Future pending>"
    future.add_done_callback(print)
    assert "cb=[" in repr(future)
    future.add_done_callback(print)
    future.add_done_callback(print)
    assert "<1 more>" in repr(future)
    future.remove_done_callback(print)
    future.set_result("result")
    assert repr(future) == "<Future finished result='result'>"
    failed = loop.create_future()
    failed.set_exception(ZeroDivisionError())
    assert repr(failed) == "<Future finished exception=ZeroDivisionError()>"
    failed.exception()
    cancelled = loop.create_future()
    cancelled.cancel()
    assert repr(cancelled) == "<Future cancelled>"


def test_representation_of_a_future_that_holds_itself(loop, future):
    future.set_result(future)
    assert "..." in repr(future) or "Future finished" in repr(future)


def test_made_on_the_running_loop(loop, implementation):
    async def main():
        return implementation.Future().get_loop() is loop

    assert loop.run_until_complete(main())


def test_made_on_a_given_loop(loop, implementation):
    assert implementation.Future(loop=loop).get_loop() is loop
    with pytest.raises(TypeError):
        implementation.Future(loop)


def test_made_without_any_loop(implementation, watched):
    asyncio.set_event_loop(None)
    with pytest.raises(RuntimeError, match="There is no current event loop"):
        implementation.Future()


def test_made_on_what_is_no_loop(implementation, watched):
    with pytest.raises(AttributeError):
        implementation.Future(loop=object())


def test_generic_alias(implementation):
    alias = implementation.Future[int]
    assert alias.__origin__ is implementation.Future
    assert alias.__args__ == (int,)


def test_weak_reference(loop):
    future = loop.create_future()
    reference = weakref.ref(future)
    assert reference() is future
    del future
    assert reference() is None


def test_attributes_may_be_added(future):
    future.anything = "value"
    assert future.anything == "value"
    del future.anything
    with pytest.raises(AttributeError):
        _ = future.anything


def test_hash_and_equality_are_identity(loop, future):
    other = loop.create_future()
    assert future == future  # noqa: PLR0124
    assert future != other
    assert len({future, other}) == 2


def test_wrapping_a_concurrent_future(loop):
    outside = concurrent.futures.Future()
    inside = asyncio.wrap_future(outside, loop=loop)
    outside.set_result("result")
    assert loop.run_until_complete(inside) == "result"
    assert asyncio.wrap_future(inside, loop=loop) is inside


def test_cancelling_a_wrapped_concurrent_future(loop):
    outside = concurrent.futures.Future()
    inside = asyncio.wrap_future(outside, loop=loop)
    inside.cancel()
    run_turns(loop, 2)
    assert outside.cancelled()


def test_initialising_again_makes_it_pending(loop, future):
    future.set_result(1)
    future.__init__(loop=loop)
    assert not future.done()
    future.set_result(2)
    assert future.result() == 2


def test_a_result_that_is_replaced_while_it_is_dropped(loop, future):
    """A finalizer looks at the future whose result it was."""
    seen = []

    class Result:
        def __del__(self):
            seen.append(future.done())

    future.set_result(Result())
    future.__init__(loop=loop)
    assert len(seen) == 1


def test_a_subclass(loop, implementation):
    class MyFuture(implementation.Future):
        def __init__(self, *, loop, extra):
            super().__init__(loop=loop)
            self.extra = extra

        def set_result(self, result):
            super().set_result(result * 2)

    future = MyFuture(loop=loop, extra="extra")
    assert isinstance(future, asyncio.Future)
    assert isinstance(future, MyFuture)
    assert asyncio.isfuture(future)
    assert future.extra == "extra"
    loop.call_soon(future.set_result, 21)
    assert loop.run_until_complete(future) == 42
    assert repr(future) == "<MyFuture finished result=42>"


def test_a_subclass_with_slots(loop, implementation):
    class MyFuture(implementation.Future):
        __slots__ = ("extra",)

    future = MyFuture(loop=loop)
    future.extra = "extra"
    future.set_result(1)
    assert loop.run_until_complete(future) == 1
    reference = weakref.ref(future)
    del future
    run_turns(loop, 2)
    gc.collect()
    assert reference() is None


def test_a_chain_of_futures_can_be_dropped(loop):
    """Each one's result is the next; a chain as long as a queue of a busy service."""
    future = None
    for _ in range(1000):
        outer = loop.create_future()
        outer.set_result(future)
        future = outer
    reference = weakref.ref(future)
    del future, outer
    assert reference() is None


def test_another_thread_frees_what_it_drops_at_once(loop):
    """How deep one thread is in freeing a chain is nothing to another."""
    inside, done = threading.Event(), threading.Event()

    class Last:
        def __del__(self):
            inside.set()
            assert done.wait(60)

    def chain(length, last):
        for _ in range(length):
            future = loop.create_future()
            future.set_result(last)
            last = future
        return last

    class Short:
        pass

    # Python's own trashcan and ours have the same limit: this one stops just below it.
    deep = [chain(49, Last())]
    thread = threading.Thread(target=deep.clear)
    thread.start()
    try:
        assert inside.wait(60)
        short = Short()
        reference = weakref.ref(short)
        other = chain(3, short)
        del short, other
        assert reference() is None
    finally:
        done.set()
        thread.join()
