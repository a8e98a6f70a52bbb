"""Blocking calls in threads: the loop's default executor, and other people's executors.

``run_in_executor`` itself is native.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ferrio.loop_part import LoopPart

if TYPE_CHECKING:
    from concurrent.futures import Executor, ThreadPoolExecutor

_Result = TypeVar("_Result")


class ExecutorPart(LoopPart):
    """Owns the default executor: makes it at its first use, shuts it down with the loop."""

    def __init__(self) -> None:
        super().__init__()
        # What run_in_executor(None, …) uses; made on demand or set by the user.
        self._default_executor: ThreadPoolExecutor | None = None
        # Set by shutdown_default_executor() and close(): no new work for the default executor.
        self._executor_shutdown_called = False

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
        self._use_thread_pool(None)
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

    def _run_in_any_executor(
        self, executor: Executor, func: Callable[..., _Result], args: tuple[Any, ...]
    ) -> asyncio.Future[_Result]:
        """Go through ``submit()`` and the future that it returns."""
        return asyncio.wrap_future(executor.submit(func, *args), loop=self)

    def _usable_default_executor(self) -> Any:
        """Return the default executor, made if there is none."""
        if self._executor_shutdown_called:
            raise RuntimeError("Executor shutdown has been called")
        if self._default_executor is None:
            # Not before it is needed: it imports what most programs have no use for.
            from ferrio import default_executor

            self._default_executor = default_executor.make(self)
            self._use_thread_pool(getattr(self._default_executor, "pool", None))
        return self._default_executor

    def _start_worker(self, ticket: int) -> None:
        """Start the thread that the default executor wants for what it was just given."""
        executor: Any = self._default_executor
        executor.start_worker(ticket)

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
        self._use_thread_pool(None)
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
