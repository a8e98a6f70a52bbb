"""TCP echo servers, as their users write them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import cast

from harness.case import EchoCase, Load, question_of, register

BACKLOG = 4096
"""1,000 connections arrive at once."""

READ_SIZE = 128 * 1024
"""More than a message, so that the stream reader and not the argument decides how much comes."""


class EchoProtocol(asyncio.Protocol):
    """Writes back whatever arrives."""

    transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """Echo at once."""
        self.transport.write(data)


async def serve_protocol() -> asyncio.AbstractServer:
    """What does a message cost a server that is a Protocol: receive it, write it back?"""
    loop = asyncio.get_running_loop()
    return await loop.create_server(EchoProtocol, "127.0.0.1", 0, backlog=BACKLOG)


async def echo_stream(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Write back whatever arrives, until the client ends."""
    try:
        while data := await reader.read(READ_SIZE):
            writer.write(data)
            await writer.drain()
    finally:
        writer.close()


async def echo_lines(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Write back every line that arrives, until the client ends."""
    try:
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
    finally:
        writer.close()


async def serve_lines() -> asyncio.AbstractServer:
    """What does a line cost a server made with streams: readline, write, drain?"""
    return await asyncio.start_server(echo_lines, "127.0.0.1", 0, backlog=BACKLOG)


async def serve_streams() -> asyncio.AbstractServer:
    """What does a message cost a server made with streams: read, write, drain?"""
    return await asyncio.start_server(echo_stream, "127.0.0.1", 0, backlog=BACKLOG)


def _register_rows(
    kind: str, group: str, start_server: Callable[[], Awaitable[asyncio.AbstractServer]]
) -> None:
    for size, size_name, connections in (
        (1024, "1k", 1),
        (1024, "1k", 100),
        (1024, "1k", 1000),
        (100 * 1024, "100k", 10),
    ):
        register(
            EchoCase(
                name=f"echo-{kind}-{size_name}-{connections}",
                title=f"{kind.capitalize()} echo, {size // 1024} KiB × {connections:,}",
                group=group,
                question=question_of(start_server),
                batch=connections,
                start_server=start_server,
                connections=connections,
                size=size,
                uses_names=start_server is not serve_protocol,
            )
        )


_register_rows("protocol", "TCP echo, Protocol", serve_protocol)
_register_rows("streams", "TCP echo, streams", serve_streams)
register(
    EchoCase(
        name="echo-streams-100k-10-fresh",
        title="Streams echo, 100 KiB × 10, fresh process",
        group="TCP echo, streams",
        question=(
            "What does a large message cost a server made with streams that has never freed a "
            "large block?\n\nasyncio's reader keeps what arrives in a bytearray and copies it "
            "twice. Where such blocks still come from the kernel one by one, each costs page "
            "faults, so that here the number of blocks counts more than the bytes do."
        ),
        batch=10,
        start_server=serve_streams,
        connections=10,
        size=100 * 1024,
        uses_names=True,
        fresh=True,
    )
)
register(
    EchoCase(
        name="echo-readline-1k-100",
        title="Streams echo by readline, 1 KiB × 100",
        group="TCP echo, streams",
        question=question_of(serve_lines),
        batch=100,
        start_server=serve_lines,
        connections=100,
        size=1024,
        load=Load.LINES,
    )
)
