"""An orphaned task: whoever started it has gone, and nobody will ever ask how it went.

    python -m ferrio --inspect examples/mistakes/orphaned_task.py
    ferrio tree PID

Right: ``async with asyncio.TaskGroup() as group``, which ends when its tasks have; or keep the
task, and await it.
"""

import asyncio
import sys


async def refresh_prices() -> None:
    while True:
        await asyncio.sleep(3600)


async def handle_request() -> None:
    asyncio.create_task(refresh_prices(), name="refresh")


async def main() -> None:
    await asyncio.create_task(handle_request(), name="request")
    await asyncio.to_thread(sys.stdin.readline)


asyncio.run(main())
