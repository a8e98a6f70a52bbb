"""``ferrio.install()``: programs that know nothing of ferrio get its loops.

Loops come from three places, and each is led here: the event loop policy (``asyncio.run``,
``asyncio.Runner``, ``asyncio.new_event_loop``), a default policy that a program sets anew, and
the loop classes by name (``loop_factory=asyncio.SelectorEventLoop``, as uvicorn has it).
``asyncio.Task`` and ``asyncio.Future`` stay what they are; what else of asyncio is native here
takes the place of asyncio's own (``ferrio.natives``).
"""

from __future__ import annotations

import abc
import asyncio
import sys
from asyncio import events, unix_events
from types import ModuleType
from typing import Any

from ferrio import natives
from ferrio.loop import EventLoop
from ferrio.policy import EventLoopPolicy

_StandardLoop: Any = asyncio.SelectorEventLoop


class _LoopClass(abc.ABCMeta):
    """Has ferrio's loops count as instances of the class that stands in for asyncio's.

    An ``ABCMeta``, so that a derived class may have an abstract base besides.
    """

    def __instancecheck__(cls, instance: object) -> bool:
        if cls is SelectorEventLoop:
            return isinstance(instance, (EventLoop, _StandardLoop))
        return super().__instancecheck__(instance)


class SelectorEventLoop(_StandardLoop, metaclass=_LoopClass):  # type: ignore[misc]
    """Stands in for ``asyncio.SelectorEventLoop``: calling it makes a loop of ferrio's.

    With a selector of the caller's it makes asyncio's own loop, for nothing else could honour
    it; and a class derived from it is derived from asyncio's, whose insides it counts on.
    """

    def __new__(cls, selector: Any = None, *args: Any, **kwargs: Any) -> Any:
        """Make the loop: ferrio's unless a selector is given or a subclass is being made.

        What else is given is for the ``__init__`` of a derived class.
        """
        if cls is SelectorEventLoop and selector is None:
            return EventLoop(*args, **kwargs)
        return super().__new__(cls)


class _Name:
    """A name of a module that was given another meaning."""

    def __init__(self, module: ModuleType, name: str, value: object) -> None:
        self._module = module
        self._name = name
        self._value = value
        self._previous = getattr(module, name)
        setattr(module, name, value)

    def undo(self) -> None:
        """Put the meaning back that it had, unless somebody else has changed it since."""
        if getattr(self._module, self._name) is self._value:
            setattr(self._module, self._name, self._previous)


class _Installation:
    """What ``install()`` has replaced, and how to put it back."""

    def __init__(self) -> None:
        self._policy = EventLoopPolicy()
        # The policy that was in use; None where asyncio had not made one yet.
        self._previous_policy = _get_policy()
        self._names: list[_Name] = [_Name(asyncio, "SelectorEventLoop", SelectorEventLoop)]
        if sys.version_info >= (3, 13):
            self._names.append(_Name(asyncio, "EventLoop", SelectorEventLoop))
        if sys.version_info >= (3, 14):
            # Where asyncio's own functions look; the public name is led there, with a warning.
            place, name = unix_events, "_DefaultEventLoopPolicy"
        else:
            place, name = asyncio, "DefaultEventLoopPolicy"
        self._names.append(_Name(place, name, EventLoopPolicy))
        _set_policy(self._policy)
        self._natives = natives.Replacement()

    def undo(self) -> None:
        """Put everything back that has not been replaced by somebody else since."""
        self._natives.undo()
        for name in self._names:
            name.undo()
        if _get_policy() is self._policy:
            _set_policy(self._previous_policy)


_installation: _Installation | None = None


def install() -> None:
    """Have asyncio make ferrio's loops: ``asyncio.run``, ``Runner``, ``new_event_loop`` and so on.

    Its locks, queues, ``sleep``, ``gather`` and so on (``ferrio.natives.NAMES``) become ferrio's,
    too, wherever the program takes them from asyncio after this; what it has imported before, and
    has made before, goes on working.
    Works for the whole process, until ``uninstall()``; a second call changes nothing. Loops that
    exist stay what they are. From 3.14 no deprecation warning is emitted, although policies are
    deprecated. Call it before a program starts its loop, in the main thread.
    """
    global _installation
    if _installation is None:
        _installation = _Installation()


def uninstall() -> None:
    """Have asyncio make its own loops again; does nothing when ``install()`` was not called.

    What a program has set itself since ``install()``, a policy of its own say, stays.
    """
    global _installation
    if _installation is not None:
        installation, _installation = _installation, None
        installation.undo()


def _get_policy() -> Any:
    """Return the policy in use without making one: None where asyncio has made none yet."""
    return getattr(events, "_event_loop_policy", None)


def _set_policy(policy: Any) -> None:
    if sys.version_info >= (3, 14):
        # The public function warns that policies are deprecated.
        events._set_event_loop_policy(policy)
    else:
        asyncio.set_event_loop_policy(policy)
