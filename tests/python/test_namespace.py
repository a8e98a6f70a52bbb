"""``import ferrio as asyncio``: every public name, and which of them are ferrio's own."""

import asyncio
import importlib
import inspect
import subprocess
import sys
import warnings

import pytest

import ferrio
from ferrio import natives

# What a program gets from ferrio that is not asyncio's own object.
OWN_NAMES = {
    *natives.NAMES,
    "EventLoop",
    "Future",
    "Runner",
    "SelectorEventLoop",
    "Task",
    "get_event_loop",
    "new_event_loop",
    "run",
    "eager_task_factory",
    "DefaultEventLoopPolicy",
}


@pytest.mark.parametrize("name", sorted(asyncio.__all__))
def test_every_public_name_of_asyncio_is_there(name):
    assert hasattr(ferrio, name)
    assert name in ferrio.__all__


@pytest.mark.parametrize("name", sorted(set(asyncio.__all__) - OWN_NAMES))
def test_what_is_not_ferrios_is_asyncios_own_object(name):
    assert getattr(ferrio, name) is getattr(asyncio, name)


@pytest.mark.parametrize("name", sorted(OWN_NAMES & set(asyncio.__all__)))
def test_own_names_are_not_asyncios(name):
    assert getattr(ferrio, name) is not getattr(asyncio, name)


def test_all_has_no_name_twice():
    assert len(ferrio.__all__) == len(set(ferrio.__all__))


def test_star_import_gives_every_name_and_no_other_loop():
    namespace = {}
    exec("from ferrio import *", namespace)
    assert set(ferrio.__all__) <= set(namespace)
    assert namespace["EventLoop"] is ferrio.EventLoop
    assert namespace["sleep"] is ferrio.sleep
    assert namespace["ensure_future"] is asyncio.ensure_future


@pytest.mark.parametrize(
    "name", sorted(name for name, value in vars(asyncio).items() if inspect.ismodule(value))
)
def test_asyncios_submodules_can_be_reached(name):
    # asyncio.events.get_event_loop, asyncio.subprocess.PIPE, asyncio.exceptions.TimeoutError …
    module, ours = getattr(asyncio, name), getattr(ferrio, name)
    if name != "tasks":
        assert ours is module
        return
    # ferrio.tasks() is a function as well.
    for attribute in ("Task", "current_task", "all_tasks", "sleep"):
        assert getattr(ours, attribute) is getattr(module, attribute)


def test_unknown_names_are_an_attribute_error_of_ferrio():
    with pytest.raises(AttributeError, match="module 'ferrio' has no attribute 'no_such_name'"):
        _ = ferrio.no_such_name
    with pytest.raises(ImportError):
        exec("from ferrio import no_such_name")


def test_a_program_written_for_asyncio_works_with_the_import_changed():
    async def consume(queue, results):
        while (item := await queue.get()) is not None:
            results.append(item)

    async def main():
        queue, results = ferrio.Queue(), []
        async with ferrio.TaskGroup() as group:
            group.create_task(consume(queue, results))
            for item in (1, 2, None):
                await queue.put(item)
        async with ferrio.timeout(60):
            results += await ferrio.gather(ferrio.sleep(0, 3), ferrio.to_thread(int, "4"))
        with pytest.raises(ferrio.TimeoutError):
            await ferrio.wait_for(ferrio.Event().wait(), 0.001)
        assert isinstance(ferrio.current_task(), ferrio.Task)
        assert isinstance(ferrio.get_running_loop(), ferrio.EventLoop)
        return results

    assert ferrio.run(main()) == [1, 2, 3, 4]


def test_native_classes():
    assert issubclass(ferrio.Task, ferrio.Future)
    assert issubclass(ferrio.EventLoop, asyncio.AbstractEventLoop)


@pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with 3.12")
def test_the_eager_task_factory_makes_ferrios_tasks():
    async def child():
        return ferrio.current_task()

    async def main():
        ferrio.get_running_loop().set_task_factory(ferrio.eager_task_factory)
        task = ferrio.create_task(child())
        assert task.done()
        assert await task is task
        assert type(task) is ferrio.Task

    ferrio.run(main())


class TestGetEventLoop:
    """``ferrio.get_event_loop`` outside of a running loop, as old programs begin."""

    @pytest.fixture(autouse=True)
    def _fresh_policy(self):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            previous = asyncio.get_event_loop_policy()
            asyncio.set_event_loop_policy(None)
            yield
            asyncio.set_event_loop_policy(previous)

    def test_it_is_the_running_loop(self):
        async def main():
            return ferrio.get_event_loop() is asyncio.get_running_loop()

        assert ferrio.run(main())

    def test_it_is_the_current_loop_whatever_its_kind(self):
        loop = asyncio.SelectorEventLoop()
        try:
            asyncio.set_event_loop(loop)
            assert ferrio.get_event_loop() is loop
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    @pytest.mark.skipif(sys.version_info >= (3, 14), reason="no loop is made from 3.14")
    def test_where_asyncio_makes_a_loop_it_is_ferrios(self):
        loop = ferrio.get_event_loop()
        try:
            assert isinstance(loop, ferrio.EventLoop)
            assert asyncio.get_event_loop() is loop
        finally:
            asyncio.set_event_loop(None)
            loop.close()

    @pytest.mark.skipif(
        not (3, 12) <= sys.version_info < (3, 14), reason="3.12 and 3.13 warn of it"
    )
    def test_the_warning_names_the_callers_line(self):
        with pytest.warns(DeprecationWarning, match="There is no current event loop") as caught:
            loop = ferrio.get_event_loop()
        asyncio.set_event_loop(None)
        loop.close()
        assert [warning.filename for warning in caught] == [__file__]

    def test_after_the_loop_was_unset_there_is_none(self):
        asyncio.set_event_loop(None)
        with pytest.raises(RuntimeError, match="There is no current event loop"):
            ferrio.get_event_loop()


def test_importing_ferrio_leaves_asyncios_names_alone():
    # In a process of its own: here ferrio is imported already.
    program = """
import asyncio
import sys
before = {name: value for name, value in vars(asyncio).items()}
tasks_before = dict(vars(asyncio.tasks))
import ferrio
changed = [name for name, value in before.items() if vars(asyncio)[name] is not value]
if sys.version_info >= (3, 14):
    # asyncio's own know no other futures than its own.
    changed.remove("future_add_to_awaited_by")
    changed.remove("future_discard_from_awaited_by")
changed += [name for name, value in tasks_before.items() if vars(asyncio.tasks)[name] is not value]
assert not changed, changed
assert asyncio.run(asyncio.sleep(0, 5)) == 5
assert type(asyncio.new_event_loop()) is asyncio.SelectorEventLoop
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)


def test_the_package_can_be_imported_again():
    assert importlib.import_module("ferrio") is ferrio
