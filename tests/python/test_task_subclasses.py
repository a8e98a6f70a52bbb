"""Subclasses of Task and Future: overridden methods, slots, finalizers, contexts of their own."""

import asyncio
import gc
import weakref

import pytest

from turns import run_turn, run_turns, run_until_idle


async def give(value):
    await asyncio.sleep(0)
    return value


def test_extra_state(loop, implementation):
    class MyTask(implementation.Task):
        def __init__(self, *args, extra, **kwargs):
            super().__init__(*args, **kwargs)
            self.extra = extra

    task = MyTask(give("result"), loop=loop, name="T", extra="extra")
    assert task.extra == "extra"
    assert task.get_name() == "T"
    assert isinstance(task, asyncio.Task)
    assert isinstance(task, MyTask)
    assert loop.run_until_complete(task) == "result"
    assert repr(task).startswith("<MyTask finished name='T'")


def test_overridden_methods_are_called(loop, implementation):
    calls = []

    class MyTask(implementation.Task):
        def cancel(self, msg=None):
            calls.append("cancel")
            return super().cancel(msg)

        def add_done_callback(self, callback, *, context=None):
            calls.append("add_done_callback")
            super().add_done_callback(callback, context=context)

        def result(self):
            calls.append("result")
            return super().result()

        def get_name(self):
            return "overridden"

    task = MyTask(give("result"), loop=loop)

    async def outer():
        return await task

    waiting = loop.create_task(outer())
    assert loop.run_until_complete(waiting) == "result"
    assert calls.count("add_done_callback") == 1
    assert "name='overridden'" in repr(task)

    calls.clear()
    task = MyTask(give("result"), loop=loop)
    waiting = loop.create_task(outer())
    run_turn(loop)
    waiting.cancel()
    assert calls == ["add_done_callback", "cancel"]
    run_until_idle(loop)


def test_instance_attributes_override_nothing_of_the_waiting_task(loop):
    """A task waits for an exact future without asking for its attributes."""
    future = loop.create_future()

    async def waits():
        return await future

    task = loop.create_task(waits())
    run_turn(loop)
    future.set_result("result")
    assert loop.run_until_complete(task) == "result"


def test_slots(loop, implementation):
    class MyTask(implementation.Task):
        __slots__ = ("extra",)

    task = MyTask(give("result"), loop=loop)
    task.extra = "extra"
    assert loop.run_until_complete(task) == "result"
    reference = weakref.ref(task)
    del task
    run_turns(loop, 2)
    gc.collect()
    assert reference() is None


def test_multiple_inheritance(loop, implementation):
    class Mixin:
        def extra(self):
            return self.get_name()

    class MyTask(Mixin, implementation.Task):
        pass

    task = MyTask(give("result"), loop=loop, name="T")
    assert task.extra() == "T"
    assert loop.run_until_complete(task) == "result"


def test_abstract_methods_of_a_mixin(loop, implementation):
    import abc

    class Base(abc.ABC):
        @abc.abstractmethod
        def extra(self): ...

    class MyFuture(implementation.Future, Base):
        def extra(self):
            return "extra"

    future = MyFuture(loop=loop)
    assert future.extra() == "extra"
    future.cancel()


def test_a_subclass_of_a_subclass(loop, implementation):
    class First(implementation.Task):
        pass

    class Second(First):
        pass

    task = Second(give("result"), loop=loop)
    assert isinstance(task, First)
    assert type(task) is Second
    assert repr(task).startswith("<Second pending")
    assert loop.run_until_complete(task) == "result"


def test_a_finalizer(loop, implementation):
    calls = []

    class MyTask(implementation.Task):
        def __del__(self):
            calls.append(self.get_name())
            super().__del__()

    task = MyTask(give("result"), loop=loop, name="T")
    loop.run_until_complete(task)
    del task
    run_turns(loop, 2)
    gc.collect()
    assert calls == ["T"]


def test_a_finalizer_of_a_pending_task_passes_the_report_on(loop, implementation, reports):
    class MyTask(implementation.Task):
        def __del__(self):
            super().__del__()

    async def waits():
        await loop.create_future()

    task = MyTask(waits(), loop=loop)
    run_turn(loop)
    del task
    gc.collect()
    assert reports.messages() == ["Task was destroyed but it is pending!"]


def test_resurrection_in_a_finalizer(loop, implementation):
    kept = []

    class MyFuture(implementation.Future):
        def __del__(self):
            kept.append(self)

    future = MyFuture(loop=loop)
    future.set_result("result")
    del future
    gc.collect()
    (future,) = kept
    assert future.result() == "result"
    assert loop.run_until_complete(future) == "result"
    kept.clear()
    del future
    run_turns(loop, 2)
    gc.collect()


def test_slots_whose_values_look_at_all_tasks_as_they_die(loop, implementation, reports):
    """A task that is being freed must not be found, let alone be given out."""
    seen = []

    class Looks:
        def __del__(self):
            seen.append(len(asyncio.all_tasks(loop)))

    class MyTask(implementation.Task):
        __slots__ = ("looks",)

    async def waits():
        await loop.create_future()

    for _ in range(5):
        task = MyTask(waits(), loop=loop)
        task.looks = Looks()
        run_turn(loop)
        del task
        gc.collect()
    reports.take()
    gc.collect()
    assert len(seen) == 5
    assert asyncio.all_tasks(loop) == set()


@pytest.mark.parametrize("has_slots", [True, False])
def test_the_same_when_the_last_reference_is_the_queues(make_loop, implementation, has_slots):
    """Freed by its reference count, not by the garbage collector."""
    seen = []

    class Looks:
        def __del__(self):
            seen.append([repr(task) for task in asyncio.all_tasks(loop)])

    class MyTask(implementation.Task):
        if has_slots:
            __slots__ = ("looks",)

    loop = make_loop()
    said = []
    loop.set_exception_handler(lambda loop, context: said.append(context["message"]))
    coroutines = [give(number) for number in range(5)]
    for coroutine in coroutines:
        MyTask(coroutine, loop=loop).looks = Looks()
    loop.close()
    gc.collect()
    assert len(seen) == 5
    assert asyncio.all_tasks(loop) == set()
    assert said == ["Task was destroyed but it is pending!"] * 5
    for coroutine in coroutines:
        coroutine.close()


def test_attributes_whose_values_look_at_all_tasks_as_they_die(loop, implementation, reports):
    seen = []

    class Looks:
        def __del__(self):
            seen.append(len(asyncio.all_tasks(loop)))

    class MyTask(implementation.Task):
        pass

    async def waits():
        await loop.create_future()

    for task_class in (MyTask, implementation.Task):
        for _ in range(5):
            task = task_class(waits(), loop=loop)
            task.looks = Looks()
            run_turn(loop)
            del task
            gc.collect()
            reports.take()
    gc.collect()
    assert len(seen) == 10
    assert asyncio.all_tasks(loop) == set()


def test_weak_references_whose_callbacks_look_at_all_tasks(loop, implementation, reports):
    seen = []

    class MyTask(implementation.Task):
        __slots__ = ()

    async def waits():
        await loop.create_future()

    references = []
    for task_class in (MyTask, implementation.Task):
        for _ in range(5):
            task = task_class(waits(), loop=loop)
            references.append(
                weakref.ref(task, lambda gone: seen.append(len(asyncio.all_tasks(loop))))
            )
            run_turn(loop)
            del task
            gc.collect()
            reports.take()
    gc.collect()
    assert asyncio.all_tasks(loop) == set()
    del references


def test_init_that_does_not_call_supers(loop, implementation):
    """Such an object is no use, but nothing worse."""

    class MyTask(implementation.Task):
        def __init__(self):
            pass

    class MyFuture(implementation.Future):
        def __init__(self):
            pass

    task, future = MyTask(), MyFuture()
    for thing in (task, future):
        for method in ("result", "exception", "get_loop"):
            with pytest.raises((RuntimeError, asyncio.InvalidStateError, AttributeError)):
                getattr(thing, method)()
        with pytest.raises((RuntimeError, asyncio.InvalidStateError)):
            thing.add_done_callback(print)
        with pytest.raises((RuntimeError, asyncio.InvalidStateError)):
            iter(thing)
        thing.done()
        thing.cancelled()
    with pytest.raises(RuntimeError):
        loop.run_until_complete(future)
    del task, future, thing
    gc.collect()


def test_awaiting_what_was_not_initialised(loop, implementation):
    class MyFuture(implementation.Future):
        def __init__(self):
            pass

    async def main():
        with pytest.raises(RuntimeError):
            await MyFuture()
        return "still works"

    assert loop.run_until_complete(main()) == "still works"


def test_init_twice(loop, implementation, reports):
    """The first coroutine is let go; the steps of both calls come."""
    steps = []

    async def coroutine(name):
        steps.append(name)

    first = coroutine("first")
    task = implementation.Task(first, loop=loop)
    task.__init__(coroutine("second"), loop=loop)
    run_until_idle(loop)
    first.close()
    assert steps == ["second"]
    assert task.done()
    # The second of the two scheduled steps finds the task done.
    for report in reports.take():
        assert isinstance(report["exception"], asyncio.InvalidStateError)


def test_init_that_fails(loop, implementation):
    class MyTask(implementation.Task):
        def __init__(self, coroutine, **options):
            super().__init__(coroutine, **options)
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        MyTask(give("result"), loop=loop)
    run_until_idle(loop)


def test_class_keywords_and_init_subclass(implementation):
    registered = []

    class Registered(implementation.Future):
        def __init_subclass__(cls, *, label, **options):
            super().__init_subclass__(**options)
            registered.append((cls.__name__, label))

    class First(Registered, label="one"):
        pass

    assert registered == [("First", "one")]
    assert First.__mro__[1] is Registered


def test_a_class_that_is_garbage(loop, implementation):
    """Instances hold their class, and both go."""

    def make():
        class MyFuture(implementation.Future):
            pass

        future = MyFuture(loop=loop)
        future.set_result(None)
        assert isinstance(future, asyncio.Future)
        return weakref.ref(MyFuture)

    reference = make()
    gc.collect()
    assert reference() is None


def test_task_is_a_subclass_of_future(implementation):
    assert issubclass(implementation.Task, implementation.Future)
