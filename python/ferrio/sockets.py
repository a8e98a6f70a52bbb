"""Sockets of the user's own: ``sock_recv`` and its kin, and checks shared by whatever opens one.

Every operation is tried at once. When the kernel would have it wait, it is tried again each time
the socket is ready, until it succeeds, fails, or its task is cancelled. For plain sockets outside
debug mode all of that is native (``_ferrio.SocketCall``); a socket of a subclass, or one whose
class was patched, has its own methods called here.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from typing import Any, TypeVar

from ferrio.name_resolution import NameResolutionPart
from ferrio.tls import check_not_tls_socket

_Outcome = TypeVar("_Outcome")

_INTERNET_FAMILIES = (socket.AF_INET, socket.AF_INET6)
# Protocols of stream sockets that know TCP_NODELAY. 0 is the family's default, which is TCP.
_TCP_PROTOCOLS = (0, socket.IPPROTO_TCP, getattr(socket, "IPPROTO_MPTCP", 262))


class SocketOperationsPart(NameResolutionPart):
    """The ``sock_*`` coroutines. The sockets must be non-blocking and stay the caller's."""

    async def sock_recv(self, sock: socket.socket, n: int) -> bytes:
        """Receive up to ``n`` bytes; ``b""`` is the end of the stream."""
        received = self._receive(sock, n)
        if type(received) is bytes:
            return received
        if received is not NotImplemented:
            return await received  # type: ignore[no-any-return]
        return await self._read_from(sock, lambda: sock.recv(n))

    async def sock_recv_into(self, sock: socket.socket, buf: Any) -> int:
        """Receive into the writable buffer ``buf``; return how many bytes were stored."""
        received = self._receive_into(sock, buf)
        if type(received) is int:
            return received
        if received is not NotImplemented:
            return await received  # type: ignore[no-any-return]
        return await self._read_from(sock, lambda: sock.recv_into(buf))

    async def sock_recvfrom(self, sock: socket.socket, bufsize: int) -> tuple[bytes, Any]:
        """Receive a datagram of up to ``bufsize`` bytes; return it with its sender's address."""
        return await self._read_from(sock, lambda: sock.recvfrom(bufsize))

    async def sock_recvfrom_into(
        self, sock: socket.socket, buf: Any, nbytes: int = 0
    ) -> tuple[int, Any]:
        """Receive a datagram into ``buf``; return its length and its sender's address."""
        size = nbytes or len(buf)
        return await self._read_from(sock, lambda: sock.recvfrom_into(buf, size))

    async def sock_sendto(self, sock: socket.socket, data: Any, address: Any) -> int:
        """Send ``data`` as one datagram to ``address``; return the number of bytes sent."""
        return await self._write_to(sock, lambda: sock.sendto(data, address))

    async def sock_sendall(self, sock: socket.socket, data: Any) -> None:
        """Send the whole of ``data``. After an error it is unknown how much was sent."""
        sending = self._send_all(sock, data)
        if sending is None:
            return
        if sending is not NotImplemented:
            await sending
            return
        unsent: Any = data

        def send_more() -> None:
            nonlocal unsent
            while True:
                sent = sock.send(unsent)
                if not isinstance(unsent, memoryview) or unsent.format != "B":
                    unsent = memoryview(unsent)
                    # A view without elements cannot be cast.
                    unsent = unsent.cast("B") if unsent.nbytes else memoryview(b"")
                unsent = unsent[sent:]
                if not unsent:
                    return

        await self._write_to(sock, send_more)

    async def sock_accept(self, sock: socket.socket) -> tuple[socket.socket, Any]:
        """Accept a connection on the listening ``sock``.

        Returns the new non-blocking socket and the address of its peer.
        """

        def accept() -> tuple[socket.socket, Any]:
            connection, address = sock.accept()
            connection.setblocking(False)
            return connection, address

        return await self._read_from(sock, accept)

    async def sock_connect(self, sock: socket.socket, address: Any) -> None:
        """Connect ``sock`` to ``address``, resolving its host when that is a name.

        Raises the OSError of the attempt. When the task is cancelled the socket is watched no
        more but stays open: it is the caller's.
        """
        self._check_user_socket(sock)
        if sock.family in _INTERNET_FAMILIES:
            infos = await self._ensure_resolved(
                address, family=sock.family, type=sock.type, proto=sock.proto
            )
            address = infos[0][4]
        try:
            sock.connect(address)
        except (BlockingIOError, InterruptedError):
            # An interrupted connect goes on in the background, as one that would block does.
            await self._retry(sock, lambda: _check_connected(sock, address), writes=True)

    async def _read_from(self, sock: socket.socket, operation: Callable[[], _Outcome]) -> _Outcome:
        self._check_user_socket(sock)
        try:
            return operation()
        except (BlockingIOError, InterruptedError):
            return await self._retry(sock, operation, writes=False)

    async def _write_to(self, sock: socket.socket, operation: Callable[[], _Outcome]) -> _Outcome:
        self._check_user_socket(sock)
        try:
            return operation()
        except (BlockingIOError, InterruptedError):
            return await self._retry(sock, operation, writes=True)

    async def _retry(
        self, sock: socket.socket, operation: Callable[[], _Outcome], *, writes: bool
    ) -> _Outcome:
        """Run ``operation`` whenever ``sock`` is ready, until it no longer would block."""
        call = self._wait_for_socket(sock, operation, writes)
        if call is not NotImplemented:
            return await call  # type: ignore[no-any-return]
        watch, unwatch = (
            (self._add_writer, self._remove_writer)
            if writes
            else (self._add_reader, self._remove_reader)
        )
        fd = sock.fileno()
        self._ensure_fd_no_transport(fd)
        outcome: asyncio.Future[_Outcome] = self.create_future()
        handle = watch(fd, _attempt, outcome, operation)
        try:
            return await outcome
        finally:
            # Another operation on the same socket may have taken the watch over: then the
            # handle is cancelled and the watch is not ours to end. It must end before the
            # caller can close the socket, whose number the next socket may get.
            if not handle.cancelled():
                unwatch(fd)
            # An error's traceback refers to this frame: without this they would be a cycle.
            del outcome

    def _check_user_socket(self, sock: socket.socket) -> None:
        check_not_tls_socket(sock)
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")


def check_stream_socket(sock: socket.socket) -> None:
    """Raise ValueError unless ``sock`` is a stream socket, of whatever family."""
    if sock.type != socket.SOCK_STREAM:
        raise ValueError(f"A Stream Socket was expected, got {sock!r}")


def disable_nagle(sock: socket.socket) -> None:
    """Have ``sock`` send small writes at once (TCP_NODELAY) when it is a TCP socket.

    asyncio looks for ``proto == IPPROTO_TCP`` and so leaves Nagle's algorithm on for sockets
    made with proto 0, as uvicorn makes them: 40 ms stalls against delayed acknowledgements.
    """
    if (
        sock.family in _INTERNET_FAMILIES
        and sock.type == socket.SOCK_STREAM
        and sock.proto in _TCP_PROTOCOLS
    ):
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


def _check_connected(sock: socket.socket, address: Any) -> None:
    error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
    if error != 0:
        raise OSError(error, f"Connect call failed {address}")


def _attempt(outcome: asyncio.Future[_Outcome], operation: Callable[[], _Outcome]) -> None:
    # The socket stays ready until the task has run and ended the watch.
    if outcome.done():
        return
    try:
        result = operation()
    except (BlockingIOError, InterruptedError):
        return
    except (SystemExit, KeyboardInterrupt):
        raise
    except BaseException as error:
        outcome.set_exception(error)
    else:
        outcome.set_result(result)
    finally:
        # The error's traceback refers to this frame: without this they would be a cycle.
        del outcome
