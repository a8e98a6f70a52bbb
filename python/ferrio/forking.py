"""What becomes of event loops when the process forks.

A loop belongs to the process that made it. The child of a fork has a copy of its memory, but the
epoll set, the wake-up descriptor and the signal pipe behind it are the parent's own, and whatever
the child did to them the parent would see. So in the child every loop of the parent's lets go of
them, without a word to the kernel, and refuses to be used. No loop is running there, and a new one
can be made.

ferrio's native threads (a watchdog, an inspect socket) are stopped before the fork and start again
in the parent, with the next turn of a loop. The child has none. They are stopped, too, before the
interpreter ends.
"""

from __future__ import annotations

import asyncio
import atexit
import os
import signal
import weakref
from typing import Any

from ferrio import _ferrio

# The loops of this process that exist. Only a fork looks at them.
_loops: weakref.WeakSet[Any] = weakref.WeakSet()

# The process that made them.
_process = os.getpid()


def remember(loop: _ferrio.EventLoop) -> None:
    """Have a new loop be told when the process forks."""
    _loops.add(loop)


def _before() -> None:
    loop: Any = asyncio._get_running_loop()
    if isinstance(loop, _ferrio.EventLoop):
        # What was written in the running turn: the child must not send it a second time.
        loop._flush_writes()
    _ferrio._begin_fork()


def _after_in_child() -> None:
    global _process
    _ferrio._end_fork_in_child()
    parent, _process = _process, os.getpid()
    for loop in list(_loops):
        if loop._signal_handlers:
            # What the child is sent would be told to the parent.
            signal.set_wakeup_fd(-1)
        loop._disown(parent)
    _loops.clear()
    if isinstance(asyncio._get_running_loop(), _ferrio.EventLoop):
        # asyncio itself sees to it from 3.12.
        asyncio._set_running_loop(None)


os.register_at_fork(
    before=_before,
    after_in_parent=_ferrio._end_fork_in_parent,
    after_in_child=_after_in_child,
)
atexit.register(_ferrio._end_services)
