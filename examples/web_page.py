"""Serves a page that shows what its own tasks are at; the program runs for some seconds.

    python examples/web_page.py 60

The page's URL is printed. Programs that are not to be changed:

    python -m ferrio --web 127.0.0.1:8642 app.py
"""

import asyncio
import random
import sys
import time

import ferrio


async def produce(queue: asyncio.Queue[int]) -> None:
    while True:
        await asyncio.sleep(random.random() / 10)
        await queue.put(random.randrange(100))


async def consume(queue: asyncio.Queue[int], lock: asyncio.Lock) -> None:
    while True:
        number = await queue.get()
        async with lock:
            await asyncio.to_thread(time.sleep, number / 2000)


async def block_now_and_then() -> None:
    while True:
        await asyncio.sleep(5)
        time.sleep(1)  # The page turns red, and names this line.


async def main(seconds: float) -> None:
    queue: asyncio.Queue[int] = asyncio.Queue(10)
    lock = asyncio.Lock()
    with ferrio.serve_metrics() as server:
        print(server.url, flush=True)
        try:
            async with asyncio.timeout(seconds), asyncio.TaskGroup() as group:
                group.create_task(block_now_and_then(), name="careless")
                for number in range(4):
                    group.create_task(produce(queue), name=f"producer-{number}")
                    group.create_task(consume(queue, lock), name=f"consumer-{number}")
        except TimeoutError:
            print("done")


if __name__ == "__main__":
    ferrio.run(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60))
