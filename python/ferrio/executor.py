"""Blocking calls in threads: ``run_in_executor`` and the loop's default executor."""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar, TypeVarTuple

from ferrio.callbacks import check_callback
from ferrio.loop_part import LoopPart

if TYPE_CHECKING:
    from concurrent.futures import Executor, ThreadPoolExecutor

_Result = TypeVar("_Result")
_Arguments = TypeVarTuple("_Arguments")


class ExecutorPart(LoopPart):
    """Owns the default executor: makes it at its first use, shuts it down with the loop."""

    def __init__(self) -> None:
        super().__init__()
        # What run_in_executor(None, …) uses; made on demand or set by the user.
        self._default_executor: ThreadPoolExecutor | None = None
        # Set by shutdown_default_executor() and close(): no new work for the default executor.
        self._executor_shutdown_called = False

    def run_in_executor(
        self,
        executor: Executor | None,
        func: Callable[[*_Arguments], _Result],
        *args: *_Arguments,
    ) -> asyncio.Future[_Result]:
        """Run ``func(*args)`` in ``executor``; return a future of the loop with its outcome.

        ``executor=None`` is the default executor, a ThreadPoolExecutor made at its first use.
        Raises RuntimeError when the loop is closed or its default executor was shut down.
        """
        self._check_closed()
        if self._debug:
            check_callback(func, "run_in_executor")
        if executor is None:
            executor = self._usable_default_executor()
        return asyncio.wrap_future(executor.submit(func, *args), loop=self)

    def set_default_executor(self, executor: Executor) -> None:
        """Make ``executor`` the default one. TypeError unless it is a ThreadPoolExecutor."""
        if not isinstance(executor, concurrent.futures.ThreadPoolExecutor):
            raise TypeError("executor must be ThreadPoolExecutor instance")
        self._default_executor = executor

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        """Let the default executor finish its work, end its threads, and refuse new work.

        ``timeout`` is in seconds and None waits without a limit. When it has passed, a
        RuntimeWarning is emitted and the threads are left to end by themselves.
        """
        self._executor_shutdown_called = True
        executor = self._default_executor
        if executor is None and not self._has_other_threads():
            return
        finished = self.create_future()
        thread = threading.Thread(target=self._join_threads, args=(executor, finished))
        thread.start()
        try:
            async with asyncio.timeout(timeout):
                await finished
        except TimeoutError:
            warnings.warn(
                f"The executor did not finishing joining its threads within {timeout} seconds.",
                RuntimeWarning,
                stacklevel=2,
            )
            if executor is not None:
                executor.shutdown(wait=False)
        else:
            thread.join()

    def _usable_default_executor(self) -> ThreadPoolExecutor:
        if self._executor_shutdown_called:
            raise RuntimeError("Executor shutdown has been called")
        if self._default_executor is None:
            # Through the package, which imports its submodule when it is asked for the class.
            self._default_executor = concurrent.futures.ThreadPoolExecutor(
                thread_name_prefix="asyncio"
            )
        return self._default_executor

    def _check_executor(self) -> None:
        """Raise RuntimeError once the loop is closed or has shut its blocking work down."""
        self._check_closed()
        if self._executor_shutdown_called:
            raise RuntimeError("Executor shutdown has been called")

    def _has_other_threads(self) -> bool:
        """Return whether there are threads that the default executor knows nothing of."""
        return False

    def _join_other_threads(self) -> None:
        """Wait for those threads to end."""

    def _join_threads(
        self, executor: ThreadPoolExecutor | None, finished: asyncio.Future[None]
    ) -> None:
        """Wait for the loop's threads (in a thread of its own) and tell the loop."""
        error: Exception | None = None
        try:
            if executor is not None:
                executor.shutdown(wait=True)
            self._join_other_threads()
        except Exception as raised:
            error = raised
        try:
            self.call_soon_threadsafe(_settle, finished, error)
        except RuntimeError:
            # The loop was closed while the threads ended: nobody waits for them any more.
            if not self.is_closed():
                raise

    def _abandon_default_executor(self) -> None:
        """Shut the default executor down without waiting; the loop is being closed."""
        self._executor_shutdown_called = True
        executor, self._default_executor = self._default_executor, None
        if executor is not None:
            executor.shutdown(wait=False)


def _settle(finished: asyncio.Future[None], error: Exception | None) -> None:
    if finished.done():
        return
    if error is None:
        finished.set_result(None)
    else:
        finished.set_exception(error)
