"""What a call that waits in the queue means to the garbage collector and to context variables."""

import asyncio
import contextvars
import gc
import threading
import weakref

import pytest

from turns import run_turn, run_until_idle

variable = contextvars.ContextVar("variable")


class Owner:
    """Holds the handle of a call to itself: a cycle."""

    def schedule(self, loop):
        self.handle = loop.call_soon(self.called)

    def called(self):
        pass


def test_a_kept_handle_that_ran_is_no_leak(loop):
    owner = Owner()
    loop.call_soon(owner.schedule, loop)
    run_until_idle(loop)
    reference = weakref.ref(owner)
    del owner
    gc.collect()
    assert reference() is None


def test_a_kept_handle_that_was_cancelled_is_no_leak(loop):
    class Variable:
        pass

    owner = Owner()

    def schedule_and_cancel():
        held = Variable()
        held.owner = owner
        # The handle's context leads back to its owner.
        variable.set(held)
        owner.schedule(loop)
        owner.handle.cancel()

    loop.call_soon(schedule_and_cancel)
    run_until_idle(loop)
    reference = weakref.ref(owner)
    del owner, schedule_and_cancel
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("from_a_thread", [False, True])
def test_a_handle_that_was_queued_in_the_last_turn_is_no_leak(make_loop, from_a_thread):
    loop = make_loop()
    owner = Owner()

    def schedule():
        owner.schedule(loop)
        if from_a_thread:
            thread = threading.Thread(
                target=lambda: setattr(owner, "second", loop.call_soon_threadsafe(owner.called))
            )
            thread.start()
            thread.join()
        loop.stop()

    loop.call_soon(schedule)
    loop.run_forever()
    # Both of them wait for a turn that never comes.
    owner.loop = loop
    reference = weakref.ref(owner)
    loop.close()
    del owner, schedule, loop
    gc.collect()
    assert reference() is None


@pytest.mark.parametrize("end", ["fire", "cancel", "close"])
def test_a_kept_timer_is_no_leak(make_loop, end):
    """Set while the loop ran, it stands in the heap unseen by the collector until then."""
    loop = make_loop()
    owner = Owner()

    def schedule():
        delay = 0 if end == "fire" else 3600
        owner.handle = loop.call_later(delay, owner.called)

    loop.call_soon(schedule)
    run_until_idle(loop)
    owner.loop = loop
    if end == "cancel":
        loop.call_soon(owner.handle.cancel)
        run_until_idle(loop)
    loop.close()
    reference = weakref.ref(owner)
    del owner, schedule, loop
    gc.collect()
    assert reference() is None


def test_timers_that_wait_survive_a_collection_in_the_middle_of_a_run(loop):
    fired = []

    async def main():
        for number in range(100):
            loop.call_later(0.001, fired.append, number)
        gc.collect()
        while len(fired) < 100:
            await asyncio.sleep(0.001)

    loop.run_until_complete(main())
    assert fired == list(range(100))


def test_a_timer_and_a_loop_that_nobody_holds_any_more(implementation):
    """The timer leads to the loop, and the loop to the timer."""
    loop = implementation.EventLoop()
    owner = Owner()

    def schedule():
        owner.loop = loop
        owner.handle = loop.call_later(3600, owner.called)

    loop.call_soon(schedule)
    run_until_idle(loop)
    reference = weakref.ref(owner)
    with pytest.warns(ResourceWarning, match="unclosed event loop"):
        del owner, schedule, loop
        gc.collect()
    assert reference() is None


def test_a_collection_in_the_middle_of_a_run_leaves_queued_calls_alone(loop):
    called = []

    class Target:
        def __call__(self):
            called.append(self)

    def schedule():
        for _ in range(10):
            loop.call_soon(Target())
        gc.collect()

    loop.call_soon(schedule)
    run_until_idle(loop)
    assert len(called) == 10


def test_variables_set_in_one_callback_are_not_seen_in_the_next(loop):
    seen = []

    def callback(value):
        seen.append(variable.get(None))
        variable.set(value)

    contextvars.Context().run(lambda: [loop.call_soon(callback, value) for value in range(3)])
    run_until_idle(loop)
    assert seen == [None, None, None]


def test_the_context_is_that_of_whoever_schedules(loop):
    """However contexts are within each other, and in a thread that has not had one yet."""
    seen = []

    def look(name):
        seen.append((name, variable.get(None)))

    def inner():
        loop.call_soon(look, "within the empty one")
        variable.set("inner")
        loop.call_soon(look, "within the empty one, set")

    def outer():
        variable.set("outer")
        loop.call_soon(look, "before")
        contextvars.Context().run(inner)
        loop.call_soon(look, "after")
        contextvars.Context().run(loop.call_soon, look, "directly")
        contextvars.copy_context().run(loop.call_soon, look, "in a copy")

    contextvars.Context().run(outer)
    thread = threading.Thread(target=loop.call_soon_threadsafe, args=(look, "thread"))
    contextvars.Context().run(thread.start)
    thread.join()
    run_until_idle(loop)
    assert seen == [
        ("before", "outer"),
        ("within the empty one", None),
        ("within the empty one, set", "inner"),
        ("after", "outer"),
        ("directly", None),
        ("in a copy", "outer"),
        ("thread", None),
    ]


def test_each_callback_has_a_context_of_its_own(loop):
    contexts = []

    def callback():
        # The same context cannot be entered twice: this one is entered by the loop.
        contexts.append(handles[len(contexts)]._context)
        with pytest.raises(RuntimeError, match="already entered"):
            contexts[-1].run(lambda: None)

    handles = contextvars.Context().run(lambda: [loop.call_soon(callback) for _ in range(3)])
    run_until_idle(loop)
    assert len({id(context) for context in contexts}) == 3


def test_what_a_callback_set_can_be_read_from_its_context_afterwards(loop):
    handle = contextvars.Context().run(loop.call_soon, variable.set, "value")
    context = handle._context
    run_until_idle(loop)
    assert context[variable] == "value"
    assert handle._context is context


def test_a_context_that_a_callback_keeps_is_not_given_to_another(loop):
    kept = []

    def keep():
        kept.append(contextvars.copy_context())
        kept.append(variable.set("kept"))

    def look():
        kept.append(variable.get(None))

    contextvars.Context().run(loop.call_soon, keep)
    run_turn(loop)
    contextvars.Context().run(loop.call_soon, look)
    run_until_idle(loop)
    assert kept[2] is None
    assert kept[0].get(variable) is None


def test_a_task_made_in_a_callback_has_its_own_copy(loop):
    seen = []

    async def main(value):
        variable.set(value)
        await asyncio.sleep(0)
        seen.append(variable.get())

    def callback(value):
        tasks.append(loop.create_task(main(value)))

    tasks = []
    for value in range(3):
        contextvars.Context().run(loop.call_soon, callback, value)
    run_until_idle(loop)
    assert seen == [0, 1, 2]
