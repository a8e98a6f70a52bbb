"""A small service that says what its tasks are at: what docs/tasks.md shows."""

import asyncio
import sys

import ferrio


async def fetch(name: str, database: asyncio.Lock, answer: asyncio.Event) -> str:
    async with database:
        await answer.wait()
        return name.title()


async def look(answer: asyncio.Event) -> None:
    await ferrio.sleep(0.1)
    print(ferrio.task_tree())
    print()
    ferrio.dump(sys.stdout)
    answer.set()


async def main() -> None:
    database, answer = ferrio.Lock(), ferrio.Event()
    async with ferrio.TaskGroup() as group:
        group.create_task(look(answer), name="observer")
        for name in ("anna", "ben"):
            group.create_task(fetch(name, database, answer), name=f"fetch {name}")


ferrio.run(main())
