"""Threads against a loop: floods, closing races, collections, signals."""

import asyncio
import gc
import os
import random
import signal
import threading
import time

import pytest

SECONDS = 5


def test_a_flood_from_many_threads(loop):
    """Nothing is lost and each thread's order is kept, with a loop that sleeps and wakes."""
    threads, each = 16, 5000
    received = {index: [] for index in range(threads)}
    done = 0

    def receive(index, number):
        nonlocal done
        received[index].append(number)
        if number == each - 1:
            done += 1
            if done == threads:
                loop.stop()

    def send(index):
        chosen = random.Random(index)
        for number in range(each):
            loop.call_soon_threadsafe(receive, index, number)
            if chosen.random() < 0.01:
                time.sleep(0.0001)

    workers = [threading.Thread(target=send, args=(index,)) for index in range(threads)]
    for worker in workers:
        worker.start()
    loop.run_forever()
    for worker in workers:
        worker.join()
    for numbers in received.values():
        assert numbers == list(range(each))


def test_wakes_at_every_moment_of_falling_asleep(loop):
    """A wake that is lost shows as a loop that sleeps on: the fixture's watchdog ends that."""
    rounds = 20_000
    answered = threading.Semaphore(0)
    count = 0

    def hit():
        nonlocal count
        count += 1
        answered.release()
        if count == rounds:
            loop.stop()

    def player():
        chosen = random.Random(5)
        for _ in range(rounds):
            for _ in range(chosen.randrange(30)):
                pass
            loop.call_soon_threadsafe(hit)
            answered.acquire()

    thread = threading.Thread(target=player)
    thread.start()
    loop.run_forever()
    thread.join()
    assert count == rounds


def test_loops_that_are_closed_while_threads_call(implementation, watched):
    deadline = time.monotonic() + SECONDS
    rounds = 0
    while time.monotonic() < deadline:
        loop = implementation.EventLoop()
        refused = []

        def send(loop=loop, refused=refused):
            try:
                while True:
                    loop.call_soon_threadsafe(int)
            except RuntimeError:
                refused.append(True)

        threads = [threading.Thread(target=send) for _ in range(3)]
        for thread in threads:
            thread.start()
        for _ in range(3):
            loop.stop()
            loop.run_forever()
        loop.close()
        for thread in threads:
            thread.join()
        assert len(refused) == 3
        rounds += 1
    assert rounds > 0


def test_many_loops_in_many_threads(implementation, watched):
    """Loops made, run and closed at once in eight threads, with the collector at work."""
    failures = []
    deadline = time.monotonic() + SECONDS

    async def program():
        loop = asyncio.get_running_loop()
        future = loop.create_future()
        loop.call_later(0.0001, future.set_result, 1)
        queue = asyncio.Queue()
        tasks = [asyncio.create_task(queue.get()) for _ in range(5)]
        for item in range(5):
            await queue.put(item)
        assert sorted(await asyncio.gather(*tasks)) == [0, 1, 2, 3, 4]
        assert await future == 1
        assert asyncio.all_tasks() == {asyncio.current_task()}

    def work():
        try:
            while time.monotonic() < deadline:
                loop = implementation.EventLoop()
                loop.run_until_complete(program())
                loop.close()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        gc.collect()
        asyncio.tasks.all_tasks
        time.sleep(0.001)
    for thread in threads:
        thread.join()
    assert failures == []


def test_tasks_are_listed_from_other_threads(implementation, watched):
    """all_tasks() of a loop that makes and ends tasks in another thread."""
    loop = implementation.EventLoop()
    stop = threading.Event()

    async def churn():
        while not stop.is_set():
            tasks = [asyncio.create_task(asyncio.sleep(0)) for _ in range(50)]
            await asyncio.gather(*tasks)

    thread = threading.Thread(target=lambda: loop.run_until_complete(churn()))
    thread.start()
    deadline = time.monotonic() + SECONDS
    looks = 0
    while time.monotonic() < deadline:
        try:
            tasks = asyncio.all_tasks(loop)
        except RuntimeError:
            # asyncio's WeakSet may change too often while it is copied.
            assert not implementation.is_ferrio
            continue
        assert all(task.get_loop() is loop for task in tasks)
        looks += 1
    stop.set()
    thread.join()
    loop.close()
    assert looks > 0


def test_signals_during_everything(loop):
    """A signal every few hundred microseconds, into a loop that sleeps, steps and polls."""
    arrived = 0

    def count():
        nonlocal arrived
        arrived += 1

    async def program():
        deadline = loop.time() + SECONDS
        while loop.time() < deadline:
            for _ in range(random.randrange(20)):
                await asyncio.sleep(0)
            await asyncio.sleep(random.random() * 0.001)
            await asyncio.to_thread(int)

    stop = threading.Event()
    sent = 0

    def send():
        nonlocal sent
        while not stop.is_set():
            os.kill(os.getpid(), signal.SIGUSR1)
            sent += 1
            time.sleep(random.random() * 0.001)

    loop.add_signal_handler(signal.SIGUSR1, count)
    thread = threading.Thread(target=send)
    thread.start()
    try:
        loop.run_until_complete(program())
    finally:
        stop.set()
        thread.join()
    loop.run_until_complete(loop.shutdown_default_executor())
    for _ in range(10):
        loop.stop()
        loop.run_forever()
    loop.remove_signal_handler(signal.SIGUSR1)
    # The kernel merges signals that are pending at once; none other is lost.
    assert 0 < arrived <= sent


@pytest.mark.parametrize("round_number", range(5))
def test_interrupts_at_random_moments(implementation, watched, round_number):
    """Whatever a KeyboardInterrupt cuts through, the next run works and no task is lost."""
    if implementation.name == "asyncio":
        pytest.skip("an interrupt amid asyncio's own Python code may cost it a task's wake-up")
    chosen = random.Random(round_number)
    loop = implementation.EventLoop()
    loop.set_exception_handler(lambda loop, context: None)
    tasks = []

    async def program():
        while True:
            await asyncio.sleep(0)
            if chosen.random() < 0.2:
                await asyncio.sleep(0.0001)

    for _ in range(100):
        tasks.append(loop.create_task(program()))
        timer = threading.Timer(chosen.random() * 0.01, os.kill, (os.getpid(), signal.SIGINT))
        try:
            # A timer that is due at once interrupts its own start.
            timer.start()
            loop.run_forever()
        except KeyboardInterrupt:
            pass
        timer.join()
        assert not loop.is_running()
    for task in tasks:
        task.cancel()
    for _ in range(10):
        loop.stop()
        loop.run_forever()
    for task in tasks:
        assert task.done()
        if not task.cancelled():
            assert isinstance(task.exception(), KeyboardInterrupt)
    loop.close()
