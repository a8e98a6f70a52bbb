"""The same random script on both implementations: what happens must be the same, turn by turn.

A script is a list of turns. Each turn has some operations on the transport from within it, some
from outside, and something that the peer does. After each turn the script looks at everything that
can be seen: the protocol's callbacks in order, what the peer has received, the transport's state.
"""

import random
import socket

import pytest

from connected import Recorder, unix_pair
from implementations import ASYNCIO, FERRIO
from turns import run_turn, run_turns

SCRIPTS = 150
TURNS = 12


class Player:
    """Plays one script on one implementation, and keeps what it saw."""

    def __init__(self, implementation, seed):
        self.random = random.Random(seed)
        self.loop = implementation.EventLoop()
        self.loop.set_exception_handler(lambda _, context: self.saw(context["message"]))
        self.protocol = Recorder()
        self.protocol.on_eof = lambda: keep_open
        # Whether the protocol keeps its side open; what it does when data arrives.
        keep_open = self.random.random() < 0.5
        self.reaction = self.random.choice(["nothing", "echo", "pause", "close", "raise"])
        self.protocol.on_data = self.react
        self.seen = []
        self.peer_received = b""
        # Not TCP, whose packets may take longer than a turn when the machine is busy.
        sock, self.peer = unix_pair()
        self.peer.setblocking(False)
        self.transport, _ = self.loop.run_until_complete(
            self.loop.create_connection(lambda: self.protocol, sock=sock)
        )

    def saw(self, *what):
        # As text: two exceptions are never equal.
        self.seen.append(repr(what))

    def play(self):
        for _ in range(TURNS):
            for _ in range(self.random.randrange(3)):
                self.loop.call_soon(self.operate, "inside")
            if self.random.random() < 0.4:
                self.operate("outside")
                self.look()
            if self.random.random() < 0.5:
                self.peer_acts()
            run_turn(self.loop)
            self.look()
        self.transport.abort()
        run_turns(self.loop, 3)
        self.look()
        self.loop.close()
        self.peer.close()
        return self.seen

    def react(self, data):
        if self.reaction == "echo":
            self.transport.write(data)
            self.write_lines()
        elif self.reaction == "pause":
            self.transport.pause_reading()
        elif self.reaction == "close":
            self.transport.write(b"closing")
            self.transport.close()
        elif self.reaction == "raise":
            self.transport.write(b"raising")
            raise ZeroDivisionError("a bug")

    def operate(self, where):
        self.where = where
        for _ in range(self.random.randrange(1, 4)):
            name, operation = self.random.choice(OPERATIONS)
            try:
                self.saw(where, name, operation(self))
            except (RuntimeError, OSError) as error:
                self.saw(where, name, type(error), str(error))

    def some_bytes(self):
        return bytes([self.random.randrange(256)]) * self.random.choice([1, 3, 50, 1000, 20_000])

    def write(self):
        kind = self.random.choice([bytes, bytearray, memoryview])
        self.transport.write(kind(self.some_bytes()))

    def write_lines(self):
        lines = [self.some_bytes() for _ in range(self.random.randrange(1, 4))]
        # Up to 3.13.1 asyncio raises a TypeError of its own when the transport is closing.
        if not self.transport.is_closing():
            self.write_all(lines)

    def write_all(self, lines):
        self.transport.writelines(lines)

    def resume(self):
        # In a turn that has both paused and resumed asyncio has forgotten that there is something
        # to read, and finds it again in the next; ferrio reads at once.
        if self.where == "outside":
            self.transport.resume_reading()

    def peer_acts(self):
        # A unix peer that is gone is an error to its own side, too.
        try:
            if self.random.random() < 0.8:
                self.peer.sendall(b"peer" * self.random.randrange(1, 20))
            else:
                self.peer.shutdown(socket.SHUT_WR)
        except OSError:
            self.saw("the peer cannot send")

    def look(self):
        try:
            while data := self.peer.recv(1 << 20):
                self.peer_received += data
            self.saw("end of stream")
        except BlockingIOError:
            self.saw("open")
        except OSError as error:
            self.saw(type(error))
        self.saw(
            len(self.peer_received),
            self.peer_received[-100:],
            self.protocol.events,
            self.transport.is_closing(),
            self.transport.is_reading(),
            self.transport.get_write_buffer_size(),
            self.transport._conn_lost,
        )


OPERATIONS = [
    *[("write", Player.write)] * 6,
    *[("write_lines", Player.write_lines)] * 3,
    ("pause", lambda player: player.transport.pause_reading()),
    ("resume", Player.resume),
    ("size", lambda player: player.transport.get_write_buffer_size()),
    ("limits", lambda player: player.transport.set_write_buffer_limits(100)),
    ("write_eof", lambda player: player.transport.write_eof()),
    *[("set_protocol", lambda player: player.transport.set_protocol(player.protocol))] * 2,
    ("close", lambda player: player.transport.close()),
    ("abort", lambda player: player.transport.abort()),
]


@pytest.mark.parametrize("seed", range(SCRIPTS))
def test_both_do_the_same(seed, watched):
    expected = Player(ASYNCIO, seed).play()
    seen = Player(FERRIO, seed).play()
    for step, (mine, theirs) in enumerate(zip(seen, expected, strict=False)):
        assert mine == theirs, f"step {step}"
    assert len(seen) == len(expected)
    # Writes after the end are counted and, after some, warned of, by both alike.
    warnings = watched.texts()
    assert len(warnings) % 2 == 0
