"""``Barrier``: asyncio's and the native one alike."""

import asyncio
import contextlib
import gc
import inspect
import weakref

import pytest

import ferrio
from watch import collecting_all_the_time

pytest_plugins = ["library_fixtures"]


@pytest.fixture(params=["plain", "derived"])
def make(request, library):
    """Make a barrier, of the class itself or of one derived from it."""

    class Derived(library.Barrier):
        pass

    return {"plain": library.Barrier, "derived": Derived}[request.param]


def test_identity(library, make):
    made = make(3)
    assert isinstance(made, asyncio.Barrier)
    assert isinstance(made, library.Barrier)
    assert weakref.ref(made)() is made
    made.anything = 1
    assert made.__dict__["anything"] == 1
    assert (made.parties, made.n_waiting, made.broken) == (3, 0, False)
    assert (made._parties, made._count, made._state.value) == (3, 0, "filling")
    assert isinstance(made._cond, asyncio.Condition)
    for name in ("parties", "n_waiting", "broken"):
        with pytest.raises(AttributeError):
            setattr(made, name, 1)


def test_signatures_are_asyncios():
    for name in ("wait", "reset", "abort", "__aenter__", "__aexit__"):
        native, original = getattr(ferrio.Barrier, name), getattr(asyncio.Barrier, name)
        assert inspect.signature(native) == inspect.signature(original)
        assert inspect.iscoroutinefunction(native)


def test_how_many(make):
    for number in (0, -1, 0.5):
        with pytest.raises(ValueError, match="parties must be (> 0|>= 1)$"):
            make(number)
    with pytest.raises(TypeError):
        make("1")
    with pytest.raises(TypeError):
        make()
    assert make(parties=2).parties == 2


def test_all_go_on_together(make, loop):
    order = []

    async def come(barrier, name):
        await asyncio.sleep(0)
        order.append(f"{name} comes")
        index = await barrier.wait()
        order.append("goes")
        return index

    async def main():
        barrier = make(3)
        for _ in range(2):
            order.clear()
            indices = await asyncio.gather(*[come(barrier, name) for name in "abc"])
            assert sorted(indices) == [0, 1, 2]
            assert order[:3] == ["a comes", "b comes", "c comes"]
            assert order[3:] == ["goes"] * 3
            assert repr(barrier).endswith(" [filling, waiters:0/3]>")
        assert await make(1).wait() == 0

    loop.run_until_complete(main())


def test_representations(library, loop):
    async def main():
        barrier = library.Barrier(2)
        shown = f"<asyncio.locks.Barrier object at {id(barrier):#x} [filling, waiters:0/2]>"
        assert repr(barrier) == shown
        task = asyncio.ensure_future(barrier.wait())
        await asyncio.sleep(0)
        assert repr(barrier).endswith(" [filling, waiters:1/2]>")
        assert barrier.n_waiting == 1
        await barrier.abort()
        assert repr(barrier).endswith(" [broken]>")
        with pytest.raises(asyncio.BrokenBarrierError, match="Abort or reset of barrier"):
            await task
        with pytest.raises(asyncio.BrokenBarrierError, match="Barrier aborted"):
            await barrier.wait()
        await barrier.reset()
        assert not barrier.broken

    loop.run_until_complete(main())


def test_reset(make, loop):
    async def main():
        barrier = make(3)
        tasks = [asyncio.ensure_future(barrier.wait()) for _ in range(2)]
        await asyncio.sleep(0)
        await barrier.reset()
        # Who comes while the others are leaving waits for them first.
        late = [asyncio.ensure_future(barrier.wait()) for _ in range(3)]
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert [type(result) for result in results] == [asyncio.BrokenBarrierError] * 2
        assert sorted(await asyncio.gather(*late)) == [0, 1, 2]

    loop.run_until_complete(main())


def test_a_cancelled_one_is_not_counted(make, loop):
    async def main():
        barrier = make(2)
        task = asyncio.ensure_future(barrier.wait())
        await asyncio.sleep(0)
        assert barrier._count == 1
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert barrier._count == 0
        assert not barrier._cond.locked()
        tasks = [asyncio.ensure_future(barrier.wait()) for _ in range(2)]
        assert sorted(await asyncio.gather(*tasks)) == [0, 1]

    loop.run_until_complete(main())


def test_as_a_context_manager(make, loop):
    async def come(barrier):
        async with barrier as index:
            return index

    async def main():
        barrier = make(3)
        assert sorted(await asyncio.gather(*[come(barrier) for _ in range(3)])) == [0, 1, 2]

    loop.run_until_complete(main())


def test_a_subclass_keeps_its_methods(library, loop):
    calls = []

    class Mine(library.Barrier):
        async def _block(self):
            calls.append("block")
            await super()._block()

        async def _release(self):
            calls.append("release")
            await super()._release()

        async def _wait(self):
            calls.append("wait")
            await super()._wait()

        def _exit(self):
            calls.append("exit")
            super()._exit()

    async def main():
        barrier = Mine(2)
        assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]

    loop.run_until_complete(main())
    assert calls == ["block", "wait", "block", "release", "exit", "exit"]


def test_closed_where_it_waits(make, loop):
    async def main():
        barrier = make(2)
        task = asyncio.ensure_future(barrier.wait())
        await asyncio.sleep(0)
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
        coroutine = barrier.wait()
        coroutine.close()
        assert barrier._count == 0

    loop.run_until_complete(main())


def test_closed_while_somebody_holds_the_lock(make, loop):
    """It cannot wait for the lock, so close() fails; but it is not one of the tasks any more."""

    async def main():
        barrier = make(2)
        coroutine = barrier.wait()
        coroutine.send(None)
        assert barrier.n_waiting == 1
        await barrier._cond.acquire()
        with pytest.raises(RuntimeError, match="coroutine ignored GeneratorExit"):
            coroutine.close()
        assert barrier._count == 0
        assert barrier.n_waiting == 0
        coroutine.close()
        # As asyncio's does, it has let go of the lock that it does not hold.
        assert not barrier._cond.locked()
        del coroutine
        # And it stands in nobody's list: the next one gets the lock at once.
        await asyncio.wait_for(barrier._cond.acquire(), 10)
        barrier._cond.release()
        assert sorted(await asyncio.gather(barrier.wait(), barrier.wait())) == [0, 1]

    loop.run_until_complete(main())


def test_a_cycle_is_collected(make):
    barrier = make(2)
    barrier.itself = barrier
    reference = weakref.ref(barrier)
    del barrier
    gc.collect()
    assert reference() is None


def test_collecting_all_the_time(make, loop):
    async def main():
        barrier = make(3)
        await asyncio.gather(*[barrier.wait() for _ in range(9)])

    with collecting_all_the_time():
        loop.run_until_complete(main())
