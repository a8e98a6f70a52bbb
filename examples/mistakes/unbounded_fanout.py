"""An unbounded fan-out: a task for each row, all at once, and all of them wait for ten connections.

    python -m ferrio --inspect examples/mistakes/unbounded_fanout.py
    ferrio ps
    ferrio top PID

Right: as many workers as there are connections, which take the rows from a bounded queue.
"""

import asyncio
import sys


async def send(row: int, connections: asyncio.Semaphore) -> int:
    async with connections:
        await asyncio.sleep(3600)
    return row


async def main() -> None:
    connections = asyncio.Semaphore(10)
    sending = asyncio.gather(*(send(row, connections) for row in range(10_000)))
    await asyncio.to_thread(sys.stdin.readline)
    sending.cancel()


asyncio.run(main())
