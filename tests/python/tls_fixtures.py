"""Fixtures of the tests of TLS."""

import pytest

from tls_peer import TlsConnection


@pytest.fixture
def tls(loop):
    """Makes TLS connections, which are closed when the test ends."""

    class Maker:
        def __init__(self):
            self.connections = []

        def __call__(self, protocol=None, *, on=None, **options):
            connection = TlsConnection(on or loop, protocol, **options)
            self.connections.append(connection)
            return connection

        def forget(self, connection):
            connection.peer.close()
            self.connections.remove(connection)

    maker = Maker()
    yield maker
    for connection in maker.connections:
        connection.close()
    maker.connections.clear()
