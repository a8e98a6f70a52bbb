"""A lock acquired again by the task that has it: what docs/deadlocks.md shows."""

import ferrio

lock = ferrio.Lock()


async def withdraw(account: dict[str, int], amount: int) -> None:
    async with lock:
        if account["balance"] < amount:
            await top_up(account, amount)
        account["balance"] -= amount


async def top_up(account: dict[str, int], amount: int) -> None:
    async with lock:
        account["balance"] += amount


async def main() -> None:
    await withdraw({"balance": 5}, 20)


ferrio.run(main(), strict=True)
