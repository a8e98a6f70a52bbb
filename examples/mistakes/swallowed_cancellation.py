"""A swallowed cancellation: the task was told to stop, and says that all went well.

    python -m ferrio examples/mistakes/swallowed_cancellation.py

Right: ``except Exception`` does not catch it; whoever catches CancelledError to clean up raises it
again.
"""

import asyncio


async def upload() -> str:
    try:
        await asyncio.sleep(3600)
    except BaseException:
        print("something went wrong, never mind")
    return "done"


async def main() -> None:
    task = asyncio.create_task(upload(), name="upload")
    await asyncio.sleep(0)
    task.cancel()
    print(await task)


asyncio.run(main())
