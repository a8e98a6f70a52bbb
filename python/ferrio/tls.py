"""TLS over the loop's own stream transports, by the standard library's ``SSLProtocol``.

The records are made and read by ``asyncio.sslproto``, which is a protocol of the socket's
transport and offers a transport to the user's protocol.
"""

from __future__ import annotations

import asyncio
import socket
from asyncio import sslproto
from typing import TYPE_CHECKING, Any, NamedTuple

from ferrio.loop_part import LoopPart

if TYPE_CHECKING:
    import ssl
else:
    # An interpreter may have been built without OpenSSL; asyncio works without it too.
    try:
        import ssl
    except ImportError:
        ssl = None


class TlsOptions(NamedTuple):
    """How the connections of one call are secured."""

    # The context to use; None or True means a default one for a client, False no TLS at all.
    context: ssl.SSLContext | bool | None = None
    # What the server's certificate must be for; "" checks nothing. None on the server's side.
    server_hostname: str | None = None
    # Seconds until a handshake is given up; None is asyncio's 60.
    handshake_timeout: float | None = None
    # Seconds until a closing handshake is given up; None is asyncio's 30.
    shutdown_timeout: float | None = None

    def check_timeouts(self, has_tls: bool) -> None:
        """Raise ValueError for a timeout that would have no effect."""
        if self.handshake_timeout is not None and not has_tls:
            raise ValueError("ssl_handshake_timeout is only meaningful with ssl")
        if self.shutdown_timeout is not None and not has_tls:
            raise ValueError("ssl_shutdown_timeout is only meaningful with ssl")


class TlsPart(LoopPart):
    """Makes TLS transports, and upgrades plain ones."""

    async def start_tls(
        self,
        transport: asyncio.BaseTransport,
        protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> asyncio.Transport | None:
        """Upgrade ``transport`` to TLS; return the transport ``protocol`` must use from now on.

        The timeouts are in seconds; None is 60 for the handshake and 30 for the closing one.
        Raises TypeError when the context or the transport is not fit for it, and what the
        handshake raised. When it fails or the task is cancelled the transport is closed.
        """
        if ssl is None:
            raise RuntimeError("Python ssl module is not available")
        if not isinstance(sslcontext, ssl.SSLContext):
            raise TypeError(
                f"sslcontext is expected to be an instance of ssl.SSLContext, got {sslcontext!r}"
            )
        if not getattr(transport, "_start_tls_compatible", False):
            raise TypeError(f"transport {transport!r} is not supported by start_tls()")
        options = TlsOptions(
            sslcontext, server_hostname, ssl_handshake_timeout, ssl_shutdown_timeout
        )
        waiter = self.create_future()
        records = self._make_tls_protocol(
            protocol, options, waiter, server_side=server_side, call_connection_made=False
        )
        # The peer's first record must not arrive before connection_made() has been called.
        plain: Any = transport
        plain.pause_reading()
        plain.set_protocol(records)
        connection_made = self.call_soon(records.connection_made, plain)
        resume = self.call_soon(plain.resume_reading)
        try:
            await waiter
        except BaseException:
            plain.close()
            connection_made.cancel()
            resume.cancel()
            raise
        return _application_transport(records)

    def _make_ssl_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        options: TlsOptions,
        waiter: asyncio.Future[None],
        *,
        server_side: bool,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
    ) -> asyncio.Transport:
        """Make the TLS transport of a connected socket; ``waiter`` is told of the handshake."""
        records = self._make_tls_protocol(protocol, options, waiter, server_side=server_side)
        self._make_socket_transport(sock, records, extra=extra, server=server)
        return _application_transport(records)

    def _make_tls_protocol(
        self,
        protocol: asyncio.BaseProtocol,
        options: TlsOptions,
        waiter: asyncio.Future[None],
        *,
        server_side: bool,
        call_connection_made: bool = True,
    ) -> Any:
        make_protocol: Any = sslproto.SSLProtocol
        return make_protocol(
            self,
            protocol,
            None if isinstance(options.context, bool) else options.context,
            waiter,
            server_side,
            options.server_hostname,
            call_connection_made=call_connection_made,
            ssl_handshake_timeout=options.handshake_timeout,
            ssl_shutdown_timeout=options.shutdown_timeout,
        )

    def _make_socket_transport(
        self,
        sock: socket.socket,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        *,
        extra: dict[str, Any] | None = None,
        server: asyncio.AbstractServer | None = None,
    ) -> asyncio.Transport:
        """Make the plain transport of a connected socket; ``ferrio.connections`` does."""
        raise NotImplementedError


def check_not_tls_socket(sock: socket.socket) -> None:
    """Raise TypeError for an SSLSocket, which may have data that the kernel knows nothing of."""
    if ssl is not None and isinstance(sock, ssl.SSLSocket):
        raise TypeError("Socket cannot be of type SSLSocket")


def _application_transport(records: Any) -> asyncio.Transport:
    """Return the transport that an SSLProtocol offers to the user's protocol."""
    transport: asyncio.Transport = records._app_transport
    return transport
