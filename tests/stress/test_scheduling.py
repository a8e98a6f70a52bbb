"""Much at once: threads, cancellations, timers, signals, and a collector that never rests."""

import asyncio
import signal
import threading


def test_calls_of_many_threads_arrive_in_their_order(run):
    threads, calls = 8, 5_000

    async def main():
        loop = asyncio.get_running_loop()
        arrived = [[] for _ in range(threads)]

        def call(number):
            for each in range(calls):
                loop.call_soon_threadsafe(arrived[number].append, each)

        callers = [threading.Thread(target=call, args=(number,)) for number in range(threads)]
        for caller in callers:
            caller.start()
        while any(len(each) < calls for each in arrived):
            # Sometimes the loop sleeps, and has to be woken.
            await asyncio.sleep(0.001)
        for caller in callers:
            caller.join()
        assert arrived == [list(range(calls))] * threads

    run(main())


def test_threads_and_tasks_hand_results_to_each_other(run):
    async def main():
        def work(number):
            return number * 2

        async def user(number):
            total = 0
            for each in range(60):
                total += await asyncio.to_thread(work, number + each)
            return total

        results = await asyncio.gather(*map(user, range(20)))
        assert results == [sum(2 * (number + each) for each in range(60)) for number in range(20)]

    run(main())


async def _worker(queue, lock, event, chance, log):
    """Waits in all ways there are, and notes that it always comes to its end."""
    try:
        while True:
            kind = chance.randrange(6)
            if kind == 0:
                await asyncio.sleep(chance.random() / 500)
            elif kind == 1:
                async with lock:
                    await asyncio.sleep(0)
            elif kind == 2:
                await asyncio.wait_for(event.wait(), chance.random() / 500)
            elif kind == 3:
                queue.put_nowait(await queue.get())
            elif kind == 4:
                async with asyncio.timeout(chance.random() / 500):
                    await asyncio.shield(asyncio.sleep(0.001))
            else:
                await asyncio.gather(asyncio.sleep(0), asyncio.sleep(0.0005))
    except TimeoutError:
        log.append("timeout")
    finally:
        log.append("end")


def test_a_storm_of_cancellations(run, chance):
    async def main():
        queue, lock, event, log = asyncio.Queue(), asyncio.Lock(), asyncio.Event(), []
        for item in range(20):
            queue.put_nowait(item)
        started = 0
        tasks = set()
        loop = asyncio.get_running_loop()
        ends = loop.time() + 3
        while loop.time() < ends:
            while len(tasks) < 100:
                tasks.add(asyncio.create_task(_worker(queue, lock, event, chance, log)))
                started += 1
            for task in chance.sample(sorted(tasks, key=id), 10):
                task.cancel()
            await asyncio.sleep(chance.choice([0, 0, 0.0005]))
            tasks = {task for task in tasks if not task.done()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert log.count("end") <= started
        assert not lock.locked()
        # Nothing else is left; what `shield` protected ends by itself.
        async with asyncio.timeout(60):
            while asyncio.all_tasks() != {asyncio.current_task()}:
                await asyncio.sleep(0.001)

    run(main())


def test_timers_fire_in_the_order_of_their_deadlines(run, chance):
    async def main():
        loop = asyncio.get_running_loop()
        begin = loop.time() + 0.5
        fired, expected, handles = [], [], []
        for number in range(50_000):
            deadline = begin + chance.randrange(1_000) / 2_000
            handles.append((loop.call_at(deadline, fired.append, (deadline, number)), deadline))
        for number, (handle, deadline) in enumerate(handles):
            if chance.random() < 0.7:
                handle.cancel()
            else:
                expected.append((deadline, number))
        while len(fired) < len(expected):
            await asyncio.sleep(0.01)
        assert sorted(fired) == sorted(expected)
        deadlines = [deadline for deadline, _ in fired]
        assert deadlines == sorted(deadlines)

    run(main())


def test_signals_arrive_in_the_middle_of_everything(run, chance):
    async def main():
        loop = asyncio.get_running_loop()
        signals = 0

        def count():
            nonlocal signals
            signals += 1

        loop.add_signal_handler(signal.SIGALRM, count)
        signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
        try:
            reader, writer = await echo_to_self()
            ends = loop.time() + 2
            while loop.time() < ends or signals <= 100:
                assert loop.time() < ends + 60, signals
                writer.write(b"x" * 5_000)
                assert await reader.readexactly(5_000) == b"x" * 5_000
                await asyncio.sleep(chance.random() / 200)
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            loop.remove_signal_handler(signal.SIGALRM)
        writer.close()
        await writer.wait_closed()

    async def echo_to_self():
        async def echo(reader, writer):
            while data := await reader.read(10_000):
                writer.write(data)
            writer.close()

        server = await asyncio.start_server(echo, "127.0.0.1", 0)
        streams = await asyncio.open_connection(*server.sockets[0].getsockname())
        server.close()
        return streams

    run(main())


def test_collections_in_the_middle_of_everything(run, chance, collecting_all_the_time):
    async def main():
        queue, lock, event, log = asyncio.Queue(), asyncio.Lock(), asyncio.Event(), []
        queue.put_nowait(0)
        for _ in range(150):
            tasks = [
                asyncio.create_task(_worker(queue, lock, event, chance, log)) for _ in range(10)
            ]
            for _ in range(5):
                await asyncio.sleep(0)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            future = asyncio.get_running_loop().create_future()
            # A cycle of a future, a callback and a task that nobody awaits any more.
            future.add_done_callback(lambda future, tasks=tasks: tasks)
            future.itself = [future]
            if queue.empty():
                queue.put_nowait(0)
        await asyncio.sleep(0.05)

    run(main())
