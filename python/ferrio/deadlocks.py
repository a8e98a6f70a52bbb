"""Tasks that wait for each other, and loops on which nothing can happen any more.

The native module looks when a task begins to wait for a lock or for other tasks, and when a loop is
about to wait for ever. What it finds is put into words here and goes to the logger
``ferrio.deadlock``, each once.

A cycle is certain if each of its tasks waits for a lock that the next one has in an ``async with``
block, or for the end of the next one: then nobody else can end it. Any other one is suspected, for
another task may release the lock, and is told of only if it is still there a second later. So is
one in which tasks wait for events, queues, semaphores or conditions: these are looked for a second
after a wait has begun, by going through what tasks refer to.
"""

from __future__ import annotations

import contextvars
import logging
import signal
import time
import weakref
from collections.abc import Callable, Iterable
from typing import Any

from ferrio import _ferrio, task_views
from ferrio.plain_data import parsed

logger = logging.getLogger("ferrio.deadlock")

# How long a suspected cycle is given to come to an end by itself, in seconds.
_PATIENCE = 1.0

# Looks that find tasks that may come to wait for each other are repeated, after twice the time each
# time; in seconds.
_LONGEST_PATIENCE = 30.0

# A loop spends at most one part in so many of its time on looks.
_SHARE = 1000

# More cycles are not remembered as told of.
_MOST = 1000


class DeadlockError(RuntimeError):
    """A task was about to wait for itself: through a lock that it has, or through other tasks.

    Raised in strict mode only (``ferrio.run(main(), strict=True)`` or ``FERRIO_STRICT=1``), in the
    task that would have closed the cycle, at the ``await`` that would have.
    """


# The cycles that were told of, and those that are to be looked at again, by the ids in them.
_told: dict[frozenset[int], None] = {}
_suspected: set[frozenset[int]] = set()


def _is_news(ids: Iterable[int]) -> bool:
    members = frozenset(ids)
    if members in _told:
        return False
    if len(_told) >= _MOST:
        del _told[next(iter(_told))]
    _told[members] = None
    return True


def _found(
    loop: Any, ids: tuple[int, ...], closing: int, kind: str, waits_for: Any, certain: bool
) -> DeadlockError | None:
    """Hear of a cycle that task ``closing`` closes by waiting for ``waits_for``.

    Returns the error for it when the cycle is certain.
    """
    if not certain:
        members = frozenset(ids)
        if members not in _suspected and members not in _told:
            if len(_suspected) >= _MOST:
                # Of loops that were closed before it was time to look again.
                _suspected.clear()
            _suspected.add(members)
            _call_later(loop, _PATIENCE, _look_again, weakref.ref(loop), members)
        return None
    in_cycle = _members(ids)
    what = waits_for.get_name() if kind == "task" else repr(waits_for)
    begun = f"{task_views.kind_in_words(kind)} {what}".lstrip()
    words = _cycle_in_words(in_cycle, closing, begun, certain=True)
    if _is_news(ids):
        logger.warning("%s", words)
    return DeadlockError(words)


def _call_later(loop: Any, delay: float, function: Callable[..., None], *arguments: Any) -> Any:
    """Have a function of ours called that tells the loop that its timer is gone."""
    # Not by a name that the program may have given another meaning.
    timer = _ferrio.EventLoop.call_at(
        loop,
        loop.time() + delay,
        function,
        *arguments,
        # A timer keeps its context, and would keep that of whoever happens to begin to wait.
        context=contextvars.Context(),
    )
    loop._count_own_timers(1)
    return timer


class _Looks:
    """When a loop's tasks are looked at."""

    def __init__(self) -> None:
        # A weak reference: the timer has the loop, which these looks must not keep.
        self.timer: weakref.ref[Any] | None = None
        self.delay = _PATIENCE
        self.not_before = 0.0

    def plan(self, loop: Any, *, due: bool) -> None:
        """Set the timer: for soon, or for twice as late as the last time."""
        timer = None if self.timer is None else self.timer()
        if timer is not None and not timer.cancelled():
            timer.cancel()
            loop._count_own_timers(-1)
        self.delay = _PATIENCE if due else min(self.delay * 2, _LONGEST_PATIENCE)
        delay = max(self.delay, self.not_before - time.monotonic())
        self.timer = weakref.ref(_call_later(loop, delay, _look_for_stuck, weakref.ref(loop)))
        loop._expect_look(due)


_looks: weakref.WeakKeyDictionary[Any, _Looks] = weakref.WeakKeyDictionary()


def _look_soon(loop: Any) -> None:
    """Hear that a task of ``loop`` begins to wait for what somebody else has to change."""
    _looks.setdefault(loop, _Looks()).plan(loop, due=True)


def _look_later(loop: Any) -> None:
    """Hear that ``loop`` is about to wait and only threads at its jobs could wake it.

    They have perhaps nothing more to say, and a moment later are idle.
    """
    looks = _looks.setdefault(loop, _Looks())
    if looks.timer is None or looks.timer() is None:
        looks.plan(loop, due=False)


def _look_for_stuck(reference: weakref.ref[Any]) -> None:
    """Tell of tasks that only each other could wake, and decide when to look again."""
    loop = reference()
    if loop is None:
        return
    looks = _looks[loop]
    looks.timer = None
    loop._expect_look(False)
    loop._count_own_timers(-1)
    before = time.monotonic()
    cycles, may_come_to_it, is_young = _ferrio._stuck(loop)
    after = time.monotonic()
    looks.not_before = after + _SHARE * (after - before)
    for found, certain, needed in cycles:
        in_cycle = _members(found)
        if not _has_lasted(in_cycle, _PATIENCE * 0.9):
            is_young = True
        elif _is_news(found):
            words = _cycle_in_words(in_cycle, None, "", certain=certain, needed=needed)
            logger.warning("%s", words)
    if is_young:
        looks.plan(loop, due=True)
    elif may_come_to_it and not loop._waits_for_nothing():
        looks.plan(loop, due=False)


def _has_lasted(members: list[task_views.TaskInfo], seconds: float) -> bool:
    """Whether each of the tasks has been waiting for so long."""
    return all(
        task.wait is not None
        and task.wait.since is not None
        and task.taken_at - task.wait.since > seconds
        for task in members
    )


def _look_again(reference: weakref.ref[Any], members: frozenset[int]) -> None:
    """Tell of a suspected cycle if it is still there, and has been there all the time."""
    loop = reference()
    if loop is not None:
        loop._count_own_timers(-1)
    _suspected.discard(members)
    for found, _certain in _ferrio._cycles():
        if members != frozenset(found):
            continue
        in_cycle = _members(found)
        if _has_lasted(in_cycle, _PATIENCE / 2) and _is_news(members):
            # It was not certain when it began.
            logger.warning("%s", _cycle_in_words(in_cycle, None, "", certain=False))


def _nothing_can_wake(loop: Any) -> None:
    """Hear that ``loop`` is about to wait for ever, without timer, descriptor or other thread."""
    if loop._signal_handlers or _is_signal_handled():
        return
    snapshot = parsed(_ferrio._snapshot())
    waiting = [
        task
        for task in task_views.tasks_in(snapshot)
        if task.loop == _number_of(loop) and task.wait is not None
    ]
    if not waiting:
        return
    for found, certain in _ferrio._cycles():
        if _is_news(found):
            logger.warning("%s", _cycle_in_words(_members(found), None, "", certain=certain))
    if _is_news([-1, *(task.id for task in waiting)]):
        count = f"{len(waiting)} task{'' if len(waiting) == 1 else 's'}"
        verb = "waits" if len(waiting) == 1 else "wait"
        lines = [
            f"deadlock: {count} {verb} and nothing can wake the loop: there is no timer, "
            "descriptor, signal handler, child or other thread"
        ]
        lines.extend(_line_of(task) for task in waiting)
        logger.warning("%s", "\n".join(lines))


def _number_of(loop: Any) -> int:
    return int(loop._number)


def _is_signal_handled() -> bool:
    """Whether a signal has a handler of the program's, which may do anything."""
    for number in signal.valid_signals():
        handler = signal.getsignal(number)
        if not callable(handler) or handler is signal.default_int_handler:
            continue
        module = getattr(getattr(handler, "func", handler), "__module__", None)
        if module not in ("asyncio.runners", "ferrio.task_views"):
            return True
    return False


def _members(ids: Iterable[int]) -> list[task_views.TaskInfo]:
    known = {task.id: task for task in task_views.tasks()}
    return [known[each] for each in ids if each in known]


def _cycle_in_words(
    members: list[task_views.TaskInfo],
    closing: int | None,
    begun: str,
    *,
    certain: bool,
    needed: tuple[tuple[int, ...], ...] = (),
) -> str:
    word = "deadlock" if certain else "suspected deadlock"
    if len(members) == 1:
        lines = [f"{word}: a task waits for itself"]
    else:
        lines = [f"{word}: {len(members)} tasks wait for each other"]
    following = members[1:] + members[:1]
    for number, (task, other) in enumerate(zip(members, following, strict=True)):
        who = needed[number] if number < len(needed) else ()
        lines.append(_line_of(task, begun if task.id == closing else None, other, who))
    return "\n".join(lines)


# Kinds of waits that end when somebody changes something that he knows.
_CHANGED_BY_OTHERS = frozenset(
    {
        "lock",
        "event",
        "queue-get",
        "queue-put",
        "queue-join",
        "semaphore",
        "condition",
        "barrier",
    }
)


def _who_knows_it(task: task_views.TaskInfo, needed: tuple[int, ...]) -> str:
    """Return the tasks without which the wait does not end, in words."""
    if needed == (task.id,):
        has_it = task.wait is not None and task.wait.kind in ("lock", "semaphore")
        return "it has itself" if has_it else "nobody else knows"
    others = ", ".join(str(each) for each in needed[:5])
    more = f" and {len(needed) - 5} more" if len(needed) > 5 else ""
    return f"only task{'' if len(needed) == 1 else 's'} {others}{more} might end"


def _program_site(task: task_views.TaskInfo) -> task_views.Site | None:
    """Return the line at which a task is: the program's own, as far as that is known."""
    if task.wait is not None and task.wait.site is not None:
        return task.wait.site
    return task.stack[-1] if task.stack else None


def _line_of(
    task: task_views.TaskInfo,
    begun: str | None = None,
    other: task_views.TaskInfo | None = None,
    needed: tuple[int, ...] = (),
) -> str:
    """Say what a task waits for, and who has it."""
    wait = task.wait
    has_holder = True
    if begun is not None or wait is None:
        what, since = begun or "something", 0.0
        kind = begun.split(" ", 1)[0] if begun else ""
    else:
        kind, has_holder = wait.kind, bool(wait.tasks)
        what = task_views.wait_in_words(wait)
        since = task.taken_at - wait.since if wait.since is not None else 0.0
    words = f"  task {task.id} {task.name} ({task.coroutine}) waits for {what}"
    if kind == "lock" and other is not None and has_holder:
        holder = "it has itself" if other.id == task.id else f"task {other.id} {other.name} has"
        words += f", which {holder},"
    elif kind in _CHANGED_BY_OTHERS and needed:
        words += f", which {_who_knows_it(task, needed)},"
    words += f" since {max(since, 0.0):.1f} s"
    site = _program_site(task)
    if site is not None:
        words += f", at {site}"
    if task.created is not None:
        words += f"; made at {task.created}"
    return words
