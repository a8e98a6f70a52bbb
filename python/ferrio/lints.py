"""Habits in the life of tasks that are nearly always mistakes.

Each is counted, goes to the logger ``ferrio.lint`` with where the task was made and by whom, and is
a ``ferrio.LifecycleWarning`` besides, which nobody sees unless a filter asks for it. Such a filter
may come from ``warnings.filterwarnings``, from pytest's ``filterwarnings`` and ``-W``, or from
``python -m ferrio -W error::ferrio.LifecycleWarning app.py``. The interpreter's own ``-W`` and
PYTHONWARNINGS are read before anything can be imported and know no categories of packages (they say
so: "invalid module name"); they take ``error::RuntimeWarning``, which this category is one of. A
program's ``simplefilter("error")`` makes no errors of them: it was not written with ferrio in mind.
``FERRIO_LINTS=0`` in the environment switches all of it off.

=========================  =====================================================================
exception-never-retrieved  a task failed, and its last reference is gone
swallowed-cancellation     a task was cancelled and returned all the same, without ``uncancel()``
cancelled-in-vain          a task has caught CancelledError five times and still goes on
hot-spin                   one task, or one callback that schedules itself again, in each of
                           thousands of turns a second, without any I/O
gather-child-left          a child of ``gather`` goes on after another one has failed
never-awaited              a coroutine was dropped before it began, while a loop ran; CPython's own
                           RuntimeWarning comes as well
alive-at-close             a task, transport, server or subprocess that is left when its loop is
                           closed
=========================  =====================================================================
"""

from __future__ import annotations

import asyncio
import functools
import logging
import opcode
import os
import sys
import threading
import warnings
from collections import Counter
from types import FrameType
from typing import Any

from ferrio import _ferrio, resources, task_views

logger = logging.getLogger("ferrio.lint")


class LifecycleWarning(RuntimeWarning):
    """Something in the life of a task that is nearly always a mistake."""


_counts: Counter[str] = Counter()
_counts_by_loop: dict[int, Counter[str]] = {}
_lock = threading.Lock()

# The places whose hot spins were told of.
_spins: set[object] = set()


def lint_counts() -> dict[str, int]:
    """Return how often each kind of mistake was seen in this process; from any thread."""
    with _lock:
        return dict(_counts)


def are_on() -> bool:
    """Whether mistakes are looked for."""
    return os.environ.get("FERRIO_LINTS") != "0"


def _tell(kind: str, task: Any, words: str) -> None:
    """Count, log and warn of what a task does."""
    (named, made), site = _described(task)
    if kind == "hot-spin":
        spinning = site or named
        if spinning in _spins:
            return
        _spins.add(spinning)
    message = f"{kind}: {named} {words}; {made}"
    _announce(kind, message, site, task.get_loop())


def _described(task: Any) -> tuple[tuple[str, str], task_views.Site | None]:
    """Return which task it is and who made it, both in words, and where."""
    number, place, owner_kind, owner_name, owner_task = _ferrio._origin_of(task)
    site = None if place is None else task_views.Site(*place)
    made = f"made by {task_views.Owner(owner_kind, owner_name, owner_task)}"
    if site is not None:
        made += f" at {site}"
    coroutine = getattr(task.get_coro(), "__qualname__", "?")
    return (f"task {number} {task.get_name()} ({coroutine})", made), site


def _tell_of_callback(kind: str, loop: Any, callback: Any, words: str) -> None:
    """Count, log and warn of what a callback does."""
    function = callback
    while isinstance(function, functools.partial):
        function = function.func
    code = getattr(function, "__code__", None)
    site = None
    if code is not None:
        site = task_views.Site(code.co_filename, code.co_firstlineno, code.co_qualname)
    # A place, or else a name: the callback itself would be kept for good.
    spinning: object = getattr(function, "__qualname__", type(function).__qualname__)
    if site is not None:
        spinning = site
    if spinning in _spins:
        return
    _spins.add(spinning)
    named = f"callback {callback!r}" if site is None else f"callback {site}"
    _announce(kind, f"{kind}: {named} {words}", site, loop)


def hear_of_unawaited() -> None:
    """Have this module told of each coroutine that is dropped before it began.

    CPython calls a function of the module ``warnings`` for it, by its name there.
    """
    if are_on():
        _ferrio._hear_of_unawaited()


def _tell_of_unawaited(loop: Any, coroutine: Any) -> None:
    """Count, log and warn of a coroutine that is being dropped before it began."""
    frame = sys._getframe(1)
    origin = getattr(coroutine, "cr_origin", None)
    if origin:
        file, line, function = origin[0]
        site: task_views.Site | None = task_views.Site(file, line, function)
        where = f"made at {site}"
    else:
        site = resources.site_of(frame)
        # A call that is a statement makes its result and drops it; a variable keeps it for a while.
        verb = "made and dropped" if _is_dropping_a_result(frame, site) else "dropped"
        where = verb if site is None else f"{verb} at {site}"
    name = getattr(coroutine, "__qualname__", "?")
    code = getattr(coroutine, "cr_code", None)
    if code is not None and code.co_firstlineno:
        name += f" ({code.co_filename}:{code.co_firstlineno})"
    owner = resources.current_task()
    by = "outside of any task" if owner is None else f"in {owner}"
    message = f"never-awaited: coroutine {name} was dropped before it began; {where} {by}"
    _announce("never-awaited", message, site, loop)


def _is_dropping_a_result(frame: FrameType | None, site: task_views.Site | None) -> bool:
    """Whether ``frame``, which is at ``site``, is at the end of a statement that is a call."""
    if frame is None or site is None or frame.f_code.co_filename != site.file:
        return False
    position = frame.f_lasti
    return position >= 0 and frame.f_code.co_code[position] == _POP_TOP


_POP_TOP = opcode.opmap["POP_TOP"]


def _announce(kind: str, message: str, site: task_views.Site | None, loop: Any) -> None:
    with _lock:
        _counts[kind] += 1
        number = getattr(loop, "_number", None)
        if number is not None:
            _counts_by_loop.setdefault(number, Counter())[kind] += 1
    logger.warning("%s", message)
    if not any(action != "ignore" for action, _ in _filters()):
        # Unlike other warnings these are in the log, which is enough.
        return
    try:
        if site is None:
            warnings.warn(message, LifecycleWarning, stacklevel=2)
        else:
            warnings.warn_explicit(message, LifecycleWarning, site.file, site.line)
    except LifecycleWarning:
        if _are_to_be_errors():
            raise


def _filters() -> list[tuple[str, type[Warning]]]:
    """Return the actions and categories of the filters that these warnings meet."""
    # In 3.14 a context may have filters of its own.
    filters: Any = getattr(warnings, "_get_filters", lambda: warnings.filters)()
    return [
        (action, category)
        for action, _, category, _, _ in filters
        if issubclass(LifecycleWarning, category)
    ]


def _are_to_be_errors() -> bool:
    """Whether the filter that made an error of the warning meant it.

    Many a test suite makes errors of whatever anybody warns of. It has to do on ferrio's loop what
    it does on asyncio's: a task's result is not to be replaced, nor ``close()`` to raise.
    """
    return any(
        action == "error" and category is LifecycleWarning for action, category in _filters()
    ) or any(_makes_errors(option) for option in sys.warnoptions)


def _makes_errors(option: str) -> bool:
    """Whether an argument of ``python -W`` makes errors of such warnings."""
    action, _, category = (*option.split(":"), "", "")[:3]
    # It may be abbreviated.
    return "error".startswith(action.strip() or "?") and category.strip() in (
        "",
        Warning.__name__,
        RuntimeWarning.__name__,
    )


def loop_is_closing(loop: Any) -> list[tuple[str, task_views.Site | None]]:
    """Return what is alive that belongs to ``loop``, which is about to be closed."""
    if not are_on():
        return []
    left: list[tuple[str, task_views.Site | None]] = []
    for task in asyncio.all_tasks(loop):
        if isinstance(task, _ferrio.Task):
            described, site = _described(task)
            message = f"alive-at-close: {described[0]} is not done and its loop is closed; "
            left.append((message + described[1], site))
    made = resources.resources_of(loop)
    known = {id(resource) for resource, _ in made}
    for resource, how in made:
        verb = {"server": "listens", "subprocess": "runs"}.get(how.kind, "is open")
        words = f"alive-at-close: {resource!r} {verb} and its loop is closed; {how}"
        left.append((words, how.site))
    for transport in loop._open_transports():
        if id(transport) not in known:
            origin, site = resources.origin_of_connection(transport)
            words = f"alive-at-close: {transport!r} is open and its loop is closed{origin}"
            left.append((words, site))
    return left


def loop_is_closed(loop: Any, left: list[tuple[str, task_views.Site | None]]) -> None:
    """Tell of what was alive, and sum up what was told of before."""
    with _lock:
        counts = _counts_by_loop.pop(loop._number, None)
    if counts:
        words = ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items()))
        logger.warning("summary of loop %d at its end: %s", loop._number, words)
    raised: LifecycleWarning | None = None
    for message, site in left:
        try:
            _announce("alive-at-close", message, site, None)
        except LifecycleWarning as warning:
            raised = raised or warning
    if raised is not None:
        raise raised
