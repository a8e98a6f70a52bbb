"""Sending files: ``sendfile`` for transports, ``sock_sendfile`` for sockets of the user's own.

The kernel copies from the file to the socket (``os.sendfile``) where it can. Where it cannot (TLS,
a file that is none of the kernel's) the file is read and written in pieces.
"""

from __future__ import annotations

import asyncio
import errno
import io
import os
import socket
import sys
from asyncio import constants
from collections.abc import Awaitable, Callable
from typing import Any

from ferrio.connections import ConnectionsPart
from ferrio.tls import check_not_tls_socket

# Taken while nobody has wrapped it yet: see the functions of ``os`` in ``listening.py``.
_send_file = os.sendfile

# How much of a file is read at a time for a transport, in bytes; as asyncio does.
_TRANSPORT_PIECE = 16 * 1024

# From 3.14 on the file's position is moved to where sending begins, and back behind what was sent,
# in every case: before, only for an offset other than 0 and when something was sent.
_ALWAYS_MOVES = sys.version_info >= (3, 14)


class SendingFilesPart(ConnectionsPart):
    """``sendfile`` and ``sock_sendfile``."""

    async def sendfile(
        self,
        transport: asyncio.WriteTransport,
        file: Any,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool = True,
    ) -> int:
        """Send ``count`` bytes of ``file`` from ``offset`` on, or all to its end; return how many.

        Everything written before is sent first, and the transport refuses writes meanwhile; its
        protocol is told nothing of what the peer sends. The file's position is behind what was
        sent, also after an error. With ``fallback`` a file is read and written in pieces where
        the kernel cannot send it by itself.

        Raises RuntimeError when the transport is closing or cannot send files, ValueError and
        TypeError for other arguments, ``asyncio.SendfileNotAvailableError`` without a fallback,
        and the connection's errors.
        """
        if transport.is_closing():
            raise RuntimeError("Transport is closing")
        mode = getattr(transport, "_sendfile_compatible", constants._SendfileMode.UNSUPPORTED)
        if mode is constants._SendfileMode.UNSUPPORTED:
            raise RuntimeError(f"sendfile is not supported for transport {transport!r}")
        if mode is constants._SendfileMode.TRY_NATIVE:
            try:
                return await self._sendfile_native(transport, file, offset, count)
            except asyncio.SendfileNotAvailableError:
                if not fallback:
                    raise
        if not fallback:
            raise RuntimeError(
                "fallback is disabled and native sendfile is not "
                f"supported for transport {transport!r}"
            )
        return await self._sendfile_fallback(transport, file, offset, count)

    async def sock_sendfile(
        self,
        sock: socket.socket,
        file: Any,
        offset: int = 0,
        count: int | None = None,
        *,
        fallback: bool | None = True,
    ) -> int:
        """Send ``count`` bytes of ``file`` from ``offset`` on, or all to its end; return how many.

        ``sock`` is a connected, non-blocking stream socket. Otherwise as ``sendfile``.
        """
        if self._debug and sock.gettimeout() != 0:
            raise ValueError("the socket must be non-blocking")
        check_not_tls_socket(sock)
        _check_arguments(sock, file, offset, count)
        try:
            return await self._sock_sendfile_native(sock, file, offset, count)
        except asyncio.SendfileNotAvailableError:
            if not fallback:
                raise
        return await self._sock_sendfile_fallback(sock, file, offset, count)

    async def _sendfile_native(
        self, transport: Any, file: Any, offset: int, count: int | None
    ) -> int:
        """Have the kernel send to the socket of one of our own transports."""
        resume_reading = transport.is_reading()
        transport.pause_reading()
        await transport._make_empty_waiter()
        try:
            sock = transport._sock
            _check_arguments(sock, file, offset, count)
            return await _KernelCopy(sock, file, offset, count, transport._wait_for_room).run()
        finally:
            transport._reset_empty_waiter()
            if resume_reading:
                transport.resume_reading()

    async def _sock_sendfile_native(
        self, sock: socket.socket, file: Any, offset: int, count: int | None
    ) -> int:
        def wait_for_room() -> Awaitable[None]:
            # Nothing to try: that there is room is what is waited for.
            return self._retry(sock, lambda: None, writes=True)

        return await _KernelCopy(sock, file, offset, count, wait_for_room).run()

    async def _sock_sendfile_fallback(
        self, sock: socket.socket, file: Any, offset: int, count: int | None
    ) -> int:
        pieces = _Pieces(self, file, offset, count, constants.SENDFILE_FALLBACK_READBUFFER_SIZE)
        try:
            while piece := await pieces.read():
                await self.sock_sendall(sock, piece)
                pieces.total_sent += len(piece)
            return pieces.total_sent
        finally:
            pieces.restore_position()

    async def _sendfile_fallback(
        self, transport: Any, file: Any, offset: int, count: int | None
    ) -> int:
        pieces = _Pieces(self, file, offset, count, _TRANSPORT_PIECE)
        flow = _WritingFlow(transport)
        try:
            while piece := await pieces.read():
                await flow.drain()
                # A copy: a transport may keep what it is given, and the next piece is read into
                # the same memory.
                transport.write(bytes(piece))
                pieces.total_sent += len(piece)
            return pieces.total_sent
        finally:
            pieces.restore_position()
            flow.restore()


class _KernelCopy:
    """One file on its way into a socket by ``os.sendfile``."""

    def __init__(
        self,
        sock: socket.socket,
        file: Any,
        offset: int,
        count: int | None,
        wait_for_room: Callable[[], Awaitable[None]],
    ) -> None:
        self._sock = sock
        self._file = file
        self._offset = offset
        # How many bytes to send; None to the file's end.
        self._count = count
        # Waits until the kernel would take more.
        self._wait_for_room = wait_for_room
        self._total_sent = 0
        # Whether the kernel was waited for, so that the peer may have gone meanwhile.
        self._has_waited = False

    async def run(self) -> int:
        """Send; return how many bytes were sent."""
        try:
            fileno = self._file.fileno()
        except (AttributeError, io.UnsupportedOperation) as error:
            raise asyncio.SendfileNotAvailableError("not a regular file") from error
        try:
            size = os.fstat(fileno).st_size
        except OSError as error:
            raise asyncio.SendfileNotAvailableError("not a regular file") from error
        if not (self._count or size):
            return 0
        try:
            await self._send_all(fileno, size)
        except OSError as error:
            raise self._normalised(error) from error
        finally:
            if self._total_sent > 0 or _ALWAYS_MOVES:
                os.lseek(fileno, self._offset + self._total_sent, os.SEEK_SET)
        return self._total_sent

    async def _send_all(self, fileno: int, size: int) -> None:
        while (most := self._count - self._total_sent if self._count else size) > 0:
            # What a 32-bit machine can count.
            most = min(most, sys.maxsize // 2 + 1)
            position = self._offset + self._total_sent
            try:
                sent = _send_file(self._sock.fileno(), fileno, position, most)
            except (BlockingIOError, InterruptedError):
                self._has_waited = True
                await self._wait_for_room()
                continue
            if sent == 0:
                return
            self._total_sent += sent
            # A peer that takes as much as there is must not keep the others waiting.
            await asyncio.sleep(0)

    def _normalised(self, error: OSError) -> Exception:
        """Return what to raise for an error of the connection or the file."""
        if self._total_sent == 0:
            # Most of the time the file is none that the kernel can send.
            return asyncio.SendfileNotAvailableError("os.sendfile call failed")
        if self._has_waited and error.errno == errno.ENOTCONN and type(error) is OSError:
            # The connection was closed on the way; some systems say it like this.
            return ConnectionError("socket is not connected", errno.ENOTCONN)
        return error


class _Pieces:
    """Reads what is to be sent of a file, piece by piece, in the default executor."""

    def __init__(
        self, loop: ConnectionsPart, file: Any, offset: int, count: int | None, size: int
    ) -> None:
        self._loop = loop
        self._file = file
        self._offset = offset
        # How many bytes to send; None to the file's end.
        self._count = count
        self._memory = memoryview(bytearray(min(count, size) if count else size))
        # How many bytes were sent; the sender counts.
        self.total_sent = 0
        if hasattr(file, "seek") if _ALWAYS_MOVES else offset:
            file.seek(offset)

    async def read(self) -> memoryview:
        """Return the next piece, which is valid until the next call; an empty one is the end."""
        size = len(self._memory)
        if self._count:
            size = min(self._count - self.total_sent, size)
        memory = self._memory[:size]
        if not memory:
            return memory
        length = await self._loop.run_in_executor(None, self._file.readinto, memory)
        return memory[: length or 0]

    def restore_position(self) -> None:
        """Put the file's position behind what was sent."""
        if self.total_sent > 0 and hasattr(self._file, "seek"):
            self._file.seek(self._offset + self.total_sent)


class _WritingFlow(asyncio.Protocol):
    """Stands in for a transport's protocol while a file is written: it waits when told to."""

    def __init__(self, transport: Any) -> None:
        if not callable(getattr(transport, "get_protocol", None)) or not hasattr(
            transport, "_protocol_paused"
        ):
            raise TypeError("transport should be _FlowControlMixin instance")
        self._transport = transport
        # Who will be the protocol again.
        self._protocol = transport.get_protocol()
        self._resume_reading = transport.is_reading()
        self._resume_writing = transport._protocol_paused
        # Done when the transport takes more; None while it does.
        self._writable: asyncio.Future[None] | None = None
        transport.pause_reading()
        transport.set_protocol(self)
        if self._resume_writing:
            self.pause_writing()

    async def drain(self) -> None:
        """Wait until the transport takes more. Raises ConnectionError when it is closed."""
        if self._transport.is_closing():
            raise ConnectionError("Connection closed by peer")
        if self._writable is not None:
            await self._writable

    def restore(self) -> None:
        """Make the transport's protocol what it was."""
        self._transport.set_protocol(self._protocol)
        if self._resume_reading:
            self._transport.resume_reading()
        if self._writable is not None:
            self._writable.cancel()
        if self._resume_writing:
            self._protocol.resume_writing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Refuse: the connection is there already."""
        raise RuntimeError("Invalid state: connection should have been established already.")

    def connection_lost(self, exc: BaseException | None) -> None:
        """End the wait for room, and pass the news on."""
        if self._writable is not None and not self._writable.done():
            # Nobody closes a connection on which a file is being sent but by mistake.
            self._writable.set_exception(exc or ConnectionError("Connection is closed by peer"))
        self._protocol.connection_lost(exc)

    def pause_writing(self) -> None:
        """Begin to wait."""
        if self._writable is None:
            loop = asyncio.get_running_loop()
            self._writable = loop.create_future()

    def resume_writing(self) -> None:
        """End the wait."""
        writable, self._writable = self._writable, None
        if writable is not None and not writable.done():
            writable.set_result(None)

    def data_received(self, data: bytes) -> None:
        """Refuse: reading is paused."""
        raise RuntimeError("Invalid state: reading should be paused")

    def eof_received(self) -> bool | None:
        """Refuse: reading is paused."""
        raise RuntimeError("Invalid state: reading should be paused")


def _check_arguments(sock: socket.socket, file: Any, offset: Any, count: Any) -> None:
    if "b" not in getattr(file, "mode", "b"):
        raise ValueError("file should be opened in binary mode")
    if sock.type != socket.SOCK_STREAM:
        raise ValueError("only SOCK_STREAM type sockets are supported")
    if count is not None:
        if not isinstance(count, int):
            raise TypeError(f"count must be a positive integer (got {count!r})")
        if count <= 0:
            raise ValueError(f"count must be a positive integer (got {count!r})")
    if not isinstance(offset, int):
        raise TypeError(f"offset must be a non-negative integer (got {offset!r})")
    if offset < 0:
        raise ValueError(f"offset must be a non-negative integer (got {offset!r})")
