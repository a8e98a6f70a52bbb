"""Opening connections: resolve, connect, and put a transport and a protocol on the socket.

A socket has one owner at any time, who alone closes it: the attempt that connects it, then the
call that made it, then the transport. So wherever a task is cancelled its socket is closed once,
and never twice: the number of a closed socket is given to the next one opened, and a second
close would cut off a stranger.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import socket
import sys
from asyncio import staggered
from asyncio.log import logger
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from ferrio import _ferrio
from ferrio.name_resolution import AddressInfo
from ferrio.sockets import (
    SocketOperationsPart,
    check_stream_socket,
    disable_nagle,
)
from ferrio.tls import TlsOptions, TlsPart, check_not_tls_socket
from ferrio.transports import SocketTransport

if TYPE_CHECKING:
    import ssl as ssl_module

_ProtocolT = TypeVar("_ProtocolT", bound=asyncio.BaseProtocol)


class ConnectionsPart(SocketOperationsPart, TlsPart):
    """``create_connection`` and its kin."""

    async def create_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        host: str | None = None,
        port: int | str | None = None,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        family: int = 0,
        proto: int = 0,
        flags: int = 0,
        sock: socket.socket | None = None,
        local_addr: tuple[str, int] | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        happy_eyeballs_delay: float | None = None,
        interleave: int | None = None,
        all_errors: bool = False,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Connect to ``host``:``port``, or take over the connected ``sock``.

        The addresses of a name are tried one after the other, or, with
        ``happy_eyeballs_delay``, a new one joins the race after so many seconds (RFC 8305).
        ``interleave`` mixes the address families. Timeouts are in seconds. Returns the transport
        and the protocol once ``connection_made`` was called.

        Raises ValueError or TypeError for arguments that do not fit together; OSError when no
        address could be connected to: the only error, or one that names them all, or with
        ``all_errors`` an ExceptionGroup. Cancelling the task closes the socket at once.
        """
        if server_hostname is not None and not ssl:
            raise ValueError("server_hostname is only meaningful with ssl")
        if server_hostname is None and ssl:
            # The certificate must be for the host. Without one, "" says that nobody checks.
            if not host:
                raise ValueError("You must set server_hostname when using ssl without a host")
            server_hostname = host
        tls = TlsOptions(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        tls.check_timeouts(bool(ssl))
        if sock is not None:
            check_not_tls_socket(sock)

        created = host is not None or port is not None
        if created:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            resolve = functools.partial(
                self._resolve_stream_address, family=family, proto=proto, flags=flags
            )
            infos = await resolve((host, port))
            local_infos = None if local_addr is None else await resolve(local_addr)
            if happy_eyeballs_delay is not None and interleave is None:
                interleave = 1
            if interleave:
                infos = interleave_families(infos, interleave)
            attempts = _Attempts(self, local_infos)
            sock = await attempts.connect(infos, happy_eyeballs_delay, all_errors)
        elif sock is None:
            raise ValueError("host and port was not specified and no sock specified")
        else:
            # AF_UNIX is let through, as asyncio does.
            check_stream_socket(sock)

        transport, protocol = await self._open_connection(
            sock, protocol_factory, tls, close_sock_on_error=created
        )
        if self._debug:
            logger.debug(
                "%r connected to %s:%r: (%r, %r)",
                transport.get_extra_info("socket"),
                host,
                port,
                transport,
                protocol,
            )
        return transport, protocol

    async def create_unix_connection(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        path: str | bytes | os.PathLike[str] | None = None,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        sock: socket.socket | None = None,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Connect to the Unix socket at ``path``, or take over the connected ``sock``.

        Arguments, results and errors as for ``create_connection``.
        """
        if ssl and server_hostname is None:
            raise ValueError("you have to pass server_hostname when using ssl")
        if not ssl and server_hostname is not None:
            raise ValueError("server_hostname is only meaningful with ssl")
        tls = TlsOptions(ssl, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout)
        tls.check_timeouts(bool(ssl))

        created = path is not None
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = await self._connect_unix(os.fspath(path))
        elif sock is None:
            raise ValueError("no path and sock were specified")
        else:
            check_unix_stream_socket(sock)
        return await self._open_connection(sock, protocol_factory, tls, close_sock_on_error=created)

    async def connect_accepted_socket(
        self,
        protocol_factory: Callable[[], _ProtocolT],
        sock: socket.socket,
        *,
        ssl: bool | ssl_module.SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Put a transport on ``sock``, a connection that was accepted outside the loop.

        Arguments, results and errors as for ``create_connection``.
        """
        check_stream_socket(sock)
        tls = TlsOptions(ssl, "", ssl_handshake_timeout, ssl_shutdown_timeout)
        tls.check_timeouts(bool(ssl))
        check_not_tls_socket(sock)
        transport, protocol = await self._open_connection(
            sock, protocol_factory, tls, server_side=True
        )
        if self._debug:
            logger.debug(
                "%r handled: (%r, %r)", transport.get_extra_info("socket"), transport, protocol
            )
        return transport, protocol

    async def _resolve_stream_address(
        self, address: tuple[Any, ...], *, family: int = 0, proto: int = 0, flags: int = 0
    ) -> list[AddressInfo]:
        infos = await self._ensure_resolved(
            address, family=family, type=socket.SOCK_STREAM, proto=proto, flags=flags
        )
        if not infos:
            raise OSError("getaddrinfo() returned empty list")
        return infos

    async def _connect_unix(self, path: str | bytes) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.setblocking(False)
            await self.sock_connect(sock, path)
        except BaseException:
            sock.close()
            raise
        return sock

    async def _open_connection(
        self,
        sock: socket.socket,
        protocol_factory: Callable[[], _ProtocolT],
        tls: TlsOptions,
        *,
        server_side: bool = False,
        close_sock_on_error: bool = False,
    ) -> tuple[asyncio.Transport, _ProtocolT]:
        """Put a protocol and a transport on ``sock`` and wait until they are connected.

        Up to 3.13 an error leaves a socket of the user's open until there is a transport.
        """
        try:
            sock.setblocking(False)
            protocol = protocol_factory()
            waiter = self.create_future()
            transport = self._make_transport(sock, protocol, tls, waiter, server_side=server_side)
        except BaseException:
            if close_sock_on_error or sys.version_info >= (3, 14):
                sock.close()
            raise
        try:
            await waiter
        except BaseException:
            transport.close()
            raise
        return transport, protocol

    def _make_transport(
        self,
        sock: socket.socket | _ferrio.AcceptedSocket,
        protocol: asyncio.BaseProtocol,
        tls: TlsOptions,
        waiter: asyncio.Future[None],
        *,
        server_side: bool,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
    ) -> asyncio.Transport:
        """Make the transport of a connected socket, with TLS when ``tls`` asks for it."""
        if tls.context:
            return self._make_ssl_transport(
                sock, protocol, tls, waiter, server_side=server_side, extra=extra, server=server
            )
        return self._make_socket_transport(sock, protocol, waiter, extra=extra, server=server)

    def _make_socket_transport(
        self,
        sock: socket.socket | _ferrio.AcceptedSocket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
    ) -> asyncio.Transport:
        """Make the plain transport of a connected socket, which owns the socket from then on."""
        self._ensure_fd_no_transport(sock)
        if isinstance(sock, socket.socket):
            disable_nagle(sock)
        return SocketTransport(self, sock, protocol, waiter, extra, server)


class _Attempts:
    """The attempts of one ``create_connection`` to reach one of its addresses."""

    def __init__(self, loop: SocketOperationsPart, local_infos: list[AddressInfo] | None) -> None:
        self._loop = loop
        # The addresses that the caller wants to connect from; None leaves it to the kernel.
        self._local_infos = local_infos
        # What went wrong, one list for each attempt in the order in which they began.
        self._errors: list[list[OSError]] = []
        # Connected sockets of a race that nobody has claimed yet.
        self._unclaimed: list[socket.socket] = []

    async def connect(
        self, infos: list[AddressInfo], happy_eyeballs_delay: float | None, all_errors: bool
    ) -> socket.socket:
        """Return a socket connected to one of ``infos``, or raise what went wrong."""
        try:
            if happy_eyeballs_delay is None:
                sock = await self._connect_in_order(infos)
            else:
                sock = await self._race(infos, happy_eyeballs_delay)
            if sock is None:
                raise self._failure(all_errors)
            return sock
        finally:
            # The errors' tracebacks refer to this object: without this they would be a cycle.
            self._errors = []

    async def _connect_in_order(self, infos: list[AddressInfo]) -> socket.socket | None:
        for info in infos:
            try:
                return await self._connect_one(info)
            except OSError:
                # Noted by the attempt; the next address may do.
                continue
        return None

    async def _race(self, infos: list[AddressInfo], delay: float) -> socket.socket | None:
        """Run attempts that start ``delay`` seconds apart; the first to connect wins.

        The race may be left by cancellation when an attempt has won and nobody has heard of
        it, so connected sockets are kept until the winner is claimed.
        """

        async def run(info: AddressInfo) -> socket.socket:
            sock = await self._connect_one(info)
            self._unclaimed.append(sock)
            return sock

        try:
            winner: socket.socket | None
            winner, _, outcomes = await staggered.staggered_race(
                [functools.partial(run, info) for info in infos], delay, loop=self._loop
            )
            if winner is not None:
                self._unclaimed.remove(winner)
                return winner
            for outcome in outcomes:
                # Not about this address: a port out of range, say.
                if outcome is not None and not isinstance(outcome, OSError):
                    raise outcome
            return None
        finally:
            while self._unclaimed:
                self._unclaimed.pop().close()

    async def _connect_one(self, info: AddressInfo) -> socket.socket:
        """Make a socket, bind it when asked to, and connect it; closes it on any error."""
        errors: list[OSError] = []
        self._errors.append(errors)
        family, kind, proto, _, address = info
        try:
            sock = socket.socket(family=family, type=kind, proto=proto)
            try:
                sock.setblocking(False)
                if self._local_infos is not None:
                    self._bind(sock, self._local_infos, errors)
                await self._loop.sock_connect(sock, address)
            except BaseException:
                sock.close()
                raise
            return sock
        except OSError as error:
            errors.append(error)
            raise
        finally:
            # The error's traceback refers to this frame: without this they would be a cycle.
            del errors

    def _bind(
        self, sock: socket.socket, local_infos: list[AddressInfo], errors: list[OSError]
    ) -> None:
        """Bind to the first local address of the socket's family that can be had."""
        failure: OSError | None = None
        for family, _, _, _, address in local_infos:
            if family != sock.family:
                continue
            try:
                sock.bind(address)
                return
            except OSError as error:
                if failure is not None:
                    errors.append(failure)
                failure = bind_error(error, address)
        if failure is None:
            family = sock.family
            failure = OSError(f"no matching local address with {family=} found")
        try:
            raise failure
        finally:
            del failure

    def _failure(self, all_errors: bool) -> Exception:
        """Return one exception for all that went wrong."""
        errors = [error for attempt in self._errors for error in attempt]
        if not errors:
            # asyncio has this from 3.14 on, and an IndexError before.
            return TimeoutError("create_connection failed")
        if all_errors:
            return ExceptionGroup("create_connection failed", errors)
        messages = [str(error) for error in errors]
        if len(set(messages)) == 1:
            return errors[0]
        return OSError(f"Multiple exceptions: {', '.join(messages)}")


def interleave_families(infos: list[AddressInfo], first_family_count: int) -> list[AddressInfo]:
    """Reorder addresses so that their families take turns, each family in its own order.

    ``first_family_count`` addresses of the first family come before the first of another.
    """
    families: dict[Any, list[AddressInfo]] = {}
    for info in infos:
        families.setdefault(info[0], []).append(info)
    queues = list(families.values())
    head_start = first_family_count - 1 if first_family_count > 1 else 0
    head, queues[0] = queues[0][:head_start], queues[0][head_start:]
    turns = itertools.zip_longest(*queues)
    return head + [info for turn in turns for info in turn if info is not None]


def bind_error(error: OSError, address: Any) -> OSError:
    """Return ``error`` of a bind with the address in its message and the errno kept."""
    # 3.13 words the reason with its errno: "[errno 98] address already in use".
    reason = str(error) if sys.version_info >= (3, 13) else (error.strerror or str(error))
    return OSError(
        error.errno,
        f"error while attempting to bind on address {address!r}: {reason.lower()}",
    )


def check_unix_stream_socket(sock: socket.socket) -> None:
    """Raise ValueError unless ``sock`` is a stream socket of AF_UNIX."""
    if sock.family != socket.AF_UNIX or sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A UNIX Domain Stream Socket was expected, got {sock!r}")
