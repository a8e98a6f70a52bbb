"""Reads a loop's numbers while a callback blocks it, from another thread.

python examples/metrics.py
"""

import asyncio
import threading
import time

import ferrio


def watch(stop: threading.Event) -> None:
    """Print once in a while how the loop is."""
    while not stop.wait(0.1):
        for loop in ferrio.metrics()["loops"]:
            print(
                f"busy {loop['busy_share']:.0%}, not looked for events for "
                f"{loop['lag_now'] * 1000:.0f} ms, {loop['turns']} turns"
            )


async def main() -> None:
    stop = threading.Event()
    watcher = threading.Thread(target=watch, args=(stop,))
    watcher.start()
    await asyncio.sleep(0.3)
    time.sleep(0.5)  # The mistake that the numbers show.
    await asyncio.sleep(0.2)
    stop.set()
    await asyncio.to_thread(watcher.join)

    (loop,) = [loop for loop in ferrio.metrics()["loops"] if loop["running"]]
    print(f"the longest time without a look for events: {loop['lag']['longest']:.1f} s")
    print(f"jobs in threads: {loop['executor']['submitted']}")


if __name__ == "__main__":
    ferrio.run(main())
