"""A lock acquired twice: the task waits for itself, for ever.

    FERRIO_STRICT=1 python -m ferrio examples/mistakes/double_lock.py

Without ``FERRIO_STRICT=1`` the same words go to the log, and the program hangs as it would.

Right: split the inner function into one that takes the lock and one that expects it to be held.
"""

import asyncio


async def deposit(lock: asyncio.Lock, account: dict[str, int], amount: int) -> None:
    async with lock:
        account["balance"] += amount


async def transfer(lock: asyncio.Lock, account: dict[str, int]) -> None:
    async with lock:
        await deposit(lock, account, 20)


async def main() -> None:
    await transfer(asyncio.Lock(), {"balance": 5})


asyncio.run(main())
