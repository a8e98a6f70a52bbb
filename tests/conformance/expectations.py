"""The lists of exceptions: which tests are not run, and which are expected to fail, and why.

A list is a TOML file with any of these tables; ``whitebox.toml`` shows each of them.

- ``[modules]``: modules that are not run, with the reason;
- ``[public]``: tests of those modules that are run all the same;
- ``[duplicates]`` and ``[private]``: classes that are not run, with the reason;
- ``[tests]``: tests that are expected to fail, with the reason.

A name may begin with the versions that it is for: ``"3.12: …"``, ``"3.11-3.12: …"`` or
``"3.13+: …"``. But for those tables of modules a name is ``module.Class`` or
``module.Class.test`` and may have the shell's wildcards.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

Version = tuple[int, int]

TABLES = {"modules", "public", "duplicates", "private", "tests"}

_VERSIONS = re.compile(r"3\.(?P<first>\d+)(?:(?P<open>\+)|-3\.(?P<last>\d+))?: ")


class InvalidList(Exception):
    """A list of exceptions does not say what it has to."""


@dataclass
class Entry:
    """One line of a list."""

    # The file and table that it is in, for messages.
    place: str
    pattern: str
    reason: str
    # Whether a test of this run matched it.
    used: bool = False

    @property
    def module(self) -> str:
        """The module that the entry is about; may have wildcards."""
        return self.pattern.partition(".")[0]

    def matches(self, test: str) -> bool:
        """Whether the entry is about ``test``, a ``module.Class.test``; notes that it is used."""
        matched = fnmatchcase(test, self.pattern) or fnmatchcase(test, f"{self.pattern}.*")
        self.used = self.used or matched
        return matched


class Expectations:
    """The entries of some lists that are for one version of Python."""

    def __init__(self, version: Version) -> None:
        self._version = version
        self._modules: dict[str, Entry] = {}
        self._public: list[Entry] = []
        self._not_run: list[Entry] = []
        self._tests: list[Entry] = []

    @classmethod
    def load(cls, paths: Iterable[Path], version: Version) -> Expectations:
        """Read lists. Raises InvalidList, and OSError when a file cannot be read."""
        expectations = cls(version)
        for path in paths:
            expectations._read(path)
        return expectations

    def why_not_run(self, module: str) -> str | None:
        """Return why nothing of ``module`` is run; None when something is."""
        entry = self._modules.get(module)
        if entry is None or any(public.module == module for public in self._public):
            return None
        return entry.reason

    def is_run(self, test: str) -> bool:
        """Whether a test is run at all."""
        public = _matching(self._public, test)
        if _matching(self._not_run, test):
            return False
        return bool(public) or test.partition(".")[0] not in self._modules

    def exception_for(self, test: str) -> Entry | None:
        """Return the entry by which a test is expected to fail."""
        found = _matching(self._tests, test)
        return found[0] if found else None

    def unmatched(self, modules: Iterable[str]) -> list[Entry]:
        """Return the entries for ``modules``, all of which were listed, that no test matched."""
        entries = self._public + self._not_run + self._tests
        known = list(modules)
        return [
            entry
            for entry in entries
            if not entry.used and any(fnmatchcase(module, entry.module) for module in known)
        ]

    def _read(self, path: Path) -> None:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        unknown = tables.keys() - TABLES
        if unknown:
            raise InvalidList(f"{path.name}: unknown tables {sorted(unknown)}")
        for entry in self._entries(path, "modules", tables.get("modules", {})):
            self._modules[entry.pattern] = entry
        for table in ("duplicates", "private"):
            self._not_run += self._entries(path, table, tables.get(table, {}))
        self._tests += self._entries(path, "tests", tables.get("tests", {}))
        for module, tests in tables.get("public", {}).items():
            named = {_with_module(module, test): "goes through the public API" for test in tests}
            self._public += self._entries(path, "public", named)

    def _entries(self, path: Path, table: str, lines: dict[str, str]) -> list[Entry]:
        place = f"{path.name} [{table}]"
        entries = []
        for name, reason in lines.items():
            if not isinstance(reason, str) or not reason.strip():
                raise InvalidList(f"{place}: {name!r} has no reason")
            if self._is_for_this_version(name):
                entries.append(Entry(place, _VERSIONS.sub("", name, count=1), reason))
        return entries

    def _is_for_this_version(self, name: str) -> bool:
        prefix = _VERSIONS.match(name)
        if prefix is None:
            return True
        first = int(prefix["first"])
        last = int(prefix["last"] or first)
        minor = self._version[1]
        return minor >= first if prefix["open"] else first <= minor <= last


def _matching(entries: list[Entry], test: str) -> list[Entry]:
    """Return the entries about ``test``; asks all of them, so that each knows it is used."""
    return [entry for entry in entries if entry.matches(test)]


def _with_module(module: str, test: str) -> str:
    """Put the module into a name, after its versions."""
    prefix = _VERSIONS.match(test)
    end = prefix.end() if prefix else 0
    return f"{test[:end]}{module}.{test[end:]}"
