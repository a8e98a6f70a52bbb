"""Fixtures of the tests of datagram transports."""

import pytest

from datagram_endpoints import Endpoints


@pytest.fixture
def endpoints(loop, tmp_path):
    """Makes transports and plain sockets, which are closed when the test ends."""
    made = Endpoints(loop, tmp_path)
    yield made
    made.close()
