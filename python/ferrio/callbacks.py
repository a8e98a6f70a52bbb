"""Checks of the callables that users hand to the loop."""

from __future__ import annotations

import asyncio
import inspect
import sys

if sys.version_info >= (3, 14):
    # asyncio's own function warns that it is deprecated from 3.14.
    is_coroutine_function = inspect.iscoroutinefunction
else:
    is_coroutine_function = asyncio.iscoroutinefunction


def is_coroutine_or_coroutine_function(callback: object) -> bool:
    """Whether calling ``callback`` would give a coroutine that nobody awaits."""
    return asyncio.iscoroutine(callback) or is_coroutine_function(callback)


def check_callback(callback: object, method: str) -> None:
    """Raise TypeError when ``callback`` cannot be used by the loop's method named ``method``."""
    if is_coroutine_or_coroutine_function(callback):
        raise TypeError(f"coroutines cannot be used with {method}()")
    if not callable(callback):
        raise TypeError(f"a callable object was expected by {method}(), got {callback!r}")
