"""``asyncio.all_tasks()`` sees ferrio's tasks.

Up to 3.13 the standard library keeps a WeakSet of all tasks, and adding to it is a good part of
what creating a task costs there. The native module keeps a list through its tasks instead, which
costs nothing, so the WeakSet has to be told to look there too. Others hold that very object —
C code, and whoever imported it early — so it is given another class, in place; no name is
rebound.

From 3.14 asyncio's own tasks are in such a list too, one a thread, and ferrio's join it: then
nothing has to be told to anybody, and other processes (``python -m asyncio ps``) see them as well.
Should a later release of 3.14 lay its tasks out otherwise, ferrio keeps a list of its own and the
WeakSet for foreign tasks is told of it.
"""

from __future__ import annotations

import asyncio
import functools
import sys
import weakref
from collections.abc import Iterator
from typing import Any

from ferrio import _ferrio


class TaskRegistry(weakref.WeakSet[Any]):
    """The standard library's set of tasks, which also has the native module's in it.

    A set made from it (by ``copy``, ``|`` and so on) has this class too but only holds what it
    was made of. The class has no attributes of its own, or the existing set could not have it.
    """

    def __iter__(self) -> Iterator[Any]:
        added = set(super().__iter__())
        yield from added
        for task in _native_tasks_of(self):
            if task not in added:
                yield task

    def __len__(self) -> int:
        if super().__len__() == 0:
            return len(_native_tasks_of(self))
        return sum(1 for _ in self)

    def __contains__(self, task: object) -> bool:
        return super().__contains__(task) or any(task is one for one in _native_tasks_of(self))


def add_native_tasks() -> None:
    """Have ``asyncio.all_tasks()`` include ferrio's tasks; once is enough."""
    if sys.version_info >= (3, 14) and _join_asyncios_list():
        return
    tasks = _standard_set()
    if type(tasks) is weakref.WeakSet:
        tasks.__class__ = TaskRegistry


class _NoLoop:
    """As much of a loop as a task of asyncio's needs that is never run."""

    def get_debug(self) -> bool:
        """Nothing is recorded."""
        return False

    def call_soon(self, *_arguments: object, **_keywords: object) -> None:
        """Nothing is run."""


def _join_asyncios_list() -> bool:
    """Show the native module two tasks of asyncio's; return whether it knows its way in them."""
    module = sys.modules["_asyncio"]
    loop: Any = _NoLoop()

    async def never_run() -> None:
        pass

    tasks = [module.Task(never_run(), loop=loop, name="ferrio") for _ in range(2)]
    first, second = tasks
    waits = [(first, second), (second, first), (second, second)]
    for awaited, waiter in waits:
        module.future_add_to_awaited_by(awaited, waiter)
    try:
        return _ferrio._learn_task_list(first, second)
    finally:
        for awaited, waiter in waits:
            module.future_discard_from_awaited_by(awaited, waiter)
        for task in tasks:
            task.get_coro().close()
            task._log_destroy_pending = False
            module._unregister_task(task)


@functools.cache
def _standard_set() -> weakref.WeakSet[Any]:
    if sys.version_info >= (3, 14):
        import gc

        # The set of the C module, which no name leads to any more; it has no other.
        held = gc.get_referents(sys.modules["_asyncio"])
        return next(each for each in held if isinstance(each, weakref.WeakSet))
    name = "_scheduled_tasks" if sys.version_info >= (3, 12) else "_all_tasks"
    tasks: weakref.WeakSet[Any] = getattr(asyncio.tasks, name)
    return tasks


def _native_tasks_of(tasks: TaskRegistry) -> list[_ferrio.Task[Any]]:
    return _ferrio._all_tasks() if tasks is _standard_set() else []
