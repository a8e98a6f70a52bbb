"""Echo servers on sockets of the program's own, and on Unix sockets."""

from __future__ import annotations

import asyncio
import atexit
import shutil
import socket
import tempfile
from pathlib import Path

from cases.echo import BACKLOG, EchoProtocol, echo_stream
from harness.case import EchoCase, question_of, register

RECEIVE_SIZE = 64 * 1024
"""What programs that call sock_recv() mostly ask for."""


class SocketServer:
    """Accepts, receives and sends by `sock_*` alone."""

    def __init__(self, listening: socket.socket) -> None:
        self.sockets = [listening]
        self._tasks = {asyncio.ensure_future(self._accept(listening))}

    async def _accept(self, listening: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            connection, _ = await loop.sock_accept(listening)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            task = asyncio.ensure_future(self._echo(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _echo(self, connection: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with connection:
            while data := await loop.sock_recv(connection, RECEIVE_SIZE):
                await loop.sock_sendall(connection, data)

    def close(self) -> None:
        """Stop at once."""
        for task in self._tasks:
            task.cancel()
        self.sockets[0].close()


async def serve_sockets() -> SocketServer:
    """What does a message cost a server made with sock_recv and sock_sendall?"""
    listening = socket.create_server(("127.0.0.1", 0), backlog=BACKLOG)
    listening.setblocking(False)
    return SocketServer(listening)


def _new_path() -> Path:
    """A path for one server's socket, in a folder that goes when the process ends."""
    folder = tempfile.mkdtemp(prefix="ferrio-bench-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder, "socket")


async def serve_unix_protocol() -> asyncio.AbstractServer:
    """What does a message cost a Protocol behind a Unix socket?"""
    loop = asyncio.get_running_loop()
    return await loop.create_unix_server(EchoProtocol, str(_new_path()), backlog=BACKLOG)


async def serve_unix_streams() -> asyncio.AbstractServer:
    """What does a message cost a server made with streams behind a Unix socket?"""
    return await asyncio.start_unix_server(echo_stream, str(_new_path()), backlog=BACKLOG)


for _connections in (1, 100):
    register(
        EchoCase(
            name=f"echo-sockets-1k-{_connections}",
            title=f"sock_recv and sock_sendall echo, 1 KiB × {_connections}",
            group="Sockets of the program's own",
            question=question_of(serve_sockets),
            batch=_connections,
            start_server=serve_sockets,
            connections=_connections,
            size=1024,
            uses_names=False,
        )
    )

for _kind, _start_server in (("protocol", serve_unix_protocol), ("streams", serve_unix_streams)):
    register(
        EchoCase(
            name=f"echo-unix-{_kind}-1k-100",
            title=f"Unix {_kind} echo, 1 KiB × 100",
            group="Unix stream sockets",
            question=question_of(_start_server),
            batch=100,
            start_server=_start_server,
            connections=100,
            size=1024,
            uses_names=_start_server is serve_unix_streams,
            has_floor=False,
        )
    )
