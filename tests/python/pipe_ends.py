"""Pipes of every kind whose other end a test reads or writes directly."""

import os
import socket
import tty
from typing import Any

from connected import TIMEOUT, Events, run_until


class Pipe:
    """Both ends: ``end`` is the file object for a transport, ``peer`` the other's descriptor."""

    def __init__(self, end: Any, peer: int) -> None:
        self.end = end
        self.peer = peer
        os.set_blocking(peer, False)

    def read(self, size: int = 1 << 20) -> bytes:
        """What the peer can read now; b"" at the end, None when there is nothing."""
        try:
            return os.read(self.peer, size)
        except BlockingIOError:
            return None

    def write(self, data: bytes) -> None:
        assert os.write(self.peer, data) == len(data)

    def close_peer(self) -> None:
        if self.peer >= 0:
            os.close(self.peer)
            self.peer = -1


def pipe_to_read() -> Pipe:
    reader, writer = os.pipe()
    return Pipe(open(reader, "rb", 0), writer)


def pipe_to_write() -> Pipe:
    reader, writer = os.pipe()
    return Pipe(open(writer, "wb", 0), reader)


def socket_pipe() -> Pipe:
    one, other = socket.socketpair()
    return Pipe(one, other.detach())


def terminal_master(mode: str) -> Pipe:
    """The master is the transport's, the terminal the peer's."""
    master, slave = os.openpty()
    tty.setraw(slave)
    return Pipe(open(master, mode, 0), slave)


def terminal_slave(mode: str) -> Pipe:
    master, slave = os.openpty()
    tty.setraw(slave)
    return Pipe(open(slave, mode, 0), master)


READABLE = {
    "pipe": pipe_to_read,
    "socket": socket_pipe,
    "terminal": lambda: terminal_slave("rb"),
    "master": lambda: terminal_master("rb"),
}

WRITABLE = {
    "pipe": pipe_to_write,
    "socket": socket_pipe,
    "terminal": lambda: terminal_slave("wb"),
    "master": lambda: terminal_master("wb"),
}


class PipeConnection:
    """A transport over a pipe, with its protocol."""

    def __init__(self, loop: Any, protocol: Events, pipe: Pipe, method: str) -> None:
        self.loop = loop
        self.protocol = protocol
        self.pipe = pipe
        connecting = getattr(loop, method)(lambda: protocol, pipe.end)
        self.transport, _ = loop.run_until_complete(connecting)

    def close(self) -> None:
        self.pipe.close_peer()
        if self.loop.is_closed() or self.transport._pipe is None:
            return
        if hasattr(self.transport, "abort"):
            self.transport.abort()
        else:
            self.transport.close()
        run_until(self.loop, lambda: self.transport._pipe is None)


def pipe_connections(loop: Any, make_pipe: Any, make_protocol: Any, method: str) -> Any:
    """For a fixture: what makes transports, which are closed when the test ends."""
    connections = []

    def connect(pipe: Any = None, protocol: Any = None) -> PipeConnection:
        connection = PipeConnection(loop, protocol or make_protocol(), pipe or make_pipe(), method)
        connections.append(connection)
        return connection

    yield connect
    for connection in connections:
        connection.close()
    connections.clear()


__all__ = [
    "READABLE",
    "TIMEOUT",
    "WRITABLE",
    "Pipe",
    "PipeConnection",
    "pipe_connections",
    "run_until",
]
