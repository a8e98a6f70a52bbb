"""What is known of each library: ``libraries.toml``, read and checked."""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path

HERE = Path(__file__).parent


class InvalidList(Exception):
    """A list of ours says what cannot be."""


@dataclass(frozen=True)
class Library:
    """A library and how its tests are run."""

    name: str
    distribution: str
    """What the package index calls it."""
    version: str
    """From ``requirements/NAME.txt``, where everything is pinned."""
    about: str
    """What is run, in a few words for the report."""
    pytest: tuple[str, ...] = ()
    """Arguments of pytest: what to collect, options."""
    suite: str = "sdist"
    """Where the tests are: in the ``sdist``, ``installed`` with it, or our ``programs``."""
    take: tuple[str, ...] = ()
    """What of the sdist is unpacked: not the library itself, which is installed."""
    environment: dict[str, str] = field(default_factory=dict)
    services: tuple[str, ...] = ()
    """Servers that run beside the tests; their addresses may stand in ``pytest`` and
    ``environment``, as ``{redis_port}``."""
    leave_out: dict[str, str] = field(default_factory=dict)
    """Tests that run on neither loop: a regular expression of their ids, and why."""
    without_root: bool = False
    """Whether the tests refuse to be run by root."""
    test_seconds: float = 120
    """For one test, at most."""
    seconds: float = 1200
    """For all tests on one loop, at most: many times what they take, for a machine that is busy."""


@dataclass(frozen=True)
class Known:
    """A test that cannot pass on ferrio, and why."""

    library: str
    test: str
    """A pattern of shell style."""
    reason: str


def load_libraries(path: Path = HERE / "libraries.toml") -> dict[str, Library]:
    """Return the libraries by name, in the order of the file."""
    libraries = {}
    for name, entry in tomllib.loads(path.read_text(encoding="utf-8")).items():
        unknown = entry.keys() - {one.name for one in fields(Library)}
        if unknown:
            raise InvalidList(f"{path.name}: {name}: unknown key {', '.join(sorted(unknown))}")
        entry["distribution"] = entry.get("distribution", name)
        for key in ("pytest", "take", "services"):
            entry[key] = tuple(entry.get(key, ()))
        version = pinned_version(name, entry["distribution"])
        libraries[name] = Library(name=name, version=version, **entry)
    return libraries


def load_known(libraries: dict[str, Library], path: Path = HERE / "known.toml") -> list[Known]:
    """Return the tests that are known to fail, each with its reason."""
    known = []
    for entry in tomllib.loads(path.read_text(encoding="utf-8")).get("known", []):
        if entry.keys() != {"library", "test", "reason"} or not all(entry.values()):
            raise InvalidList(f"{path.name}: an entry has library, test and reason: {entry}")
        if entry["library"] not in libraries:
            raise InvalidList(f"{path.name}: there is no library {entry['library']}")
        known.append(Known(**entry))
    return known


def requirements_of(name: str) -> Path:
    """Return the file with the pinned versions of what a library's tests need."""
    return HERE / "requirements" / f"{name}.txt"


def pinned_version(name: str, distribution: str) -> str:
    """Return the version of the library itself."""
    path = requirements_of(name)
    pinned = re.compile(rf"^{re.escape(distribution)}(\[.*\])?==(?P<version>\S+)", re.M | re.I)
    found = pinned.search(path.read_text(encoding="utf-8"))
    if found is None:
        raise InvalidList(f"{path.name} does not pin {distribution}")
    return found["version"]
