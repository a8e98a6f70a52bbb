"""Fixtures of the tests of what looks at other processes."""

import pytest

from inspected import Directory


@pytest.fixture
def directory():
    """A runtime directory of the test's own."""
    directory = Directory()
    yield directory
    directory.close()
