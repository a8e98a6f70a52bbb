"""Threads for name lookups, so that these do not queue behind other blocking work.

A thread lives as long as there are lookups to make and no longer: between lookups there is none, at
a fork as little as at the loop's end.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Any, NamedTuple

from ferrio import _ferrio

# How many lookups of one loop are made at the same time; as many as the largest default executor
# of Python's would make.
MOST_THREADS = 32


class _Lookup(NamedTuple):
    function: Callable[..., Any]
    arguments: tuple[Any, ...]
    # Whom to tell; belongs to the loop's thread.
    answer: asyncio.Future[Any]
    # Nanoseconds on the monotonic clock.
    submitted: int


class ResolverThreads:
    """Makes the lookups of one loop. All methods are for the loop's thread.

    The loop holds this, and this does not hold the loop: a closed loop goes with its last
    reference, without the garbage collector.
    """

    def __init__(self) -> None:
        # Guards what is below, which the threads use as well.
        self._lock = threading.Lock()
        self._waiting: deque[_Lookup] = deque()
        # Those that make lookups, and those of them that are in one right now.
        self._working: set[threading.Thread] = set()
        self._busy: set[threading.Thread] = set()
        # Those that found nothing more to do; they are as good as gone.
        self._ending: list[threading.Thread] = []

    def submit(
        self, loop: _ferrio.EventLoop, function: Callable[..., Any], *arguments: Any
    ) -> asyncio.Future[Any]:
        """Call ``function(*arguments)`` in a thread; return a future of the loop for its outcome.

        Cancelling the future forgets a lookup that has not begun; one that has is let go on.
        Raises RuntimeError when the system has no thread.
        """
        answer: asyncio.Future[Any] = loop.create_future()
        with self._lock:
            self._ending = [thread for thread in self._ending if thread.is_alive()]
            self._waiting.append(_Lookup(function, arguments, answer, time.monotonic_ns()))
            loop._count_lookup()
            if len(self._working) >= MOST_THREADS:
                return answer
            thread = threading.Thread(target=self._work, name="ferrio-resolver")
            self._working.add(thread)
        try:
            thread.start()
        except BaseException:
            with self._lock:
                self._working.discard(thread)
                # Other threads come to the lookup in time.
                if self._working:
                    return answer
                self._waiting.pop()
            raise
        return answer

    def has_threads(self) -> bool:
        """Return whether there is a thread that has not ended."""
        with self._lock:
            return any(thread.is_alive() for thread in (*self._working, *self._ending))

    def join(self) -> None:
        """Wait until every lookup is made and no thread is left. From any thread but those."""
        while True:
            with self._lock:
                threads = [*self._working, *self._ending]
                self._ending = []
            if not threads:
                return
            for thread in threads:
                thread.join()

    def join_idle(self) -> None:
        """Wait for the threads that have made their lookups; those in one are left alone."""
        while True:
            with self._lock:
                threads = [*(self._working - self._busy), *self._ending]
                self._ending = []
            if not threads:
                return
            for thread in threads:
                while thread.is_alive() and thread not in self._busy:
                    thread.join(0.01)

    def forget_waiting(self) -> None:
        """Make no lookup any more that has not begun; the loop is being closed."""
        with self._lock:
            self._waiting.clear()

    def _work(self) -> None:
        """Make lookups until there are no more; a thread's whole life."""
        thread = threading.current_thread()
        while (lookup := self._next(thread)) is not None:
            self._make(lookup)
            # Nothing of it may live on in this frame while another is made.
            del lookup
            self._busy.discard(thread)

    def _next(self, thread: threading.Thread) -> _Lookup | None:
        with self._lock:
            if self._waiting:
                self._busy.add(thread)
                return self._waiting.popleft()
            # Under the lock that saw no lookup: the next one starts a thread.
            self._working.discard(thread)
            self._ending.append(thread)
            return None

    def _make(self, lookup: _Lookup) -> None:
        if lookup.answer.cancelled():
            return
        result: Any = None
        error: BaseException | None = None
        begun = time.monotonic_ns()
        try:
            result = lookup.function(*lookup.arguments)
        except BaseException as raised:
            error = raised
        loop: Any = lookup.answer.get_loop()
        loop._count_lookup_made(
            begun - lookup.submitted, time.monotonic_ns() - begun, error is not None
        )
        try:
            loop.call_soon_threadsafe(_settle, lookup.answer, result, error)
        except RuntimeError:
            # The loop was closed meanwhile: nobody waits for the answer any more.
            if not loop.is_closed():
                raise
        finally:
            # Its traceback refers to this frame.
            error = None


def _settle(answer: asyncio.Future[Any], result: Any, error: BaseException | None) -> None:
    if answer.done():
        return
    if error is None:
        answer.set_result(result)
    else:
        answer.set_exception(error)
