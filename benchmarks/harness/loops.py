"""The loops that can be compared, each made by its own factory."""

from __future__ import annotations

import asyncio
import importlib
import os
import platform
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from types import ModuleType
from typing import cast

from harness.case import LoopFactory
from harness.recording import Recording


class LoopMissing(Exception):
    """A loop's package cannot be imported here."""


@dataclass(frozen=True)
class Loop:
    """One event loop implementation."""

    name: str
    """Its name on the command line."""
    factory_of: Callable[[ModuleType], LoopFactory]
    """Takes its factory from its package."""
    package: str | None = None
    """The package that it comes from; None when that has its name."""
    networks_only: bool = False
    """Whether its connections alone are its own, so that the other cases would measure another."""
    installs: bool = False
    """Whether its package's `install()` puts what is its own in the place of asyncio's names."""
    environment: tuple[tuple[str, str], ...] = ()
    """What its processes have in their environment and the others' have not."""
    recorded: bool = False
    """Whether `ferrio trace` records it while it is measured."""
    priced: bool = False
    """Whether it takes part in the cases about the price of what ferrio tells."""
    price_only: bool = False
    """Whether it takes part in no others: it is ferrio with more or with less of that."""

    def prepare(self) -> None:
        """Give this process its environment; before its package is imported."""
        os.environ.update(self.environment)

    def record(self) -> Recording | None:
        """Have its loops recorded from now on, if it is one that is measured so."""
        return Recording(self._package().open_inspect_socket()) if self.recorded else None

    def factory(self) -> LoopFactory:
        """What makes a new loop; raises LoopMissing when the package is not there."""
        return self.factory_of(self._package())

    def begin(self) -> None:
        """Make this process one that runs it: nothing goes back to what it was before."""
        if self.installs:
            self._package().install()

    def version(self) -> str:
        """The version of its package; raises LoopMissing when the package is not there."""
        package = self._package()
        if package is asyncio:
            return platform.python_version()
        try:
            return metadata.version(self._package_name)
        except metadata.PackageNotFoundError:
            # Imported from a source tree.
            return str(getattr(package, "__version__", "unknown"))

    @property
    def _package_name(self) -> str:
        return self.package or self.name

    def _package(self) -> ModuleType:
        try:
            return importlib.import_module(self._package_name)
        except ImportError as error:
            raise LoopMissing(f"{self._package_name} cannot be imported: {error}") from error


def _new_event_loop(package: ModuleType) -> LoopFactory:
    return cast(LoopFactory, package.new_event_loop)


def _uvloop_with_its_connections(package: ModuleType) -> LoopFactory:
    try:
        uvloop = importlib.import_module("uvloop")
    except ImportError as error:
        raise LoopMissing(f"uvloop cannot be imported: {error}") from error
    return cast(LoopFactory, package.loop_factory(uvloop.new_event_loop))


def _variant(name: str, *, recorded: bool = False, **environment: str) -> Loop:
    return Loop(
        name,
        _new_event_loop,
        package="ferrio",
        environment=tuple(environment.items()),
        recorded=recorded,
        priced=True,
        price_only=True,
    )


LOOPS: dict[str, Loop] = {
    loop.name: loop
    for loop in (
        # The class and not asyncio.new_event_loop, which answers for whatever policy is set.
        Loop("asyncio", lambda package: cast(LoopFactory, package.SelectorEventLoop)),
        Loop("uvloop", _new_event_loop),
        Loop("aiofastnet", _uvloop_with_its_connections, networks_only=True),
        Loop("rloop", _new_event_loop),
        Loop("rsloop", _new_event_loop),
        Loop("zuvloop", _new_event_loop),
        Loop("ferrio", _new_event_loop, priced=True),
        Loop("ferrio-installed", _new_event_loop, package="ferrio", installs=True),
        _variant("ferrio-off", FERRIO_REGISTRY="0", FERRIO_LINTS="0"),
        _variant("ferrio-watchdog", FERRIO_WATCHDOG="100ms"),
        _variant("ferrio-trace", recorded=True),
    )
}
"""All loops by name, in the order in which a round runs them.

ferrio takes part twice: as a loop under asyncio's own gather, locks, queues and so on, which is
what `loop_factory=ferrio.new_event_loop` gives a program, and with `ferrio.install()`, which
replaces those names too. aiofastnet is no loop: it gives another one's, here uvloop's, connections
of its own.

The variants at the end take part in the cases about the price of what ferrio tells: one without
everything that has a switch, one with the watchdog armed, one that is recorded. The heartbeat has
no switch.
"""

FLOOR = "floor"
"""What stands in a loop's place for the echo server without Python."""
