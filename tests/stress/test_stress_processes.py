"""A thousand subprocesses at once, from several loops in several threads; forks beside threads."""

import asyncio
import contextlib
import os
import signal
import threading
import warnings

LOOPS = 4
EACH = 250
FORKS = 400


async def spawn(number):
    return await asyncio.create_subprocess_exec(
        "sh", "-c", f"read line; echo $line; exit {number % 100}", stdin=-1, stdout=-1
    )


async def main(results):
    processes = await asyncio.gather(*(spawn(number) for number in range(EACH)))
    assert len({process.pid for process in processes}) == EACH
    outputs = await asyncio.gather(
        *(process.communicate(b"%d\n" % number) for number, process in enumerate(processes))
    )
    for number, (process, (out, _)) in enumerate(zip(processes, outputs, strict=True)):
        assert out == b"%d\n" % number
        assert process.returncode == number % 100
    results.append(EACH)


def test_a_thousand_processes_from_several_loops(implementation, watched):
    results = []
    threads = [
        threading.Thread(target=lambda: implementation.run(main(results))) for _ in range(LOOPS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results == [EACH] * LOOPS


def test_forks_while_threads_bring_their_results(loop):
    """What another thread is doing to the loop at that moment must not stop the child."""

    async def main():
        ended = asyncio.Event()

        async def keep_threads_busy():
            while not ended.is_set():
                await asyncio.gather(*(asyncio.to_thread(int) for _ in range(4)))

        busy = [asyncio.create_task(keep_threads_busy()) for _ in range(2)]
        for _ in range(FORKS):
            await asyncio.to_thread(int)
            child = os.fork()
            if child == 0:
                # It ends by itself, but for a bug.
                os._exit(0)
            waiting = threading.Timer(30, kill, [child])
            waiting.start()
            _, status = os.waitpid(child, 0)
            waiting.cancel()
            assert status == 0
        ended.set()
        await asyncio.gather(*busy)

    with warnings.catch_warnings():
        # That there are threads is the point of it.
        warnings.simplefilter("ignore", DeprecationWarning)
        loop.run_until_complete(main())


def kill(child):
    with contextlib.suppress(ProcessLookupError):
        os.kill(child, signal.SIGKILL)
