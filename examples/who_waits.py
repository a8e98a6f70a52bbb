"""A small service that says what its tasks are at: what docs/tasks.md shows."""

import asyncio
import sys

import ferrio


async def fetch(name: str, database: asyncio.Lock) -> str:
    async with database:
        await ferrio.sleep(0.2)
        return name.title()


async def look() -> None:
    await ferrio.sleep(0.1)
    print(ferrio.task_tree())
    print()
    ferrio.dump(sys.stdout)


async def main() -> None:
    database = ferrio.Lock()
    async with ferrio.TaskGroup() as group:
        group.create_task(look(), name="observer")
        for name in ("anna", "ben"):
            group.create_task(fetch(name, database), name=f"fetch {name}")


ferrio.run(main())
