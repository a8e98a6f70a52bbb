"""Tasks that wait for queues, events and the like that only they know; timeouts from elsewhere."""

import asyncio
import functools
import re
import sys

import pytest

import ferrio
from deadlock_programs import LIBRARIES, run_alone, told, until

__all__ = ["told"]


def run_stuck(told, make, library, words=None):
    """Run the coroutine functions that ``make`` gives, wait for a report, and return it."""

    async def main():
        # Nobody but the tasks has what they wait for: not this one's frame, either.
        tasks = [
            asyncio.create_task(function(), name=name) for name, function in make(library).items()
        ]
        started = asyncio.get_running_loop().time()
        await until(told)
        assert asyncio.get_running_loop().time() - started > 0.9
        for task in tasks:
            assert not task.done()
            task.cancel()
        await ferrio.wait(tasks)

    ferrio.run(main(), strict=True)
    (message,) = told()
    assert message.startswith(words or "suspected deadlock: 2 tasks wait for each other\n")
    return message


def queues(library):
    first, second = library.Queue(), library.Queue()

    async def one():
        await first.get()
        second.put_nowait(1)

    async def other():
        await second.get()
        first.put_nowait(1)

    return {"one": one, "other": other}


def full_queues(library):
    first, second = library.Queue(1), library.Queue(1)

    async def one():
        await second.put(1)
        await second.put(2)
        await first.get()

    async def other():
        await first.put(1)
        await first.put(2)
        await second.get()

    return {"one": one, "other": other}


def events(library):
    first, second = library.Event(), library.Event()

    async def one():
        await first.wait()
        second.set()

    async def other():
        await second.wait()
        first.set()

    return {"one": one, "other": other}


def semaphores(library):
    first, second = library.Semaphore(1), library.Semaphore(1)

    async def one():
        async with first:
            await ferrio.sleep(0)
            async with second:
                pass

    async def other():
        async with second:
            await ferrio.sleep(0)
            async with first:
                pass

    return {"one": one, "other": other}


def conditions(library):
    first, second = library.Condition(), library.Condition()

    async def one():
        async with first:
            await first.wait()
        async with second:
            second.notify()

    async def other():
        async with second:
            await second.wait()
        async with first:
            first.notify()

    return {"one": one, "other": other}


def a_lock_and_an_event(library):
    lock, event = library.Lock(), library.Event()

    async def one():
        async with lock:
            await event.wait()

    async def other():
        await ferrio.sleep(0)
        async with lock:
            event.set()

    return {"one": one, "other": other}


def a_join(library):
    queue = library.Queue()

    async def one():
        for number in range(3):
            queue.put_nowait(number)
        await queue.join()
        queue.put_nowait(None)

    async def other():
        # It forgets task_done().
        while await queue.get() is not None:
            pass

    return {"one": one, "other": other}


@LIBRARIES
@pytest.mark.parametrize(
    "make",
    [queues, full_queues, events, semaphores, conditions, a_lock_and_an_event, a_join],
    ids=lambda make: make.__name__.replace("_", " "),
)
def test_what_only_the_other_one_could_change(told, make, library):
    message = run_stuck(told, make, library)
    _, one, other = message.splitlines()
    for line, name in ((one, "one"), (other, "other")):
        assert re.search(
            rf"task \d+ {name} \(.*\) waits for .*, which (only task \d+ might end|task \d+ other "
            r"has|task \d+ one has), since \d\.\d s, at .*test_suspected_deadlocks\.py:\d+ in ",
            line,
        ), line


@LIBRARIES
def test_a_queue_that_only_its_own_task_could_empty(told, library):
    def make(library):
        queue = library.Queue(1)

        async def alone():
            await queue.put(1)
            await queue.put(2)
            return queue.get_nowait()

        return {"alone": alone}

    words = "suspected deadlock: a task waits for itself\n"
    message = run_stuck(told, make, library, words)
    assert re.search(r"waits for room in <Queue at .*>, which nobody else knows, since", message)


def test_who_waits_for_a_task_that_needs_it(told):
    async def main():
        queue = ferrio.Queue()

        async def consume():
            await queue.get()

        async with ferrio.timeout(None):
            await asyncio.create_task(consume(), name="consumer")
        queue.put_nowait(1)

    async def around():
        task = asyncio.create_task(main(), name="main")
        await until(told)
        task.cancel()
        await ferrio.wait([task])

    ferrio.run(around(), strict=True)
    (message,) = told()
    assert "main (" in message
    assert "waits for task consumer since" in message
    assert re.search(r"consumer .* waits for an item of <Queue .*, which only task \d+ ", message)


def told_within(told, main):
    """What is told of while ``main`` runs."""
    ferrio.run(main(), strict=True)
    return told()


IN_VAIN = 1.6


@LIBRARIES
def test_what_somebody_else_may_change(told, library):
    class Holder:
        pass

    async def main():
        holder = Holder()
        pairs = [make(library) for make in (queues, events, conditions)]
        tasks = [asyncio.create_task(function()) for pair in pairs for function in pair.values()]
        # This task, which a timer wakes, could end it.
        holder.pairs = pairs
        await ferrio.sleep(IN_VAIN)
        for task in tasks:
            task.cancel()
        await ferrio.wait(tasks)

    assert told_within(told, main) == []


@LIBRARIES
def test_workers_that_have_nothing_to_do(told, library):
    async def main():
        queue = library.Queue()
        stop = library.Event()

        async def work():
            while True:
                await queue.get()
                queue.task_done()

        async def supervise():
            asyncio.get_running_loop().call_later(IN_VAIN, stop.set)
            workers = [asyncio.create_task(work()) for _ in range(3)]
            await stop.wait()
            for worker in workers:
                worker.cancel()

        await supervise()

    assert told_within(told, main) == []


@LIBRARIES
def test_a_program_that_waits_to_be_cancelled(told, library):
    async def main():
        async def for_ever():
            await library.Event().wait()

        tasks = [asyncio.create_task(for_ever()) for _ in range(2)]
        await ferrio.sleep(IN_VAIN)
        for task in tasks:
            task.cancel()
        await ferrio.wait(tasks)

    assert told_within(told, main) == []


@LIBRARIES
def test_a_protocol_that_puts_what_arrives(told, library):
    async def main():
        queue = library.Queue()
        loop = asyncio.get_running_loop()

        class Receiver(asyncio.Protocol):
            def data_received(self, data):
                queue.put_nowait(data)

        async def consume(answer):
            await queue.get()
            answer.set()

        async def serve():
            answer = library.Event()
            consumer = asyncio.create_task(consume(answer))
            server = await loop.create_server(Receiver, "127.0.0.1", 0)
            address = server.sockets[0].getsockname()
            transport, _ = await loop.create_connection(asyncio.Protocol, *address)
            loop.call_later(IN_VAIN, transport.write, b"at last")
            await answer.wait()
            await consumer
            transport.close()
            server.close()

        await serve()

    assert told_within(told, main) == []


def test_a_future_or_a_foreign_task_may_end_it(told):
    async def main():
        loop = asyncio.get_running_loop()
        event = ferrio.Event()

        async def later():
            await ferrio.sleep(IN_VAIN)
            event.set()

        foreign = asyncio.Task(later(), loop=loop)

        async def wait():
            await event.wait()

        await ferrio.gather(wait(), wait(), foreign)

    assert told_within(told, main) == []


@LIBRARIES
def test_one_that_a_timeout_ends(told, library):
    async def main():
        first, second = library.Queue(), library.Queue()

        async def one():
            with pytest.raises(TimeoutError):
                async with library.timeout(IN_VAIN):
                    await first.get()
            second.put_nowait(1)

        async def other():
            await second.get()

        await ferrio.gather(one(), other())

    assert told_within(told, main) == []


NEEDS_WAIT_FOR = pytest.mark.skipif(
    sys.version_info < (3, 12), reason="wait_for makes another task of what it waits for"
)


@LIBRARIES
@NEEDS_WAIT_FOR
def test_strict_mode_leaves_a_wait_for_its_timeout(told, library):
    async def main():
        lock = ferrio.Lock()
        async with lock:
            with pytest.raises(TimeoutError):
                await library.wait_for(lock.acquire(), 0.05)

    assert told_within(told, main) == []


def two_in_a_cycle(limit):
    """Two tasks that wait for each other's lock, the first of them within ``limit()``."""
    first, second = ferrio.Lock(), ferrio.Lock()

    async def one():
        async with first:
            await ferrio.sleep(0)
            try:
                with limit():
                    async with second:
                        pass
            except TimeoutError:
                return "late"

    async def other():
        async with second:
            await ferrio.sleep(0)
            async with first:
                return "had both"

    return one, other


def test_strict_mode_and_a_timeout_of_another_member(told):
    first, second = ferrio.Lock(), ferrio.Lock()

    async def one():
        async with first:
            await ferrio.sleep(0)
            with pytest.raises(TimeoutError):
                async with ferrio.timeout(0.05), second:
                    pass

    async def other():
        async with second:
            await ferrio.sleep(0)
            async with first:
                return "had both"

    async def main():
        assert (await ferrio.gather(one(), other()))[1] == "had both"

    assert told_within(told, main) == []


def test_strict_mode_and_anyios_cancel_scopes(told):
    anyio = pytest.importorskip("anyio")
    one, other = two_in_a_cycle(lambda: anyio.fail_after(0.05))

    async def main():
        # Each of the two goes on, because the first one's time was limited.
        assert await ferrio.gather(one(), other()) == ["late", "had both"]

    assert told_within(told, main) == []


class Limit:
    """A library's own timeout, as several have one."""

    def __init__(self, seconds):
        self.task = asyncio.current_task()
        self.expired = False
        self.timer = asyncio.get_running_loop().call_later(seconds, self.expire)

    def expire(self):
        self.expired = True
        self.task.cancel()

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.timer.cancel()
        if kind is asyncio.CancelledError and self.expired:
            self.task.uncancel()
            raise TimeoutError


def test_strict_mode_and_a_librarys_own_timeouts(told):
    one, other = two_in_a_cycle(lambda: Limit(0.05))

    async def main():
        assert await ferrio.gather(one(), other()) == ["late", "had both"]

    assert told_within(told, main) == []


def test_a_timer_of_somebody_else_does_not_make_it_uncertain(told):
    async def main():
        asyncio.get_running_loop().call_later(50, print)
        lock = ferrio.Lock()
        async with lock:
            with pytest.raises(ferrio.DeadlockError):
                async with lock:
                    pass

    assert len(told_within(told, main)) == 1


# What everybody may get at, as most programs have their locks.
shared = {}


def nested_semaphore(library):
    shared["slots"] = library.Semaphore(2)

    async def fetch(depth):
        async with shared["slots"]:
            if depth:
                # The other one has the other slot, and wants one more as well.
                await ferrio.sleep(0)
                await fetch(depth - 1)

    async def one():
        await fetch(1)

    async def other():
        await fetch(1)

    return {"one": one, "other": other}


def each_within_the_other():
    """Two tasks, of which each is in a section of what is shared and wants into the other's."""

    async def take(outer, inner):
        async with shared[outer]:
            await ferrio.sleep(0)
            async with shared[inner]:
                pass

    return {
        "one": functools.partial(take, "first", "second"),
        "other": functools.partial(take, "second", "first"),
    }


def bounded_semaphores(library):
    shared["first"] = library.BoundedSemaphore(1)
    shared["second"] = library.BoundedSemaphore(1)
    return each_within_the_other()


def locks_of_asyncio(_):
    shared["first"], shared["second"] = asyncio.Lock(), asyncio.Lock()
    return each_within_the_other()


@LIBRARIES
@pytest.mark.parametrize(
    "make",
    [nested_semaphore, bounded_semaphores, locks_of_asyncio],
    ids=lambda make: make.__name__.replace("_", " "),
)
def test_what_everybody_may_get_at_is_up_to_those_in_its_sections(told, make, library):
    words = "suspected deadlock: "
    message = run_stuck(told, make, library, words)
    # The line of the program, whoever's class it is.
    assert re.search(
        r"which .*, since \d\.\d s, at .*test_suspected_deadlocks\.py:\d+ in ", message
    )


@LIBRARIES
def test_a_semaphore_that_its_own_task_has(told, library):
    def make(library):
        shared["only"] = library.Semaphore(1)

        async def alone():
            async with shared["only"]:
                await shared["only"].acquire()

        return {"alone": alone}

    message = run_stuck(told, make, library, "suspected deadlock: a task waits for itself\n")
    assert re.search(r"waits for semaphore <.*>, which it has itself, since", message)


@LIBRARIES
def test_sections_that_come_to_their_end(told, library):
    async def main():
        slots = library.Semaphore(1)
        lock = library.Lock()

        async def work():
            async with slots, lock:
                await ferrio.sleep(IN_VAIN / 2)

        await ferrio.gather(*(work() for _ in range(3)))

    assert told_within(told, main) == []


def test_a_semaphore_that_somebody_has_without_a_section(told):
    async def main():
        slots = ferrio.Semaphore(2)

        async def hold():
            await slots.acquire()
            await ferrio.sleep(IN_VAIN)
            slots.release()

        async def nested():
            async with slots, slots:
                pass

        holder = asyncio.create_task(hold())
        await ferrio.sleep(0)
        await nested()
        await holder

    assert told_within(told, main) == []


def test_a_semaphore_by_which_others_tell_of_something(told):
    async def main():
        told_of = ferrio.Semaphore(0)
        told_of.release()

        async def nested():
            async with told_of, told_of:
                pass

        asyncio.get_running_loop().call_later(IN_VAIN, told_of.release)
        await nested()

    assert told_within(told, main) == []


ALONE = """
import asyncio, signal
import ferrio

async def main():
    print("ready", flush=True)
    {waits}

signal.signal(signal.SIGALRM, signal.default_int_handler)
try:
    ferrio.run(main())
except KeyboardInterrupt:
    pass
"""


@pytest.mark.parametrize("library", ["asyncio", "ferrio"])
def test_nothing_can_wake_is_told_at_once_and_once(library):
    program = ALONE.format(waits=f"await {library}.Event().wait()")
    # The look that comes a second later has nothing to add.
    message = run_alone(program, until="deadlock", seconds=2)
    assert message.startswith("deadlock: 1 task waits and nothing can wake the loop")
    assert message.count("deadlock") == 1


def test_a_timer_beside_the_look_may_wake_it():
    waits = "asyncio.get_running_loop().call_later(30, print); await ferrio.Event().wait()"
    assert run_alone(ALONE.format(waits=waits), seconds=0.4) == ""
