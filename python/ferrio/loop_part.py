"""What every part of the event loop is built on.

``ferrio.EventLoop`` is the native loop plus a handful of parts in Python, one concept each:
executor, signals, servers and so on. What happens per callback, per task step or per packet is
native; what happens once per loop or once per connection is in the parts.
"""

from __future__ import annotations

import asyncio
from typing import Any

from ferrio import _ferrio


class LoopPart(_ferrio.EventLoop, asyncio.AbstractEventLoop):
    """The native loop as an ``asyncio.AbstractEventLoop``; a part adds methods to it.

    A part keeps its state in attributes that its own ``__init__`` sets, after calling
    ``super().__init__()``. All methods belong to the thread that runs the loop, but for those
    whose documentation says otherwise.
    """

    # The attributes of all parts, which could not have slots of their own and be put together in
    # one class. Without them every loop had a filled ``__dict__``, which the interpreter would
    # look into at each call of a method; so it stays empty until a user hangs something on the
    # loop.
    __slots__ = (
        "_asyncgens",
        "_asyncgens_shutdown_called",
        "_default_executor",
        "_exception_handler",
        "_executor_shutdown_called",
        "_hooks_to_restore",
        "_origin_depth_to_restore",
        "_resolver",
        "_signal_handlers",
    )

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Tell the loop's exception handler of an error that has no caller to be raised in.

        Parts report through this name, so that a subclass or a test that overrides it hears
        everything. ``ferrio.exception_reporting`` holds the behaviour.
        """
        raise NotImplementedError
