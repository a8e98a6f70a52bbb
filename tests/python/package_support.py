"""What the tests of connections and servers share."""

import asyncio
import ssl
from pathlib import Path

import pytest


class Recorder(asyncio.Protocol):
    """A protocol that keeps what happened to it."""

    def __init__(self):
        self.transport = None
        self.received = b""
        self.lost = asyncio.get_running_loop().create_future()

    def connection_made(self, transport):
        self.transport = transport

    def data_received(self, data):
        self.received += data

    def connection_lost(self, exc):
        if not self.lost.done():
            self.lost.set_result(exc)


class Echo(Recorder):
    """Sends back what it receives."""

    def data_received(self, data):
        super().data_received(data)
        self.transport.write(data)


async def close(*protocols):
    """Close the connections of these protocols and wait until they are lost."""
    for protocol in protocols:
        protocol.transport.close()
    for protocol in protocols:
        await protocol.lost


async def check_refusal(call, arguments, error, message):
    """``call`` takes a protocol factory and these arguments, ``sock`` being what makes the socket,
    and raises the error with a text that begins like this."""
    made = arguments | ({"sock": arguments["sock"]()} if "sock" in arguments else {})
    try:
        with pytest.raises(error) as caught:
            await call(Recorder, **made)
        assert str(caught.value).startswith(message)
    finally:
        if "sock" in made:
            made["sock"].close()


def tls_contexts():
    """Return contexts of a server and of a client that trusts it as "localhost"."""
    import test

    directory = Path(test.__file__).parent
    if (directory / "certdata").is_dir():
        directory /= "certdata"
    certificate, authority = directory / "keycert3.pem", directory / "pycacert.pem"
    if not certificate.exists():
        pytest.skip("this Python has no test certificates")
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate)
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.load_verify_locations(authority)
    return server, client
