"""The loops that can be compared, each made by its own factory."""

from __future__ import annotations

import asyncio
import importlib
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import cast

from harness.case import LoopFactory


class LoopMissing(Exception):
    """A loop's package cannot be imported here."""


@dataclass(frozen=True)
class Loop:
    """One event loop implementation."""

    name: str
    """Its name on the command line, and the package that it comes from."""
    factory_of: Callable[[ModuleType], LoopFactory]
    """Takes its factory from its package."""

    def factory(self) -> LoopFactory:
        """What makes a new loop; raises LoopMissing when the package is not there."""
        return self.factory_of(self._package())

    def version(self) -> str:
        """The version of its package; raises LoopMissing when the package is not there."""
        package = self._package()
        if package is asyncio:
            return platform.python_version()
        try:
            return metadata.version(self.name)
        except metadata.PackageNotFoundError:
            # Imported from a source tree.
            return str(getattr(package, "__version__", "unknown"))

    def _package(self) -> ModuleType:
        try:
            return importlib.import_module(self.name)
        except ImportError as error:
            raise LoopMissing(f"{self.name} cannot be imported: {error}") from error


def _new_event_loop(package: ModuleType) -> LoopFactory:
    return cast(LoopFactory, package.new_event_loop)


LOOPS: dict[str, Loop] = {
    loop.name: loop
    for loop in (
        # The class and not asyncio.new_event_loop, which answers for whatever policy is set.
        Loop("asyncio", lambda package: cast(LoopFactory, package.SelectorEventLoop)),
        Loop("uvloop", _new_event_loop),
        Loop("rloop", _new_event_loop),
        Loop("rsloop", _new_event_loop),
        Loop("zuvloop", _new_event_loop),
        Loop("ferrio", _new_event_loop),
    )
}
"""All loops by name, in the order in which a round runs them."""

FLOOR = "floor"
"""What stands in a loop's place for the echo server without Python."""
