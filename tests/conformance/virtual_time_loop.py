"""The suite's test loop, on ferrio: its time passes only when a test's generator says so.

CPython's ``TestLoop`` is told the time by a generator. Whenever a timer was set in a turn, the
loop sends its deadline to the generator when that turn is over, and what the generator yields
is by how much the clock moves on::

    def gen():
        when = yield           # the deadline of the first timer
        when = yield advance   # move the clock by `advance`; wait for the next timer

CPython's class does it in ``_run_once``, which a native loop does not have. This one does it
where a native turn begins: the turn asks for the time, which a subclass may override.
"""

from __future__ import annotations

import sys
from collections import defaultdict
from collections.abc import Callable, Generator
from contextvars import Context
from typing import Any, TypeVarTuple

import ferrio

_Arguments = TypeVarTuple("_Arguments")
Clock = Generator[float | None, float, None]


def _standing_clock() -> Clock:
    """A clock that no timer may be set on."""
    yield None


class VirtualTimeLoop(ferrio.EventLoop):
    """What ``test_utils.TestLoop`` is to the suite."""

    def __init__(self, gen: Callable[[], Clock] | None = None) -> None:
        # Before the native part is made, which may ask for the time.
        self._virtual_time: float = 0
        # Deadlines of timers set since the generator was last told, in the order of setting.
        self._new_deadlines: list[float] = []
        # A test that has a clock has to run it to its end.
        self._must_finish = gen is not None
        self._clock = (gen or _standing_clock)()
        next(self._clock)
        super().__init__()
        # File descriptors are not watched but written down, for tests to look at.
        self.readers: dict[int, ferrio.Handle] = {}
        self.writers: dict[int, ferrio.Handle] = {}
        self.reset_counters()

    # Time

    def time(self) -> float:
        """Return the virtual time; between turns the clock is moved first."""
        if self._new_deadlines and self._is_between_turns():
            self._tell_clock()
        return self._virtual_time

    def advance_time(self, advance: float | None) -> None:
        """Move the time on."""
        if advance:
            self._virtual_time += advance

    def call_at(
        self,
        when: float,
        callback: Callable[[*_Arguments], object],
        *args: *_Arguments,
        context: Context | None = None,
    ) -> Any:
        """Set a timer and remember to tell the clock."""
        self._note_deadline(when)
        return super().call_at(when, callback, *args, context=context)

    def call_later(
        self,
        delay: float,
        callback: Callable[[*_Arguments], object],
        *args: *_Arguments,
        context: Context | None = None,
    ) -> Any:
        """Set a timer and remember to tell the clock."""
        known = len(self._new_deadlines)
        handle = super().call_later(delay, callback, *args, context=context)
        if len(self._new_deadlines) == known:
            # The loop did not go through call_at().
            self._note_deadline(handle.when())
        return handle

    def close(self) -> None:
        """Close, and check that the clock was run to its end."""
        super().close()
        if not self._must_finish:
            return
        try:
            self._clock.send(0)
        except StopIteration:
            return
        raise AssertionError("Time generator is not finished")

    def _note_deadline(self, when: float) -> None:
        self._new_deadlines.append(when)
        if self.get_debug():
            # Turns also ask for the time around each callback then, to find slow ones, so that
            # the question does not tell where a turn begins. A callback does, one turn late.
            super().call_soon(self._tell_clock)

    def _is_between_turns(self) -> bool:
        """Whether time() is called from outside, or by a turn that begins."""
        return not self.is_running() or (not self.get_debug() and _called_by_native_turn())

    def _tell_clock(self) -> None:
        deadlines, self._new_deadlines = self._new_deadlines, []
        for when in deadlines:
            self.advance_time(self._clock.send(when))

    @property
    def _ready(self) -> range:
        """Stands for the queue of what is to run: tests ask whether it is empty."""
        return range(self._ready_count())

    # File descriptors

    def add_reader(
        self, fd: Any, callback: Callable[[*_Arguments], object], *args: *_Arguments
    ) -> None:
        """Write a reader down."""
        self.readers[fd] = ferrio.Handle(callback, args, self, None)

    def add_writer(
        self, fd: Any, callback: Callable[[*_Arguments], object], *args: *_Arguments
    ) -> None:
        """Write a writer down."""
        self.writers[fd] = ferrio.Handle(callback, args, self, None)

    def remove_reader(self, fd: Any) -> bool:
        """Forget a reader; return whether there was one."""
        self.remove_reader_count[fd] += 1
        return self.readers.pop(fd, None) is not None

    def remove_writer(self, fd: Any) -> bool:
        """Forget a writer; return whether there was one."""
        self.remove_writer_count[fd] += 1
        return self.writers.pop(fd, None) is not None

    def reset_counters(self) -> None:
        """Count removals from zero."""
        self.remove_reader_count: dict[int, int] = defaultdict(int)
        self.remove_writer_count: dict[int, int] = defaultdict(int)

    def assert_reader(self, fd: int, callback: Any, *args: Any) -> None:
        """Check that this callback was added as the reader."""
        _assert_watched(self.readers, fd, callback, args)

    def assert_writer(self, fd: int, callback: Any, *args: Any) -> None:
        """Check that this callback was added as the writer."""
        _assert_watched(self.writers, fd, callback, args)

    def assert_no_reader(self, fd: int) -> None:
        """Check that there is no reader."""
        assert fd not in self.readers, f"fd {fd} is watched"


def _called_by_native_turn() -> bool:
    """Whether time() is called by the native loop for itself, not by code that it runs.

    Native code has no frame of its own: the caller is then the method that runs the turns.
    """
    return sys._getframe(3).f_code is ferrio.EventLoop.run_forever.__code__


def _assert_watched(watched: Any, fd: int, callback: Any, args: tuple[Any, ...]) -> None:
    assert fd in watched, f"fd {fd} is not watched"
    handle = watched[fd]
    assert handle._callback == callback, f"{handle._callback!r} instead of {callback!r}"
    assert handle._args == args, f"{handle._args!r} instead of {args!r}"
