"""Debug mode: what is switched on and off with it for the whole thread."""

from __future__ import annotations

import os
import sys
from asyncio import constants

from ferrio.loop_part import LoopPart


def debug_by_default() -> bool:
    """Whether a new loop starts in debug mode: ``-X dev``, or PYTHONASYNCIODEBUG is not empty."""
    if sys.flags.dev_mode:
        return True
    return not sys.flags.ignore_environment and bool(os.environ.get("PYTHONASYNCIODEBUG"))


class DebuggingPart(LoopPart):
    """Has coroutines remember where they were made while a loop in debug mode runs.

    Slow callbacks, thread checks and the creation sites of handles are native.
    """

    def __init__(self) -> None:
        super().__init__()
        # The thread's tracking depth before this loop raised it; None while it has not.
        self._origin_depth_to_restore: int | None = None
        if debug_by_default():
            self.set_debug(True)

    def set_debug(self, enabled: bool) -> None:
        """Switch debug mode on or off. May be called from any thread while the loop runs."""
        super().set_debug(enabled)
        if self.is_running():
            self.call_soon_threadsafe(self._track_coroutine_origins, enabled)

    def _track_coroutine_origins(self, enabled: bool) -> None:
        """Raise the thread's origin tracking depth, or put back what it was."""
        previous = self._origin_depth_to_restore
        if enabled and previous is None:
            self._origin_depth_to_restore = sys.get_coroutine_origin_tracking_depth()
            sys.set_coroutine_origin_tracking_depth(constants.DEBUG_STACK_DEPTH)
        elif not enabled and previous is not None:
            sys.set_coroutine_origin_tracking_depth(previous)
            self._origin_depth_to_restore = None
