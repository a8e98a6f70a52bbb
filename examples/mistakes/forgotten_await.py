"""A forgotten await: the coroutine is made and thrown away, and nothing is saved.

    PYTHONASYNCIODEBUG=1 python -m ferrio examples/mistakes/forgotten_await.py

The warning is Python's own; in debug mode ferrio has it say where the coroutine was made.

Right: ``await save(order)``.
"""

import asyncio

saved: list[str] = []


async def save(order: str) -> None:
    saved.append(order)


async def main() -> None:
    save("two loaves")
    print("saved:", saved)


asyncio.run(main())
