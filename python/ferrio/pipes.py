"""Pipes: their transports, and how a file object becomes one.

What is done per packet is native (``_ferrio.ReadPipeTransport`` and ``WritePipeTransport``).
"""

from __future__ import annotations

import asyncio
import os
import stat
import warnings
from asyncio import futures
from asyncio.log import logger
from collections.abc import Callable
from typing import Any, TypeVar

from ferrio import _ferrio, resources
from ferrio.loop_part import LoopPart

_Protocol = TypeVar("_Protocol", bound=asyncio.BaseProtocol)


class PipesPart(LoopPart):
    """``connect_read_pipe`` and ``connect_write_pipe``."""

    async def connect_read_pipe(
        self, protocol_factory: Callable[[], _Protocol], pipe: Any
    ) -> tuple[ReadPipeTransport, _Protocol]:
        """Have a protocol given what can be read from ``pipe``; return its transport and it.

        ``pipe`` is a file object: a pipe, FIFO, socket or character device such as a terminal.
        It is made non-blocking and belongs to the transport, which closes it. Raises ValueError
        for any other kind of file, which stays open.
        """
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = ReadPipeTransport(self, pipe, protocol, waiter)
        resources.remember("pipe", self, transport)
        await _connected(transport, waiter)
        if self._debug:
            logger.debug("Read pipe %r connected: (%r, %r)", pipe.fileno(), transport, protocol)
        return transport, protocol

    async def connect_write_pipe(
        self, protocol_factory: Callable[[], _Protocol], pipe: Any
    ) -> tuple[WritePipeTransport, _Protocol]:
        """Have a transport write to ``pipe``; return it and its protocol.

        As ``connect_read_pipe``. The protocol's ``connection_lost`` is called when the other end
        of a pipe or socket is closed; a terminal does not tell.
        """
        protocol = protocol_factory()
        waiter = self.create_future()
        transport = WritePipeTransport(self, pipe, protocol, waiter)
        resources.remember("pipe", self, transport)
        await _connected(transport, waiter)
        if self._debug:
            logger.debug("Write pipe %r connected: (%r, %r)", pipe.fileno(), transport, protocol)
        return transport, protocol


class ReadPipeTransport(_ferrio.ReadPipeTransport):
    """An ``asyncio.ReadTransport`` over the reading end of a pipe, which it owns.

    Belongs to its loop's thread. The protocol's ``connection_made`` is called in the loop's next
    turn; then reading begins, and ``waiter`` is told.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        if not _is_pipe(os.fstat(pipe.fileno()).st_mode):
            raise ValueError("Pipe transport is for pipes/sockets only.")
        os.set_blocking(pipe.fileno(), False)
        super().__init__(loop, pipe, protocol, _describe(pipe, extra))
        loop.call_soon(protocol.connection_made, self)
        loop.call_soon(self._start_reading)
        _wake(loop, waiter)

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        _close_abandoned(self, _warn)


class WritePipeTransport(_ferrio.WritePipeTransport):
    """An ``asyncio.WriteTransport`` over the writing end of a pipe, which it owns.

    Belongs to its loop's thread. What is written goes to the kernel at once, as far as there is
    room. The protocol's ``connection_made`` is called in the loop's next turn; then ``waiter`` is
    told.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        pipe: Any,
        protocol: asyncio.BaseProtocol,
        waiter: asyncio.Future[None] | None = None,
        extra: dict[str, Any] | None = None,
    ) -> None:
        mode = os.fstat(pipe.fileno()).st_mode
        if not _is_pipe(mode):
            raise ValueError("Pipe transport is only for pipes, sockets and character devices")
        os.set_blocking(pipe.fileno(), False)
        super().__init__(loop, pipe, protocol, _describe(pipe, extra))
        loop.call_soon(protocol.connection_made, self)
        if not stat.S_ISCHR(mode):
            # What somebody types at a terminal that is written to is for others to read.
            loop.call_soon(self._watch_peer)
        _wake(loop, waiter)

    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        _close_abandoned(self, _warn)


async def _connected(
    transport: ReadPipeTransport | WritePipeTransport, waiter: asyncio.Future[None]
) -> None:
    """Wait until the protocol has its transport; close that when the wait is cancelled."""
    try:
        await waiter
    except BaseException:
        transport.close()
        raise


def _is_pipe(mode: int) -> bool:
    return stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode) or stat.S_ISCHR(mode)


def _describe(pipe: Any, extra: dict[str, Any] | None) -> dict[str, Any]:
    if extra is None:
        extra = {}
    extra["pipe"] = pipe
    return extra


def _wake(loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None] | None) -> None:
    if waiter is not None:
        wake: Any = futures._set_result_unless_cancelled  # type: ignore[attr-defined]
        loop.call_soon(wake, waiter, None)


def _close_abandoned(
    transport: ReadPipeTransport | WritePipeTransport, warn: Callable[..., None]
) -> None:
    """Warn of a transport that nobody has closed, and close its file.

    ``warn`` is a default argument of ``__del__``, which outlives the globals at the end.
    """
    pipe = transport._pipe
    if pipe is not None:
        warn(f"unclosed transport {transport!r}", ResourceWarning, source=transport)
        pipe.close()
