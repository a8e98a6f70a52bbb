"""Asynchronous generators: the loop closes those that are left half-way."""

from __future__ import annotations

import asyncio
import sys
import warnings
import weakref
from collections.abc import AsyncGenerator
from typing import Any

from ferrio.loop_part import LoopPart


class AsyncGeneratorPart(LoopPart):
    """Knows every asynchronous generator that was started while the loop ran.

    The interpreter calls a hook of the thread when a generator is iterated for the first time
    and another when one is dropped before its end. While the loop runs the hooks are its own.
    """

    def __init__(self) -> None:
        super().__init__()
        # Generators that were started and neither finished nor were dropped; changed by hooks.
        self._asyncgens: weakref.WeakSet[AsyncGenerator[Any, Any]] = weakref.WeakSet()
        # Set once by shutdown_asyncgens(): a generator that starts after it is warned of.
        self._asyncgens_shutdown_called = False

    async def shutdown_asyncgens(self) -> None:
        """Close every asynchronous generator that is open, and wait until they are closed.

        An error that a generator raises while it closes goes to the exception handler. A
        generator that is started later emits a ResourceWarning. ``asyncio.run`` calls this.
        """
        self._asyncgens_shutdown_called = True
        generators = list(self._asyncgens)
        self._asyncgens.clear()
        if not generators:
            return
        outcomes = await asyncio.gather(
            *[generator.aclose() for generator in generators], return_exceptions=True
        )
        for generator, outcome in zip(generators, outcomes, strict=True):
            if isinstance(outcome, Exception):
                self.call_exception_handler(
                    {
                        "message": "an error occurred during closing of "
                        f"asynchronous generator {generator!r}",
                        "exception": outcome,
                        "asyncgen": generator,
                    }
                )

    def _take_asyncgen_hooks(self) -> Any:
        """Make the thread's generator hooks the loop's own; return those to restore."""
        previous = sys.get_asyncgen_hooks()
        sys.set_asyncgen_hooks(
            firstiter=self._asyncgen_firstiter_hook, finalizer=self._asyncgen_finalizer_hook
        )
        return previous

    def _restore_asyncgen_hooks(self, previous: Any) -> None:
        sys.set_asyncgen_hooks(firstiter=previous.firstiter, finalizer=previous.finalizer)

    def _asyncgen_firstiter_hook(self, generator: AsyncGenerator[Any, Any]) -> None:
        if self._asyncgens_shutdown_called:
            warnings.warn(
                f"asynchronous generator {generator!r} was scheduled after "
                "loop.shutdown_asyncgens() call",
                ResourceWarning,
                source=self,
                stacklevel=2,
            )
        self._asyncgens.add(generator)

    def _asyncgen_finalizer_hook(self, generator: AsyncGenerator[Any, Any]) -> None:
        self._asyncgens.discard(generator)
        # The garbage collector may find the generator in any thread.
        if not self.is_closed():
            self.call_soon_threadsafe(self._close_asyncgen, generator)

    def _close_asyncgen(self, generator: AsyncGenerator[Any, Any]) -> None:
        self.create_task(generator.aclose())
