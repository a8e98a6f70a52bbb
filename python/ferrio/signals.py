"""Signals: callbacks of the loop that run when the process is sent a signal.

The interpreter's own C handler writes the number of every signal that has a Python handler into
a pipe of the loop (``signal.set_wakeup_fd``). So a signal that arrives before the loop runs, or
while it waits, is there when the loop polls next. The loop reads the pipe and calls
``_handle_signal``.
"""

from __future__ import annotations

import errno
import signal
import sys
import warnings
from asyncio.log import logger
from collections.abc import Callable
from types import FrameType
from typing import NoReturn, TypeVarTuple

from ferrio import _ferrio
from ferrio.callbacks import is_coroutine_or_coroutine_function
from ferrio.loop_part import LoopPart

_Arguments = TypeVarTuple("_Arguments")


class SignalsPart(LoopPart):
    """``add_signal_handler`` and its opposite; works in the main thread only."""

    def __init__(self) -> None:
        super().__init__()
        # The handle to run for each signal that has a handler of this loop.
        self._signal_handlers: dict[int, _ferrio.Handle] = {}

    def add_signal_handler(
        self,
        sig: int,
        callback: Callable[[*_Arguments], object],
        *args: *_Arguments,
    ) -> None:
        """Call ``callback(*args)`` in the loop whenever the process gets the signal ``sig``.

        The callback may do all that other callbacks may; it replaces an earlier one. Raises
        TypeError for a coroutine function or a ``sig`` that is no integer, ValueError for an
        unknown signal, RuntimeError for one that cannot be caught, and outside the main thread.
        """
        if is_coroutine_or_coroutine_function(callback):
            raise TypeError("coroutines cannot be used with add_signal_handler()")
        _check_signal(sig)
        self._check_closed()
        try:
            # Refused outside the main thread: then nothing else is changed.
            signal.set_wakeup_fd(self._signal_wakeup_fd())
        except (ValueError, OSError) as error:
            raise RuntimeError(str(error)) from error
        self._signal_handlers[sig] = _ferrio.Handle(callback, args, self, None)
        try:
            # Only a signal with a handler in Python is written to the wake-up fd.
            signal.signal(sig, self._note_signal)
            # System calls of other code are restarted rather than interrupted.
            signal.siginterrupt(sig, False)
        except OSError as error:
            del self._signal_handlers[sig]
            self._release_wakeup_fd_when_unused()
            _raise_uncatchable(sig, error)

    def remove_signal_handler(self, sig: int) -> bool:
        """Give the signal its default action back; False when it had no handler of this loop."""
        _check_signal(sig)
        if self._signal_handlers.pop(sig, None) is None:
            return False
        default = signal.default_int_handler if sig == signal.SIGINT else signal.SIG_DFL
        try:
            signal.signal(sig, default)
        except OSError as error:
            _raise_uncatchable(sig, error)
        self._release_wakeup_fd_when_unused()
        return True

    def _handle_signal(self, sig: int) -> None:
        """Queue the handler of a signal that was read from the pipe; called by the native loop."""
        handle = self._signal_handlers.get(sig)
        # Signals that only have a handler of signal.signal() are written to the pipe as well.
        if handle is not None:
            self._add_handle(handle)

    def _note_signal(self, signum: int, frame: FrameType | None) -> None:
        """Stand as the signal's handler in Python; the loop's callback does the work.

        A busy loop does not look at the pipe in every turn: it is told to do so in the next.
        """
        self._note_io()

    def _release_signals(self) -> None:
        """Remove every handler, before the pipe they write to is closed."""
        if not self._signal_handlers:
            return
        if sys.is_finalizing():
            # The signal module may be gone already.
            warnings.warn(
                f"Closing the loop {self!r} on interpreter shutdown stage, "
                "skipping signal handlers removal",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )
            self._signal_handlers.clear()
            return
        for sig in list(self._signal_handlers):
            self.remove_signal_handler(sig)

    def _release_wakeup_fd_when_unused(self) -> None:
        if self._signal_handlers:
            return
        try:
            signal.set_wakeup_fd(-1)
        except (ValueError, OSError) as error:
            logger.info("set_wakeup_fd(-1) failed: %s", error)


def _check_signal(sig: object) -> None:
    if not isinstance(sig, int):
        raise TypeError(f"sig must be an int, not {sig!r}")
    if sig not in signal.valid_signals():
        raise ValueError(f"invalid signal number {sig}")


def _raise_uncatchable(sig: int, error: OSError) -> NoReturn:
    if error.errno == errno.EINVAL:
        raise RuntimeError(f"sig {sig} cannot be caught") from error
    raise error
