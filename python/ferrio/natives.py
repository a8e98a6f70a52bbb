"""What of asyncio is native, and ``install()``'s part of putting it in asyncio's places.

Code that has imported asyncio's versions before goes on with them; both kinds work side by side.
"""

from __future__ import annotations

import asyncio
import asyncio.streams
import asyncio.threads
from types import ModuleType
from typing import Any

from ferrio import _ferrio, streams
from ferrio.native_class import NativeClass, originals_of

# asyncio's modules in which its names are replaced: where they are defined, and where they were
# imported into.
PLACES: tuple[ModuleType, ...] = (
    asyncio,
    asyncio.locks,
    asyncio.queues,
    asyncio.tasks,
    asyncio.streams,
    asyncio.timeouts,
    asyncio.taskgroups,
    asyncio.threads,
)

NAMES = (
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "Event",
    "LifoQueue",
    "Lock",
    "PriorityQueue",
    "Queue",
    "Semaphore",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "TaskGroup",
    "Timeout",
    "as_completed",
    "gather",
    "open_connection",
    "open_unix_connection",
    "shield",
    "sleep",
    "start_server",
    "start_unix_server",
    "timeout",
    "timeout_at",
    "wait",
    "wait_for",
)

# Kept from the first import on: whatever stands in asyncio later, these are its own.
_ORIGINALS: dict[str, Any] = {name: getattr(asyncio, name) for name in NAMES}
# Not public, but asyncio.streams has it for protocols to be derived from.
_ORIGINALS["FlowControlMixin"] = asyncio.streams.FlowControlMixin

_NATIVES: dict[str, Any] = {
    name: getattr(_ferrio, name, None) or getattr(streams, name) for name in _ORIGINALS
}


for _name, _native in _NATIVES.items():
    if isinstance(_native, type):
        originals_of[_native] = _ORIGINALS[_name]
        _ferrio._set_metaclass(_native, NativeClass)


class Replacement:
    """asyncio's names, replaced from the making of this until ``undo()``."""

    def __init__(self) -> None:
        self._replaced: list[tuple[ModuleType, str]] = []
        for place in PLACES:
            for name, original in _ORIGINALS.items():
                if vars(place).get(name) is original:
                    setattr(place, name, _NATIVES[name])
                    self._replaced.append((place, name))

    def undo(self) -> None:
        """Put asyncio's own back, unless somebody else has replaced them since."""
        for place, name in self._replaced:
            if vars(place).get(name) is _NATIVES[name]:
                setattr(place, name, _ORIGINALS[name])
