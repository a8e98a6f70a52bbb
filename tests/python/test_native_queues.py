"""``Queue``, ``LifoQueue`` and ``PriorityQueue``: asyncio's and the native ones alike."""

import asyncio
import collections
import heapq
import pickle
import sys
import weakref

import pytest

pytest_plugins = ["library_fixtures"]

NAMES = ("Queue", "LifoQueue", "PriorityQueue")


@pytest.mark.parametrize("name", NAMES)
def test_identity(library, name):
    class Derived(getattr(library, name)):
        pass

    for made in (getattr(library, name)(2), Derived(maxsize=2)):
        assert isinstance(made, getattr(asyncio, name))
        assert isinstance(made, asyncio.Queue)
        assert weakref.ref(made)() is made
        assert made.maxsize == 2
    assert issubclass(getattr(library, name), library.Queue)
    assert library.Queue[int].__origin__ is library.Queue


@pytest.mark.parametrize(
    ("name", "order"),
    [("Queue", [3, 1, 2]), ("LifoQueue", [2, 1, 3]), ("PriorityQueue", [1, 2, 3])],
)
def test_order(library, loop, name, order):
    async def main():
        queue = getattr(library, name)()
        for item in (3, 1, 2):
            await queue.put(item)
        assert (queue.qsize(), queue.empty(), queue.full()) == (3, False, False)
        return [await queue.get() for _ in range(3)]

    assert loop.run_until_complete(main()) == order


@pytest.mark.parametrize("name", NAMES)
def test_queue_is_what_it_is_in_asyncio(library, loop, name):
    async def main():
        queue = getattr(library, name)()
        for item in (3, 1, 2):
            queue.put_nowait(item)
        kind = collections.deque if name == "Queue" else list
        assert type(queue._queue) is kind
        assert sorted(queue._queue) == [1, 2, 3]
        items = queue._queue
        items.append(9)
        assert queue.qsize() == 4
        assert queue._queue is items
        queue.put_nowait(4)
        assert 4 in items
        queue._queue.clear()
        assert queue.empty()
        queue._queue = kind([7])
        return await queue.get()

    assert loop.run_until_complete(main()) == 7


def test_representations(library, loop):
    async def main():
        queue = library.Queue(3)
        assert str(queue) == "<Queue maxsize=3>"
        queue.put_nowait("x")
        assert repr(queue) == f"<Queue at {id(queue):#x} maxsize=3 _queue=['x'] tasks=1>"
        assert str(library.PriorityQueue()) == "<PriorityQueue maxsize=0>"
        queue = library.Queue(1)
        getter = asyncio.ensure_future(queue.get())
        await asyncio.sleep(0)
        assert str(queue) == "<Queue maxsize=1 _getters[1]>"
        await queue.put(1)
        await queue.put(2)
        putter = asyncio.ensure_future(queue.put(3))
        await getter
        assert str(queue).startswith("<Queue maxsize=1 _queue=[2]")
        queue.get_nowait()
        await putter

    loop.run_until_complete(main())


def test_waiting_on_both_sides(library, loop):
    async def main():
        queue, received = library.Queue(2), []

        async def produce():
            for number in range(50):
                await queue.put(number)

        async def consume():
            for _ in range(50):
                received.append(await queue.get())
                queue.task_done()

        producing, consuming = asyncio.ensure_future(produce()), asyncio.ensure_future(consume())
        await asyncio.gather(producing, consuming)
        await queue.join()
        assert (queue._unfinished_tasks, queue._finished.is_set()) == (0, True)
        with pytest.raises(ValueError, match=r"task_done\(\) called too many times"):
            queue.task_done()
        return received

    assert loop.run_until_complete(main()) == list(range(50))


def test_who_waits_is_woken_by_what_need_not_wait(library, loop):
    async def main():
        queue, received = library.Queue(1), []

        async def consume():
            received.append(await queue.get())

        async def produce(item):
            await queue.put(item)
            received.append(queue.qsize())

        consuming = [asyncio.ensure_future(consume()) for _ in range(2)]
        await asyncio.sleep(0)
        assert len(queue._getters) == 2
        await queue.put("first")
        await consuming[0]
        await queue.put("second")
        await consuming[1]
        await queue.put("third")
        producing = asyncio.ensure_future(produce("fourth"))
        await asyncio.sleep(0)
        assert len(queue._putters) == 1
        received.append(await queue.get())
        await producing
        received.append(await queue.get())
        return received

    assert loop.run_until_complete(main()) == ["first", "second", "third", 1, "fourth"]


def test_items_that_a_program_has_looked_at(library, loop):
    async def main():
        queue = library.Queue()
        await queue.put(1)
        queue._queue.append(2)
        await queue.put(3)
        queue._queue.appendleft(0)
        return [await queue.get() for _ in range(4)], list(queue._queue)

    assert loop.run_until_complete(main()) == ([0, 1, 2, 3], [])


def test_arguments(library, loop):
    async def main():
        queue = library.Queue()
        await queue.put(item=1)
        await library.Queue.put(queue, 2)
        await library.Queue.put(queue, item=3)
        await library.Queue.put(self=queue, item=4)
        taken = [
            await queue.get(),
            await library.Queue.get(queue),
            await library.Queue.get(self=queue),
        ]
        for wrong in (
            lambda: queue.put(),
            lambda: queue.put(1, 2),
            lambda: queue.put(other=1),
            lambda: queue.put(1, item=1),
            lambda: queue.get(1),
            lambda: queue.get(item=1),
            lambda: library.Queue.get(),
            lambda: library.Queue.put(queue),
        ):
            with pytest.raises(TypeError, match=r"Queue\.(put|get)\(\)"):
                wrong()
        return taken, queue.qsize()

    assert loop.run_until_complete(main()) == ([1, 2, 3], 1)


def test_nowait(library):
    queue = library.Queue(1)
    with pytest.raises(asyncio.QueueEmpty):
        queue.get_nowait()
    queue.put_nowait(1)
    with pytest.raises(asyncio.QueueFull):
        queue.put_nowait(2)
    assert queue.get_nowait() == 1


def test_a_cancelled_getter_hands_on(library, loop):
    async def main():
        queue = library.Queue()
        first, second = (asyncio.ensure_future(queue.get()) for _ in range(2))
        await asyncio.sleep(0)
        assert len(queue._getters) == 2
        queue.put_nowait("item")
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await second == "item"
        assert not queue._getters

    loop.run_until_complete(main())


def test_a_cancelled_putter_hands_on(library, loop):
    async def main():
        queue = library.Queue(1)
        queue.put_nowait(0)
        first, second = (asyncio.ensure_future(queue.put(number)) for number in (1, 2))
        await asyncio.sleep(0)
        assert len(queue._putters) == 2
        assert queue.get_nowait() == 0
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        await second
        assert queue.get_nowait() == 2
        assert not queue._putters

    loop.run_until_complete(main())


def test_hooks(library, loop):
    class Unique(library.Queue):
        def _init(self, maxsize):
            self.sizes = [maxsize]
            self._queue = set()

        def _put(self, item):
            self._queue.add(item)

        def _get(self):
            item = min(self._queue)
            self._queue.remove(item)
            return item

    async def main():
        queue = Unique(5)
        for item in (3, 1, 3, 2):
            await queue.put(item)
        assert queue.qsize() == 3
        assert queue.sizes == [5]
        return [await queue.get() for _ in range(3)]

    assert loop.run_until_complete(main()) == [1, 2, 3]


def test_hooks_that_call_the_bases(library, loop):
    class Logged(library.PriorityQueue):
        def _put(self, item):
            log.append(("put", item))
            super()._put(item)

        def _get(self):
            item = super()._get()
            log.append(("get", item))
            return item

    async def main():
        queue = Logged()
        for item in (2, 1):
            await queue.put(item)
        assert queue._queue == [1, 2]
        heapq.heapify(queue._queue)
        return [await queue.get(), queue.get_nowait()]

    log = []
    assert loop.run_until_complete(main()) == [1, 2]
    assert log == [("put", 2), ("put", 1), ("get", 1), ("get", 2)]


def test_overridden_methods_are_called(library, loop):
    class Queue(library.Queue):
        def get_nowait(self):
            return "mine", super().get_nowait()

        def full(self):
            return False

    async def main():
        queue = Queue(1)
        await queue.put(1)
        await queue.put(2)
        return await queue.get()

    assert loop.run_until_complete(main()) == ("mine", 1)


@pytest.mark.parametrize("name", NAMES)
def test_pickled(library, name):
    queue = getattr(library, name)(7)
    for item in (2, 1):
        queue.put_nowait(item)
    copy = pickle.loads(pickle.dumps(queue))
    assert type(copy) is type(queue)
    assert str(copy) == str(queue)
    assert copy.get_nowait() == queue.get_nowait()


@pytest.mark.skipif(sys.version_info < (3, 13), reason="came with 3.13")
class TestShutdown:
    def test_the_rest_can_be_had(self, library, loop):
        async def main():
            queue = library.Queue()
            queue.put_nowait(1)
            queue.shutdown()
            assert str(queue) == "<Queue maxsize=0 _queue=[1] tasks=1 shutdown>"
            with pytest.raises(asyncio.QueueShutDown):
                await queue.put(2)
            assert await queue.get() == 1
            with pytest.raises(asyncio.QueueShutDown):
                await queue.get()

        loop.run_until_complete(main())

    def test_everybody_is_woken(self, library, loop):
        async def main():
            empty, full = library.Queue(), library.Queue(1)
            full.put_nowait(1)
            tasks = [
                asyncio.ensure_future(each) for each in (empty.get(), full.put(2), full.join())
            ]
            await asyncio.sleep(0)
            empty.shutdown()
            full.shutdown(immediate=True)
            outcomes = await asyncio.gather(*tasks, return_exceptions=True)
            return [type(outcome) for outcome in outcomes]

        expected = [asyncio.QueueShutDown, asyncio.QueueShutDown, type(None)]
        assert loop.run_until_complete(main()) == expected


@pytest.mark.skipif(sys.version_info >= (3, 13), reason="came with 3.13")
def test_no_shutdown_yet(library):
    assert not hasattr(library.Queue, "shutdown")
