"""UDP echo servers, as their users write them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, cast

from harness.case import EchoCase, question_of, register

GROUP = "UDP echo"

SIZE = 1024
"""Bytes of a datagram."""


class EchoProtocol(asyncio.DatagramProtocol):
    """Sends back whatever arrives to whoever sent it."""

    transport: asyncio.DatagramTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: Any) -> None:
        """Echo at once."""
        self.transport.sendto(data, addr)


class Endpoint:
    """A datagram endpoint as a server."""

    def __init__(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    @property
    def sockets(self) -> Sequence[Any]:
        """The one socket."""
        return [self._transport.get_extra_info("socket")]

    def close(self) -> None:
        """Receive no more."""
        self._transport.close()


async def serve() -> Endpoint:
    """What does a datagram cost: receive it, send it back to its sender?"""
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(EchoProtocol, local_addr=("127.0.0.1", 0))
    return Endpoint(transport)


# As many at once as the kernel has room for in one socket by default.
for sockets in (1, 50):
    register(
        EchoCase(
            name=f"echo-datagrams-1k-{sockets}",
            title=f"UDP echo, 1 KiB × {sockets}",
            group=GROUP,
            question=question_of(serve),
            batch=sockets,
            start_server=serve,
            connections=sockets,
            size=SIZE,
            datagrams=True,
            uses_names=False,
        )
    )
