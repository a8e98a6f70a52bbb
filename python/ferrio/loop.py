"""The event loop: the native loop and its parts, put together, and how it is run and closed."""

from __future__ import annotations

import asyncio
import threading
import warnings
from asyncio.log import logger
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

from ferrio import _ferrio, forking, inspection, lints, live_server, watchdog
from ferrio.async_generators import AsyncGeneratorPart
from ferrio.datagrams import DatagramsPart
from ferrio.debugging import DebuggingPart
from ferrio.exception_reporting import ExceptionReportingPart
from ferrio.listening import ListeningPart
from ferrio.processes import ProcessesPart
from ferrio.sending_files import SendingFilesPart
from ferrio.signals import SignalsPart

_Result = TypeVar("_Result")


class EventLoop(
    AsyncGeneratorPart,
    DatagramsPart,
    DebuggingPart,
    ExceptionReportingPart,
    ListeningPart,
    ProcessesPart,
    SendingFilesPart,
    SignalsPart,
):
    """An ``asyncio.AbstractEventLoop`` whose turns, tasks, timers and transports are native.

    Belongs to the thread that runs it: only ``call_soon_threadsafe``, ``is_running``,
    ``is_closed``, ``time`` and, while the loop runs, ``set_debug`` may be called from others.
    May be subclassed; an overridden ``time`` is honoured.
    """

    def __init__(self) -> None:
        super().__init__()
        # The generator hooks of the thread, to be put back when the loop stops.
        self._hooks_to_restore: Any = None
        forking.remember(self)
        inspection.open_if_wanted()
        live_server.serve_if_wanted()
        watchdog.watch(self)

    def __repr__(self) -> str:
        return (
            f"<{self.__class__.__name__} running={self.is_running()} "
            f"closed={self.is_closed()} debug={self.get_debug()}>"
        )

    def run_forever(self) -> None:
        """Run until ``stop()`` is called.

        Raises RuntimeError when the loop is closed or running, or another loop runs in this
        thread; KeyboardInterrupt and SystemExit of a callback, with which the loop stops.
        """
        self._run_forever_setup()
        try:
            self._run_turns()
        finally:
            self._run_forever_cleanup()

    def run_until_complete(
        self, future: Generator[Any, None, _Result] | Awaitable[_Result]
    ) -> _Result:
        """Run until ``future`` is done; return its result or raise its exception.

        A coroutine is made a task. Raises RuntimeError when the loop is stopped before, and
        whatever ``run_forever`` raises.
        """
        self._check_closed()
        self._check_running()
        is_new_task = not asyncio.isfuture(future)
        awaitable: Any = future
        task: asyncio.Future[_Result] = asyncio.ensure_future(awaitable, loop=self)
        if is_new_task:
            # The caller hears that the task did not finish: no need to log it as well.
            task._log_destroy_pending = False  # type: ignore[attr-defined]
        task.add_done_callback(self._stop_after)
        try:
            self.run_forever()
        except BaseException:
            if is_new_task and task.done() and not task.cancelled():
                # The caller gets the exception in another way and cannot get at the task:
                # it counts as retrieved.
                task.exception()
            raise
        finally:
            task.remove_done_callback(self._stop_after)
        if not task.done():
            raise RuntimeError("Event loop stopped before Future completed.")
        return task.result()

    def close(self) -> None:
        """Drop everything that is queued and free what the loop holds; may be called twice.

        The default executor is told to end but not waited for. Raises RuntimeError while the
        loop runs.
        """
        if self.is_running():
            raise RuntimeError("Cannot close a running event loop")
        if self.is_closed():
            return
        if self._debug:
            logger.debug("Close %r", self)
        # The interpreter may be going down, and the module with it.
        left = lints.loop_is_closing(self) if lints is not None else []
        try:
            # First, while the pipe is there that the C signal handlers write to.
            self._release_signals()
        finally:
            self._close()
            self._abandon_default_executor()
        if lints is not None:
            lints.loop_is_closed(self, left)

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # The default argument outlives this module's globals when the interpreter ends.
        if self.is_closed():
            return
        _warn(f"unclosed event loop {self!r}", ResourceWarning, source=self)
        if not self.is_running():
            self.close()

    def _check_running(self) -> None:
        if self.is_running():
            raise RuntimeError("This event loop is already running")
        if asyncio._get_running_loop() is not None:
            raise RuntimeError("Cannot run the event loop while another loop is running")

    def _stop_after(self, future: asyncio.Future[Any]) -> None:
        """Stop when what the loop was run for is done."""
        if not future.cancelled() and isinstance(
            future.exception(), (SystemExit, KeyboardInterrupt)
        ):
            # It has gone through run_forever() already, which is over: a stop() would end the
            # next run at once.
            return
        self.stop()

    def _run_forever_setup(self) -> None:
        """Make this the loop that runs in this thread."""
        self._check_closed()
        self._check_running()
        lints.hear_of_unawaited()
        self._track_coroutine_origins(self._debug)
        self._hooks_to_restore = self._take_asyncgen_hooks()
        self._thread_id = threading.get_ident()
        asyncio._set_running_loop(self)

    def _run_forever_cleanup(self) -> None:
        """Undo ``_run_forever_setup``."""
        self._thread_id = None
        asyncio._set_running_loop(None)
        self._track_coroutine_origins(False)
        self._restore_asyncgen_hooks(self._hooks_to_restore)
        self._hooks_to_restore = None


# A method is called faster on objects of the very class that it belongs to.
_ferrio._adopt_methods(EventLoop)
