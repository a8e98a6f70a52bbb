"""Who ferrio's objects say they are: asyncio's classes to every check, with no name replaced.

The differences that remain have a test each, so that a change of them is noticed.
"""

import asyncio
import copy
import functools
import inspect
import pickle
import subprocess
import sys

import pytest

import ferrio
from turns import run_turn, run_until_idle


@pytest.fixture
def loop(make_loop):
    return make_loop(ferrio.EventLoop)


@pytest.fixture(params=["ferrio"])
def implementation(request):
    from implementations import IMPLEMENTATIONS

    return IMPLEMENTATIONS[request.param]


@pytest.fixture
def future(loop):
    return loop.create_future()


@pytest.fixture
def task(loop):
    task = loop.create_task(asyncio.sleep(0))
    yield task
    run_until_idle(loop)


def test_what_the_loop_makes_is_ferrios(loop, future, task):
    assert type(future) is ferrio.Future
    assert type(task) is ferrio.Task
    run_until_idle(loop)


def test_the_names_of_asyncio_are_untouched():
    import _asyncio

    assert asyncio.Task is asyncio.tasks.Task is _asyncio.Task is asyncio.tasks._CTask
    assert asyncio.Future is asyncio.futures.Future is _asyncio.Future
    assert asyncio.Handle.__module__ == "asyncio.events"
    if sys.version_info >= (3, 12):
        assert asyncio.current_task is _asyncio.current_task
    in_c = sys.version_info >= (3, 14)
    assert asyncio.all_tasks.__module__ == ("_asyncio" if in_c else "asyncio.tasks")


def test_nothing_of_asyncio_changes_by_the_import():
    """In a fresh process: what `import ferrio` adds to asyncio's modules, and what it replaces."""
    program = """
import asyncio, asyncio.base_tasks, asyncio.sslproto, sys
modules = [module for name, module in sys.modules.items() if name.split(".")[0] == "asyncio"]
before = {module: dict(vars(module)) for module in modules}
import ferrio
for module in modules:
    now = dict(vars(module))
    for name in now.keys() | before[module].keys():
        if now.get(name) is not before[module].get(name):
            print(module.__name__, name)
"""
    outcome = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60
    )
    assert outcome.stderr == ""
    expected = set()
    if sys.version_info >= (3, 14):
        # asyncio's own know no other futures than its own.
        expected = {
            f"{module} {name}"
            for module in ("asyncio", "asyncio.futures")
            for name in ("future_add_to_awaited_by", "future_discard_from_awaited_by")
        }
    assert set(outcome.stdout.splitlines()) == expected


def test_instance_checks(future, task):
    assert isinstance(future, asyncio.Future)
    assert isinstance(task, asyncio.Future)
    assert isinstance(task, asyncio.Task)
    assert isinstance(task, ferrio.Future)
    assert isinstance(task, ferrio.Task)
    assert not isinstance(future, asyncio.Task)
    assert not isinstance(future, ferrio.Task)
    assert asyncio.isfuture(future)
    assert asyncio.isfuture(task)
    assert isinstance(task, (str, asyncio.Task))


def test_handles(loop):
    handle = loop.call_soon(int)
    timer = loop.call_later(1000, int)
    assert isinstance(handle, asyncio.Handle)
    assert isinstance(timer, asyncio.Handle)
    assert isinstance(timer, asyncio.TimerHandle)
    assert not isinstance(handle, asyncio.TimerHandle)
    timer.cancel()
    run_turn(loop)


def test_the_loop(loop):
    assert isinstance(loop, asyncio.AbstractEventLoop)
    assert issubclass(ferrio.EventLoop, asyncio.AbstractEventLoop)


def test_class_attribute(future, task):
    assert future.__class__ is asyncio.Future
    assert task.__class__ is asyncio.Task


def test_generic_functions_dispatch_on_asyncios_classes(future, task):
    @functools.singledispatch
    def name(thing):
        return "anything"

    @name.register
    def _(thing: asyncio.Future):
        return "a future"

    # singledispatch looks at __class__, so it is led right.
    assert name(future) == "a future"
    assert name(task) == "a future"


def test_match_statement(future, task):
    def name(thing):
        match thing:
            case asyncio.Task():
                return "a task"
            case asyncio.Future():
                return "a future"
        return "anything"

    assert name(task) == "a task"
    assert name(future) == "a future"


def test_ensure_future_and_iscoroutine(loop, future, task):
    assert asyncio.ensure_future(future, loop=loop) is future
    assert not asyncio.iscoroutine(task)
    assert inspect.isawaitable(task)


def test_a_subclass_answers_a_shadow_of_its_own(loop):
    class MyTask(ferrio.Task):
        """Mine."""

    class MyFuture(ferrio.Future):
        pass

    future = MyFuture(loop=loop)
    shadow = future.__class__
    assert shadow is not MyFuture
    assert shadow.__name__ == "MyFuture"
    assert shadow.__qualname__ == MyFuture.__qualname__
    assert shadow.__module__ == MyFuture.__module__
    assert issubclass(shadow, asyncio.Future)
    # One class, one shadow.
    assert MyFuture(loop=loop).__class__ is shadow
    assert isinstance(future, MyFuture)
    assert isinstance(future, asyncio.Future)
    assert repr(future) == "<MyFuture pending>"

    task = MyTask(asyncio.sleep(0), loop=loop)
    assert task.__class__.__name__ == "MyTask"
    assert task.__class__.__doc__ == "Mine."
    assert issubclass(task.__class__, asyncio.Task)
    assert isinstance(task, MyTask)
    run_until_idle(loop)


def test_the_shadow_of_a_subclass_of_a_subclass(loop):
    class First(ferrio.Future):
        pass

    class Second(First):
        pass

    assert First(loop=loop).__class__.__name__ == "First"
    assert Second(loop=loop).__class__.__name__ == "Second"
    assert First(loop=loop).__class__ is not Second(loop=loop).__class__


def test_two_classes_of_one_name_have_two_shadows(loop):
    def make():
        class Same(ferrio.Future):
            pass

        return Same(loop=loop)

    assert make().__class__ is not make().__class__


def test_shadows_die_with_their_classes(loop):
    import gc
    import weakref

    class MyFuture(ferrio.Future):
        pass

    reference = weakref.ref(MyFuture(loop=loop).__class__)
    assert reference() is not None
    del MyFuture
    gc.collect()
    assert reference() is None


def test_a_subclass_may_have_a_metaclass(loop):
    class Meta(type):
        def __new__(cls, name, bases, namespace, **options):
            return super().__new__(cls, name, bases, namespace)

    class MyFuture(ferrio.Future, metaclass=Meta):
        pass

    future = MyFuture(loop=loop)
    assert isinstance(future, asyncio.Future)
    assert isinstance(future, MyFuture)
    assert future.__class__.__name__ == "MyFuture"


def test_class_methods_through_super(loop):
    """super() looks at the type when __class__ is no subclass."""

    class MyTask(ferrio.Task):
        def get_name(self):
            return super().get_name() + "!"

        def cancel(self, msg=None):
            return super().cancel(msg=msg)

        @property
        def label(self):
            return super().__repr__()

    task = MyTask(asyncio.sleep(0), loop=loop, name="T")
    assert task.get_name() == "T!"
    assert "T!" in task.label
    assert task.cancel()
    run_until_idle(loop)


def test_copies_and_pickles_are_refused_as_asyncios_are(future, task):
    for thing in (future, task):
        with pytest.raises(TypeError):
            pickle.dumps(thing)
        with pytest.raises(TypeError):
            copy.copy(thing)


def test_class_cannot_be_assigned(future):
    with pytest.raises((TypeError, AttributeError)):
        future.__class__ = asyncio.Future
    with pytest.raises((TypeError, AttributeError)):
        future.__class__ = int


def test_types_cannot_be_changed():
    """As C types are; a patch of one would be seen by every program in the process."""
    for native in (ferrio.Future, ferrio.Task):
        with pytest.raises(TypeError):
            native.anything = 1


def test_unittest_mocks_with_a_class_as_spec():
    from unittest import mock

    stand_in = mock.Mock(spec=ferrio.Future)
    stand_in.result.return_value = 42
    assert stand_in.result() == 42
    assert isinstance(stand_in, ferrio.Future)
    with pytest.raises(AttributeError):
        _ = stand_in.anything_else


def test_members_are_all_there():
    def public(cls):
        return {name for name in dir(cls) if not name.startswith("_")}

    assert public(asyncio.Future) <= public(ferrio.Future)
    assert public(asyncio.Task) <= public(ferrio.Task)
    handle = type(ferrio.EventLoop.call_soon)
    assert handle is not None


def test_private_members_that_libraries_read():
    for name in (
        "_asyncio_future_blocking",
        "_callbacks",
        "_cancel_message",
        "_exception",
        "_log_traceback",
        "_loop",
        "_make_cancelled_error",
        "_result",
        "_source_traceback",
        "_state",
    ):
        assert hasattr(asyncio.Future, name), name
        assert hasattr(ferrio.Future, name), name
    for name in ("_coro", "_fut_waiter", "_must_cancel", "_log_destroy_pending"):
        assert hasattr(asyncio.Task, name), name
        assert hasattr(ferrio.Task, name), name


def test_documentation_strings():
    for name in ("cancel", "result", "add_done_callback"):
        assert getattr(ferrio.Future, name).__doc__
    for name in ("cancel", "get_stack", "uncancel"):
        assert getattr(ferrio.Task, name).__doc__
    assert ferrio.Task.__doc__
    assert ferrio.Future.__doc__


class TestListedDifferences:
    """What follows from an unrelated type that only answers asyncio's class."""

    def test_the_type_is_no_subclass(self, loop, future, task):
        assert not issubclass(type(task), asyncio.Task)
        assert not issubclass(type(future), asyncio.Future)
        assert not issubclass(ferrio.Task, asyncio.Task)

    def test_type_and_class_differ(self, loop, future, task):
        assert type(task) is not task.__class__
        assert type(future) is not future.__class__

    def test_unbound_methods_of_asyncio_are_refused(self, loop, task):
        """`sorted(tasks, key=asyncio.Task.get_name)` is an idiom."""
        with pytest.raises(TypeError, match="doesn't apply to a|requires a"):
            asyncio.Task.get_name(task)
        with pytest.raises(TypeError):
            asyncio.Future.done(task)
        with pytest.raises(TypeError):
            asyncio.Task.cancel(task)
        # ferrio's own are there for it.
        assert ferrio.Task.get_name(task) == task.get_name()
        assert asyncio.Task is not ferrio.Task

    def test_calling_the_class_of_an_object_makes_asyncios(self, loop, future):
        again = future.__class__(loop=loop)
        assert type(again) is asyncio.Future
        assert type(again) is not type(future)

    def test_calling_the_class_of_a_subclass_makes_a_shadow(self, loop):
        class MyFuture(ferrio.Future):
            def extra(self):
                return "extra"

        again = MyFuture(loop=loop).__class__(loop=loop)
        assert isinstance(again, asyncio.Future)
        assert not isinstance(again, MyFuture)
        assert not hasattr(again, "extra")

    def test_mocks_with_an_object_as_spec_have_its_type(self, loop, future):
        from unittest import mock

        stand_in = mock.Mock(spec=future)
        assert isinstance(stand_in, ferrio.Future)
        assert not isinstance(stand_in, asyncio.Future)

    def test_bases_of_subclasses(self, loop):
        class MyTask(ferrio.Task):
            pass

        assert asyncio.Task not in MyTask.__mro__
        assert not issubclass(MyTask, asyncio.Task)
