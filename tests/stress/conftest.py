"""The helpers and fixtures of tests/python, for what takes too long to run with every change."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "python"))

from fixtures import (
    clocked_loop,
    implementation,
    logged,
    loop,
    make_loop,
    pytest_collection_finish,
    pytest_configure,
    pytest_unconfigure,
    reports,
    watched,
)

__all__ = [
    "clocked_loop",
    "implementation",
    "logged",
    "loop",
    "make_loop",
    "pytest_collection_finish",
    "pytest_configure",
    "pytest_unconfigure",
    "reports",
    "watched",
]
