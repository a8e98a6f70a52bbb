"""Random programs over sockets and pipes observe the same on asyncio and on ferrio, turn by turn.

Within one turn the kernel decides which of several ready descriptors comes first, so the events
of a turn are compared sorted.
"""

import asyncio
import contextlib
import gc
import random
import socket

import pytest

import ferrio
from turns import run_turn

SEEDS = range(30)


class Program:
    """Opens, watches, writes, reads and closes socket pairs at random."""

    def __init__(self, loop, seed):
        self.loop = loop
        self.chosen = random.Random(seed)
        self.ends = {}
        self.watched = set()
        self.events = []
        self.number = 0

    def open(self):
        if len(self.ends) > 20:
            return
        pair = socket.socketpair()
        for end in pair:
            end.setblocking(False)
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            self.ends[self.number] = end
            self.number += 1

    def any_end(self):
        if not self.ends:
            self.open()
        name = self.chosen.choice(sorted(self.ends))
        return name, self.ends[name]

    def watch(self):
        name, end = self.any_end()
        side = self.chosen.choice("rw")
        add = self.loop.add_reader if side == "r" else self.loop.add_writer
        add(end, self.ready, name, side)
        self.watched.add((name, side))

    def unwatch(self):
        name, end = self.any_end()
        side = self.chosen.choice("rw")
        self.stop_watching(name, end, side)

    def stop_watching(self, name, end, side):
        remove = self.loop.remove_reader if side == "r" else self.loop.remove_writer
        assert remove(end) is ((name, side) in self.watched)
        self.watched.discard((name, side))

    def close(self):
        name, end = self.any_end()
        for side in "rw":
            self.stop_watching(name, end, side)
        end.close()
        del self.ends[name]

    def send(self):
        _, end = self.any_end()
        with contextlib.suppress(OSError):
            end.send(b"x" * self.chosen.choice([1, 100, 100_000]))

    def receive(self):
        name, end = self.any_end()
        with contextlib.suppress(OSError):
            self.events.append((name, "received", len(end.recv(100_000))))

    def shut_down(self):
        _, end = self.any_end()
        with contextlib.suppress(OSError):
            end.shutdown(self.chosen.choice([socket.SHUT_RD, socket.SHUT_WR, socket.SHUT_RDWR]))

    def ready(self, name, side):
        self.events.append((name, side))
        assert (name, side) in self.watched

    def act(self):
        self.chosen.choice(
            [
                self.open,
                self.watch,
                self.watch,
                self.watch,
                self.unwatch,
                self.close,
                self.send,
                self.send,
                self.receive,
                self.receive,
                self.shut_down,
            ]
        )()

    def run(self, turns=150):
        log = []
        for turn in range(turns):
            for _ in range(self.chosen.randrange(4)):
                # Half of the time from within the loop, as callbacks do.
                if self.chosen.random() < 0.5:
                    self.loop.call_soon(self.act)
                    run_turn(self.loop)
                else:
                    self.act()
            run_turn(self.loop)
            log.append((turn, sorted(self.events, key=repr), sorted(self.ends)))
            self.events.clear()
        while self.ends:
            self.close()
        run_turn(self.loop)
        assert self.events == []
        return log


def run(loop_class, seed):
    loop = loop_class()
    reports = []
    loop.set_exception_handler(lambda loop, context: reports.append(context))
    try:
        return Program(loop, seed).run()
    finally:
        loop.close()
        assert reports == []
        gc.collect()


@pytest.mark.parametrize("seed", SEEDS)
def test_the_same_events(seed, watched):
    expected = run(asyncio.SelectorEventLoop, seed)
    log = run(ferrio.EventLoop, seed)
    for mine, theirs in zip(log, expected, strict=True):
        assert mine == theirs
    assert sum(len(events) for _turn, events, _ends in log) > 50
