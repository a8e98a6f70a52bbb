"""Whether descriptors, tasks and timers get their turns beside one another.

    python benchmarks/fairness.py                      asyncio, uvloop and ferrio
    python benchmarks/fairness.py ferrio --seconds 5
    python benchmarks/fairness.py --first              before most other programs (root)

Three questions. With a descriptor that is always ready and 1, 10 or 100 tasks that only yield: in
which share of the turns does each side run, and how long after it became ready (again) is the
descriptor's callback called? With another process that sends a byte now and then instead: how long
after that does the callback run? And how often does a chain of 1 ms timers fire in a second on a
loop that does nothing else, and does one ever fire early?

ferrio must give each side half of the turns at least, be no later than 50 µs and one batch in 99
of 100 cases (in the middle one of three runs), and fire 950 times, none early. When it does not,
this ends with 1. Not a test: how long a process waits for a processor is the machine's matter.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import random
import socket
import statistics
import sys
import time
from collections.abc import Iterable
from contextlib import closing
from itertools import pairwise
from typing import NamedTuple

from harness.case import LoopFactory
from harness.loops import LOOPS, LoopMissing

TASKS = (1, 10, 100)
LONGEST_SKIP_NS = 50_000
LEAST_SHARE = 0.5
INTERVAL = 0.001
LEAST_TIMERS = 950
ROUNDS = range(3)
STAMP = 8
"""Bytes of a moment, in nanoseconds of the monotonic clock, that a process sends."""


class Turns(NamedTuple):
    """What a run beside tasks that only yield has come to."""

    share_of_descriptor: float
    share_of_tasks: float
    late_ns: float
    """How late the descriptor's callback was in 99 of 100 cases."""
    batch_ns: float
    """How long a turn takes, in the middle."""

    @property
    def is_fair(self) -> bool:
        share = min(self.share_of_descriptor, self.share_of_tasks)
        return share >= LEAST_SHARE and self.is_soon

    @property
    def is_soon(self) -> bool:
        return self.late_ns <= LONGEST_SKIP_NS + self.batch_ns


class Chain(NamedTuple):
    """What a chain of timers has come to."""

    fired: float
    """A second."""
    early: int

    @property
    def is_fair(self) -> bool:
        return self.fired >= LEAST_TIMERS and self.early == 0


class Neighbours:
    """Tasks that only yield, and a count of the turns."""

    def __init__(self, loop: asyncio.AbstractEventLoop, count: int) -> None:
        self.loop = loop
        self.turns: list[int] = []
        self.steps = [0] * count
        self.going = True
        self.tasks = [loop.create_task(self.step(index)) for index in range(count)]
        loop.call_soon(self.turn)

    def turn(self) -> None:
        self.turns.append(time.monotonic_ns())
        if self.going:
            self.loop.call_soon(self.turn)

    async def step(self, index: int) -> None:
        while self.going:
            self.steps[index] += 1
            await asyncio.sleep(0)

    async def end(self) -> None:
        self.going = False
        await asyncio.gather(*self.tasks)

    def summary(self, late: list[int]) -> Turns:
        """What came of it, with a callback that was so late each time."""
        turns = len(self.turns)
        return Turns(
            len(late) / turns,
            min(self.steps) / turns,
            statistics.quantiles(late, n=100)[-1],
            statistics.median(later - earlier for earlier, later in pairwise(self.turns)),
        )


async def always_ready(tasks: int, seconds: float) -> Turns:
    """A descriptor that stays readable: each call ends with it ready for the next."""
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    with one, other:
        other.send(b"x")
        calls: list[int] = []
        loop.add_reader(one, lambda: calls.append(time.monotonic_ns()))
        neighbours = Neighbours(loop, tasks)
        await asyncio.sleep(seconds)
        loop.remove_reader(one)
        await neighbours.end()
    return neighbours.summary([later - earlier for earlier, later in pairwise(calls)])


def send_now_and_then(end: socket.socket, seconds: float) -> None:
    """Send the moment, at moments that nobody knows.

    Awake all the time: a process that has slept takes ten times as long from that moment to the
    one at which the other end is ready.
    """
    now = time.monotonic_ns()
    stop = now + int(seconds * 1e9)
    while now < stop:
        moment = now + random.randint(500_000, 1_500_000)
        while now < moment:
            now = time.monotonic_ns()
        end.send(now.to_bytes(STAMP))


async def ready_now_and_then(tasks: int, seconds: float) -> Turns:
    """A descriptor that another process makes readable."""
    loop = asyncio.get_running_loop()
    one, other = socket.socketpair()
    late: list[int] = []

    def read() -> None:
        now = time.monotonic_ns()
        moments = one.recv(STAMP * 64)
        late.extend(
            now - int.from_bytes(moments[at : at + STAMP]) for at in range(0, len(moments), STAMP)
        )

    with one, other:
        one.setblocking(False)
        loop.add_reader(one, read)
        neighbours = Neighbours(loop, tasks)
        sender = multiprocessing.get_context("spawn").Process(
            target=send_now_and_then, args=(other, seconds)
        )
        sender.start()
        while sender.is_alive():
            await asyncio.sleep(0.01)
        loop.remove_reader(one)
        await neighbours.end()
    sender.join()
    return neighbours.summary(late)


async def chain_of_timers(seconds: float) -> Chain:
    """Timers that are set one by the other, on a loop that is idle between."""
    loop = asyncio.get_running_loop()
    over: asyncio.Future[None] = loop.create_future()
    fired = early = 0
    begun = loop.time()

    def fire(deadline: float) -> None:
        nonlocal fired, early
        now = loop.time()
        fired += 1
        early += now < deadline
        if now - begun < seconds:
            loop.call_later(INTERVAL, fire, now + INTERVAL)
        else:
            over.set_result(None)

    loop.call_later(INTERVAL, fire, begun + INTERVAL)
    await over
    return Chain(fired / (loop.time() - begun), early)


def middle(runs: Iterable[Turns]) -> Turns:
    """The one that is neither the latest nor the soonest."""
    return sorted(runs, key=lambda run: run.late_ns)[len(ROUNDS) // 2]


def measure(name: str, factory: LoopFactory, seconds: float) -> bool:
    """Print a loop's table; whether it is fair throughout."""
    fair = True
    with closing(factory()) as loop:
        asyncio.set_event_loop(loop)
        print(f"{name}")
        for tasks in TASKS:
            always = middle(loop.run_until_complete(always_ready(tasks, seconds)) for _ in ROUNDS)
            seldom = middle(
                loop.run_until_complete(ready_now_and_then(tasks, seconds)) for _ in ROUNDS
            )
            print(
                f"  {tasks:4} tasks: descriptor in {always.share_of_descriptor:.0%} of the turns, "
                f"each task in {always.share_of_tasks:.0%}; late by {always.late_ns / 1000:.0f} µs "
                f"when always ready (a turn: {always.batch_ns / 1000:.0f}), "
                f"{seldom.late_ns / 1000:.0f} µs now and then (a turn: "
                f"{seldom.batch_ns / 1000:.0f})"
            )
            fair = fair and always.is_fair and seldom.is_soon
        chain = loop.run_until_complete(chain_of_timers(seconds))
        print(f"  timers of 1 ms: {chain.fired:.0f} a second, {chain.early} early")
        asyncio.set_event_loop(None)
    return fair and chain.is_fair


def main() -> int:
    """Do what the command line says; the exit status is 1 when ferrio is not fair."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("loops", nargs="*", default=["asyncio", "uvloop", "ferrio"])
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement (1)")
    parser.add_argument("--first", action="store_true", help="with the highest priority")
    arguments = parser.parse_args()
    if arguments.first:
        # Not the real-time class: who never sleeps in that is halted 50 ms of every second.
        os.setpriority(os.PRIO_PROCESS, 0, -20)
    fair = True
    for name in arguments.loops:
        try:
            factory = LOOPS[name].factory()
        except LoopMissing as error:
            print(error)
            continue
        is_fair = measure(name, factory, arguments.seconds)
        fair = fair and (is_fair or not name.startswith("ferrio"))
    return 0 if fair else 1


if __name__ == "__main__":
    sys.exit(main())
