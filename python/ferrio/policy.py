"""Event loop policies: how asyncio up to 3.13 is told which loops to make."""

from __future__ import annotations

import asyncio
import sys
import threading
import warnings
from typing import TYPE_CHECKING, Any

from ferrio.loop import EventLoop

if TYPE_CHECKING:
    _DefaultPolicy = asyncio.DefaultEventLoopPolicy
elif sys.version_info >= (3, 14):
    # The public name warns that policies are deprecated.
    from asyncio.unix_events import _DefaultEventLoopPolicy as _DefaultPolicy
else:
    _DefaultPolicy = asyncio.DefaultEventLoopPolicy


class EventLoopPolicy(_DefaultPolicy):
    """asyncio's default policy, with ferrio's loops.

    ``asyncio.set_event_loop_policy(ferrio.EventLoopPolicy())`` makes ``asyncio.run`` and new
    loops ferrio's. Deprecated from 3.14 as all policies are: use ``ferrio.run``, or
    ``asyncio.run(…, loop_factory=ferrio.new_event_loop)``.
    """

    def new_event_loop(self) -> asyncio.AbstractEventLoop:
        """Return a new loop of ferrio's; it is not made the current one."""
        return EventLoop()


def new_event_loop() -> EventLoop:
    """Return a new event loop of ferrio's. It has to be closed; it is not made the current one."""
    return EventLoop()


def get_event_loop() -> asyncio.AbstractEventLoop:
    """Return the running loop, else the thread's current one, as ``asyncio.get_event_loop`` does.

    Where asyncio would make a loop because there is none (in the main thread, up to 3.13), the
    loop is ferrio's. Raises RuntimeError when there is none and none is made.
    """
    if asyncio._get_running_loop() is None and sys.version_info < (3, 14):
        _make_current_loop_where_asyncio_would()
    return asyncio.get_event_loop()


def _make_current_loop_where_asyncio_would() -> None:
    policy: Any = asyncio.get_event_loop_policy()
    # The default policy alone makes loops, in the main thread, until one is set or unset.
    # What has been set is known to its private attributes only.
    current = getattr(policy, "_local", None)
    if (
        not isinstance(policy, asyncio.DefaultEventLoopPolicy)
        or getattr(current, "_loop", None) is not None
        or getattr(current, "_set_called", True)
        or threading.current_thread() is not threading.main_thread()
    ):
        return
    if sys.version_info >= (3, 12):
        warnings.warn("There is no current event loop", DeprecationWarning, stacklevel=3)
    policy.set_event_loop(new_event_loop())
