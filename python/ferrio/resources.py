"""What a loop serves beside tasks: servers, subprocesses, pipes, datagram endpoints.

Each is remembered, weakly, with the line that asked for it and the task that did, for those who
look at a process and for those who are told what is left when a loop is closed. Connections are not
among them: there are too many, and the native module knows which are open.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import weakref
from dataclasses import dataclass
from types import FrameType
from typing import Any

from ferrio import task_views
from ferrio.task_views import Site

# What lies in these folders asks for others.
_FOLDERS = (
    os.path.dirname(os.path.abspath(__file__)) + os.sep,
    os.path.dirname(os.path.abspath(asyncio.__file__)) + os.sep,
)


@dataclass(frozen=True)
class Made:
    """Who has made a resource."""

    kind: str
    """``server``, ``subprocess``, ``pipe`` or ``datagram``."""
    loop: int
    """The number of its loop."""
    site: Site | None
    """The line of the program that asked for it."""
    task: str | None
    """The task that did, in words."""

    def __str__(self) -> str:
        words = "made"
        if self.task is not None:
            words += f" by {self.task}"
        if self.site is not None:
            words += f" at {self.site}"
        return words


_made: weakref.WeakKeyDictionary[Any, Made] = weakref.WeakKeyDictionary()


def remember(kind: str, loop: Any, resource: Any) -> None:
    """Have a resource of ``loop`` be found as long as it lives."""
    number = getattr(loop, "_number", None)
    if number is not None:
        site = site_of(sys._getframe(1))
        _made[resource] = Made(kind, number, site, current_task())


def origin_of_connection(transport: Any) -> tuple[str, Site | None]:
    """Return how a connection has come to be, in words, and where; for ends of sentences."""
    server = getattr(transport, "_server", None)
    made = _made.get(server) if server is not None else None
    if made is not None:
        return f"; accepted by the server that was {made}", made.site
    place, number = transport._made_by()
    site = None if place is None else Site(*place)
    words = ""
    if number:
        # It may be gone, and its name with it.
        words += f" by {_task_in_words(number) or f'task {number}'}"
    if site is not None:
        words += f" at {site}"
    return (f"; made{words}" if words else ""), site


def _task_in_words(number: int) -> str | None:
    for task in task_views.tasks():
        if task.id == number:
            return f"task {task.name} ({task.coroutine})"
    return None


def resources_of(loop: Any) -> list[tuple[Any, Made]]:
    """Return the resources of ``loop`` that are not closed."""
    number = loop._number
    return [
        (resource, made)
        for resource, made in list(_made.items())
        if made.loop == number and _is_open(resource, made.kind)
    ]


def _is_open(resource: Any, kind: str) -> bool:
    if kind == "server":
        return resource._listeners is not None
    if kind == "subprocess":
        # Closed, it has been sent SIGKILL.
        return resource.get_returncode() is None and not resource.is_closing()
    return not resource.is_closing()


def _shown(loop: Any) -> list[tuple[str, str, tuple[int, ...], int | None]]:
    """Return what snapshots show of each.

    The kind, the words, the bytes received and sent where they are counted, and those that wait.
    """
    handlers = [
        ("signal", f"{_signal_name(number)}: {_words_of(handle._callback)}", (), None)
        for number, handle in list(loop._signal_handlers.items())
    ]
    return handlers + [
        (
            made.kind,
            _in_words(resource, made.kind),
            resource._figures() if made.kind == "pipe" else (),
            _waiting_bytes(resource),
        )
        for resource, made in resources_of(loop)
        # Those of sockets are shown by the native module.
        if made.kind != "datagram"
    ]


def _signal_name(number: int) -> str:
    """Real-time signals but the first and the last have no names."""
    names = {each.value: each.name for each in signal.Signals}
    return names.get(number, f"signal {number}")


def _words_of(value: Any) -> str:
    """Return what it says of itself; one that cannot must not hide all the others."""
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__name__}: {type(error).__name__}>"


def _address(sock: Any) -> Any:
    try:
        return sock.getsockname()
    except OSError as error:
        return error.strerror  # The program has closed it.


def _in_words(resource: Any, kind: str) -> str:
    if kind == "server":
        names = [_address(sock) for sock in resource._sockets or ()]
        return f"{names} with {resource._connections} connections"
    if kind == "subprocess":
        return f"process {resource.get_pid()}"
    return _words_of(resource)


def _waiting_bytes(resource: Any) -> int | None:
    size = getattr(resource, "get_write_buffer_size", None)
    return None if size is None else size()


def site_of(frame: FrameType | None) -> Site | None:
    """Return the innermost line from ``frame`` on that is the program's own."""
    while frame is not None:
        code = frame.f_code
        if not code.co_filename.startswith(_FOLDERS) and not code.co_filename.startswith("<frozen"):
            return Site(code.co_filename, frame.f_lineno or 0, code.co_qualname)
        frame = frame.f_back
    return None


def current_task() -> str | None:
    """Return the task that is being stepped, in words."""
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return None  # No loop runs: it was made before.
    if task is None:
        return None
    coroutine = getattr(task.get_coro(), "__qualname__", "?")
    return f"task {task.get_name()} ({coroutine})"
