"""Cancellation of tasks: when the error arrives, its message, how requests are counted."""

import asyncio
import sys

import pytest

from turns import run_turn, run_turns, run_until_idle


async def wait_for_ever():
    await asyncio.get_running_loop().create_future()


def cancelled_with(task):
    """The arguments of the CancelledError that a task ended with."""
    with pytest.raises(asyncio.CancelledError) as raised:
        task.result()
    return raised.value.args


def test_while_it_waits(loop):
    task = loop.create_task(wait_for_ever())
    run_turn(loop)
    waiter = task._fut_waiter
    assert task.cancel()
    assert waiter.cancelled()
    assert not task.done()
    assert task.cancelling() == 1
    run_turn(loop)
    assert task.cancelled()
    assert cancelled_with(task) == ()


def test_before_the_first_step(loop):
    """The coroutine never starts."""
    started = []

    async def coroutine():
        started.append(True)

    task = loop.create_task(coroutine())
    assert task.cancel("early")
    assert task._must_cancel
    assert not task.done()
    run_turn(loop)
    assert task.cancelled()
    assert cancelled_with(task) == ("early",)
    assert started == []


def test_when_it_is_done(loop):
    task = loop.create_task(asyncio.sleep(0, "result"))
    run_until_idle(loop)
    assert not task.cancel()
    assert task.cancelling() == 0
    assert task.result() == "result"


def test_twice_after_the_end(loop):
    task = loop.create_task(wait_for_ever())
    task.cancel()
    run_until_idle(loop)
    assert not task.cancel()
    assert task.cancelled()


def test_from_within_takes_effect_at_the_next_await(loop):
    events = []

    async def coroutine():
        asyncio.current_task().cancel("by myself")
        events.append("still running")
        await asyncio.sleep(0)
        events.append("never")

    task = loop.create_task(coroutine())
    run_until_idle(loop)
    assert events == ["still running"]
    assert cancelled_with(task) == ("by myself",)


def test_from_within_before_waiting_for_a_future(loop):
    """The future that the step takes up is cancelled at once."""
    futures = []

    async def coroutine():
        asyncio.current_task().cancel("by myself")
        futures.append(loop.create_future())
        await futures[0]

    task = loop.create_task(coroutine())
    run_turn(loop)
    assert futures[0].cancelled()
    assert not task._must_cancel
    run_until_idle(loop)
    assert cancelled_with(task) == ("by myself",)


def test_from_within_right_before_the_end(loop):
    async def coroutine():
        asyncio.current_task().cancel("too late")
        return "result"

    task = loop.create_task(coroutine())
    run_turn(loop)
    assert task.cancelled()
    assert cancelled_with(task) == ("too late",)


def test_from_within_right_before_an_exception(loop):
    async def coroutine():
        asyncio.current_task().cancel()
        raise ZeroDivisionError

    task = loop.create_task(coroutine())
    run_turn(loop)
    assert isinstance(task.exception(), ZeroDivisionError)
    assert not task.cancelled()


def test_after_the_awaited_future_was_done(loop):
    """The result is there but the task has not seen it: the cancellation wins."""
    future = loop.create_future()

    async def coroutine():
        await future

    task = loop.create_task(coroutine())
    run_turn(loop)
    future.set_result("result")
    assert task.cancel("in between")
    assert task._must_cancel
    run_turn(loop)
    assert cancelled_with(task) == ("in between",)
    assert future.result() == "result"


def test_after_the_awaited_future_failed(loop):
    future = loop.create_future()

    async def coroutine():
        await future

    task = loop.create_task(coroutine())
    run_turn(loop)
    future.set_exception(ZeroDivisionError())
    assert task.cancel("in between")
    run_turn(loop)
    assert cancelled_with(task) == ("in between",)
    assert isinstance(future.exception(), ZeroDivisionError)


def test_a_task_may_catch_it_and_go_on(loop):
    events = []

    async def coroutine():
        for _ in range(3):
            try:
                await wait_for_ever()
            except asyncio.CancelledError as error:
                events.append(error.args)
        return "survived"

    task = loop.create_task(coroutine())
    for message in ("first", None, "third"):
        run_turns(loop, 2)
        assert task.cancel(message)
    run_until_idle(loop)
    assert events == [("first",), (), ("third",)]
    assert task.result() == "survived"
    assert task.cancelling() == 3


def test_twice_before_it_notices(loop):
    """Both are requests; the error comes once."""
    events = []

    async def coroutine():
        try:
            await wait_for_ever()
        except asyncio.CancelledError as error:
            events.append(error.args)
        await asyncio.sleep(0)
        return "went on"

    task = loop.create_task(coroutine())
    run_turn(loop)
    assert task.cancel("first")
    assert task.cancel("second")
    assert task.cancelling() == 2
    run_until_idle(loop)
    assert len(events) == 1
    assert task.done()
    assert task.cancelled() or task.result() == "went on"


def test_a_task_may_answer_with_another_exception(loop):
    async def coroutine():
        try:
            await wait_for_ever()
        except asyncio.CancelledError:
            raise ZeroDivisionError from None

    task = loop.create_task(coroutine())
    run_turn(loop)
    task.cancel()
    run_until_idle(loop)
    assert not task.cancelled()
    assert isinstance(task.exception(), ZeroDivisionError)


def test_a_task_may_raise_the_error_by_itself(loop):
    async def coroutine():
        raise asyncio.CancelledError("my own")

    task = loop.create_task(coroutine())
    run_turn(loop)
    assert task.cancelled()
    assert task.cancelling() == 0
    assert cancelled_with(task) == ("my own",)


def test_a_subclass_of_the_error(loop):
    class MyCancelled(asyncio.CancelledError):
        pass

    async def coroutine():
        raise MyCancelled("my own")

    task = loop.create_task(coroutine())
    run_turn(loop)
    assert task.cancelled()
    with pytest.raises(MyCancelled):
        task.result()


def test_through_a_chain_of_tasks(loop):
    """The innermost gets it first; the message goes along."""
    order = []

    async def level(number):
        try:
            if number == 0:
                await wait_for_ever()
            else:
                await asyncio.create_task(level(number - 1))
        except asyncio.CancelledError as error:
            order.append((number, error.args))
            raise

    task = loop.create_task(level(4))
    run_turns(loop, 6)
    task.cancel("message")
    run_until_idle(loop)
    assert order == [(number, ("message",)) for number in range(5)]
    assert task.cancelled()


def test_an_inner_task_that_refuses(loop):
    async def refuses():
        try:
            await wait_for_ever()
        except asyncio.CancelledError:
            return "refused"

    async def outer():
        return await inner

    inner = loop.create_task(refuses())
    task = loop.create_task(outer())
    run_turns(loop, 2)
    task.cancel()
    run_until_idle(loop)
    assert task.result() == "refused"
    assert task.cancelling() == 1


def test_an_awaited_task_that_is_cancelled_by_somebody_else(loop):
    async def outer():
        try:
            await inner
        except asyncio.CancelledError as error:
            return error.args, asyncio.current_task().cancelling()

    inner = loop.create_task(wait_for_ever())
    task = loop.create_task(outer())
    run_turns(loop, 2)
    inner.cancel("somebody else")
    run_until_idle(loop)
    assert task.result() == (("somebody else",), 0)


def test_an_awaited_future_that_is_cancelled(loop):
    future = loop.create_future()

    async def outer():
        await future

    task = loop.create_task(outer())
    run_turn(loop)
    future.cancel("of the future")
    run_until_idle(loop)
    assert cancelled_with(task) == ("of the future",)
    assert task.cancelling() == 0


def test_uncancel(loop):
    async def coroutine():
        await wait_for_ever()

    task = loop.create_task(coroutine())
    run_turn(loop)
    assert task.uncancel() == 0
    task.cancel()
    task.cancel()
    assert task.cancelling() == 2
    assert task.uncancel() == 1
    assert task.cancelling() == 1
    assert task.uncancel() == 0
    assert task.uncancel() == 0
    assert task.cancelling() == 0
    run_until_idle(loop)
    assert task.cancelled()


def test_uncancel_before_the_error_was_thrown(loop):
    """From 3.13 it takes the cancellation itself back."""
    task = loop.create_task(asyncio.sleep(0, "result"))
    task.cancel()
    assert task._must_cancel
    task.uncancel()
    if sys.version_info >= (3, 13):
        assert not task._must_cancel
        assert loop.run_until_complete(task) == "result"
    else:
        assert task._must_cancel
        run_until_idle(loop)
        assert task.cancelled()


def test_uncancel_one_of_two_before_the_error_was_thrown(loop):
    task = loop.create_task(asyncio.sleep(0, "result"))
    task.cancel()
    task.cancel()
    task.uncancel()
    assert task._must_cancel
    run_until_idle(loop)
    assert task.cancelled()


@pytest.mark.parametrize("message", ["text", 0, ("a", "tuple"), ["list"], None], ids=repr)
def test_message(loop, message):
    seen = []

    async def coroutine():
        try:
            await wait_for_ever()
        except asyncio.CancelledError as error:
            seen.append(error.args)
            raise

    task = loop.create_task(coroutine())
    run_turn(loop)
    task.cancel(message)
    run_until_idle(loop)
    expected = () if message is None else (message,)
    assert seen == [expected]
    assert cancelled_with(task) == expected


def test_message_by_keyword(loop):
    task = loop.create_task(wait_for_ever())
    task.cancel(msg="message")
    run_until_idle(loop)
    assert cancelled_with(task) == ("message",)
    with pytest.raises(TypeError):
        task.cancel("one", "two")


def test_awaiting_a_cancelled_task_again_and_again(loop):
    task = loop.create_task(wait_for_ever())
    task.cancel("message")
    run_until_idle(loop)
    errors = []

    async def waits():
        try:
            await task
        except asyncio.CancelledError as error:
            errors.append(error)

    for _ in range(3):
        loop.run_until_complete(waits())
    # The very error that ended the task goes to the first one who asks, with its message.
    assert [error.args for error in errors] == [("message",), (), ()]
    assert len(set(map(id, errors))) == 3


def test_finally_blocks_may_await(loop):
    events = []

    async def coroutine():
        try:
            await wait_for_ever()
        finally:
            await asyncio.sleep(0)
            events.append("cleaned up")

    task = loop.create_task(coroutine())
    run_turn(loop)
    task.cancel()
    run_until_idle(loop)
    assert events == ["cleaned up"]
    assert task.cancelled()


def test_shield(loop):
    async def main():
        inner = asyncio.create_task(asyncio.sleep(0.001, "inner"))
        outer = asyncio.shield(inner)
        await asyncio.sleep(0)
        outer.cancel("message")
        with pytest.raises(asyncio.CancelledError):
            await outer
        return await inner

    assert loop.run_until_complete(main()) == "inner"


def test_cancel_in_a_done_callback_of_the_awaited(loop):
    """The callback was added after the waiter, so the task runs first."""
    events = []
    future = loop.create_future()

    async def coroutine():
        await future
        events.append("woken")
        await asyncio.sleep(0)
        events.append("never")

    task = loop.create_task(coroutine())
    run_turn(loop)
    future.add_done_callback(lambda done: task.cancel())
    future.set_result(None)
    run_until_idle(loop)
    assert events == ["woken"]
    assert task.cancelled()


def test_cancel_in_a_done_callback_before_the_waiter(loop):
    events = []
    future = loop.create_future()

    async def coroutine():
        await future
        events.append("never")

    task = loop.create_task(coroutine())
    future.add_done_callback(lambda done: task.cancel())
    run_turn(loop)
    future.set_result(None)
    run_until_idle(loop)
    assert events == []
    assert task.cancelled()


def test_cancel_by_a_timer_that_is_due_in_the_same_turn(clocked_loop):
    loop = clocked_loop
    future = loop.create_future()

    async def coroutine():
        await future

    task = loop.create_task(coroutine())
    run_turn(loop)
    loop.call_later(1, future.set_result, "result")
    loop.call_later(1, task.cancel)
    loop.advance(1)
    run_until_idle(loop)
    assert task.cancelled()


def test_all_of_many(loop):
    tasks = [loop.create_task(wait_for_ever()) for _ in range(1000)]
    run_turn(loop)
    for task in tasks:
        task.cancel()
    run_until_idle(loop)
    assert all(task.cancelled() for task in tasks)


def test_a_cancelled_await_leaves_no_waiter_behind(loop):
    """A long-lived future must not collect what waited for it."""
    future = loop.create_future()

    async def waits():
        try:
            async with asyncio.timeout(0):
                await asyncio.shield(future)
        except TimeoutError:
            pass

    for _ in range(5):
        loop.run_until_complete(waits())
    run_until_idle(loop)
    assert not future._callbacks
    future.cancel()
    run_until_idle(loop)


def test_cancel_of_a_subclass_is_called_by_the_waiting_task(loop, implementation):
    """An override is honoured, as asyncio does for what is not of its exact type."""
    calls = []

    class MyFuture(implementation.Future):
        def cancel(self, msg=None):
            calls.append(msg)
            return super().cancel(msg=msg)

    future = MyFuture(loop=loop)

    async def coroutine():
        await future

    task = loop.create_task(coroutine())
    run_turn(loop)
    task.cancel("message")
    assert calls == ["message"]
    run_until_idle(loop)
    assert task.cancelled()


def test_cancel_that_fails(loop, implementation):
    class MyFuture(implementation.Future):
        def cancel(self, msg=None):
            raise ZeroDivisionError

    future = MyFuture(loop=loop)

    async def coroutine():
        return await future

    task = loop.create_task(coroutine())
    run_turn(loop)
    with pytest.raises(ZeroDivisionError):
        task.cancel()
    future.set_result("result")
    run_until_idle(loop)
    assert task.done()


def test_a_timeout_that_comes_late_does_not_eat_a_cancellation(loop):
    async def inner():
        async with asyncio.timeout(1000):
            await wait_for_ever()

    async def main():
        task = asyncio.create_task(inner())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        task.cancel("from outside")
        try:
            await task
        except asyncio.CancelledError as error:
            return error.args

    assert loop.run_until_complete(main()) == ("from outside",)


def test_tasks_that_wait_for_each_other(loop):
    """A deadlock of the user's: cancelling goes round and round, and ends in an exception."""
    tasks = []

    async def waits(other):
        await tasks[other]

    tasks += [loop.create_task(waits(1)), loop.create_task(waits(0))]
    run_turns(loop, 2)
    with pytest.raises(RecursionError):
        tasks[0].cancel()
    for task in tasks:
        task._log_destroy_pending = False
    del task
    tasks.clear()


def test_a_long_chain_of_tasks_that_wait(loop):
    """As long as the recursion that Python allows; then an exception, never a crash."""

    async def waits(task):
        await (loop.create_future() if task is None else task)

    tasks = [None]
    for _ in range(50_000):
        tasks.append(loop.create_task(waits(tasks[-1])))
    run_turns(loop, 2)
    try:
        assert tasks[-1].cancel()
    except RecursionError:
        for task in tasks[1:]:
            task._log_destroy_pending = False
        # The waiting ends from the other side, one after the other.
        tasks[1].cancel()
    run_until_idle(loop, turns=200_000)
    assert all(task.cancelled() for task in tasks[1:])
