"""Running a loop turn by turn, and a clock that moves only when told to."""

from typing import Any


def run_turn(loop: Any) -> None:
    """Run one turn: what is ready now, and what I/O and timers have made ready; never wait."""
    loop.stop()
    loop.run_forever()


def run_turns(loop: Any, count: int) -> None:
    for _ in range(count):
        run_turn(loop)


def run_until(loop: Any, condition: Any, *, turns: int = 10_000) -> None:
    """Run turns until ``condition()`` holds; the test fails if it never does."""
    for _ in range(turns):
        if condition():
            return
        run_turn(loop)
    raise AssertionError(f"still not so after {turns} turns: {condition}")


def run_until_idle(loop: Any, *, turns: int = 1_000) -> None:
    """Run turns until nothing is ready any more; timers and watched descriptors do not count."""
    for _ in range(turns):
        if not has_ready_work(loop):
            return
        run_turn(loop)
    raise AssertionError(f"the loop is still busy after {turns} turns")


def has_ready_work(loop: Any) -> bool:
    """Whether a turn would have something to run at once."""
    if hasattr(loop, "_ready_count"):
        return loop._ready_count() > 0
    return len(loop._ready) > 0


class ManualClock:
    """A base for a loop class of either implementation: time stands still unless moved."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def time(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Move the clock, and run the turn in which what is due by then is called."""
        self.now += seconds
        run_turn(self)


def with_manual_clock(loop_class: Any) -> Any:
    return type("ManualClockLoop", (ManualClock, loop_class), {})
