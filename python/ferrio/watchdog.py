"""The watchdog: who blocks a loop, told while it does.

A native thread looks at what each loop is at. Once that takes longer than the threshold, it says
which line it is, in which task and why, on standard error or in the file that
``FERRIO_WATCHDOG_FILE`` names, without waiting for the interpreter. As soon as that can be had the
same report goes to the logger ``ferrio.watchdog`` and to whoever called ``on_block``.
"""

from __future__ import annotations

import logging
import math
import os
import re
import threading
from collections.abc import Callable
from typing import Any, NamedTuple

from ferrio import _ferrio
from ferrio.plain_data import parsed

logger = logging.getLogger("ferrio.watchdog")

# Under this a report would take longer than what it reports.
_SHORTEST = 0.001

_UNITS = {"ms": 0.001, "s": 1.0, "": 1.0}


class Site(NamedTuple):
    """A place in a program."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


class Holder(NamedTuple):
    """The thread that held the interpreter while the loop waited for it."""

    # The kernel's number of the thread, its name if it has one, and where it was.
    thread: int
    name: str | None
    site: Site | None


class Block(NamedTuple):
    """What the watchdog says of a block at one moment.

    A block is told of when it has lasted for the threshold, again at twice, four times, eight times
    that, and once when it is ``over``; ``id`` is the same in all of these, ``number`` counts them
    from 1. ``seconds`` is how long it had lasted at least.

    ``site`` is the innermost Python frame, ``source`` its line as it is on disk, ``stack`` the
    frames of the loop's thread, the outermost first. ``task``, ``coroutine``, ``created`` and
    ``owner`` say whose step it was, None where that is not known or it was no task's; ``function``
    is then what was called. ``cause`` is "python", "c-gil", "c-nogil", "syscall:NAME", "gil-wait"
    (with the ``holder``), "gc", "descheduled" or "unknown".

    ``began_at`` and ``detected_at`` are on the clock of ``time.monotonic()``. ``message`` is all of
    that in one line, and ``text`` in several.
    """

    id: int
    number: int
    over: bool
    seconds: float
    threshold: float
    cause: str
    site: Site | None
    source: str | None
    stack: tuple[Site, ...]
    task: str | None
    coroutine: str | None
    created: Site | None
    owner: str | None
    function: str | None
    holder: Holder | None
    thread: int
    began_at: float
    detected_at: float
    message: str
    text: str


class BlockedSite(NamedTuple):
    """The blocks of one place: how many, and how many seconds in all and the longest."""

    site: Site | None
    count: int  # type: ignore[assignment]
    total: float
    longest: float
    cause: str


def on_block(callback: Callable[[Block], object]) -> Callable[[], None]:
    """Have ``callback(block)`` called with every report of a block, from now on.

    It is called in a thread of ferrio's own, not the loop's, as soon as the interpreter can be had:
    during the block unless that is C code which keeps the interpreter. What it raises goes to
    ``sys.unraisablehook``. Returns a function that ends it, which may be called more than once. May
    be called from any thread; loops are watched when they are asked to be (``run(watchdog=…)``).
    """
    if not callable(callback):
        raise TypeError(f"a callable is needed, not {type(callback).__name__}")
    # Its own object, for the same callback may be given twice.
    entry = (callback,)
    _callbacks.append(entry)

    def unsubscribe() -> None:
        for index, other in enumerate(_callbacks):
            if other is entry:
                del _callbacks[index]
                return

    return unsubscribe


def blocks() -> list[BlockedSite]:
    """Return the blocks of this process's loops so far by place, those with the most time first.

    May be called from any thread. Blocks whose place could not be seen are in an entry whose
    ``site`` is None, as are those beyond the thousandth place.
    """
    return [
        BlockedSite(
            _site(entry["site"]), entry["count"], entry["total"], entry["longest"], entry["cause"]
        )
        for entry in parsed(_ferrio._blocks_by_site())
    ]


def recent_blocks() -> list[Block]:
    """Return the last hundred blocks with what was last said of each, the oldest first.

    May be called from any thread, also while the block lasts.
    """
    return [_block(entry) for entry in parsed(_ferrio._recent_blocks())]


def check_threshold(seconds: float | None) -> float | None:
    """Return the seconds given to ``run(watchdog=…)``: None for those of the environment.

    Raises TypeError for what is no number, ValueError for one that is no time. 0 is off.
    """
    if seconds is None:
        return None
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)):
        raise TypeError(f"watchdog must be a number of seconds, not {type(seconds).__name__}")
    if seconds == 0:
        return 0.0
    if not math.isfinite(seconds) or seconds < _SHORTEST:
        raise ValueError(
            f"watchdog must be 0 (off) or at least {_SHORTEST} seconds, not {seconds!r}"
        )
    return float(seconds)


def parse_threshold(text: str, name: str) -> float:
    """Return the seconds that ``text`` means: "100ms", "0.1s", "0.1"; 0 for "0" and "".

    Raises ValueError, which says what is wrong with ``name``.
    """
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(ms|s|)\s*", text)
    seconds = float(found[1]) * _UNITS[found[2]] if found else None
    if not text.strip() or seconds == 0:
        return 0.0
    if seconds is None or not math.isfinite(seconds) or seconds < _SHORTEST:
        raise ValueError(
            f'{name} must be a time like "100ms" or "0.1", of 1 ms at least, or 0, not {text!r}'
        )
    return seconds


class _Choice:
    """What the process's command line, its program and its tests want of the watchdog."""

    def __init__(self) -> None:
        # Off, whatever the program asks for.
        self.is_silenced = False
        # For loops of which nothing else is said, in seconds; 0 for none.
        self.default = 0.0
        # Whether the program, or the environment, has asked to be told. Otherwise only those are
        # told who have prepared for it.
        self.is_asked = False
        # While a test runs that must not block no loop has more, in seconds.
        self.most: float | None = None

    def threshold(self, asked: float | None) -> float:
        """Return the threshold of a loop for which so much was asked, 0 for none.

        Raises ValueError when the environment's is no time.
        """
        default = self.default
        text = os.environ.get("FERRIO_WATCHDOG")
        if text is not None:
            default = parse_threshold(text, "FERRIO_WATCHDOG")
        if self.is_silenced or (text is not None and not default):
            seconds = 0.0
        else:
            seconds = default if asked is None else asked
            self.is_asked |= bool(seconds) and (asked is not None or text is not None)
        if self.most is not None:
            return min(seconds or self.most, self.most)
        return seconds


choice = _Choice()

# What on_block() was given, each in a tuple of its own.
_callbacks: list[tuple[Callable[[Block], object]]] = []


def watch(loop: _ferrio.EventLoop, asked: float | None = None) -> None:
    """Have a loop watched, as it was asked for or as the process has it."""
    seconds = choice.threshold(asked)
    if seconds:
        _choose_sinks()
    loop._be_watched(seconds or None)


def _choose_sinks() -> None:
    path = os.environ.get("FERRIO_WATCHDOG_FILE") or None
    is_shown = path is None and (choice.is_asked or os.isatty(2))
    _ferrio._set_watchdog_sinks(is_shown, path)


def _deliver(report: str, log_text: str | None) -> None:
    """Hand a report on; called in the native thread that has waited for the interpreter."""
    block = _block(parsed(report))
    thread = _Here()
    try:
        if log_text is not None and _has_log():
            logger.warning("%s", log_text)
        for (callback,) in _callbacks.copy():
            _ferrio._call_and_report(callback, block)
    finally:
        thread.leave()


def _has_log() -> bool:
    """Whether somebody reads the log: standard error has been written to already."""
    if choice.is_asked:
        return logger.hasHandlers()
    return bool(logger.handlers or logging.getLogger("ferrio").handlers)


class _Here:
    """Gives the native thread a name for the log, and takes it out of threading's list again."""

    def __init__(self) -> None:
        thread = threading.current_thread()
        thread.name = "ferrio-python"

    def leave(self) -> None:
        active: dict[int, threading.Thread] = threading._active  # type: ignore[attr-defined]
        active.pop(threading.get_ident(), None)


def _site(entry: dict[str, Any] | None) -> Site | None:
    return Site(**entry) if entry else None


def _block(entry: dict[str, Any]) -> Block:
    culprit = entry["culprit"]
    is_task = culprit["kind"] == "task"
    holder = entry["holder"]
    stack = tuple(Site(**site) for site in entry["stack"])
    return Block(
        id=entry["block"],
        number=entry["number"],
        over=entry["over"],
        seconds=entry["seconds"],
        threshold=entry["threshold"],
        cause=entry["cause"],
        site=_site(entry["site"]),
        source=entry["source"],
        stack=stack,
        task=culprit["name"] if is_task else None,
        coroutine=culprit["coroutine"] if is_task else None,
        created=_site(culprit["created"]) if is_task else None,
        owner=culprit["owner"] if is_task else None,
        function=culprit.get("function"),
        holder=holder and Holder(holder["thread"], holder["name"], _site(holder["site"])),
        thread=entry["thread"],
        began_at=entry["began_at"],
        detected_at=entry["detected_at"],
        message=entry["message"],
        text=entry["text"],
    )
