"""``open_connection``, ``start_server`` and their like for Unix sockets.

What is done once per connection, with the native reader, writer and protocol, whose
``connection_made`` calls the server's callback.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import Any

from ferrio._ferrio import StreamReader, StreamReaderProtocol, StreamWriter

DEFAULT_LIMIT = 2**16
"""How many bytes a line may have; twice as many may wait to be read."""

_Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None] | None]
_Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]


async def open_connection(
    host: str | None = None,
    port: int | str | None = None,
    *,
    limit: int = DEFAULT_LIMIT,
    **kwds: Any,
) -> tuple[StreamReader, StreamWriter]:
    """Connect over TCP; return a reader and a writer.

    ``limit`` is how many bytes a line may have. The other arguments are those of
    ``loop.create_connection()``, and so are the exceptions. Call it in the running loop.
    """
    loop, reader, protocol = _client(limit)
    transport, _ = await loop.create_connection(lambda: protocol, host, port, **kwds)
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_server(
    client_connected_cb: _Connected,
    host: str | None = None,
    port: int | str | None = None,
    *,
    limit: int = DEFAULT_LIMIT,
    **kwds: Any,
) -> asyncio.Server:
    """Serve TCP; call ``client_connected_cb(reader, writer)`` for each connection.

    A coroutine that it returns is run in a task. ``limit`` is how many bytes a line may have. The
    other arguments, the exceptions and what is returned are those of ``loop.create_server()``.
    """
    loop: Any = asyncio.get_running_loop()
    factory = _factory(client_connected_cb, limit, loop)
    server: asyncio.Server = await loop.create_server(factory, host, port, **kwds)
    return server


async def open_unix_connection(
    path: _Path | None = None, *, limit: int = DEFAULT_LIMIT, **kwds: Any
) -> tuple[StreamReader, StreamWriter]:
    """Connect to a Unix socket; otherwise as ``open_connection()``."""
    loop, reader, protocol = _client(limit)
    transport, _ = await loop.create_unix_connection(
        lambda: protocol,
        path,
        **kwds,
    )
    return reader, StreamWriter(transport, protocol, reader, loop)


async def start_unix_server(
    client_connected_cb: _Connected,
    path: _Path | None = None,
    *,
    limit: int = DEFAULT_LIMIT,
    **kwds: Any,
) -> asyncio.Server:
    """Serve a Unix socket; otherwise as ``start_server()``."""
    loop: Any = asyncio.get_running_loop()
    factory = _factory(client_connected_cb, limit, loop)
    server: asyncio.Server = await loop.create_unix_server(factory, path, **kwds)
    return server


def _client(
    limit: int,
) -> tuple[Any, StreamReader, StreamReaderProtocol]:
    # typeshed's loop wants a port that is an int; getaddrinfo() does not.
    loop: Any = asyncio.get_running_loop()
    reader = StreamReader(limit=limit, loop=loop)
    return loop, reader, StreamReaderProtocol(reader, loop=loop)


def _factory(
    client_connected_cb: _Connected, limit: int, loop: asyncio.AbstractEventLoop
) -> Callable[[], StreamReaderProtocol]:
    def factory() -> StreamReaderProtocol:
        reader = StreamReader(limit=limit, loop=loop)
        return StreamReaderProtocol(reader, client_connected_cb, loop=loop)

    return factory
