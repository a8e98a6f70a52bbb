"""What came of a load: how many answers were right, which were not, and how long they took."""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import perf_counter


class WrongAnswer(Exception):
    """An answer came, and was not the one it should have been."""


@dataclass
class Outcome:
    """The tally of a load."""

    ok: int = 0
    wrong: list[str] = field(default_factory=list)
    """A sentence for every answer that was wrong or did not come."""
    latencies: list[float] = field(default_factory=list)
    """Seconds from question to checked answer, of the right ones."""

    @contextmanager
    def answer(self, what: str) -> Iterator[None]:
        """Count the block as one request: right when it ends, wrong when it raises."""
        started = perf_counter()
        try:
            yield
        except Exception as error:
            # Whatever went wrong with a request, it is one request without its answer;
            # the others go on, and the demo fails in the end.
            self.wrong.append(f"{what}: {type(error).__name__}: {error}")
        else:
            self.ok += 1
            self.latencies.append(perf_counter() - started)


def expect(actual: object, expected: object) -> None:
    """Raise WrongAnswer unless the two are equal."""
    if actual != expected:
        raise WrongAnswer(f"got {actual!r}, expected {expected!r}")


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the value that `percent` of the values do not exceed."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]
