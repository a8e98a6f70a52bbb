"""What tasks are at: ``ferrio.tasks()``, ``ferrio.task_tree()``, ``ferrio.dump()``.

All of it is made from one picture of the process that the native module takes. Any thread may ask,
also while a loop is in the middle of a step or blocked by one.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from dataclasses import dataclass, field
from typing import Any, TextIO

from ferrio import _ferrio
from ferrio.plain_data import parsed


@dataclass(frozen=True)
class Site:
    """A place in a program."""

    file: str
    """The path, as the code object has it."""
    line: int
    """From 1."""
    function: str
    """The function's qualified name."""

    def __str__(self) -> str:
        return f"{self.file}:{self.line} in {self.function}"


@dataclass(frozen=True)
class Wait:
    """What a task waits for."""

    kind: str
    """What kind of thing: ``lock``, ``semaphore``, ``condition``, ``event``, ``barrier``,
    ``queue-get``, ``queue-put``, ``queue-join``, ``sleep``, ``timeout``, ``task``, ``tasks``,
    ``task-group``, ``read``, ``write``, ``connection``, ``lookup``, ``executor``, ``subprocess``,
    or ``future`` when no more is known."""
    what: str
    """The thing in words."""
    name: str | None
    """What the program calls it, where that is known: ``Class.attribute`` or a variable's name."""
    tasks: tuple[int, ...]
    """The ids of the tasks that are waited for, or that have what is waited for."""
    site: Site | None
    """The line that waits."""
    since: float | None
    """When the wait began, on the clock of ``time.monotonic()``, to the precision of a turn."""
    until: float | None
    """When it ends by itself, on the loop's clock, for sleeps and timeouts."""
    certain: bool
    """Whether ``tasks`` have to end it themselves, each by its own end or by that of its
    ``async with`` block."""


@dataclass(frozen=True)
class Owner:
    """Who answers for a task."""

    kind: str
    """``user`` for a plain ``create_task``, ``runner``, ``task-group``, ``combinator`` for what
    ``gather``, ``wait_for`` and their like make, or ``server``."""
    name: str | None = None
    """The combinator's name."""
    task: int | None = None
    """The id of the task in the group's block, or that called the combinator."""

    def __str__(self) -> str:
        whose = f" of task {self.task}" if self.task is not None else ""
        return f"{self.name or self.kind.replace('-', ' ')}{whose}"


@dataclass(frozen=True)
class TaskInfo:
    """A task that is not done, as it was at one moment."""

    id: int
    """Counts the process's tasks, from 1; no id is given twice."""
    name: str
    coroutine: str
    """The coroutine's qualified name."""
    created: Site | None
    """The line of the program that made it."""
    created_at: float | None
    """On the clock of ``time.monotonic()``, to the precision of a turn."""
    parent: int | None
    """The id of the task that was running then; it may be gone."""
    owner: Owner
    state: str
    """``running``, ``ready`` or ``waiting``."""
    wait: Wait | None
    """What a waiting task waits for."""
    stack: tuple[Site, ...]
    """Where it is, the outermost function first."""
    steps: int | None
    """How often it was resumed; None where tasks are not registered."""
    cpu: float | None
    """Seconds of CPU time that its steps took; None unless ``task_times`` asked for it."""
    longest_step: float | None
    """Seconds that its longest step took; likewise."""
    cancelling: int
    """How many ``cancel()`` were not undone by ``uncancel()``."""
    foreign: bool
    """Whether it is a task of the standard library's on a loop of ferrio's."""
    loop: int
    """The number of its loop; counts the process's loops, from 1."""
    taken_at: float = field(compare=False)
    """When this was written down, on the clock of ``time.monotonic()``."""


class _Tasks:
    """``ferrio.tasks``: the function, which also has what ``asyncio.tasks`` has."""

    __name__ = "tasks"

    def __call__(self) -> list[TaskInfo]:
        """Return the tasks of all loops of ferrio's that are not done, in the order of making.

        The moment is one for all of them. May be called from any thread.
        """
        return tasks_in(parsed(_ferrio._snapshot()))

    def __getattr__(self, name: str) -> Any:
        # A program that says `import ferrio as asyncio` finds the module there.
        return getattr(asyncio.tasks, name)

    def __repr__(self) -> str:
        return "<function ferrio.tasks>"


tasks = _Tasks()


def tasks_in(snapshot: dict[str, Any]) -> list[TaskInfo]:
    """Return the tasks of a snapshot in the order of their making."""
    found = [
        _task(task, loop["id"], snapshot["taken_at"])
        for loop in snapshot["loops"]
        for task in loop["tasks"]
    ]
    return sorted(found, key=lambda task: task.id)


def _task(fields: dict[str, Any], loop: int, taken_at: float) -> TaskInfo:
    converted = dict(fields)
    converted["created"] = _site(fields["created"])
    converted["owner"] = Owner(**fields["owner"])
    converted["wait"] = _wait(fields["wait"])
    converted["stack"] = tuple(Site(**site) for site in fields["stack"])
    return TaskInfo(**converted, loop=loop, taken_at=taken_at)


def _site(fields: dict[str, Any] | None) -> Site | None:
    return None if fields is None else Site(**fields)


def _wait(fields: dict[str, Any] | None) -> Wait | None:
    if fields is None:
        return None
    return Wait(
        kind=fields["kind"],
        what=fields["what"],
        name=fields["name"],
        tasks=tuple(fields["tasks"]),
        site=_site(fields["site"]),
        since=fields["since"],
        until=fields["until"],
        certain=fields["certain"],
    )


@dataclass(frozen=True)
class TaskTree:
    """Tasks below the tasks that answer for them; ``str()`` draws it, as ``ferrio tree`` does."""

    roots: tuple[TaskNode, ...]
    _drawn: str = field(repr=False, compare=False)

    def __str__(self) -> str:
        return self._drawn


@dataclass(frozen=True)
class TaskNode:
    """A task and those that it answers for, or that it has made."""

    task: TaskInfo
    children: tuple[TaskNode, ...]


def task_tree() -> TaskTree:
    """Return the tasks that are not done, each below the one that answers for it.

    That is the task in the block of its task group, the task that called ``gather`` or its like,
    or else the task that made it. Where that one is done the task stands at the top. May be called
    from any thread.
    """
    snapshot = _ferrio._snapshot()
    above: dict[int, int] = dict(parsed(_ferrio._tasks_above(snapshot)))
    below: dict[int | None, list[TaskInfo]] = {}
    for task in tasks_in(parsed(snapshot)):
        below.setdefault(above.get(task.id), []).append(task)
    return TaskTree(_nodes(below), _ferrio._view_snapshot(snapshot, "tree").rstrip("\n"))


def _nodes(below: dict[int | None, list[TaskInfo]]) -> tuple[TaskNode, ...]:
    # What stands below a task is made before it. No recursion: trees are as deep as programs are.
    order, children = list(below.get(None, ())), dict[int, tuple[TaskNode, ...]]()
    for task in order:
        order.extend(below.get(task.id, ()))
    for task in reversed(order):
        children[task.id] = tuple(
            TaskNode(child, children[child.id]) for child in below.get(task.id, ())
        )
    return tuple(TaskNode(task, children[task.id]) for task in below.get(None, ()))


def wait_in_words(wait: Wait) -> str:
    """Return what stands behind "waits for"."""
    kind = kind_in_words(wait.kind)
    if wait.kind in ("sleep", "timeout") and wait.what:
        return f"{kind} ({wait.what})"
    return f"{kind} {wait.what}".strip()


def kind_in_words(kind: str) -> str:
    """Return what stands between "waits for" and the thing."""
    names = {
        "queue-get": "an item of",
        "queue-put": "room in",
        "queue-join": "the end of",
        "read": "data from",
        "write": "room to write to",
        "task-group": "the tasks of",
        "tasks": "",
        "executor": "a call in a thread",
    }
    return names.get(kind, kind)


def dump(file: TextIO | None = None) -> None:
    """Write what all tasks are at to ``file``, ``sys.stderr`` by default, as ``ferrio dump`` does.

    For each task: its name, id and coroutine, where it was made, by whom and when, what it waits
    for and since when, and its stack. May be called from any thread, and from a signal's handler.
    """
    text = _ferrio._view_snapshot(_ferrio._snapshot(), "dump")
    print(text, end="", file=file or sys.stderr, flush=True)


def dump_on_signal(number: int = signal.SIGUSR1, file: TextIO | None = None) -> None:
    """Have ``dump(file)`` called when the process gets the signal.

    To be called in the main thread, which handles the signal: at once when it runs Python code or a
    loop in it waits, after the call when it is in one of C. Replaces the signal's handler. Raises
    ValueError in any other thread.
    """

    def handle(_number: int, _frame: object) -> None:
        dump(file)

    signal.signal(number, handle)


def dump_on_signal_of_environment() -> None:
    """Do what ``FERRIO_DUMP_SIGNAL`` asks for, a signal's name or number."""
    wanted = os.environ.get("FERRIO_DUMP_SIGNAL", "")
    if not wanted or wanted == "0":
        return
    try:
        if wanted.isdigit():
            number = int(wanted)
        else:
            name = wanted.upper()
            number = signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
        dump_on_signal(number)
    except (KeyError, ValueError, OSError) as error:
        print(f"ferrio: FERRIO_DUMP_SIGNAL={wanted}: {error!r}", file=sys.stderr)
