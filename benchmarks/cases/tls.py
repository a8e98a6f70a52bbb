"""TLS: echo servers, handshakes, and what a connection takes, with the user's own SSLContext."""

from __future__ import annotations

import asyncio
import functools
import shutil
import ssl
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import cast

from cases.echo import BACKLOG, EchoProtocol, echo_stream
from harness.case import EchoCase, Load, Unit, question_of, register

GROUP = "TLS"

HANDSHAKES_AT_ONCE = 20
"""Enough to keep the server busy while a client waits for its answer."""


@functools.cache
def server_context() -> ssl.SSLContext:
    """The context of a server whose certificate is made here and now, by the `openssl` command."""
    if shutil.which("openssl") is None:
        raise RuntimeError("the TLS cases need the command openssl")
    with tempfile.TemporaryDirectory() as folder:
        certificate, key = Path(folder, "certificate.pem"), Path(folder, "key.pem")
        subprocess.run(
            [
                *("openssl", "req", "-x509", "-nodes", "-days", "2", "-subj", "/CN=localhost"),
                *("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"),
                *("-keyout", str(key), "-out", str(certificate)),
            ],
            check=True,
            capture_output=True,
        )
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)
    return context


class Greeter(asyncio.Protocol):
    """Sends a byte to whoever connects, and leaves the rest to him."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The handshake is done."""
        cast(asyncio.Transport, transport).write(b"!")


async def _serve(protocol: Callable[[], asyncio.BaseProtocol]) -> asyncio.AbstractServer:
    loop = asyncio.get_running_loop()
    return await loop.create_server(protocol, "127.0.0.1", 0, backlog=BACKLOG, ssl=server_context())


async def serve_protocol() -> asyncio.AbstractServer:
    """What does a message cost a Protocol under TLS: receive, decrypt, encrypt, send?"""
    return await _serve(EchoProtocol)


async def serve_streams() -> asyncio.AbstractServer:
    """What does a message cost streams under TLS: read, write, drain?"""
    return await asyncio.start_server(
        echo_stream, "127.0.0.1", 0, backlog=BACKLOG, ssl=server_context()
    )


async def serve_handshakes() -> asyncio.AbstractServer:
    """What does a TLS connection cost a server: accept, handshake, one byte, the end?

    20 at a time, TLS 1.3 with an ECDSA certificate, no session resumed.
    """
    return await _serve(Greeter)


for kind, start_server, size, connections, fresh in (
    ("", serve_protocol, 1, 100, False),
    ("", serve_protocol, 1, 100, True),
    ("", serve_protocol, 100, 10, False),
    ("streams-", serve_streams, 1, 100, False),
):
    register(
        EchoCase(
            name=f"tls-{kind}echo-{size}k-{connections}{'-fresh' * fresh}",
            title=(
                f"TLS {kind.replace('-', ' ')}echo, {size} KiB × {connections}"
                f"{', fresh process' * fresh}"
            ),
            group=GROUP,
            question=question_of(start_server),
            batch=connections,
            start_server=start_server,
            connections=connections,
            size=size * 1024,
            load=Load.TLS,
            uses_names=start_server is serve_streams,
            fresh=fresh,
            has_floor=False,
        )
    )
register(
    EchoCase(
        name="tls-connection-memory",
        title="Memory of a TLS connection",
        group=GROUP,
        question=(
            "How many bytes does a server's TLS connection take that has echoed a message and "
            "waits?\n\nResident memory of the server before and after 500 of them, OpenSSL's part "
            "included."
        ),
        unit=Unit.BYTES,
        start_server=serve_protocol,
        connections=500,
        size=1024,
        load=Load.TLS,
        uses_names=False,
        has_floor=False,
    )
)
register(
    EchoCase(
        name="tls-handshake",
        title="TLS handshake",
        group=GROUP,
        question=question_of(serve_handshakes),
        batch=HANDSHAKES_AT_ONCE,
        start_server=serve_handshakes,
        connections=HANDSHAKES_AT_ONCE,
        size=1,
        load=Load.HANDSHAKES,
        uses_names=False,
        has_floor=False,
    )
)
