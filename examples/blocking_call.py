"""A blocking call in a coroutine: what docs/watchdog.md shows."""

import asyncio
import time

import ferrio


def read_thermometer() -> float:
    time.sleep(0.25)  # a driver that waits for its device
    return 21.5


async def measure() -> None:
    print(f"{read_thermometer()} degrees")


async def main() -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(measure(), name="thermometer")


ferrio.run(main(), watchdog=0.1)

for place in ferrio.blocks():
    print(f"{place.count} block at {place.site}: {place.cause}")
