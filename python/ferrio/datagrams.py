"""Datagram endpoints: UDP, Unix and other sockets that send and receive single messages.

What is done per datagram is native (``_ferrio.DatagramTransport``).
"""

from __future__ import annotations

import asyncio
import socket
import sys
import warnings
from asyncio import futures
from asyncio.log import logger
from collections.abc import Callable
from typing import Any, TypeVar

from ferrio import _ferrio, resources
from ferrio.connections import ConnectionsPart
from ferrio.listening import remove_stale_unix_socket, set_reuse_port
from ferrio.transports import describe_socket

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)

# Since then asyncio takes every socket that is no stream: a raw one, say.
_TAKES_EVERY_KIND = sys.version_info >= (3, 12, 2) or (3, 11, 8) <= sys.version_info < (3, 12)


class DatagramTransport(_ferrio.DatagramTransport, asyncio.Transport):
    """An ``asyncio.DatagramTransport`` over a datagram socket, which it owns.

    Belongs to its loop's thread. The protocol's ``connection_made`` is called in the loop's next
    turn; then receiving begins, and ``waiter`` is told. ``address`` is the only one that may be
    sent to, or None. ``extra`` is what ``get_extra_info`` knows beside the socket and its
    addresses.

    As asyncio's own it is an ``asyncio.Transport`` as well, whose ``write`` and ``write_eof``
    raise NotImplementedError.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        address: Any = None,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(loop, sock, protocol, address, describe_socket(sock, extra))
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._start_reading)
        if waiter is not None:
            wake: Any = futures._set_result_unless_cancelled  # type: ignore[attr-defined]
            loop.call_soon(wake, waiter, None)

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        # The default argument outlives this module's globals when the interpreter ends.
        sock = self._sock
        if sock is None:
            return
        _warn(f"unclosed transport {self!r}", ResourceWarning, source=self)
        sock.close()


class DatagramsPart(ConnectionsPart):
    """``create_datagram_endpoint``."""

    async def create_datagram_endpoint(  # type: ignore[override]
        self,
        protocol_factory: Callable[[], _ProtocolT],
        local_addr: tuple[str, int] | str | None = None,
        remote_addr: tuple[str, int] | str | None = None,
        *,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        reuse_port: bool | None = None,
        allow_broadcast: bool | None = None,
        sock: socket.socket | None = None,
    ) -> tuple[asyncio.DatagramTransport, _ProtocolT]:
        """Open a socket for datagrams, or take over ``sock``; return transport and protocol.

        The socket is bound to ``local_addr`` and sends only to ``remote_addr``, where these are
        given: tuples of host and port, or with ``family=AF_UNIX`` paths, of which a local one
        that is left of a dead program is replaced. ``proto`` and ``flags`` are passed to
        ``getaddrinfo``; with ``allow_broadcast`` the socket is not connected. Returns once
        ``connection_made`` was called.

        Raises ValueError or TypeError for arguments that do not fit together, and the OSError of
        the first pair of addresses when none could be used. No socket of its own is left open.
        """
        remote_address: Any = None
        created = sock is None
        if sock is None:
            pairs = await self._datagram_addresses(local_addr, remote_addr, family, proto, flags)
            opener = _Opener(
                self,
                binds=bool(local_addr),
                connects=bool(remote_addr),
                reuse_port=bool(reuse_port),
                allow_broadcast=bool(allow_broadcast),
            )
            sock, remote_address = await opener.open_first(pairs)
        else:
            options = {
                "local_addr": local_addr,
                "remote_addr": remote_addr,
                "family": family,
                "proto": proto,
                "flags": flags,
                "reuse_port": reuse_port,
                "allow_broadcast": allow_broadcast,
            }
            _check_users_socket(sock, options)
            sock.setblocking(False)

        waiter: asyncio.Future[None] = self.create_future()
        try:
            protocol = protocol_factory()
            transport = DatagramTransport(self, sock, protocol, remote_address, waiter)
            resources.remember("datagram", self, transport)
        except BaseException:
            if created:
                sock.close()
            raise
        if self._debug:
            self._log_endpoint(local_addr, remote_addr, transport, protocol)
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    def _log_endpoint(
        self, local_addr: Any, remote_addr: Any, transport: Any, protocol: Any
    ) -> None:
        if local_addr:
            logger.info(
                "Datagram endpoint local_addr=%r remote_addr=%r created: (%r, %r)",
                local_addr,
                remote_addr,
                transport,
                protocol,
            )
        else:
            logger.debug(
                "Datagram endpoint remote_addr=%r created: (%r, %r)",
                remote_addr,
                transport,
                protocol,
            )

    async def _datagram_addresses(
        self, local_addr: Any, remote_addr: Any, family: int, proto: int, flags: int
    ) -> list[_Pair]:
        """Return what sockets to try: family and protocol, and the addresses in terms of these."""
        if not (local_addr or remote_addr):
            if family == 0:
                raise ValueError("unexpected address family")
            return [(family, proto, None, None)]
        if family == socket.AF_UNIX:
            for path in (local_addr, remote_addr):
                if path is not None and not isinstance(path, str):
                    raise TypeError("string is expected")
            if local_addr and local_addr[0] != "\x00":
                remove_stale_unix_socket(local_addr)
            return [(family, proto, local_addr, remote_addr)]

        # By family and protocol, in the order in which the resolver first names them.
        found: dict[tuple[int, int], list[Any]] = {}
        for side, address in enumerate((local_addr, remote_addr)):
            if address is None:
                continue
            if not (isinstance(address, tuple) and len(address) == 2):
                raise TypeError("2-tuple is expected")
            infos = await self._ensure_resolved(
                address, family=family, type=socket.SOCK_DGRAM, proto=proto, flags=flags
            )
            if not infos:
                raise OSError("getaddrinfo() returned empty list")
            for its_family, _, its_proto, _, resolved in infos:
                found.setdefault((its_family, its_proto), [None, None])[side] = resolved
        pairs = [
            (its_family, its_proto, local, remote)
            for (its_family, its_proto), (local, remote) in found.items()
            if (local or not local_addr) and (remote or not remote_addr)
        ]
        if not pairs:
            raise ValueError("can not get address information")
        return pairs


# Family, protocol, local and remote address of a socket to be tried.
_Pair = tuple[int, int, Any, Any]


class _Opener:
    """How the socket of one ``create_datagram_endpoint`` is set up."""

    def __init__(
        self,
        loop: DatagramsPart,
        *,
        binds: bool,
        connects: bool,
        reuse_port: bool,
        allow_broadcast: bool,
    ) -> None:
        self._loop = loop
        # Whether there is a local and a remote address.
        self._binds = binds
        self._connects = connects
        self._reuse_port = reuse_port
        self._allow_broadcast = allow_broadcast

    async def open_first(self, pairs: list[_Pair]) -> tuple[socket.socket, Any]:
        """Return the first socket that can be opened, with its remote address.

        Raises the OSError of the first pair when no pair is of use; no socket is left open.
        """
        errors: list[OSError] = []
        try:
            for pair in pairs:
                try:
                    return await self._open(pair)
                except OSError as error:
                    errors.append(error)
            raise errors[0]
        finally:
            # An error refers to its traceback, which refers to this frame.
            errors.clear()

    async def _open(self, pair: _Pair) -> tuple[socket.socket, Any]:
        family, proto, local, remote = pair
        sock = socket.socket(family, socket.SOCK_DGRAM, proto)
        try:
            if self._reuse_port:
                set_reuse_port(sock)
            if self._allow_broadcast:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
            sock.setblocking(False)
            if self._binds:
                sock.bind(local)
            if not self._connects:
                return sock, None
            if not self._allow_broadcast:
                await self._loop.sock_connect(sock, remote)
            return sock, remote
        except BaseException:
            sock.close()
            raise


def _check_users_socket(sock: socket.socket, options: dict[str, Any]) -> None:
    """Raise ValueError unless ``sock`` is for datagrams and nothing else was asked for."""
    if _TAKES_EVERY_KIND:
        if sock.type == socket.SOCK_STREAM:
            raise ValueError(f"A datagram socket was expected, got {sock!r}")
    elif sock.type != socket.SOCK_DGRAM:
        raise ValueError(f"A UDP Socket was expected, got {sock!r}")
    problems = ", ".join(f"{name}={value}" for name, value in options.items() if value)
    if problems:
        raise ValueError(
            "socket modifier keyword arguments can not be used "
            f"when sock is specified. ({problems})"
        )
