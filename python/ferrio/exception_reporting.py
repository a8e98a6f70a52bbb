"""Errors without a caller: the loop's exception handler, and what it prints by default."""

from __future__ import annotations

import sys
import traceback
from asyncio.log import logger
from collections.abc import Callable
from typing import Any, TypeAlias

from ferrio.loop_part import LoopPart

ExceptionHandler: TypeAlias = Callable[[Any, dict[str, Any]], object]

# Context keys that hold a stack (a list of traceback.FrameSummary) and how each is introduced.
_STACK_TITLES = {
    "source_traceback": "Object created at (most recent call last):\n",
    "handle_traceback": "Handle created at (most recent call last):\n",
}


class ExceptionReportingPart(LoopPart):
    """Hands errors to the handler that the user set, or logs them."""

    def __init__(self) -> None:
        super().__init__()
        # The user's handler; None while the default one is in use.
        self._exception_handler: ExceptionHandler | None = None

    def get_exception_handler(self) -> ExceptionHandler | None:
        """Return the handler set by ``set_exception_handler``; None is the default one."""
        return self._exception_handler

    def set_exception_handler(self, handler: ExceptionHandler | None) -> None:
        """Set ``handler(loop, context)`` as what hears of errors; None restores the default.

        Raises TypeError when ``handler`` is neither callable nor None.
        """
        if handler is not None and not callable(handler):
            raise TypeError(f"A callable object or None is expected, got {handler!r}")
        self._exception_handler = handler

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        """Report an error that has no caller.

        ``context`` has a ``message`` and may have ``exception``, ``future``, ``task``,
        ``handle``, ``protocol``, ``transport``, ``socket``, ``asyncgen``. An error inside the
        handler is logged and goes no further; SystemExit and KeyboardInterrupt go through.
        From 3.12 the user's handler runs in the context of the task, future or handle.
        """
        if self._exception_handler is None:
            self._report_by_default(context, "Exception in default exception handler")
            return
        try:
            self._run_exception_handler(self._exception_handler, context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException as error:
            self._report_by_default(
                {
                    "message": "Unhandled error in exception handler",
                    "exception": error,
                    "context": context,
                },
                "Exception in default exception handler while handling an unexpected error "
                "in custom exception handler",
            )

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        """Log ``context`` as an error of the logger ``asyncio``, with the exception's traceback.

        In debug mode the record shows where the object or the running handle was created. A
        handler of the user's may call this to fall back on it.
        """
        lines = [context.get("message") or "Unhandled exception in event loop"]
        handle = self._current_handle
        if "source_traceback" not in context and handle is not None:
            stack = getattr(handle, "_source_traceback", None)
            if stack:
                context["handle_traceback"] = stack
        lines += [
            f"{key}: {_describe(key, context[key])}"
            for key in sorted(context)
            if key not in ("message", "exception")
        ]
        exception = context.get("exception")
        exc_info: Any = False
        if exception is not None:
            exc_info = (type(exception), exception, exception.__traceback__)
        logger.error("\n".join(lines), exc_info=exc_info)

    def _report_by_default(self, context: dict[str, Any], last_words: str) -> None:
        """Call ``default_exception_handler``, which a subclass may have broken."""
        try:
            self.default_exception_handler(context)
        except (SystemExit, KeyboardInterrupt):
            raise
        except BaseException:
            logger.error(last_words, exc_info=True)

    def _run_exception_handler(self, handler: ExceptionHandler, context: dict[str, Any]) -> None:
        if sys.version_info < (3, 12):
            handler(self, context)
            return
        subject = next(
            (context[key] for key in ("task", "future", "handle") if context.get(key) is not None),
            None,
        )
        get_context = getattr(subject, "get_context", None)
        run_in = getattr(get_context(), "run", None) if get_context is not None else None
        if run_in is None:
            handler(self, context)
        else:
            run_in(handler, self, context)


def _describe(key: str, value: Any) -> str:
    title = _STACK_TITLES.get(key)
    if title is None:
        return repr(value)
    return title + "".join(traceback.format_list(value)).rstrip()
