"""The server object that ``create_server`` returns: its sockets, its clients, its end."""

from __future__ import annotations

import asyncio
import sys
from asyncio import trsock
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import socket

    from ferrio import _ferrio
    from ferrio.listening import Listener, ListeningPart


class Server(asyncio.Server):
    """Listening sockets and the connections that were accepted on them.

    Belongs to its loop's thread. ``asyncio.Server`` is the base for ``isinstance`` only: nothing
    of it is used.
    """

    def __init__(
        self,
        loop: ListeningPart,
        listeners: Sequence[Listener],
    ) -> None:
        # The loop that accepts the connections.
        self._loop = loop
        # The listening sockets; None once the server is closed.
        self._listeners: Sequence[Listener] | None = listeners
        # How many transports of this server's are open; the loop knows which.
        self._connections = 0
        # Futures of wait_closed(); None once the server is closed and has no client left.
        self._waiters: list[asyncio.Future[None]] | None = []
        # Whether connections are being accepted.
        self._serving = False
        # What serve_forever() awaits while it runs.
        self._serving_forever_fut: asyncio.Future[None] | None = None

    def __repr__(self) -> str:
        return f"<{self.__class__.__name__} sockets={self.sockets!r}>"

    def get_loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop that accepts the server's connections."""
        return self._loop

    def is_serving(self) -> bool:
        """Return whether the server accepts connections."""
        return self._serving

    @property
    def _sockets(self) -> list[socket.socket] | None:
        """The listening sockets themselves; None once the server is closed."""
        if self._listeners is None:
            return None
        return [listener.sock for listener in self._listeners]

    @property
    def sockets(self) -> tuple[Any, ...]:
        """The listening sockets, as objects that cannot be read, written or closed."""
        return tuple(trsock.TransportSocket(sock) for sock in self._sockets or ())

    async def start_serving(self) -> None:
        """Accept connections from now on; does nothing when it does already.

        Raises RuntimeError when the server is closed, OSError when the sockets cannot listen.
        """
        self._start_serving()
        await asyncio.sleep(0)

    async def serve_forever(self) -> None:
        """Accept connections until the task is cancelled, which closes the server.

        From 3.14 on it then closes the connections as well, and waits for their end.

        Raises RuntimeError when it is being awaited already or the server is closed.
        """
        if self._serving_forever_fut is not None:
            raise RuntimeError(f"server {self!r} is already being awaited on serve_forever()")
        self._start_serving()
        self._serving_forever_fut = self._loop.create_future()
        try:
            await self._serving_forever_fut
        except asyncio.CancelledError:
            try:
                self.close()
                if sys.version_info >= (3, 14):
                    self.close_clients()
                await self.wait_closed()
            finally:
                raise
        finally:
            self._serving_forever_fut = None

    def close(self) -> None:
        """Close the listening sockets; open connections stay open. May be called twice."""
        listeners = self._listeners
        if listeners is None:
            return
        self._listeners = None
        self._serving = False
        for listener in listeners:
            listener.close()
        forever = self._serving_forever_fut
        if forever is not None and not forever.done():
            forever.cancel()
            self._serving_forever_fut = None
        self._wake_up_when_over()

    def close_clients(self) -> None:
        """Close every open connection, after what was written to it has been sent (3.13)."""
        for transport in self._clients():
            transport.close()

    def abort_clients(self) -> None:
        """Close every open connection at once, whatever was still to be sent (3.13)."""
        for transport in self._clients():
            transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the server is closed and its last connection too.

        Before 3.12, as asyncio does there, a closed server is not waited for at all: programs
        of that time close a server while clients stay connected.
        """
        if self._waiters is None:
            return
        if self._listeners is None and sys.version_info < (3, 12):
            return
        waiter = self._loop.create_future()
        self._waiters.append(waiter)
        await waiter

    def _start_serving(self) -> None:
        if self._listeners is None:
            raise RuntimeError(f"server {self!r} is closed")
        if self._serving:
            return
        started: list[Listener] = []
        try:
            for listener in self._listeners:
                listener.start(self)
                started.append(listener)
        except BaseException:
            for listener in started:
                listener.pause()
            raise
        self._serving = True

    def _clients(self) -> list[_ferrio.StreamTransport]:
        return self._loop._transports_of(self)

    def _attach(self, transport: asyncio.BaseTransport) -> None:
        """Count a connection in; its transport calls this when it is made."""
        self._connections += 1

    def _detach(self, transport: asyncio.BaseTransport) -> None:
        """Count a connection out; its transport calls this when it is lost."""
        self._connections -= 1
        self._wake_up_when_over()

    def _wake_up_when_over(self) -> None:
        """Wake wait_closed() once the server is closed and has no connection left."""
        if self._listeners is not None or self._waiters is None or self._connections > 0:
            return
        waiters, self._waiters = self._waiters, None
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)
