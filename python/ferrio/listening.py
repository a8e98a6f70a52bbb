"""Servers: sockets that listen, and connections that are accepted on them."""

from __future__ import annotations

import asyncio
import collections.abc
import errno
import itertools
import os
import socket
import stat
import sys
from asyncio import constants, trsock
from asyncio.log import logger
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeAlias

from ferrio import _ferrio, resources
from ferrio.connections import ConnectionsPart, bind_error, check_unix_stream_socket
from ferrio.name_resolution import AddressInfo
from ferrio.server import Server
from ferrio.sockets import check_stream_socket
from ferrio.tls import TlsOptions, check_not_tls_socket

# Taken while nobody has wrapped them yet. What looks for calls that block a loop, as blockbuster
# does, lets asyncio look at a socket's file, knows it by its own file and function, and would
# refuse the same to us.
_file_status = os.stat
_remove_file = os.unlink

if TYPE_CHECKING:
    import ssl as ssl_module

ProtocolFactory: TypeAlias = Callable[[], asyncio.BaseProtocol]

# accept() fails with these until somebody closes a file or frees memory.
_OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

# Connections that one turn accepts at most: each has a task until its protocol is made, so what a
# thousand of them take at once would stay with the process.
_AT_ONCE = 16


class ListeningPart(ConnectionsPart):
    """``create_server`` and ``create_unix_server``."""

    async def create_server(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        host: str | Iterable[str] | None = None,
        port: int | str | None = None,
        *,
        family: int = socket.AF_UNSPEC,
        flags: int = socket.AI_PASSIVE,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: ssl_module.SSLContext | None = None,
        reuse_address: bool | None = None,
        reuse_port: bool | None = None,
        keep_alive: bool | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
    ) -> Server:
        """Listen on ``host``:``port``, or on the bound ``sock``; return the server.

        ``host`` may be several names; None or "" is every interface. Each address is listened
        on once, IPv6 sockets take no IPv4 connections. ``backlog`` is how many connections the
        kernel queues and the loop accepts at a time; timeouts are in seconds. SO_REUSEADDR is
        set unless ``reuse_address`` is False.

        Raises ValueError or TypeError for arguments that do not fit together, and OSError when
        an address cannot be bound to, with the address in its message. No socket is left open.
        """
        tls = _server_tls_options(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        tls.check_timeouts(ssl is not None)
        if sock is not None:
            check_not_tls_socket(sock)

        created = host is not None or port is not None
        if created:
            if sock is not None:
                raise ValueError("host/port and sock can not be specified at the same time")
            infos = await self._resolve_hosts(host, port, family, flags)
            options = _BindOptions(
                reuse_address=reuse_address is None or reuse_address,
                reuse_port=bool(reuse_port),
                keep_alive=bool(keep_alive),
                debug=self._debug,
            )
            sockets = options.bind_all(infos)
        elif sock is None:
            raise ValueError("Neither host/port nor sock were specified")
        else:
            check_stream_socket(sock)
            sockets = [sock]

        listeners = [
            Listener(self, listening, protocol_factory, tls, backlog) for listening in sockets
        ]
        server = await self._serve(listeners, start_serving, close_on_error=created)
        if self._debug:
            logger.info("%r is serving", server)
        return server

    async def create_unix_server(  # type: ignore[override]
        self,
        protocol_factory: ProtocolFactory,
        path: str | bytes | os.PathLike[str] | None = None,
        *,
        sock: socket.socket | None = None,
        backlog: int = 100,
        ssl: ssl_module.SSLContext | None = None,
        ssl_handshake_timeout: float | None = None,
        ssl_shutdown_timeout: float | None = None,
        start_serving: bool = True,
        cleanup_socket: bool = sys.version_info >= (3, 13),
    ) -> Server:
        """Listen on the Unix socket at ``path``, or on the bound ``sock``; return the server.

        A socket that a dead server left at ``path`` is replaced. With ``cleanup_socket``, which
        is the default from 3.13, the path is removed when the server is closed, unless another
        socket has taken it. Other arguments and errors as for ``create_server``.
        """
        tls = _server_tls_options(ssl, ssl_handshake_timeout, ssl_shutdown_timeout)
        tls.check_timeouts(bool(ssl))
        created = path is not None
        if path is not None:
            if sock is not None:
                raise ValueError("path and sock can not be specified at the same time")
            sock = _bind_unix(os.fspath(path))
        elif sock is None:
            raise ValueError("path was not specified, and no sock specified")
        else:
            check_unix_stream_socket(sock)
        listener = Listener(self, sock, protocol_factory, tls, backlog, remove_file=cleanup_socket)
        return await self._serve([listener], start_serving, close_on_error=created)

    async def _resolve_hosts(
        self, host: str | Iterable[str] | None, port: Any, family: int, flags: int
    ) -> list[AddressInfo]:
        """Resolve every host at once; return each address once, in the order given."""
        hosts: Iterable[str | None]
        if host == "":
            hosts = [None]
        elif isinstance(host, str) or not isinstance(host, collections.abc.Iterable):
            hosts = [host]
        else:
            hosts = host
        answers = await asyncio.gather(
            *[self._resolve_host(name, port, family, flags) for name in hosts]
        )
        return list(dict.fromkeys(itertools.chain.from_iterable(answers)))

    async def _resolve_host(
        self, host: str | None, port: Any, family: int, flags: int
    ) -> list[AddressInfo]:
        infos = await self._ensure_resolved(
            (host, port), family=family, type=socket.SOCK_STREAM, flags=flags
        )
        if not infos:
            raise OSError(f"getaddrinfo({host!r}) returned empty list")
        return infos

    async def _serve(
        self, listeners: list[Listener], start_serving: bool, *, close_on_error: bool
    ) -> Server:
        """Make the server and start it; an error leaves sockets of the user's open."""
        server = Server(self, listeners)
        resources.remember("server", self, server)
        try:
            for listener in listeners:
                listener.prepare()
            if start_serving:
                await server.start_serving()
        except BaseException:
            for listener in listeners:
                listener.pause()
            if close_on_error:
                server.close()
            raise
        return server


class Listener:
    """One listening socket: accepts its connections and puts protocols on them."""

    def __init__(
        self,
        loop: ListeningPart,
        sock: socket.socket,
        protocol_factory: ProtocolFactory,
        tls: TlsOptions,
        backlog: int,
        *,
        remove_file: bool = False,
    ) -> None:
        self._loop = loop
        # The socket; the listener owns it once there is a server.
        self.sock = sock
        self._protocol_factory = protocol_factory
        self._tls = tls
        # How many connections the kernel queues, and how many are accepted at a time.
        self._backlog = backlog
        # Whether to remove the path of a Unix socket when it is closed, and that path.
        self._remove_file = remove_file
        self._socket_file: SocketFile | None = None
        # Whose connections these are; set by start().
        self._server: Server | None = None
        # What runs when a connection waits; None while nothing is accepted.
        self._reader: asyncio.Handle | None = None
        # When the process is out of files: the timer that tries again.
        self._retry: asyncio.TimerHandle | None = None

    def prepare(self) -> None:
        """Make the bound socket ready to be listened on. Raises OSError."""
        self.sock.setblocking(False)
        if self._remove_file:
            self._socket_file = SocketFile.of(self.sock)

    def start(self, server: Server) -> None:
        """Listen, and accept whatever connects. Raises OSError when the address is taken."""
        self._server = server
        self.sock.listen(self._backlog)
        self._watch()

    def pause(self) -> None:
        """Accept nothing more; the kernel goes on queueing connections."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self._reader is not None:
            reader, self._reader = self._reader, None
            # When the user has closed the socket, or watches its number for something else,
            # there is no watch of ours to end.
            if not reader.cancelled() and self.sock.fileno() >= 0:
                self._loop._remove_reader(self.sock.fileno())
            reader.cancel()

    def close(self) -> None:
        """Accept nothing more, and close the socket."""
        self.pause()
        self.sock.close()
        if self._socket_file is not None:
            self._socket_file.remove()

    def _watch(self) -> None:
        self._retry = None
        self._reader = self._loop._add_reader(self.sock.fileno(), self._accept_waiting)

    def _accept_waiting(self) -> None:
        """Accept the connections that wait, as many as the backlog is long.

        One turn of the loop may find many; the bound lets other work have its turn. The kernel
        reports what is left over again in the next one.
        """
        for _ in range(min(max(self._backlog, 1), _AT_ONCE)):
            try:
                connection, extra = self._accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionAbortedError:
                # This peer went away while it was queued. Others may wait behind it.
                self._loop._count_accept(False)
                continue
            except OSError as error:
                self._loop._count_accept(False)
                if error.errno not in _OUT_OF_RESOURCES:
                    raise
                self._back_off(error)
                return
            if connection is None:
                return
            self._loop._count_accept(True)
            self._take(connection, extra)

    def _accept(self) -> tuple[Any, dict[str, Any] | None]:
        """Accept a connection; None when none waits any more. Raises OSError.

        With it comes what its transport is to know beside what the connection itself tells.
        """
        if not self._loop._debug:
            accepted = _ferrio._accept(self.sock)
            if accepted is not NotImplemented:
                return accepted, None
        connection, address = self.sock.accept()
        if self._loop._debug:
            logger.debug("%r got a new connection from %r: %r", self._server, address, connection)
        connection.setblocking(False)
        return connection, {"peername": address}

    def _back_off(self, error: OSError) -> None:
        """Stop for a second: the kernel would report the waiting connection again at once."""
        self._loop.call_exception_handler(
            {
                "message": "socket.accept() out of system resource",
                "exception": error,
                "socket": trsock.TransportSocket(self.sock),
            }
        )
        # The handler may have closed the server.
        if self.sock.fileno() < 0:
            return
        self.pause()
        self._retry = self._loop.call_later(constants.ACCEPT_RETRY_DELAY, self._watch)

    def _take(self, connection: Any, extra: dict[str, Any] | None) -> None:
        """Start the task that connects an accepted socket to a new protocol."""
        opening = self._open(connection, extra)
        try:
            self._loop.create_task(opening)
        except BaseException:
            # A task factory of the user's raised, and nobody else knows of the socket.
            opening.close()
            connection.close()
            raise

    async def _open(self, connection: Any, extra: dict[str, Any] | None) -> None:
        """Make the protocol and the transport of an accepted socket, and wait for the handshake.

        asyncio tells of an error here in debug mode only. What a protocol factory raises is a
        bug that somebody must hear of, so it is always reported; a peer whose handshake fails,
        as any port scanner's does, stays a matter for debug mode.
        """
        loop = self._loop
        protocol: asyncio.BaseProtocol | None = None
        transport: asyncio.BaseTransport | None = None
        waiter: asyncio.Future[None] | None = None
        try:
            protocol = self._protocol_factory()
            waiter = loop.create_future()
            transport = loop._make_transport(
                connection,
                protocol,
                self._tls,
                waiter,
                server_side=True,
                extra=extra,
                server=self._server,
            )
            await waiter
        except BaseException as error:
            if transport is None:
                connection.close()
            else:
                transport.close()
            if isinstance(error, (SystemExit, KeyboardInterrupt)):
                raise
            if transport is None or loop._debug:
                self._report(error, protocol, transport)
        finally:
            # An error kept by the waiter would keep the protocol, which keeps the waiter.
            waiter = None

    def _report(
        self,
        error: BaseException,
        protocol: asyncio.BaseProtocol | None,
        transport: asyncio.BaseTransport | None,
    ) -> None:
        context: dict[str, Any] = {
            "message": "Error on transport creation for incoming connection",
            "exception": error,
        }
        if protocol is not None:
            context["protocol"] = protocol
        if transport is not None:
            context["transport"] = transport
        self._loop.call_exception_handler(context)


class SocketFile:
    """The file of a Unix socket, which the kernel leaves behind when the socket is closed."""

    def __init__(self, path: str | bytes, inode: int) -> None:
        self._path = path
        # Tells the file from one that another server has put at the same path since.
        self._inode = inode

    @classmethod
    def of(cls, sock: socket.socket) -> SocketFile | None:
        """Return the file that ``sock`` is bound to; None for an abstract or unbound socket."""
        path = sock.getsockname()
        if _is_abstract(path):
            return None
        try:
            return cls(path, _file_status(path).st_ino)
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """Remove the file, unless it is another socket's by now."""
        try:
            if _file_status(self._path).st_ino == self._inode:
                _remove_file(self._path)
        except FileNotFoundError:
            # Somebody else has cleaned up.
            return
        except OSError as error:
            logger.error("Unable to clean up listening UNIX socket %r: %r", self._path, error)


class _BindOptions:
    """How the sockets of one ``create_server`` are set up."""

    def __init__(
        self, *, reuse_address: bool, reuse_port: bool, keep_alive: bool, debug: bool
    ) -> None:
        self._reuse_address = reuse_address
        self._reuse_port = reuse_port
        self._keep_alive = keep_alive
        # Whether addresses that are left out are logged.
        self._debug = debug

    def bind_all(self, infos: list[AddressInfo]) -> list[socket.socket]:
        """Return a bound socket for each address that the machine has.

        Raises OSError when an address is taken or none could be bound; no socket is left open.
        """
        sockets: list[socket.socket] = []
        try:
            for info in infos:
                sock = self._create(info)
                if sock is None:
                    continue
                sockets.append(sock)
                self._set_options(sock, info[0])
                if not self._bind(sock, info[4]):
                    sockets.pop().close()
            if not sockets:
                raise OSError(
                    f"could not bind on any address out of {[info[4] for info in infos]!r}"
                )
        except BaseException:
            for sock in sockets:
                sock.close()
            raise
        return sockets

    def _create(self, info: AddressInfo) -> socket.socket | None:
        family, kind, proto = info[:3]
        try:
            return socket.socket(family, kind, proto)
        except OSError:
            # The resolver may know families that the kernel does not.
            if self._debug:
                logger.warning(
                    "create_server() failed to create socket.socket(%r, %r, %r)",
                    family,
                    kind,
                    proto,
                    exc_info=True,
                )
            return None

    def _set_options(self, sock: socket.socket, family: int) -> None:
        if self._reuse_address:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
        if self._reuse_port:
            set_reuse_port(sock)
        if self._keep_alive:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
        if family == socket.AF_INET6:
            # Linux would have one IPv6 socket take the port for IPv4 as well.
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, True)

    def _bind(self, sock: socket.socket, address: Any) -> bool:
        """Bind ``sock``; False when the machine does not have the address (from 3.13)."""
        try:
            sock.bind(address)
        except OSError as error:
            failure = bind_error(error, address)
            # An address of a family that is switched off, "::1" most often.
            if error.errno != errno.EADDRNOTAVAIL or sys.version_info < (3, 13):
                raise failure from None
            if self._debug:
                logger.warning(failure.strerror)
            return False
        return True


def _server_tls_options(
    context: Any, handshake_timeout: float | None, shutdown_timeout: float | None
) -> TlsOptions:
    if isinstance(context, bool):
        raise TypeError("ssl argument must be an SSLContext or None")
    return TlsOptions(context, None, handshake_timeout, shutdown_timeout)


def set_reuse_port(sock: socket.socket) -> None:
    """Let other sockets be bound to the same address (SO_REUSEPORT). Raises ValueError."""
    if not hasattr(socket, "SO_REUSEPORT"):
        raise ValueError("reuse_port not supported by socket module")
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        raise ValueError(
            "reuse_port not supported by socket module, SO_REUSEPORT defined but not implemented."
        ) from error


def _bind_unix(path: str | bytes) -> socket.socket:
    """Return a Unix socket bound to ``path``, in the place of one that nobody serves."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if not _is_abstract(path):
            remove_stale_unix_socket(path)
        sock.bind(path)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, f"Address {path!r} is already in use") from None
        raise
    except BaseException:
        sock.close()
        raise
    return sock


def remove_stale_unix_socket(path: str | bytes) -> None:
    """Remove the socket at ``path``, if there is one, so that another can be bound to it."""
    try:
        if stat.S_ISSOCK(_file_status(path).st_mode):
            _remove_file(path)
    except FileNotFoundError:
        return
    except OSError as error:
        # The directory may let sockets be made but not removed; then bind() says more.
        logger.error("Unable to check or remove stale UNIX socket %r: %r", path, error)


def _is_abstract(path: str | bytes) -> bool:
    """Whether the address is no path: unbound, or in Linux's abstract namespace."""
    return not path or path[0] in (0, "\x00")
