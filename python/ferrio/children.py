"""Processes that a program on ferrio starts with ``multiprocessing`` are on ferrio too.

A forked child inherits what ``install()`` has done. One that is spawned (or comes from the fork
server) is a new interpreter that reads what it needs from its parent: uvicorn's workers are made
so. ``python -m ferrio`` adds a line to what it reads.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

from ferrio import inspection
from ferrio.installation import install
from ferrio.watchdog import choice

_MODULE = "multiprocessing.spawn"


def install_in_children() -> None:
    """Have spawned children of this process, and theirs, call ``install()`` as they begin."""
    module = sys.modules.get(_MODULE)
    if module is not None:
        _extend(module)
    else:
        # Importing it would cost every program 10 ms, and most have no use for it.
        sys.meta_path.insert(0, _SpawnFinder())


# A finder and a loader without importlib.abc's classes as bases: they need none of them, and
# importing that module takes longer than all the rest that the command does.


class _SpawnFinder:
    """Finds ``multiprocessing.spawn`` as others would, and extends it when it is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Look for the one module; others are none of our business."""
        if fullname != _MODULE:
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            loader: Any = _SpawnLoader(spec.loader)
            spec.loader = loader
        return spec


class _SpawnLoader:
    """Loads the module with its own loader, then extends it."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        """Leave it to the module's own loader."""
        module: ModuleType | None = self._loader.create_module(spec)
        return module

    def exec_module(self, module: ModuleType) -> None:
        """Run the module, leave no trace of this loader on it, and extend it."""
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        _extend(module)


class _InstallAtUnpickling:
    """Unpickling it, which is the first thing a spawned child does, installs ferrio there."""

    def __reduce__(self) -> tuple[Callable[[float, bool, bool], None], tuple[float, bool, bool]]:
        return _begin_in_child, (choice.default, choice.is_silenced, inspection.is_wanted())


def _begin_in_child(
    watchdog_default: float, watchdog_is_silenced: bool, is_inspected: bool
) -> None:
    choice.default = watchdog_default
    choice.is_silenced = watchdog_is_silenced
    if is_inspected:
        inspection.want()
    install()
    install_in_children()


def _extend(module: Any) -> None:
    prepare: Callable[[str], dict[str, Any]] = module.get_preparation_data

    def get_preparation_data(name: str) -> dict[str, Any]:
        # A child ignores keys that it does not know.
        return {**prepare(name), "ferrio": _InstallAtUnpickling()}

    module.get_preparation_data = get_preparation_data
