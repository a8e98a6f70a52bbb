"""What the loops of the process count: ``ferrio.metrics()``."""

from __future__ import annotations

from typing import Any

from ferrio import _ferrio
from ferrio.plain_data import parsed


def metrics(*, tasks: bool = True) -> dict[str, Any]:
    """Return the numbers of every loop of this process, as dicts, lists and numbers.

    ``docs/metrics.md`` says what each is. Durations are in seconds; counters begin with the loop
    or, for tasks, with the process. ``tasks=False`` leaves out what needs a look at every task
    (the key "interpreter" is None then), which costs some microseconds for each.

    May be called from any thread, whatever the loops are at.
    """
    numbers: dict[str, Any] = parsed(_ferrio._metrics(tasks))
    return numbers
