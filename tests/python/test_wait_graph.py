"""Tasks that wait for each other: what is reported, and what strict mode raises."""

import asyncio
import gc
import re

import pytest

import ferrio
from deadlock_programs import LIBRARIES, run_alone, told, until

__all__ = ["told"]

SITE = r"at .*test_wait_graph\.py:\d+ in \S+; made at .*test_wait_graph\.py:\d+ in \S+"


async def acquire_again():
    lock = ferrio.Lock()
    async with lock, lock:
        pass


def two_locks():
    first, second = ferrio.Lock(), ferrio.Lock()

    async def one_way():
        async with first:
            await ferrio.sleep(0)
            async with second:
                pass

    async def other_way():
        async with second:
            await ferrio.sleep(0)
            async with first:
                pass

    return one_way, other_way


def test_a_lock_acquired_again_is_an_error_in_strict_mode(told):
    with pytest.raises(
        ferrio.DeadlockError, match="^deadlock: a task waits for itself\n"
    ) as caught:
        ferrio.run(acquire_again(), strict=True)
    assert isinstance(caught.value, RuntimeError)
    assert told() == [str(caught.value)]
    assert re.fullmatch(
        "deadlock: a task waits for itself\n"
        r"  task \d+ Task-\d+ \(acquire_again\) waits for lock <asyncio\.locks\.Lock object at "
        rf"\w+ \[locked\]>, which it has itself, since \d\.\d s, {SITE}",
        told()[0],
    )


def test_without_strict_mode_it_is_reported_at_once_and_waits(told):
    async def main():
        task = asyncio.create_task(acquire_again())
        await ferrio.sleep(0)
        assert len(told()) == 1
        assert not task.done()
        task.cancel()

    ferrio.run(main())
    assert len(told()) == 1


def test_strict_mode_by_the_environment(monkeypatch):
    monkeypatch.setenv("FERRIO_STRICT", "1")
    with pytest.raises(ferrio.DeadlockError):
        ferrio.run(acquire_again())


def test_two_tasks_that_take_two_locks_in_different_order(told):
    one_way, other_way = two_locks()

    async def main():
        tasks = [
            asyncio.create_task(one_way(), name="one"),
            asyncio.create_task(other_way(), name="other"),
        ]
        return await ferrio.gather(*tasks, return_exceptions=True)

    first, second = ferrio.run(main(), strict=True)
    # The one that would have closed the cycle gives way, and the other goes on.
    assert first is None
    assert isinstance(second, ferrio.DeadlockError)
    (message,) = told()
    assert message == str(second)
    headline, *lines = message.splitlines()
    assert headline == "deadlock: 2 tasks wait for each other"
    for line, name, other in zip(lines, ("one", "other"), ("other", "one"), strict=True):
        assert re.fullmatch(
            rf"  task \d+ {name} \(two_locks\.<locals>\.{name}_way\) waits for lock <asyncio\.locks"
            rf"\.Lock object at \w+ \[locked(, waiters:1)?\]>, which task \d+ {other} has, "
            rf"since \d\.\d s, {SITE}",
            line,
        )


def test_a_child_that_waits_for_its_group(told):
    async def child(parent):
        await ferrio.sleep(0)
        await parent

    async def main():
        async with ferrio.TaskGroup() as group:
            group.create_task(child(asyncio.current_task()), name="child")

    with pytest.raises(ExceptionGroup) as caught:
        ferrio.run(main(), strict=True)
    assert isinstance(caught.value.exceptions[0], ferrio.DeadlockError)
    (message,) = told()
    assert "waits for the tasks of <TaskGroup tasks=1 entered> since" in message
    assert re.search(r"\n  task \d+ child \(.*child\) waits for task Task-\d+ since", message)


def test_a_group_whose_child_waits_for_it_already(told):
    async def child(parent):
        try:
            await parent
        except ferrio.DeadlockError:
            return "heard"

    async def main():
        async with ferrio.TaskGroup() as group:
            children.append(group.create_task(child(asyncio.current_task()), name="child"))
            await ferrio.sleep(0)

    async def around():
        task = asyncio.create_task(main())
        await ferrio.wait([task])
        assert isinstance(task.exception(), ferrio.DeadlockError)
        assert await children[0] == "heard"

    children = []
    ferrio.run(around(), strict=True)
    assert len(told()) == 1


def test_tasks_that_join_each_other(told):
    async def join(others, name):
        await ferrio.sleep(0)
        await others[name]

    async def main():
        others = {}
        for name, other in (("a", "b"), ("b", "c"), ("c", "a")):
            others[name] = asyncio.create_task(join(others, other), name=name)
        return await ferrio.gather(*others.values(), return_exceptions=True)

    outcomes = ferrio.run(main(), strict=True)
    # The third closes the cycle, and the others are told by its end.
    assert [type(outcome) for outcome in outcomes] == [ferrio.DeadlockError] * 3
    (message,) = told()
    assert message.startswith("deadlock: 3 tasks wait for each other\n")


def test_a_bare_acquire_is_only_suspected_and_after_a_second(told):
    async def main():
        lock = ferrio.Lock()
        await lock.acquire()
        begun = asyncio.get_running_loop().time()
        waiting = asyncio.create_task(twice(lock), name="twice")
        await until(told)
        assert asyncio.get_running_loop().time() - begun > 0.9
        assert not waiting.done()
        waiting.cancel()

    async def twice(unused):
        lock = ferrio.Lock()
        await lock.acquire()
        await lock.acquire()

    ferrio.run(main(), strict=True)
    (message,) = told()
    assert message.startswith("suspected deadlock: a task waits for itself\n")
    assert re.search(r"which it has itself, since [1-9]\d*\.\d s, ", message)


def test_a_suspected_one_that_ends_is_not_told_of(told):
    async def main():
        lock = ferrio.Lock()
        await lock.acquire()
        asyncio.get_running_loop().call_later(0.1, lock.release)
        await lock.acquire()
        await ferrio.sleep(1.2)

    ferrio.run(main())
    assert told() == []


@LIBRARIES
def test_a_timeout_around_it_ends_it(told, library):
    async def main():
        lock = ferrio.Lock()
        async with lock:
            with pytest.raises(TimeoutError):
                async with library.timeout(0.05):
                    async with lock:
                        pass

    ferrio.run(main(), strict=True)
    assert told() == []


def test_contention_is_no_deadlock(told):
    async def main():
        lock = ferrio.Lock()

        async def work():
            for _ in range(20):
                async with lock:
                    await ferrio.sleep(0)

        async with ferrio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(work())

    ferrio.run(main(), strict=True)
    assert told() == []


def test_the_holder_is_forgotten_with_its_task(told):
    async def main():
        lock = ferrio.Lock()

        async def take():
            await lock.acquire()

        await asyncio.create_task(take())
        gc.collect()
        with pytest.raises(TimeoutError):
            await ferrio.wait_for(lock.acquire(), 0.01)
        waiting = asyncio.create_task(lock.acquire(), name="waiting")
        await ferrio.sleep(0)
        (info,) = [info for info in ferrio.tasks() if info.name == "waiting"]
        assert info.wait.tasks == ()
        lock.release()
        await waiting

    ferrio.run(main(), strict=True)


def test_a_lock_that_changes_hands(told):
    async def main():
        lock = ferrio.Lock()

        async def take():
            await lock.acquire()

        async with lock:
            waiting = asyncio.create_task(take())
            await ferrio.sleep(0)
        await waiting
        # It is the other one's now, which is done: nobody waits for himself.
        lock.release()
        async with lock:
            pass

    ferrio.run(main(), strict=True)
    assert told() == []


ALONE = """
import asyncio, os, signal, threading
import ferrio

async def main():
    {before}
    waiting = asyncio.create_task(ferrio.Queue().get(), name="waiting")
    await ferrio.sleep(0)
    # A signal interrupts the wait, which would have no end.
    print("ready", flush=True)
    await ferrio.Event().wait()

def stop(*_):
    raise SystemExit(0)

signal.signal(signal.SIGALRM, {handler})
try:
    ferrio.run(main())
except (KeyboardInterrupt, SystemExit):
    pass
"""


def test_nothing_can_wake_the_loop():
    program = ALONE.format(before="", handler="signal.default_int_handler")
    message = run_alone(program, until="waiting (Queue.get)")
    assert re.match(
        r"deadlock: 2 tasks wait and nothing can wake the loop: there is no timer, descriptor, "
        r"signal handler, child or other thread\n"
        r"  task 1 Task-1 \(main\) waits for event <asyncio\.locks\.Event object at \w+ "
        r"\[unset, waiters:1\]> since \d\.\d s, at <string>:\d+ in main; made at <string>:\d+ in "
        r"<module>\n"
        r"  task 2 waiting \(Queue\.get\) waits for an item of <Queue at \w+ maxsize=0 "
        r"_getters\[1\]> since \d\.\d s; made at <string>:\d+ in main\n",
        message,
    ), message


@pytest.mark.parametrize(
    "before",
    [
        "asyncio.get_running_loop().call_later(30, print)",
        "asyncio.get_running_loop().add_reader(os.pipe()[0], print)",
        "asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, print)",
        "threading.Thread(target=threading.Event().wait, daemon=True).start()",
        "asyncio.get_running_loop().run_in_executor(None, __import__('time').sleep, 0.3)",
    ],
    ids=["timer", "descriptor", "signal", "thread", "executor"],
)
def test_something_may_wake_the_loop(before):
    program = ALONE.format(before=before, handler="signal.default_int_handler")
    assert "nothing can wake" not in run_alone(program)


AFTER_A_JOB = """
import asyncio, signal
import ferrio

shared = []

async def main():
    shared.append(asyncio.Event())
    await asyncio.to_thread(print, "in a thread")
    # Other threads there are, which wait for jobs.
    await shared[0].wait()

class Told(Exception):
    pass

import logging

class Handler(logging.Handler):
    def emit(self, record):
        print(record.getMessage().splitlines()[0])
        raise SystemExit

logging.getLogger("ferrio.deadlock").addHandler(Handler())
signal.alarm(40)
ferrio.run(main())
"""


def test_threads_without_a_job_wake_nobody():
    import subprocess
    import sys

    outcome = subprocess.run(
        [sys.executable, "-c", AFTER_A_JOB], capture_output=True, text=True, timeout=60
    )
    assert "nothing can wake the loop" in outcome.stdout, outcome


def test_a_programs_signal_handler_may_wake_the_loop():
    assert "nothing can wake" not in run_alone(ALONE.format(before="", handler="stop"))
