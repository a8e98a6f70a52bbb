"""ferrio: Python's asyncio rebuilt in Rust.

Everything that ``asyncio`` offers can be had from here, so ``import ferrio as asyncio`` is all a
program needs::

    import ferrio as asyncio

    async def main():
        await asyncio.sleep(0.1)
        return "done"

    assert asyncio.run(main()) == "done"

The event loop, ``Task``, ``Future``, ``run``, ``Runner``, locks, queues, streams, ``sleep``,
``gather`` and their like are ferrio's; the rest is asyncio's own and runs on them. A program that
is not to be changed is run by ``python -m ferrio app.py``, or calls ``ferrio.install()`` before it
starts.

(For pytest, which may find our plugin when ferrio is running already: PYTEST_DONT_REWRITE.)
"""

# Some of asyncio's names are given another meaning here on purpose.
# mypy: disable-error-code="assignment,misc,no-redef"

from __future__ import annotations

import asyncio as _asyncio
import sys
from asyncio import *  # noqa: F403
from typing import Any as _Any

from ferrio import call_graphs as _call_graphs
from ferrio import registry as _registry
from ferrio import task_views as _task_views
from ferrio._ferrio import (
    Barrier,
    BoundedSemaphore,
    Condition,
    Event,
    Future,
    LifoQueue,
    Lock,
    PriorityQueue,
    Queue,
    Semaphore,
    StreamReader,
    StreamReaderProtocol,
    StreamWriter,
    Task,
    TaskGroup,
    Timeout,
    as_completed,
    gather,
    shield,
    sleep,
    timeout,
    timeout_at,
    wait,
    wait_for,
)
from ferrio.deadlocks import DeadlockError
from ferrio.inspection import open_inspect_socket
from ferrio.installation import install, uninstall
from ferrio.lints import LifecycleWarning, lint_counts
from ferrio.live_server import LiveServer, serve_metrics
from ferrio.loop import EventLoop
from ferrio.measuring import metrics
from ferrio.policy import get_event_loop, new_event_loop
from ferrio.runner import Runner, run
from ferrio.streams import (
    open_connection,
    open_unix_connection,
    start_server,
    start_unix_server,
)
from ferrio.task_views import (
    Owner,
    Site,
    TaskInfo,
    TaskNode,
    TaskTree,
    Wait,
    dump,
    dump_on_signal,
    task_tree,
    tasks,
)
from ferrio.telemetry import instrument_opentelemetry
from ferrio.tls import tls_backend
from ferrio.watchdog import blocks, on_block

__version__ = "0.1.0"

# The changes that are made to asyncio without install(): all_tasks() sees ferrio's tasks, and so
# do call graphs.
_registry.add_native_tasks()
_call_graphs.record_awaits()

# What the environment asks for.
_task_views.dump_on_signal_of_environment()

# Importing ferrio's own module of that name has set the attribute.
transports = _asyncio.transports

# Likewise.
streams = _asyncio.streams

# asyncio's name for the loop class that a program picks by hand.
SelectorEventLoop = EventLoop

if sys.version_info >= (3, 12):
    eager_task_factory = _asyncio.create_eager_task_factory(Task)

if sys.version_info >= (3, 14):
    # Those that know ferrio's futures: asyncio's own were here before.
    future_add_to_awaited_by = _asyncio.future_add_to_awaited_by
    future_discard_from_awaited_by = _asyncio.future_discard_from_awaited_by

if sys.version_info < (3, 14):
    from ferrio.policy import EventLoopPolicy

    DefaultEventLoopPolicy = EventLoopPolicy


def __getattr__(name: str) -> _Any:
    """Answer for the names that are not public in asyncio, submodules most of all."""
    if name in ("EventLoopPolicy", "DefaultEventLoopPolicy"):
        return _deprecated_policy(name)
    try:
        return getattr(_asyncio, name)
    except AttributeError:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}") from None


def _deprecated_policy(name: str) -> _Any:
    """Return the policy class where policies are deprecated (3.14)."""
    import warnings

    from ferrio.policy import EventLoopPolicy

    warnings.warn(
        f"ferrio.{name} is deprecated, as asyncio's policies are from Python 3.14; "
        "use ferrio.run or loop_factory=ferrio.new_event_loop",
        DeprecationWarning,
        stacklevel=3,
    )
    return EventLoopPolicy


__all__ = [
    "Barrier",
    "BoundedSemaphore",
    "Condition",
    "DeadlockError",
    "Event",
    "EventLoop",
    "Future",
    "LifecycleWarning",
    "LifoQueue",
    "LiveServer",
    "Lock",
    "Owner",
    "PriorityQueue",
    "Queue",
    "Runner",
    "SelectorEventLoop",
    "Semaphore",
    "Site",
    "StreamReader",
    "StreamReaderProtocol",
    "StreamWriter",
    "Task",
    "TaskGroup",
    "TaskInfo",
    "TaskNode",
    "TaskTree",
    "Timeout",
    "Wait",
    "as_completed",
    "blocks",
    "dump",
    "dump_on_signal",
    "gather",
    "get_event_loop",
    "install",
    "instrument_opentelemetry",
    "lint_counts",
    "metrics",
    "new_event_loop",
    "on_block",
    "open_connection",
    "open_inspect_socket",
    "open_unix_connection",
    "run",
    "serve_metrics",
    "shield",
    "sleep",
    "start_server",
    "start_unix_server",
    "task_tree",
    "tasks",
    "timeout",
    "timeout_at",
    "tls_backend",
    "uninstall",
    "wait",
    "wait_for",
]
__all__ += [name for name in _asyncio.__all__ if name not in __all__]
if sys.version_info < (3, 14):
    __all__ += ["EventLoopPolicy"]
