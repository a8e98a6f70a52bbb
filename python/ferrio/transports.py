"""The transport of a connected stream socket: what is done once per connection.

What is done per packet is native (``_ferrio.StreamTransport``).
"""

from __future__ import annotations

import asyncio
import socket
import warnings
from asyncio import constants, futures, trsock
from collections.abc import Callable
from typing import Any

from ferrio import _ferrio


class SocketTransport(_ferrio.StreamTransport):
    """An ``asyncio.Transport`` over a connected TCP or Unix stream socket, which it owns.

    Belongs to its loop's thread. The protocol's ``connection_made`` is called in the loop's next
    turn; then receiving begins, and ``waiter`` is told. ``extra`` is what ``get_extra_info``
    knows beside the socket and its addresses. ``server`` is told of the connection's beginning
    and end.
    """

    # What asyncio's start_tls() and sendfile() ask before they use a transport.
    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.TRY_NATIVE

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket | _ferrio.AcceptedSocket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
        server: Any = None,
    ) -> None:
        if isinstance(sock, socket.socket):
            extra = describe_socket(sock, extra)
        super().__init__(loop, sock, protocol, extra, server)
        if server is not None:
            server._attach(self)
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._start_reading)
        if waiter is not None:
            wake: Any = futures._set_result_unless_cancelled  # type: ignore[attr-defined]
            loop.call_soon(wake, waiter, None)

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # The default argument outlives this module's globals when the interpreter ends.
        file = self._file
        if file is None:
            return
        _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
        file.close()
        if self._server is not None:
            self._server._detach(self)


def describe_socket(sock: socket.socket, extra: dict[str, Any] | None) -> dict[str, Any]:
    """Return ``extra``, completed with the socket and its addresses."""
    if extra is None:
        extra = {}
    extra["socket"] = trsock.TransportSocket(sock)
    extra["sockname"] = _shared(_address(sock.getsockname))
    if "peername" not in extra:
        extra["peername"] = _address(sock.getpeername)
    return extra


def make_socket(family: int, fd: int) -> socket.socket:
    """Return the non-blocking stream socket of an accepted connection; a closed one for -1."""
    if fd >= 0:
        sock = socket.socket(family, socket.SOCK_STREAM, fileno=fd)
        sock.setblocking(False)
        return sock
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.close()
    return sock


_latest_name: Any = None


def _shared(name: Any) -> Any:
    """Return the latest equal name: a server's connections all have the same one at this end."""
    global _latest_name
    if name != _latest_name:
        _latest_name = name
    return _latest_name


def _address(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except OSError:
        # The peer may have gone already; the first read will tell.
        return None
