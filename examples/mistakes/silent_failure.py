"""A silent failure: the task has raised, and nobody looks.

    python -m ferrio examples/mistakes/silent_failure.py

ferrio says so when nobody can look any more, and where the task was made. (asyncio has the same
exception in its log, without that.)

Right: a task group, or ``await`` the task.
"""

import asyncio


async def send_receipt(address: str) -> None:
    raise ConnectionError(f"no route to {address}")


async def main() -> None:
    asyncio.create_task(send_receipt("anna@example.org"), name="receipt")
    await asyncio.sleep(0.01)
    print("order accepted")


asyncio.run(main())
