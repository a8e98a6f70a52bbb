"""Call graphs (``asyncio.capture_call_graph``, from 3.14) show ferrio's tasks.

A task notes by itself for which future it waits. ``gather``, ``shield``, task groups and the like
note it through two functions of asyncio's, for what a task waits for there is a future in between;
and those functions know nothing but asyncio's own types. So they are replaced by ones that hand on
to them what is not ferrio's.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio import futures

from ferrio import _ferrio

_NAMES = ("future_add_to_awaited_by", "future_discard_from_awaited_by")


def record_awaits() -> None:
    """Have asyncio note who waits for futures of ferrio's as well; once is enough."""
    if sys.version_info < (3, 14):
        return
    for name in _NAMES:
        for module in (futures, asyncio):
            setattr(module, name, getattr(_ferrio, name))
