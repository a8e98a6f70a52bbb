"""``Lock``, ``Event``, ``Condition``, ``Semaphore``: asyncio's and the native ones alike."""

import asyncio
import collections
import gc
import pickle
import sys
import weakref
from unittest import mock

import pytest

import ferrio

pytest_plugins = ["library_fixtures"]

NAMES = ("Lock", "Event", "Condition", "Semaphore", "BoundedSemaphore")


@pytest.mark.parametrize("name", NAMES)
def test_identity(library, name):
    class Derived(getattr(library, name)):
        pass

    for made in (getattr(library, name)(), Derived()):
        assert isinstance(made, getattr(asyncio, name))
        assert isinstance(made, getattr(library, name))
        assert weakref.ref(made)() is made
        made.anything = 1
        assert made.anything == 1
        assert made.__dict__["anything"] == 1
    assert Derived().__class__.__name__ == "Derived"


@pytest.mark.parametrize("name", NAMES)
def test_only_asyncios_arguments(library, name):
    with pytest.raises(
        TypeError, match=rf"{name}\.__init__\(\) got an unexpected keyword argument 'loop'"
    ):
        getattr(library, name)(loop=None)


def test_representations(library, loop):
    async def main():
        lock = library.Lock()
        assert repr(lock) == f"<asyncio.locks.Lock object at {id(lock):#x} [unlocked]>"
        await lock.acquire()
        waiting = asyncio.ensure_future(lock.acquire())
        await asyncio.sleep(0)
        assert repr(lock).endswith(" [locked, waiters:1]>")
        lock.release()
        await waiting
        event = library.Event()
        assert repr(event).endswith(" [unset]>")
        event.set()
        assert repr(event) == f"<asyncio.locks.Event object at {id(event):#x} [set]>"
        assert repr(library.Semaphore(3)).endswith(" [unlocked, value:3]>")
        assert repr(library.BoundedSemaphore(0)).endswith(" [locked]>")
        assert repr(library.Condition()).endswith(" [unlocked]>")

    loop.run_until_complete(main())


def test_a_subclass_is_named_in_its_representation(library):
    class Mine(library.Lock):
        pass

    assert repr(Mine()).startswith(f"<{__name__}.{Mine.__qualname__} object at 0x")


def test_first_come_first_served(library, loop):
    async def main():
        lock, order = library.Lock(), []

        async def hold(number):
            async with lock:
                order.append(number)
                await asyncio.sleep(0)

        await asyncio.gather(*[hold(number) for number in range(10)])
        return order

    assert loop.run_until_complete(main()) == list(range(10))


def test_a_cancelled_one_hands_on(library, loop):
    async def main():
        lock = library.Lock()
        await lock.acquire()
        first, second = (asyncio.ensure_future(lock.acquire()) for _ in range(2))
        await asyncio.sleep(0)
        lock.release()
        first.cancel("enough")
        with pytest.raises(asyncio.CancelledError, match="enough"):
            await first
        assert await second
        assert lock.locked()
        assert not lock._waiters
        lock.release()
        with pytest.raises(RuntimeError, match="Lock is not acquired."):
            lock.release()

    loop.run_until_complete(main())


def test_waiters_are_a_live_deque(library, loop):
    lock = library.Lock()
    assert lock._waiters is None

    async def main():
        await lock.acquire()
        waiting = [asyncio.ensure_future(lock.acquire()) for _ in range(3)]
        await asyncio.sleep(0)
        waiters = lock._waiters
        assert type(waiters) is collections.deque
        assert len(waiters) == 3
        assert all(asyncio.isfuture(waiter) for waiter in waiters)
        waiting.append(asyncio.ensure_future(lock.acquire()))
        await asyncio.sleep(0)
        assert lock._waiters is waiters
        assert len(waiters) == 4
        for task in waiting:
            lock.release()
            await task
        assert not waiters

    loop.run_until_complete(main())


def test_waiters_of_somebody_elses_making(library):
    semaphore = library.Semaphore()
    semaphore._waiters = collections.deque()
    semaphore._waiters.append(mock.Mock())
    assert repr(semaphore).endswith("waiters:1]>")
    assert semaphore.locked() is (not semaphore._waiters[0].cancelled())


@pytest.mark.parametrize("name", ["Lock", "Semaphore", "Event", "Condition"])
def test_bound_to_the_first_loop(library, name, make_loop):
    primitive = getattr(library, name)()

    async def wait():
        if name in ("Lock", "Semaphore"):
            if not primitive.locked():
                await primitive.acquire()
            await primitive.acquire()
        elif name == "Event":
            await primitive.wait()
        else:
            if not primitive.locked():
                await primitive.acquire()
            await primitive.wait()

    async def give_up():
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wait(), 0.0001)

    first, second = make_loop(), make_loop()
    first.run_until_complete(give_up())
    assert primitive._loop is first
    with pytest.raises(RuntimeError, match="is bound to a different event loop"):
        second.run_until_complete(wait())


def test_overridden_methods_are_called(library, loop):
    calls = []

    class Lock(library.Lock):
        async def acquire(self):
            calls.append("acquire")
            return await super().acquire()

        def release(self):
            calls.append("release")
            super().release()

    async def main():
        async with Lock():
            pass
        lock = library.Lock()
        lock.release = lambda: calls.append("of the object")
        async with lock:
            pass
        async with library.Condition(Lock()):
            pass

    loop.run_until_complete(main())
    assert calls == ["acquire", "release", "of the object", "acquire", "release"]


@pytest.mark.parametrize("name", ["Lock", "Event", "Semaphore", "BoundedSemaphore"])
def test_pickled(library, name):
    made = getattr(library, name)()
    made.note = "kept"
    copy = pickle.loads(pickle.dumps(made))
    assert type(copy) is type(made)
    assert copy.note == "kept"
    assert repr(copy).partition("[")[2] == repr(made).partition("[")[2]


class TestEvent:
    def test_set_wakes_all(self, library, loop):
        async def main():
            event = library.Event()
            waiting = [asyncio.ensure_future(event.wait()) for _ in range(3)]
            await asyncio.sleep(0)
            event.set()
            event.clear()
            assert await asyncio.gather(*waiting) == [True] * 3
            assert not event.is_set()
            event.set()
            assert await event.wait() is True

        loop.run_until_complete(main())


class TestSemaphore:
    def test_limits(self, library, loop):
        async def main():
            semaphore, most, now = library.Semaphore(3), 0, 0

            async def work():
                nonlocal most, now
                async with semaphore:
                    now += 1
                    most = max(most, now)
                    await asyncio.sleep(0)
                    now -= 1

            await asyncio.gather(*[work() for _ in range(20)])
            assert semaphore._value == 3
            return most

        assert loop.run_until_complete(main()) == 3

    def test_bounded(self, library, loop):
        async def main():
            semaphore = library.BoundedSemaphore(2)
            async with semaphore:
                assert semaphore._value == 1
            with pytest.raises(ValueError, match="BoundedSemaphore released too many times"):
                semaphore.release()

        loop.run_until_complete(main())

    @pytest.mark.parametrize("value", [float("inf"), 2**80])
    def test_any_number_will_do(self, library, loop, value):
        async def main():
            semaphore = library.Semaphore(value)
            async with semaphore, semaphore:
                assert not semaphore.locked()
            assert semaphore._value == value

        loop.run_until_complete(main())

    def test_negative(self, library):
        with pytest.raises(ValueError, match="Semaphore initial value must be >= 0"):
            library.Semaphore(-1)

    def test_a_cancelled_one_gives_back(self, library, loop):
        async def main():
            semaphore = library.Semaphore(1)
            await semaphore.acquire()
            first, second = (asyncio.ensure_future(semaphore.acquire()) for _ in range(2))
            await asyncio.sleep(0)
            semaphore.release()
            first.cancel()
            with pytest.raises(asyncio.CancelledError):
                await first
            assert await second
            assert semaphore._value == 0
            assert not semaphore._waiters

        loop.run_until_complete(main())


class TestCondition:
    def test_notified(self, library, loop):
        async def main():
            condition, woken = library.Condition(), []

            async def wait(number):
                async with condition:
                    assert await condition.wait() is True
                    woken.append(number)

            tasks = [asyncio.ensure_future(wait(number)) for number in range(4)]
            await asyncio.sleep(0)
            async with condition:
                condition.notify(2)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert woken == [0, 1]
            async with condition:
                condition.notify_all()
            await asyncio.gather(*tasks)
            return woken

        assert loop.run_until_complete(main()) == [0, 1, 2, 3]

    def test_wait_for(self, library, loop):
        async def main():
            condition, value = library.Condition(), []

            async def wait():
                async with condition:
                    return await condition.wait_for(lambda: value)

            task = asyncio.ensure_future(wait())
            for _ in range(3):
                await asyncio.sleep(0)
                async with condition:
                    condition.notify()
            value.append(1)
            async with condition:
                condition.notify()
            return await task

        assert loop.run_until_complete(main()) == [1]

    def test_a_predicate_that_raises(self, library, loop):
        async def main():
            condition = library.Condition()

            def predicate():
                raise StopIteration("no generator's business")

            async with condition:
                with pytest.raises(RuntimeError, match="coroutine raised StopIteration") as caught:
                    await condition.wait_for(predicate)
            assert isinstance(caught.value.__cause__, StopIteration)

        loop.run_until_complete(main())

    def test_the_lock_comes_back_whatever_happens(self, library, loop):
        async def main():
            condition = library.Condition()

            async def wait():
                async with condition:
                    await condition.wait()

            task = asyncio.ensure_future(wait())
            await asyncio.sleep(0)
            await condition.acquire()
            task.cancel()
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.sleep(0)
            assert not task.done()
            condition.release()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert not condition.locked()

        loop.run_until_complete(main())

    def test_without_the_lock(self, library, loop):
        condition = library.Condition()
        with pytest.raises(RuntimeError, match="cannot notify on un-acquired lock"):
            condition.notify()
        with pytest.raises(RuntimeError, match="cannot wait on un-acquired lock"):
            loop.run_until_complete(condition.wait())

    def test_asyncios_lock_and_the_native_one(self, library, loop):
        async def main():
            for lock in (asyncio.Lock(), ferrio.Lock()):
                condition = library.Condition(lock)
                assert condition._lock is lock
                async with condition:
                    assert lock.locked()

        loop.run_until_complete(main())


def test_cycles_are_collected(library, loop):
    class Value:
        pass

    async def main():
        value = Value()
        value.lock = library.Lock()
        value.lock.owner = value
        reference = weakref.ref(value)
        del value
        gc.collect()
        return reference()

    assert loop.run_until_complete(main()) is None


def test_hooks_are_not_left_behind(library):
    before = sys.getrefcount(library.Lock)
    for _ in range(100):
        library.Lock()
    assert sys.getrefcount(library.Lock) - before < 50
