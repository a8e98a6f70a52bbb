"""What the native functions that are not exactly asyncio's look like: signature and words.

Nobody calls these: the native functions take their signature and documentation from them.
"""

from __future__ import annotations

import asyncio
from typing import Any


def gather(
    *coros_or_futures: Any, return_exceptions: bool = False, cancel_on_error: bool = False
) -> asyncio.Future[list[Any]]:
    """Return a future of the list of what these awaitables return, in their order.

    They run at the same time; coroutines become tasks of the running loop. The first exception
    becomes the future's, and the others go on; with ``return_exceptions`` exceptions are
    results like any other. With ``cancel_on_error``, which asyncio does not have, it is all or
    nothing: the first exception has every other awaitable cancelled, once, and comes when they
    have ended; what they raised is added to it as notes. Cancelling the future cancels all, and
    it ends when they have (without ``cancel_on_error``: when the first of them has).

    Raises ValueError when both options are given.
    """
    raise NotImplementedError


async def wait_for_one() -> Any:
    """Wait for the next future: what ``as_completed`` yields up to 3.12."""
    raise NotImplementedError


wait_for_one.__name__ = "_wait_for_one"
wait_for_one.__qualname__ = "as_completed.<locals>._wait_for_one"
