"""A bakery that never closes: something to look at with ``ferrio ps``, ``top`` and ``trace``.

    python -m ferrio --inspect examples/views/bakery.py

Customers order, three bakers take the orders from a queue, and all of them need the one oven. Twice
a minute somebody counts the till by hand, and nobody is served meanwhile: the loop is blocked.
"""

import asyncio
import os
import random
import time

PACE = float(os.environ.get("BAKERY_PACE", "1"))


async def customer(orders: asyncio.Queue[str], number: int) -> None:
    while True:
        await asyncio.sleep(PACE * random.uniform(0.5, 2))
        await orders.put(f"{random.choice(['bread', 'rolls', 'cake'])} for customer {number}")


async def baker(orders: asyncio.Queue[str], oven: asyncio.Lock) -> None:
    while True:
        await orders.get()
        await asyncio.sleep(PACE * 0.1)
        async with oven:
            await asyncio.sleep(PACE * 0.3)


def count_by_hand() -> None:
    time.sleep(PACE * 2)


async def till() -> None:
    while True:
        await asyncio.sleep(PACE * 30)
        count_by_hand()


async def clean(closing: asyncio.Event) -> None:
    await closing.wait()


async def open_shop(closing: asyncio.Event) -> "asyncio.Task[None]":
    # Whoever opens the shop goes home; who answers for the cleaner?
    return asyncio.create_task(clean(closing), name="cleaner")


async def main() -> None:
    orders: asyncio.Queue[str] = asyncio.Queue(10)
    oven = asyncio.Lock()
    cleaner = await asyncio.create_task(open_shop(asyncio.Event()), name="opening")
    async with asyncio.TaskGroup() as shop:
        for number in range(1, 4):
            shop.create_task(baker(orders, oven), name=f"baker {number}")
        for number in range(1, 7):
            shop.create_task(customer(orders, number), name=f"customer {number}")
        shop.create_task(till(), name="till")
    await cleaner


if __name__ == "__main__":
    print(f"The bakery is process {os.getpid()}.", flush=True)
    asyncio.run(main())
