"""Datagram transports whose peer is a plain socket: the test sends and receives there directly."""

import asyncio
import socket
from typing import Any

from connected import TIMEOUT, Events, run_until
from turns import run_turn


class DatagramRecorder(Events, asyncio.DatagramProtocol):
    """Keeps what happened, in order, and calls what a test has put in ``on_…``."""

    def datagram_received(self, data: bytes, addr: Any) -> None:
        self.happened("datagram", data, addr)

    def error_received(self, exc: Exception) -> None:
        self.happened("error", exc)

    @property
    def datagrams(self) -> list[tuple[bytes, Any]]:
        return [event[1:] for event in self.events if event[0] == "datagram"]

    @property
    def data(self) -> list[bytes]:
        return [data for data, _ in self.datagrams]

    @property
    def errors(self) -> list[Exception]:
        return [event[1] for event in self.events if event[0] == "error"]


FAMILIES = {
    "ipv4": (socket.AF_INET, ("127.0.0.1", 0)),
    "ipv6": (socket.AF_INET6, ("::1", 0)),
    "path": (socket.AF_UNIX, "{directory}/{name}"),
    "abstract": (socket.AF_UNIX, "\0{directory}/{name}"),
}


class Endpoints:
    """Makes transports and peers, all of which are closed when the test ends."""

    def __init__(self, loop: Any, directory: Any) -> None:
        self.loop = loop
        self._directory = directory
        self._count = 0
        self._sockets: list[socket.socket] = []
        self._transports: list[Any] = []

    def address(self, kind: str) -> Any:
        """An address that a socket can be bound to."""
        self._count += 1
        _, pattern = FAMILIES[kind]
        if isinstance(pattern, str):
            return pattern.format(directory=self._directory, name=self._count)
        return pattern

    def open(self, kind: str = "ipv4", *, bound: bool = True) -> socket.socket:
        """A blocking socket; bound unless the test says otherwise."""
        sock = socket.socket(FAMILIES[kind][0], socket.SOCK_DGRAM)
        self._sockets.append(sock)
        sock.settimeout(TIMEOUT)
        if bound:
            sock.bind(self.address(kind))
        return sock

    def create(self, protocol: Any = None, **options: Any) -> Any:
        """The transport of ``create_datagram_endpoint(lambda: protocol, **options)``."""
        protocol = protocol or DatagramRecorder()
        transport, made = self.loop.run_until_complete(
            self.loop.create_datagram_endpoint(lambda: protocol, **options)
        )
        assert made is protocol
        self._transports.append(transport)
        return transport

    def serve(self, kind: str = "ipv4", protocol: Any = None) -> Any:
        """A transport that is bound, and sends to anybody."""
        return self.create(protocol, sock=self.open(kind))

    def connect(self, kind: str = "ipv4", protocol: Any = None) -> tuple[Any, socket.socket]:
        """A transport that is connected to a bound socket, and that socket."""
        peer = self.open(kind)
        sock = self.open(kind)
        sock.connect(peer.getsockname())
        return self.create(protocol, sock=sock), peer

    def close(self) -> None:
        for transport in self._transports:
            if transport._sock is not None and not self.loop.is_closed():
                transport.abort()
                run_until(self.loop, lambda transport=transport: transport._sock is None)
        for sock in self._sockets:
            sock.close()
        self._sockets.clear()
        self._transports.clear()


def protocol_of(transport: Any) -> Any:
    return transport.get_protocol()


def fill(transport: Any, data: bytes, addr: Any = None) -> int:
    """Send until the kernel has no room; the number of datagrams sent, the waiting included."""
    count = 0
    while not transport.get_write_buffer_size():
        transport.sendto(data, addr)
        count += 1
        assert count < 100_000, "the kernel takes everything"
    return count


def drain(loop: Any, sock: socket.socket, count: int) -> list[bytes]:
    """Receive ``count`` datagrams while the loop runs."""
    received: list[bytes] = []
    sock.setblocking(False)

    def done() -> bool:
        while len(received) < count:
            try:
                received.append(sock.recv(1 << 20))
            except BlockingIOError:
                return False
        return True

    run_until(loop, done)
    sock.settimeout(TIMEOUT)
    return received


def in_a_turn(loop: Any, callback: Any, *args: Any) -> Any:
    """Run a turn in which ``callback(*args)`` is called; return what it returns."""
    results: list[Any] = []
    loop.call_soon(lambda: results.append(callback(*args)))
    while not results:
        run_turn(loop)
    return results[0]
