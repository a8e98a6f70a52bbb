"""Transports whose peer is a plain blocking socket: the test reads and writes it directly.

On one machine what is written to a socket can be read from its peer at once, so a test sees what
was sent, and when, without waiting.
"""

import asyncio
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

from turns import run_turn

# Seconds after which something that is waited for has failed: under a sanitizer, on a machine that
# is busy, what takes two takes thirty.
TIMEOUT = 90


def run_until(loop: Any, condition: Callable[[], Any]) -> None:
    """Run turns until ``condition()`` holds.

    TCP on one machine is mostly as fast as a turn, but not on a busy one: after many turns this
    waits a little between them.
    """
    deadline = time.monotonic() + TIMEOUT
    turns = 0
    while not condition():
        assert time.monotonic() < deadline, f"still not so: {condition}"
        turns += 1
        if turns > 100:
            time.sleep(0.001)
        run_turn(loop)


class Events:
    """Keeps what happened to a protocol, in order, and calls what a test has put in ``on_…``."""

    def __init__(self) -> None:
        self.transport: Any = None
        self.events: list[Any] = []
        self.received = b""

    def happened(self, name: str, *values: Any) -> Any:
        self.events.append((name, *values) if values else name)
        hook = getattr(self, f"on_{name}", None)
        return None if hook is None else hook(*values)

    @property
    def names(self) -> list[str]:
        return [event if isinstance(event, str) else event[0] for event in self.events]

    @property
    def lost_with(self) -> Any:
        """What connection_lost() was called with; it must have been called once."""
        (lost,) = (event for event in self.events if event[0] == "lost")
        return lost[1]

    @property
    def is_lost(self) -> bool:
        return "lost" in self.names

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.happened("made")

    def pause_writing(self) -> None:
        self.happened("pause")

    def resume_writing(self) -> None:
        self.happened("resume")

    def eof_received(self) -> Any:
        return self.happened("eof")

    def connection_lost(self, exc: Any) -> None:
        self.happened("lost", exc)


class Recorder(Events, asyncio.Protocol):
    def data_received(self, data: bytes) -> None:
        self.received += data
        self.happened("data", data)


class BufferedRecorder(Events, asyncio.BufferedProtocol):
    def __init__(self, size: int = 64) -> None:
        super().__init__()
        self.memory: Any = bytearray(size)

    def get_buffer(self, sizehint: int) -> Any:
        self.happened("get_buffer", sizehint)
        return self.memory

    def buffer_updated(self, nbytes: int) -> None:
        data = bytes(self.memory[:nbytes])
        self.received += data
        self.happened("data", data)


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        one = socket.create_connection(listening.getsockname())
        other, _ = listening.accept()
    return one, other


def unix_pair() -> tuple[socket.socket, socket.socket]:
    return socket.socketpair()


PAIRS = {"tcp": tcp_pair, "unix": unix_pair}


class Connection:
    """A transport with its protocol, and the peer's socket."""

    def __init__(self, loop: Any, protocol: Any, sock: socket.socket, peer: socket.socket) -> None:
        self.loop = loop
        self.protocol = protocol
        self.sock = sock
        self.peer = peer
        self.transport: Any = None
        peer.settimeout(TIMEOUT)
        self.transport, _ = loop.run_until_complete(
            loop.create_connection(lambda: protocol, sock=sock)
        )

    def receive(self, size: int) -> bytes:
        """What the peer can read, ``size`` bytes of it; the loop does not run meanwhile."""
        return receive(self.peer, size)

    def nothing_sent(self) -> bool:
        """Whether the peer has nothing to read."""
        self.peer.setblocking(False)
        try:
            self.peer.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            return True
        finally:
            self.peer.settimeout(TIMEOUT)
        return False

    def in_a_turn(self, callback: Any, *args: Any) -> Any:
        """Run a turn in which ``callback(*args)`` is called; return what it returns."""
        results = []
        self.loop.call_soon(lambda: results.append(callback(*args)))
        run_until(self.loop, lambda: results)
        return results[0]

    def fill(self) -> bytes:
        """Write until the kernel takes no more; return everything that was written."""
        written = b""
        while not (self.transport.get_write_buffer_size() or self.transport.is_closing()):
            chunk = bytes(range(256)) * 256
            self.transport.write(chunk)
            written += chunk
        return written

    def drain(self, size: int) -> bytes:
        """Receive ``size`` bytes, or up to the end of the stream, while the loop runs."""
        received = b""
        self.peer.setblocking(False)

        def done() -> bool:
            nonlocal received
            while True:
                try:
                    data = self.peer.recv(1 << 20)
                except BlockingIOError:
                    break
                received += data
                if not data:
                    return True
            return len(received) >= size

        run_until(self.loop, done)
        self.peer.settimeout(TIMEOUT)
        return received

    def reset(self) -> None:
        """Close the peer so that a TCP connection is reset."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()

    def close(self) -> None:
        """End the connection, whatever the test has left of it."""
        self.peer.close()
        if self.transport is None or self.transport._sock is None or self.loop.is_closed():
            return
        self.transport.abort()
        run_until(self.loop, lambda: self.transport._sock is None)


def receive(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = sock.recv(size - len(data))
        if not more:
            break
        data += more
    return data
