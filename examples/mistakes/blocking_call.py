"""A blocking call in a coroutine: while it sleeps, or waits for a slow disk, nobody else runs.

    FERRIO_WATCHDOG=100ms python -m ferrio examples/mistakes/blocking_call.py

Right: ``await asyncio.sleep(0.4)``; for what can only block, ``await asyncio.to_thread(function)``.
"""

import asyncio
import time


async def fetch_price(product: str) -> int:
    time.sleep(0.4)
    return len(product)


async def main() -> None:
    prices = await asyncio.gather(fetch_price("bread"), fetch_price("cake"))
    print(sum(prices))


asyncio.run(main())
