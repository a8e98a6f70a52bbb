"""The default executor that a loop makes for itself: Python's threads, ferrio's queue.

It is a ``ThreadPoolExecutor``, for those who look at ``loop._default_executor`` or submit to it
themselves. ``run_in_executor(None, …)`` and ``to_thread`` do not go through ``submit()``: their
calls go to the threads by the native queue, and come back by the loop's.
"""

from __future__ import annotations

import concurrent.futures
import os
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import thread as standard
from typing import Any, TypeVar

from ferrio import _ferrio

_Result = TypeVar("_Result")

# What a program, or a tool that watches it, may have put in place of these is to be used.
_standard_class = concurrent.futures.ThreadPoolExecutor
_standard_submit = _standard_class.submit


def make(loop: _ferrio.EventLoop) -> concurrent.futures.ThreadPoolExecutor:
    """Make the default executor of ``loop``.

    It is a plain ThreadPoolExecutor where that class, or its ``submit()``, is not the standard
    library's any more.
    """
    current = concurrent.futures.ThreadPoolExecutor
    if current is not _standard_class or current.submit is not _standard_submit:
        return current(thread_name_prefix="asyncio")
    return DefaultExecutor(loop)


class DefaultExecutor(concurrent.futures.ThreadPoolExecutor):
    """The threads of one loop."""

    def __init__(self, loop: _ferrio.EventLoop) -> None:
        super().__init__(thread_name_prefix="asyncio")
        self.pool = _ferrio.ThreadPool(loop, self._max_workers)
        # Read by those who watch how busy an executor is.
        self._work_queue: Any = _Waiting(self.pool)
        self._threads: set[threading.Thread] = set()
        # Held while a thread is started, so that whoever ends all of them sees it.
        self._starting = threading.Lock()
        _executors.add(self)

    def submit(
        self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any
    ) -> concurrent.futures.Future[_Result]:
        """Have ``fn(*args, **kwargs)`` called in a thread; return a future for its outcome.

        From any thread. Raises RuntimeError after ``shutdown()`` and when the interpreter ends.
        """
        call = _Call(fn, args, kwargs)
        with self._shutdown_lock:
            if standard._shutdown:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            ticket = self.pool.submit(call)
        if ticket is not None:
            self.start_worker(ticket)
        return call.future

    def start_worker(self, ticket: int) -> None:
        """Start the thread that the pool wants for the job with that ticket.

        Raises RuntimeError when there can be none and no other thread comes to the job.
        """
        thread: threading.Thread | None = None
        try:
            if standard._shutdown:
                raise RuntimeError("cannot schedule new futures after interpreter shutdown")
            with self._starting:
                thread = threading.Thread(
                    target=self.pool.work, name=f"{self._thread_name_prefix}_{len(self._threads)}"
                )
                thread.start()
                self._remember(thread)
        except BaseException as error:
            if thread is not None and thread.ident is not None:
                # An interrupt, say, that came when the thread had been started.
                self._remember(thread)
                raise
            if self.pool.thread_failed(ticket) or not isinstance(error, Exception):
                raise

    def _remember(self, thread: threading.Thread) -> None:
        self._threads.add(thread)
        # Where the standard library's executors are ended before the interpreter, and where
        # programs that do not want to wait for their threads take them out.
        standard._threads_queues[thread] = _EndOfInterpreter(self.pool)  # type: ignore[index]
        if standard._shutdown:
            # The interpreter has ended them meanwhile, and did not see this one.
            self.pool.shut_down()

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Refuse new work; the threads end when they have done what there is.

        ``wait`` waits for that. ``cancel_futures`` cancels what has not begun.
        """
        with self._shutdown_lock:
            self._shutdown = True
            self.pool.shut_down()
        if cancel_futures:
            for waiting in self.pool.discard():
                if isinstance(waiting, _Call):
                    waiting.cancel()
                elif not (loop := waiting.get_loop()).is_closed():
                    loop.call_soon_threadsafe(waiting.cancel)
        if wait:
            with self._starting:
                threads = list(self._threads)
            for thread in threads:
                thread.join()

    def __del__(self) -> None:
        # Only its threads still know the pool, and they wait for it to end. There is none if
        # making it has failed.
        pool = self.__dict__.get("pool")
        if pool is not None:
            pool.shut_down()


# Those of this process. Only a fork looks at them.
_executors: weakref.WeakSet[DefaultExecutor] = weakref.WeakSet()


def _after_in_child() -> None:
    """Let go of the executors: a fork's child has no such threads, and may have a locked lock."""
    for executor in list(_executors):
        executor.pool.abandon()
    _executors.clear()


os.register_at_fork(after_in_child=_after_in_child)


class _Call:
    """What ``submit()`` puts into the queue."""

    def __init__(
        self, function: Callable[..., Any], arguments: tuple[Any, ...], keywords: dict[str, Any]
    ) -> None:
        self.future: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._function = function
        self._arguments = arguments
        self._keywords = keywords

    def __call__(self) -> None:
        if not self.future.set_running_or_notify_cancel():
            return
        try:
            result = self._function(*self._arguments, **self._keywords)
        except BaseException as error:
            self.future.set_exception(error)
            # The traceback refers to this frame, and this frame to the future.
            del self
        else:
            self.future.set_result(result)

    def cancel(self) -> None:
        """Have it not made."""
        self.future.cancel()


class _Waiting:
    """How many jobs wait, in the words of a queue."""

    def __init__(self, pool: _ferrio.ThreadPool) -> None:
        self._pool = pool

    def qsize(self) -> int:
        """Return how many jobs have not begun."""
        return self._pool.waiting()

    def empty(self) -> bool:
        """Return True if every job has begun."""
        return self._pool.waiting() == 0


class _EndOfInterpreter:
    """What the standard library tells its executors' queues when the interpreter ends."""

    def __init__(self, pool: _ferrio.ThreadPool) -> None:
        self._pool = pool

    def put(self, item: None) -> None:
        """Have the threads end."""
        self._pool.shut_down()
