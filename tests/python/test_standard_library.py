"""The standard library's own building blocks, unchanged, on either loop."""

import asyncio
import sys

import pytest

from turns import run_until_idle


async def give(value, delay=0):
    await asyncio.sleep(delay)
    return value


async def fail(error, delay=0):
    await asyncio.sleep(delay)
    raise error


async def hold(events, name):
    """Waits for ever, and says when it was cancelled."""
    try:
        await asyncio.get_running_loop().create_future()
    except asyncio.CancelledError:
        events.append(name)
        raise


class TestGather:
    def test_results_in_order(self, loop):
        async def main():
            return await asyncio.gather(give(1, 0.002), give(2), give(3, 0.001))

        assert loop.run_until_complete(main()) == [1, 2, 3]

    def test_nothing(self, loop):
        async def main():
            return await asyncio.gather()

        assert loop.run_until_complete(main()) == []

    def test_the_same_thing_twice(self, loop):
        async def main():
            task = asyncio.create_task(give(1))
            return await asyncio.gather(task, task)

        assert loop.run_until_complete(main()) == [1, 1]

    def test_the_first_failure(self, loop):
        async def main():
            other = asyncio.create_task(give("other"))
            with pytest.raises(ZeroDivisionError):
                await asyncio.gather(other, fail(ZeroDivisionError()))
            return await other

        assert loop.run_until_complete(main()) == "other"

    def test_failures_as_results(self, loop):
        async def main():
            return await asyncio.gather(
                give(1), fail(ZeroDivisionError("x")), return_exceptions=True
            )

        one, error = loop.run_until_complete(main())
        assert one == 1
        assert isinstance(error, ZeroDivisionError)

    def test_cancelled(self, loop):
        events = []

        async def main():
            task = asyncio.create_task(gathers())
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            task.cancel("message")
            with pytest.raises(asyncio.CancelledError):
                await task

        async def gathers():
            await asyncio.gather(hold(events, "a"), hold(events, "b"))

        loop.run_until_complete(main())
        assert events == ["a", "b"]

    def test_a_hundred(self, loop):
        async def main():
            return await asyncio.gather(*[give(number) for number in range(100)])

        assert loop.run_until_complete(main()) == list(range(100))


class TestWait:
    def test_all(self, loop):
        async def main():
            tasks = [asyncio.create_task(give(number)) for number in range(5)]
            done, pending = await asyncio.wait(tasks)
            return sorted(task.result() for task in done), pending

        assert loop.run_until_complete(main()) == ([0, 1, 2, 3, 4], set())

    def test_the_first(self, loop):
        async def main():
            quick, slow = asyncio.create_task(give(1)), asyncio.create_task(give(2, 1000))
            done, pending = await asyncio.wait([quick, slow], return_when="FIRST_COMPLETED")
            slow.cancel()
            await asyncio.wait([slow])
            return done == {quick}, pending == {slow}

        assert loop.run_until_complete(main()) == (True, True)

    def test_the_first_failure(self, loop):
        async def main():
            bad = asyncio.create_task(fail(ZeroDivisionError()))
            slow = asyncio.create_task(give(2, 1000))
            done, _ = await asyncio.wait([bad, slow], return_when="FIRST_EXCEPTION")
            slow.cancel()
            bad.exception()
            return done == {bad}

        assert loop.run_until_complete(main())
        run_until_idle(loop)

    def test_a_timeout(self, loop):
        async def main():
            slow = asyncio.create_task(give(2, 1000))
            done, pending = await asyncio.wait([slow], timeout=0.001)
            slow.cancel()
            return done, pending == {slow}

        assert loop.run_until_complete(main()) == (set(), True)
        run_until_idle(loop)

    def test_as_completed(self, clocked_loop):
        loop = clocked_loop

        async def main():
            delays = (3, 1, 2)
            return [
                await each
                for each in asyncio.as_completed([give(delay, delay) for delay in delays])
            ]

        task = loop.create_task(main())
        for _ in range(3):
            run_until_idle(loop)
            loop.advance(1)
        run_until_idle(loop)
        assert task.result() == [1, 2, 3]


class TestTimeouts:
    def test_wait_for_in_time(self, loop):
        assert loop.run_until_complete(asyncio.wait_for(give(1), 1000)) == 1
        assert loop.run_until_complete(asyncio.wait_for(give(1), None)) == 1

    def test_wait_for_too_late(self, loop):
        events = []

        async def main():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(hold(events, "cancelled"), 0.001)

        loop.run_until_complete(main())
        assert events == ["cancelled"]

    def test_wait_for_with_no_time_at_all(self, loop):
        async def main():
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(give(1), 0)
            done = loop.create_future()
            done.set_result(2)
            return await asyncio.wait_for(done, 0)

        assert loop.run_until_complete(main()) == 2

    def test_timeout(self, loop):
        async def main():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001) as scope:
                    await asyncio.sleep(1000)
            assert scope.expired()
            assert asyncio.current_task().cancelling() == 0
            async with asyncio.timeout(1000) as scope:
                await asyncio.sleep(0)
            assert not scope.expired()

        loop.run_until_complete(main())

    def test_timeout_that_is_moved(self, loop):
        async def main():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(1000) as scope:
                    scope.reschedule(loop.time() + 0.001)
                    await asyncio.sleep(1000)
            async with asyncio.timeout_at(loop.time() + 0.0005) as scope:
                scope.reschedule(None)
                await asyncio.sleep(0.001)

        loop.run_until_complete(main())

    def test_nested_timeouts(self, loop):
        async def main():
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.001):
                    try:
                        async with asyncio.timeout(1000):
                            await asyncio.sleep(1000)
                    except TimeoutError:
                        raise AssertionError("the wrong one") from None

        loop.run_until_complete(main())

    def test_a_cancellation_is_no_timeout(self, loop):
        async def main():
            async with asyncio.timeout(1000):
                await loop.create_future()

        task = loop.create_task(main())
        loop.call_soon(task.cancel)
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)


class TestTaskGroups:
    def test_waits_for_all(self, loop):
        async def main():
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(give(number)) for number in range(5)]
            return [task.result() for task in tasks]

        assert loop.run_until_complete(main()) == list(range(5))

    def test_a_failure_cancels_the_others(self, loop):
        events = []

        async def main():
            async with asyncio.TaskGroup() as group:
                group.create_task(hold(events, "cancelled"))
                group.create_task(fail(ZeroDivisionError(), 0.001))

        with pytest.raises(ExceptionGroup) as raised:
            loop.run_until_complete(main())
        assert isinstance(raised.value.exceptions[0], ZeroDivisionError)
        assert events == ["cancelled"]

    def test_a_failure_of_the_body(self, loop):
        events = []

        async def main():
            async with asyncio.TaskGroup() as group:
                group.create_task(hold(events, "cancelled"))
                await asyncio.sleep(0)
                raise KeyError

        with pytest.raises(ExceptionGroup):
            loop.run_until_complete(main())
        assert events == ["cancelled"]

    def test_cancelled_from_outside(self, loop):
        events = []

        async def main():
            async with asyncio.TaskGroup() as group:
                group.create_task(hold(events, "inner"))
                await hold(events, "body")

        task = loop.create_task(main())
        loop.call_later(0.001, task.cancel)
        with pytest.raises(asyncio.CancelledError):
            loop.run_until_complete(task)
        assert sorted(events) == ["body", "inner"]

    def test_nested(self, loop):
        async def main():
            async with asyncio.TaskGroup() as outer:
                first = outer.create_task(give(1))
                async with asyncio.TaskGroup() as inner:
                    second = inner.create_task(give(2))
                third = outer.create_task(give(3))
            return first.result(), second.result(), third.result()

        assert loop.run_until_complete(main()) == (1, 2, 3)


class TestSynchronisation:
    def test_lock_is_fair(self, loop):
        order = []

        async def use(lock, name):
            async with lock:
                order.append(name)
                await asyncio.sleep(0)

        async def main():
            lock = asyncio.Lock()
            await asyncio.gather(*[use(lock, name) for name in "abcde"])
            assert not lock.locked()

        loop.run_until_complete(main())
        assert order == list("abcde")

    def test_a_cancelled_wait_for_a_lock(self, loop):
        async def main():
            lock = asyncio.Lock()
            await lock.acquire()
            waiting = asyncio.create_task(lock.acquire())
            await asyncio.sleep(0)
            waiting.cancel()
            lock.release()
            with pytest.raises(asyncio.CancelledError):
                await waiting
            async with asyncio.timeout(1000):
                await lock.acquire()

        loop.run_until_complete(main())

    def test_semaphore(self, loop):
        inside, most = 0, 0

        async def use(semaphore):
            nonlocal inside, most
            async with semaphore:
                inside += 1
                most = max(most, inside)
                await asyncio.sleep(0)
                inside -= 1

        async def main():
            semaphore = asyncio.BoundedSemaphore(3)
            await asyncio.gather(*[use(semaphore) for _ in range(20)])
            with pytest.raises(ValueError):
                semaphore.release()

        loop.run_until_complete(main())
        assert most == 3

    def test_event(self, loop):
        async def main():
            event = asyncio.Event()
            waiting = [asyncio.create_task(event.wait()) for _ in range(5)]
            await asyncio.sleep(0)
            event.set()
            assert await asyncio.gather(*waiting) == [True] * 5
            assert await event.wait()

        loop.run_until_complete(main())

    def test_condition(self, loop):
        got = []

        async def consume(condition, items, name):
            async with condition:
                await condition.wait_for(lambda: items)
                got.append((name, items.pop(0)))

        async def main():
            condition, items = asyncio.Condition(), []
            consumers = [asyncio.create_task(consume(condition, items, name)) for name in "abc"]
            await asyncio.sleep(0)
            for item in range(3):
                async with condition:
                    items.append(item)
                    condition.notify()
            await asyncio.gather(*consumers)

        loop.run_until_complete(main())
        assert got == [("a", 0), ("b", 1), ("c", 2)]

    def test_barrier(self, loop):
        async def main():
            barrier = asyncio.Barrier(3)
            return await asyncio.gather(*[barrier.wait() for _ in range(3)])

        assert sorted(loop.run_until_complete(main())) == [0, 1, 2]


class TestQueues:
    def test_producer_and_consumer(self, loop):
        async def main():
            queue, got = asyncio.Queue(2), []

            async def produce():
                for item in range(50):
                    await queue.put(item)

            async def consume():
                while True:
                    got.append(await queue.get())
                    queue.task_done()

            consumer = asyncio.create_task(consume())
            await produce()
            await queue.join()
            consumer.cancel()
            await asyncio.wait([consumer])
            return got

        assert loop.run_until_complete(main()) == list(range(50))

    def test_priority_and_last_in_first_out(self, loop):
        async def main():
            results = []
            for queue in (asyncio.PriorityQueue(), asyncio.LifoQueue()):
                for item in (3, 1, 2):
                    queue.put_nowait(item)
                results.append([await queue.get() for _ in range(3)])
            return results

        assert loop.run_until_complete(main()) == [[1, 2, 3], [2, 1, 3]]

    def test_full_and_empty(self, loop):
        async def main():
            queue = asyncio.Queue(1)
            with pytest.raises(asyncio.QueueEmpty):
                queue.get_nowait()
            queue.put_nowait(1)
            with pytest.raises(asyncio.QueueFull):
                queue.put_nowait(2)

        loop.run_until_complete(main())

    @pytest.mark.skipif(sys.version_info < (3, 13), reason="shutdown is new in 3.13")
    def test_shutdown(self, loop):
        async def main():
            queue = asyncio.Queue()
            waiting = asyncio.create_task(queue.get())
            await asyncio.sleep(0)
            queue.shutdown()
            with pytest.raises(asyncio.QueueShutDown):
                await waiting

        loop.run_until_complete(main())


class TestShield:
    def test_the_inner_task_goes_on(self, loop):
        async def main():
            inner = asyncio.create_task(give("inner", 0.001))
            outer = asyncio.create_task(protect(inner))
            await asyncio.sleep(0)
            outer.cancel()
            with pytest.raises(asyncio.CancelledError):
                await outer
            return await inner

        async def protect(task):
            return await asyncio.shield(task)

        assert loop.run_until_complete(main()) == "inner"

    def test_a_lost_failure_behind_a_shield_is_reported(self, loop, reports):
        import gc

        async def main():
            outer = asyncio.shield(fail(ZeroDivisionError(), 0.001))
            await asyncio.sleep(0)
            outer.cancel()
            await asyncio.sleep(0.003)

        loop.run_until_complete(main())
        gc.collect()
        assert any(isinstance(report["exception"], ZeroDivisionError) for report in reports.take())


def test_sleep(loop):
    async def main():
        before = loop.time()
        assert await asyncio.sleep(0.002, "result") == "result"
        assert loop.time() - before >= 0.002
        assert await asyncio.sleep(0, "at once") == "at once"
        assert await asyncio.sleep(-1, "negative") == "negative"
        await asyncio.sleep(0)

    loop.run_until_complete(main())


def test_sleep_that_is_cancelled_leaves_no_timer(loop):
    task = loop.create_task(asyncio.sleep(1000))
    loop.call_soon(task.cancel)
    with pytest.raises(asyncio.CancelledError):
        loop.run_until_complete(task)
    # The fixture looks for timers that are left.


@pytest.mark.skipif(sys.version_info < (3, 13), reason="refused from 3.13")
def test_not_a_number_of_seconds(loop):
    async def main():
        with pytest.raises(ValueError):
            await asyncio.sleep(float("nan"))

    loop.run_until_complete(main())
