"""The two implementations that every test runs on, under the same names."""

import asyncio
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ferrio


@dataclass(frozen=True)
class Implementation:
    """Where a test takes its loop, tasks and futures from."""

    name: str
    EventLoop: Any
    Future: Any
    Task: Any
    Runner: Any
    run: Callable[..., Any]

    def __str__(self) -> str:
        return self.name

    @property
    def is_ferrio(self) -> bool:
        return self.name == "ferrio"


def _runner(loop_class: Any) -> Any:
    def make(**options: Any) -> asyncio.Runner:
        options.setdefault("loop_factory", loop_class)
        return asyncio.Runner(**options)

    return make


def _run(loop_class: Any) -> Callable[..., Any]:
    def run(main: Any, *, debug: bool | None = None) -> Any:
        if asyncio._get_running_loop() is not None:
            # As asyncio.run does; a runner alone notices too late.
            raise RuntimeError("asyncio.run() cannot be called from a running event loop")
        with asyncio.Runner(debug=debug, loop_factory=loop_class) as runner:
            return runner.run(main)

    return run


ASYNCIO = Implementation(
    name="asyncio",
    EventLoop=asyncio.SelectorEventLoop,
    Future=asyncio.Future,
    Task=asyncio.Task,
    Runner=_runner(asyncio.SelectorEventLoop),
    run=_run(asyncio.SelectorEventLoop),
)

FERRIO = Implementation(
    name="ferrio",
    EventLoop=ferrio.EventLoop,
    Future=ferrio.Future,
    Task=ferrio.Task,
    Runner=ferrio.Runner,
    run=ferrio.run,
)

# Where asyncio's own answers are of no interest, as under a sanitizer, FERRIO_TEST_LOOPS leaves
# them out: names, separated by commas.
_chosen = os.environ.get("FERRIO_TEST_LOOPS", "asyncio,ferrio").split(",")

IMPLEMENTATIONS = {each.name: each for each in (ASYNCIO, FERRIO) if each.name in _chosen}
