"""A thousand subprocesses at once, from several loops in several threads."""

import asyncio
import threading

LOOPS = 4
EACH = 250


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
