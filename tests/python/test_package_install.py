"""``ferrio.run``, ``Runner``, ``install``, the policy, and the registry of tasks."""

import abc
import asyncio
import contextvars
import subprocess
import sys
import textwrap
import threading
import warnings
import weakref
from unittest import mock

import pytest

import ferrio
from ferrio import natives
from ferrio.registry import TaskRegistry

# The classes that are native, and how to make an instance.
CLASSES = {
    "Barrier": lambda each: each(2),
    "BoundedSemaphore": lambda each: each(2),
    "Condition": lambda each: each(),
    "Event": lambda each: each(),
    "LifoQueue": lambda each: each(),
    "Lock": lambda each: each(),
    "PriorityQueue": lambda each: each(),
    "Queue": lambda each: each(),
    "Semaphore": lambda each: each(2),
    "StreamReader": lambda each: each(loop=mock.Mock()),
    "TaskGroup": lambda each: each(),
    "Timeout": lambda each: each(None),
}


async def loop_and_context():
    return asyncio.get_running_loop()


def in_a_new_process(program, *flags):
    subprocess.run([sys.executable, *flags, "-c", textwrap.dedent(program)], check=True, timeout=60)


@pytest.mark.usefixtures("watched")
class TestRun:
    """``ferrio.run`` and ``ferrio.Runner``."""

    def test_the_loop_is_ferrios_and_closed_at_the_end(self):
        loop = ferrio.run(loop_and_context())
        assert type(loop) is ferrio.EventLoop
        assert loop.is_closed()

    @pytest.mark.parametrize("debug", [None, False, True])
    def test_debug(self, debug):
        loop = ferrio.run(loop_and_context(), debug=debug)
        assert loop.get_debug() is bool(debug)

    def test_another_factory(self):
        loop = ferrio.run(loop_and_context(), loop_factory=asyncio.SelectorEventLoop)
        assert type(loop) is asyncio.SelectorEventLoop

    def test_errors(self):
        if sys.version_info >= (3, 14):
            expected = pytest.raises(TypeError, match="a coroutine or an awaitable is required")
        else:
            expected = pytest.raises(ValueError, match="a coroutine was expected, got 3")
        with expected:
            ferrio.run(3)

        async def fail():
            raise LookupError("wrong")

        async def nested():
            coroutine = fail()
            with pytest.raises(
                RuntimeError, match=r"^asyncio.run\(\) cannot be called from a running event loop$"
            ):
                ferrio.run(coroutine)
            coroutine.close()

        ferrio.run(nested())
        with pytest.raises(LookupError, match="wrong"):
            ferrio.run(fail())

    def test_what_is_left_is_cancelled(self):
        outcome = []

        async def forever():
            try:
                await asyncio.sleep(1000)
            except asyncio.CancelledError:
                outcome.append("cancelled")
                raise

        async def main():
            tasks.append(asyncio.create_task(forever()))
            await asyncio.sleep(0)

        tasks = []
        ferrio.run(main())
        assert outcome == ["cancelled"]

    def test_the_current_loop_is_set_and_unset(self):
        async def main():
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                return asyncio.get_event_loop_policy().get_event_loop()

        assert type(ferrio.run(main())) is ferrio.EventLoop
        with pytest.raises(RuntimeError, match="There is no current event loop"):
            asyncio.get_event_loop()

    def test_a_runner_runs_several(self):
        variable = contextvars.ContextVar("variable")

        async def set_it():
            variable.set(3)

        async def get_it():
            return variable.get()

        with ferrio.Runner() as runner:
            runner.run(set_it())
            assert runner.run(get_it()) == 3
            assert type(runner.get_loop()) is ferrio.EventLoop
            assert isinstance(runner, asyncio.Runner)
        runner.close()
        coroutine = get_it()
        with pytest.raises(RuntimeError, match="Runner is closed"):
            runner.run(coroutine)
        coroutine.close()

    def test_a_runner_that_is_never_used(self):
        ferrio.Runner().close()

    def test_in_a_thread(self):
        loops = []
        thread = threading.Thread(target=lambda: loops.append(ferrio.run(loop_and_context())))
        thread.start()
        thread.join()
        assert type(loops[0]) is ferrio.EventLoop

    def test_new_event_loop(self):
        loop = ferrio.new_event_loop()
        assert type(loop) is ferrio.EventLoop
        loop.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestInstall:
    """``install()`` and ``uninstall()``."""

    @pytest.fixture(autouse=True)
    def _uninstalled_afterwards(self):
        before = self._names(), asyncio.get_event_loop_policy()
        yield
        ferrio.uninstall()
        assert (self._names(), asyncio.get_event_loop_policy()) == before

    @staticmethod
    def _names():
        return {place.__name__: dict(vars(place)) for place in natives.PLACES}

    def test_names_are_replaced_and_put_back(self):
        originals = {name: getattr(asyncio, name) for name in natives.NAMES}
        early_lock, early_sleep = asyncio.Lock, asyncio.sleep
        ferrio.install()
        for name in natives.NAMES:
            assert getattr(asyncio, name) is getattr(ferrio, name)
        assert asyncio.locks.Lock is ferrio.Lock
        assert asyncio.queues.Queue is ferrio.Queue
        assert asyncio.tasks.sleep is asyncio.streams.sleep is ferrio.sleep
        native = asyncio.Queue()
        assert isinstance(native, originals["Queue"])
        assert isinstance(native, asyncio.Queue)

        class Late(asyncio.Lock):
            pass

        async def main():
            async with early_lock(), asyncio.Lock(), Late():
                await early_sleep(0)
                native.put_nowait(await asyncio.sleep(0, 1))

        asyncio.run(main())
        ferrio.uninstall()
        assert {name: getattr(asyncio, name) for name in natives.NAMES} == originals
        assert asyncio.run(native.get()) == 1

    @pytest.mark.parametrize("name", [*CLASSES])
    def test_what_was_made_before_is_an_instance_of_what_comes_after(self, name):
        original = getattr(asyncio, name)
        derived = type("Derived", (original,), {})
        early = [CLASSES[name](each) for each in (original, derived)]
        ferrio.install()
        native = getattr(asyncio, name)
        assert native is not original
        late = [CLASSES[name](each) for each in (native, type("Derived", (native,), {}))]
        for made in early + late:
            assert isinstance(made, native)
            assert isinstance(made, original)
        assert issubclass(original, native)
        assert issubclass(derived, native)
        # Of a class derived from the new name only its own are instances.
        assert [isinstance(made, type(late[1])) for made in early + late] == [
            *(False, False, False, True)
        ]
        assert not isinstance(object(), native)
        assert not isinstance(asyncio.sleep, native)

    def test_other_kinds_are_not_mixed_up(self):
        early = asyncio.Queue(), asyncio.LifoQueue(), asyncio.Semaphore()
        ferrio.install()
        assert isinstance(early[1], asyncio.Queue)
        assert not isinstance(early[0], asyncio.LifoQueue)
        assert not isinstance(early[1], asyncio.PriorityQueue)
        assert not isinstance(early[2], asyncio.BoundedSemaphore)
        assert not isinstance(early[2], asyncio.Lock)

    def test_a_native_class_may_be_derived_from_with_an_abstract_one(self):
        class Closes(abc.ABC):
            @abc.abstractmethod
            def close(self): ...

        class Pool(ferrio.Queue, Closes):
            def close(self):
                return "closed"

        class Abstract(ferrio.Queue, Closes):
            pass

        pool = Pool()
        assert pool.close() == "closed"
        assert isinstance(pool, Closes)
        assert isinstance(pool, ferrio.Queue)
        assert issubclass(Pool, Closes)
        assert not isinstance(ferrio.Queue(), Closes)
        assert Abstract.__abstractmethods__ == {"close"}

    def test_a_name_that_somebody_else_replaced_stays(self, monkeypatch):
        ferrio.install()
        with monkeypatch.context() as patched:
            patched.setattr(asyncio, "sleep", mine := object())
            ferrio.uninstall()
            assert asyncio.sleep is mine
            assert asyncio.tasks.sleep is not ferrio.sleep
        asyncio.sleep = asyncio.tasks.sleep

    def test_nothing_is_replaced_without_it(self):
        async def main():
            return type(asyncio.Lock()), asyncio.sleep

        with asyncio.Runner(loop_factory=ferrio.new_event_loop) as runner:
            lock, sleep = runner.run(main())
        assert lock.__module__ == "asyncio.locks"
        assert sleep.__module__ == "asyncio.tasks"

    def test_asyncio_makes_ferrios_loops(self):
        ferrio.install()
        ferrio.install()
        assert type(asyncio.run(loop_and_context())) is ferrio.EventLoop
        with asyncio.Runner() as runner:
            assert type(runner.get_loop()) is ferrio.EventLoop
        for loop in (
            asyncio.new_event_loop(),
            asyncio.SelectorEventLoop(),
            asyncio.get_event_loop_policy().new_event_loop(),
        ):
            assert type(loop) is ferrio.EventLoop
            assert isinstance(loop, asyncio.SelectorEventLoop)
            loop.close()
        ferrio.uninstall()
        ferrio.uninstall()
        assert type(asyncio.run(loop_and_context())) is asyncio.SelectorEventLoop

    def test_a_policy_set_anew_is_ferrios_too(self):
        ferrio.install()
        asyncio.set_event_loop_policy(None)
        assert type(asyncio.run(loop_and_context())) is ferrio.EventLoop
        asyncio.set_event_loop_policy(asyncio.DefaultEventLoopPolicy())
        assert type(asyncio.run(loop_and_context())) is ferrio.EventLoop
        # A default policy that was made meanwhile is no policy of install()'s to take back.
        asyncio.set_event_loop_policy(self.policy_before)

    @pytest.fixture(autouse=True)
    def _policy(self, _uninstalled_afterwards):
        self.policy_before = asyncio.get_event_loop_policy()

    def test_what_the_program_sets_itself_stays(self):
        class Policy(asyncio.DefaultEventLoopPolicy):
            pass

        ferrio.install()
        policy = Policy()
        asyncio.set_event_loop_policy(policy)
        ferrio.uninstall()
        assert asyncio.get_event_loop_policy() is policy
        asyncio.set_event_loop_policy(self.policy_before)

    def test_classes_derived_from_asyncios_loop(self):
        ferrio.install()

        class Loop(asyncio.SelectorEventLoop):
            pass

        loop = Loop()
        assert type(loop) is Loop
        assert isinstance(loop, asyncio.selector_events.BaseSelectorEventLoop)
        assert type(asyncio.run(loop_and_context())) is ferrio.EventLoop
        assert loop.run_until_complete(asyncio.sleep(0, 3)) == 3
        loop.close()

    def test_derived_classes_may_be_whatever_classes_may_be(self):
        ferrio.install()

        class Named(asyncio.SelectorEventLoop, abc.ABC):
            def __init__(self, first, *, name):
                super().__init__()
                self.first, self.name = first, name

        loop = Named(1, name="loop")
        assert (loop.first, loop.name) == (1, "loop")
        assert isinstance(loop, Named)
        assert isinstance(loop, asyncio.SelectorEventLoop)
        other = asyncio.new_event_loop()
        assert isinstance(other, asyncio.SelectorEventLoop)
        assert not isinstance(other, Named)
        loop.close()
        other.close()

    def test_task_and_future_are_never_replaced(self):
        before = asyncio.Task, asyncio.Future
        ferrio.install()
        assert (asyncio.Task, asyncio.Future) == before

    def test_before_asyncio_has_a_policy(self):
        in_a_new_process(
            """
            import asyncio, ferrio
            ferrio.install()
            ferrio.uninstall()
            assert asyncio.events._event_loop_policy is None
            asyncio.new_event_loop().close()
            """
        )

    def test_without_any_warning(self):
        in_a_new_process(
            """
            import ferrio
            ferrio.install()
            ferrio.run(ferrio.sleep(0))
            ferrio.uninstall()
            """,
            "-W",
            "error",
        )


@pytest.mark.skipif(sys.version_info < (3, 14), reason="policies are deprecated from 3.14")
@pytest.mark.parametrize("name", ["EventLoopPolicy", "DefaultEventLoopPolicy"])
def test_the_policy_warns_that_it_is_deprecated(name):
    with pytest.warns(DeprecationWarning, match=f"ferrio.{name} is deprecated") as caught:
        policy = getattr(ferrio, name)
    assert [warning.filename for warning in caught] == [__file__]
    loop = policy().new_event_loop()
    assert type(loop) is ferrio.EventLoop
    loop.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
class TestPolicy:
    """``ferrio.EventLoopPolicy``."""

    @pytest.fixture(autouse=True)
    def _policy(self):
        before = asyncio.get_event_loop_policy()
        yield
        asyncio.set_event_loop_policy(before)

    def test_it_makes_ferrios_loops(self):
        asyncio.set_event_loop_policy(ferrio.EventLoopPolicy())
        assert type(asyncio.run(loop_and_context())) is ferrio.EventLoop
        asyncio.set_event_loop_policy(ferrio.EventLoopPolicy())
        if sys.version_info < (3, 14):
            loop = asyncio.get_event_loop()
            assert type(loop) is ferrio.EventLoop
            loop.close()

    def test_each_thread_has_its_own_loop(self):
        policy = ferrio.EventLoopPolicy()
        errors = []

        def use():
            try:
                policy.get_event_loop()
            except RuntimeError as error:
                errors.append(str(error))

        thread = threading.Thread(target=use, name="T")
        thread.start()
        thread.join()
        assert errors == ["There is no current event loop in thread 'T'."]

    def test_it_can_be_subclassed(self):
        class Policy(ferrio.EventLoopPolicy):
            def new_event_loop(self):
                loop = super().new_event_loop()
                loop.set_debug(True)
                return loop

        asyncio.set_event_loop_policy(Policy())
        assert asyncio.run(loop_and_context()).get_debug()


NO_SET = pytest.mark.skipif(sys.version_info >= (3, 14), reason="no such set from 3.14")


class TestAllTasks:
    """``asyncio.all_tasks()`` and the standard library's set behind it."""

    @pytest.fixture
    def registry(self):
        name = "_scheduled_tasks" if sys.version_info >= (3, 12) else "_all_tasks"
        return getattr(asyncio.tasks, name)

    def test_it_sees_ferrios_tasks(self, registry):
        async def main():
            child = asyncio.create_task(asyncio.sleep(0.001))
            this = asyncio.current_task()
            assert type(this) is ferrio.Task
            assert asyncio.all_tasks() == {this, child}
            if sys.version_info < (3, 14):
                assert this in registry
                assert child in registry
                assert {this, child} <= set(registry)
                assert len(registry) == len(list(registry)) >= 2
            await child
            assert asyncio.all_tasks() == {this}

        ferrio.run(main())
        assert asyncio.all_tasks(ferrio_loop := ferrio.new_event_loop()) == set()
        ferrio_loop.close()

    def test_it_sees_both_kinds_on_either_loop(self):
        async def main():
            loop = asyncio.get_running_loop()
            both = {
                asyncio.Task(asyncio.sleep(0.001), loop=loop),
                ferrio.Task(asyncio.sleep(0.001), loop=loop),
            }
            assert asyncio.all_tasks() == both | {asyncio.current_task()}
            await asyncio.gather(*both)

        ferrio.run(main())
        asyncio.run(main())

    @NO_SET
    def test_whoever_holds_the_set_sees_them(self):
        in_a_new_process(
            """
            import asyncio.tasks, sys
            name = "_scheduled_tasks" if sys.version_info >= (3, 12) else "_all_tasks"
            early = getattr(asyncio.tasks, name)
            from asyncio import all_tasks
            import ferrio
            assert getattr(asyncio.tasks, name) is early
            async def main():
                assert asyncio.current_task() in early
                assert all_tasks() == {asyncio.current_task()}
            ferrio.run(main())
            """
        )

    @NO_SET
    def test_sets_made_of_it_are_what_they_were_made_of(self, registry):
        async def main():
            this = asyncio.current_task()
            copy = registry.copy()
            assert this in copy
            assert not registry - copy
            assert set(registry & {this}) == {this}
            assert this in registry | set()
            later = asyncio.create_task(asyncio.sleep(0))
            assert later not in copy
            assert later in registry
            assert set(registry - copy) == {later}
            await later

        ferrio.run(main())

    def test_a_finished_task_is_not_kept_alive(self):
        async def main():
            task = asyncio.create_task(asyncio.sleep(0))
            await task
            reference = weakref.ref(task)
            del task
            assert reference() is None

        ferrio.run(main())

    @NO_SET
    def test_it_is_still_a_weak_set(self, registry):
        assert type(registry) is TaskRegistry
        assert isinstance(registry, weakref.WeakSet)
        assert registry is not TaskRegistry()
        assert len(TaskRegistry()) == 0
        assert object() not in registry


def test_the_version_is_the_workspaces():
    from pathlib import Path

    manifest = Path(__file__).parents[2] / "Cargo.toml"
    import tomllib

    workspace = tomllib.loads(manifest.read_text())["workspace"]
    assert ferrio.__version__ == workspace["package"]["version"]
