"""Running a coroutine to its end on a new loop: ``ferrio.run`` and ``ferrio.Runner``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from ferrio import _ferrio
from ferrio import watchdog as _watchdog
from ferrio.policy import new_event_loop

_Result = TypeVar("_Result")


class Runner(asyncio.Runner):  # type: ignore[misc]
    """``asyncio.Runner`` whose loop is ferrio's unless ``loop_factory`` makes another.

    A context manager: the loop is made at the first use; at the end tasks that are left are
    cancelled, asynchronous generators and the default executor shut down, and the loop closed.
    While no factory is given the loop is the thread's current one as well.

    ``watchdog`` is how many seconds the loop may be at one thing before that is told of
    (``ferrio.watchdog``), 0 for never; None leaves it to the environment's ``FERRIO_WATCHDOG``.
    Raises TypeError or ValueError when it is no time, and ValueError when a time is given and
    ``loop_factory`` makes a loop that is not ferrio's.

    asyncio calls its class final; it is the base here so that ``isinstance`` holds.
    """

    def __init__(
        self,
        *,
        debug: bool | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
        watchdog: float | None = None,
        strict: bool | None = None,
        task_times: bool | None = None,
    ) -> None:
        self._threshold = _watchdog.check_threshold(watchdog)
        self._factory = loop_factory or self._make_current_loop
        super().__init__(debug=debug, loop_factory=self._make_loop)
        self._strict = strict
        if task_times is not None:
            _ferrio._measure_steps(task_times)
        # Whether the thread's current loop was set here, and has to be unset.
        self._has_set_loop = False

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop, which is made if it was not used yet."""
        loop = super().get_loop()
        if self._strict is not None and isinstance(loop, _ferrio.EventLoop):
            loop._set_strict(self._strict)
        return loop

    def close(self) -> None:
        """Finish what is left in the loop and close it; may be called twice."""
        try:
            super().close()
        finally:
            if self._has_set_loop:
                self._has_set_loop = False
                asyncio.set_event_loop(None)

    def _make_loop(self) -> asyncio.AbstractEventLoop:
        loop = self._factory()
        if self._threshold is not None:
            if isinstance(loop, _ferrio.EventLoop):
                _watchdog.watch(loop, self._threshold)
            elif self._threshold:
                loop.close()
                raise ValueError(f"watchdog needs an event loop of ferrio's, not {loop!r}")
        return loop

    def _make_current_loop(self) -> asyncio.AbstractEventLoop:
        loop = new_event_loop()
        asyncio.set_event_loop(loop)
        self._has_set_loop = True
        return loop


def run(
    main: Coroutine[Any, Any, _Result],
    *,
    debug: bool | None = None,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    watchdog: float | None = None,
    strict: bool | None = None,
    task_times: bool | None = None,
) -> _Result:
    """Run ``main`` on a new loop of ferrio's, clean up, and return its result.

    ``debug`` switches debug mode on or off; None leaves it to the environment.
    ``loop_factory``, which ``asyncio.run`` has from 3.12, makes another loop.
    ``watchdog`` is how many seconds the loop may be at one thing before that is told of, see
    ``Runner``. ``strict`` has a certain deadlock raised as ``ferrio.DeadlockError`` in the task
    that closes it; None leaves it to ``FERRIO_STRICT``. ``task_times`` has CPU time and longest
    step of every task measured, for ``ferrio.tasks()``; None leaves it to ``FERRIO_TASK_TIMES``.
    Raises what ``main`` raises, ValueError when it is no coroutine, and RuntimeError when a loop is
    running in this thread.
    """
    if asyncio._get_running_loop() is not None:
        # As asyncio words it: programs know this message.
        raise RuntimeError("asyncio.run() cannot be called from a running event loop")
    with Runner(
        debug=debug,
        loop_factory=loop_factory,
        watchdog=watchdog,
        strict=strict,
        task_times=task_times,
    ) as runner:
        if strict is not None:
            runner.get_loop()
        return runner.run(main)
