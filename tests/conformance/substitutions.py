"""Puts ferrio where CPython's test suite makes loops, tasks and futures.

In a process of its own, before a test module is imported. Nothing of the suite is changed: only
the names are, through which it gets at what it tests.
"""

from __future__ import annotations

import asyncio
import importlib
import sys
from asyncio import base_events, events, futures, tasks, unix_events
from types import ModuleType
from typing import Any

# "installed" is ferrio with everything in asyncio's places that ferrio.install() puts there.
LOOPS = ("asyncio", "ferrio", "installed")


def install(loop: str) -> None:
    """Put ``loop`` in place; no test module may have been imported before."""
    if loop == "installed":
        _install_natives()
    if loop in ("ferrio", "installed"):
        _forbid_other_loops()
        _substitute_tasks_and_futures()
        _substitute_loops()
        _substitute_test_loop()
        _follow_logger()


def _install_natives() -> None:
    """Put the native locks, queues and functions in the places of asyncio's."""
    from ferrio.natives import Replacement

    Replacement()


def _substitute_tasks_and_futures() -> None:
    """Put ours into the slots of the C types: every class parametrised by them runs on ours.

    ``asyncio.Task`` and ``asyncio.Future`` stay, as they do for users: tests that use them
    show that asyncio's own run on our loop.
    """
    import ferrio

    _replace(tasks, "_CTask", ferrio.Task)
    _replace(futures, "_CFuture", ferrio.Future)
    for name in ("future_add_to_awaited_by", "future_discard_from_awaited_by"):
        if hasattr(futures, name):
            _replace(futures, f"_c_{name}", getattr(ferrio, name))


def _substitute_loops() -> None:
    """Have every public way to make a loop make ours."""
    import ferrio

    class SelectorEventLoop(ferrio.EventLoop):
        """Takes a selector, as asyncio's does, and has no use for it."""

        def __init__(self, selector: Any = None) -> None:
            if selector is not None:
                selector.close()
            super().__init__()

    for module in (asyncio, unix_events):
        _replace(module, "SelectorEventLoop", SelectorEventLoop)
        if hasattr(module, "EventLoop"):
            _replace(module, "EventLoop", SelectorEventLoop)

    # Some tests make one, with mocks for its selector, as the simplest loop that there is; some
    # derive theirs from it. One calls its method by which the base says that it cannot send files.
    class BaseEventLoop(SelectorEventLoop):
        _sendfile_native = base_events.BaseEventLoop._sendfile_native  # type: ignore[attr-defined]

    for module in (asyncio, base_events):
        _replace(module, "BaseEventLoop", BaseEventLoop)
    _substitute_policy()


def _substitute_policy() -> None:
    """Make the default policy ours: ``asyncio.new_event_loop()`` asks it for loops."""
    import ferrio

    for module in (asyncio, unix_events):
        for name in ("DefaultEventLoopPolicy", "_DefaultEventLoopPolicy"):
            if name in vars(module):
                _replace(module, name, ferrio.EventLoopPolicy)
    # One that was made before would go on making asyncio's.
    _replace(events, "_event_loop_policy", None)


def _substitute_test_loop() -> None:
    """Have ``new_test_loop()`` make loops with virtual time that are ours."""
    from virtual_time_loop import VirtualTimeLoop

    utils = importlib.import_module("test.test_asyncio.utils")
    _replace(utils, "TestLoop", VirtualTimeLoop)


def _forbid_other_loops() -> None:
    """Have a test fail when it gets a loop of asyncio's all the same: it would show nothing."""

    def refuse(self: object, *_: object) -> None:
        raise AssertionError(f"{type(self).__name__} is not replaced by a loop of ferrio's")

    _replace(base_events.BaseEventLoop, "__init__", refuse)


class _BaseEventsLogger:
    """The logger that ``asyncio.base_events`` has at the moment."""

    def __getattr__(self, name: str) -> Any:
        return getattr(vars(base_events)["logger"], name)


def _follow_logger() -> None:
    """Have our loop log to what tests put in place of ``asyncio.base_events.logger``.

    It is the logger ``asyncio`` for both; a patched name in another's module is not seen by us.
    """
    logger = vars(base_events)["logger"]
    for name, module in list(sys.modules.items()):
        if name.startswith("ferrio.") and vars(module).get("logger") is logger:
            _replace(module, "logger", _BaseEventsLogger())


def _replace(place: ModuleType | type, name: str, value: Any) -> None:
    """Replace a name that has to be there: in a Python that lacks it, something has moved."""
    if name not in vars(place):
        raise LookupError(f"{place.__name__} has no {name} to be replaced")
    setattr(place, name, value)
