"""Makes the helpers beside this file importable, and their fixtures known."""

import sys
from pathlib import Path

# Wherever pytest was started.
sys.path.insert(0, str(Path(__file__).parent))

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
