"""TLS over stream transports: what is done once per connection.

A TLS connection is a protocol of the socket's transport and offers a transport to the user's
protocol. What is done per record is native (``_ferrio.TlsProtocol``); OpenSSL is Python's own,
through the user's ``ssl.SSLContext``.
"""

from __future__ import annotations

import asyncio
import socket
import warnings
from asyncio import constants
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from ferrio import _ferrio
from ferrio.loop_part import LoopPart

if TYPE_CHECKING:
    import ssl
else:
    # An interpreter may have been built without OpenSSL; asyncio works without it too.
    try:
        import ssl
    except ImportError:
        ssl = None


def tls_backend() -> Literal["memory-bio"] | None:
    """Return how TLS connections of ferrio's loops are encrypted, from any thread.

    ``"memory-bio"``: by the ``ssl.SSLObject`` that the user's context makes, with what comes from
    and goes to the socket in its two ``ssl.MemoryBIO``. None if this Python was built without
    OpenSSL.
    """
    return None if ssl is None else "memory-bio"


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


class _SSLProtocolTransport(_ferrio.TlsTransport):
    """The ``asyncio.Transport`` of a protocol whose connection is secured by TLS.

    Belongs to its loop's thread. Beside asyncio's methods of every transport it has
    ``set_read_buffer_limits``, ``get_read_buffer_limits`` and ``get_read_buffer_size``.
    """

    # What asyncio's start_tls() and sendfile() ask before they use a transport.
    _start_tls_compatible = True
    _sendfile_compatible = constants._SendfileMode.FALLBACK

    def __del__(self, _warnings: Any = warnings) -> None:
        # The default argument outlives this module's globals when the interpreter ends.
        if not self._closed:
            self._closed = True
            _warnings.warn(
                "unclosed transport <asyncio._SSLProtocolTransport object>", ResourceWarning
            )


class SSLProtocol(_ferrio.TlsProtocol):
    """TLS as a protocol of the socket's transport.

    Takes what ``asyncio.sslproto.SSLProtocol`` takes. ``waiter`` is told when the handshake has
    succeeded or failed; ``app_protocol`` is not told of the connection before, and with
    ``call_connection_made=False`` never, because it has one already. Timeouts are in seconds;
    None is asyncio's default.

    Raises ValueError for a timeout that is not positive and for a server without a context.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        app_protocol: asyncio.BaseProtocol,
        sslcontext: ssl.SSLContext | None,
        waiter: asyncio.Future[None] | None,
        server_side: bool = False,
        server_hostname: str | None = None,
        call_connection_made: bool = True,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
    ) -> None:
        if ssl is None:
            raise RuntimeError("stdlib ssl module not available")
        if ssl_handshake_timeout is None:
            ssl_handshake_timeout = constants.SSL_HANDSHAKE_TIMEOUT
        elif ssl_handshake_timeout <= 0:
            raise ValueError(
                f"ssl_handshake_timeout should be a positive number, got {ssl_handshake_timeout}"
            )
        if ssl_shutdown_timeout is None:
            ssl_shutdown_timeout = constants.SSL_SHUTDOWN_TIMEOUT
        elif ssl_shutdown_timeout <= 0:
            raise ValueError(
                f"ssl_shutdown_timeout should be a positive number, got {ssl_shutdown_timeout}"
            )
        if not sslcontext:
            sslcontext = _default_context(server_side, server_hostname)
        if server_side or not server_hostname:
            server_hostname = None
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        ssl_object = sslcontext.wrap_bio(
            incoming, outgoing, server_side=server_side, server_hostname=server_hostname
        )
        super().__init__(
            loop,
            app_protocol,
            sslcontext,
            ssl_object,
            incoming,
            outgoing,
            waiter,
            server_side,
            server_hostname,
            call_connection_made,
            ssl_handshake_timeout,
            ssl_shutdown_timeout,
        )
        # It makes itself known as the protocol's application transport.
        _SSLProtocolTransport(loop, self)


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
        if server_side:
            _take_over_buffered(protocol, records)
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
        finally:
            # Its exception's traceback refers to this frame: without this they would be a cycle.
            del waiter
        # None, as asyncio has it, when the transport was closed before the handshake.
        application: asyncio.Transport | None = records._app_transport
        return application

    def _make_ssl_transport(
        self,
        sock: socket.socket | _ferrio.AcceptedSocket,
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
    ) -> SSLProtocol:
        return SSLProtocol(
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
        sock: socket.socket | _ferrio.AcceptedSocket,
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


def _default_context(server_side: bool, server_hostname: str | None) -> ssl.SSLContext:
    """Return the context of a client that was given none; without a name nothing is compared."""
    if server_side:
        raise ValueError("Server side SSL needs a valid SSLContext")
    context = ssl.create_default_context()
    if not server_hostname:
        context.check_hostname = False
    return context


def _take_over_buffered(protocol: asyncio.BaseProtocol, records: SSLProtocol) -> None:
    """Give TLS what a StreamReader has received and nobody has read.

    A client may send its first record right behind the words that ask for TLS. On the client's
    side nothing of the kind can be: a server's first record is an answer.
    """
    reader = getattr(protocol, "_stream_reader", None)
    if not isinstance(protocol, asyncio.StreamReaderProtocol) or reader is None:
        return
    received = reader._buffer
    if received:
        records._incoming.write(received)
        received.clear()


def _application_transport(records: SSLProtocol) -> asyncio.Transport:
    """Return the transport that TLS offers to the user's protocol."""
    transport = records._app_transport
    assert transport is not None
    return transport
