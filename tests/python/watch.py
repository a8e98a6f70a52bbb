"""What a test must not leave: reports, warnings, log records, handles, tasks, descriptors."""

import asyncio
import contextlib
import gc
import logging
import os
import sys
import threading
import warnings
from typing import Any

import ferrio
from ferrio import deadlocks
from turns import run_turns


class Reports:
    """What a loop's exception handler was told. A test takes what it expected to be told."""

    def __init__(self) -> None:
        self._contexts: list[dict[str, Any]] = []

    def __call__(self, loop: Any, context: dict[str, Any]) -> None:
        self._contexts.append(context)

    def __len__(self) -> int:
        return len(self._contexts)

    def take(self) -> list[dict[str, Any]]:
        """All reports so far; they are forgotten here."""
        taken, self._contexts = self._contexts, []
        return taken

    def take_one(self) -> dict[str, Any]:
        taken = self.take()
        assert len(taken) == 1, taken
        return taken[0]

    def messages(self) -> list[str]:
        """The messages of all reports so far; they are forgotten here."""
        return [context["message"] for context in self.take()]


class LogRecords(logging.Handler):
    """Warnings and errors of the logger ``asyncio``. A test takes what it expected to be logged."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self._records: list[logging.LogRecord] = []
        self._level_before = logging.NOTSET

    def emit(self, record: logging.LogRecord) -> None:
        # Formatted here: the objects in it must not be kept alive until a test looks.
        record.msg, record.args = record.getMessage(), None
        record.exc_text = (
            logging.Formatter().formatException(record.exc_info) if record.exc_info else None
        )
        record.exc_info = None
        self._records.append(record)

    def take(self) -> list[logging.LogRecord]:
        taken, self._records = self._records, []
        return taken

    def texts(self) -> list[str]:
        """The messages so far, with their tracebacks; they are forgotten here."""
        return ["\n".join(filter(None, (record.msg, record.exc_text))) for record in self.take()]

    @contextlib.contextmanager
    def attached(self) -> Any:
        logger = logging.getLogger("asyncio")
        logger.addHandler(self)
        propagate, logger.propagate = logger.propagate, False
        try:
            yield self
        finally:
            logger.propagate = propagate
            logger.removeHandler(self)


@contextlib.contextmanager
def no_complaints() -> Any:
    """Fail at the end if there were warnings, unraisable exceptions or dead threads' exceptions.

    Garbage is collected at the end, so that what cycles have to complain of is heard.
    """
    complaints: list[str] = []

    def unraisable(unraisable: Any) -> None:
        complaints.append(
            f"unraisable: {unraisable.exc_value!r} {unraisable.err_msg} {unraisable.object!r}"
        )

    def thread_exception(arguments: Any) -> None:
        complaints.append(f"exception in {arguments.thread}: {arguments.exc_value!r}")

    hooks = sys.unraisablehook, threading.excepthook
    sys.unraisablehook, threading.excepthook = unraisable, thread_exception
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            # Tests of odd lives of tasks are not about these; test_lints.py is.
            warnings.simplefilter("ignore", ferrio.LifecycleWarning)
            yield
            gc.collect()
    finally:
        sys.unraisablehook, threading.excepthook = hooks
    complaints += [str(warning) for warning in caught or []]
    assert not complaints, "\n".join(complaints)


@contextlib.contextmanager
def collecting_all_the_time() -> Any:
    """The garbage collector runs after every object or two that are made."""
    threshold = gc.get_threshold()
    gc.set_threshold(1, 1, 1)
    try:
        yield
    finally:
        gc.set_threshold(*threshold)


def open_descriptors() -> dict[int, str]:
    """The process's open file descriptors and what they are."""
    descriptors = {}
    for name in os.listdir("/proc/self/fd"):
        # The descriptor of the listing itself is gone by now.
        with contextlib.suppress(OSError):
            descriptors[int(name)] = os.readlink(f"/proc/self/fd/{name}")
    return descriptors


def newly_opened(before: dict[int, str]) -> dict[int, str]:
    """What is open now and was not ``before``."""
    return {fd: what for fd, what in open_descriptors().items() if fd not in before}


def warnings_of(logger: str, caplog: Any) -> list[str]:
    """The messages of a logger's warnings that ``caplog`` has caught."""
    return [
        record.getMessage()
        for record in caplog.records
        if (record.name, record.levelno) == (logger, logging.WARNING)
    ]


def leftovers(loop: Any) -> list[str]:
    """What a loop that has nothing to do any more still holds."""
    # What ends in a few turns was on its way out: done-callbacks, transports being closed.
    if not loop.is_closed():
        run_turns(loop, 5)
    gc.collect()
    left = [f"task: {task!r}" for task in asyncio.all_tasks(loop)]
    if loop.is_closed():
        return left
    if hasattr(loop, "_selector"):
        handles = [*loop._ready, *loop._scheduled]
        for key in loop._selector.get_map().values():
            handles += [handle for handle in key.data if handle is not None]
        internal = [loop._read_from_self]
    else:
        # The native loop shows the garbage collector what it holds, and so us.
        handles = [
            held
            for held in gc.get_referents(loop)
            if isinstance(held, (asyncio.Handle, asyncio.BaseTransport))
        ]
        # A second after a wait has begun somebody looks whether it is a deadlock.
        internal = [deadlocks._look_again, deadlocks._look_for_stuck]
    for handle in handles:
        if isinstance(handle, asyncio.Handle):
            if handle.cancelled() or handle._callback in internal:
                continue
        left.append(f"handle: {handle!r}")
    return left
