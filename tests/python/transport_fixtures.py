"""Fixtures of the tests of transports."""

import pytest

from connected import PAIRS, Connection, Recorder


@pytest.fixture
def connect(loop):
    """Makes connections, which are closed when the test ends."""
    connections = []

    def connect(protocol=None, pair="tcp", on=None):
        make_pair = PAIRS[pair]
        connection = Connection(on or loop, protocol or Recorder(), *make_pair())
        connections.append(connection)
        return connection

    yield connect
    for connection in connections:
        connection.close()
    connections.clear()
    connection = None


@pytest.fixture(params=list(PAIRS))
def connection(connect, request):
    """A connection over TCP in one run of the test, over Unix sockets in the other."""
    return connect(pair=request.param)
